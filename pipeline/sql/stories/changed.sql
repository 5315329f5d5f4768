-- Sessions of some days whose answer is not the recorded one.
WITH told AS (
    SELECT
        session_id, story_id, root_session_id, root_identity, root_type, root_sub_type, root_method, chain_depth, path,
        confidence, issuing_event_id, link_method
    FROM session_stories
)
SELECT now() AS evaluated_time, told.*
FROM told
JOIN sessions USING (session_id)
LEFT JOIN recorded_stories AS recorded ON recorded.session_id = told.session_id
WHERE last_seen::DATE >= $since::DATE AND first_seen::DATE <= $until::DATE
    AND (
        recorded.session_id IS NULL
        OR (
            recorded.root_identity, recorded.root_type, recorded.root_sub_type, recorded.root_method, recorded.path,
            recorded.confidence, recorded.issuing_event_id, recorded.link_method
        ) IS DISTINCT FROM (
            told.root_identity, told.root_type, told.root_sub_type, told.root_method, told.path,
            told.confidence, told.issuing_event_id, told.link_method
        )
    )
ORDER BY told.session_id
