-- Roles assumed from another account: which account and identity took which role, from where. The account that owns
-- the role logs only the caller's account; who it was stands in the caller's own copy, joined where we hold both.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
WITH taken AS (
    FROM cloud_audit_logs
    WHERE day BETWEEN $since::DATE AND $until::DATE
        AND operation_name_orig IN ('AssumeRole', 'AssumeRoleWithSAML', 'AssumeRoleWithWebIdentity', 'AssumeRoot')
)
SELECT
    target._time,
    target.caller_project AS from_account,
    target.account_id AS to_account,
    coalesce(own.identity_name, own.identity_uuid, target.identity_name, target.identity_uuid) AS identity,
    coalesce(own.caller_ip, target.caller_ip, target.caller_ip_orig) AS source,
    target.operation_status AS outcome,
    coalesce(target.issued_arn, target.referenced_resource) AS role
FROM taken AS target
LEFT JOIN taken AS own
    ON own.shared_event_id = target.shared_event_id
    AND own.account_id = target.caller_project
WHERE target.caller_project <> target.account_id
ORDER BY target._time, target.event_id
