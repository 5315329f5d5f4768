SELECT account_id, day::VARCHAR AS day, sum(raw)::BIGINT AS raw_rows, sum(event)::BIGINT AS event_rows
FROM (
    SELECT account_id, day, count(*) AS raw, 0 AS event FROM aws_s3_raw GROUP BY ALL
    UNION ALL
    SELECT account_id, day, 0, count(*) FROM cloud_audit_logs GROUP BY ALL
)
GROUP BY ALL
