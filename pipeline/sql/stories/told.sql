-- Every session with its story, evaluated once for the questions that follow.
CREATE OR REPLACE TEMP TABLE told AS
SELECT session_stories.*, sessions.* EXCLUDE (session_id)
FROM session_stories
JOIN sessions USING (session_id)
