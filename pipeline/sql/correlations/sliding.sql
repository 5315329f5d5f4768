-- What a window of the span shows that ends with each hit.
CREATE OR REPLACE TEMP TABLE windows AS
SELECT grouped, micros, micros - $span AS since, $measure AS seen
FROM keyed
WINDOW span AS (PARTITION BY grouped ORDER BY micros RANGE BETWEEN $span PRECEDING AND CURRENT ROW)
