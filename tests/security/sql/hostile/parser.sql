-- Statements that are hard to read for whoever looks at their text.
refused SELECT * FROM "read_text"('$SECRET')
refused SELECT * FROM READ_TEXT('$SECRET')
refused SELECT * FROM system.main.read_text('$SECRET')
refused SELECT * FROM main.read_text('$SECRET')
refused SELECT * FROM/**/read_text/**/('$SECRET')
refused SELECT * FROM read_text($$$SECRET$$)
refused SELECT * FROM read_text(E'\x2fetc/passwd')
refused SELECT * FROM read_text('/etc' || '/passwd')
refused SELECT * FROM read_text(concat('/etc', '/passwd'))
refused SELECT * FROM read_text(chr(47) || 'etc' || chr(47) || 'passwd')
refused SELECT * FROM ｒead_text('$SECRET')
refused SELECT * FROM read_text('$SECRET')
refused SELECT * FROM read_text(‘$SECRET’)
harmless SELECT 1; SELECT 2
refused SELECT 1;;COPY (SELECT 1) TO '$FOLDER/x.csv' (USE_TMP_FILE false)
refused /* ; */ COPY (SELECT 1) TO '$FOLDER/x.csv' (USE_TMP_FILE false)
harmless -- hidden
refused (((COPY (SELECT 1) TO '$FOLDER/x.csv')))
refused FROM read_text('$SECRET') SELECT content
refused FROM (FROM read_text('$SECRET'))
refused SELECT * FROM (VALUES (1)) t(x) JOIN read_text('$SECRET') ON true
refused SELECT * FROM (PIVOT (FROM read_text('$SECRET')) ON filename USING first(content))
refused SELECT COLUMNS('.*') FROM read_text('$SECRET')
refused SELECT * FROM read_text('$SECRET') UNION ALL SELECT * FROM read_text('$SECRET')
refused SELECT * FROM machines WHERE EXISTS (FROM read_text('$SECRET') WHERE content LIKE 'C%')
refused SELECT * FROM machines ORDER BY (SELECT content FROM read_text('$SECRET'))
refused SELECT * FROM machines LIMIT (SELECT length(content) FROM read_text('$SECRET'))
refused WITH RECURSIVE r AS (SELECT content FROM read_text('$SECRET') UNION ALL SELECT content FROM r) FROM r
refused SELECT json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
refused SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''$SECRET'')'))
refused PRAGMA json_execute_serialized_sql('{}')
refused EXPLAIN ANALYZE EXECUTE p
refused EXECUTE p
harmless DEALLOCATE p
refused explain analyze verbose select 1
harmless SELECT '; COPY (SELECT 1) TO ''$FOLDER/quoted.csv''' AS text
harmless SELECT "name" AS "a"";COPY" FROM machines
harmless SELECT '' AS "‮evil"
harmless SELECT 1 AS a, 2 AS a, 3 AS A
refused SELECT x'00' FROM nothing
harmless 
harmless ;
refused SELECT
refused SELECT * FROM
refused \0
refused {"error": false, "statements": []}
refused SELECT * FROM machines AT (VERSION => 1)
refused SELECT ?
refused SELECT $1
refused SELECT $name
refused SELECT #1
harmless SELECT * FROM histogram('machines', 'name')
