-- DuckDB's own ways to write to files: profiles, logs, spilled data.
refused PRAGMA enable_profiling = 'json'; PRAGMA profiling_output = '$FOLDER/profile.json'; SELECT 1
refused SET profiling_output = '$FOLDER/profile.json'
refused SET enable_profiling = 'json'
refused SET log_query_path = '$FOLDER/queries.log'
refused PRAGMA log_query_path('$FOLDER/queries.log')
refused CALL enable_logging(storage = 'file', storage_path = '$FOLDER/logs')
refused CALL enable_logging(storage = 'file', storage_config = {'path': '$FOLDER/logs'})
refused SET logging_storage = 'file'
harmless CALL enable_logging('QueryLog', storage = 'stdout')
harmless CALL enable_logging('QueryLog')
harmless CALL disable_logging()
harmless CALL truncate_duckdb_logs()
refused SET temp_directory = '$FOLDER'; SELECT count(*) FROM (SELECT DISTINCT i FROM range(40000000) t(i))
refused PRAGMA temp_directory = '$FOLDER'
harmless SELECT * FROM duckdb_logs()
harmless SELECT * FROM duckdb_temporary_files()
refused SET custom_profiling_settings = '{"QUERY_NAME": "true"}'
refused SET progress_bar_time = 1
refused SET enable_progress_bar_print = true
