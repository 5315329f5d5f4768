-- The sessions of a story, each after the one that issued it.
SELECT
    session_stories.*, sessions.* EXCLUDE (session_id),
    links.issued_time, links.operation AS issued_by, links.method, links.issuer_service
FROM session_stories
JOIN sessions USING (session_id)
LEFT JOIN links ON links.issuing_event_id = session_stories.issuing_event_id
    AND links.issued_session_id = session_stories.session_id
WHERE story_id = $story
ORDER BY path
