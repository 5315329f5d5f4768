-- One row per session, hour, operation, place and tool, merged by minimum, maximum and sum, in whatever order files
-- came. Made by `trailweave alert evaluate` for the files of cloud_audit_logs that it finds.
CREATE OR REPLACE VIEW profiles AS
SELECT
    recipient_account_id, day, session_id, hour, resource_type_orig, operation_name_orig, access_level, region, caller_ip,
    caller_ip_class, caller_ip_geolocation, caller_ip_asn, caller_ip_asn_org, caller_ip_latitude, caller_ip_longitude, caller_tool, caller_tool_kind,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen,
    arg_min(first_event_id, (first_seen, first_event_id)) AS first_event_id,
    arg_max(last_event_id, (last_seen, last_event_id)) AS last_event_id,
    sum(events)::BIGINT AS events,
    sum(failures)::BIGINT AS failures,
    sum(denials)::BIGINT AS denials
FROM tree.profiles
GROUP BY ALL;
