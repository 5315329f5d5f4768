-- Dead letters that still stand: the last row of their object says that something of it could not be processed.
-- A message that names no object stays open: nothing says later that it was read after all.
CREATE OR REPLACE VIEW open_dead_letters AS
SELECT *
FROM dead_letters
WHERE object_bucket = '' OR EXISTS (
    FROM objects
    WHERE objects.object_bucket = dead_letters.object_bucket
        AND objects.object_key = dead_letters.object_key
        -- An object that was never read has no version in its dead letter.
        AND (dead_letters.object_version = '' OR objects.object_version = dead_letters.object_version)
        AND (objects.outcome = 'dead_letter' OR objects.dead_letters > 0)
);
