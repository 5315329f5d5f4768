-- The events of the windows that hold the condition, for each group and bucket of the span; a match among them stands for
-- its own. These windows overlap (their ends are less than a span apart), so that their events are one range.
CREATE OR REPLACE TEMP TABLE events AS
WITH held AS (
    SELECT grouped, micros // $span AS bucket, min(since) AS since, max(micros) AS until
    FROM windows
    WHERE $holds
    GROUP BY ALL
)
SELECT
    held.grouped,
    held.bucket,
    coalesce(members.event_id, keyed.event_id) AS event_id,
    min(coalesce(members.micros, keyed.micros)) AS micros
FROM (SELECT *, unnest([bucket - 1, bucket]) AS part FROM held) AS held
-- Windows of a bucket reach into the one before, no further: equal parts find their events, however many.
JOIN (SELECT *, micros // $span AS part FROM keyed) AS keyed
    ON keyed.grouped = held.grouped AND keyed.part = held.part AND keyed.micros BETWEEN held.since AND held.until
LEFT JOIN members ON members.match_id = keyed.event_id
GROUP BY ALL
