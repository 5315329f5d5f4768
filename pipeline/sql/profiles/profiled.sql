-- Rows of `profiles` from events of some files, told apart by their place. A country counts if a database told it: by
-- the registries a cloud is where its owner is, and who works here and there would seem to travel.
SELECT
    place, session_id, date_trunc('hour', event_time) AS hour, resource_type_orig, operation_name_orig, access_level,
    region, caller_ip, caller_ip_class,
    CASE WHEN enrichment_version NOT LIKE '%iptocc=%' THEN caller_ip_geolocation END AS caller_ip_geolocation,
    caller_ip_asn, caller_ip_asn_org, caller_ip_latitude, caller_ip_longitude, caller_tool,
    caller_tool_kind,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    arg_min(event_id, (event_time, event_id)) AS first_event_id,
    arg_max(event_id, (event_time, event_id)) AS last_event_id,
    count(*) AS events,
    count(*) FILTER (operation_status = 'FAILURE') AS failures,
    count(*) FILTER (error_class = 'DENIED') AS denials
FROM events
WHERE session_id IS NOT NULL
GROUP BY ALL
ORDER BY place, first_seen, first_event_id
