SELECT
    coalesce(sum(records), 0)::BIGINT AS received,
    coalesce(sum(written), 0)::BIGINT AS written,
    coalesce(sum(duplicates), 0)::BIGINT AS duplicates,
    coalesce(sum(expired), 0)::BIGINT AS expired,
    coalesce(sum(bad_records), 0)::BIGINT AS bad
FROM objects
