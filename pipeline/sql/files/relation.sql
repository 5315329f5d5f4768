-- tree.$dataset: the rows of the files that count. The columns are given, so that no footer is opened to plan a
-- query and files of older and newer schema versions read together: a column that a file lacks is null.
-- Without any file read_parquet has a column named `empty`, hence the typed select of no rows beside it; and only then
-- may it find nothing, since with `allow_empty` it would pass over a file that was removed since.
SET VARIABLE ${dataset}_files = []::VARCHAR[];
SET VARIABLE ${dataset}_absent = true;
CREATE OR REPLACE VIEW tree.$dataset AS
SELECT $names
FROM (
    SELECT $nulls
    WHERE false
    UNION ALL BY NAME
    FROM read_parquet(
        getvariable('${dataset}_files'),
        schema = MAP {
            $columns
        },
        hive_partitioning = true,
        hive_types = {$partition},
        allow_empty = getvariable('${dataset}_absent')
    )
);
