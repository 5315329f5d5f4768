-- The files that every query on tree.$dataset reads from now on. Set after all views are made: making one plans it,
-- which takes its time over a long list.
SET VARIABLE ${dataset}_files = coalesce(
    (SELECT list(file ORDER BY file) FROM tree.files WHERE dataset = '$dataset' AND NOT void), []::VARCHAR[]
);
SET VARIABLE ${dataset}_absent = len(getvariable('${dataset}_files')) = 0;
