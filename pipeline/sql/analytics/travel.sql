-- A story that goes on from a place that nobody reaches in the time between.
--
-- Where the database of countries has locations: 500 km or more, faster than $speed km an hour. Else another country
-- within $hours hour. Places are public addresses: no networks of AWS, clouds, hosting, VPN or Tor, which are anywhere.
-- A pair of places that the identity had within a day on two earlier days is a way it goes to the internet.
WITH visits AS (
    SELECT
        who.identity,
        who.story_id,
        rows.hour,
        rows.caller_ip_geolocation AS country,
        rows.caller_ip_latitude AS latitude,
        rows.caller_ip_longitude AS longitude,
        concat_ws(' ', country, round(latitude), round(longitude)) AS place,
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
        lag(place) OVER along AS from_place,
        lag(country) OVER along AS from_country,
        lag(latitude) OVER along AS from_latitude,
        lag(longitude) OVER along AS from_longitude,
        lag(last_seen) OVER along AS left_time,
        lag(last_event_id) OVER along AS left_event_id,
        lag(last_address) OVER along AS from_address
    FROM visits
    WINDOW along AS (PARTITION BY story_id ORDER BY first_seen, first_event_id)
),
measured AS (
    SELECT
        moves.*,
        moves.first_seen::DATE AS day,
        least(place, from_place) AS one_place,
        greatest(place, from_place) AS other_place,
        greatest(0, epoch_us(moves.first_seen) - epoch_us(left_time)) / 3_600_000_000 AS hours,
        -- The great circle, by its haversine; null where a location lacks.
        pow(sin(radians(latitude - from_latitude) / 2), 2)
            + cos(radians(latitude)) * cos(radians(from_latitude))
            * pow(sin(radians(longitude - from_longitude) / 2), 2) AS haversine,
        12_742 * asin(sqrt(CASE WHEN haversine > 1 THEN 1 ELSE haversine END)) AS distance
    FROM moves
    JOIN members USING (identity)
    WHERE place <> from_place AND moves.first_seen >= members.begun + to_days($warm_up)
),
impossible AS (
    FROM measured
    WHERE CASE WHEN distance IS NOT NULL THEN distance >= 500 AND distance > $speed * hours
        ELSE country <> from_country AND hours < $hours END
),
days AS (
    SELECT DISTINCT identity, first_seen::DATE AS day, place FROM visits
),
pairs AS (
    SELECT one.identity, one.day, one.place AS one_place, other.place AS other_place
    FROM days AS one
    JOIN days AS other ON other.identity = one.identity AND other.day = one.day AND other.place > one.place
)
SELECT
    identity || ' ' || day AS about,
    list(
        concat(
            'from=', from_country, ' (', from_address, ') to=', country, ' (', first_address, ') in ',
            round(60 * hours)::BIGINT, ' minutes', ', ' || round(distance)::BIGINT || ' km'
        ) ORDER BY first_seen, first_event_id
    )[:4] AS seen,
    min(least(left_time, first_seen)) AS first_seen,
    max(last_seen) AS last_seen,
    sum(events)::BIGINT AS events,
    arg_min(session_id, (first_seen, first_event_id)) AS session_id,
    max(CASE WHEN distance IS NOT NULL THEN 1 - $speed * hours / distance ELSE 1 - hours / (2 * $hours) END) AS score,
    list_sort(list_distinct(flatten(list([left_event_id, first_event_id]))))[:50] AS evidence
FROM impossible
WHERE 2 > (
    SELECT count(*) FROM pairs
    WHERE pairs.identity = impossible.identity
        AND pairs.one_place = impossible.one_place
        AND pairs.other_place = impossible.other_place
        AND pairs.day < impossible.day
)
GROUP BY identity, day
