-- tree.files: what the listing's names say; a name that is none of ours, as a temporary file's, is left out.
-- A file is void when another of its folder covers all of its numbers: compaction has published
-- `<first>-<last>.parquet` and not yet removed the parts, so their rows are there twice.
CREATE OR REPLACE TABLE tree.files AS
WITH named AS (
    SELECT
        dataset,
        file,
        regexp_extract(file, '^(.*)/[^/]*$', 1) AS folder,
        nullif(regexp_extract(file, '/account_id=([^/]+)/day=[^/]+/[^/]+$', 1), '') AS account_id,
        TRY_CAST(regexp_extract(file, '/day=([^/]+)/[^/]+$', 1) AS DATE) AS day,
        TRY_CAST(regexp_extract(file, '/(\d{8})(-\d{8})?\.parquet$', 1) AS INTEGER) AS first_number,
        coalesce(TRY_CAST(regexp_extract(file, '/\d{8}-(\d{8})\.parquet$', 1) AS INTEGER), first_number) AS last_number
    FROM listing
),
compacted AS (
    SELECT folder, first_number, last_number FROM named WHERE first_number < last_number
)
SELECT
    named.* EXCLUDE (folder),
    EXISTS (
        FROM compacted
        WHERE compacted.folder = named.folder
            AND compacted.first_number <= named.first_number
            AND named.last_number <= compacted.last_number
            AND (compacted.first_number, compacted.last_number) <> (named.first_number, named.last_number)
    ) AS void
FROM named
WHERE day IS NOT NULL
    AND CASE WHEN dataset IN ('ingest_log', 'stories', 'alerts', 'deliveries') THEN NOT regexp_matches(file, '/\.[^/]*$') ELSE first_number IS NOT NULL END;
