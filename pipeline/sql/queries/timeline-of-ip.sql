-- Everything done from one address, in order.
-- $ip, as '203.0.113.7': address, or a LIKE pattern
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    region,
    operation_name_orig AS operation,
    operation_status AS outcome,
    coalesce(identity_name, identity_uuid) AS identity,
    access_key_id,
    user_agent,
    referenced_resource AS resource,
    event_id
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND caller_ip LIKE $ip
ORDER BY _time, event_id
