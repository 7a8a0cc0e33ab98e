-- A caller of some machines, looking for others. What it finds is searched for their names, ids and hashes.
harmless SELECT * FROM machines
harmless SELECT * FROM disks
harmless SELECT * FROM snapshots
harmless SELECT * FROM extents
harmless SELECT * FROM chunks
harmless SELECT * FROM chunk_refs
harmless SELECT * FROM disk_points
harmless SELECT * FROM restore_points
harmless SELECT * FROM deletions
harmless SELECT * FROM verifications
harmless SELECT * FROM coverage
harmless SELECT * FROM events
harmless SELECT stats(name) FROM machines
harmless SELECT stats(machine_id) FROM machines
harmless SELECT DISTINCT stats(disk_id) FROM chunks
harmless SELECT DISTINCT stats(digest) FROM chunks
harmless SELECT DISTINCT stats(disk_id) FROM chunk_refs
harmless SELECT DISTINCT stats(disk_id), stats(seq), stats(part) FROM extents
harmless SELECT DISTINCT stats(machine_id), stats(body) FROM events
harmless SELECT DISTINCT stats(restore_point_id) FROM disk_points
harmless SELECT min(disk_id), max(disk_id), min(digest), max(digest) FROM chunks
harmless SELECT min(disk_id), max(disk_id) FROM chunk_refs
harmless SELECT approx_count_distinct(disk_id), count(*) FROM chunks
harmless SELECT * FROM rows_of_chunks
harmless SELECT * FROM rows_of_chunk_refs
harmless SELECT * FROM rows_of_machines
harmless SELECT * FROM rows_of_events
harmless SELECT * FROM temp.main.rows_of_chunks
harmless SELECT stats(disk_id) FROM rows_of_chunks
harmless SELECT * FROM rows_of_chunks WHERE true OR disk_id IS NULL
harmless SELECT * FROM rows_of_chunks WHERE error(disk_id) IS NULL
harmless SELECT error(disk_id) FROM chunks
harmless SELECT CAST(disk_id AS INTEGER) FROM chunks
harmless SELECT CAST(name AS INTEGER) FROM machines
harmless SELECT * FROM machines WHERE CAST(name AS INTEGER) = 1
harmless SELECT * FROM chunk_refs WHERE CAST(disk_id AS INTEGER) = 1
harmless SELECT * FROM chunk_refs WHERE CASE WHEN disk_id LIKE '%' THEN error(disk_id) END IS NULL
harmless SELECT * FROM chunks WHERE 1 / (CASE WHEN disk_id = '$FOREIGN_DISK' THEN 0 ELSE 1 END) > 0 OR error('x') IS NULL
harmless SELECT if(count(*) > 0, 'CANARY' || '-FOUND', 'none') AS found FROM chunks WHERE disk_id = '$FOREIGN_DISK'
harmless SELECT if(count(*) > 0, 'CANARY' || '-FOUND', 'none') AS found FROM chunk_refs WHERE disk_id = '$FOREIGN_DISK'
harmless SELECT if(count(*) > 0, 'CANARY' || '-FOUND', 'none') AS found FROM rows_of_chunk_refs WHERE disk_id = '$FOREIGN_DISK'
harmless SELECT if(count(*) > 0, 'CANARY' || '-FOUND', 'none') AS found FROM events WHERE machine_id = '$FOREIGN_MACHINE'
harmless SELECT if(count(*) > 0, 'CANARY' || '-FOUND', 'none') AS found FROM events WHERE body LIKE '%$FOREIGN_NAME%'
harmless SELECT if(count(*) > 0, 'CANARY' || '-FOUND', 'none') AS found FROM machines WHERE name LIKE 'canary%'
harmless SELECT m.name FROM chunk_refs a JOIN chunk_refs b USING (digest) JOIN disk_points p ON b.disk_id = p.disk_id JOIN machines m ON p.machine_id = m.machine_id
harmless SELECT * FROM chunks SEMI JOIN (SELECT disk_id, seq FROM disk_points) USING (disk_id, seq)
harmless SELECT * FROM chunks TABLESAMPLE 100%
harmless SELECT * FROM (SUMMARIZE chunks)
harmless SUMMARIZE chunk_refs
harmless SUMMARIZE rows_of_events
harmless SELECT max(file_row_number) FROM chunks
harmless SELECT filename FROM chunks
harmless SELECT rowid FROM rows_of_chunks
harmless SELECT * FROM pragma_storage_info('rows_of_chunks')
harmless EXPLAIN ANALYZE SELECT * FROM rows_of_chunks WHERE disk_id = '$FOREIGN_DISK'
harmless SELECT * FROM duckdb_columns() WHERE table_name LIKE 'rows_of%'
refused SELECT * FROM parquet_metadata('$FOREIGN')
refused SELECT * FROM parquet_metadata('/proc/self/fd/8')
refused SELECT * FROM read_parquet('$FOREIGN')
refused SELECT * FROM read_parquet('/proc/self/fd/5')
refused SELECT * FROM read_parquet('/proc/self/fd/6')
refused SELECT * FROM read_parquet('/proc/self/fd/7')
refused SELECT * FROM read_blob('/proc/self/fd/9')
refused SELECT * FROM read_blob('/proc/self/map_files/*')
refused SELECT * FROM parquet_bloom_probe('/proc/self/fd/7', 'disk_id', '$FOREIGN_DISK')
refused SELECT * FROM parquet_full_metadata('/proc/self/fd/7')
refused SELECT * FROM read_parquet('$INDEX/data/main/*/*.parquet', union_by_name = true)
refused ATTACH '$INDEX/lake.sqlite' AS lake (TYPE sqlite)
refused ATTACH 'ducklake:$INDEX/lake.sqlite' AS lake
refused ATTACH '$FOREIGN' AS foreign_rows
