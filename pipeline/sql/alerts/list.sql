SELECT
    alert_id, level, rule_title, root_identity, accounts, events, first_seen, last_seen, status, kind, story_id, rule_id,
    explanation
FROM alerts
WHERE ($all = 'yes' OR status = 'open')
    AND list_position(['informational', 'low', 'medium', 'high', 'critical'], level) >= $level::BIGINT
    AND last_seen::DATE >= $since::DATE AND first_seen::DATE <= $until::DATE
ORDER BY list_position(['critical', 'high', 'medium', 'low', 'informational'], level), last_seen DESC, alert_id
LIMIT $most::BIGINT
