-- A story that goes on from another country within $hours hour: two places that one person is not at.
--
-- Places are public addresses whose country is known: no networks of AWS, clouds, hosting, VPN or Tor, which stand
-- anywhere. A pair of countries that the identity had within a day on two earlier days is a way it goes to the internet.
WITH visits AS (
    SELECT
        who.identity,
        who.story_id,
        rows.hour,
        rows.caller_ip_geolocation AS country,
        min(rows.first_seen) AS first_seen,
        max(rows.last_seen) AS last_seen,
        arg_min(rows.caller_ip, (rows.first_seen, rows.first_event_id)) AS first_address,
        arg_max(rows.caller_ip, (rows.last_seen, rows.last_event_id)) AS last_address,
        arg_min(rows.first_event_id, (rows.first_seen, rows.first_event_id)) AS first_event_id,
        arg_max(rows.last_event_id, (rows.last_seen, rows.last_event_id)) AS last_event_id,
        arg_min(rows.session_id, (rows.first_seen, rows.first_event_id)) AS session_id,
        sum(rows.events)::BIGINT AS events
    FROM tree.profiles AS rows
    JOIN who USING (session_id)
    WHERE who.identity IS NOT NULL
        AND rows.caller_ip_class = 'PUBLIC'
        AND rows.caller_ip_geolocation IS NOT NULL
        AND coalesce(rows.caller_ip_asn, 0) NOT IN ($clouds)
    GROUP BY ALL
),
moves AS (
    SELECT
        *,
        lag(country) OVER along AS from_country,
        lag(last_seen) OVER along AS left_time,
        lag(last_event_id) OVER along AS left_event_id,
        lag(last_address) OVER along AS from_address
    FROM visits
    WINDOW along AS (PARTITION BY story_id ORDER BY first_seen, first_event_id)
),
days AS (
    SELECT DISTINCT identity, first_seen::DATE AS day, country FROM visits
),
pairs AS (
    SELECT one.identity, one.day, one.country AS one_country, other.country AS other_country
    FROM days AS one
    JOIN days AS other ON other.identity = one.identity AND other.day = one.day AND other.country > one.country
),
impossible AS (
    SELECT
        moves.*,
        moves.first_seen::DATE AS day,
        greatest(0, date_diff('minute', left_time, moves.first_seen)) AS minutes,
        least(country, from_country) AS one_country,
        greatest(country, from_country) AS other_country
    FROM moves
    JOIN members USING (identity)
    WHERE country <> from_country
        AND moves.first_seen < left_time + to_hours($hours)
        AND moves.first_seen >= members.begun + to_days($warm_up)
)
SELECT
    identity || ' ' || day AS about,
    list('from=' || from_country || ' (' || from_address || ') to=' || country || ' (' || first_address || ') in '
        || minutes || ' minutes' ORDER BY first_seen, first_event_id)[:4] AS seen,
    min(least(left_time, first_seen)) AS first_seen,
    max(last_seen) AS last_seen,
    sum(events)::BIGINT AS events,
    arg_min(session_id, (first_seen, first_event_id)) AS session_id,
    max(1 - minutes / (120 * $hours)) AS score,
    list_sort(list_distinct(flatten(list([left_event_id, first_event_id]))))[:50] AS evidence
FROM impossible
WHERE 2 > (
    SELECT count(*) FROM pairs
    WHERE pairs.identity = impossible.identity
        AND pairs.one_country = impossible.one_country
        AND pairs.other_country = impossible.other_country
        AND pairs.day < impossible.day
)
GROUP BY identity, day
