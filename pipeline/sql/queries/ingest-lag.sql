-- How late objects are, by the day they were logged: from the sending of their message, and from their earliest
-- event, in seconds. Only objects that a message brought and that held something new.
SELECT
    day,
    source_name,
    count(*) AS objects,
    round(quantile_cont(epoch(logged_time) - epoch(sent_time), 0.5), 1) AS sent_p50_s,
    round(quantile_cont(epoch(logged_time) - epoch(sent_time), 0.95), 1) AS sent_p95_s,
    round(max(epoch(logged_time) - epoch(sent_time)), 1) AS sent_max_s,
    round(quantile_cont(epoch(logged_time) - epoch(first_event_time), 0.5), 1) AS event_p50_s,
    round(max(epoch(logged_time) - epoch(first_event_time)), 1) AS event_max_s
FROM ingest_log
WHERE outcome = 'done'
    AND written > 0
    AND sent_time IS NOT NULL
GROUP BY ALL
ORDER BY day, source_name
