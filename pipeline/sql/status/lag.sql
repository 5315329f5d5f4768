-- Of the objects that brought something new by a message in the 24 hours before the last ingest.
WITH fresh AS (
    SELECT
        epoch(logged_time) - epoch(sent_time) AS sent_s,
        epoch(logged_time) - epoch(first_event_time) AS event_s
    FROM ingest_log
    WHERE outcome = 'done'
        AND written > 0
        AND sent_time IS NOT NULL
        AND logged_time > (SELECT max(logged_time) FROM ingest_log) - INTERVAL 24 HOURS
)
SELECT
    count(*) AS objects,
    quantile_cont(sent_s, 0.5) AS sent_p50_s,
    quantile_cont(sent_s, 0.95) AS sent_p95_s,
    max(sent_s) AS sent_max_s,
    quantile_cont(event_s, 0.5) AS event_p50_s,
    quantile_cont(event_s, 0.95) AS event_p95_s,
    max(event_s) AS event_max_s
FROM fresh
