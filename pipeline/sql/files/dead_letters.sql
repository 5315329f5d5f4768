-- tree.dead_letters for plain DuckDB: its avro extension is loaded, and downloaded at first use.
CREATE OR REPLACE VIEW tree.dead_letters AS
SELECT * EXCLUDE (filename), regexp_extract(filename, '/day=([^/]+)/[^/]+$$', 1) AS day
FROM read_avro('$root/dead_letters/day=*/*.avro', filename = true);
