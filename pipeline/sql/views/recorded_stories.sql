-- The last recorded answer of each session, for readers that cannot evaluate; `trailweave stitch` records it.
CREATE OR REPLACE VIEW recorded_stories AS
FROM tree.stories
QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY evaluated_time DESC, story_id) = 1;
