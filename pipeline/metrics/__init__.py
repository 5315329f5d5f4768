"""`ingest --metrics-port`: what the loop counts and whether it turns, for Prometheus and for a supervisor."""
