-- Calls that were denied, by identity and operation: probing, or a permission that is missing.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    account_id,
    identity_type,
    coalesce(identity_name, identity_uuid) AS identity,
    operation_name_orig AS operation,
    count(*) AS denied,
    count(DISTINCT caller_ip) AS addresses,
    min(_time) AS first_seen,
    max(_time) AS last_seen
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND error_class = 'DENIED'
GROUP BY ALL
ORDER BY denied DESC, account_id, identity, operation
