-- Each identity: since when it is known, and its peers; of several groups the one of most of its sessions.
CREATE OR REPLACE TEMP TABLE members AS
WITH begun AS (
    SELECT identity, min(first_seen) AS begun FROM deeds GROUP BY identity
),
grouped AS (
    SELECT identity, peers, count(*) AS sessions FROM who WHERE identity IS NOT NULL GROUP BY ALL
)
SELECT identity, any_value(begun) AS begun, arg_max(peers, (sessions, peers)) AS peers
FROM begun
JOIN grouped USING (identity)
GROUP BY identity;
