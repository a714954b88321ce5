"""Columns renamed, dropped and added again: every version, read by name by other programs."""

import shutil

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, StructType

from parquedb.backends import migrate_backend, verify_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.model.schema import ids_by_path
from parquedb.storage.local import LocalStore
from tests.interop.test_migration import fingerprints
from tests.support import duck
from tests.support.histories import iceberg_table, known_iceberg
from tests.support.rows import assert_same_rows
from tests.support.targets import (
    assert_delta_has,
    assert_iceberg_has,
    metadata_file,
    open_iceberg,
)

POINT = pa.struct([("x", pa.int64()), ("y", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("a", pa.string()),
        ("b", pa.string()),
        ("n", pa.int32()),
        ("at", POINT),
        ("many", pa.list_(POINT)),
        ("by", pa.map_(pa.string(), POINT)),
    ]
)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def point(i):
    return {"x": i, "y": f"y{i}"} if i % 3 else None


def rows(table, start, count=4):
    """Rows for a table's present columns, the insides of nested ones included."""
    schema = table.schema().as_arrow()

    def made(kind, name, i):
        if pa.types.is_struct(kind):
            return {one.name: made(one.type, one.name, i) for one in kind} if i % 3 else None
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return [made(kind.value_type, "e", i + k) for k in range(i % 3)]
        if pa.types.is_map(kind):
            return [(f"k{i}", made(kind.item_type, "v", i + 1))] if i % 4 else []
        if pa.types.is_integer(kind):
            return i
        if pa.types.is_floating(kind):
            return i / 4
        return f"{name} {i}" if i % 5 else None

    columns = {
        one.name: pa.array(
            [made(one.type, one.name, i) for i in range(start, start + count)], one.type
        )
        for one in schema
    }
    return pa.table(columns, schema=schema)


class History:
    """A table that pyiceberg writes."""

    def __init__(self, root, schema=SCHEMA, partition=None):
        self.root = root
        self.table = iceberg_table(root, schema)
        if partition is not None:
            with self.table.update_spec() as update:
                update.add_identity(partition)
        self.next = 0

    def append(self, count=4):
        self.table.append(rows(self.table, self.next, count))
        self.next += count

    def alter(self, *steps):
        with self.table.update_schema(allow_incompatible_changes=True) as update:
            for name, *arguments in steps:
                getattr(update, name)(*arguments)

    @property
    def known(self):
        return known_iceberg(self.table)


def renamed_once(root):
    one = History(root)
    one.append()
    one.append()
    one.alter(("rename_column", "a", "renamed"))
    one.append()
    return one


def there_and_back(root):
    one = History(root)
    one.append()
    one.alter(("rename_column", "a", "z"))
    one.append()
    one.alter(("rename_column", "z", "a"))
    one.append()
    one.alter(("rename_column", "a", "z"))
    one.append()
    one.table.delete("id < 3")
    return one


def swapped(root):
    one = History(root)
    one.append()
    one.alter(("rename_column", "a", "t"))
    one.alter(("rename_column", "b", "a"))
    one.alter(("rename_column", "t", "b"))
    one.append()
    one.table.delete("id == 5")
    one.append()
    return one


def case_only(root):
    one = History(root)
    one.append()
    one.alter(("rename_column", "a", "A"), ("rename_column", "at.x", "X"))
    one.append()
    return one


def dropped(root):
    one = History(root)
    one.append()
    one.alter(("delete_column", "b"))
    one.append()
    one.table.delete("id == 2")
    return one


def dropped_and_added_again(root):
    one = History(root)
    one.append()
    one.alter(("delete_column", "b"))
    one.append()
    one.alter(("add_column", "b", StringType()))
    one.append()
    one.alter(("delete_column", "b"), ("delete_column", "n"))
    one.alter(("add_column", "b", LongType()), ("add_column", "N", DoubleType()))
    one.append()
    one.table.delete("id == 2")
    return one


def nested(root):
    one = History(root)
    one.append(8)
    one.alter(
        ("rename_column", "at.x", "left"),
        ("rename_column", "many.element.y", "right"),
        ("rename_column", "by.value.x", "value"),
        ("rename_column", "at", "place"),
    )
    one.append(8)
    one.alter(
        ("delete_column", "many.element.x"),
        ("delete_column", "by.value.y"),
        ("delete_column", "place.y"),
    )
    one.append(8)
    one.alter(
        ("add_column", ("many", "x"), StringType()),
        ("add_column", ("by", "y"), LongType()),
        ("add_column", ("place", "y"), StructType(NestedField(99, "deep", LongType()))),
    )
    one.append(8)
    one.alter(("rename_column", "place.y.deep", "deeper"), ("rename_column", "many", "lots"))
    one.append(8)
    one.table.delete("id == 9")
    return one


def nested_renames(root):
    one = History(root)
    one.append(8)
    one.alter(
        ("rename_column", "at.x", "left"),
        ("rename_column", "many.element.y", "right"),
        ("rename_column", "by.value.x", "y2"),
    )
    one.append(8)
    one.alter(
        ("rename_column", "by.value.y", "x"),
        ("rename_column", "by.value.y2", "y"),
        ("rename_column", "many", "lots"),
        ("rename_column", "at", "place"),
        ("rename_column", "by", "map"),
    )
    one.append(8)
    one.table.delete("id == 9")
    return one


def with_promotion(root):
    one = History(root)
    one.append()
    one.alter(("update_column", "n", LongType()), ("rename_column", "n", "number"))
    one.append()
    one.alter(("rename_column", "number", "n"), ("rename_column", "a", "text"))
    one.append()
    one.alter(("rename_column", "n", "number"))
    one.append()
    one.table.delete("id == 1")
    return one


def odd_names(root):
    """pyiceberg escapes names in files: ``a b`` is ``a_x20b`` there."""
    one = History(root, pa.schema([("id", pa.int64()), ("a b", pa.string()), ("1ü", POINT)]))
    one.append()
    one.alter(("rename_column", "a b", "c-d"))
    one.append()
    return one


def partitioned(root):
    schema = pa.schema([("id", pa.int64()), ("k", pa.string()), ("v", pa.string())])
    one = History(root, schema, "k")
    one.append(8)
    one.alter(("rename_column", "v", "w"))
    one.append(4)
    one.table.delete("id == 3")
    return one


def renamed_partition(root):
    one = partitioned(root)
    one.alter(("rename_column", "k", "g"))
    one.append(4)
    one.table.delete("id == 4")
    return one


HISTORIES = {
    made.__name__.replace("_", "-"): made
    for made in (
        renamed_once,
        there_and_back,
        swapped,
        case_only,
        dropped,
        dropped_and_added_again,
        nested,
        nested_renames,
        with_promotion,
        odd_names,
        partitioned,
        renamed_partition,
    )
}


def assert_all_read(root, wanted):
    """Compare every version in delta-rs (two ways), DuckDB and Polars."""
    folder = root / "users"
    assert_delta_has(folder, wanted)
    for version, known in enumerate(wanted):
        assert_same_rows(
            pl.scan_delta(str(folder), version=version).collect().to_arrow(), known.rows
        )
        assert_same_rows(pa.table(DeltaTable(folder, version=version).scan()), known.rows)
    protocol = DeltaTable(folder).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)


