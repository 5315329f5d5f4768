-- Whole chains that fit the span; how many rules they show is known.
CREATE OR REPLACE TEMP TABLE windows AS
SELECT grouped, micros, since, $rules AS seen
FROM chained
WHERE position = $rules AND since >= micros - $span
