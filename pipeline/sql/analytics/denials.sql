-- An identity that is denied far more often on a day than on its usual day with calls.
WITH days AS (
    SELECT
        root_identity, day, sum(denials)::BIGINT AS denied, min(begun) AS begun, min(first_seen) AS first_seen,
        max(last_seen) AS last_seen, arg_max(session_id, (denials, session_id)) AS session_id,
        arg_max(recipient_account_id, (denials, session_id)) AS recipient_account_id
    FROM acted
    GROUP BY root_identity, day
),
compared AS (
    SELECT
        *,
        coalesce(quantile_cont(denied, 0.9) OVER (
            PARTITION BY root_identity ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS usual
    FROM days
),
odd AS (
    FROM compared
    WHERE first_seen >= begun + to_days($warm_up) AND denied >= 20 AND denied >= 5 * (usual + 1)
)
SELECT
    odd.root_identity || ' ' || odd.day AS about,
    ['denied=' || any_value(denied), 'usual=' || round(any_value(usual), 1)] AS seen,
    min(events.event_time) AS first_seen,
    max(events.event_time) AS last_seen,
    any_value(denied) AS events,
    odd.session_id,
    any_value(1 - (usual + 1) / denied) AS score,
    list(events.event_id ORDER BY events.event_time, events.event_id)[:50] AS evidence
FROM odd
JOIN cloud_audit_logs AS events
    ON events.day = odd.day
    AND events.recipient_account_id = odd.recipient_account_id
    AND events.session_id = odd.session_id
    AND events.error_class = 'DENIED'
GROUP BY odd.root_identity, odd.day, odd.session_id