def counts(report):
    return {means: count for means, count in report.files.items() if count}


@pytest.mark.parametrize("build", HISTORIES.values(), ids=HISTORIES)
def test_every_version_reads_right(root, build):
    wanted = build(root).known
    before = fingerprints(root)
    planned = migrate_backend(storage=root, to="delta", dry_run=True).namespaces["users"]
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert (report.action, report.versions) == ("migrated", len(wanted))
    assert_all_read(root, wanted)
    assert before.items() <= fingerprints(root).items()
    assert counts(planned) == counts(report)


SOME = {name: HISTORIES[name] for name in ("swapped", "dropped-and-added-again", "nested-renames")}


def migrated(root, to, **options):
    report = migrate_backend(storage=root, to=to, verify="content", **options)
    return report.namespaces["users"]


def into_own_iceberg(root):
    """Replace the catalog's Iceberg table by one that ParqueDB made of the Delta table."""
    shutil.rmtree(root / "users" / "metadata")
    migrated(root, "iceberg", from_="delta")


@pytest.mark.parametrize("build", [*SOME.values(), with_promotion], ids=[*SOME, "with-promotion"])
def test_one_run_for_each_version(root, monkeypatch, build):
    append = History.append

    def append_and_migrate(self, count=4):
        append(self, count)
        migrated(self.root, "delta", from_="iceberg")

    monkeypatch.setattr(History, "append", append_and_migrate)
    wanted = build(root).known
    migrated(root, "delta", from_="iceberg")
    assert_all_read(root, wanted)
    assert counts(migrated(root, "delta", from_="iceberg")) == {}


