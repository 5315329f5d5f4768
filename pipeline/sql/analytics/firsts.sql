-- The first time that an identity uses a $what, a day and identity a row: not before it has $warm_up days of history.
--
-- The score falls with the values that are new to the identity in the two weeks before, and with the share of its peers
-- who used the value before; it is lower where anybody did. What several peers, and a fifth of them, do is not told.
WITH used AS (
    SELECT identity, $value AS value, $shown AS shown, day, session_id, first_seen, last_seen, first_event_id, events
    FROM deeds
    WHERE value IS NOT NULL AND $condition
),
firsts AS (
    SELECT
        identity,
        value,
        min(first_seen) AS begun_using,
        arg_min(shown, (first_seen, first_event_id)) AS shown,
        arg_min(session_id, (first_seen, first_event_id)) AS session_id,
        arg_min(first_event_id, (first_seen, first_event_id)) AS event_id
    FROM used
    GROUP BY identity, value
),
compared AS (
    SELECT
        firsts.*,
        begun_using::DATE AS day,
        begun,
        peers,
        count(*) OVER (
            PARTITION BY identity ORDER BY begun_using::DATE
            RANGE BETWEEN INTERVAL 14 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING
        ) AS recent,
        row_number() OVER (PARTITION BY value ORDER BY begun_using, identity) - 1 AS others,
        row_number() OVER (PARTITION BY peers, value ORDER BY begun_using, identity) - 1 AS peers_before
    FROM firsts
    JOIN members USING (identity)
),
groups AS (
    SELECT peers, begun, count(*) OVER (PARTITION BY peers ORDER BY begun) AS known FROM members
),
sized AS (
    -- Those of the group that were known by then, but for the identity itself.
    SELECT compared.*, groups.known - 1 AS group_size
    FROM compared
    ASOF JOIN groups ON groups.peers = compared.peers AND compared.begun_using > groups.begun
    WHERE begun_using >= compared.begun + to_days($warm_up)
),
scored AS (
    SELECT
        *,
        coalesce(peers_before / nullif(group_size, 0), 0) AS share,
        (1 - share) / (1 + recent) * CASE others WHEN 0 THEN 1 ELSE 0.7 END AS score
    FROM sized
),
fresh AS (
    FROM scored WHERE score >= 0.1 AND NOT (peers_before >= 2 AND share >= 0.2)
),
counted AS (
    SELECT fresh.*, sum(used.events)::BIGINT AS events, max(used.last_seen) AS last_seen
    FROM fresh
    JOIN used USING (identity, value, day)
    GROUP BY ALL
)
SELECT
    identity || ' ' || day AS about,
    list_concat(
        list('$what=' || shown ORDER BY score DESC, value)[:4],
        ['peers_before=' || max(peers_before) || ' of ' || max(group_size), 'others_before=' || max(others)]
    ) AS seen,
    min(begun_using) AS first_seen,
    max(last_seen) AS last_seen,
    sum(events)::BIGINT AS events,
    arg_min(session_id, (begun_using, event_id)) AS session_id,
    max(score) AS score,
    list(event_id ORDER BY begun_using, event_id)[:50] AS evidence
FROM counted
GROUP BY identity, day
