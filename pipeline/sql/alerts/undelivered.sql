-- Open alerts that a sink has not taken yet, or that went on a day after it did.
SELECT alerts.*
FROM alerts
LEFT JOIN (
    SELECT alert_id, max(last_seen) AS told_until FROM deliveries WHERE sink = $sink GROUP BY alert_id
) AS told USING (alert_id)
WHERE status = 'open'
    AND list_position(['informational', 'low', 'medium', 'high', 'critical'], level) >= $level::BIGINT
    AND (told_until IS NULL OR last_seen > told_until + INTERVAL 1 DAY)
ORDER BY last_seen, alert_id
