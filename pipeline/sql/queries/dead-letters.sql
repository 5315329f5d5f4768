-- Dead letters that still stand: where they come from, why, and how the input begins.
SELECT
    day,
    stage,
    scope,
    object_bucket,
    object_key,
    record_index,
    reason,
    left(input_text, 200) AS input_begins
FROM open_dead_letters
ORDER BY day, object_bucket, object_key, record_index, reason
