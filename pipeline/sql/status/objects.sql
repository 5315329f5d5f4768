SELECT
    count(*) FILTER (object_bucket <> '') AS total,
    count(*) FILTER (object_bucket <> '' AND outcome = 'done') AS done,
    count(*) FILTER (object_bucket <> '' AND outcome = 'dead_letter') AS dead_letter,
    count(*) FILTER (object_bucket <> '' AND outcome = 'digest') AS digest,
    count(*) FILTER (object_bucket <> '' AND outcome = 'ignored') AS ignored,
    count(*) FILTER (object_bucket <> '' AND outcome = 'deferred') AS deferred,
    count(*) FILTER (object_bucket = '') AS messages_without_object,
    coalesce(sum(compressed_bytes), 0)::BIGINT AS compressed_bytes,
    coalesce(sum(decompressed_bytes), 0)::BIGINT AS decompressed_bytes
FROM objects
