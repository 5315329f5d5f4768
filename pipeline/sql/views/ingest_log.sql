-- One row per object and attempt that ended in an outcome.
CREATE OR REPLACE VIEW ingest_log AS
FROM tree.ingest_log;
