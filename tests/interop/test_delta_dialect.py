"""The Delta dialect against delta-rs, DuckDB and Polars, both ways."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from parquedb.formats.delta.checkpoint_write import write_checkpoint
from parquedb.formats.delta.paths import exists
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.log.change import (
    AddFile,
    RemoveFile,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation, Origin
from parquedb.log.ports import Committed, Conflict
from parquedb.log.replay import TableState
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile, Stats, Value
from parquedb.model.format import Format
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import (
    BooleanType,
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
from tests.support.rows import assert_same_rows

T0 = 1_700_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def _rows_delta_rs(folder: Path, version: int | None = None) -> pa.Table:
    table = deltalake.DeltaTable(folder, version=version)
    query = deltalake.QueryBuilder().register("t", table).execute("SELECT * FROM t")
    return pa.table(query)


def _check_against_delta_rs(store: LocalStore, folder: str) -> DeltaReader:
    """Our view of every version, folded and directly, is that of delta-rs."""
    root = Path(store.local_path(folder))
    reader = DeltaReader(store, folder)
    assert reader.latest() == deltalake.DeltaTable(root).version()
    state = TableState()
    for commit in reader.commits():
        state.apply(commit)
        theirs = deltalake.DeltaTable(root, version=commit.version)
        uris = sorted(Path(uri).as_posix() for uri in theirs.file_uris())
        assert sorted(store.local_path(key) for key in state.files) == uris, commit.version
        direct = reader.snapshot(commit.version)
        assert direct == state.snapshot()
        assert direct.rows == _rows_delta_rs(root, commit.version).num_rows
        assert list(direct.schema.names) == [f.name for f in theirs.schema().fields]
    later = DeltaReader(store, folder)
    for after in range(reader.listing.start, reader.latest()):
        resumed = TableState.of(later.snapshot(after))
        for commit in later.commits(after):
            resumed.apply(commit)
        assert resumed.snapshot() == state.snapshot()
    return reader


def _sample(start: int, rows: int, **more: pa.Array) -> pa.Table:
    ids = list(range(start, start + rows))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([f"name {i}" if i % 5 else None for i in ids]),
            "price": pa.array([i / 3 for i in ids]),
            "cost": pa.array([Decimal(i * 7) / 100 for i in ids], pa.decimal128(20, 2)),
            "day": pa.array([dt.date(2024, 1, 1) + dt.timedelta(i) for i in ids]),
            "at": pa.array(
                [dt.datetime(2024, 1, 1, 0, 0, 0, 123456 + i, dt.UTC) for i in ids],
                pa.timestamp("us", tz="UTC"),
            ),
            "ok": pa.array([i % 2 == 0 for i in ids]),
            "tags": pa.array([[str(i)] * (i % 3) for i in ids], pa.list_(pa.string())),
            "place": pa.array([{"city": f"c{i}", "zip": i} for i in ids]),
            "attributes": pa.array([[("k", i)] for i in ids], pa.map_(pa.string(), pa.int64())),
            **more,
        }
    )


def test_read_what_delta_rs_appends_overwrites_and_merges(
    store: LocalStore, tmp_path: Path
) -> None:
    root = str(tmp_path / "users")
    deltalake.write_deltalake(root, _sample(0, 10))
    deltalake.write_deltalake(root, _sample(10, 5), mode="append")
    wider = _sample(15, 3, extra=pa.array([1.5, None, 2.5]))
    deltalake.write_deltalake(root, wider, mode="append", schema_mode="merge")
    deltalake.DeltaTable(root).delete("id = 3")
    deltalake.DeltaTable(root).update(predicate="id = 4", updates={"name": "'new'"})
    deltalake.DeltaTable(root).optimize.compact()
    deltalake.write_deltalake(root, _sample(100, 4), mode="overwrite", schema_mode="overwrite")
    deltalake.DeltaTable(root).delete()

    assert exists(store, "users")
    reader = _check_against_delta_rs(store, "users")
    operations = [commit.operation for commit in reader.commits()]
    assert operations[:3] == [Operation.APPEND] * 3
    assert Operation.REPLACE in operations
    assert operations[-1] is Operation.DELETE
    assert reader.history()[-1].rows == 0
    first = next(iter(reader.commits()))
    assert isinstance(first.changes[0], SetSchema)
    assert isinstance(first.changes[1], SetPartitioning)


def test_bounds_of_delta_rs_hold(store: LocalStore, tmp_path: Path) -> None:
    data = _sample(0, 50)
    deltalake.write_deltalake(str(tmp_path / "users"), data)
    snapshot = DeltaReader(store, "users").snapshot()
    (file,) = snapshot.files.values()
    assert file.stats is not None
    assert file.rows == 50
    ids = {field.name: field.id for field in snapshot.schema.fields}
    assert file.stats.nulls[ids["name"]] == 10
    physical: dict[str, pa.Array] = {
        "id": data["id"],
        "price": data["price"],
        "name": data["name"],
        "day": data["day"].cast(pa.int32()),
        "at": data["at"].cast(pa.int64()),
        "cost": pa.array([int(cost * 100) for cost in data["cost"].to_pylist()]),
    }
    for name, values in physical.items():
        least, most = pc.min(values).as_py(), pc.max(values).as_py()
        assert file.stats.lower[ids[name]] <= least, name
        assert file.stats.upper[ids[name]] >= most, name
    assert file.stats.upper[ids["id"]] == 49
    assert file.stats.upper[ids["at"]] - pc.max(physical["at"]).as_py() < 1000


PARTITIONS = pa.table(
    {
        "id": pa.array(range(8), pa.int64()),
        "s": pa.array(["a b", "x/y", "é%2F", "=", None, "", "q'\"", "a b"]),
        "n": pa.array([1, -2, 3, None, 5, 6, 7, 1], pa.int32()),
        "d": pa.array([dt.date(2024, 2, i + 1) for i in range(7)] + [dt.date(2024, 2, 1)]),
        "b": pa.array([True, False, None, True, True, False, True, True]),
        "f": pa.array([1.5, float("inf"), -0.25, 1e30, None, 2.0, 1e-7, 1.5]),
        "c": pa.array([Decimal("1.20"), None, Decimal("3.45")] * 2 + [Decimal("1.20")] * 2),
        "t": pa.array(
            [dt.datetime(2024, 1, 1, 1, 2, 3, us, dt.UTC) for us in (0, 1, 10, 999999, 5, 6, 7, 0)],
            pa.timestamp("us", tz="UTC"),
        ),
    }
)


@pytest.mark.parametrize("column", ["s", "n", "d", "b", "f", "c", "t"])
def test_partitions_of_delta_rs(store: LocalStore, tmp_path: Path, column: str) -> None:
    root = str(tmp_path / "users")
    deltalake.write_deltalake(root, PARTITIONS, partition_by=[column])
    deltalake.DeltaTable(root).delete(f"{column} IS NULL")
    reader = _check_against_delta_rs(store, "users")
    snapshot = reader.snapshot(0)
    assert snapshot.spec.fields[0].name == column
    wanted = {_physical(value) for value in PARTITIONS[column].to_pylist()}
    if column == "s":
        wanted.discard("")  # null and an empty string are one in Delta
    assert {file.partition[0] for file in snapshot.files.values()} == wanted


def _physical(value: object) -> Value | None:
    match value:
        case dt.datetime():
            return int(pa.scalar(value, pa.timestamp("us", tz="UTC")).value)
        case dt.date():
            return (value - dt.date(1970, 1, 1)).days
        case Decimal():
            return int(value * 100)
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise AssertionError(value)


def test_checkpoints_and_clean_up_of_delta_rs(store: LocalStore, tmp_path: Path) -> None:
    root = str(tmp_path / "users")
    for batch in range(6):
        deltalake.write_deltalake(root, _sample(batch * 10, 10), mode="append")
    whole = [DeltaReader(store, "users").snapshot(version) for version in range(6)]
    table = deltalake.DeltaTable(root)
    deltalake.DeltaTable(root, version=3).create_checkpoint()
    assert [DeltaReader(store, "users").snapshot(v) for v in range(6)] == whole

    for version in range(3):
        os.unlink(f"{root}/_delta_log/{version:020d}.json")
    reader = DeltaReader(store, "users")
    assert [entry.version for entry in reader.history()] == [3, 4, 5]
    first, *rest = reader.commits()
    assert first.base
    assert first.version == 3
    assert not any(commit.base for commit in rest)
    assert _files(reader.snapshot(5)) == _files(whole[5])
    assert set(reader.referenced()) >= set(whole[5].files)
    assert table.version() == 5


def _files(snapshot: Snapshot) -> set[str]:
    return set(snapshot.files)


def test_vacuum_of_delta_rs_leaves_the_log_readable(store: LocalStore, tmp_path: Path) -> None:
    root = str(tmp_path / "users")
    deltalake.write_deltalake(root, _sample(0, 3))
    deltalake.write_deltalake(root, _sample(3, 3), mode="overwrite")
    deltalake.DeltaTable(root).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False
    )
    reader = _check_latest(store, "users")
    assert reader.snapshot().rows == 3
    assert len(reader.referenced() & {info.key for info in store.list("users")}) >= 2


def _check_latest(store: LocalStore, folder: str) -> DeltaReader:
    reader = DeltaReader(store, folder)
    theirs = deltalake.DeltaTable(store.local_path(folder))
    ours = sorted(store.local_path(key) for key in reader.snapshot().files)
    assert ours == sorted(theirs.file_uris())
    return reader


# -- what we write --------------------------------------------------------------------------


COLUMNS = (
    Field(1, "id", IntType(64)),
    Field(2, "name", StringType(), doc="what people say"),
    Field(3, "price", FloatType(64)),
    Field(4, "cost", DecimalType(20, 2)),
    Field(5, "at", TimestampType("us", utc=True)),
    Field(
        6,
        "place",
        StructType((Field(8, "city", StringType()), Field(9, "zip", IntType(32)))),
    ),
    Field(7, "tags", ListType(Field(10, "element", StringType()))),
)
SCHEMA = Schema(COLUMNS, Identity.BY_ID)
WIDER = Schema(
    (*COLUMNS[:2], Field(11, "local", TimestampType("us", utc=False)), *COLUMNS[2:]),
    Identity.BY_ID,
)


def _arrow(schema: Schema, start: int, rows: int) -> pa.Table:
    ids = list(range(start, start + rows))
    moment = dt.datetime(2024, 1, 1, 0, 0, 0, 123456)
    columns = {
        "id": (pa.int64(), ids),
        "name": (pa.string(), [f"näme {i}" if i % 4 else None for i in ids]),
        "price": (pa.float64(), [i / 7 for i in ids]),
        "cost": (pa.decimal128(20, 2), [Decimal(i * 11) / 100 for i in ids]),
        "at": (pa.timestamp("us", tz="UTC"), [moment + dt.timedelta(i) for i in ids]),
        "local": (pa.timestamp("us"), [moment + dt.timedelta(i) for i in ids]),
        "place": (None, [{"city": f"c{i}", "zip": i} for i in ids]),
        "tags": (None, [[str(i)] * (i % 3) for i in ids]),
    }
    types = {
        "place": pa.struct(
            [
                pa.field("city", pa.string(), metadata={"PARQUET:field_id": "8"}),
                pa.field("zip", pa.int32(), metadata={"PARQUET:field_id": "9"}),
            ]
        ),
        "tags": pa.list_(pa.field("element", pa.string(), metadata={"PARQUET:field_id": "10"})),
    }
    fields, arrays = [], []
    for field in schema.fields:
        type_, values = columns[field.name]
        type_ = types.get(field.name, type_)
        metadata = {"PARQUET:field_id": str(field.id)}
        fields.append(pa.field(field.name, type_, metadata=metadata))
        arrays.append(pa.array(values, type_))
    return pa.table(arrays, pa.schema(fields))


def _write_file(store: LocalStore, key: str, table: pa.Table, schema: Schema) -> DataFile:
    path = Path(store.local_path(key))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    nulls: dict[int, int] = {}
    lower: dict[int, Value] = {}
    upper: dict[int, Value] = {}
    leaves: list[tuple[Field, pa.ChunkedArray]] = []
    for field in schema.fields:
        column = table[field.name]
        if isinstance(field.type, StructType):
            leaves += [(one, pc.struct_field(column, one.name)) for one in field.type.fields]
        elif not isinstance(field.type, ListType):
            leaves.append((field, column))
    for field, column in leaves:
        nulls[field.id] = column.null_count
        if isinstance(field.type, DecimalType):
            column = pa.array([int(cost * 100) for cost in column.to_pylist()])
        if isinstance(field.type, TimestampType):
            column = column.cast(pa.int64())
        lower[field.id], upper[field.id] = pc.min(column).as_py(), pc.max(column).as_py()
    stats = Stats(nulls, lower, upper)
    return DataFile(key, path.stat().st_size, table.num_rows, (), 0, stats, T0 - 5)


def _history(store: LocalStore, folder: str) -> tuple[list[Commit], list[pa.Table]]:
    """A history with appends, an overwrite, a compaction, a new column; and its rows."""

    def origin(version: int) -> Origin:
        return Origin(Format.ICEBERG, "3f0c", 9_000_000_000_000_000_000 + version)

    first = _arrow(SCHEMA, 0, 8)
    second = _arrow(SCHEMA, 8, 8)
    odd = f"{folder}/data/sub dir/é%2F=1 #?.parquet"
    a = _write_file(store, f"{folder}/data/a.parquet", first, SCHEMA)
    b = _write_file(store, odd, second, SCHEMA)
    both = pa.concat_tables([first, second])
    ab = _write_file(store, f"{folder}/data/ab.parquet", both, SCHEMA)
    third = _arrow(WIDER, 16, 4)
    c = _write_file(store, f"{folder}/data/c.parquet", third, WIDER)
    begin = (SetSchema(SCHEMA), SetPartitioning(PartitionSpec()), SetProperties({"owner": "me"}))
    commits = [
        Commit(11, T0, Operation.CREATE, begin, origin=origin(11)),
        Commit(12, T0 + 3_600_000, Operation.APPEND, (AddFile(a),), origin=origin(12)),
        Commit(13, T0 + 3_600_000, Operation.APPEND, (AddFile(b),), origin=origin(13)),
        Commit(
            14,
            T0 + 7_200_000,
            Operation.REPLACE,
            (RemoveFile(a), RemoveFile(b), AddFile(ab)),
            origin=origin(14),
        ),
        Commit(
            15,
            T0 + 9_000_000,
            Operation.APPEND,
            (SetSchema(WIDER), AddFile(c)),
            {"userMetadata": "hello"},
            origin=origin(15),
        ),
        Commit(16, T0 + 9_900_000, Operation.DELETE, (RemoveFile(ab),), origin=origin(16)),
    ]
    nothing = first.slice(0, 0)
    wide = pa.concat_tables([both, third], promote_options="default")
    return commits, [nothing, first, both, both, wide, third]


def _plain(table: pa.Table, columns: list[str]) -> pa.Table:
    return table.select(columns)


def test_what_we_write_reads_right_everywhere_at_every_version(
    store: LocalStore, tmp_path: Path
) -> None:
    folder = "warehouse/users"
    root = tmp_path / folder
    commits, tables = _history(store, folder)
    writer = DeltaWriter(store, folder)
    assert isinstance(writer.append(commits[:2], expect=None), Committed)
    done = writer.append(commits[2:], expect=1, completed_at_ms=T0 + 10)
    assert isinstance(done, Committed)
    assert done.version == 5

    times = [T0, T0 + 3_600_000, T0 + 3_600_001, T0 + 7_200_000, T0 + 9_000_000, T0 + 9_900_000]
    for version, wanted in enumerate(tables):
        found = _rows_delta_rs(root, version)
        assert_same_rows(found, wanted)
        assert_same_rows(duck.rows_delta(root, version), wanted)
        lazy = pl.scan_delta(str(root), version=version).collect()
        assert_same_rows(lazy.to_arrow(), wanted)
        assert_same_rows(deltalake.DeltaTable(root, version=version).to_pyarrow_table(), wanted)
        by_time = deltalake.DeltaTable(root)
        by_time.load_as_version(dt.datetime.fromtimestamp(times[version] / 1000, dt.UTC))
        assert by_time.version() == version
        info = root / "_delta_log" / f"{version:020d}.json"
        assert info.stat().st_mtime_ns == times[version] * 1_000_000
    theirs = deltalake.DeltaTable(root).history()
    assert [entry["timestamp"] for entry in theirs] == times[::-1]
    assert theirs[1]["userMetadata"] == "hello"
    assert deltalake.DeltaTable(root).metadata().configuration["owner"] == "me"

    reader = _check_against_delta_rs(store, folder)
    assert [entry.at_ms for entry in reader.history()] == times
    assert [entry.rows for entry in reader.history()] == [0, 8, 16, 16, 20, 4]
    again = list(reader.commits())
    assert [commit.operation for commit in again] == [commit.operation for commit in commits]
    assert [commit.origin for commit in again] == [commit.origin for commit in commits]
    assert reader.snapshot(3).schema == SCHEMA
    assert reader.snapshot().schema == WIDER
    lineage = reader.lineage()
    assert lineage is not None
    assert lineage.origin == commits[-1].origin
    assert lineage.version == 5
    assert lineage.completed_at_ms == T0 + 10
    assert lineage.foreign == ()


def test_our_statistics_prune_and_lose_no_row(store: LocalStore, tmp_path: Path) -> None:
    commits, _ = _history(store, "users")
    assert isinstance(DeltaWriter(store, "users").append(commits[:5], expect=None), Committed)
    root = tmp_path / "users"
    for version in (2, 4):
        table = deltalake.DeltaTable(root, version=version)
        for number in range(20 if version == 4 else 16):
            (wanted,) = _arrow(SCHEMA, number, 1).to_pylist()
            for name in ("price", "cost", "at"):
                value = wanted[name]
                found = table.to_pyarrow_table(filters=[(name, "=", value)])
                assert found["id"].to_pylist() == [number], name
            sql = f"SELECT id FROM delta_scan('{root}', version={version}) WHERE price = {number}/7"
            assert duck.query(sql) == [{"id": number}]
            lazy = pl.scan_delta(str(root), version=version)
            kept = lazy.filter(pl.col("price") == number / 7).collect()
            assert kept["id"].to_list() == [number]


def test_others_append_to_what_we_wrote_and_we_to_theirs(store: LocalStore, tmp_path: Path) -> None:
    commits, tables = _history(store, "users")
    assert isinstance(DeltaWriter(store, "users").append(commits, expect=None), Committed)
    root = str(tmp_path / "users")
    more = _arrow(WIDER, 50, 4)
    deltalake.write_deltalake(root, more, mode="append")
    deltalake.DeltaTable(root).delete("id = 51")
    reader = _check_against_delta_rs(store, "users")
    lineage = reader.lineage()
    assert lineage is not None
    assert lineage.version == 5
    assert lineage.foreign == (6, 7)

    writer = DeltaWriter(store, "users")
    last = _arrow(WIDER, 70, 2)
    file = _write_file(store, "users/data/last.parquet", last, WIDER)
    commit = Commit(17, T0, Operation.APPEND, (SetSchema(WIDER), AddFile(file)))
    assert writer.append([commit], expect=5) == Conflict(7)
    assert isinstance(writer.append([commit], expect=7), Committed)
    wanted = pa.concat_tables([tables[-1], more.filter(pc.not_equal(more["id"], 51)), last])
    assert_same_rows(_rows_delta_rs(Path(root)), wanted)
    assert_same_rows(duck.rows_delta(root), wanted)


def test_append_to_a_table_of_delta_rs(store: LocalStore, tmp_path: Path) -> None:
    root = tmp_path / "users"
    plain = _arrow(SCHEMA, 0, 5).replace_schema_metadata(None)
    bare = pa.schema([pa.field(f.name, f.type) for f in plain.schema])
    deltalake.write_deltalake(str(root), pa.table(plain.columns, bare))
    before = DeltaReader(store, "users").snapshot()
    assert before.schema.identity is Identity.BY_NAME
    file = _write_file(store, "users/data/x.parquet", _arrow(SCHEMA, 5, 5), SCHEMA)
    commit = Commit(1, T0, Operation.APPEND, (SetSchema(SCHEMA), AddFile(file)))
    assert isinstance(DeltaWriter(store, "users").append([commit], expect=0), Committed)
    after = DeltaReader(store, "users")
    assert after.snapshot().schema.identity is Identity.BY_NAME
    assert after.history()[1].at_ms > after.history()[0].at_ms
    assert_same_rows(_rows_delta_rs(root), _arrow(SCHEMA, 0, 10))
    assert_same_rows(duck.rows_delta(root), _arrow(SCHEMA, 0, 10))


@pytest.mark.parametrize("clean_up", [False, True])
def test_our_checkpoint_reads_right_everywhere(
    store: LocalStore, tmp_path: Path, clean_up: bool
) -> None:
    folder = "users"
    root = tmp_path / folder
    commits, tables = _history(store, folder)
    assert isinstance(DeltaWriter(store, folder).append(commits, expect=None), Committed)
    whole = [DeltaReader(store, folder).snapshot(version) for version in range(6)]
    for version in (3, 5):
        assert write_checkpoint(store, folder, version) > 0
    hint = pl.read_json(root / "_delta_log" / "_last_checkpoint")
    assert hint["version"].to_list() == [5]
    if clean_up:
        for version in range(4):
            (root / "_delta_log" / f"{version:020d}.json").unlink()
    for version in range(3 if clean_up else 0, 6):
        assert_same_rows(_rows_delta_rs(root, version), tables[version])
        assert_same_rows(duck.rows_delta(root, version), tables[version])
        lazy = pl.scan_delta(str(root), version=version).collect()
        assert_same_rows(lazy.to_arrow(), tables[version])
        ours = DeltaReader(store, folder).snapshot(version)
        assert ours.files == whole[version].files
        assert ours.schema == whole[version].schema
    lineage = DeltaReader(store, folder).lineage()
    assert lineage is not None
    assert lineage.origin == commits[-1].origin


def test_a_checkpoint_keeps_tombstones_from_vacuum(store: LocalStore, tmp_path: Path) -> None:
    commits, _ = _history(store, "users")
    assert isinstance(DeltaWriter(store, "users").append(commits, expect=None), Committed)
    write_checkpoint(store, "users")
    assert deltalake.DeltaTable(tmp_path / "users").vacuum(dry_run=True) == []
    removed = DeltaReader(store, "users").snapshot(2).files
    assert all(store.head(key) is not None for key in removed)


def test_hundred_versions_bring_a_checkpoint(store: LocalStore, tmp_path: Path) -> None:
    file = _write_file(store, "users/data/a.parquet", _arrow(SCHEMA, 0, 3), SCHEMA)
    begin = (SetSchema(SCHEMA), SetPartitioning(PartitionSpec()), AddFile(file))
    commits = [Commit(0, T0, Operation.CREATE, begin)]
    for number in range(1, 130):
        copy = f"users/data/{number}.parquet"
        os.link(store.local_path(file.path), store.local_path(copy))
        added = (AddFile(replace(file, path=copy)),)
        commits.append(Commit(number, T0 + number, Operation.APPEND, added))
    assert isinstance(DeltaWriter(store, "users").append(commits, expect=None), Committed)
    assert DeltaReader(store, "users").listing.checkpoints.keys() == {129}
    assert _rows_delta_rs(tmp_path / "users").num_rows == 390
    assert len(duck.rows_delta(tmp_path / "users")) == 390
    _check_against_delta_rs_light(store, "users", [0, 64, 128, 129])
    deltalake.write_deltalake(str(tmp_path / "users"), _arrow(SCHEMA, 3, 1), mode="append")
    assert DeltaReader(store, "users").snapshot().rows == 391


def _check_against_delta_rs_light(store: LocalStore, folder: str, versions: list[int]) -> None:
    for version in versions:
        theirs = deltalake.DeltaTable(store.local_path(folder), version=version).file_uris()
        ours = DeltaReader(store, folder).snapshot(version).files
        assert sorted(map(store.local_path, ours)) == sorted(theirs)


def _partitioned(store: LocalStore) -> Iterator[tuple[str, Value | None, str, DataFile]]:
    values: list[tuple[str, Value | None]] = [("plain", "plain"), ("a b/ü=%", "a b/ü=%")]
    values.append(("null", None))
    for index, (label, value) in enumerate(values):
        key = f"users/key={index}/f.parquet"
        path = Path(store.local_path(key))
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"id": [index]}), path)
        yield label, value, key, DataFile(key, path.stat().st_size, 1, (value,), 0, None)


def test_partitions_that_we_write(store: LocalStore, tmp_path: Path) -> None:
    schema = Schema((Field(1, "id", IntType(64)), Field(2, "key", StringType())))
    spec = PartitionSpec(0, (PartitionField(2, "key"),))
    files = list(_partitioned(store))
    changes = (SetSchema(schema), SetPartitioning(spec), *(AddFile(f) for *_, f in files))
    commit = Commit(0, T0, Operation.CREATE, changes)
    assert isinstance(DeltaWriter(store, "users").append([commit], expect=None), Committed)
    wanted = [{"id": i, "key": value} for i, (_, value, _, _) in enumerate(files)]
    assert_same_rows(_rows_delta_rs(tmp_path / "users"), wanted)
    assert_same_rows(duck.rows_delta(tmp_path / "users"), wanted)
    reader = _check_against_delta_rs(store, "users")
    found = reader.snapshot().files
    assert {key: found[key].partition for key in found} == {
        key: (value,) for _, value, key, _ in files
    }


def test_bounds_without_those_of_booleans_lose_no_row(store: LocalStore, tmp_path: Path) -> None:
    """A pyarrow dataset loses rows where only some columns have bounds, booleans included."""
    schema = Schema((Field(1, "id", IntType(64)), Field(2, "ok", BooleanType())))
    key = "users/data/a.parquet"
    path = tmp_path / key
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2, 3], "ok": [True, False, None]}), path)
    stats = Stats({1: 0, 2: 1}, {1: 1}, {1: 3})
    file = DataFile(key, path.stat().st_size, 3, (), 0, stats, T0)
    changes = (SetSchema(schema), SetPartitioning(PartitionSpec()), AddFile(file))
    commit = Commit(0, T0, Operation.CREATE, changes)
    assert isinstance(DeltaWriter(store, "users").append([commit], expect=None), Committed)
    dataset = deltalake.DeltaTable(tmp_path / "users").to_pyarrow_dataset()
    for condition, ids in (
        (pc.field("ok"), [1]),
        (~pc.field("ok"), [2]),
        (pc.field("ok").is_null(), [3]),
        (pc.field("id") == 3, [3]),
    ):
        assert dataset.to_table(filter=condition)["id"].to_pylist() == ids
    assert duck.query(f"SELECT id FROM delta_scan('{tmp_path}/users') WHERE ok") == [{"id": 1}]
