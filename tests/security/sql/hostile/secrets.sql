-- Credentials, made or read.
refused CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')
refused CREATE SECRET s (TYPE s3, PROVIDER credential_chain)
harmless CREATE SECRET s (TYPE http, BEARER_TOKEN 'x')
harmless SELECT * FROM duckdb_secrets()
harmless SELECT * FROM duckdb_secrets(redact = false)
harmless SELECT * FROM which_secret('s3://bucket/x', 's3')
refused DROP PERSISTENT SECRET s
