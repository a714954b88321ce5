"""Types with their extreme values, changes of types, and Iceberg's format version 3."""

from __future__ import annotations

from tests.golden.tables import Maker, golden

COLUMNS = (
    "id BIGINT, ok BOOLEAN, i INT, f FLOAT, d DOUBLE, "
    "small DECIMAL(9, 2), exact DECIMAL(18, 0), wide DECIMAL(38, 10), fine DECIMAL(38, 38), "
    "day DATE, at TIMESTAMP, reading TIMESTAMP_NTZ, text STRING, raw BINARY, "
    "one STRUCT<x: BIGINT, y: ARRAY<STRING>>, pairs MAP<STRING, DATE>, "
    "deep ARRAY<MAP<STRING, ARRAY<INT>>>"
)
NINES = "9999999999999999999999999999.9999999999"
EXTREMES = (
    "INSERT INTO {table} SELECT "
    "1, true, 2147483647, CAST('3.4028235e38' AS FLOAT), 1.7976931348623157e308D, "
    f"9999999.99, 999999999999999999, CAST('{NINES}' AS DECIMAL(38, 10)), "
    f"CAST('0.{'9' * 38}' AS DECIMAL(38, 38)), DATE'9999-12-31', "
    "TIMESTAMP'9998-12-31 23:59:59.999999', TIMESTAMP_NTZ'9999-12-31 23:59:59.999999', "
    "repeat('\U0010ffff', 40), X'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF', "
    "struct(9223372036854775807L, array('', NULL)), "
    "map('', DATE'0001-01-01'), array(map('a', array(1, NULL)), NULL) "
    "UNION ALL SELECT 2, false, -2147483648, CAST('-Infinity' AS FLOAT), DOUBLE('NaN'), "
    f"-9999999.99, -999999999999999999, CAST('-{NINES}' AS DECIMAL(38, 10)), "
    f"CAST('-0.{'9' * 38}' AS DECIMAL(38, 38)), DATE'0001-01-01', "
    "TIMESTAMP'0002-01-01 00:00:00.000001', TIMESTAMP_NTZ'0001-01-01 00:00:00.000001', "
    "'', X'', struct(CAST(NULL AS BIGINT), CAST(NULL AS ARRAY<STRING>)), "
    "CAST(map() AS MAP<STRING, DATE>), CAST(array() AS ARRAY<MAP<STRING, ARRAY<INT>>>)",
    "INSERT INTO {table} SELECT "
    "3, NULL, 0, CAST('-0.0' AS FLOAT), -0.0D, 0.00, 0, 0, 0, DATE'1969-12-31', "
    "TIMESTAMP'1969-12-31 23:59:59.999999', TIMESTAMP_NTZ'1969-12-31 23:59:59.999999', "
    "repeat('x', 60), X'00', NULL, NULL, NULL "
    "UNION ALL SELECT 4, NULL, NULL, NULL, 4.9e-324D, 0.01, 1, "
    "CAST('0.0000000001' AS DECIMAL(38, 10)), CAST('1E-38' AS DECIMAL(38, 38)), "
    "DATE'1582-10-15', TIMESTAMP'1677-09-21 00:00:00', "
    "TIMESTAMP_NTZ'2262-04-12 00:00:00', NULL, NULL, "
    "struct(-1L, CAST(array() AS ARRAY<STRING>)), map('k', CAST(NULL AS DATE)), "
    "array(CAST(map() AS MAP<STRING, ARRAY<INT>>))",
    "DELETE FROM {table} WHERE id = 1",
)

