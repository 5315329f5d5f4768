-- Stories by their ids, for whoever has to choose.
SELECT story_id, root_identity, first_seen, sessions, depth, events, denials, accounts
FROM stories
WHERE story_id IN (SELECT unnest(string_split($stories, ',')))
ORDER BY first_seen, story_id
