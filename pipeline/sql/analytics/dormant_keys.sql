-- A long-term access key that is used again after $dormant days without a use: its first day is told, however many
-- fragments the day has.
WITH uses AS (
    SELECT
        unnest(access_key_ids) AS access_key_id, first_seen, last_seen, first_event_id, events, session_id
    FROM session_fragments
    WHERE kind = 'fragment'
),
days AS (
    SELECT
        access_key_id,
        first_seen::DATE AS day,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        arg_min(first_event_id, (first_seen, first_event_id)) AS first_event_id,
        arg_min(session_id, (first_seen, first_event_id)) AS session_id,
        sum(events)::BIGINT AS events
    FROM uses
    WHERE starts_with(access_key_id, 'AKIA')
    GROUP BY ALL
),
gaps AS (
    SELECT *, lag(last_seen) OVER (PARTITION BY access_key_id ORDER BY day) AS before FROM days
)
SELECT
    access_key_id || ' ' || day AS about,
    ['access_key_id=' || access_key_id, 'last_used=' || strftime(before, '%Y-%m-%d')] AS seen,
    first_seen,
    last_seen,
    events,
    session_id,
    least(1, date_diff('day', before, first_seen) / 365) AS score,
    [first_event_id] AS evidence
FROM gaps
WHERE first_seen >= before + to_days($dormant)
