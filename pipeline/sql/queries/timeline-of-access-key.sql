-- Everything done with one access key, in order.
-- $access_key, as 'AKIAIOSFODNN7EXAMPLE': access key id, or a LIKE pattern
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    region,
    operation_name_orig AS operation,
    operation_status AS outcome,
    coalesce(identity_name, identity_uuid) AS identity,
    coalesce(caller_ip, caller_ip_orig) AS source,
    user_agent,
    referenced_resource AS resource,
    event_id
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND access_key_id LIKE $access_key
ORDER BY _time, event_id
