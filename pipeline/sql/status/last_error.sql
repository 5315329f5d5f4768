SELECT
    logged_time AS time,
    outcome,
    CASE
        WHEN object_bucket = '' THEN concat('message ', message_id)
        WHEN object_bucket = 'file:' THEN object_key
        WHEN starts_with(object_bucket, 'gs://') THEN concat(object_bucket, '/', object_key)
        ELSE concat('s3://', object_bucket, '/', object_key)
    END AS subject,
    coalesce(reason, concat(dead_letters, ' of ', records, ' records are dead letters')) AS reason
FROM ingest_log
WHERE outcome IN ('dead_letter', 'deferred') OR dead_letters > 0
ORDER BY logged_time DESC
LIMIT 1