golden("types-delta", "delta", [f"CREATE TABLE {{table}} ({COLUMNS}) USING delta", *EXTREMES])
golden("types-iceberg", "iceberg", [f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg", *EXTREMES])

golden(
    "types-small-delta",
    "delta",
    [
        "CREATE TABLE {table} (id BIGINT, b BYTE, s SHORT, v VARCHAR(10)) USING delta",
        "INSERT INTO {table} VALUES (1, -128, -32768, ''), (2, 127, 32767, 'äöü')",
        "INSERT INTO {table} VALUES (3, NULL, NULL, NULL)",
        "UPDATE {table} SET b = 0 WHERE id = 1",
    ],
)
golden(
    "types-widening-delta",
    "delta",
    [
        "CREATE TABLE {table} (id BIGINT, b BYTE, n INT) USING delta "
        "TBLPROPERTIES ('delta.enableTypeWidening' = 'true')",
        "INSERT INTO {table} VALUES (1, 127, 2147483647), (2, NULL, NULL)",
        "ALTER TABLE {table} CHANGE COLUMN b TYPE INT",
        "INSERT INTO {table} VALUES (3, 2147483647, 1)",
    ],
    delta_readers=("duckdb", "spark"),
)
golden(
    "types-promotion-iceberg",
    "iceberg",
    [
        "CREATE TABLE {table} (id BIGINT, n INT, f FLOAT, d DECIMAL(5, 2)) USING iceberg",
        "INSERT INTO {table} VALUES (1, 2147483647, CAST('1.5' AS FLOAT), 999.99)",
        "ALTER TABLE {table} ALTER COLUMN n TYPE BIGINT",
        "ALTER TABLE {table} ALTER COLUMN f TYPE DOUBLE",
        "ALTER TABLE {table} ALTER COLUMN d TYPE DECIMAL(38, 2)",
        "INSERT INTO {table} VALUES (2, 9223372036854775807, 0.1D, "
        f"CAST('{'9' * 36}.99' AS DECIMAL(38, 2)))",
    ],
)

ON_READ = (
    "'write.delete.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read', "
    "'write.merge.mode' = 'merge-on-read'"
)


def version_3(maker: Maker) -> None:
    """Vectors that grow, updates, a new column, a rollback, and a compaction."""
    maker.sql(
        "CREATE TABLE {table} (id BIGINT, name STRING) USING iceberg "
        f"TBLPROPERTIES ('format-version' = '3', {ON_READ})"
    )
    for start in (0, 100):
        maker.sql(
            "INSERT INTO {table} SELECT id, concat('n', id) FROM "
            f"range({start}, {start + 100}, 1, 2)"
        )
    maker.sql("DELETE FROM {table} WHERE id % 10 = 0")
    maker.sql("DELETE FROM {table} WHERE id % 7 = 0")
    maker.sql("UPDATE {table} SET name = 'u' WHERE id < 20")
    maker.sql(f"CALL {{catalog}}.system.rollback_to_snapshot('users', {maker.snapshot_id(3)})")
    maker.sql("DELETE FROM {table} WHERE id = 5")
    maker.sql("UPDATE {table} SET name = NULL WHERE id BETWEEN 110 AND 120")
    maker.sql("ALTER TABLE {table} ADD COLUMN extra INT")
    maker.sql("INSERT INTO {table} VALUES (1000, 'x', 5)")
    maker.sql(
        "CALL {catalog}.system.rewrite_data_files(table => 'users', "
        "options => map('rewrite-all', 'true'))"
    )


golden("types-version-3", "iceberg", version_3, format_version=3)
golden(
    "types-version-3-upgraded",
    "iceberg",
    [
        "CREATE TABLE {table} (id BIGINT, day DATE) USING iceberg PARTITIONED BY (day) "
        f"TBLPROPERTIES ('format-version' = '2', {ON_READ})",
        "INSERT INTO {table} SELECT id, date_add(DATE'2024-01-01', CAST(id % 2 AS INT)) "
        "FROM range(0, 60, 1, 2)",
        "DELETE FROM {table} WHERE id % 10 = 0",
        "ALTER TABLE {table} SET TBLPROPERTIES ('format-version' = '3')",
        "DELETE FROM {table} WHERE id % 7 = 0 AND id < 40",
        "DELETE FROM {table} WHERE id BETWEEN 50 AND 53",
    ],
    format_version=3,
)


def initial_default(maker: Maker) -> None:
    """A column whose older rows have a default; Spark 3.5 has no statement for that."""
    maker.sql(
        "CREATE TABLE {table} (id BIGINT) USING iceberg TBLPROPERTIES ('format-version' = '3')"
    )
    maker.sql("INSERT INTO {table} VALUES (1), (2)")
    jvm = maker.spark._jvm
    assert jvm is not None
    tables = jvm.org.apache.iceberg.hadoop.HadoopTables(maker.spark._jsc.hadoopConfiguration())
    table = tables.load(f"file://{maker.folder}")
    kind = jvm.org.apache.iceberg.types.Types.IntegerType.get()
    seven = jvm.org.apache.iceberg.expressions.Literal.of(7)
    table.updateSchema().addColumn("n", kind, "", seven).commit()
    maker.sql("INSERT INTO {table} VALUES (3, NULL), (4, 9)")


golden("types-version-3-default", "iceberg", initial_default)
