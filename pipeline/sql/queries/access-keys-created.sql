-- Long-term access keys that were created: by whom, for whom, and how often each was used since.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    created._time,
    created.account_id,
    coalesce(created.identity_name, created.identity_uuid) AS created_by,
    created.caller_ip,
    created.issued_user_name AS created_for,
    created.issued_access_key_id AS access_key_id,
    count(used.event_id) AS uses,
    min(used._time) AS first_used
FROM cloud_audit_logs AS created
LEFT JOIN cloud_audit_logs AS used ON used.access_key_id = created.issued_access_key_id
WHERE created.day BETWEEN $since::DATE AND $until::DATE
    AND created.operation_name_orig = 'CreateAccessKey'
    AND created.operation_status = 'SUCCESS'
GROUP BY ALL
ORDER BY created._time, access_key_id
