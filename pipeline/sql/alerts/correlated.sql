-- One row per match of a correlation, with who is behind its events where that is one story.
WITH pairs AS (
    SELECT match_id, unnest(evidence) AS event_id FROM matches
),
hits AS (
    SELECT DISTINCT
        pairs.match_id, told.event_id, told.story_id, told.root_identity, told.session_id, told.recipient_account_id,
        told.evidence
    FROM pairs
    JOIN told USING (event_id)
    SEMI JOIN bases ON bases.rule_id = told.rule_id
),
counted AS (
    SELECT match_id, text, count(*) AS times
    FROM (SELECT match_id, unnest(evidence) AS text FROM hits)
    GROUP BY ALL
),
seen AS (
    SELECT match_id, list(text ORDER BY times DESC, text)[:$most_seen] AS seen FROM counted GROUP BY ALL
),
who AS (
    SELECT
        match_id,
        CASE WHEN count(DISTINCT coalesce(story_id, '')) = 1 THEN any_value(story_id) END AS story_id,
        CASE WHEN count(DISTINCT coalesce(story_id, '')) = 1 THEN min(root_identity) END AS root_identity,
        list_sort(list_distinct(list(recipient_account_id)))[:$most_accounts] AS accounts,
        coalesce(list_sort(list_distinct(list(session_id) FILTER (session_id IS NOT NULL)))[:64], []) AS sessions
    FROM hits
    GROUP BY match_id
)
SELECT
    matches.match_id, matches.group_values, matches.bucket, matches.first_seen, matches.last_seen, matches.events,
    matches.evidence, story_id, root_identity, coalesce(accounts, []) AS accounts, coalesce(sessions, []) AS sessions,
    coalesce(seen, []) AS seen
FROM matches
LEFT JOIN who USING (match_id)
LEFT JOIN seen USING (match_id)
