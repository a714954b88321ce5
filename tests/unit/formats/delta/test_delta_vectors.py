"""Deletion vectors in Delta's log: what others write, and what our writer makes of them."""

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import FormatError
from parquedb.formats.delta.checkpoint_write import write_checkpoint
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.state import read_state
from parquedb.formats.delta.vectors import parse_deletes, vector_key
from parquedb.formats.delta.wire import Vector
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.log.change import AddFile, RemoveFile, SetDeletes, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed
from parquedb.log.replay import TableState, replay
from parquedb.model.files import DataFile, InlineVector, VectorFile
from parquedb.parquet.deletes import inline_vector, load_positions
from parquedb.parquet.footer import read_footer
from parquedb.parquet.scan import read_batches
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

T0 = 1_700_000_000_000
EXAMPLE = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"
"""The rows of JSON Example 2 of PROTOCOL.md, whose own bytes are in a form that it rules out."""
JAVAS_OWN = "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L"


def test_what_others_write():
    vector = Vector("i", EXAMPLE, 6, None, 44)
    (deletes,) = parse_deletes("memory://x", "t", vector)
    assert set(load_positions(MemoryStore(), "x", (deletes,))) == {3, 4, 7, 11, 18, 29}
    in_file = Vector("u", "ab^-aqEH.-t@S}K{vb[*k^", 6, 4, 40)
    key = "t/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    assert vector_key("memory://x", "t", in_file) == key
    assert parse_deletes("memory://x", "t", in_file) == (VectorFile(key, 4, 48, 6),)
    absolute = Vector("p", "memory://x/other/d%20v.bin", 6, 4, 40)
    assert vector_key("memory://x", "t", absolute) == "other/d v.bin"
    assert parse_deletes("memory://x", "t", None) == ()


@pytest.mark.parametrize(
    "vector",
    [
        Vector("i", EXAMPLE[:-5], 6, None, 44),
        Vector("i", EXAMPLE + "00000", 6, None, 44),
        Vector("i", "\N{SNOWMAN}", 6, None, 40),
        Vector("i", EXAMPLE[5:], 6, None, 40),
        Vector("i", JAVAS_OWN, 6, None, 40),
        Vector("u", "short", 6, 1, 40),
        Vector("x", EXAMPLE, 6, None, 40),
    ],
)
def test_damaged_descriptors(vector):
    with pytest.raises(FormatError):
        parse_deletes("memory://x", "t", vector)


