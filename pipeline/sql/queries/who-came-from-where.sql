-- Who called, and from where: every identity with the addresses (or AWS services) it used, how often and when.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    account_id,
    identity_type,
    coalesce(identity_name, identity_uuid) AS identity,
    coalesce(caller_ip, caller_ip_orig) AS source,
    count(*) AS calls,
    count(*) FILTER (operation_status = 'FAILURE') AS failed,
    min(_time) AS first_seen,
    max(_time) AS last_seen
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
GROUP BY ALL
ORDER BY calls DESC, account_id, identity, source
