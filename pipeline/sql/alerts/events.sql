-- The events of one alert's evidence, by time.
SELECT event_time, operation_name_orig AS operation, operation_status AS outcome, identity_name AS identity,
    caller_ip, recipient_account_id AS account, event_id
FROM cloud_audit_logs
SEMI JOIN asked USING (event_id)
WHERE day BETWEEN $since::DATE AND $until::DATE
ORDER BY event_time, event_id
