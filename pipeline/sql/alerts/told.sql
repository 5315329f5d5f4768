-- Each hit of a rule once, whichever versions of the rule found it, with the story of the session that acted.
CREATE OR REPLACE TEMP TABLE told AS
SELECT hits.*, stories.story_id, stories.root_identity
FROM (
    FROM detections
    QUALIFY row_number() OVER (PARTITION BY rule_id, event_id ORDER BY alerts DESC, rule_version) = 1
) AS hits
LEFT JOIN who AS stories USING (session_id)
