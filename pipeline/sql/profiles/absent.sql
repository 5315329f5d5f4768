-- The files of events that count and have no profile of the same numbers.
SELECT account_id, day::VARCHAR AS day, first_number, last_number
FROM tree.files AS events
WHERE dataset = 'cloud_audit_logs' AND NOT void AND NOT EXISTS (
    FROM tree.files AS made
    WHERE made.dataset = 'profiles'
        AND (made.account_id, made.day, made.first_number, made.last_number)
            = (events.account_id, events.day, events.first_number, events.last_number)
)
ORDER BY ALL
