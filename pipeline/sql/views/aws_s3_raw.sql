-- One row per record as delivered.
CREATE OR REPLACE VIEW aws_s3_raw AS
FROM tree.aws_s3_raw;
