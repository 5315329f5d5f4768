-- Stories by what they reach: chains and accounts first.
SELECT
    story_id, root_identity, root_type, root_sub_type, root_method, first_seen, last_seen, sessions, depth,
    confidence, events, failures, denials, accounts, caller_ips
FROM stories
WHERE last_seen::DATE >= $since::DATE AND first_seen::DATE <= $until::DATE
    AND ($identity = '' OR contains(lower(root_identity), lower($identity)))
ORDER BY depth DESC, denials DESC, events DESC, story_id
LIMIT $most::BIGINT
