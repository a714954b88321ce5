"""Apache Spark as the source's writer and as the target's reader, at every version."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from parquedb.backends import migrate_backend
from tests.support.histories import DELTA, ICEBERG, Known, delta_plain, iceberg_plain
from tests.support.rows import assert_same_rows
from tests.support.spark import (
    iceberg_catalog,
    read_delta_at,
    read_iceberg_at,
    rows_of,
)
from tests.support.targets import assert_delta_has, assert_iceberg_has, open_iceberg

pytestmark = pytest.mark.spark


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def assert_spark_reads_iceberg(spark, folder, wanted):
    snapshots = sorted(open_iceberg(folder).snapshots(), key=lambda s: s.sequence_number)
    assert len(snapshots) == len(wanted)
    for snapshot, known in zip(snapshots, wanted, strict=True):
        found = read_iceberg_at(spark, folder, snapshot_id=snapshot.snapshot_id)
        assert_same_rows(found, known.rows)
        by_time = read_iceberg_at(spark, folder, timestamp_ms=known.at_ms)
        assert_same_rows(by_time, known.rows)


def assert_spark_reads_delta(spark, folder, wanted):
    assert DeltaTable(folder).version() + 1 == len(wanted)
    for version, known in enumerate(wanted):
        assert_same_rows(read_delta_at(spark, folder, version=version), known.rows)
        assert_same_rows(read_delta_at(spark, folder, timestamp_ms=known.at_ms), known.rows)


@pytest.mark.parametrize("name", DELTA)
def test_spark_reads_what_came_from_delta(spark, root, name):
    wanted = DELTA[name](root)
    migrate_backend(storage=root, to="iceberg")
    assert_spark_reads_iceberg(spark, root / "users", wanted)


@pytest.mark.parametrize("name", ICEBERG)
def test_spark_reads_what_came_from_iceberg(spark, root, name):
    wanted = ICEBERG[name](root)
    migrate_backend(storage=root, to="delta")
    assert_spark_reads_delta(spark, root / "users", wanted)


def test_spark_reads_integers_of_every_kind(spark, root):
    """Its Iceberg reader refuses files with unsigned ones; its Delta reader does not."""
    kinds = {f"{word}int{bits}": bits for bits in (8, 16, 32) for word in ("", "u")}
    columns = {
        kind: [0, (1 << bits) - 1] if kind[0] == "u" else [-(1 << bits - 1), (1 << bits - 1) - 1]
        for kind, bits in kinds.items()
    }
    rows = pa.table({kind: pa.array(values, kind) for kind, values in columns.items()})
    rows = rows.append_column("many", pa.array([[2**32 - 1], []], pa.list_(pa.uint32())))
    (root / "data/users").mkdir(parents=True)
    pq.write_table(rows, root / "data/users/data.parquet")
    migrate_backend(storage=root, from_="native", to="iceberg", verify="content")
    assert_same_rows(read_iceberg_at(spark, root / "users"), rows)
    migrate_backend(storage=root, from_="native", to="delta", location="d", verify="content")
    assert_same_rows(read_delta_at(spark, root / "d/users"), rows)


def spark_statements(table):
    """A history that Spark writes: appends, copy-on-write changes, a new and a wider column."""
    return [
        f"INSERT INTO {table} VALUES (1, 'a', 1.5, DATE'2020-01-01', "
        "TIMESTAMP'2024-01-01 00:00:01Z'), (2, NULL, DOUBLE('NaN'), NULL, NULL)",
        f"INSERT INTO {table} SELECT id, concat('n', id), id / 3, NULL, NULL FROM range(10, 60)",
        f"DELETE FROM {table} WHERE id % 7 = 0",
        f"UPDATE {table} SET name = 'changed' WHERE id < 20",
        f"ALTER TABLE {table} ADD COLUMNS (extra STRUCT<x: INT, y: ARRAY<STRING>>)",
        f"INSERT INTO {table} VALUES (100, 'z', 0.0, NULL, NULL, struct(1, array('p', NULL)))",
        f"INSERT OVERWRITE {table} SELECT * FROM {table} WHERE id > 50",
    ]


COLUMNS = "id BIGINT, name STRING, score DOUBLE, day DATE, at TIMESTAMP"


@pytest.mark.parametrize("partitioning", ["", "PARTITIONED BY (name)"])
def test_spark_writes_delta(spark, root, partitioning):
    folder = root / "users"
    table = f"delta.`{folder}`"
    spark.sql(f"CREATE TABLE {table} ({COLUMNS}) USING delta {partitioning}")
    for statement in spark_statements(table):
        spark.sql(statement)
    wanted = [
        Known(
            row["version"],
            round(row["timestamp"].timestamp() * 1000),
            read_delta_at(spark, folder, version=row["version"]),
        )
        for row in sorted(
            spark.sql(f"DESCRIBE HISTORY {table}").collect(), key=lambda row: row["version"]
        )
    ]
    assert len(wanted) == 8
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.namespaces["users"].versions == 8
    assert_iceberg_has(folder, wanted)
    assert_spark_reads_iceberg(spark, folder, wanted)


@pytest.mark.parametrize("partitioning", ["", "PARTITIONED BY (name)"])
@pytest.mark.parametrize("version", [1, 2])
def test_spark_writes_iceberg(spark, root, partitioning, version):
    catalog = iceberg_catalog(spark, root)
    table = f"{catalog}.users"
    properties = f"TBLPROPERTIES ('format-version' = '{version}')"
    spark.sql(f"CREATE TABLE {table} ({COLUMNS}) USING iceberg {partitioning} {properties}")
    for statement in spark_statements(table):
        spark.sql(statement)
    folder = root / "users"
    snapshots = spark.sql(f"SELECT * FROM {table}.snapshots ORDER BY committed_at").collect()
    wanted = [
        Known(
            s["snapshot_id"],
            round(s["committed_at"].timestamp() * 1000),
            read_iceberg_at(spark, folder, snapshot_id=s["snapshot_id"]),
        )
        for s in snapshots
    ]
    report = migrate_backend(storage=root, to="delta", verify="content")
    assert report.namespaces["users"].versions == len(wanted)
    assert_delta_has(folder, wanted)
    assert_spark_reads_delta(spark, folder, wanted)


def test_spark_expires_and_writes_on_a_migrated_iceberg_table(spark, root):
    wanted = delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    catalog = iceberg_catalog(spark, root)
    spark.sql(f"CALL {catalog}.system.expire_snapshots(table => 'users')")
    folder = root / "users"
    assert_spark_reads_iceberg(spark, folder, wanted)
    spark.sql(f"DELETE FROM {catalog}.users WHERE id > 205")
    spark.sql(f"CALL {catalog}.system.rewrite_data_files(table => 'users')")
    rows = rows_of(spark.sql(f"SELECT * FROM {catalog}.users"))
    assert_same_rows(rows, [row for row in wanted[-1].rows if row["id"] <= 205])
    report = migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert report.namespaces["users"].action == "migrated"
    assert_same_rows(read_delta_at(spark, folder), rows)


def test_spark_vacuums_checkpoints_and_writes_on_a_migrated_delta_table(spark, root):
    wanted = iceberg_plain(root)
    migrate_backend(storage=root, to="delta")
    folder = root / "users"
    table = f"delta.`{folder}`"
    spark.sql(f"VACUUM {table}")
    for i in range(12):  # past a checkpoint
        spark.sql(f"DELETE FROM {table} WHERE id = {500 + i}")
    spark.sql(f"OPTIMIZE {table}")
    spark.sql(f"VACUUM {table}")
    for version, known in enumerate(wanted):
        assert_same_rows(read_delta_at(spark, folder, version=version), known.rows)
    assert read_delta_at(spark, folder) == []
