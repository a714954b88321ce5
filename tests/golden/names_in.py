"""Delta tables whose columns have other names in their files, and rules that files do not show."""

from __future__ import annotations

from tests.golden.tables import Maker, golden

MAPPED = "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
UPGRADE = (
    "ALTER TABLE {table} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name', "
    "'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5')"
)
PEOPLE = (
    "INSERT INTO {table} SELECT id, concat('n', id), struct(concat('c', id), int(id)), "
    "array(struct('a', int(id))), map('q', int(id)), if(id % 2 = 0, 'x y', NULL) FROM range"
)

golden("names-in-mapped", "delta", [
    "CREATE TABLE {table} (id BIGINT, name STRING, address STRUCT<city: STRING, zip: INT>, "
    "tags ARRAY<STRUCT<k: STRING, v: INT>>, m MAP<STRING, INT>, p STRING) USING delta "
    f"PARTITIONED BY (p) {MAPPED}",
    f"{PEOPLE}(0, 6, 1, 1)",
    "ALTER TABLE {table} RENAME COLUMN address.city TO town",
    "ALTER TABLE {table} RENAME COLUMN tags.element.v TO w",
    "ALTER TABLE {table} DROP COLUMNS (name, address.zip)",
    "ALTER TABLE {table} ADD COLUMNS (name BIGINT, address.zip STRING)",
    "ALTER TABLE {table} RENAME COLUMN p TO `q r`",
    "UPDATE {table} SET name = 7 WHERE id > 3",
], delta_readers=("duckdb", "polars"))  # fmt: skip

golden("names-in-upgraded", "delta", [
    "CREATE TABLE {table} (id BIGINT, name STRING, extra STRING, s STRUCT<a: INT>) USING delta",
    "INSERT INTO {table} SELECT id, concat('n', id), 'old', struct(int(id)) FROM range(0, 6, 1, 1)",
    UPGRADE,
    "ALTER TABLE {table} RENAME COLUMN name TO title",
    "ALTER TABLE {table} DROP COLUMN extra",
    "ALTER TABLE {table} ADD COLUMNS (extra STRING, name STRING)",
    "INSERT INTO {table} SELECT id, 't', struct(1), 'new', 'nn' FROM range(10, 14, 1, 1)",
    "ALTER TABLE {table} RENAME COLUMN s.a TO b",
    "UPDATE {table} SET title = 'u' WHERE id = 4",
])  # fmt: skip


def _overwritten(maker: Maker) -> None:
    maker.sql(f"CREATE TABLE {{table}} (id BIGINT, name STRING, gone INT) USING delta {MAPPED}")
    maker.sql("INSERT INTO {table} VALUES (1, 'a', 1)")
    maker.sql("ALTER TABLE {table} RENAME COLUMN name TO title")
    _overwrite(maker, "SELECT bigint(5) AS name, bigint(6) AS id, 'o' AS other")
    maker.sql("INSERT INTO {table} VALUES (7, 8, 'b')")
    maker.sql("RESTORE TABLE {table} TO VERSION AS OF 2")
    _overwrite(maker, "SELECT 'text' AS id, 1.5D AS name")


def _overwrite(maker: Maker, query: str) -> None:
    """Replace rows and columns, as ``CREATE OR REPLACE TABLE`` does in a catalog."""
    writer = maker.spark.sql(query).write.format("delta").mode("overwrite")
    writer.option("overwriteSchema", "true").save(str(maker.folder))


golden("names-in-overwritten", "delta", _overwritten)

golden("names-in-iceberg-compat", "delta", [
    "CREATE TABLE {table} (id BIGINT, s ARRAY<STRUCT<a: INT>>, m MAP<STRING, ARRAY<INT>>, "
    "at TIMESTAMP, p INT) USING delta PARTITIONED BY (p) TBLPROPERTIES ("
    "'delta.columnMapping.mode' = 'name', 'delta.enableIcebergCompatV2' = 'true')",
    "INSERT INTO {table} VALUES (1, array(struct(1)), map('k', array(1, 2)), "
    "TIMESTAMP'2020-01-01 00:00:00.123456Z', 1)",
    "ALTER TABLE {table} RENAME COLUMN s TO t",
    "INSERT INTO {table} VALUES (2, array(struct(2)), map('k', array(3)), NULL, 2)",
])  # fmt: skip


def _ruled(maker: Maker) -> None:
    """Generated, identity and default columns, a constraint, row tracking, a change feed."""
    spark = maker.spark._jsparkSession
    delta = maker.spark._jvm.io.delta.tables.DeltaTable
    identity = delta.columnBuilder(spark, "id").dataType("bigint")
    year = delta.columnBuilder(spark, "year").dataType("int").generatedAlwaysAs("year(at)")
    (
        delta.create(spark)
        .location(str(maker.folder))
        .addColumn(identity.generatedAlwaysAsIdentity(10, 5).build())
        .addColumn("at", "timestamp")
        .addColumn(year.build())
        .addColumn("level", "int", False)
        .property("delta.columnMapping.mode", "name")
        .property("delta.enableRowTracking", "true")
        .property("delta.enableChangeDataFeed", "true")
        .property("delta.feature.allowColumnDefaults", "supported")
        .execute()
    )
    maker.sql("ALTER TABLE {table} ADD CONSTRAINT positive CHECK (level > 0)")
    maker.sql("ALTER TABLE {table} ALTER COLUMN level SET DEFAULT 5")
    maker.sql("INSERT INTO {table} (at) VALUES (TIMESTAMP'2020-02-03 00:00:00Z'), (NULL)")
    maker.sql("INSERT INTO {table} (at, level) VALUES (TIMESTAMP'2021-02-03 00:00:00Z', 9)")
    maker.sql("UPDATE {table} SET level = 7 WHERE level = 9")
    maker.sql("ALTER TABLE {table} DROP CONSTRAINT positive")
    maker.sql("ALTER TABLE {table} RENAME COLUMN level TO rank")
    maker.sql("DELETE FROM {table} WHERE rank = 7")


golden("names-in-ruled", "delta", _ruled)
golden("names-in-clustered", "delta", [
    f"CREATE TABLE {{table}} (id BIGINT, n INT) USING delta CLUSTER BY (n) {MAPPED}",
    "INSERT INTO {table} SELECT id, int(id % 3) FROM range(0, 20, 1, 1)",
    "ALTER TABLE {table} RENAME COLUMN n TO m",
])  # fmt: skip