def put(store, name, start, rows):
    table = pa.table(
        {"id": pa.array(range(start, start + rows)), "s": [f"s{i}" for i in range(rows)]}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.create(NewObject(f"t/{name}", sink.getvalue().to_pybytes()))
    footer = read_footer(store, f"t/{name}")
    return DataFile(footer.key, footer.size_bytes, rows, stats=footer.stats), footer.schema


def commit(version, *changes, operation=Operation.DELETE):
    return Commit(version, T0 + version * 1000, operation, changes)


def ids(store, snapshot):
    return sorted(
        i
        for file in snapshot.files.values()
        for batch in read_batches(store, file, snapshot.schema, snapshot.specs[file.spec_id])
        for i in batch["id"].to_pylist()
    )


def actions(store, version):
    data = store.get(f"t/_delta_log/{version:020d}.json")
    return [json.loads(line) for line in data.splitlines()]


def test_what_vectors_look_like():
    store = MemoryStore()
    file, schema = put(store, "a.parquet", 0, 20_000)
    writer = DeltaWriter(store, "t")
    scattered = [i * 7 % 20_000 for i in range(0, 9000, 2)]
    commits = [
        commit(0, SetSchema(schema), AddFile(file), operation=Operation.CREATE),
        commit(1, SetDeletes(file.path, (inline_vector([3, 5]),))),
        commit(2, SetDeletes(file.path, (inline_vector(scattered),))),
        commit(3, SetDeletes(file.path, ())),
        commit(4, RemoveFile(file)),
    ]
    assert isinstance(writer.append(commits[:1], expect=None), Committed)
    assert actions(store, 0)[1]["protocol"]["minReaderVersion"] == 1
    assert isinstance(writer.append(commits[1:], expect=0), Committed)

    _, protocol, metadata, removed, added = actions(store, 1)
    assert protocol["protocol"] == {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"],
        "writerFeatures": ["appendOnly", "deletionVectors", "invariants"],
    }
    assert metadata["metaData"]["configuration"]["delta.enableDeletionVectors"] == "true"
    assert "deletionVector" not in removed["remove"]
    small = added["add"]["deletionVector"]
    assert (small["storageType"], small["offset"], small["cardinality"]) == ("u", 1, 2)
    stats = json.loads(added["add"]["stats"])
    assert (stats["numRecords"], stats["tightBounds"]) == (20_000, False)
    assert stats["maxValues"]["id"] == 19_999

    _, removed, added = actions(store, 2)
    assert removed["remove"]["deletionVector"] == small
    in_file = added["add"]["deletionVector"]
    assert (in_file["storageType"], in_file["offset"], in_file["cardinality"]) == ("u", 1, 4500)
    assert in_file["sizeInBytes"] > small["sizeInBytes"]

    _, removed, added = actions(store, 3)
    assert removed["remove"]["deletionVector"] == in_file
    assert "deletionVector" not in added["add"]
    assert "tightBounds" not in added["add"]["stats"]
    assert json.loads(added["add"]["stats"])["nullCount"] == {"id": 0, "s": 0}

    reader = DeltaReader(store, "t")
    files = [key for key in reader.referenced() if key.endswith(".bin")]
    assert [store.get(key)[:1] for key in files] == [b"\x01"] * 2
    kinds = [[type(c).__name__ for c in one.changes] for one in reader.commits()][1:]
    assert kinds == [["SetDeletes"], ["SetDeletes"], ["SetDeletes"], ["RemoveFile"]]
    assert [version.rows for version in reader.history()] == [20_000, 19_998, 15_500, 20_000, 0]


def test_statistics_are_those_of_the_whole_file_when_rows_come_back():
    store = MemoryStore()
    file, schema = put(store, "a.parquet", 0, 10)
    narrow = json.dumps(
        {"numRecords": 10, "minValues": {"id": 4}, "maxValues": {"id": 5}, "nullCount": {"id": 0}}
    )
    vector = inline_vector([0, 1, 2, 3, 6, 7, 8, 9])
    writer = DeltaWriter(store, "t")
    create = commit(0, SetSchema(schema), AddFile(file), SetDeletes(file.path, (vector,)))
    writer.append([create], expect=None)
    log = actions(store, 0)
    for action in log:  # somebody computed them anew, for the rows that were left
        if "add" in action:
            action["add"]["stats"] = narrow
    store.replace("t/_delta_log/" + f"{0:020d}.json", "\n".join(map(json.dumps, log)).encode())
    back = commit(1, SetDeletes(file.path, (inline_vector([9]),)))
    assert isinstance(DeltaWriter(store, "t").append([back], expect=0), Committed)
    stats = json.loads(actions(store, 1)[-1]["add"]["stats"])
    assert (stats["minValues"]["id"], stats["maxValues"]["id"]) == (0, 9)


def test_checkpoints_hold_vectors_and_what_time_travel_needs():
    store = MemoryStore()
    file, schema = put(store, "a.parquet", 0, 5000)
    first, second = inline_vector(range(0, 5000, 3)), inline_vector(range(0, 5000, 2))
    writer = DeltaWriter(store, "t")
    writer.append(
        [
            commit(0, SetSchema(schema), AddFile(file)),
            commit(1, SetDeletes(file.path, (first,))),
            commit(2, SetDeletes(file.path, (second,))),
        ],
        expect=None,
    )
    before = [ids(store, DeltaReader(store, "t").snapshot(v)) for v in range(3)]
    vectors = {key for key in DeltaReader(store, "t").referenced() if key.endswith(".bin")}
    assert len(vectors) == 2
    write_checkpoint(store, "t", 2)
    store.delete(f"t/_delta_log/{0:020d}.json")
    store.delete(f"t/_delta_log/{1:020d}.json")
    store.delete(f"t/_delta_log/{2:020d}.json")
    reader = DeltaReader(store, "t")
    assert ids(store, reader.snapshot()) == before[2]
    assert vectors <= reader.referenced()


SETS = st.sets(st.integers(0, 29), max_size=12)


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | SETS), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_history_of_vectors_reads_as_it_was_written(steps):
    store = MemoryStore()
    files = [put(store, f"{n}.parquet", n * 100, 30) for n in range(3)]
    schema = files[0][1]
    commits = [commit(0, SetSchema(schema), *(AddFile(file) for file, _ in files))]
    state = TableState()
    state.apply(commits[0])
    wanted = [ids(store, state.snapshot())]
    for version, (number, positions) in enumerate(steps, 1):
        file, _ = files[number]
        if positions is None and file.path in state.files:
            change = RemoveFile(file)
        elif file.path in state.files:
            change = SetDeletes(file.path, (inline_vector(positions),) if positions else ())
        else:
            kept = (inline_vector(positions),) if positions else ()
            change = AddFile(DataFile(file.path, file.size_bytes, 30, deletes=kept))
        commits.append(commit(version, change))
        state.apply(commits[-1])
        wanted.append(ids(store, state.snapshot()))
    half = len(commits) // 2
    DeltaWriter(store, "t").append(commits[: half + 1], expect=None)
    if commits[half + 1 :]:
        DeltaWriter(store, "t").append(commits[half + 1 :], expect=half)
    reader = DeltaReader(store, "t")
    assert [ids(store, reader.snapshot(v)) for v in range(len(commits))] == wanted
    assert [version.rows for version in reader.history()] == [len(rows) for rows in wanted]
    read = list(reader.commits())
    for version in range(len(commits)):
        assert ids(store, replay(read[: version + 1])) == wanted[version]


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_inline_vector_breaks_the_reader(data):
    text = base64.b85encode(data + bytes(-len(data) % 4)).decode()
    try:
        deletes = parse_deletes("memory://x", "t", Vector("i", text, 1, None, len(data)))
        load_positions(MemoryStore(), "x", deletes)
    except FormatError:
        return
    assert isinstance(deletes[0], InlineVector)


