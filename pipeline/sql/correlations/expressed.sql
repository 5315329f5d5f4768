-- Whether an expression of rules holds in the window of the span that ends with each hit; what it denies is looked for
-- on both sides of that hit.
CREATE OR REPLACE TEMP TABLE windows AS
SELECT grouped, micros, micros - $span AS since, $holds AS seen
FROM keyed
WINDOW
    before AS (PARTITION BY grouped ORDER BY micros RANGE BETWEEN $span PRECEDING AND CURRENT ROW),
    around AS (PARTITION BY grouped ORDER BY micros RANGE BETWEEN $span PRECEDING AND $span FOLLOWING)
QUALIFY $decided
