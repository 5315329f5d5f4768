-- A question's answers with who is behind them.
SELECT
    found.* EXCLUDE (session_id),
    who.story_id,
    who.root_identity,
    coalesce(who.accounts, []) AS accounts,
    [found.session_id] AS sessions
FROM ($question) AS found
LEFT JOIN who USING (session_id)
ORDER BY about
