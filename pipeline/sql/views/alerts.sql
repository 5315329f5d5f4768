-- One row per alert, as evaluated last; `trailweave alert evaluate` records it.
CREATE OR REPLACE VIEW alerts AS
FROM tree.alerts
QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY evaluated_time DESC, status) = 1;
