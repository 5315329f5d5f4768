-- What a story's sessions did: one row for calls of the same kind, from the same address, with the same outcome.
SELECT
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    count(*) AS calls,
    cloud_audit_logs.session_id,
    cloud_audit_logs.account_id,
    resource_type_orig AS service,
    operation_name_orig AS operation,
    operation_status AS outcome,
    error_class,
    coalesce(caller_ip, caller_ip_orig) AS source,
    arg_min(coalesce(issued_arn, issued_user_name, referenced_resource), (event_time, event_id)) AS example,
    arg_min(event_id, (event_time, event_id)) AS first_event_id
FROM cloud_audit_logs
JOIN session_stories ON session_stories.session_id = cloud_audit_logs.session_id
WHERE story_id = $story
    AND day BETWEEN (SELECT first_seen::DATE FROM stories WHERE story_id = $story)
        AND (SELECT last_seen::DATE FROM stories WHERE story_id = $story)
GROUP BY ALL
ORDER BY first_seen, first_event_id
