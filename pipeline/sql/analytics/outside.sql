-- Credentials of instances used from an address that is neither of AWS nor one where instances of the account begin: a
-- row an account and address. An instance is at home where it is seen in its first $hours hour; such addresses are the
-- account's own, its NAT gateways for the most part.
--
-- The score falls with the addresses that were new in this way in the two weeks before. An address to which half of the
-- account's instances, and three, have gone is a new way out, not a theft.
WITH used AS (
    SELECT
        who.caller_project AS account,
        who.role_session_name AS instance,
        rows.caller_ip AS address,
        arg_min(who.role_name, (rows.first_seen, rows.first_event_id)) AS role_name,
        any_value(rows.caller_ip_class) AS class,
        any_value(rows.caller_ip_asn) AS asn,
        any_value(rows.caller_ip_asn_org) AS asn_org,
        any_value(rows.caller_ip_geolocation) AS country,
        min(rows.first_seen) AS first_seen,
        max(rows.last_seen) AS last_seen,
        arg_min(rows.first_event_id, (rows.first_seen, rows.first_event_id)) AS first_event_id,
        arg_max(rows.last_event_id, (rows.last_seen, rows.last_event_id)) AS last_event_id,
        arg_min(rows.session_id, (rows.first_seen, rows.first_event_id)) AS session_id,
        sum(rows.events)::BIGINT AS events
    FROM tree.profiles AS rows
    JOIN who USING (session_id)
    WHERE (who.ec2_role_delivery IS NOT NULL OR regexp_full_match(who.role_session_name, 'i-[0-9a-f]{8,17}'))
        AND who.role_session_name IS NOT NULL
        AND who.caller_project IS NOT NULL
        AND rows.caller_ip IS NOT NULL
        AND rows.caller_ip_class IN ('PUBLIC', 'TOR', 'VPN', 'HOSTING', 'CLOUD', 'AWS', 'PRIVATE')
    GROUP BY ALL
),
placed AS (
    SELECT
        *,
        min(first_seen) OVER (PARTITION BY account, instance) AS begun,
        first_seen >= begun + to_hours($hours) AS is_strange
    FROM used
),
strange AS (
    SELECT
        account,
        address,
        any_value(concat_ws(', ', class, country, asn_org)) AS whose,
        bool_or(class <> 'PUBLIC' OR asn IS NOT NULL) AS is_told,
        list(DISTINCT instance ORDER BY instance) AS instances,
        list(DISTINCT role_name ORDER BY role_name) AS roles,
        min(first_seen) AS first_seen,
        max(last_seen) AS last_seen,
        sum(events)::BIGINT AS events,
        arg_min(session_id, (first_seen, first_event_id)) AS session_id,
        list(first_event_id ORDER BY first_seen, first_event_id) AS firsts,
        list(last_event_id ORDER BY first_seen, first_event_id) AS lasts
    FROM placed
    WHERE is_strange AND class NOT IN ('AWS', 'PRIVATE') AND coalesce(asn, 0) NOT IN ($amazon)
    GROUP BY account, address
),
compared AS (
    SELECT
        *,
        count(*) OVER (
            PARTITION BY account ORDER BY first_seen
            RANGE BETWEEN INTERVAL 14 DAYS PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING
        ) AS recent,
        (
            SELECT count(DISTINCT instance) FROM placed
            WHERE placed.account = strange.account AND placed.last_seen >= strange.first_seen
        ) AS active
    FROM strange
    WHERE NOT EXISTS (
        FROM placed
        WHERE placed.account = strange.account
            AND placed.address = strange.address
            AND NOT placed.is_strange
            AND placed.first_seen <= strange.first_seen
    )
)
SELECT
    account || ' ' || address AS about,
    [
        'address=' || address || ' (' || whose || ')',
        'instances=' || array_to_string(instances[:3], ', '),
        'roles=' || array_to_string(roles[:3], ', '),
        'new_addresses_before=' || recent
    ] AS seen,
    first_seen,
    last_seen,
    events,
    session_id,
    -- Where nothing says whose the address is, it may be one of AWS.
    CASE WHEN is_told THEN 1 ELSE 0.5 END / (1 + recent) AS score,
    list_concat(firsts, list_filter(lasts, lambda id: NOT list_contains(firsts, id)))[:50] AS evidence
FROM compared
WHERE recent < 5 AND NOT (len(instances) >= 3 AND len(instances) >= active / 2)
