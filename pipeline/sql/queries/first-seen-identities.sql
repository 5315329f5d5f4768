-- When each identity was first seen, newest first, and with what it began.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    min(_time) AS first_seen,
    account_id,
    identity_type,
    coalesce(identity_name, identity_uuid) AS identity,
    arg_min(operation_name_orig, (_time, event_id)) AS first_operation,
    arg_min(coalesce(caller_ip, caller_ip_orig), (_time, event_id)) AS first_source,
    count(*) AS calls
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
GROUP BY ALL
ORDER BY first_seen DESC, account_id, identity
