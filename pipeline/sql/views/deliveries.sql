-- What the sinks of alerts have taken.
CREATE OR REPLACE VIEW deliveries AS
FROM tree.deliveries;
