"""Row-level deletes of Iceberg tables: other writers' forms resolved, our own form written."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.iceberg.avro import encode_bytes, encode_header, encode_long
from parquedb.formats.iceberg.avro_schemas import manifest_schema
from parquedb.formats.iceberg.entries import NULL, SOME
from parquedb.formats.iceberg.live import frame_of
from parquedb.formats.iceberg.paths import Locations
from parquedb.formats.iceberg.position_files import (
    PATH_ID,
    encode_positions,
    read_positions,
)
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import AddFile, RemoveFile, SetDeletes, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed
from parquedb.log.replay import TableState, replay
from parquedb.model.files import DataFile
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, FloatType, IntType, StringType
from parquedb.parquet.arrow import FIELD_ID, arrow_schema_of
from parquedb.parquet.deletes import inline_vector
from parquedb.parquet.footer import read_footer
from parquedb.parquet.scan import read_batches
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

T0 = 1_700_000_000_000
SYNC = b"0123456789abcdef"
SCHEMA = Schema(
    (Field(1, "id", IntType(64)), Field(2, "s", StringType()), Field(3, "f", FloatType(64))),
    Identity.BY_ID,
)


@pytest.fixture
def store():
    return MemoryStore("lake")


def put(store, name, start, rows):
    table = pa.table(
        [range(start, start + rows), [f"s{i % 3}" if i % 4 else None for i in range(rows)],
         [float(i) for i in range(rows)]],
        schema=arrow_schema_of(SCHEMA),
    )  # fmt: skip
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=7)
    store.create(NewObject(f"t/data/{name}", sink.getvalue().to_pybytes()))
    footer = read_footer(store, f"t/data/{name}")
    return DataFile(footer.key, footer.size_bytes, rows, stats=footer.stats)


def commit(version, *changes, operation=Operation.DELETE):
    return Commit(version, T0 + version * 1000, operation, changes)


def ids(store, snapshot):
    return sorted(
        i
        for file in snapshot.files.values()
        for batch in read_batches(store, file, snapshot.schema, snapshot.specs[file.spec_id])
        for i in batch["id"].to_pylist()
    )


def deletes_of(store):
    return {key for key in IcebergReader(store, "t").referenced() if "deletes.parquet" in key}


def test_what_delete_files_look_like(store):
    file = put(store, "a.parquet", 0, 20)
    writer = IcebergWriter(store, "t")
    writer.append([commit(0, SetSchema(SCHEMA), AddFile(file))], expect=None)
    first = writer._state.version
    writer.append([commit(1, SetDeletes(file.path, (inline_vector([7, 3]),)))], expect=first)
    (key,) = deletes_of(store)
    assert key.startswith("t/data/")
    table = pq.read_table(pa.BufferReader(store.get(key)))
    assert table.column_names == ["file_path", "pos"]
    assert [f.metadata[FIELD_ID] for f in table.schema] == [b"2147483546", b"2147483545"]
    assert table.to_pydict() == {"file_path": ["memory://lake/t/data/a.parquet"] * 2, "pos": [3, 7]}
    reader = IcebergReader(store, "t")
    (listed,) = (m for m in reader._manifests.read_list(reader._snapshots[-1]) if m.deletes)
    assert reader._manifests.header(listed)["content"] == b"deletes"
    (entry,) = reader._manifests.entries(listed)
    assert (entry.status, entry.record["content"], entry.sequence_number) == (1, 1, 2)
    assert entry.record["record_count"] == 2
    bounds = entry.record["lower_bounds"], entry.record["upper_bounds"]
    assert bounds[0][PATH_ID] == bounds[1][PATH_ID] == b"memory://lake/t/data/a.parquet"
    summary = reader._snapshots[-1].summary
    assert summary["operation"] == "delete"
    assert summary["added-position-deletes"] == summary["total-position-deletes"] == "2"
    assert (summary["total-records"], summary["total-delete-files"]) == ("20", "1")
    assert [version.rows for version in reader.history()] == [20, 18]


def test_delete_files_go_with_what_they_are_about(store):
    a, b = put(store, "a.parquet", 0, 20), put(store, "b.parquet", 100, 20)
    one = (inline_vector([1]),)
    commits = [
        commit(0, SetSchema(SCHEMA), AddFile(a), AddFile(b)),
        commit(1, SetDeletes(a.path, one), SetDeletes(b.path, one)),
        commit(2, SetDeletes(a.path, (inline_vector([1, 5]),))),
        commit(3, SetDeletes(a.path, ()), operation=Operation.OVERWRITE),
        commit(4, RemoveFile(b), operation=Operation.REPLACE),
        commit(5, AddFile(replace(b, deletes=one)), operation=Operation.OVERWRITE),
    ]
    IcebergWriter(store, "t").append(commits, expect=None)
    reader = IcebergReader(store, "t")
    totals = [s.summary["total-delete-files"] for s in reader._snapshots]
    assert totals == ["0", "2", "2", "1", "0", "1"]
    assert [v.rows for v in reader.history()] == [40, 38, 37, 39, 20, 39]
    kinds = [[type(c).__name__ for c in one.changes] for one in reader.commits()][1:]
    assert kinds == [
        ["SetDeletes"] * 2,
        ["SetDeletes"],
        ["SetDeletes"],
        ["RemoveFile"],
        ["AddFile"],
    ]
    operations = [s.summary["operation"] for s in reader._snapshots]
    assert operations == ["append", "delete", "delete", "overwrite", "replace", "overwrite"]


SETS = st.sets(st.integers(0, 19), max_size=12)


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | SETS), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_history_of_deletes_reads_as_it_was_written(steps):
    store = MemoryStore("lake")
    files = [put(store, f"{n}.parquet", n * 100, 20) for n in range(3)]
    commits = [commit(0, SetSchema(SCHEMA), *(AddFile(file) for file in files))]
    state = TableState()
    state.apply(commits[0])
    wanted = [ids(store, state.snapshot())]
    for version, (number, positions) in enumerate(steps, 1):
        file = files[number]
        kept = (inline_vector(positions),) if positions else ()
        if positions is None and file.path in state.files:
            change = RemoveFile(file)
        elif file.path in state.files:
            change = SetDeletes(file.path, kept)
        else:
            change = AddFile(replace(file, deletes=kept))
        commits.append(commit(version, change))
        state.apply(commits[-1])
        wanted.append(ids(store, state.snapshot()))
    half = len(commits) // 2
    done = IcebergWriter(store, "t").append(commits[: half + 1], expect=None)
    assert isinstance(done, Committed)
    if commits[half + 1 :]:
        IcebergWriter(store, "t").append(commits[half + 1 :], expect=done.version)
    reader = IcebergReader(store, "t")
    versions = [version.version for version in reader.history()]
    assert [ids(store, reader.snapshot(v)) for v in versions] == wanted
    assert [version.rows for version in reader.history()] == [len(rows) for rows in wanted]
    read = list(reader.commits())
    for place in range(len(commits)):
        assert ids(store, replay(read[: place + 1])) == wanted[place]
        after = list(reader.commits(after=versions[place]))
        follow = [one for one in after if one.version != versions[place]]
        then = replay(follow, reader.snapshot(versions[place]))
        assert ids(store, then) == wanted[-1]


def add_deletes(store, *files, sequence=None):
    """List delete files in the newest snapshot, as another writer would.

    Args:
        store: The store.
        files: Content, key, and members of the manifest entry by name.
        sequence: Their sequence number; the snapshot's own by default.
    """
    reader = IcebergReader(store, "t")
    tip = reader._snapshots[-1]
    number = tip.sequence_number if sequence is None else sequence
    entries = []
    for content, key, ids_ in files:
        size = len(store.get(key))
        equality = NULL if not ids_ else SOME + encode_long(len(ids_)) + b"".join(
            map(encode_long, ids_)
        ) + b"\x00"  # fmt: skip
        data_file = b"".join(
            (
                encode_long(content), encode_bytes(f"memory://lake/{key}".encode()),
                b"\x0ePARQUET", encode_long(1), encode_long(size), NULL * 6, NULL, NULL, equality,
                NULL,
            )
        )  # fmt: skip
        head = b"\x02" + SOME + encode_long(tip.snapshot_id)
        entries.append(head + (SOME + encode_long(number)) * 2 + data_file)
    body = b"".join(entries)
    manifest = encode_header(manifest_schema(()), {"partition-spec-id": b"0"}, SYNC)
    manifest += encode_long(len(entries)) + encode_long(len(body)) + body + SYNC
    name = f"t/metadata/extra-{len(list(store.list('t/metadata')))}.avro"
    store.create(NewObject(name, manifest))
    list_key = reader._locations.key(tip.manifest_list)
    raw = store.get(list_key)
    numbers = (len(manifest), 0, 1, number, number, tip.snapshot_id, len(entries), 0, 0, 1, 0, 0)
    frame = frame_of(raw[-16:], f"memory://lake/{name}", numbers, NULL)
    store.replace(list_key, raw + frame)
    key = "t/metadata/v1.metadata.json"
    rewritten = store.get(key).replace(b'"total-delete-files":"0"', b'"total-delete-files":"1"')
    store.replace(key, rewritten)


def put_parquet(store, key, table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.create(NewObject(key, sink.getvalue().to_pybytes()))


def put_positions(store, key, pairs):
    paths = [f"memory://lake/{path}" for path, _ in pairs]
    table = pa.table({"file_path": paths, "pos": pa.array([p for _, p in pairs], pa.int64())})
    put_parquet(store, key, table)


def put_values(store, key, **columns):
    fields = {f.name: f for f in SCHEMA.fields}
    schema = arrow_schema_of(replace(SCHEMA, fields=tuple(fields[name] for name in columns)))
    put_parquet(store, key, pa.table(list(columns.values()), schema=schema))


@pytest.fixture
def table(store):
    """Two files of an older and one of a newer snapshot."""
    a, b, c = (
        put(store, f"{name}.parquet", n, 20) for name, n in (("a", 0), ("b", 100), ("c", 200))
    )
    IcebergWriter(store, "t").append(
        [
            commit(0, SetSchema(SCHEMA), AddFile(a), AddFile(b), operation=Operation.APPEND),
            commit(1, AddFile(c), operation=Operation.APPEND),
        ],
        expect=None,
    )
    return a, b, c


def live(store):
    return ids(store, IcebergReader(store, "t").snapshot())


ALL = [*range(20), *range(100, 120), *range(200, 220)]


def test_one_delete_file_for_several_data_files(store, table):
    a, b, c = table
    pairs = [(a.path, 1), (b.path, 0), (b.path, 19), (c.path, 5), (c.path, 5), ("t/data/none", 3)]
    put_positions(store, "t/data/d1", pairs)
    put_positions(store, "t/data/d2", [(a.path, 1), (a.path, 2), (a.path, 400)])
    add_deletes(store, (1, "t/data/d1", ()), (1, "t/data/d2", ()))
    assert live(store) == [i for i in ALL if i not in (1, 2, 100, 119, 205)]
    last = list(IcebergReader(store, "t").commits())[-1]
    assert sorted(type(change).__name__ for change in last.changes) == [
        "AddFile", "SetDeletes", "SetDeletes"
    ]  # fmt: skip
    assert IcebergReader(store, "t").history()[-1].rows is None
    assert IcebergReader(store, "t").snapshot().rows == 55


def test_positions_do_not_apply_to_newer_files(store, table):
    a, _, c = table
    put_positions(store, "t/data/d1", [(a.path, 1), (c.path, 1)])
    add_deletes(store, (1, "t/data/d1", ()), sequence=1)
    assert live(store) == [i for i in ALL if i != 1]


def test_equality_deletes_apply_to_older_files_only(store, table):
    put_values(store, "t/data/e1", id=[3, 105, 205])
    add_deletes(store, (2, "t/data/e1", (1,)))
    assert live(store) == [i for i in ALL if i not in (3, 105)]


def test_equality_deletes_of_several_columns_and_nulls(store, table):
    put_values(store, "t/data/e1", s=[None])
    put_values(store, "t/data/e2", id=[1, 102, 3], s=["s1", "s0", None])
    add_deletes(store, (2, "t/data/e1", (2,)), (2, "t/data/e2", (1, 2)), sequence=9)
    gone = {n + i for n in (0, 100, 200) for i in range(0, 20, 4)} | {1}
    assert live(store) == [i for i in ALL if i not in gone]


def test_equality_deletes_by_floats_are_refused(store, table):
    put_values(store, "t/data/e1", f=[1.0])
    add_deletes(store, (2, "t/data/e1", (3,)))
    with pytest.raises(UnsupportedError, match="floating-point") as caught:
        live(store)
    assert caught.value.feature == "equality-deletes"


@pytest.mark.parametrize("change", ["none", "append", "remove", "more", "fewer"])
def test_a_writer_takes_over_other_forms(store, table, change):
    a, b, c = table
    put_positions(store, "t/data/d1", [(a.path, 1), (b.path, 0), (c.path, 5)])
    put_values(store, "t/data/e1", id=[3, 105, 205])
    add_deletes(store, (1, "t/data/d1", ()), (2, "t/data/e1", (1,)), sequence=2)
    gone = {1, 100, 205, 3, 105}
    wanted = [i for i in ALL if i not in gone]
    assert live(store) == wanted
    more = put(store, "z.parquet", 3, 1)  # a deleted value, added again
    match change:
        case "append":
            changes = (AddFile(more),)
            wanted = sorted([*wanted, 3])
        case "remove":
            changes = (RemoveFile(b),)
            wanted = [i for i in wanted if not 100 <= i < 200]
        case "more":
            changes = (SetDeletes(a.path, (inline_vector([1, 3, 4]),)),)
            wanted = [i for i in wanted if i != 4]
        case "fewer":
            changes = (SetDeletes(a.path, ()),)
            wanted = sorted([*wanted, 1, 3])
        case _:
            changes = ()
    tip = IcebergReader(store, "t").latest()
    done = IcebergWriter(store, "t").append([commit(2, *changes)], expect=tip)
    assert isinstance(done, Committed)
    reader = IcebergReader(store, "t")
    assert ids(store, reader.snapshot()) == wanted
    assert reader.history()[-1].rows == len(wanted)
    assert ids(store, replay(list(reader.commits()))) == wanted
    contents = reader._chain.contents(reader._snapshots[-1])
    listed = [e for m in contents.deletes for e in reader._manifests.files(m) if e.status != 2]
    assert {e.record["content"] for e in listed} == {1}
    assert all(
        e.record["lower_bounds"][PATH_ID] == e.record["upper_bounds"][PATH_ID] for e in listed
    )


def test_damaged_delete_files(store):
    locations = Locations("memory://lake", "t")
    with pytest.raises(FormatError, match="does not exist"):
        read_positions(store, locations, "t/none", None)
    store.create(NewObject("t/bad", b"no parquet"))
    with pytest.raises(FormatError, match="'t/bad'"):
        read_positions(store, locations, "t/bad", None)
    for place, table in enumerate(
        (
            pa.table({"file_path": ["x"]}),
            pa.table({"file_path": ["x"], "pos": ["y"]}),
            pa.table({"file_path": ["memory://lake/x"], "pos": pa.array([-1], pa.int64())}),
            pa.table({"file_path": [None], "pos": pa.array([1], pa.int64())}).cast(
                pa.schema([("file_path", pa.string()), ("pos", pa.int64())])
            ),
        )
    ):
        put_parquet(store, f"t/bad{place}", table)
        with pytest.raises(FormatError, match=f"'t/bad{place}'"):
            read_positions(store, locations, f"t/bad{place}", None)


@given(st.sets(st.integers(0, 100_000), min_size=1, max_size=200))
@settings(max_examples=20, deadline=None)
def test_positions_round_trip(positions):
    store = MemoryStore("lake")
    store.create(NewObject("d", encode_positions("memory://lake/x", BitMap64(positions))))
    locations = Locations("memory://lake", "t")
    for only in (None, "x"):
        assert set(read_positions(store, locations, "d", only)["x"]) == positions