def with_deleted_rows():
    """A table with one file, of whose ten rows two are deleted; and the vector's descriptor."""
    store = MemoryStore()
    file, schema = put(store, "a.parquet", 0, 10)
    writer = DeltaWriter(store, "t")
    first = commit(0, SetSchema(schema), AddFile(file), operation=Operation.CREATE)
    writer.append([first, commit(1, SetDeletes(file.path, (inline_vector([3, 5]),)))], expect=None)
    (add,) = (line["add"] for line in actions(store, 1) if "add" in line)
    return store, add


def add_commit(store, version, *lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    store.create(NewObject(f"t/_delta_log/{version:020d}.json", text.encode()))


def removed(add, **changed):
    kept = {key: add[key] for key in ("path", "partitionValues", "size", "deletionVector")}
    return {"remove": {**kept, "deletionTimestamp": T0, "dataChange": True, **changed}}


def test_a_remove_of_another_logical_file_takes_nothing():
    """A file with other deleted rows is another one: delta-rs, DuckDB and Spark keep this one."""
    store, add = with_deleted_rows()
    add_commit(store, 2, removed(add, deletionVector=None))
    add_commit(store, 3, removed(add))
    reader = DeltaReader(store, "t")
    assert [version.rows for version in reader.history()] == [10, 8, 8, 0]
    assert [reader.snapshot(version).rows for version in range(4)] == [10, 8, 8, 0]
    state = TableState()
    rows = []
    for one in reader.commits():
        state.apply(one)
        rows.append(state.snapshot().rows)
    assert rows == [10, 8, 8, 0]
    assert not read_state(store, "t", reader.listing, 3).live
    assert read_state(store, "t", reader.listing, 2).live


@pytest.mark.parametrize("vector", [None, "other"])
def test_a_file_that_is_added_beside_itself_is_refused(vector):
    """delta-rs and DuckDB show the rows of both logical files."""
    store, add = with_deleted_rows()
    other = {"storageType": "i", "pathOrInlineDv": EXAMPLE, "sizeInBytes": 44, "cardinality": 6}
    again = {**add, "deletionVector": other if vector else None}
    add_commit(store, 2, {"add": again})
    reader = DeltaReader(store, "t")
    assert reader.snapshot(1).rows == 8
    with pytest.raises(FormatError, match="does not remove it as it was"):
        reader.snapshot(2)
    with pytest.raises(FormatError, match="does not remove it as it was"):
        list(reader.commits())


def test_a_logical_file_that_a_commit_adds_and_removes_is_refused():
    """Actions have no order, and readers disagree."""
    store, add = with_deleted_rows()
    add_commit(store, 2, removed(add), {"add": add})
    reader = DeltaReader(store, "t")
    assert reader.snapshot(1).rows == 8
    with pytest.raises(FormatError, match=r"both adds and removes 'a\.parquet'"):
        reader.snapshot(2)
    with pytest.raises(FormatError, match="both adds and removes"):
        list(reader.commits())
