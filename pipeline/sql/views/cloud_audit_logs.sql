-- One row per event, normalized. Names of Cortex XSIAM's dataset that the files do not repeat are added here.
CREATE OR REPLACE VIEW cloud_audit_logs AS
SELECT
    event_time AS _time,
    event_time AS event_timestamp,
    event_id AS event_base_id,
    *
FROM tree.cloud_audit_logs;
