-- The sessions of a story, each after the one that issued it.
SELECT
    told.*, links.issued_time, links.operation AS issued_by, links.method, links.issuer_service
FROM told
LEFT JOIN links ON links.issuing_event_id = told.issuing_event_id AND links.issued_session_id = told.session_id
WHERE story_id = $story
ORDER BY path
