-- The last row of every object. `written` counts over all its attempts: each record is new only once, and an
-- attempt after the first finds its own records again. What was never new, bad or expired is a duplicate, so that
-- records = written + duplicates + expired + bad_records.
CREATE OR REPLACE VIEW objects AS
WITH ranked AS (
    SELECT
        * EXCLUDE (written, duplicates, expired),
        expired AS last_expired,
        count(*) OVER attempts_of_object AS attempts,
        (sum(written) OVER attempts_of_object)::BIGINT AS written,
        row_number() OVER (attempts_of_object ORDER BY logged_time DESC, run_id DESC) AS recency
    FROM ingest_log
    -- A message that names no object is known by its own id.
    WINDOW attempts_of_object AS (
        PARTITION BY object_bucket, object_key, object_version, CASE WHEN object_bucket = '' THEN message_id END
    )
),
counted AS (
    SELECT
        *,
        -- The letter of an object that could not be read, or not to its end, is no record.
        CASE outcome WHEN 'dead_letter' THEN greatest(0, dead_letters - 1) ELSE dead_letters END AS bad_records,
        -- What was written before retention took it was not written again.
        greatest(0, least(last_expired, records - written)) AS expired
    FROM ranked
    WHERE recency = 1
)
SELECT
    * EXCLUDE (recency, last_expired),
    greatest(0, records - written - expired - bad_records) AS duplicates
FROM counted;
