-- Connections: the canary listens on TCP, UDP and a path.
refused SELECT * FROM read_text('http://127.0.0.1:$TCP/x')
refused SELECT * FROM read_csv('https://127.0.0.1:$TCP/x.csv')
refused SELECT * FROM read_parquet('http://localhost:$TCP/x.parquet')
refused SELECT * FROM 'http://127.0.0.1:$TCP/x.parquet'
refused SELECT * FROM read_json('hf://datasets/a/b/c.json')
refused SELECT * FROM read_parquet('s3://127.0.0.1:$TCP/bucket/x.parquet')
refused SELECT * FROM read_parquet('gcs://bucket/x.parquet')
refused SELECT * FROM read_parquet('az://bucket/x.parquet')
refused ATTACH 'http://127.0.0.1:$TCP/x.duckdb' AS remote
refused ATTACH 'host=127.0.0.1 port=$TCP' AS pg (TYPE postgres)
refused ATTACH 'host=$UNIX' AS pg (TYPE postgres)
refused ATTACH 'host=127.0.0.1 port=$TCP' AS my (TYPE mysql)
refused ATTACH 'quack:127.0.0.1:$TCP' AS q
refused COPY (SELECT 1) TO 'http://127.0.0.1:$TCP/x.csv'
refused COPY (SELECT 1) TO '$UNIX' (USE_TMP_FILE false)
refused SELECT * FROM read_text('$UNIX')
refused SELECT http_get('http://127.0.0.1:$TCP/')
refused CALL start_ui()
refused CALL start_ui_server()
refused CALL quack_serve()
