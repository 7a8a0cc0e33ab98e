-- What the engine says of itself: nothing of the service, its paths or other machines may be in it.
harmless SELECT * FROM duckdb_settings()
harmless SELECT * FROM duckdb_databases()
harmless SELECT * FROM duckdb_views()
harmless SELECT * FROM duckdb_tables()
harmless SELECT * FROM duckdb_columns()
harmless SELECT * FROM duckdb_functions()
harmless SELECT * FROM duckdb_dependencies()
harmless SELECT * FROM duckdb_memory()
harmless SELECT * FROM duckdb_optimizers()
harmless SELECT * FROM duckdb_variables()
harmless SELECT * FROM duckdb_prepared_statements()
harmless SELECT * FROM duckdb_log_contexts()
harmless SELECT * FROM duckdb_external_file_cache()
harmless SELECT * FROM duckdb_approx_database_count()
harmless SELECT * FROM information_schema.tables
harmless SELECT * FROM information_schema.views
harmless SELECT * FROM pg_catalog.pg_class
harmless SELECT * FROM pg_catalog.pg_settings
harmless SELECT * FROM sqlite_master
harmless SHOW ALL TABLES
harmless SHOW DATABASES
harmless PRAGMA show_tables_expanded
harmless PRAGMA table_info('machines')
harmless PRAGMA storage_info('machines')
harmless PRAGMA metadata_info
harmless CALL pragma_collations()
harmless CALL pragma_database_size()
harmless EXPLAIN SELECT * FROM chunks
harmless EXPLAIN ANALYZE SELECT * FROM machines
harmless EXPLAIN (FORMAT json) SELECT * FROM events
harmless EXPLAIN ANALYZE SELECT * FROM chunk_refs
harmless SELECT sql FROM duckdb_views() WHERE internal = false
harmless PRAGMA functions
harmless SUMMARIZE events
