-- Events with the story that they belong to: who is at its root, through how many issuers, how surely.
CREATE OR REPLACE VIEW cloud_audit_logs_with_story AS
SELECT
    cloud_audit_logs.*,
    session_stories.* EXCLUDE (session_id, issuing_event_id, link_method)
FROM cloud_audit_logs
LEFT JOIN session_stories USING (session_id);
