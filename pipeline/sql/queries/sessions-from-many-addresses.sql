-- Issued sessions, of temporary credentials, that were used from more than one address: a stolen session, or a moving laptop.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    account_id,
    coalesce(identity_name, identity_uuid) AS identity,
    session_id,
    count(DISTINCT caller_ip) AS addresses,
    list(DISTINCT caller_ip ORDER BY caller_ip) AS used_from,
    count(*) AS calls,
    min(_time) AS first_seen,
    max(_time) AS last_seen
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND session_id IS NOT NULL
    AND starts_with(access_key_id, 'ASIA')
    AND caller_ip IS NOT NULL
    AND invoked_by IS NULL
GROUP BY ALL
HAVING count(DISTINCT caller_ip) > 1
ORDER BY addresses DESC, calls DESC, session_id
