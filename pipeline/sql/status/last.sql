SELECT max(last_event_time) AS last_event, max(logged_time) AS last_ingest
FROM ingest_log
