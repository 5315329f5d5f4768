-- What each whole bucket shows that has ended long enough ago.
CREATE OR REPLACE TEMP TABLE windows AS
SELECT grouped, max(micros) AS micros, bucket * $span AS since, $measure AS seen
FROM (SELECT *, micros // $span AS bucket FROM keyed)
WHERE (bucket + 1) * $span <= $settled
GROUP BY grouped, bucket
