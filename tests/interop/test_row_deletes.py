"""Row-level deletes carried in every version, read back by readers that are not ours."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from parquedb.backends import (
    cleanup_backend,
    detect_existing_format,
    migrate_backend,
    verify_backend,
)
from parquedb.errors import FormatError
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import AddFile, RemoveFile, SetDeletes, SetPartitioning, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed
from parquedb.model.files import DataFile
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.parquet.deletes import inline_vector
from parquedb.parquet.footer import read_footer
from parquedb.storage.local import LocalStore
from tests.interop.test_migration import fingerprints
from tests.support.histories import Known, people
from tests.support.rows import assert_same_rows
from tests.support.spark import iceberg_catalog, read_delta_at, read_iceberg_at
from tests.support.targets import assert_delta_has, assert_iceberg_has, metadata_file, open_iceberg

T0 = 1_700_000_000_000
FEW, SOME = [1, 2, 39], [*range(5, 30, 3), 39]
MANY = [i * 7 % 1000 for i in range(450)]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def put(root, name, table):
    path = root / "users" / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=1000)
    footer = read_footer(LocalStore(root), f"users/data/{name}")
    return DataFile(footer.key, footer.size_bytes, footer.rows, stats=footer.stats), footer.schema


def deleted(file, positions):
    return replace(file, deletes=(inline_vector(positions),) if positions else ())


def history(root):
    """Deletes, more of them, undone ones, files compacted away and brought back with theirs."""
    a, schema = put(root, "a.parquet", people(0, 40))
    b, _ = put(root, "b.parquet", people(100, 1000))
    c, _ = put(root, "c.parquet", people(2000, 5))
    both, _ = put(root, "both.parquet", people(0, 3))
    steps = [
        (Operation.APPEND, SetSchema(schema), AddFile(a), AddFile(b)),
        (Operation.DELETE, vector(a, FEW)),
        (Operation.DELETE, vector(a, [*FEW, *SOME]), vector(b, MANY)),
        (Operation.OVERWRITE, vector(b, [*MANY, 1, 2]), AddFile(c)),
        (Operation.OVERWRITE, vector(a, FEW), vector(b, MANY)),
        (Operation.REPLACE, RemoveFile(a), RemoveFile(b), AddFile(both)),
        (Operation.OVERWRITE, RemoveFile(both), AddFile(deleted(a, FEW)), AddFile(deleted(b, [7]))),
        (Operation.OVERWRITE, vector(a, []), vector(c, [0, 1, 2, 3, 4])),
        (Operation.METADATA,),
        (Operation.DELETE, vector(a, range(40)), vector(b, MANY[:3])),
    ]  # fmt: skip
    return [
        Commit(version, T0 + version * 1000, operation, changes)
        for version, (operation, *changes) in enumerate(steps)
    ]


def vector(file, positions):
    return SetDeletes(file.path, deleted(file, list(positions)).deletes)


def commits_of(commits):
    return [replace(commit, changes=tuple(commit.changes)) for commit in commits]


def make_delta(root, commits, expect=None):
    result = DeltaWriter(LocalStore(root), "users").append(commits_of(commits), expect=expect)
    assert isinstance(result, Committed)
    return known_delta(root)


def known_delta(root, start=0):
    """What delta-rs says of every version, by way of Polars."""
    folder = str(root / "users")
    times = {entry["version"]: entry["timestamp"] for entry in DeltaTable(folder).history()}
    return [
        Known(v, times[v], pl.scan_delta(folder, version=v).collect().to_arrow().to_pylist())
        for v in sorted(times)
        if v >= start
    ]


def make_iceberg(root, commits, expect=None):
    result = IcebergWriter(LocalStore(root), "users").append(commits_of(commits), expect=expect)
    assert isinstance(result, Committed)
    return known_iceberg(root)


def known_iceberg(root):
    """What pyiceberg says of every snapshot."""
    table = open_iceberg(root / "users")
    return [
        Known(s.snapshot_id, s.timestamp_ms,
              table.scan(snapshot_id=s.snapshot_id).to_arrow().to_pylist())
        for s in sorted(table.snapshots(), key=lambda s: s.sequence_number)
    ]  # fmt: skip


def equal(root):
    primary = detect_existing_format(storage=root, namespace="users").primary
    against = "iceberg" if primary == "delta" else "delta"
    found = verify_backend(root, "users", against)
    return found["equal"]


def counts(wanted):
    return [len(known.rows) for known in wanted]


@pytest.mark.parametrize("files", ["auto", "copy", "rewrite"])
def test_delta_to_iceberg(root, files):
    wanted = make_delta(root, history(root))
    before = fingerprints(root)
    report = migrate_backend(storage=root, to="iceberg", verify="content", files=files)
    done = report.namespaces["users"]
    assert (done.action, done.versions, done.rows) == ("migrated", len(wanted), counts(wanted)[-1])
    assert_iceberg_has(root / "users", wanted)
    assert before.items() <= fingerprints(root).items()
    reader = IcebergReader(LocalStore(root), "users")
    assert [version.rows for version in reader.history()] == counts(wanted)
    assert equal(root)


@pytest.mark.parametrize("files", ["auto", "copy", "rewrite"])
def test_iceberg_to_delta(root, files):
    wanted = make_iceberg(root, history(root))
    before = fingerprints(root)
    report = migrate_backend(storage=root, to="delta", verify="content", files=files)
    done = report.namespaces["users"]
    assert (done.action, done.versions, done.rows) == ("migrated", len(wanted), counts(wanted)[-1])
    assert_delta_has(root / "users", wanted, vectors=True)
    assert before.items() <= fingerprints(root).items()
    reader = DeltaReader(LocalStore(root), "users")
    assert [version.rows for version in reader.history()] == counts(wanted)


def test_to_and_fro_with_clean_up(root):
    wanted = make_delta(root, history(root))
    migrate_backend(storage=root, to="iceberg", delete_source=True)
    assert not (root / "users" / "_delta_log").exists()
    assert not list(root.rglob("deletion_vector_*"))
    assert_iceberg_has(root / "users", wanted)
    migrate_backend(storage=root, to="delta")
    assert_delta_has(root / "users", wanted, vectors=True)
    cleanup_backend(storage=root, namespace="users", format="iceberg")
    assert not list(root.rglob("*-deletes.parquet"))
    assert_delta_has(root / "users", wanted, vectors=True)


@pytest.mark.parametrize("at", range(1, 10))
def test_in_two_runs(root, at):
    commits = history(root)
    make_delta(root, commits[:at])
    migrate_backend(storage=root, to="iceberg")
    wanted = make_delta(root, commits[at:], expect=at - 1)
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.namespaces["users"].versions == len(wanted) - at
    assert_iceberg_has(root / "users", wanted)


@pytest.mark.parametrize("at", [2, 5, 7])
def test_in_two_runs_into_delta(root, at):
    commits = history(root)
    before = make_iceberg(root, commits[:at])
    migrate_backend(storage=root, to="delta")
    wanted = make_iceberg(root, commits[at:], expect=before[-1].version)
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", wanted, vectors=True)


def test_the_target_goes_on_and_comes_back(root):
    commits = history(root)
    first = make_delta(root, commits[:5])
    migrate_backend(storage=root, to="iceberg")
    reader = IcebergReader(LocalStore(root), "users")
    files = sorted(reader.snapshot().files.values(), key=lambda file: file.rows)
    more = [
        Commit(1, T0 + 60_000, Operation.DELETE, (vector(files[0], [0]),)),
        Commit(2, T0 + 61_000, Operation.OVERWRITE, (vector(files[2], []), RemoveFile(files[1]))),
    ]
    make_iceberg(root, more, expect=reader.latest())
    wanted = known_iceberg(root)
    assert counts(wanted)[:5] == counts(first)
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert_delta_has(root / "users", wanted, vectors=True)
    assert equal(root)


def test_replacing_a_target_that_has_other_deletes(root):
    commits = history(root)
    make_delta(root, commits[:3])
    migrate_backend(storage=root, to="iceberg")
    reader = IcebergReader(LocalStore(root), "users")
    files = list(reader.snapshot().files)
    others = [
        SetDeletes(files[0], (inline_vector([8]),)),
        SetDeletes(files[1], ()),
    ]
    make_iceberg(
        root, [Commit(1, T0 + 60_000, Operation.DELETE, tuple(others))], expect=reader.latest()
    )
    wanted = make_delta(root, commits[3:5], expect=2)
    migrate_backend(
        storage=root, from_="delta", to="iceberg", on_conflict="force", allow_lossy=True,
        verify="content",
    )  # fmt: skip
    assert_same_rows(known_iceberg(root)[-1].rows, wanted[-1].rows)


def test_a_rollback_of_the_source(root):
    """The cursor is gone: the next version is carried as a whole, deletes and all."""
    commits = history(root)
    before = make_iceberg(root, commits[:4])
    migrate_backend(storage=root, to="delta")
    path = metadata_file(root / "users")
    wire = json.loads(path.read_text())
    back = before[1].version
    wire["current-snapshot-id"] = wire["refs"]["main"]["snapshot-id"] = back
    wire["last-updated-ms"] = T0 + 90_000
    (path.parent / "v9.metadata.json").write_text(json.dumps(wire))
    more = Commit(9, T0 + 100_000, Operation.DELETE, commits[4].changes[:1])
    make_iceberg(root, [more], expect=back)
    rows = open_iceberg(root / "users").scan().to_arrow().to_pylist()
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert_same_rows(pl.read_delta(str(root / "users")).to_arrow(), rows)


def test_native_gets_the_rows_that_are_left(root):
    wanted = make_delta(root, history(root))
    migrate_backend(storage=root, to="native", allow_lossy=True, verify="content")
    assert_same_rows(pq.read_table(root / "data" / "users" / "data.parquet"), wanted[-1].rows)


def test_one_file_with_deleted_rows_becomes_native(root):
    a, schema = put(root, "a.parquet", people(0, 40))
    wanted = make_iceberg(
        root,
        [Commit(0, T0, Operation.APPEND, (SetSchema(schema), AddFile(deleted(a, FEW))))],
    )
    migrate_backend(storage=root, to="native", allow_lossy=True, verify="content")
    assert_same_rows(pq.read_table(root / "data" / "users" / "data.parquet"), wanted[-1].rows)


def test_only_the_latest_version(root):
    wanted = make_delta(root, history(root))
    migrate_backend(storage=root, to="iceberg", history="latest", verify="content")
    assert_iceberg_has(root / "users", wanted[-1:])


def test_a_log_that_begins_with_a_checkpoint(root):
    commits = history(root)
    wanted = make_delta(root, commits)
    DeltaTable(root / "users")  # its own checkpoint would need a newer protocol in delta-rs
    from parquedb.formats.delta.checkpoint_write import write_checkpoint

    write_checkpoint(LocalStore(root), "users", 3)
    for version in range(4):
        (root / "users" / "_delta_log" / f"{version:020d}.json").unlink()
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.namespaces["users"].versions == len(wanted) - 3
    table = open_iceberg(root / "users")
    snapshots = sorted(table.snapshots(), key=lambda s: s.sequence_number)
    for snapshot, known in zip(snapshots, wanted[3:], strict=True):
        assert_same_rows(table.scan(snapshot_id=snapshot.snapshot_id).to_arrow(), known.rows)
        # pruning by statistics finds rows that came back
        for id_ in (1, 39, 107):
            rows = table.scan(f"id == {id_}", snapshot_id=snapshot.snapshot_id).to_arrow()
            assert_same_rows(rows, [row for row in known.rows if row["id"] == id_])


def test_vectors_that_were_vacuumed(root):
    wanted = make_delta(root, history(root))
    early = list(DeltaReader(LocalStore(root), "users").commits())[1:4]
    gone = {
        one.path
        for commit in early
        for change in commit.changes
        if isinstance(change, SetDeletes)
        for one in change.deletes
    }
    assert len(gone) == 3
    for path in gone:
        (root / path).unlink()
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    done = report.namespaces["users"]
    assert done.versions == len(wanted) - 4  # version 4 replaces the last of them
    assert "data files that they need were deleted" in done.lost[0]
    assert_iceberg_has(root / "users", wanted[4:])


def test_a_vector_that_is_missing_now(root):
    make_delta(root, history(root)[:4])
    for path in root.rglob("deletion_vector_*"):
        path.unlink()
    before = fingerprints(root)
    with pytest.raises(FormatError, match=r"deletion_vector_.*is missing"):
        migrate_backend(storage=root, to="iceberg")
    assert fingerprints(root) == before


def test_a_delete_file_that_is_missing(root):
    make_iceberg(root, history(root))
    next(iter(root.rglob("*-deletes.parquet"))).unlink()
    before = fingerprints(root)
    with pytest.raises(FormatError, match=r"deletes\.parquet.*does not exist"):
        migrate_backend(storage=root, to="delta")
    assert fingerprints(root) == before


def test_partitioned_files_with_deletes(root):
    files = []
    for kind in ("x", "y"):
        table = people(0, 12).drop_columns(["name"])
        file, schema = put(root, f"kind={kind}/p.parquet", table.append_column(
            "kind", pa.array([kind] * 12)))  # fmt: skip
        files.append(replace(file, partition=(kind,)))
    column = schema.find("kind")
    spec = PartitionSpec(0, (PartitionField(column.id, "kind"),))
    commits = [
        Commit(0, T0, Operation.APPEND,
               (SetSchema(schema), SetPartitioning(spec), *map(AddFile, files))),
        Commit(1, T0 + 1000, Operation.DELETE, (vector(files[0], [1, 5]),)),
        Commit(2, T0 + 2000, Operation.DELETE, (vector(files[1], [0]), vector(files[0], [1]))),
    ]  # fmt: skip
    wanted = make_iceberg(root, commits)
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", wanted, vectors=True)
    cleanup_backend(storage=root, namespace="users", format="iceberg")
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_iceberg_has(root / "users", wanted)


def test_promoted_columns_and_deletes(root):
    """Files are written again with the wider type; their deletes stay."""
    from pyiceberg.types import LongType

    from tests.support.histories import iceberg_table

    table = iceberg_table(root, people(0, 1).schema)
    table.append(people(0, 12))
    name = next((root / "users" / "metadata").glob("00001-*.json"))
    target = root / "users" / "metadata" / "v1.metadata.json"
    shutil.copy(name, target)
    for path in (root / "users" / "metadata").glob("0*.json"):
        path.unlink()
    reader = IcebergReader(LocalStore(root), "users")
    (file,) = reader.snapshot().files.values()
    make_iceberg(
        root,
        [Commit(1, T0 + 10**12, Operation.DELETE, (vector(file, [3, 4]),))],
        expect=reader.latest(),
    )
    from pyiceberg.table import StaticTable

    assert (
        StaticTable.from_metadata(str(metadata_file(root / "users"))).scan().to_arrow().num_rows
        == 10
    )
    reader = IcebergReader(LocalStore(root), "users")
    schema = reader.snapshot().schema
    small = schema.find("small")
    wide = replace(schema, fields=tuple(
        replace(f, type=replace(f.type, bits=64)) if f.id == small.id else f for f in schema.fields
    ))  # fmt: skip
    assert LongType()
    wanted = make_iceberg(
        root,
        [
            Commit(2, T0 + 10**12 + 1000, Operation.DELETE, (SetSchema(wide), vector(file, [3]))),
            Commit(3, T0 + 10**12 + 2000, Operation.DELETE, (vector(file, [3, 11]),)),
        ],
        expect=reader.latest(),
    )
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", wanted, vectors=True)


# Apache Spark as the writer, and as another reader


def assert_spark_reads_iceberg(spark, folder, wanted):
    snapshots = sorted(open_iceberg(folder).snapshots(), key=lambda s: s.sequence_number)
    for snapshot, known in zip(snapshots, wanted, strict=True):
        found = read_iceberg_at(spark, folder, snapshot_id=snapshot.snapshot_id)
        assert_same_rows(found, known.rows)
    by_time = read_iceberg_at(spark, folder, timestamp_ms=wanted[-2].at_ms)
    assert_same_rows(by_time, wanted[-2].rows)


INSERT = "INSERT INTO {table} SELECT /*+ COALESCE(1) */ id, concat('n', id % 3), id / 3 FROM range"
ICEBERG_STATEMENTS = [
    INSERT + "(0, 50, 1, 1)",
    INSERT + "(50, 5050, 1, 1)",
    "DELETE FROM {table} WHERE id % 7 = 0",
    "UPDATE {table} SET name = 'changed' WHERE id IN (1, 60, 61)",
    "DELETE FROM {table} WHERE id % 11 = 0",
    "MERGE INTO {table} t USING (SELECT 3 AS id UNION ALL SELECT 9000) s ON t.id = s.id "
    "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'm')",
    "CALL {catalog}.system.rewrite_position_delete_files('users', map('rewrite-all', 'true'))",
    "DELETE FROM {table} WHERE id BETWEEN 10 AND 20",
    "CALL {catalog}.system.rewrite_data_files(table => 'users', "
    "options => map('rewrite-all', 'true'))",
    "DELETE FROM {table} WHERE id = 2000",
]


def spark_iceberg(spark, root, granularity, partitioning):
    catalog = iceberg_catalog(spark, root)
    table = f"{catalog}.users"
    spark.sql(
        f"CREATE TABLE {table} (id BIGINT, name STRING, score DOUBLE) USING iceberg {partitioning} "
        "TBLPROPERTIES ('format-version' = '2', 'write.delete.mode' = 'merge-on-read', "
        "'write.update.mode' = 'merge-on-read', 'write.merge.mode' = 'merge-on-read', "
        f"'write.delete.granularity' = '{granularity}')"
    )
    for statement in ICEBERG_STATEMENTS:
        spark.sql(statement.format(table=table, catalog=catalog))
    return catalog


def known_by_spark(spark, root, catalog):
    snapshots = spark.sql(f"SELECT * FROM {catalog}.users.snapshots").collect()
    by_id = {s["snapshot_id"]: s for s in snapshots}
    line, at = [], open_iceberg(root / "users").current_snapshot().snapshot_id
    while at is not None:
        line.append(by_id[at])
        at = by_id[at]["parent_id"]
    return [
        Known(
            s["snapshot_id"],
            round(s["committed_at"].timestamp() * 1000),
            read_iceberg_at(spark, root / "users", snapshot_id=s["snapshot_id"]),
        )
        for s in reversed(line)
    ]


@pytest.mark.spark
def test_spark_rolls_back_and_goes_on(spark, root):
    catalog = spark_iceberg(spark, root, "partition", "")
    snapshots = spark.sql(
        f"SELECT * FROM {catalog}.users.snapshots ORDER BY committed_at"
    ).collect()
    spark.sql(f"CALL {catalog}.system.rollback_to_snapshot('users', {snapshots[4]['snapshot_id']})")
    spark.sql(f"DELETE FROM {catalog}.users WHERE id > 4000")
    wanted = known_by_spark(spark, root, catalog)
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", wanted, vectors=True)


@pytest.mark.spark
def test_spark_goes_on_with_a_migrated_delta_table_and_back(spark, root):
    """A foreign merge-on-read table comes back with changed deletes."""
    catalog = spark_iceberg(spark, root, "partition", "")
    migrate_backend(storage=root, to="delta")
    folder = root / "users"
    table = f"delta.`{folder}`"
    spark.sql(f"DELETE FROM {table} WHERE id % 13 = 0")
    spark.sql(f"RESTORE TABLE {table} TO VERSION AS OF 4")
    spark.sql(f"DELETE FROM {table} WHERE id = 8")
    spark.sql(f"VACUUM {table}")
    count = len(known_by_spark(spark, root, catalog))
    newest = DeltaTable(folder).version()
    wanted = [read_delta_at(spark, folder, version=version) for version in range(count, newest + 1)]
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    tips = sorted(open_iceberg(folder).snapshots(), key=lambda s: s.sequence_number)[-len(wanted) :]
    for snapshot, rows in zip(tips, wanted, strict=True):
        assert_same_rows(read_iceberg_at(spark, folder, snapshot_id=snapshot.snapshot_id), rows)
        found = open_iceberg(folder).scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        assert_same_rows(found, rows)
    assert equal(root)


@pytest.mark.spark
def test_spark_goes_on_with_a_migrated_iceberg_table(spark, root):
    wanted = make_delta(root, history(root))
    migrate_backend(storage=root, to="iceberg")
    catalog = iceberg_catalog(spark, root)
    assert_spark_reads_iceberg(spark, root / "users", wanted)
    spark.sql(
        f"ALTER TABLE {catalog}.users SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')"
    )
    spark.sql(f"DELETE FROM {catalog}.users WHERE id % 5 = 0")
    spark.sql(f"CALL {catalog}.system.rewrite_manifests('users')")
    rows = read_iceberg_at(spark, root / "users")
    assert_same_rows(rows, [row for row in wanted[-1].rows if row["id"] % 5])
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert_same_rows(read_delta_at(spark, root / "users"), rows)
