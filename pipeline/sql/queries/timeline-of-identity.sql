-- Everything done by one identity, in order: a user or role name, a session name, a principal id or an ARN.
-- $identity, as 'ada': name, principal id or ARN, or a LIKE pattern
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    region,
    operation_name_orig AS operation,
    operation_status AS outcome,
    access_key_id,
    coalesce(caller_ip, caller_ip_orig) AS source,
    user_agent,
    referenced_resource AS resource,
    event_id
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND (
        identity_name LIKE $identity
        OR identity_uuid LIKE $identity
        OR identity_arn LIKE $identity
        OR role_session_name LIKE $identity
    )
ORDER BY _time, event_id
