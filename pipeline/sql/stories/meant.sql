-- Which stories are meant, by one of four kinds of name.
SELECT DISTINCT story_id
FROM session_stories
JOIN sessions USING (session_id)
WHERE CASE $kind
    WHEN 'story' THEN starts_with(story_id, 'story-' || $value)
    WHEN 'event' THEN session_id IN (SELECT session_id FROM cloud_audit_logs WHERE event_id = $value)
    -- A key that nobody used belongs to the story of whoever asked for it.
    WHEN 'access key' THEN list_contains(access_key_ids, $value)
        OR session_id IN (SELECT issuer_session_id FROM issues WHERE issued_access_key_id = $value)
    ELSE lower(root_identity) = lower($value) OR lower(identity_name) = lower($value)
END
ORDER BY story_id
