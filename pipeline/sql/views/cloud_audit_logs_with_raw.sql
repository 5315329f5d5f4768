-- Events with their raw record, which is looked up by event and partition: narrow by account_id and day.
CREATE OR REPLACE VIEW cloud_audit_logs_with_raw AS
SELECT cloud_audit_logs.*, aws_s3_raw.raw_json AS raw_log
FROM cloud_audit_logs
LEFT JOIN aws_s3_raw USING (account_id, day, event_id);
