-- A question's answers with who is behind them.
SELECT
    found.* EXCLUDE (session_id),
    stories.story_id,
    stories.root_identity,
    coalesce(sessions.accounts, []) AS accounts,
    [found.session_id] AS sessions
FROM ($question) AS found
LEFT JOIN session_stories AS stories USING (session_id)
LEFT JOIN sessions USING (session_id)
ORDER BY about
