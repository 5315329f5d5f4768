-- Of some alerts those whose evidence still is in the tree.
SELECT DISTINCT alert_id
FROM gone
SEMI JOIN (
    SELECT event_id FROM told
    UNION ALL
    SELECT event_id FROM cloud_audit_logs
) AS kept USING (event_id)
ORDER BY alert_id
