-- Sign-ins to the console, with their outcome and whether a second factor was used.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    identity_type,
    coalesce(identity_name, identity_uuid) AS identity,
    caller_ip,
    operation_status AS outcome,
    sign_in_mfa_used AS mfa_used,
    user_agent
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND operation_name_orig = 'ConsoleLogin'
ORDER BY _time, event_id
