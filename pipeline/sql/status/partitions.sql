SELECT
    coalesce(key_account_id, 'unknown') AS account_id,
    coalesce(key_day, 'unknown') AS day,
    count(*) AS objects,
    sum(records)::BIGINT AS records,
    sum(written)::BIGINT AS written,
    sum(duplicates)::BIGINT AS duplicates,
    sum(expired)::BIGINT AS expired,
    sum(dead_letters)::BIGINT AS dead_letters,
    count(*) FILTER (outcome = 'deferred') AS deferred
FROM objects
WHERE object_bucket <> ''
GROUP BY 1, 2
