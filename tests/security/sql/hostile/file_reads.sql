-- Files that the index does not consist of, by every reader there is.
refused SELECT * FROM read_text('$SECRET')
refused SELECT * FROM read_blob('$SECRET')
refused SELECT * FROM read_csv('$SECRET', columns = {'line': 'VARCHAR'}, sep = '\t', header = false)
refused SELECT * FROM read_csv_auto('$SECRET')
refused SELECT * FROM sniff_csv('$SECRET')
refused SELECT * FROM read_json('$FOLDER/secret.json')
refused SELECT * FROM read_json_auto('$FOLDER/secret.json')
refused SELECT * FROM read_ndjson('$FOLDER/secret.json')
refused SELECT * FROM read_ndjson_objects('$FOLDER/secret.json')
refused SELECT * FROM read_json_objects('$FOLDER/secret.json')
refused SELECT * FROM read_json_objects_auto('$FOLDER/secret.json')
refused SELECT * FROM read_parquet('$FOLDER/secret.parquet')
refused SELECT * FROM parquet_scan('$FOLDER/secret.parquet')
refused SELECT * FROM parquet_metadata('$FOLDER/secret.parquet')
refused SELECT * FROM parquet_schema('$FOLDER/secret.parquet')
refused SELECT * FROM parquet_file_metadata('$FOLDER/secret.parquet')
refused SELECT * FROM parquet_kv_metadata('$FOLDER/secret.parquet')
refused SELECT * FROM parquet_bloom_probe('$FOLDER/secret.parquet', 'word', 'CANARY-FILE')
refused SELECT * FROM '$FOLDER/secret.parquet'
refused SELECT * FROM '$FOLDER/secret.csv'
refused SELECT * FROM '$FOLDER/*.parquet'
refused FROM "$FOLDER/secret.csv"
refused SUMMARIZE '$FOLDER/secret.parquet'
refused DESCRIBE '$FOLDER/secret.parquet'
refused DESCRIBE SELECT * FROM '$FOLDER/secret.csv'
refused EXPLAIN ANALYZE SELECT * FROM '$FOLDER/secret.csv'
refused SELECT * FROM query('SELECT * FROM read_text(''$SECRET'')')
refused SELECT * FROM query_table('$FOLDER/secret.csv')
refused WITH x AS MATERIALIZED (SELECT * FROM read_text('$SECRET')) SELECT * FROM x
refused SELECT (SELECT content FROM read_text('$SECRET'))
refused SELECT * FROM range(3) t(i), LATERAL (SELECT content FROM read_text('$SECRET'))
refused SELECT * FROM read_text(['/proc/self/environ', '/proc/self/cmdline'])
refused SELECT * FROM read_blob('/proc/self/mem')
refused SELECT * FROM read_text('/proc/self/maps')
refused SELECT * FROM read_text('/proc/1/environ')
refused SELECT * FROM read_text('/etc/passwd')
refused SELECT * FROM read_text('/etc/hos*')
refused SELECT * FROM read_text('/proc/self/root$SECRET')
refused SELECT * FROM read_text('/proc/self/cwd/etc/hostname')
refused SELECT * FROM read_text('file://$SECRET')
refused SELECT * FROM read_text('file:$SECRET')
refused SELECT * FROM read_text('$FOLDER/../$NAME/secret.txt')
refused SELECT * FROM read_text('/dev/fd/0')
refused SELECT * FROM read_csv('/proc/self/cgroup', columns = {'line': 'VARCHAR'}, sep = '\t', header = false)
refused ATTACH '$FOLDER/secret.duckdb' AS other (READ_ONLY)
refused ATTACH '$FOLDER/secret.parquet' AS other
refused IMPORT DATABASE '$FOLDER'
refused COPY machines FROM '$FOLDER/secret.csv'
refused CREATE TABLE t AS SELECT * FROM '$FOLDER/secret.csv'
refused CREATE MACRO m() AS TABLE SELECT * FROM read_text('$SECRET')
refused SELECT * FROM read_parquet('/proc/self/fd/0')
refused SELECT * FROM sqlite_scan('$FOLDER/secret.sqlite', 'words')
refused SELECT * FROM read_duckdb('$FOLDER/secret.duckdb')
refused SELECT * FROM st_read('$SECRET')
refused SELECT * FROM read_xlsx('$SECRET')
refused SELECT * FROM read_avro('$SECRET')
refused SELECT * FROM iceberg_scan('$FOLDER')
refused SELECT * FROM delta_scan('$FOLDER')
refused PRAGMA import_database('$FOLDER')
harmless SELECT * FROM glob('$FOLDER/*')
harmless SELECT * FROM glob('/proc/self/fd/*')
harmless SELECT * FROM glob('$INDEX/**')
