-- How much came more than once, by source: objects delivered again, and records that an earlier object (of an
-- overlapping trail, say) or the object itself held already.
SELECT
    source_name,
    count(*) AS objects,
    sum(attempts - 1)::BIGINT AS delivered_again,
    sum(records)::BIGINT AS records,
    sum(written)::BIGINT AS written,
    sum(duplicates)::BIGINT AS duplicates,
    round(100 * sum(duplicates) / nullif(sum(records), 0), 1) AS duplicate_percent
FROM objects
GROUP BY source_name
ORDER BY source_name
