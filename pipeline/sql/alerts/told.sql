-- Each hit of a rule once, whichever versions of the rule found it, by ingestion or a hunt, with the story of the
-- session that acted.
--
-- A call across accounts is logged in both. The record in the account of the role knows the caller by account only: its
-- hits belong to the story of the session that the caller's own record names.
--
-- `told_versions` has all versions: each keeps of an event what the correlations of its time asked for.
CREATE OR REPLACE TEMP TABLE told_versions AS
WITH callers AS (
    SELECT copies.issuing_event_id AS event_id, min(callers.issuer_session_id) AS caller_session_id
    FROM issues AS copies
    JOIN issues AS callers USING (shared_event_id)
    WHERE copies.issuer_type = 'ACCOUNT' AND callers.issuer_type IS DISTINCT FROM 'ACCOUNT'
    GROUP BY ALL
)
SELECT found.*, stories.story_id, stories.root_identity
FROM (
    SELECT
        *, row_number() OVER (PARTITION BY rule_id, event_id ORDER BY alerts DESC, rule_version, commit_number) AS place
    FROM (
        SELECT * FROM tree.detections
        UNION ALL
        SELECT * EXCLUDE (ruleset) FROM tree.hunts
    )
) AS found
LEFT JOIN callers USING (event_id)
LEFT JOIN who AS stories ON stories.session_id = coalesce(callers.caller_session_id, found.session_id);
CREATE OR REPLACE TEMP VIEW told AS SELECT * EXCLUDE (place) FROM told_versions WHERE place = 1
