-- Operations that at most three identities of an account have ever used, rarest first.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    account_id,
    operation_name_orig AS operation,
    count(DISTINCT identity_uuid) AS identities,
    count(*) AS calls,
    list(DISTINCT coalesce(identity_name, identity_uuid) ORDER BY coalesce(identity_name, identity_uuid)) AS used_by,
    min(_time) AS first_seen,
    max(_time) AS last_seen
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
GROUP BY ALL
HAVING count(DISTINCT identity_uuid) <= 3
ORDER BY identities, calls, account_id, operation
