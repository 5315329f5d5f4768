-- Every object as its last attempt left it. `written` counts over all its attempts: each record is new only once, and
-- an attempt after the first finds its own records again. What was never new, bad or expired is a duplicate, so that
-- records = written + duplicates + expired + bad_records.
--
-- An attempt that read nothing and knew no version is settled by a later one that read the key. An attempt that took
-- the records of the object's dead letters is no whole one: what it mended is bad no more.
CREATE OR REPLACE VIEW objects AS
WITH tried AS (
    SELECT
        *,
        outcome IN ('deferred', 'dead_letter') AND object_version = '' AND object_bucket <> '' AS unread,
        source_name = 'records of dead letters' AS in_part
    FROM ingest_log
),
reads AS (
    SELECT object_bucket, object_key, max(logged_time) AS read_time
    FROM tried
    SEMI JOIN (FROM tried WHERE unread) USING (object_bucket, object_key)
    WHERE NOT unread AND NOT in_part
    GROUP BY ALL
),
ranked AS (
    SELECT
        tried.* EXCLUDE (written, duplicates, expired, unread),
        expired AS last_expired,
        count(*) OVER attempts_of_object AS attempts,
        (sum(written) OVER attempts_of_object)::BIGINT AS written,
        max(logged_time) FILTER (in_part) OVER attempts_of_object AS part_time,
        arg_max(greatest(0, records - dead_letters), logged_time) FILTER (in_part) OVER attempts_of_object AS mended,
        row_number() OVER (attempts_of_object ORDER BY in_part, logged_time DESC, run_id DESC) AS recency
    FROM tried
    LEFT JOIN reads USING (object_bucket, object_key)
    WHERE NOT unread OR read_time IS NULL OR read_time < logged_time
    -- A message that names no object is known by its own id.
    WINDOW attempts_of_object AS (
        PARTITION BY object_bucket, object_key, object_version, CASE WHEN object_bucket = '' THEN message_id END
    )
),
whole AS (
    SELECT
        * REPLACE (
            CASE
                WHEN NOT in_part AND part_time >= logged_time THEN greatest(0, dead_letters - mended)
                ELSE dead_letters
            END AS dead_letters
        )
    FROM ranked
    WHERE recency = 1
),
counted AS (
    SELECT
        *,
        -- The letter of an object that could not be read, or not to its end, is no record.
        CASE outcome WHEN 'dead_letter' THEN greatest(0, dead_letters - 1) ELSE dead_letters END AS bad_records,
        -- What was written before retention took it was not written again.
        greatest(0, least(last_expired, records - written)) AS expired
    FROM whole
)
SELECT
    * EXCLUDE (recency, last_expired, in_part, part_time, mended),
    greatest(0, records - written - expired - bad_records) AS duplicates
FROM counted;
