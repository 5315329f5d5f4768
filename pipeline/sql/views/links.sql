-- Which session issued which: one row per issuing event and issued session, with the method, the confidence, and the
-- event as evidence. The issuing event carries no creation time, so the time that the issued session gives for its
-- credentials must be the event's, within five seconds: a key or a name that is used again later joins nobody.
--
-- | method | confidence | joins by |
-- |---|---|---|
-- | access_key | 1.0 | the key that the response names, and the principal |
-- | long_term_key | 1.0 | the key made for a user of the account, first used after it was made |
-- | principal | 0.9 | principal id and time, where the key cannot tell (the console mints its own) |
-- | console_login | 0.7 | arn and time of a sign-in |
-- | identity_center | 0.7 | account, permission set, person and time of a role chosen in the access portal |
-- | switch_role | 0.5 | the last console session of the arn switched from, and principal and time of the role's |
--
-- A call across accounts is logged in both: the caller's record, which knows the session, stands for it. Where two
-- issuers remain for one session, neither is told from the other: `is_ambiguous`, and no story follows them.
CREATE OR REPLACE VIEW links AS
WITH issued AS MATERIALIZED (
    FROM issues
),
used AS MATERIALIZED (
    SELECT
        session_id, first_seen, last_seen, session_created_time, identity_type, identity_name, identity_arn,
        principal_id, caller_project, access_key_ids, from_console, role_name, role_session_name, on_behalf_of_user_id
    FROM sessions
),
keys AS (
    SELECT unnest(access_key_ids) AS access_key_id, used.* EXCLUDE (access_key_ids) FROM used
),
found AS (
    SELECT issued.*, session_id AS issued_session_id, 'access_key' AS method, 1.0 AS confidence
    FROM issued
    JOIN keys ON access_key_id = issued_access_key_id
    WHERE operation <> 'CreateAccessKey'
        AND (issued_principal_id IS NULL OR principal_id IS NULL OR principal_id = issued_principal_id)
        AND CASE
            WHEN session_created_time IS NOT NULL
            THEN abs(epoch_us(session_created_time) - epoch_us(issued_time)) <= 5_000_000
            ELSE first_seen BETWEEN issued_time - INTERVAL 5 SECONDS
                AND coalesce(issued_expiration_time, issued_time + INTERVAL 36 HOURS)
        END
    UNION ALL
    SELECT issued.*, session_id, 'long_term_key', 1.0
    FROM issued
    JOIN keys ON access_key_id = issued_access_key_id
    WHERE operation = 'CreateAccessKey'
        AND first_seen >= issued_time - INTERVAL 5 SECONDS
        AND (issued_user_name IS NULL OR identity_name = issued_user_name)
        AND (caller_project IS NULL OR caller_project = issued.account_id)
    UNION ALL
    SELECT issued.*, session_id, 'principal', 0.9
    FROM issued
    JOIN used ON principal_id = issued_principal_id
        AND session_created_time BETWEEN issued_time - INTERVAL 5 SECONDS AND issued_time + INTERVAL 5 SECONDS
    WHERE operation NOT IN ('ConsoleLogin', 'SwitchRole', 'GetSigninToken', 'CreateOAuth2Token')
        -- Another key of the same name and second is another credential.
        AND (
            issued_access_key_id IS NULL OR len(access_key_ids) = 0 OR from_console
            -- A list of 64 may have been longer.
            OR (len(access_key_ids) = 64 AND NOT list_contains(access_key_ids, issued_access_key_id))
        )
    UNION ALL
    SELECT issued.*, session_id, 'console_login', 0.7
    FROM issued
    JOIN used ON identity_arn = issued_arn
        AND session_created_time BETWEEN issued_time - INTERVAL 5 SECONDS AND issued_time + INTERVAL 5 SECONDS
    WHERE operation IN ('ConsoleLogin', 'GetSigninToken', 'CreateOAuth2Token')
        AND session_id IS DISTINCT FROM issuer_session_id
    UNION ALL
    SELECT issued.*, session_id, 'identity_center', 0.7
    FROM issued
    JOIN used ON caller_project = issued_account_id
        AND session_created_time BETWEEN issued_time - INTERVAL 5 SECONDS AND issued_time + INTERVAL 5 SECONDS
    WHERE role_name IN (issued_role_name, 'AWSReservedSSO_' || issued_role_name || '_' || right(role_name, 16))
        AND (role_session_name = issuer_name OR on_behalf_of_user_id = issuer_user_id)
    UNION ALL
    SELECT issued.* REPLACE (console.session_id AS issuer_session_id), used.session_id, 'switch_role', 0.5
    FROM issued
    JOIN used ON used.principal_id = issued_principal_id
        AND used.session_created_time BETWEEN issued_time - INTERVAL 5 SECONDS AND issued_time + INTERVAL 5 SECONDS
    -- A console session has a begin and lasts twelve hours at most; a long-term key of the same user has none.
    JOIN used AS console ON console.identity_arn = switched_from_arn
        AND console.first_seen <= issued_time + INTERVAL 5 SECONDS
        AND console.session_created_time BETWEEN issued_time - INTERVAL 12 HOURS AND issued_time + INTERVAL 5 SECONDS
    WHERE operation = 'SwitchRole' AND console.session_id <> used.session_id
    -- The last of several; what is named by its key, as a session of GetSessionToken, only where there is no other.
    QUALIFY row_number() OVER (
        PARTITION BY issuing_event_id, used.session_id
        ORDER BY
            list_contains(console.access_key_ids, console.session_id),
            console.session_created_time DESC, console.session_id
    ) = 1
),
told AS (
    -- The copy in the account of the role knows the caller by account only.
    SELECT *
    FROM found
    WHERE issuer_type IS DISTINCT FROM 'ACCOUNT' OR NOT EXISTS (
        FROM found AS callers
        WHERE callers.issued_session_id = found.issued_session_id
            AND callers.issuer_type IS DISTINCT FROM 'ACCOUNT'
            AND (
                callers.shared_event_id = found.shared_event_id
                OR callers.issued_access_key_id = found.issued_access_key_id
            )
    )
),
best AS (
    SELECT *
    FROM told
    WHERE issuer_session_id IS DISTINCT FROM issued_session_id
    -- Of a session's links the surest count.
    QUALIFY confidence = max(confidence) OVER (PARTITION BY issued_session_id)
)
SELECT
    issuing_event_id,
    issued_time,
    operation,
    method,
    confidence::DOUBLE AS confidence,
    issuer_session_id,
    issuer_type,
    issuer_sub_type,
    issuer_name,
    issuer_arn,
    issuer_service,
    issued_session_id,
    issued_access_key_id,
    issued_arn,
    issued_user_name,
    issued_source_identity,
    issued_session_tags,
    count(DISTINCT coalesce(issuer_session_id, '')) OVER (PARTITION BY issued_session_id) > 1 AS is_ambiguous,
    account_id,
    day
FROM best;
