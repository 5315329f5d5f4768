-- Objects that were ingested from the place that was listed, and are no longer there.
SELECT DISTINCT object_bucket AS bucket, object_key AS "key"
FROM objects
WHERE
    outcome = 'done'
    AND object_bucket = $bucket
    AND starts_with(object_key, $prefix)
    AND (key_day IS NULL OR key_day BETWEEN $first_day AND $last_day)
    AND NOT EXISTS (FROM listed WHERE (bucket, "key") = (object_bucket, object_key))
ORDER BY ALL;
