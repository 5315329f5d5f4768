"""Analytics: what is unusual for an identity, an account or a key, one question a file.

Each answers with the same columns: about (what the alert is about), seen, first_seen, last_seen, events, session_id,
score (0 to 1) and evidence (ids of events).
"""
