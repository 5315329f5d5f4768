-- Sign-ins to the console that succeeded without a second factor. People who come through an identity provider are
-- left out: their second factor is the provider's, and AWS does not see it.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    identity_type,
    coalesce(identity_name, identity_uuid) AS identity,
    caller_ip,
    user_agent
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND operation_name_orig = 'ConsoleLogin'
    AND operation_status = 'SUCCESS'
    AND sign_in_mfa_used IS NOT TRUE
    AND identity_sub_type IN ('IAM', 'ROOT')
ORDER BY _time, event_id
