SELECT stage, scope, reason, count(*) AS count
FROM open_dead_letters
GROUP BY ALL
ORDER BY count DESC, stage, scope, reason
