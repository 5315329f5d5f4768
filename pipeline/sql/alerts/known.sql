-- Of some alerts those whose evidence still is in the tree.
SELECT DISTINCT alert_id
FROM (SELECT alert_id, unnest(evidence) AS event_id FROM alerts WHERE status <> 'superseded')
JOIN told USING (event_id)
