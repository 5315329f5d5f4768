-- One row per group and bucket of the span in which a window holds the condition.
SELECT
    grouped AS group_values,
    make_timestamptz(bucket * $span) AS bucket,
    make_timestamptz(min(micros)) AS first_seen,
    make_timestamptz(max(micros)) AS last_seen,
    count(*) AS events,
    list(event_id ORDER BY micros, event_id)[:$most] AS evidence
FROM events
GROUP BY ALL
ORDER BY bucket, grouped
