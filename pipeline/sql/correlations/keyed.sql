-- Each hit of a base rule once, with its group and its value; a hit that lacks a field of its group has no group.
CREATE OR REPLACE TEMP TABLE keyed AS
SELECT * REPLACE (
    -- Several fields make one value where all of them are there.
    CASE
        WHEN len(value) = 1 THEN value[1]
        WHEN len(list_filter(value, lambda it: it IS NULL)) = 0 THEN to_json(value)::VARCHAR
    END AS value
)
FROM (
    SELECT DISTINCT
        hits.event_id,
        epoch_us(hits.event_time) AS micros,
        bases.position,
        list_transform(bases.group_by, lambda f: hits.group_values[list_position(hits.group_fields, f)]) AS grouped,
        list_transform(bases.fields, lambda f: hits.group_values[list_position(hits.group_fields, f)]) AS value
    FROM hits
    JOIN bases USING (rule_id)
)
WHERE len(list_filter(grouped, lambda g: g IS NULL)) = 0
