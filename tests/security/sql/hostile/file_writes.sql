-- Files made, changed or removed, alone and inside of what looks like a question.
refused COPY (SELECT 1) TO '$FOLDER/new.csv'
refused COPY (SELECT 1) TO '$FOLDER/new.csv' (USE_TMP_FILE false)
refused COPY (SELECT 1) TO '$FOLDER/new.parquet' (FORMAT parquet)
refused COPY (SELECT 1) TO '$FOLDER/new.json' (FORMAT json)
refused COPY (SELECT 1 AS a) TO '$FOLDER/parts' (FORMAT csv, PARTITION_BY (a))
refused COPY (SELECT 1 AS a, 2 AS b) TO '$FOLDER/parts' (FORMAT parquet, PARTITION_BY (a), OVERWRITE_OR_IGNORE)
refused COPY (SELECT 1) TO '$FOLDER/each' (FORMAT csv, PER_THREAD_OUTPUT)
refused COPY (SELECT 1) TO '$FOLDER/sized' (FORMAT csv, FILE_SIZE_BYTES 10)
refused COPY (SELECT 1) TO '$SECRET' (USE_TMP_FILE false)
refused COPY (SELECT 1) TO '$FOREIGN' (FORMAT parquet, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '$FOREIGN' (FORMAT csv, USE_TMP_FILE true)
refused COPY (SELECT 1) TO '$INDEX/data/main/machines/planted.parquet'
refused COPY machines TO '$FOLDER/machines.csv'
refused COPY (SELECT 1) TO '/proc/self/fd/5' (FORMAT csv, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/fd/6' (FORMAT csv, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/fd/7' (FORMAT csv, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/fd/8' (FORMAT parquet, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/fd/9' (FORMAT parquet, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/fd/10' (FORMAT json, USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/fd/11' (FORMAT csv, USE_TMP_FILE true)
refused WITH x AS (COPY (SELECT 1 AS i) TO '$FOLDER/cte.csv' (USE_TMP_FILE false)) SELECT * FROM x
refused WITH x AS (COPY (SELECT 1 AS i) TO '/proc/self/fd/6' (USE_TMP_FILE false)) SELECT * FROM x
refused EXPLAIN ANALYZE COPY (SELECT 1) TO '$FOLDER/explained.csv' (USE_TMP_FILE false)
refused EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1 AS i) TO '$FOLDER/e.csv' (USE_TMP_FILE false)) SELECT * FROM x
refused SELECT 1; COPY (SELECT 1) TO '$FOLDER/second.csv' (USE_TMP_FILE false)
refused PREPARE p AS COPY (SELECT 1) TO '$FOLDER/prepared.csv' (USE_TMP_FILE false); EXECUTE p
refused EXPORT DATABASE '$FOLDER/export'
refused EXPORT DATABASE '$FOLDER/export' (FORMAT parquet)
refused ATTACH '$FOLDER/new.duckdb' AS other; CREATE TABLE other.t AS SELECT 1
refused ATTACH '$FOLDER/new.duckdb' AS other
refused ATTACH IF NOT EXISTS '$FOLDER/enc.duckdb' AS other (ENCRYPTION_KEY 'x')
refused ATTACH ':memory:' AS m; COPY FROM DATABASE m TO memory; COPY (SELECT 1) TO '$FOLDER/m.csv'
refused USE '$FOLDER/new.duckdb'
refused CREATE TABLE big AS SELECT * FROM range(10); EXPORT DATABASE '$FOLDER/big'
refused PRAGMA export_database('$FOLDER/pragma')
refused CHECKPOINT '$FOLDER/x'
refused COPY (SELECT 1) TO '/dev/shm/holdfast-canary.csv' (USE_TMP_FILE false)
refused COPY (SELECT 1) TO 'relative.csv' (USE_TMP_FILE false)
refused COPY (SELECT 1) TO '/proc/self/comm' (FORMAT csv, HEADER false, USE_TMP_FILE false)
refused COPY (SELECT 1000) TO '/proc/self/oom_score_adj' (FORMAT csv, HEADER false, USE_TMP_FILE false)
refused COPY (SELECT 1) TO 'file://$FOLDER/url.csv'
refused COPY (SELECT 1) TO '$FOLDER/arrow.arrow' (FORMAT arrow)
