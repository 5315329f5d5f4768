-- An identity that has far more $what on a day than on nine of ten of its earlier days with calls, and than its peers.
WITH days AS (
    SELECT
        identity,
        day,
        coalesce($measure FILTER (WHERE $condition), 0)::BIGINT AS amount,
        min(first_seen) AS begun_day,
        arg_max(session_id, (events, session_id)) FILTER (WHERE $condition) AS session_id
    FROM deeds
    GROUP BY identity, day
),
compared AS (
    SELECT
        *,
        coalesce(quantile_cont(amount, 0.9) OVER (
            PARTITION BY identity ORDER BY day ROWS BETWEEN 60 PRECEDING AND 1 PRECEDING
        ), 0) AS usual
    FROM days
),
much AS (
    SELECT *
    FROM compared
    JOIN members USING (identity)
    WHERE begun_day >= begun + to_days($warm_up) AND amount >= $least AND amount >= $factor * (usual + 1)
),
odd AS (
    SELECT
        much.*,
        (
            SELECT quantile_cont(days.amount, 0.9)
            FROM days
            JOIN members USING (identity)
            WHERE members.peers = much.peers AND days.identity <> much.identity
                AND days.day BETWEEN much.day - 30 AND much.day - 1
        ) AS peers_usual
    FROM much
),
proof AS (
    SELECT
        odd.identity,
        odd.day,
        min(events.event_time) AS first_seen,
        max(events.event_time) AS last_seen,
        count(*) AS events,
        count(DISTINCT events.referenced_resource) AS resources,
        count(DISTINCT events.operation_name_orig) AS operations,
        -- As the keys of another account with which one's own data are encrypted.
        list_sort(list_distinct(flatten(list(list_filter(
            list_transform(
                events.referenced_resources, lambda arn: regexp_extract(arn, '^arn:[^:]*:[^:]*:[^:]*:(\d{12}):', 1)
            ),
            lambda account: account NOT IN ('', events.recipient_account_id)
        )))))[:3] AS foreign_accounts,
        list(DISTINCT events.operation_name_orig ORDER BY events.operation_name_orig)[:3] AS named,
        list(events.event_id ORDER BY events.event_time, events.event_id)[:50] AS evidence
    FROM odd
    JOIN who ON who.identity = odd.identity
    JOIN cloud_audit_logs AS events ON events.day = odd.day AND events.session_id = who.session_id
    WHERE $event_condition AND odd.amount > 2 * coalesce(odd.peers_usual, 0)
    GROUP BY odd.identity, odd.day
)
SELECT
    odd.identity || ' ' || odd.day AS about,
    list_concat([
        '$what=' || amount,
        'usual=' || round(usual, 1),
        'peers_usual=' || coalesce(round(peers_usual, 1)::VARCHAR, 'unknown'),
        'resources=' || coalesce(nullif(resources, 0)::VARCHAR, 'unknown'),
        'operations=' || array_to_string(named, ', ') || CASE WHEN operations > 3 THEN ' and others' ELSE '' END
    ], CASE WHEN len(foreign_accounts) > 0
        THEN ['of_other_accounts=' || array_to_string(foreign_accounts, ', ')] END
    ) AS seen,
    proof.first_seen,
    proof.last_seen,
    proof.events,
    odd.session_id,
    1 - (usual + 1) / amount AS score,
    evidence
FROM odd
JOIN proof USING (identity, day)
