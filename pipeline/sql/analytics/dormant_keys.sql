-- A long-term access key that is used again after $dormant days without a use.
WITH uses AS (
    SELECT
        unnest(access_key_ids) AS access_key_id, first_seen, last_seen, first_event_id, events, session_id
    FROM session_fragments
    WHERE kind = 'fragment'
),
gaps AS (
    SELECT
        *,
        max(last_seen) OVER (
            PARTITION BY access_key_id ORDER BY first_seen, first_event_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
    FROM uses
    WHERE starts_with(access_key_id, 'AKIA')
)
SELECT
    access_key_id || ' ' || first_seen::DATE AS about,
    ['access_key_id=' || access_key_id, 'last_used=' || strftime(before, '%Y-%m-%d')] AS seen,
    first_seen,
    last_seen,
    events,
    session_id,
    least(1, date_diff('day', before, first_seen) / 365) AS score,
    [first_event_id] AS evidence
FROM gaps
WHERE first_seen >= before + to_days($dormant)
