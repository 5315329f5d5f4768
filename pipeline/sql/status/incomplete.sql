-- Raw files that no file of the dataset which marks completeness answers: of the same number, or compacted over it.
WITH raw AS (
    SELECT account_id, day, first_number, last_number, file
    FROM tree.files
    WHERE dataset = 'aws_s3_raw' AND NOT void
),
marker AS (
    SELECT account_id, day, first_number, last_number
    FROM tree.files
    WHERE dataset = '$marker' AND NOT void
)
SELECT regexp_extract(file, 'aws_s3_raw/[^/]+/[^/]+/[^/]+$$') AS file
FROM raw
ANTI JOIN marker USING (account_id, day, first_number, last_number)
WHERE NOT EXISTS (
    FROM marker
    WHERE marker.first_number < marker.last_number
        AND marker.account_id = raw.account_id
        AND marker.day = raw.day
        AND marker.first_number <= raw.first_number
        AND raw.last_number <= marker.last_number
)
ORDER BY file
