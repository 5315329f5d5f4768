-- One row per rule that alerts by itself and story; without a story, per account.
WITH hits AS (
    SELECT *, coalesce(story_id, 'account ' || recipient_account_id) AS about FROM told WHERE alerts
),
counted AS (
    SELECT rule_id, about, text, count(*) AS times
    FROM (SELECT rule_id, about, unnest(evidence) AS text FROM hits)
    GROUP BY ALL
),
seen AS (
    SELECT rule_id, about, list(text ORDER BY times DESC, text)[:$most_seen] AS seen FROM counted GROUP BY ALL
)
SELECT
    rule_id,
    about,
    arg_max(kind, (event_time, event_id)) AS kind,
    arg_max(rule_title, (event_time, event_id)) AS rule_title,
    arg_max(level, (event_time, event_id)) AS level,
    arg_max(tags, (event_time, event_id)) AS tags,
    any_value(story_id) AS story_id,
    min(root_identity) AS root_identity,
    list_sort(list_distinct(list(recipient_account_id)))[:$most_accounts] AS accounts,
    coalesce(list_sort(list_distinct(list(session_id) FILTER (session_id IS NOT NULL)))[:64], []) AS sessions,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    count(*) AS events,
    list(event_id ORDER BY event_time, event_id)[:50] AS evidence,
    coalesce(any_value(seen), []) AS seen
FROM hits
LEFT JOIN seen USING (rule_id, about)
GROUP BY rule_id, about
