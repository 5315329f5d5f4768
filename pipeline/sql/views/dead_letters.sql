-- What could not be processed; `input_text` is the input where it is valid UTF-8.
CREATE OR REPLACE VIEW dead_letters AS
SELECT *, TRY(decode(input)) AS input_text
FROM tree.dead_letters;
