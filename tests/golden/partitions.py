"""Partitioning: transforms, specs that change, columns that only partitions tell, odd values."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from tests.golden.tables import Maker, golden

_COLUMNS = (
    "id BIGINT, n INT, price DECIMAL(9,2), day DATE, at TIMESTAMP, wall TIMESTAMP_NTZ, name STRING"
)
_ROWS = (
    "SELECT id, CAST(id * 7 - 20 AS INT), CAST(id * 1.25 - 9 AS DECIMAL(9,2)), "
    "date_add(DATE'1969-12-20', CAST(id * 9 AS INT)), "
    "timestampadd(MINUTE, id * 517, TIMESTAMP'1969-12-30 23:30:00'), "
    "timestampadd(SECOND, id * 99999, TIMESTAMP_NTZ'1969-12-31 23:59:59'), "
    "IF(id % 5 = 4, NULL, concat('ü€😀', id)) FROM range"
)


def _evolving(version: int) -> list[str]:
    return [
        f"CREATE TABLE {{table}} ({_COLUMNS}) USING iceberg PARTITIONED BY "
        f"(months(day), bucket(3, id)) TBLPROPERTIES ('format-version' = '{version}')",
        f"INSERT INTO {{table}} {_ROWS}(0, 9, 1, 1)",
        "ALTER TABLE {table} REPLACE PARTITION FIELD months(day) WITH days(at) AS moment",
        f"INSERT INTO {{table}} {_ROWS}(9, 15, 1, 1)",
        "ALTER TABLE {table} DROP PARTITION FIELD bucket(3, id)",
        "ALTER TABLE {table} DROP PARTITION FIELD moment",
        "ALTER TABLE {table} ADD PARTITION FIELD truncate(4, name)",
        "ALTER TABLE {table} ADD PARTITION FIELD hours(wall)",
        f"INSERT INTO {{table}} {_ROWS}(15, 21, 1, 1)",
        "DELETE FROM {table} WHERE id IN (3, 10, 16)",
        "ALTER TABLE {table} ADD PARTITION FIELD truncate(10, n)",
        "ALTER TABLE {table} ADD PARTITION FIELD truncate(100, price)",
        "ALTER TABLE {table} DROP PARTITION FIELD hours(wall)",
        f"INSERT INTO {{table}} {_ROWS}(21, 27, 1, 1)",
        "CALL {catalog}.system.rewrite_data_files(table => 'users', "
        "options => map('rewrite-all', 'true'))",
    ]


golden("partitions-evolving", "iceberg", _evolving(2))
golden("partitions-evolving-v1", "iceberg", _evolving(1)[:10], spark_reads=False)

golden("partitions-odd-texts", "iceberg", [
    "CREATE TABLE {table} (id BIGINT, v STRING) USING iceberg PARTITIONED BY (v)",
    "INSERT INTO {table} VALUES (1, 'a b'), (2, 'a%20b'), (3, 'a/b=c:d#e'), (4, 'ü€😀'), "
    "(5, '\\'\"'), (6, 'a\\\\b'), (7, 'x\\ny'), (8, NULL)",
    "INSERT INTO {table} VALUES (9, ''), (10, ' '), (11, 'null')",
    "DELETE FROM {table} WHERE v = 'a b'",
])  # fmt: skip

golden("partitions-types", "iceberg", [
    "CREATE TABLE {table} (id BIGINT, b BOOLEAN, n INT, d DATE, at TIMESTAMP, p DECIMAL(9,2), "
    "f FLOAT) USING iceberg PARTITIONED BY (b, n, d, at, p, f)",
    "INSERT INTO {table} VALUES (1, true, -1, DATE'1960-01-01', TIMESTAMP'1960-01-01 00:00:01.5', "
    "1.05, CAST('NaN' AS FLOAT)), (2, NULL, NULL, NULL, NULL, NULL, NULL), "
    "(3, false, 7, DATE'2024-02-29', TIMESTAMP'2024-02-29 12:00:00', 0, "
    "CAST('-Infinity' AS FLOAT))",
    "INSERT INTO {table} VALUES (4, true, -2147483648, DATE'9999-12-31', "
    "TIMESTAMP'2024-02-29 12:00:00.000001', 9999999.99, 0.1)",
    "DELETE FROM {table} WHERE id = 1",
])  # fmt: skip


def _hive_folder(maker: Maker) -> None:
    """Files without the partition column, taken over from a hive folder; then another spec."""
    hive = maker.root / "_hive"  # no namespace
    for number, kind in enumerate(("a b", "c%2Fd", "plain")):
        folder = hive / f"kind={kind}"
        folder.mkdir(parents=True)
        ids = pa.array([number, number + 10], pa.int64())
        pq.write_table(pa.table({"id": ids}), folder / f"{number}.parquet")
    maker.sql("CREATE TABLE {table} (id BIGINT, kind STRING) USING iceberg PARTITIONED BY (kind)")
    maker.sql(
        "CALL {catalog}.system.add_files(table => 'users', source_table => "
        "'`parquet`.`{hive}`', check_duplicate_files => false)",
        hive=hive,
    )
    maker.sql("ALTER TABLE {table} DROP PARTITION FIELD kind")
    maker.sql("INSERT INTO {table} VALUES (100, 'c/d'), (101, NULL)")
    maker.sql("DELETE FROM {table} WHERE id = 10")


golden("partitions-hive-folder", "iceberg", _hive_folder)


def _generated(maker: Maker) -> None:
    from delta.tables import DeltaTable

    made = DeltaTable.create(maker.spark).location(str(maker.folder))
    made = made.addColumn("id", "BIGINT").addColumn("at", "TIMESTAMP")
    made = made.addColumn("day", "DATE", generatedAlwaysAs="CAST(at AS DATE)")
    made.partitionedBy("day").execute()
    for start in (0, 5):
        maker.sql(
            "INSERT INTO {table} (id, at) SELECT id, "
            "timestampadd(HOUR, id * 13, TIMESTAMP'1969-12-31 12:00:00') FROM range"
            f"({start}, {start + 5}, 1, 1)"
        )
    maker.sql("DELETE FROM {table} WHERE day = DATE'1970-01-01'")


golden("partitions-generated", "delta", _generated)


def _replaced(maker: Maker) -> None:
    def put(mode: str, values: str, *columns: str) -> None:
        frame = maker.spark.sql(f"SELECT * FROM VALUES {values} AS t(id, kind, n)")
        writer = frame.write.format("delta").mode(mode).option("overwriteSchema", "true")
        writer.partitionBy(*columns).save(str(maker.folder))

    odd = "(1, 'a b', 1), (2, 'a/b=c:d#e%20', 2), (3, NULL, 3), (4, '', 4)"
    put("overwrite", odd, "kind")
    put("append", "(5, 'ü€😀', 1), (6, '\\'\"\\\\', 2), (7, ' ', NULL)", "kind")
    put("overwrite", "(1, 'a b', 1), (2, 'a/b', -2147483648), (3, NULL, NULL)", "n")
    put("overwrite", "(1, 'a b', 1), (2, '', 2)")


golden("partitions-replaced", "delta", _replaced)

golden("partitions-types-delta", "delta", [
    "CREATE TABLE {table} (id BIGINT, b BOOLEAN, n BIGINT, d DATE, at TIMESTAMP, p DECIMAL(9,2), "
    "f FLOAT, raw BINARY) USING delta PARTITIONED BY (b, n, d, at, p, f, raw)",
    "INSERT INTO {table} VALUES (1, true, -9223372036854775808, DATE'1960-01-01', "
    "TIMESTAMP'1960-01-01 00:00:01.5', -3.05, CAST('NaN' AS FLOAT), CAST('x y' AS BINARY)), "
    "(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    "INSERT INTO {table} VALUES (3, false, 7, DATE'2024-02-29', TIMESTAMP'2024-02-29 12:00:00', "
    "0.5, CAST('-Infinity' AS FLOAT), X'0102')",
    "DELETE FROM {table} WHERE id = 1",
], delta_readers=("delta-rs", "duckdb"))  # fmt: skip
