-- What was done as root of an account, calls that AWS made on its behalf left out.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    operation_name_orig AS operation,
    operation_status AS outcome,
    caller_ip,
    user_agent,
    referenced_resource AS resource
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND identity_sub_type = 'ROOT'
    AND invoked_by IS NULL
ORDER BY _time, event_id
