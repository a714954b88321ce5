"""Histories: what moves a table besides an append, and statistics of several kinds."""

from __future__ import annotations

from tests.golden.compare import known_by_spark
from tests.golden.tables import Maker, golden
from tests.support.histories import Known

COLUMNS = "id BIGINT, name STRING, score DOUBLE"
INSERT = "INSERT INTO {table} SELECT /*+ COALESCE(1) */ id, concat('n', id % 3), id / 4 FROM range"

golden("histories-plain", "iceberg", [
    f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg",
    INSERT + "(0, 20, 1, 1)",
    INSERT + "(20, 30, 1, 1)",
    "DELETE FROM {table} WHERE id % 7 = 0",
    "UPDATE {table} SET name = 'changed' WHERE id < 5",
    "DELETE FROM {table} WHERE id < 0",
    "INSERT OVERWRITE {table} SELECT * FROM {table} WHERE id > 10",
    "TRUNCATE TABLE {table}",
    INSERT + "(40, 42, 1, 1)",
])  # fmt: skip


def _rolled_back(maker: Maker) -> None:
    maker.sql(f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg")
    for start in (0, 10, 20):
        maker.sql(f"{INSERT}({start}, {start + 10}, 1, 1)")
    maker.sql("DELETE FROM {table} WHERE id < 5")
    first = maker.snapshot_id(1)
    maker.sql("CALL {catalog}.system.rollback_to_snapshot('users', {id})", id=first)
    maker.sql(INSERT + "(100, 105, 1, 1)")


def _cherry_picked(maker: Maker) -> None:
    """A staged append, published after another commit; a branch that is not carried."""
    maker.sql(f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg "
              "TBLPROPERTIES ('write.wap.enabled' = 'true')")  # fmt: skip
    maker.sql(INSERT + "(0, 5, 1, 1)")
    maker.spark.conf.set("spark.wap.id", "staged")
    maker.sql(INSERT + "(5, 8, 1, 1)")
    maker.spark.conf.unset("spark.wap.id")
    maker.sql(INSERT + "(20, 22, 1, 1)")
    staged = maker.snapshot_id(1)
    maker.sql("CALL {catalog}.system.cherrypick_snapshot('users', {id})", id=staged)
    maker.sql("ALTER TABLE {table} CREATE TAG v1")
    maker.sql("DELETE FROM {table} WHERE id = 6")


def _expired(maker: Maker) -> None:
    maker.sql(f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg")
    for start in (0, 10, 20):
        maker.sql(f"{INSERT}({start}, {start + 10}, 1, 1)")
    maker.sql("DELETE FROM {table} WHERE id < 15")
    maker.sql("ALTER TABLE {table} ADD COLUMN late INT")
    maker.sql("INSERT INTO {table} VALUES (50, 'x', 1.0, 7)")
    maker.sql("CALL {catalog}.system.expire_snapshots(table => 'users', retain_last => 2, "
              "older_than => TIMESTAMP '2100-01-01 00:00:00')")  # fmt: skip


golden("histories-rolled-back", "iceberg", _rolled_back)
golden("histories-cherry-picked", "iceberg", _cherry_picked)
golden("histories-expired", "iceberg", _expired)


def _plain_delta(maker: Maker) -> None:
    maker.sql(f"CREATE TABLE {{table}} ({COLUMNS}) USING delta "
              "TBLPROPERTIES ('delta.checkpointInterval' = '4')")  # fmt: skip
    maker.sql(INSERT + "(0, 20, 1, 1)")
    maker.sql(INSERT + "(20, 30, 1, 1)")
    maker.sql("DELETE FROM {table} WHERE id % 7 = 0")
    maker.sql("UPDATE {table} SET name = 'changed' WHERE id < 5")
    maker.sql("RESTORE TABLE {table} TO VERSION AS OF 2")
    others = maker.spark.range(12, 30).selectExpr("id", "'new' AS name", "id / 4 AS score")
    replacing = others.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    replacing.save(f"file://{maker.folder}")
    maker.sql("INSERT OVERWRITE {table} SELECT * FROM {table} WHERE id > 15")
    maker.sql("OPTIMIZE {table} ZORDER BY (id)")
    maker.sql("ALTER TABLE {table} SET TBLPROPERTIES ('team' = 'us')")
    maker.sql("INSERT INTO {table} SELECT * FROM {table} WHERE id < 0")


golden("histories-plain-delta", "delta", _plain_delta)


def _vacuumed(maker: Maker) -> list[Known]:
    maker.sql(f"CREATE TABLE {{table}} ({COLUMNS}) USING delta")
    maker.sql(INSERT + "(0, 20, 1, 1)")
    maker.sql(INSERT + "(20, 30, 1, 1)")
    maker.sql("DELETE FROM {table} WHERE id % 7 = 0")
    maker.sql(INSERT + "(30, 33, 1, 1)")
    known = known_by_spark(maker)
    maker.spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    maker.sql("VACUUM {table} RETAIN 0 HOURS")
    maker.spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
    maker.sql(INSERT + "(33, 35, 1, 1)")
    return known + known_by_spark(maker, start=len(known))


def _begins_with_a_checkpoint(policy: str) -> list[str]:
    return [
        f"CREATE TABLE {{table}} ({COLUMNS}, day DATE, at TIMESTAMP) USING delta TBLPROPERTIES ("
        f"'delta.checkpointInterval' = '3', 'delta.checkpointPolicy' = '{policy}', "
        "'delta.checkpoint.writeStatsAsStruct' = 'true', "
        "'delta.checkpoint.writeStatsAsJson' = 'false')",
        *(
            f"INSERT INTO {{table}} SELECT id, concat('long name number ', id, repeat('x', 40)), "
            f"IF(id = 3, DOUBLE('NaN'), id / 4), DATE'1969-12-25' + CAST(id AS INT), "
            f"TIMESTAMP'1969-12-31 23:59:59.123456Z' + make_dt_interval(0, 0, 0, id) "
            f"FROM range({start}, {start + 4}, 1, 1)"
            for start in (0, 4, 8, 12)
        ),
    ]


def _cleaned(policy: str):  # type: ignore[no-untyped-def]
    def build(maker: Maker) -> list[Known]:
        """The log begins with a checkpoint, whose statistics are columns and no text."""
        for statement in _begins_with_a_checkpoint(policy):
            maker.sql(statement)
        known = known_by_spark(maker)
        log = maker.folder / "_delta_log"
        assert list(log.glob(f"{3:020d}.checkpoint*"))
        for version in range(3):
            (log / f"{version:020d}.json").unlink()
            (log / f".{version:020d}.json.crc").unlink(missing_ok=True)
        return known[3:]

    return build


golden("histories-vacuumed", "delta", _vacuumed, first=3, lost="data files that they need")
golden("histories-checkpoint", "delta", _cleaned("classic"))
golden("histories-checkpoint-v2", "delta", _cleaned("v2"))

TYPES = (
    "id BIGINT, i INT, b BOOLEAN, f FLOAT, d DOUBLE, s STRING, raw BINARY, day DATE, "
    "at TIMESTAMP, here TIMESTAMP_NTZ, small DECIMAL(5, 2), big DECIMAL(38, 10), "
    "st STRUCT<x: INT, y: STRUCT<z: STRING>>, l ARRAY<BIGINT>, m MAP<STRING, DOUBLE>"
)
VALUES = [
    "(1, 2147483647, true, CAST(0.1 AS FLOAT), DOUBLE('NaN'), 'ä€😀', X'00FF', DATE'0001-01-01', "
    "TIMESTAMP'1969-12-31 23:59:59.999999Z', TIMESTAMP_NTZ'2024-02-29 12:00:00.000001', "
    "999.99, 1234567890123456789012345678.0123456789, "
    "named_struct('x', 1, 'y', named_struct('z', 'deep')), array(1, NULL), map('k', 1.5D))",
    "(2, -2147483648, false, FLOAT('-Infinity'), -0.0D, '', X'', DATE'9999-12-31', "
    "TIMESTAMP'2024-01-01 00:00:00.123456Z', NULL, -999.99, "
    "-1234567890123456789012345678.0123456789, NULL, array(), map())",
    "(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
]
for format_ in ("iceberg", "delta"):
    golden(f"histories-types-{format_}", format_, [
        f"CREATE TABLE {{table}} ({TYPES}) USING {format_}",
        *(f"INSERT INTO {{table}} VALUES {values}" for values in VALUES),
    ])  # fmt: skip
