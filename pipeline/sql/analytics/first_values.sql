-- The first time that an identity uses a $what, a day and identity a row: not before it has $warm_up days of history.
-- The score falls with the number of values that the identity had used before that day.
WITH used AS (
    SELECT root_identity, begun, unnest($column) AS value, first_seen, day, session_id, recipient_account_id
    FROM acted
),
firsts AS (
    SELECT
        root_identity, value, min(begun) AS begun, min(first_seen) AS seen_first,
        arg_min(day, (first_seen, session_id)) AS day,
        arg_min(session_id, (first_seen, session_id)) AS session_id,
        arg_min(recipient_account_id, (first_seen, session_id)) AS recipient_account_id
    FROM used
    GROUP BY root_identity, value
),
fresh AS (
    SELECT
        *,
        (
            SELECT count(*) FROM firsts AS earlier
            WHERE earlier.root_identity = firsts.root_identity AND earlier.seen_first::DATE < firsts.seen_first::DATE
        ) AS known
    FROM firsts
    WHERE seen_first >= begun + to_days($warm_up)
),
proof AS (
    SELECT
        fresh.root_identity, fresh.value,
        min(events.event_time) AS event_time,
        arg_min(events.event_id, (events.event_time, events.event_id)) AS event_id,
        count(*) AS events
    FROM fresh
    JOIN cloud_audit_logs AS events
        ON events.day = fresh.day
        AND events.recipient_account_id = fresh.recipient_account_id
        AND events.session_id = fresh.session_id
        AND events.$event_column = fresh.value
    GROUP BY ALL
)
SELECT
    fresh.root_identity || ' ' || seen_first::DATE AS about,
    list('$what=' || value ORDER BY value)[:12] AS seen,
    min(proof.event_time) AS first_seen,
    max(proof.event_time) AS last_seen,
    sum(proof.events)::BIGINT AS events,
    min(fresh.session_id) AS session_id,
    max(1 / (1 + known)) AS score,
    list(proof.event_id ORDER BY proof.event_time, proof.event_id)[:50] AS evidence
FROM fresh
JOIN proof USING (root_identity, value)
GROUP BY fresh.root_identity, seen_first::DATE
