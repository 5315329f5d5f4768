-- One row per rule, rule version and event: a hunt over history and ingestion may both have found it.
CREATE OR REPLACE VIEW detections AS
FROM (
    SELECT * FROM tree.detections
    UNION ALL
    SELECT * EXCLUDE (ruleset) FROM tree.hunts
)
QUALIFY row_number() OVER (PARTITION BY rule_id, rule_version, event_id ORDER BY commit_number) = 1;
