-- One row per session, merged from its fragments by minimum, maximum, sum and union: in whatever order they came.
CREATE OR REPLACE VIEW sessions AS
WITH merged AS (
    SELECT
        session_id,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        arg_min(first_event_id, (first_seen, first_event_id)) AS first_event_id,
        arg_max(last_event_id, (last_seen, last_event_id)) AS last_event_id,
        sum(events)::BIGINT AS events,
        sum(failures)::BIGINT AS failures,
        sum(denials)::BIGINT AS denials,
        min(identity_type) AS identity_type,
        min(identity_sub_type) AS identity_sub_type,
        min(identity_type_orig) AS identity_type_orig,
        min(identity_name) AS identity_name,
        min(identity_arn) AS identity_arn,
        min(principal_id) AS principal_id,
        min(caller_project) AS caller_project,
        min(role_name) AS role_name,
        min(role_session_name) AS role_session_name,
        min(session_issuer_arn) AS session_issuer_arn,
        min(session_created_time) AS session_created_time,
        min(source_identity) AS source_identity,
        min(federated_provider) AS federated_provider,
        min(on_behalf_of_user_id) AS on_behalf_of_user_id,
        min(on_behalf_of_store_arn) AS on_behalf_of_store_arn,
        min(credential_id) AS credential_id,
        min(sign_in_session_arn) AS sign_in_session_arn,
        min(invoked_by) AS invoked_by,
        min(ec2_role_delivery) AS ec2_role_delivery,
        bool_or(mfa_authenticated) AS mfa_authenticated,
        bool_or(from_console) AS from_console,
        list_sort(list(DISTINCT account_id)) AS accounts,
        list_sort(list_distinct(flatten(list(access_key_ids)))) AS access_key_ids,
        list_sort(list_distinct(flatten(list(caller_ips)))) AS caller_ips,
        list_sort(list_distinct(flatten(list(user_agents)))) AS user_agents,
        list_sort(list_distinct(flatten(list(regions)))) AS regions,
        list_sort(list_distinct(flatten(list(services)))) AS services,
        bool_or(is_cut) AS is_cut
    FROM tree.sessions
    WHERE kind = 'fragment'
    GROUP BY session_id
)
-- As in a fragment, a list holds the 64 smallest.
SELECT
    * REPLACE (
        access_key_ids[:64] AS access_key_ids,
        caller_ips[:64] AS caller_ips,
        user_agents[:64] AS user_agents,
        regions[:64] AS regions,
        services[:64] AS services,
        is_cut OR greatest(len(access_key_ids), len(caller_ips), len(user_agents), len(regions), len(services)) > 64
            AS is_cut
    )
FROM merged;
