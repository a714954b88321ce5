"""Iceberg tables of ours read by others, and theirs read by us, at every snapshot."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo, GreaterThan
from pyiceberg.partitioning import PartitionField as TheirPartitionField
from pyiceberg.partitioning import PartitionSpec as TheirPartitionSpec
from pyiceberg.table import StaticTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType

from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import AddFile, RemoveFile, SetPartitioning, SetSchema
from parquedb.log.commit import Commit, Operation, Origin
from parquedb.log.ports import Committed
from parquedb.log.replay import TableState
from parquedb.model.files import DataFile, Stats
from parquedb.model.format import Format
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.model.schema import Schema
from parquedb.model.types import (
    DateType,
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    StringType,
    StructType,
    TimestampType,
)
from parquedb.storage.local import LocalStore
from tests.support import duck

START_MS = 1_700_000_000_000
VERSIONS = 70
PART = PartitionSpec(0, (PartitionField(1, "country"),))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def columns(wide: bool) -> Schema:
    fields = (
        Field(1, "country", StringType()),
        Field(2, "n", IntType(64 if wide else 32)),
        Field(3, "price", DecimalType(12 if wide else 9, 2)),
        Field(4, "at", TimestampType("us", utc=True)),
        Field(5, "born", DateType()),
        Field(6, "score", FloatType(64)),
        Field(7, "tags", ListType(Field(8, "element", StringType()))),
        Field(9, "home", StructType((Field(10, "city", StringType()),))),
    )
    return Schema((*fields, Field(11, "note", StringType())) if wide else fields)


def rows(version: int, wide: bool) -> pa.Table:
    count = version % 5 + 1
    keys = range(version * 10, version * 10 + count)
    table = {
        "n": pa.array(keys, pa.int64() if wide else pa.int32()),
        "price": pa.array([Decimal(k) / 4 for k in keys], pa.decimal128(12 if wide else 9, 2)),
        "at": pa.array([EPOCH + timedelta(hours=k) for k in keys], pa.timestamp("us", "UTC")),
        "born": [date(2000, 1, 1) + timedelta(days=k) for k in keys],
        "score": [float("nan") if k % 7 == 0 else k / 3 for k in keys],
        "tags": [[f"t{k}", None] for k in keys],
        "home": [{"city": f"c{k}"} for k in keys],
    }
    if wide:
        table["note"] = [f"note {k}" for k in keys]
    return pa.table(table)


def stats(table: pa.Table, wide: bool) -> Stats:
    keys = table["n"].to_pylist()
    count = dict.fromkeys((2, 3, 4, 5, 10), 0)
    low, high = keys[0], keys[-1]
    days = (date(2000, 1, 1) - date(1970, 1, 1)).days
    return Stats(
        count,
        {2: low, 3: low * 25, 4: low * 3_600_000_000, 5: days + low, 10: "c"},
        {2: high, 3: high * 25, 4: high * 3_600_000_000, 5: days + high, 10: "d"},
        {2: 40},
    )


@dataclass
class Ours:
    """A table that we wrote: which keys are live in each version, and its snapshots."""

    metadata: str
    live: list[list[int]]
    snapshots: list[int]
    wide_from: int


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Ours:
    root = tmp_path_factory.mktemp("lake")
    store, folder = LocalStore(str(root)), "ns/people"
    (root / folder / "data").mkdir(parents=True)
    commits, live, wide_from = [], [], VERSIONS // 2
    files: dict[int, DataFile] = {}
    for version in range(VERSIONS):
        wide = version >= wide_from
        table = rows(version, wide)
        key = f"{folder}/data/part {version}%20ü.parquet"
        pq.write_table(table, root / key)
        size = (root / key).stat().st_size
        country = (None, "CH", "DE")[version % 3]
        files[version] = DataFile(key, size, len(table), (country,), 0, stats(table, wide))
        changes = []
        if version == 0:
            changes = [SetSchema(columns(wide=False)), SetPartitioning(PART)]
        elif version == wide_from:
            changes = [SetSchema(columns(wide=True))]
        if version % 6 == 5:
            changes.append(RemoveFile(files.pop(version - 4)))
        changes.append(AddFile(files[version]))
        origin = Origin(Format.DELTA, "source", version)
        at_ms = START_MS + version * 60_000
        commits.append(Commit(version, at_ms, Operation.APPEND, tuple(changes), origin=origin))
        live.append(sorted(k for v in files for k in range(v * 10, v * 10 + v % 5 + 1)))
    writer, expect = IcebergWriter(store, folder), None
    for start in range(0, VERSIONS, 25):
        result = writer.append(commits[start : start + 25], expect=expect)
        assert isinstance(result, Committed)
        expect = result.version
    number = (root / folder / "metadata" / "version-hint.text").read_text()
    metadata = str(root / folder / "metadata" / f"v{number}.metadata.json")
    snapshots = [version.version for version in IcebergReader(store, folder).history()]
    return Ours(metadata, live, snapshots, wide_from)


def test_pyiceberg_reads_every_snapshot(ours: Ours):
    table = StaticTable.from_metadata(ours.metadata)
    for version, (snapshot, keys) in enumerate(zip(ours.snapshots, ours.live, strict=True)):
        read = table.scan(snapshot_id=snapshot).to_arrow()
        assert sorted(read["n"].to_pylist()) == keys
        assert ("note" in read.column_names) == (version >= ours.wide_from)
        assert table.snapshot_as_of_timestamp(START_MS + version * 60_000).snapshot_id == snapshot
        wanted = pa.int64() if version >= ours.wide_from else pa.int32()
        assert read.schema.field("n").type == wanted
    newest = table.scan().to_arrow().to_pylist()
    for row in newest:
        key = row["n"]
        assert row["country"] == (None, "CH", "DE")[key // 10 % 3]
        assert row["price"] == Decimal(key) / 4
        assert row["home"] == {"city": f"c{key}"}
        assert row["tags"] == [f"t{key}", None]
        assert row["note"] == (f"note {key}" if key // 10 >= ours.wide_from else None)


def test_pyiceberg_prunes_by_our_statistics_without_losing_rows(ours: Ours):
    table = StaticTable.from_metadata(ours.metadata)
    keys = ours.live[-1]
    some = keys[len(keys) // 2]
    for expression, expected in (
        (EqualTo("n", some), [some]),
        (GreaterThan("n", some), [k for k in keys if k > some]),
        (EqualTo("country", "CH"), [k for k in keys if k // 10 % 3 == 1]),
        (EqualTo("price", Decimal(some * 25).scaleb(-2)), [some]),
        (EqualTo("home.city", f"c{some}"), [some]),
        (EqualTo("at", (EPOCH + timedelta(hours=some)).isoformat()), [some]),
        (EqualTo("born", (date(2000, 1, 1) + timedelta(days=some)).isoformat()), [some]),
    ):
        read = table.scan(row_filter=expression)
        assert sorted(read.to_arrow()["n"].to_pylist()) == expected
    assert len(list(table.scan(row_filter=EqualTo("n", some)).plan_files())) == 1
    assert table.inspect.files().num_rows == len({k // 10 for k in keys})
    assert table.inspect.partitions().num_rows == 3
    assert table.inspect.manifests().num_rows > 0
    assert table.inspect.history().num_rows == VERSIONS


def test_duckdb_reads_every_snapshot(ours: Ours):
    for snapshot, keys in zip(ours.snapshots[::5], ours.live[::5], strict=True):
        read = duck.rows_iceberg(ours.metadata, snapshot)
        assert sorted(row["n"] for row in read) == keys
        assert {row["country"] for row in read} <= {None, "CH", "DE"}
    for version in (0, ours.wide_from, VERSIONS - 1):
        at = datetime.fromtimestamp(START_MS / 1000 + version * 60 + 30, UTC)
        (counted,) = duck.query(
            f"SELECT count(*) AS n FROM iceberg_scan('{ours.metadata}', "
            f"snapshot_from_timestamp='{at:%Y-%m-%d %H:%M:%S}'::TIMESTAMP)"
        )
        assert counted["n"] == len(ours.live[version])
    some = ours.live[-1][-1]
    found = duck.query(
        f"SELECT n, country, note FROM iceberg_scan('{ours.metadata}') WHERE n = {some}"
    )
    country = (None, "CH", "DE")[some // 10 % 3]
    assert found == [{"n": some, "country": country, "note": f"note {some}"}]


def test_polars_reads_snapshots(ours: Ours, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    for version in (0, ours.wide_from - 1, ours.wide_from, VERSIONS - 1):
        frame = pl.scan_iceberg(ours.metadata, snapshot_id=ours.snapshots[version])
        read = frame.select("n", "country").collect()
        assert sorted(read["n"].to_list()) == ours.live[version]


def test_fastavro_reads_all_our_avro_files(ours: Ours):
    names, entries = set(), 0
    for path in Path(ours.metadata).parent.glob("*.avro"):
        reader = fastavro.reader(io.BytesIO(path.read_bytes()))
        records = list(reader)
        names.add(reader.writer_schema["name"])
        entries += len(records)
        assert records or path.name.startswith("snap-")
    assert names == {"manifest_entry", "manifest_file"}
    assert entries > VERSIONS


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    lake = tmp_path / "lake"
    lake.mkdir()
    made = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{lake}")
    made.create_namespace("db")
    yield made
    made.close()


def theirs(start: int, count: int, **more) -> pa.Table:
    keys = range(start, start + count)
    return pa.table(
        {
            "id": pa.array(keys, pa.int32()),
            "country": pa.array([("CH", "DE", None)[k % 3] for k in keys], pa.string()),
            "price": pa.array([Decimal(k) / 4 for k in keys], pa.decimal128(9, 2)),
            "born": [date(2000, 1, 1) + timedelta(days=k) for k in keys],
            "tags": pa.array([[f"t{k}"] for k in keys], pa.list_(pa.string())),
            "home": pa.array([{"city": f"c{k}"} for k in keys], pa.struct([("city", pa.string())])),
            **more,
        }
    )


def compare(table, root: Path, name: str) -> IcebergReader:
    """Compare what we read with what pyiceberg plans, at every snapshot."""
    table = table.refresh()
    reader = IcebergReader(LocalStore(str(root)), f"db/{name}")
    assert reader.table_id == str(table.metadata.table_uuid)
    state = TableState()
    for commit in reader.commits():
        state.apply(commit)
        planned = {}
        for task in table.scan(snapshot_id=commit.version).plan_files():
            planned[task.file.file_path.removeprefix(f"file://{root}/")] = task.file
        assert set(state.files) == set(planned)
        for key, file in state.files.items():
            other = planned[key]
            assert file.rows == other.record_count
            assert file.size_bytes == other.file_size_in_bytes
            assert file.stats.nulls == other.null_value_counts
            assert set(file.stats.upper) <= set(other.upper_bounds)
        if commit.operation is not Operation.METADATA:
            snapshot = reader.snapshot(commit.version)
            assert snapshot.files == state.files
            assert snapshot.schema == state.schema
            their_schema = table.schemas()[table.snapshot_by_id(commit.version).schema_id]
            assert snapshot.schema.names == tuple(field.name for field in their_schema.fields)
    assert state.schema.names == tuple(field.name for field in table.schema().fields)
    return reader


@pytest.mark.parametrize("version", [1, 2])
def test_we_read_what_pyiceberg_writes(catalog: SqlCatalog, tmp_path: Path, version: int):
    root = tmp_path / "lake"
    table = catalog.create_table(
        "db.t", theirs(0, 1).schema, properties={"format-version": str(version)}
    )
    assert IcebergReader(LocalStore(str(root)), "db/t").latest() == 0
    table.append(theirs(0, 10))
    table.append(theirs(10, 5))
    with table.update_schema() as update:
        update.add_column("note", LongType())
        update.update_column("id", LongType())
    more = theirs(20, 4, note=pa.array([1, 2, 3, None], pa.int64()))
    table.append(more.set_column(0, "id", more["id"].cast(pa.int64())))
    table.delete(GreaterThan("id", 19))
    table.overwrite(more.set_column(0, "id", more["id"].cast(pa.int64())).slice(0, 2))
    reader = compare(table, root, "t")
    assert [v.rows for v in reader.history()] == [10, 15, 19, 15, 0, 2]
    first = reader.history()[0].version
    (file,) = reader.snapshot(first).files.values()
    assert (file.stats.lower[1], file.stats.upper[1]) == (0, 9)
    assert (file.stats.lower[3], file.stats.upper[3]) == (0, 225)
    with table.update_schema() as update:
        update.rename_column("note", "remark")
    compare(table, root, "t")


def test_we_read_pyicebergs_partitions(catalog: SqlCatalog, tmp_path: Path):
    schema = catalog.create_table("db.shape", theirs(0, 1).schema).schema()
    spec = TheirPartitionSpec(
        TheirPartitionField(2, 1000, IdentityTransform(), "country"),
        TheirPartitionField(3, 1001, IdentityTransform(), "price"),
        TheirPartitionField(4, 1002, IdentityTransform(), "born"),
    )
    table = catalog.create_table("db.p", schema, partition_spec=spec)
    table.append(theirs(0, 6))
    table.delete(EqualTo("country", "CH"))
    with table.update_spec() as update:
        update.remove_field("price")
    table.append(theirs(6, 3))
    reader = compare(table, tmp_path / "lake", "p")
    days = (date(2000, 1, 1) - date(1970, 1, 1)).days
    found = {file.partition for file in reader.snapshot().files.values() if file.spec_id == 0}
    assert found == {("DE", 25, days + 1), (None, 50, days + 2), ("DE", 100, days + 4),
                     (None, 125, days + 5)}  # fmt: skip
    newer = {file.partition for file in reader.snapshot().files.values() if file.spec_id != 0}
    assert {(values[0], values[-1]) for values in newer} == {
        ("CH", days + 6),
        ("DE", days + 7),
        (None, days + 8),
    }


def test_we_follow_rollbacks_and_expiry(catalog: SqlCatalog, tmp_path: Path):
    table = catalog.create_table("db.r", theirs(0, 1).schema)
    for start in (0, 10, 20):
        table.append(theirs(start, 5))
    ids = [snapshot.snapshot_id for snapshot in table.snapshots()]
    table.manage_snapshots().rollback_to_snapshot(ids[1]).commit()
    table.refresh().append(theirs(30, 2))
    reader = compare(table, tmp_path / "lake", "r")
    assert [v.rows for v in reader.history()] == [5, 10, 12]
    table.refresh().maintenance.expire_snapshots().by_id(ids[0]).commit()
    reader = compare(table, tmp_path / "lake", "r")
    first, *_ = reader.commits()
    assert first.base
    assert [v.rows for v in reader.history()] == [10, 12]


def test_pyiceberg_continues_a_table_of_ours_and_we_follow(catalog: SqlCatalog, tmp_path: Path):
    root = tmp_path / "lake"
    store = LocalStore(str(root))
    (root / "db" / "o" / "data").mkdir(parents=True)
    key = "db/o/data/x.parquet"
    pq.write_table(pa.table({"a": pa.array([1, 2, 3], pa.int32())}), root / key)
    file = DataFile(key, (root / key).stat().st_size, 3)
    schema = Schema((Field(1, "a", IntType(32)),))
    commit = Commit(0, START_MS, Operation.APPEND, (SetSchema(schema), AddFile(file)))
    result = IcebergWriter(store, "db/o").append([commit], expect=None)
    assert isinstance(result, Committed)
    location = f"file://{root}/db/o/metadata/v1.metadata.json"
    table = catalog.register_table("db.o", location)
    table.append(pa.table({"a": pa.array([4], pa.int32())}))
    table.delete(EqualTo("a", 4))
    reader = IcebergReader(store, "db/o")
    assert [v.rows for v in reader.history()] == [3, 4, 3]
    assert reader.history()[0].version == result.version
    assert sorted(table.scan().to_arrow()["a"].to_pylist()) == [1, 2, 3]


def test_we_continue_a_version_1_table_of_pyiceberg(catalog: SqlCatalog, tmp_path: Path):
    """As a file system table: its newest metadata copied to the name that such tables use."""
    root = tmp_path / "lake"
    table = catalog.create_table(
        "db.one", theirs(0, 1).schema, properties={"format-version": "1", "owner": "me"}
    )
    for start in range(40):
        table.append(theirs(start, 1))
    metadata = Path(table.metadata_location.removeprefix("file://"))
    newest = metadata.read_bytes()
    for file in metadata.parent.glob("*.metadata.json"):
        file.unlink()
    (metadata.parent / "v7.metadata.json").write_bytes(newest)
    store = LocalStore(str(root))
    reader = IcebergReader(store, "db/one")
    gone = next(iter(reader.snapshot().files.values()))
    commits = [
        Commit(1, 0, Operation.DELETE, (RemoveFile(gone),)),
        Commit(2, 0, Operation.METADATA, ()),
    ]
    result = IcebergWriter(store, "db/one").append(commits, expect=reader.latest())
    assert isinstance(result, Committed)
    written = StaticTable.from_metadata(str(metadata.parent / "v8.metadata.json"))
    assert written.metadata.format_version == 2
    assert written.properties["owner"] == "me"
    assert written.scan().to_arrow().num_rows == 39
    for snapshot, count in zip(written.snapshots(), [*range(1, 41), 39, 39], strict=True):
        assert written.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_rows == count
    again = IcebergReader(store, "db/one")
    assert [v.rows for v in again.history()] == [*range(1, 41), 39, 39]
    state = TableState()
    for commit in again.commits():
        state.apply(commit)
    assert state.files == again.snapshot().files
