BEGIN TRANSACTION;
CREATE TABLE ducklake_column(column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, table_id BIGINT,
    column_order BIGINT, column_name VARCHAR, column_type VARCHAR, initial_default VARCHAR, default_value VARCHAR,
    nulls_allowed BIGINT, parent_column BIGINT, default_value_type VARCHAR, default_value_dialect VARCHAR);
INSERT INTO "ducklake_column" VALUES(1,1,NULL,1,1,'id','uint64',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(2,1,NULL,1,2,'seq','int32',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(3,1,NULL,1,3,'disk','varchar',NULL,'NULL',1,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(4,1,NULL,1,4,'seen_at','timestamptz',NULL,'NULL',1,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(5,1,NULL,1,5,'good','boolean',NULL,'NULL',1,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(6,1,NULL,1,6,'raw','blob',NULL,'NULL',1,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(7,1,NULL,3,1,'part','int32',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(8,1,NULL,3,2,'disk','varchar',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(9,1,NULL,3,3,'seq','int64',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(10,1,NULL,3,4,'block','int64',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(11,1,NULL,3,5,'digest','blob',NULL,'NULL',0,NULL,'literal','duckdb');
INSERT INTO "ducklake_column" VALUES(12,1,NULL,3,6,'stored','uint32',NULL,'NULL',0,NULL,'literal','duckdb');
CREATE TABLE ducklake_column_mapping(mapping_id BIGINT, table_id BIGINT, type VARCHAR);
CREATE TABLE ducklake_column_tag(table_id BIGINT, column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT,
    key VARCHAR, value VARCHAR);
INSERT INTO "ducklake_column_tag" VALUES(3,7,1,NULL,'comment','Partition');
INSERT INTO "ducklake_column_tag" VALUES(3,8,1,NULL,'comment','The disk');
INSERT INTO "ducklake_column_tag" VALUES(3,10,1,NULL,'comment','Number of the block');
CREATE TABLE ducklake_data_file(data_file_id BIGINT PRIMARY KEY, table_id BIGINT, begin_snapshot BIGINT,
    end_snapshot BIGINT, file_order BIGINT, path VARCHAR, path_is_relative BIGINT, file_format VARCHAR,
    record_count BIGINT, file_size_bytes BIGINT, footer_size BIGINT, row_id_start BIGINT, partition_id BIGINT,
    encryption_key VARCHAR, mapping_id BIGINT, partial_max BIGINT);
INSERT INTO "ducklake_data_file" VALUES(0,3,2,NULL,NULL,'part=3/000000000001-000000000001-16c6e9c92d99bf35.parquet',1,'parquet',20,1730,621,0,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(1,3,2,NULL,NULL,'part=5/000000000001-000000000001-8c2e0718822ce47c.parquet',1,'parquet',5,1249,620,20,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(2,1,2,5,NULL,'000000000001-000000000001-a8c74107e66cb0e4.parquet',1,'parquet',6,1123,611,0,NULL,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(3,3,3,NULL,NULL,'part=3/000000000002-000000000002-b2b3f4d58d82ca63.parquet',1,'parquet',20,1730,621,25,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(4,3,3,NULL,NULL,'part=5/000000000002-000000000002-86d2c96e760e819b.parquet',1,'parquet',5,1249,620,45,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(5,1,3,5,NULL,'000000000002-000000000002-85c924c3597164c4.parquet',1,'parquet',6,1123,611,6,NULL,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(6,3,4,NULL,NULL,'part=3/000000000003-000000000003-a6058a00581a22b2.parquet',1,'parquet',20,1730,621,50,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(7,3,4,NULL,NULL,'part=5/000000000003-000000000003-2de50472433d2e44.parquet',1,'parquet',5,1249,620,70,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(8,1,4,5,NULL,'000000000003-000000000003-fed8b6b8357e44cd.parquet',1,'parquet',6,1123,611,12,NULL,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(9,1,5,NULL,NULL,'000000000001-000000000003-3129903ac1d45597.parquet',1,'parquet',18,1278,613,18,NULL,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(10,3,6,NULL,NULL,'part=3/000000000004-000000000004-a242fdf11f8f2b1a.parquet',1,'parquet',20,1730,621,75,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(11,3,6,NULL,NULL,'part=5/000000000004-000000000004-39f3c3e693114351.parquet',1,'parquet',5,1249,620,95,4,NULL,NULL,NULL);
INSERT INTO "ducklake_data_file" VALUES(12,1,6,NULL,NULL,'000000000004-000000000004-dcbed407e3e6b605.parquet',1,'parquet',6,1123,611,36,NULL,NULL,NULL,NULL);
CREATE TABLE ducklake_delete_file(delete_file_id BIGINT PRIMARY KEY, table_id BIGINT, begin_snapshot BIGINT,
    end_snapshot BIGINT, data_file_id BIGINT, path VARCHAR, path_is_relative BIGINT, format VARCHAR,
    delete_count BIGINT, file_size_bytes BIGINT, footer_size BIGINT, encryption_key VARCHAR, partial_max BIGINT);
CREATE TABLE ducklake_file_column_stats(data_file_id BIGINT, table_id BIGINT, column_id BIGINT,
    column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT, min_value VARCHAR, max_value VARCHAR,
    contains_nan BIGINT, extra_stats VARCHAR);
INSERT INTO "ducklake_file_column_stats" VALUES(0,3,7,98,20,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(0,3,8,96,20,0,'disk-a','disk-a',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(0,3,9,88,20,0,'1','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(0,3,10,88,20,0,'0','38',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(0,3,12,60,20,0,'0','266',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(1,3,7,98,5,0,'5','5',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(1,3,8,96,5,0,'disk-b','disk-b',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(1,3,9,88,5,0,'1','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(1,3,10,88,5,0,'1','5',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(1,3,12,60,5,0,'7','35',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(2,1,1,83,6,0,'10','18446744073709551604',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(2,1,2,72,6,0,'1','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(2,1,3,111,4,2,'dïsk 010','dïsk 014',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(2,1,4,109,4,2,'2026-01-02 00:00:00.000010+00','2026-01-02 00:00:00.000014+00',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(2,1,5,57,4,2,'0','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(3,3,7,98,20,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(3,3,8,96,20,0,'disk-a','disk-a',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(3,3,9,88,20,0,'2','2',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(3,3,10,88,20,0,'0','38',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(3,3,12,60,20,0,'0','266',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(4,3,7,98,5,0,'5','5',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(4,3,8,96,5,0,'disk-b','disk-b',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(4,3,9,88,5,0,'2','2',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(4,3,10,88,5,0,'2','6',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(4,3,12,60,5,0,'14','42',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(5,1,1,83,6,0,'20','18446744073709551594',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(5,1,2,72,6,0,'2','2',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(5,1,3,111,4,2,'dïsk 020','dïsk 025',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(5,1,4,109,4,2,'2026-01-03 00:00:00.000020+00','2026-01-03 00:00:00.000025+00',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(5,1,5,57,4,2,'0','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(6,3,7,98,20,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(6,3,8,96,20,0,'disk-a','disk-a',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(6,3,9,88,20,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(6,3,10,88,20,0,'0','38',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(6,3,12,60,20,0,'0','266',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(7,3,7,98,5,0,'5','5',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(7,3,8,96,5,0,'disk-b','disk-b',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(7,3,9,88,5,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(7,3,10,88,5,0,'3','7',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(7,3,12,60,5,0,'21','49',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(8,1,1,83,6,0,'30','18446744073709551584',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(8,1,2,72,6,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(8,1,3,111,4,2,'dïsk 031','dïsk 035',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(8,1,4,109,4,2,'2026-01-04 00:00:00.000031+00','2026-01-04 00:00:00.000035+00',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(8,1,5,57,4,2,'0','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(9,1,1,108,18,0,'10','18446744073709551604',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(9,1,2,84,18,0,'1','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(9,1,3,137,12,6,'dïsk 010','dïsk 035',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(9,1,4,173,12,6,'2026-01-02 00:00:00.000010+00','2026-01-04 00:00:00.000035+00',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(9,1,5,60,12,6,'0','1',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(10,3,7,98,20,0,'3','3',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(10,3,8,96,20,0,'disk-a','disk-a',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(10,3,9,88,20,0,'4','4',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(10,3,10,88,20,0,'0','38',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(10,3,12,60,20,0,'0','266',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(11,3,7,98,5,0,'5','5',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(11,3,8,96,5,0,'disk-b','disk-b',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(11,3,9,88,5,0,'4','4',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(11,3,10,88,5,0,'4','8',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(11,3,12,60,5,0,'28','56',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(12,1,1,83,6,0,'40','18446744073709551574',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(12,1,2,72,6,0,'4','4',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(12,1,3,111,4,2,'dïsk 040','dïsk 044',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(12,1,4,109,4,2,'2026-01-05 00:00:00.000040+00','2026-01-05 00:00:00.000044+00',NULL,NULL);
INSERT INTO "ducklake_file_column_stats" VALUES(12,1,5,57,4,2,'0','1',NULL,NULL);
CREATE TABLE ducklake_file_partition_value(data_file_id BIGINT, table_id BIGINT, partition_key_index BIGINT,
    partition_value VARCHAR);
INSERT INTO "ducklake_file_partition_value" VALUES(0,3,0,'3');
INSERT INTO "ducklake_file_partition_value" VALUES(1,3,0,'5');
INSERT INTO "ducklake_file_partition_value" VALUES(3,3,0,'3');
INSERT INTO "ducklake_file_partition_value" VALUES(4,3,0,'5');
INSERT INTO "ducklake_file_partition_value" VALUES(6,3,0,'3');
INSERT INTO "ducklake_file_partition_value" VALUES(7,3,0,'5');
INSERT INTO "ducklake_file_partition_value" VALUES(10,3,0,'3');
INSERT INTO "ducklake_file_partition_value" VALUES(11,3,0,'5');
CREATE TABLE ducklake_file_variant_stats(data_file_id BIGINT, table_id BIGINT, column_id BIGINT,
    variant_path VARCHAR, shredded_type VARCHAR, column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT,
    min_value VARCHAR, max_value VARCHAR, contains_nan BIGINT, extra_stats VARCHAR);
CREATE TABLE ducklake_files_scheduled_for_deletion(data_file_id BIGINT, path VARCHAR, path_is_relative BIGINT,
    schedule_start VARCHAR);
CREATE TABLE ducklake_inlined_data_tables(table_id BIGINT, table_name VARCHAR, schema_version BIGINT);
CREATE TABLE ducklake_macro(schema_id BIGINT, macro_id BIGINT, macro_name VARCHAR, begin_snapshot BIGINT,
    end_snapshot BIGINT);
CREATE TABLE ducklake_macro_impl(macro_id BIGINT, impl_id BIGINT, dialect VARCHAR, sql VARCHAR, type VARCHAR);
CREATE TABLE ducklake_macro_parameters(macro_id BIGINT, impl_id BIGINT, column_id BIGINT, parameter_name VARCHAR,
    parameter_type VARCHAR, default_value VARCHAR, default_value_type VARCHAR);
CREATE TABLE ducklake_metadata(key VARCHAR NOT NULL, value VARCHAR NOT NULL, scope VARCHAR, scope_id BIGINT);
INSERT INTO "ducklake_metadata" VALUES('version','1.0',NULL,NULL);
INSERT INTO "ducklake_metadata" VALUES('created_by','Holdfast',NULL,NULL);
INSERT INTO "ducklake_metadata" VALUES('data_path','/lake/data/',NULL,NULL);
INSERT INTO "ducklake_metadata" VALUES('encrypted','false',NULL,NULL);
CREATE TABLE ducklake_name_mapping(mapping_id BIGINT, column_id BIGINT, source_name VARCHAR,
    target_field_id BIGINT, parent_column BIGINT, is_partition BIGINT);
CREATE TABLE ducklake_partition_column(partition_id BIGINT, table_id BIGINT, partition_key_index BIGINT,
    column_id BIGINT, transform VARCHAR);
INSERT INTO "ducklake_partition_column" VALUES(4,3,0,7,'identity');
CREATE TABLE ducklake_partition_info(partition_id BIGINT, table_id BIGINT, begin_snapshot BIGINT,
    end_snapshot BIGINT);
INSERT INTO "ducklake_partition_info" VALUES(4,3,1,NULL);
CREATE TABLE ducklake_schema(schema_id BIGINT PRIMARY KEY, schema_uuid VARCHAR, begin_snapshot BIGINT,
    end_snapshot BIGINT, schema_name VARCHAR, path VARCHAR, path_is_relative BIGINT);
INSERT INTO "ducklake_schema" VALUES(0,'df6af1d8-303e-61cd-c4bb-86c3d1c42710',0,NULL,'main','main/',1);
CREATE TABLE ducklake_schema_versions(begin_snapshot BIGINT, schema_version BIGINT, table_id BIGINT);
INSERT INTO "ducklake_schema_versions" VALUES(1,1,1);
INSERT INTO "ducklake_schema_versions" VALUES(1,1,3);
CREATE TABLE ducklake_snapshot(snapshot_id BIGINT PRIMARY KEY, snapshot_time VARCHAR, schema_version BIGINT,
    next_catalog_id BIGINT, next_file_id BIGINT);
INSERT INTO "ducklake_snapshot" VALUES(0,'2026-01-01 00:00:01.000000+00',0,1,0);
INSERT INTO "ducklake_snapshot" VALUES(1,'2026-01-01 00:00:01.000000+00',1,6,0);
INSERT INTO "ducklake_snapshot" VALUES(2,'2026-01-01 00:00:02.000000+00',1,6,3);
INSERT INTO "ducklake_snapshot" VALUES(3,'2026-01-01 00:00:03.000000+00',1,6,6);
INSERT INTO "ducklake_snapshot" VALUES(4,'2026-01-01 00:00:04.000000+00',1,6,9);
INSERT INTO "ducklake_snapshot" VALUES(5,'2026-01-01 00:00:05.000000+00',1,6,10);
INSERT INTO "ducklake_snapshot" VALUES(6,'2026-01-01 00:00:06.000000+00',1,6,13);
CREATE TABLE ducklake_snapshot_changes(snapshot_id BIGINT PRIMARY KEY, changes_made VARCHAR, author VARCHAR,
    commit_message VARCHAR, commit_extra_info VARCHAR);
INSERT INTO "ducklake_snapshot_changes" VALUES(0,'created_schema:"main"','holdfast',NULL,NULL);
INSERT INTO "ducklake_snapshot_changes" VALUES(1,'created_table:"main"."notes",created_table:"main"."blocks"','holdfast','create','{"position": 0}');
INSERT INTO "ducklake_snapshot_changes" VALUES(2,'inserted_into_table:1,inserted_into_table:3','holdfast','to 1','{"position": 1}');
INSERT INTO "ducklake_snapshot_changes" VALUES(3,'inserted_into_table:1,inserted_into_table:3','holdfast','to 2','{"position": 2}');
INSERT INTO "ducklake_snapshot_changes" VALUES(4,'inserted_into_table:1,inserted_into_table:3','holdfast','to 3','{"position": 3}');
INSERT INTO "ducklake_snapshot_changes" VALUES(5,'merge_adjacent:1','holdfast','compact notes','{"position": 3}');
INSERT INTO "ducklake_snapshot_changes" VALUES(6,'inserted_into_table:1,inserted_into_table:3','holdfast','to 4','{"position": 4}');
CREATE TABLE ducklake_sort_expression(sort_id BIGINT, table_id BIGINT, sort_key_index BIGINT, expression VARCHAR,
    dialect VARCHAR, sort_direction VARCHAR, null_order VARCHAR);
INSERT INTO "ducklake_sort_expression" VALUES(2,1,0,'id','duckdb','ASC','NULLS_LAST');
INSERT INTO "ducklake_sort_expression" VALUES(5,3,0,'disk','duckdb','ASC','NULLS_LAST');
INSERT INTO "ducklake_sort_expression" VALUES(5,3,1,'seq','duckdb','ASC','NULLS_LAST');
INSERT INTO "ducklake_sort_expression" VALUES(5,3,2,'block','duckdb','ASC','NULLS_LAST');
CREATE TABLE ducklake_sort_info(sort_id BIGINT, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT);
INSERT INTO "ducklake_sort_info" VALUES(2,1,1,NULL);
INSERT INTO "ducklake_sort_info" VALUES(5,3,1,NULL);
CREATE TABLE ducklake_table(table_id BIGINT, table_uuid VARCHAR, begin_snapshot BIGINT, end_snapshot BIGINT,
    schema_id BIGINT, table_name VARCHAR, path VARCHAR, path_is_relative BIGINT);
INSERT INTO "ducklake_table" VALUES(1,'3c344c41-89eb-2f1e-7bd5-d47e446fcec2',1,NULL,0,'notes','notes/',1);
INSERT INTO "ducklake_table" VALUES(3,'a3d81173-6110-e578-1bcc-cea696762e61',1,NULL,0,'blocks','blocks/',1);
CREATE TABLE ducklake_table_column_stats(table_id BIGINT, column_id BIGINT, contains_null BIGINT,
    contains_nan BIGINT, min_value VARCHAR, max_value VARCHAR, extra_stats VARCHAR);
INSERT INTO "ducklake_table_column_stats" VALUES(3,7,0,NULL,'3','5',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(3,8,0,NULL,'disk-a','disk-b',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(3,9,0,NULL,'1','4',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(3,10,0,NULL,'0','38',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(3,12,0,NULL,'0','266',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(1,1,0,NULL,'10','18446744073709551604',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(1,2,0,NULL,'1','4',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(1,3,1,NULL,'dïsk 010','dïsk 044',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(1,4,1,NULL,'2026-01-02 00:00:00.000010+00','2026-01-05 00:00:00.000044+00',NULL);
INSERT INTO "ducklake_table_column_stats" VALUES(1,5,1,NULL,'0','1',NULL);
CREATE TABLE ducklake_table_stats(table_id BIGINT, record_count BIGINT, next_row_id BIGINT, file_size_bytes BIGINT);
INSERT INTO "ducklake_table_stats" VALUES(1,24,42,2401);
INSERT INTO "ducklake_table_stats" VALUES(3,100,100,11916);
CREATE TABLE ducklake_tag(object_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, key VARCHAR, value VARCHAR);
INSERT INTO "ducklake_tag" VALUES(1,1,NULL,'comment','Remarks of all kinds');
INSERT INTO "ducklake_tag" VALUES(3,1,NULL,'comment','Blocks of disks');
CREATE TABLE ducklake_view(view_id BIGINT, view_uuid VARCHAR, begin_snapshot BIGINT, end_snapshot BIGINT,
    schema_id BIGINT, view_name VARCHAR, dialect VARCHAR, sql VARCHAR, column_aliases VARCHAR);
CREATE TABLE holdfast_file_seal(data_file_id BIGINT PRIMARY KEY, seal BLOB NOT NULL);
INSERT INTO "holdfast_file_seal" VALUES(0,X'336AC4EB2AED94E3FDD882967579F9081EE85D6F382EF3D96BBA20935CC016A1B73737C128EAFA187A21BA244C59EA5D415C865C8337881D9A45F32B177189C8');
INSERT INTO "holdfast_file_seal" VALUES(1,X'9D9CC42735231AD238106D4B2EDC34DAB9AC077CB6F17BBBD36C1406ED68AF924E234BE9CB1757C484EA376196FDF90E6784ED388E0321EBE9381BC8527A35F8');
INSERT INTO "holdfast_file_seal" VALUES(2,X'3A8071FF1FE849EE8621EAFC3ECEAA2AD7CC0A9B868B30B6E8C54CA87F6CC5C8EBA421CA70A95D5478A040F1840B1026DC51DEFFCD0B2CB7FF7E871463D79190');
INSERT INTO "holdfast_file_seal" VALUES(3,X'D26C5CD08682A12E4AD8FBAE4A01E6A23477627EB6F7AB9EDC57FAC83B000220F037C117B48BDE82D089588A83D2146022BD145AFC6EAB42301E98F0185CF818');
INSERT INTO "holdfast_file_seal" VALUES(4,X'647C9CA149EDEC49FD5D61561E1426F6300EFA5FD800151E7C63DE0BCF52AC9E8C5B1FB7D3DC2BC4C9911E88E17D014A7032B1C1380BED7EFDB44761694FFCBF');
INSERT INTO "holdfast_file_seal" VALUES(5,X'822AF130CE8CFA277926415FC2BD8AC15237D8A66E6D360D14C86C732FECC31535B471636591D9E064AFECAB5E0964E4E63101A106F42C453B1DF9B51D0D4251');
INSERT INTO "holdfast_file_seal" VALUES(6,X'1CDB668B8D51221CBC05654001EB6DCC39E4A82DE1FFA1D0B784445B206CE444346CE7092D485535292E2C710A3F3B59C267252F489E8B43625FB8AF070A02DE');
INSERT INTO "holdfast_file_seal" VALUES(7,X'E0015B0484EC4C8E60CD6230DF689F4A32A12431238A2747C73B4209AB9661C669D2FA75EF41AD05ED76C2C2B44787E2F8F3D8EA74056039BF5A3040CA2AC324');
INSERT INTO "holdfast_file_seal" VALUES(8,X'9FDE867D08909D2DA877B53E29F91D6805F813253E34FE5AECF25EDBE79149509EA30F6BEDCC3492B8BCF7ED4A1A34A9DD864B9D41A12EF7D1479490BEAD1B48');
INSERT INTO "holdfast_file_seal" VALUES(9,X'C25C6D8F1A47DC8F1DC964E0FCF638F0A58C411D8DA54555C93C7EEF1EBC562632CB181AFADED5B0FE39971192DA017F4F38F4F24C7ED9312F3144C9A9D89D7B');
INSERT INTO "holdfast_file_seal" VALUES(10,X'2958509AF5B72C20181428BA12F7AAFEA8DF3D30E35EFA01F74D039A10AE3C0EE9D23DCEEB523DF917E4958C7EC8DA6DCF68FD509979778727E588A8D62AFD00');
INSERT INTO "holdfast_file_seal" VALUES(11,X'82DEC0FE44A4291AD76664850DD38C646A39C9E0F04636C141420124C32E734693995E6C93B2A068192606FC165A4102ABAEFBEB1F4F95EA77D1FA072116CC00');
INSERT INTO "holdfast_file_seal" VALUES(12,X'46A668D05F8FFFAE6D340C6D298E08502B82DB8F33004CFF2CD32118CD3083F4FE1B8F44F0E9C4B72B2E32F9760FA5852536F291E6ACA52A6D920C7338E8CDE7');
CREATE TABLE holdfast_format(version BIGINT NOT NULL);
INSERT INTO "holdfast_format" VALUES(1);
CREATE UNIQUE INDEX holdfast_data_file_path ON ducklake_data_file(table_id, path);
CREATE INDEX holdfast_data_file_live ON ducklake_data_file(table_id, end_snapshot, begin_snapshot);
CREATE INDEX holdfast_file_column_stats
    ON ducklake_file_column_stats(table_id, column_id, data_file_id, min_value, max_value);
CREATE INDEX holdfast_file_partition_value
    ON ducklake_file_partition_value(table_id, partition_value, data_file_id);
COMMIT;
