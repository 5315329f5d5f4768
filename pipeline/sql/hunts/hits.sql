-- The hits of one hunt by rule, the gravest first. Between two runs of it files may have been merged: each event once.
SELECT
    any_value(rule_title) AS rule,
    any_value(level) AS level,
    count(DISTINCT event_id) AS hits,
    count(DISTINCT session_id) AS sessions,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    rule_id
FROM tree.hunts
WHERE ruleset = $ruleset
    AND day BETWEEN $since::DATE AND $until::DATE
    AND ($accounts = '' OR list_contains(string_split($accounts, ','), account_id))
GROUP BY rule_id
ORDER BY
    list_position(['critical', 'high', 'medium', 'low', 'informational'], any_value(level)) NULLS LAST,
    hits DESC, rule_id
