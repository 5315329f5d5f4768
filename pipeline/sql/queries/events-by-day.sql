-- Events by day and account, with how many failed and how many identities were at work.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    day,
    account_id,
    count(*) AS events,
    count(*) FILTER (operation_status = 'FAILURE') AS failed,
    count(DISTINCT identity_uuid) AS identities,
    count(DISTINCT caller_ip) AS addresses
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
GROUP BY ALL
ORDER BY day, account_id
