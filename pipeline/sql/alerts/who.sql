-- Each session with its story and the identity at its root, evaluated once for all questions.
--
-- `identity` tells apart users, workloads and roots of the same name in several accounts; a person who comes through a
-- directory is one in all of them. `peers` is whom the identity is held against: who takes the same role at the root,
-- else the same kind of identity in the same account. Services, and sessions whose issuer no record tells, have none.
CREATE OR REPLACE TEMP TABLE who AS
WITH known AS MATERIALIZED (
    SELECT session_id, accounts, caller_project, role_name, role_session_name, ec2_role_delivery FROM sessions
)
SELECT
    stories.session_id,
    stories.story_id,
    stories.root_identity,
    stories.root_type,
    known.* EXCLUDE (session_id),
    CASE
        WHEN root_method = 'none' OR root_type IN ('SERVICE', 'ACCOUNT') THEN NULL
        WHEN root_sub_type IN ('ROOT', 'IAM') OR root_type = 'WORKLOAD'
        THEN concat(root_identity, ' of ', roots.caller_project)
        ELSE root_identity
    END AS identity,
    CASE
        WHEN identity IS NULL THEN NULL
        -- Identity Center gives a role's name another ending in each account.
        WHEN roots.role_name IS NOT NULL
        THEN concat('role ', regexp_replace(roots.role_name, '_[0-9a-f]{16}$', ''), ' ', root_sub_type)
        ELSE concat_ws(' ', root_type, root_sub_type, roots.caller_project)
    END AS peers
FROM session_stories AS stories
JOIN known USING (session_id)
LEFT JOIN known AS roots ON roots.session_id = stories.root_session_id
