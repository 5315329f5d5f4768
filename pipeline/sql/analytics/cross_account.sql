-- The first time that sessions of one account take a role in another: not before the other has $warm_up days of links.
WITH crossings AS (
    SELECT
        issuers.caller_project AS from_account,
        regexp_extract(issues.issued_arn, '::(\d{12}):', 1) AS to_account,
        issues.issued_time, issues.issuing_event_id, issues.issued_arn, issues.issuer_session_id
    FROM issues
    JOIN who AS issuers ON issuers.session_id = issues.issuer_session_id
    WHERE issues.operation LIKE 'AssumeRole%' AND issuers.caller_project IS NOT NULL
),
firsts AS (
    SELECT
        from_account, to_account,
        min(issued_time) AS issued_time,
        arg_min(issuing_event_id, (issued_time, issuing_event_id)) AS issuing_event_id,
        arg_min(issued_arn, (issued_time, issuing_event_id)) AS issued_arn,
        arg_min(issuer_session_id, (issued_time, issuing_event_id)) AS issuer_session_id
    FROM crossings
    WHERE to_account <> '' AND from_account <> to_account
    GROUP BY ALL
),
begun AS (
    SELECT to_account, min(issued_time) AS begun, count(DISTINCT from_account) AS sources
    FROM crossings
    WHERE to_account <> ''
    GROUP BY to_account
)
SELECT
    from_account || ' ' || to_account AS about,
    ['from_account=' || from_account, 'to_account=' || to_account, 'taken=' || issued_arn] AS seen,
    issued_time AS first_seen,
    issued_time AS last_seen,
    1 AS events,
    issuer_session_id AS session_id,
    1 / sources AS score,
    [issuing_event_id] AS evidence
FROM firsts
JOIN begun USING (to_account)
WHERE issued_time >= begun + to_days($warm_up)
