-- The latest begin of a chain that reaches the rule at this position, for each hit: later begins are nearer.
CREATE OR REPLACE TEMP TABLE chained AS
SELECT * REPLACE (
    CASE WHEN position = $position
        THEN max(CASE WHEN position = $position - 1 THEN since END)
            OVER (PARTITION BY grouped ORDER BY micros RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        ELSE since
    END AS since
)
FROM chained
