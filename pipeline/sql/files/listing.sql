-- tree.listing: the Parquet files as the file system lists them. Names that begin with a dot are not whole yet.
CREATE SCHEMA IF NOT EXISTS tree;
CREATE OR REPLACE TEMP TABLE listing AS
    SELECT 'aws_s3_raw' AS dataset, file FROM glob('$root/aws_s3_raw/account_id=*/day=*/*.parquet')
    UNION ALL
    SELECT 'cloud_audit_logs', file FROM glob('$root/cloud_audit_logs/account_id=*/day=*/*.parquet')
    UNION ALL
    SELECT 'sessions', file FROM glob('$root/sessions/account_id=*/day=*/*.parquet')
    UNION ALL
    SELECT 'detections', file FROM glob('$root/detections/account_id=*/day=*/*.parquet')
    UNION ALL
    SELECT 'profiles', file FROM glob('$root/profiles/account_id=*/day=*/*.parquet')
    UNION ALL
    SELECT 'hunts', file FROM glob('$root/hunts/ruleset=*/account_id=*/day=*/*.parquet')
    UNION ALL
    SELECT 'stories', file FROM glob('$root/stories/day=*/*.parquet')
    UNION ALL
    SELECT 'alerts', file FROM glob('$root/alerts/day=*/*.parquet')
    UNION ALL
    SELECT 'deliveries', file FROM glob('$root/deliveries/day=*/*.parquet')
    UNION ALL
    SELECT 'ingest_log', file FROM glob('$root/ingest_log/day=*/*.parquet');