@pytest.mark.parametrize("build", SOME.values(), ids=SOME)
def test_back_into_iceberg_with_the_same_ids(root, build):
    wanted = build(root).known
    ids = [ids_by_path(schema) for schema in IcebergReader(LocalStore(root), "users").schemas()]
    migrated(root, "delta")
    into_own_iceberg(root)
    assert_iceberg_has(root / "users", wanted)
    again = [ids_by_path(schema) for schema in IcebergReader(LocalStore(root), "users").schemas()]
    assert [one for one in ids if one in again] == again  # those that a snapshot has
    assert verify_backend(root, "users", "delta")["equal"]
    shutil.rmtree(root / "users" / "_delta_log")
    migrated(root, "delta", from_="iceberg")
    assert_all_read(root, wanted)


@pytest.mark.parametrize("build", [swapped, dropped_and_added_again], ids=["swapped", "readded"])
def test_both_sides_go_on(root, build):
    """delta-rs writes files without ids; pyiceberg renames on; each comes to the other."""
    wanted = [known.rows for known in build(root).known]
    migrated(root, "delta")
    into_own_iceberg(root)
    folder = root / "users"
    write_deltalake(folder, DeltaTable(folder).to_pyarrow_table().slice(0, 2), mode="append")
    wanted.append(DeltaTable(folder).to_pyarrow_table().to_pylist())
    DeltaTable(folder).delete("id = 6")
    wanted.append(DeltaTable(folder).to_pyarrow_table().to_pylist())
    migrated(root, "iceberg", from_="delta")
    table = FilesystemCatalog("lake", warehouse=str(root)).load_table("users")
    with table.update_schema() as update:
        update.rename_column(table.schema().fields[1].name, "again")
    table.refresh().append(rows(table, 500, 3))
    snapshots = sorted(table.refresh().snapshots(), key=lambda s: s.sequence_number)
    wanted.append(table.scan().to_arrow().to_pylist())
    for snapshot, one in zip(snapshots, wanted, strict=True):
        assert_same_rows(table.scan(snapshot_id=snapshot.snapshot_id).to_arrow(), one)
        assert_same_rows(duck.rows_iceberg(metadata_file(folder), snapshot.snapshot_id), one)
    migrated(root, "delta", from_="iceberg")
    for version, one in enumerate(wanted):
        assert_same_rows(DeltaTable(folder, version=version).to_pyarrow_table(), one)
        assert_same_rows(pa.table(DeltaTable(folder, version=version).scan()), one)
        assert_same_rows(duck.rows_delta(folder, version), one)


def test_a_delta_table_restored_to_older_names_comes_back(root):
    swapped(root)
    migrated(root, "delta")
    into_own_iceberg(root)
    DeltaTable(root / "users").restore(0)
    wanted = DeltaTable(root / "users").to_pyarrow_table().to_pylist()
    migrated(root, "iceberg", from_="delta")
    table = open_iceberg(root / "users")
    assert_same_rows(table.scan().to_arrow(), wanted)
    newest = table.current_snapshot().snapshot_id
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users"), newest), wanted)


@pytest.mark.parametrize("files", ["copy", "rewrite"])
def test_other_ways_of_bringing_files(root, files):
    wanted = there_and_back(root).known
    report = migrated(root, "delta", files=files)
    # rewritten files have the names of the version that adds them, and get others later
    assert report.files["footer"] > 0
    assert_all_read(root, wanted)


def test_a_name_that_comes_back_makes_each_copy_once(root):
    wanted = there_and_back(root).known
    migrated(root, "delta")
    assert_all_read(root, wanted)
    copies = [path.name for path in (root / "users").rglob("*-g????????.parquet")]
    # the first file as z and a, the second, which is z, as a and z, the third as z
    assert len(copies) == len(set(copies)) == 5


def test_only_the_latest_version(root):
    wanted = dropped_and_added_again(root).known[-1:]
    report = migrated(root, "delta", history="latest")
    assert report.files["footer"] > 0
    assert_all_read(root, wanted)


def test_native_is_decoded(root):
    wanted = dropped_and_added_again(root).known[-1]
    migrated(root, "native", allow_lossy=True)
    assert_same_rows(pq.read_table(root / "data" / "users" / "data.parquet"), wanted.rows)


def test_the_dry_run_tells_the_copies(root):
    swapped(root)
    planned = migrate_backend(storage=root, to="delta", dry_run=True).namespaces["users"]
    copied = sum(path.stat().st_size for path in (root / "users" / "data").glob("*.parquet"))
    assert planned.files["footer"] == 1
    assert 0 < planned.bytes_written < copied
    (told,) = [line for line in planned.warnings if "renamed" in line]
    assert "1 live file will be copied with other names in the footer" in told
    assert not (root / "users" / "_delta_log").exists()
