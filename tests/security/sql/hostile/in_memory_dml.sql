-- Changes to the session's own catalog: refused or forgotten with the process.
refused DROP VIEW machines CASCADE; SELECT * FROM machines
refused INSERT INTO machines VALUES ('x')
refused UPDATE machines SET name = 'x'
refused DELETE FROM machines
refused TRUNCATE machines
refused MERGE INTO machines USING machines AS m ON true WHEN MATCHED THEN DELETE
refused WITH x AS (INSERT INTO machines SELECT * FROM machines RETURNING *) SELECT * FROM x
refused WITH x AS (DELETE FROM machines RETURNING *) SELECT * FROM x
refused ALTER VIEW machines RENAME TO nothing; SELECT * FROM machines
refused DROP TABLE rows_of_nothing
harmless CREATE TABLE t AS SELECT * FROM machines
harmless CREATE OR REPLACE VIEW machines AS SELECT 1
harmless CREATE TEMP VIEW v AS SELECT * FROM events
harmless CREATE SCHEMA s
harmless CREATE SEQUENCE s
harmless CREATE TYPE mood AS ENUM ('a')
harmless CREATE MACRO add(a, b) AS a + b
harmless ATTACH ':memory:' AS other
harmless DETACH memory
harmless USE temp
harmless BEGIN TRANSACTION; SELECT 1; ROLLBACK
harmless PREPARE p AS SELECT 1
harmless CREATE INDEX i ON machines (name)
harmless VACUUM
harmless CHECKPOINT
harmless COMMENT ON VIEW machines IS 'x'
harmless ANALYZE
