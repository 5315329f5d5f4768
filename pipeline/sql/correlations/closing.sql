-- Matches as hits: at the end of each window that holds the condition, with the fields of the hits that close it; those
-- that the group names come first.
SELECT DISTINCT
    matches.match_id AS event_id,
    hits.event_time,
    list_concat(bases.names, hits.group_fields) AS group_fields,
    list_concat(windows.grouped, hits.group_values) AS group_values
FROM windows
JOIN matches
    ON matches.group_values = windows.grouped AND epoch_us(matches.bucket) = windows.micros // $span * $span
JOIN keyed ON keyed.grouped = windows.grouped AND keyed.micros = windows.micros
JOIN hits ON hits.event_id = keyed.event_id AND epoch_us(hits.event_time) = keyed.micros
JOIN bases ON bases.rule_id = hits.rule_id
WHERE $holds
