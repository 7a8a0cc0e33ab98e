-- Settings that would open what is shut.
refused SET enable_external_access = true
refused SET GLOBAL enable_external_access = true
refused RESET enable_external_access
refused SET lock_configuration = false
refused RESET lock_configuration
refused SET allowed_paths = ['$SECRET']
refused SET allowed_directories = ['$FOLDER']
refused SET disabled_filesystems = ''
refused SET memory_limit = '100GB'
refused SET max_memory = '100GB'
refused RESET memory_limit
refused SET threads = 64
refused SET worker_threads = 64
refused RESET threads
refused SET external_threads = 64
refused SET max_temp_directory_size = '100GB'
refused SET temp_directory = '$FOLDER'
refused SET autoinstall_known_extensions = true
refused SET autoload_known_extensions = true
refused SET allow_community_extensions = true
refused SET allow_unsigned_extensions = true
refused SET extension_directory = '$FOLDER'
refused SET custom_extension_repository = 'http://127.0.0.1:$TCP'
refused SET home_directory = '$FOLDER'
refused SET secret_directory = '$FOLDER'
refused SET allow_persistent_secrets = true
refused SET python_enable_replacements = true
refused SET python_scan_all_frames = true
refused SET max_expression_depth = 1000000
refused SET http_proxy = '127.0.0.1:$TCP'
refused SET ca_cert_file = '$SECRET'
refused SET file_search_path = '$FOLDER'
refused SET TimeZone = 'Europe/Berlin'
refused SET VARIABLE x = (SELECT content FROM read_text('$SECRET'))
refused PRAGMA enable_external_access = true
harmless PRAGMA disable_checkpoint_on_shutdown
harmless SET search_path = 'temp'
harmless SET schema = 'pg_catalog'
refused SET default_collation = 'de'
refused SET user = 'root'
refused SET wal_autocheckpoint = '1GB'
refused SELECT set_config('enable_external_access', 'true', false)
refused FROM (SET memory_limit = '100GB')
harmless SET VARIABLE x = 1
harmless SELECT current_setting('allowed_paths')
harmless SELECT current_setting('home_directory'), current_setting('secret_directory')
harmless PRAGMA database_list
harmless PRAGMA platform
harmless PRAGMA force_checkpoint
