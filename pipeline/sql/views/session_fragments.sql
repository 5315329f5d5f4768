-- What each raw file tells of sessions: fragments, which the view sessions merges, and links, as in the view issues.
CREATE OR REPLACE VIEW session_fragments AS
FROM tree.sessions;
