-- A listing (bucket, key, etag, size) against the objects that the ingest log knows, by bucket and key.
WITH known AS (
    SELECT
        object_bucket,
        object_key,
        list({'etag': object_etag, 'bytes': compressed_bytes, 'outcome': outcome}) AS contents
    FROM objects
    WHERE object_bucket <> ''
    GROUP BY ALL
),
matched AS (
    SELECT
        listed.*,
        contents,
        list_filter(contents, lambda it: it.etag = listed.etag) AS same
    FROM listed
    LEFT JOIN known ON (object_bucket, object_key) = (bucket, "key")
)
SELECT
    bucket,
    "key",
    CASE
        WHEN len(list_filter(same, lambda it: it.outcome IN ('done', 'digest', 'ignored'))) > 0 THEN CASE
            WHEN len(list_filter(same, lambda it: it.outcome <> 'done' OR it.bytes = size)) > 0 THEN 'ingested'
            ELSE 'altered'
        END
        WHEN len(list_filter(same, lambda it: it.outcome = 'dead_letter')) > 0 THEN 'dead_letter'
        WHEN len(list_filter(contents, lambda it: it.outcome = 'done')) > 0 THEN 'altered'
        ELSE 'not_ingested'
    END AS state
FROM matched
ORDER BY ALL;
