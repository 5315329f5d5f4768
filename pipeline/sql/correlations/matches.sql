-- One row per group and bucket of the span in which a window holds the condition, with the events of those windows.
-- These windows overlap (their ends are less than a span apart), so that their events are one range.
WITH held AS (
    SELECT grouped, micros // $span AS bucket, min(since) AS since, max(micros) AS until
    FROM windows
    WHERE seen $operator $count
    GROUP BY ALL
),
events AS (
    SELECT held.grouped, held.bucket, keyed.event_id, min(keyed.micros) AS micros
    FROM (SELECT *, unnest([bucket - 1, bucket]) AS part FROM held) AS held
    -- Windows of a bucket reach into the one before, no further: equal parts find their events, however many.
    JOIN (SELECT *, micros // $span AS part FROM keyed) AS keyed
        ON keyed.grouped = held.grouped AND keyed.part = held.part AND keyed.micros BETWEEN held.since AND held.until
    GROUP BY ALL
)
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
