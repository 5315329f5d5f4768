-- Secrets, parameters and passwords that were read, or tried to be: by whom, from where, which ones. Names that no column
-- has are looked up in the raw records of the days: give them where there are many.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
WITH read AS (
    SELECT *, CASE WHEN json_valid(raw_log) THEN raw_log END AS record
    FROM cloud_audit_logs_with_raw
    WHERE day BETWEEN $since::DATE AND $until::DATE
        AND operation_name_orig IN (
            'GetSecretValue', 'BatchGetSecretValue', 'GetParameter', 'GetParameters', 'GetParametersByPath',
            'GetPasswordData', 'GetRandomPassword', 'GetAuthorizationToken'
        )
),
called AS (
    SELECT
        *,
        coalesce(
            referenced_resource,
            record ->> '$.requestParameters.secretId',
            record ->> '$.requestParameters.name',
            record ->> '$.requestParameters.path',
            record ->> '$.requestParameters.names',
            record ->> '$.requestParameters.secretIdList',
            record ->> '$.requestParameters.filters',
            record ->> '$.requestParameters.instanceId'
        ) AS secret
    FROM read
)
SELECT
    account_id,
    coalesce(identity_name, identity_uuid) AS identity,
    access_key_id,
    coalesce(caller_ip, caller_ip_orig) AS source,
    operation_name_orig AS operation,
    operation_status AS outcome,
    count(*) AS calls,
    count(DISTINCT secret) AS resources,
    list(DISTINCT secret ORDER BY secret)[:20] AS secrets,
    min(_time) AS first_seen,
    max(_time) AS last_seen
FROM called
GROUP BY ALL
ORDER BY calls DESC, account_id, identity, access_key_id, source, operation, outcome
