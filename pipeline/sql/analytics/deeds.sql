-- What each identity did on each day: by session, operation, place and tool.
CREATE OR REPLACE TEMP TABLE deeds AS
SELECT
    who.identity,
    rows.session_id,
    day,
    resource_type_orig,
    operation_name_orig,
    access_level,
    region,
    CASE WHEN caller_ip_class NOT IN ('AWS_SERVICE', 'AWS', 'PRIVATE', 'RESERVED') THEN caller_ip_geolocation END
        AS country,
    CASE WHEN caller_ip_class NOT IN ('AWS_SERVICE', 'AWS', 'PRIVATE', 'RESERVED') THEN caller_ip_asn END AS asn,
    any_value(caller_ip_asn_org) AS asn_org,
    CASE WHEN caller_tool_kind <> 'AWS_SERVICE' THEN caller_tool END AS tool,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen,
    arg_min(first_event_id, (first_seen, first_event_id)) AS first_event_id,
    sum(events)::BIGINT AS events,
    sum(denials)::BIGINT AS denials
FROM tree.profiles AS rows
JOIN who USING (session_id)
WHERE who.identity IS NOT NULL
GROUP BY ALL;
