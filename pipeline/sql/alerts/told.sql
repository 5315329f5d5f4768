-- Each hit of a rule once, whichever versions of the rule found it, by ingestion or a hunt, with the story of the
-- session that acted.
CREATE OR REPLACE TEMP TABLE told AS
SELECT hits.*, stories.story_id, stories.root_identity
FROM (
    FROM (
        SELECT * FROM tree.detections
        UNION ALL
        SELECT * EXCLUDE (ruleset) FROM tree.hunts
    )
    QUALIFY row_number() OVER (
        PARTITION BY rule_id, event_id ORDER BY alerts DESC, rule_version, commit_number
    ) = 1
) AS hits
LEFT JOIN who AS stories USING (session_id)
