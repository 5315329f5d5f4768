-- One row per story: everything that began with one root session, in whatever accounts.
CREATE OR REPLACE VIEW stories AS
SELECT
    story_id,
    -- A story's identity is the one that most of it is told by, where source identities differ.
    arg_max(root_identity, (told_by, root_identity)) AS root_identity,
    arg_max(root_type, (told_by, root_identity)) AS root_type,
    arg_max(root_sub_type, (told_by, root_identity)) AS root_sub_type,
    arg_max(root_method, (told_by, root_identity)) AS root_method,
    any_value(root_session_id) AS root_session_id,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen,
    count(*) AS sessions,
    max(chain_depth) AS depth,
    min(confidence) AS confidence,
    sum(events)::BIGINT AS events,
    sum(failures)::BIGINT AS failures,
    sum(denials)::BIGINT AS denials,
    list_sort(list_distinct(flatten(list(accounts)))) AS accounts,
    list_sort(list_distinct(flatten(list(caller_ips)))) AS caller_ips,
    list_sort(list_distinct(flatten(list(user_agents)))) AS user_agents,
    list_sort(list_distinct(flatten(list(regions)))) AS regions,
    list_sort(list_distinct(flatten(list(services)))) AS services
FROM (
    SELECT session_stories.*, count(*) OVER (PARTITION BY story_id, root_identity) AS told_by
    FROM session_stories
)
JOIN sessions USING (session_id)
GROUP BY story_id;
