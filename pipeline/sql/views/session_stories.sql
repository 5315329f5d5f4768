-- One row per session: its chain of issuers up to the root session, and the identity at the root.
--
-- A service that calls AssumeRole for a workload is no session to follow, or all workloads were one story: the session
-- that it began is the root, and the workload behind it the identity. `root_method` says what tells the identity:
-- source_identity (set once, kept along a chain), session (the root session's own identity), workload (an instance,
-- function, task or pod, by who issued its session and its name), service, or none: a role session whose issuer no
-- record tells, with `confidence` 0.
CREATE OR REPLACE VIEW session_stories AS
WITH RECURSIVE
known AS MATERIALIZED (
    SELECT
        session_id, identity_type, identity_sub_type, identity_name, identity_arn,
        role_session_name, source_identity, ec2_role_delivery
    FROM sessions
),
first_links AS MATERIALIZED (
    SELECT *
    FROM links
    WHERE NOT is_ambiguous
    QUALIFY row_number() OVER (PARTITION BY issued_session_id ORDER BY issued_time, issuing_event_id) = 1
),
parents AS (
    SELECT issued_session_id, issuer_session_id, confidence
    FROM first_links
    WHERE issuer_session_id IS NOT NULL AND issuer_type IS DISTINCT FROM 'SERVICE'
),
chains AS (
    SELECT
        session_id, session_id AS top, [session_id] AS path, 1.0::DOUBLE AS confidence, NULL::VARCHAR AS again
    FROM known
    UNION ALL
    SELECT
        chains.session_id,
        parents.issuer_session_id,
        CASE WHEN list_contains(path, parents.issuer_session_id) THEN path
        ELSE list_prepend(parents.issuer_session_id, path) END,
        least(chains.confidence, parents.confidence),
        CASE WHEN list_contains(path, parents.issuer_session_id) THEN parents.issuer_session_id END
    FROM chains
    JOIN parents ON parents.issued_session_id = chains.top
    WHERE again IS NULL AND len(path) < 32
),
ended AS (
    SELECT
        session_id,
        path,
        confidence,
        -- A circle, which no true trail has, is known by its smallest member.
        CASE WHEN again IS NULL THEN top ELSE list_min(path[:list_position(path, again)]) END AS root_session_id
    FROM chains
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY again IS NULL, len(path) DESC) = 1
),
roots AS (
    SELECT
        known.session_id,
        known.identity_type,
        known.identity_sub_type,
        known.identity_name,
        known.identity_arn,
        known.role_session_name,
        first_links.issuer_service,
        -- namespace/service account of a pod, from the tags of its session; null unless it has both.
        list_reduce(
            list_transform(
                ['kubernetes-namespace=', 'kubernetes-service-account='],
                lambda name: list_extract(
                    list_filter(first_links.issued_session_tags, lambda tag: starts_with(tag, name)), 1
                )[len(name) + 1:]
            ),
            lambda namespace, account: namespace || '/' || account
        ) AS pod,
        CASE
            WHEN known.identity_type = 'ROLE' THEN
                CASE
                    WHEN first_links.operation = 'CreateSession' THEN 'ROLES_ANYWHERE'
                    WHEN first_links.issuer_service = 'pods.eks.amazonaws.com' THEN 'EKS_POD'
                    WHEN first_links.issuer_service = 'lambda.amazonaws.com' THEN 'LAMBDA_FUNCTION'
                    WHEN first_links.issuer_service = 'ecs-tasks.amazonaws.com' THEN 'ECS_TASK'
                    WHEN known.ec2_role_delivery IS NOT NULL
                        OR first_links.issuer_service = 'ec2.amazonaws.com'
                        OR regexp_full_match(known.role_session_name, 'i-[0-9a-f]{8,17}')
                    THEN 'EC2_INSTANCE'
                END
            WHEN known.identity_sub_type = 'OIDC' THEN
                CASE
                    WHEN starts_with(known.identity_name, 'system:serviceaccount:') THEN 'EKS_POD'
                    WHEN starts_with(known.identity_name, 'repo:') THEN 'GITHUB_WORKFLOW'
                END
        END AS workload
    FROM known
    LEFT JOIN first_links ON first_links.issued_session_id = known.session_id
)
SELECT
    ended.session_id,
    'story-' || left(md5(ended.root_session_id), 16) AS story_id,
    ended.root_session_id,
    len(ended.path) - 1 AS chain_depth,
    ended.path,
    own.issuing_event_id,
    own.method AS link_method,
    CASE
        -- Roles Anywhere sets the certificate's subject as source identity: no person's.
        WHEN known.source_identity IS NOT NULL AND roots.workload IS DISTINCT FROM 'ROLES_ANYWHERE'
        THEN 'source_identity'
        WHEN roots.workload IS NOT NULL THEN 'workload'
        WHEN roots.identity_type <> 'ROLE' THEN 'session'
        WHEN roots.issuer_service IS NOT NULL THEN 'service'
        ELSE 'none'
    END AS root_method,
    CASE root_method
        WHEN 'source_identity' THEN known.source_identity
        WHEN 'workload' THEN
            CASE WHEN roots.workload = 'ROLES_ANYWHERE' THEN coalesce(known.source_identity, roots.role_session_name)
            ELSE coalesce(roots.pod, roots.role_session_name, roots.identity_name) END
        WHEN 'service' THEN roots.issuer_service
        ELSE coalesce(roots.identity_name, roots.identity_arn, roots.session_id)
    END AS root_identity,
    CASE root_method
        WHEN 'source_identity' THEN 'USER'
        WHEN 'workload' THEN 'WORKLOAD'
        WHEN 'service' THEN 'SERVICE'
        ELSE roots.identity_type
    END AS root_type,
    CASE root_method
        WHEN 'source_identity' THEN 'SOURCE_IDENTITY'
        WHEN 'workload' THEN roots.workload
        ELSE roots.identity_sub_type
    END AS root_sub_type,
    CASE root_method WHEN 'none' THEN 0 WHEN 'source_identity' THEN 1 ELSE ended.confidence END AS confidence
FROM ended
JOIN known ON known.session_id = ended.session_id
JOIN roots ON roots.session_id = ended.root_session_id
LEFT JOIN first_links AS own ON own.issued_session_id = ended.session_id;
