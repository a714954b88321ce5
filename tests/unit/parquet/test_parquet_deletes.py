"""Deleted rows: sets of positions, their frames, and files read without them."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from parquedb.errors import FormatError
from parquedb.model.files import DataFile, InlineVector, VectorFile
from parquedb.model.partition import UNPARTITIONED
from parquedb.parquet.arrow import schema_of_arrow
from parquedb.parquet.deletes import (
    FRAME_BYTES,
    MAGIC,
    frame,
    inline_vector,
    kept_rows,
    load_positions,
    parse_bitmap,
    same_deletes,
    strip_magic,
    unframe,
)
from parquedb.parquet.groups import GroupFile
from parquedb.parquet.scan import read_batches
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

POSITIONS = st.sets(st.integers(0, 200_000), max_size=300)


@given(POSITIONS)
@settings(max_examples=50, deadline=None)
def test_equal_sets_are_equal_vectors(positions):
    one, other = inline_vector(positions), inline_vector(sorted(positions, reverse=True))
    assert one == other
    assert one.rows == len(positions)
    assert set(parse_bitmap(one.bitmap, "x")) == positions


@given(POSITIONS, st.integers(0, 100_000), st.integers(0, 70_000))
@settings(max_examples=50, deadline=None)
def test_kept_rows(positions, start, rows):
    kept = kept_rows(BitMap64(positions), start, rows)
    wanted = [start + i not in positions for i in range(rows)]
    assert all(wanted) if kept is None else kept.tolist() == wanted


def test_vectors_in_files():
    store = MemoryStore()
    one, other = inline_vector([1, 5]), inline_vector(range(70_000, 200_000))
    data = b"\x01" + frame(one.bitmap) + frame(other.bitmap)
    store.create(NewObject("d.bin", data))
    size = len(one.bitmap) + FRAME_BYTES
    first = VectorFile("d.bin", 1, size, 2)
    second = VectorFile("d.bin", 1 + size, len(data) - 1 - size, 130_000)
    assert set(load_positions(store, "x", (first, second))) == {1, 5, *range(70_000, 200_000)}
    assert same_deletes(store, "x", (first,), (one,))
    assert not same_deletes(store, "x", (first,), ())


def test_damaged_vectors_are_named():
    good = inline_vector([1, 2, 70_000])
    framed = frame(good.bitmap)
    size = len(framed)
    for broken, text in (
        (framed[:-1], "cut off"),
        (framed[:5], "cut off"),
        (b"\0\0\0\x01" + framed[4:], "its length"),
        (framed[:-1] + bytes([framed[-1] ^ 1]), "checksum"),
        (framed[:12] + bytes([framed[12] ^ 1]) + framed[13:], "checksum"),
    ):
        with pytest.raises(FormatError, match=text):
            unframe(broken, size, "d.bin")
    with pytest.raises(FormatError, match="magic"):
        strip_magic(b"xxxx", "d.bin")
    with pytest.raises(FormatError, match="Java's own form"):
        strip_magic(bytes([MAGIC[0] - 1]) + MAGIC[1:], "d.bin")
    store = MemoryStore()
    with pytest.raises(FormatError, match="holds 3 positions and the table's metadata says 4"):
        load_positions(store, "x", (InlineVector(good.bitmap, 4),))
    with pytest.raises(
        FormatError, match=r"'d\.bin', which holds the deleted rows of 'x', is miss"
    ):
        load_positions(store, "x", (VectorFile("d.bin", 1, 50, 1),))


def test_no_bytes_make_a_bitmap_that_breaks():
    good = inline_vector([*range(10, 5000), 1 << 20, (1 << 33) + 5, *range(70_000, 90_000, 2)])
    seed = random.Random(7)
    broken = 0
    for _ in range(3000):
        data = bytearray(good.bitmap[: seed.choice([30, 200, len(good.bitmap)])])
        for _ in range(seed.randint(1, 4)):
            data[seed.randrange(min(80, len(data)))] = seed.randrange(256)
        try:
            found = parse_bitmap(bytes(data), "x")
        except FormatError:
            broken += 1
        else:
            assert len(found) == len(found.to_array())
    assert broken > 1000


@pytest.fixture
def store():
    return MemoryStore()


def put(store, rows, group_rows):
    table = pa.table({"$id": [f"{i:06d}" for i in range(rows)], "n": range(rows)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=group_rows)
    data = sink.getvalue().to_pybytes()
    store.create(NewObject("x.parquet", data))
    return DataFile("x.parquet", len(data), rows), schema_of_arrow(table.schema)


def with_deletes(file, positions):
    return DataFile(
        file.path, file.size_bytes, file.rows, deletes=(inline_vector(positions),)
    )  # fmt: skip


@pytest.mark.parametrize("positions", [[0], [99], [5, 6, 50], range(10, 20), range(100), []])
@pytest.mark.parametrize("batch_rows", [7, 10, 1000])
def test_scans_leave_deleted_rows_out(store, positions, batch_rows):
    file, schema = put(store, 100, 10)
    deleted = with_deletes(file, positions)
    wanted = [n for n in range(100) if n not in positions]
    batches = read_batches(store, deleted, schema, UNPARTITIONED, batch_rows=batch_rows)
    assert [n for batch in batches for n in batch["n"].to_pylist()] == wanted
    assert deleted.live_rows == len(wanted)


@pytest.mark.parametrize("positions", [[0], [99], [5, 6, 50], range(10, 20), range(100), []])
def test_row_groups_leave_deleted_rows_out(store, positions):
    file, schema = put(store, 100, 10)
    wanted = [n for n in range(100) if n not in positions]
    with GroupFile(
        store, with_deletes(file, positions), schema, UNPARTITIONED, key="$id"
    ) as opened:
        assert opened.rows == len(wanted)
        found = []
        for index, group in enumerate(opened.groups):
            batch = opened.read(index)
            assert batch.num_rows == group.rows
            assert group.start == len(found)
            found += batch["n"].to_pylist()
            assert opened.read(index, ["n"])["n"].to_pylist() == batch["n"].to_pylist()
        assert found == wanted
        assert opened.plain_columns() is None
        id_ = schema.find("n").id
        stats = opened.group_stats(0)
        assert (stats.lower[id_], stats.upper[id_]) == (0, 9)


def test_positions_beyond_the_file(store):
    file, schema = put(store, 10, 5)
    beyond = with_deletes(file, [10])
    with pytest.raises(FormatError, match=r"row 10 of 'x\.parquet' .* has 10 rows"):
        list(read_batches(store, beyond, schema, UNPARTITIONED))
    with pytest.raises(FormatError, match="row 10 of"):
        GroupFile(store, beyond, schema, UNPARTITIONED, key="$id")
