-- What each identity did, by fragment: the identity is the one at the root of the session's story, in all its accounts.
-- Services are left out, and sessions whose issuer no record tells.
CREATE OR REPLACE TEMP TABLE acted AS
SELECT
    fragments.session_id, fragments.first_seen, fragments.last_seen, fragments.first_event_id, fragments.events,
    fragments.failures, fragments.denials, fragments.access_key_ids, fragments.regions, fragments.services,
    fragments.recipient_account_id, fragments.day, stories.story_id, stories.root_identity,
    min(fragments.first_seen) OVER (PARTITION BY stories.root_identity) AS begun
FROM session_fragments AS fragments
JOIN session_stories AS stories USING (session_id)
WHERE fragments.kind = 'fragment' AND stories.root_identity IS NOT NULL AND stories.root_method <> 'none'
    AND coalesce(stories.root_type, '') NOT IN ('SERVICE', 'ACCOUNT')
