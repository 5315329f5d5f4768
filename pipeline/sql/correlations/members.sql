-- The events of each match.
SELECT matches.match_id, events.event_id, events.micros
FROM events
JOIN matches ON matches.group_values = events.grouped AND epoch_us(matches.bucket) // $span = events.bucket
