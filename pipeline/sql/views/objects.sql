-- The last row of every object. `written` counts over all its attempts: each record is new only once, and an
-- attempt after the first finds its own records again. What was never new is a duplicate.
CREATE OR REPLACE VIEW objects AS
WITH ranked AS (
    SELECT
        *,
        count(*) OVER attempts_of_object AS attempts,
        sum(written) OVER attempts_of_object AS ever_written,
        row_number() OVER (attempts_of_object ORDER BY logged_time DESC, run_id DESC) AS recency
    FROM ingest_log
    -- A message that names no object is known by its own id.
    WINDOW attempts_of_object AS (
        PARTITION BY object_bucket, object_key, object_version, CASE WHEN object_bucket = '' THEN message_id END
    )
)
SELECT
    * EXCLUDE (recency, ever_written)
    REPLACE (
        ever_written::BIGINT AS written,
        greatest(0, least(expired, records - ever_written))::BIGINT AS expired,
        greatest(
            0, records - ever_written - greatest(0, least(expired, records - ever_written))
            - CASE outcome WHEN 'done' THEN dead_letters ELSE 0 END
        )::BIGINT AS duplicates
    )
FROM ranked
WHERE recency = 1;
