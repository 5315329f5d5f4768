-- Each hit of a base rule once, with its group and its value; a hit that lacks a field of its group has no group.
CREATE OR REPLACE TEMP TABLE keyed AS
SELECT * FROM (
    SELECT DISTINCT
        hits.event_id,
        epoch_us(hits.event_time) AS micros,
        bases.position,
        list_transform(bases.group_by, lambda f: hits.group_values[list_position(hits.group_fields, f)]) AS grouped,
        hits.group_values[list_position(hits.group_fields, bases.field)] AS value
    FROM hits
    JOIN bases USING (rule_id)
)
WHERE len(list_filter(grouped, lambda g: g IS NULL)) = 0
