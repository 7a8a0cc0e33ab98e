-- Code that is not there.
refused INSTALL httpfs
refused LOAD httpfs
refused FORCE INSTALL httpfs
refused INSTALL httpfs FROM community
refused INSTALL spatial FROM 'http://127.0.0.1:$TCP'
refused INSTALL '$FOLDER/planted.duckdb_extension'
refused LOAD '$FOLDER/planted.duckdb_extension'
refused LOAD '/proc/self/fd/5'
refused INSTALL sqlite FROM core_nightly
refused LOAD postgres
refused LOAD 'shell'
harmless UPDATE EXTENSIONS
harmless UPDATE EXTENSIONS (httpfs)
refused SELECT * FROM mysql_query('x', 'SELECT 1')
refused SELECT * FROM postgres_query('x', 'SELECT 1')
harmless SELECT extension_name, install_path, loaded FROM duckdb_extensions()
harmless LOAD parquet
harmless LOAD json
