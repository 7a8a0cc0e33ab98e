-- The process behind the statement: variables, Python's names, pointers.
refused SELECT getenv('HOLDFAST_CANARY')
refused SELECT getenv('HOME')
refused FROM enter
refused FROM descriptors
refused FROM source
refused FROM engine
refused FROM limits
refused FROM sys
refused FROM os
refused FROM self
refused FROM reader
refused SELECT * FROM python_arrow_scan()
refused SELECT * FROM arrow_scan(0, 0, 0)
refused SELECT * FROM arrow_scan_dumb(1::POINTER, 1::POINTER, 1::POINTER)
harmless SELECT * FROM pandas_scan(NULL)
refused SELECT * FROM pandas_scan(0)
refused SELECT * FROM pandas_scan(140000000000000)
refused SELECT * FROM python_map_function()
refused SELECT * FROM seq_scan('machines')
refused SELECT system('touch $FOLDER/system')
refused SELECT shell('touch $FOLDER/shell')
refused CALL shell('id')
refused .shell touch $FOLDER/dot
refused !touch $FOLDER/bang
refused SELECT * FROM read_csv('touch $FOLDER/pipe |')
refused CREATE FUNCTION f(x) AS getenv(x)
harmless SELECT current_user, current_database(), current_schema(), session_user
harmless SELECT version(), current_query()
harmless SELECT * FROM pragma_user_agent()
harmless SELECT * FROM repeat_row(1, num_rows = 3)
harmless SELECT * FROM sql_auto_complete('SELECT * FROM ma')
harmless SELECT * FROM test_all_types()
harmless SELECT * FROM test_vector_types(NULL::INTEGER)
refused SELECT write_log('CANARY', level := 'info', scope := 'database', log_type := 'x') FROM nowhere
