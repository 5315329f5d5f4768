-- Secrets, parameters and passwords that were read, or tried to be: by whom, from where, which ones.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    account_id,
    coalesce(identity_name, identity_uuid) AS identity,
    access_key_id,
    coalesce(caller_ip, caller_ip_orig) AS source,
    operation_name_orig AS operation,
    operation_status AS outcome,
    count(*) AS calls,
    count(DISTINCT referenced_resource) AS resources,
    min(_time) AS first_seen,
    max(_time) AS last_seen
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND operation_name_orig IN (
        'GetSecretValue', 'BatchGetSecretValue', 'GetParameter', 'GetParameters', 'GetParametersByPath',
        'GetPasswordData', 'GetRandomPassword', 'GetAuthorizationToken'
    )
GROUP BY ALL
ORDER BY calls DESC, account_id, identity, access_key_id, source, operation, outcome
