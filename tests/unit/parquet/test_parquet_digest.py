from __future__ import annotations

import io
import math
import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED
from parquedb.parquet.arrow import schema_of_arrow
from parquedb.parquet.digest import ContentDigest, Digester
from parquedb.parquet.scan import read_batches
from parquedb.storage.memory import MemoryStore


def digest(table, schema=None, **options):
    """Digest a table through a file, as both sides of a migration are."""
    store = MemoryStore()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    store.replace("x.parquet", buffer.getvalue())
    schema = schema_of_arrow(table.schema if schema is None else schema)
    with Digester() as digester:
        batches = read_batches(store, DataFile("x.parquet", 0, None), schema, UNPARTITIONED)
        return sum(map(digester.digest, batches), ContentDigest())


def one(array):
    with Digester() as digester:
        return digester.digest(pa.record_batch({"x": array}))


ROW = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-128, 127),
        "f": st.none() | st.floats(width=32),
        "s": st.none() | st.text(max_size=20),
        "d": st.none() | st.integers(-9999, 9999).map(lambda n: Decimal(n).scaleb(-2)),
        "l": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        "m": st.none()
        | st.dictionaries(st.text(max_size=2), st.none() | st.integers(0, 9), max_size=3).map(
            lambda d: list(d.items())
        ),
        "n": st.none()
        | st.fixed_dictionaries(
            {"a": st.none() | st.integers(0, 3), "b": st.none() | st.booleans()}
        ),
        "t": st.none() | st.integers(-(2**40), 2**40),
    }
)
NARROW = pa.schema(
    {
        "i": pa.int8(),
        "f": pa.float32(),
        "s": pa.string(),
        "d": pa.decimal128(6, 2),
        "l": pa.list_(pa.string()),
        "m": pa.map_(pa.string(), pa.int32()),
        "n": pa.struct([("a", pa.int16()), ("b", pa.bool_())]),
        "t": pa.timestamp("ms", "UTC"),
    }
)
WIDE = pa.schema(
    {
        "t": pa.timestamp("us", "UTC"),
        "n": pa.struct([("b", pa.bool_()), ("a", pa.int64())]),
        "m": pa.map_(pa.large_string(), pa.int64()),
        "l": pa.large_list(pa.large_string()),
        "d": pa.decimal256(40, 2),
        "s": pa.large_string(),
        "f": pa.float64(),
        "i": pa.int64(),
    }
)


def table_of(rows, schema):
    unit = 1000 if schema.field("t").type.unit == "us" else 1
    scaled = [{**row, "t": None if row["t"] is None else row["t"] * unit} for row in rows]
    return pa.Table.from_pylist(scaled, schema)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=12), st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_and_encoding_do_not_matter(rows, random, group):
    first = digest(table_of(rows, NARROW), use_dictionary=False)
    shuffled = list(rows)
    random.shuffle(shuffled)
    second = digest(table_of(shuffled, WIDE), row_group_size=group, compression="zstd")
    assert first == second
    assert first.rows == len(rows)
    cut = len(rows) // 2
    parts = digest(table_of(rows[:cut], NARROW)) + digest(table_of(rows[cut:], WIDE))
    assert parts == first


def same(a, b):
    """Equality of values as the digest sees it."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@settings(max_examples=80, deadline=None)
@given(ROW, ROW)
def test_different_rows_differ(a, b):
    for row in (a, b):
        row["m"] = None if row["m"] is None else sorted(row["m"])
    equal = same(a, b)
    assert (digest(table_of([a], NARROW)) == digest(table_of([b], NARROW))) == equal


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (pa.array([1], pa.int8()), pa.array([1], pa.int64())),
        (pa.array([1], pa.uint32()), pa.array([1], pa.int64())),
        (
            pa.array([2**63 + 1], pa.uint64()),
            pa.array([Decimal(2**63 + 1)], pa.decimal128(20, 0)),
        ),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([1.5], pa.float16()), pa.array([1.5], pa.float64())),
        (pa.array([math.nan]), pa.array([math.nan], pa.float32())),
        (pa.array([b"x" * 16], pa.uuid()), pa.array([b"x" * 16], pa.binary())),
        (pa.array([b"x" * 16], pa.binary(16)), pa.array([b"x" * 16], pa.binary())),
        (pa.array([5], pa.timestamp("ms")), pa.array([5000], pa.timestamp("us", "UTC"))),
        (pa.array([-5000], pa.timestamp("ns")), pa.array([-5], pa.timestamp("us"))),
        (pa.array([5], pa.time32("ms")), pa.array([5000], pa.time64("us"))),
        (
            pa.array([Decimal("-1.25")], pa.decimal128(5, 2)),
            pa.array([Decimal("-1.25")], pa.decimal256(50, 2)),
        ),
        (
            pa.array([Decimal("-1.25")], pa.decimal32(5, 2)),
            pa.array([Decimal("-1.25")], pa.decimal128(38, 2)),
        ),
        (pa.nulls(1), pa.array([None], pa.string())),
        (
            pa.array([[("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int8())),
            pa.array([[("b", 2), ("a", 1)]], pa.map_(pa.string(), pa.int8())),
        ),
    ],
)
def test_equal_values(a, b):
    assert one(a) == one(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (pa.array([0]), pa.array([None], pa.int64())),
        (pa.array([""]), pa.array([None], pa.string())),
        (pa.array([[]], pa.list_(pa.int8())), pa.array([None], pa.list_(pa.int8()))),
        (pa.array([[None]], pa.list_(pa.int8())), pa.array([[]], pa.list_(pa.int8()))),
        (pa.array([[None, 1]]), pa.array([[1, None]])),
        (pa.array([[1, 2]]), pa.array([[2, 1]])),
        (pa.array([[[1], [2]]]), pa.array([[[1, 2]]])),
        (pa.array([{"a": None}]), pa.array([None], pa.struct([("a", pa.null())]))),
        (pa.array([{"a": 1, "b": 2}]), pa.array([{"a": 2, "b": 1}])),
        (pa.array([-5001], pa.timestamp("ns")), pa.array([-5000], pa.timestamp("ns"))),
        (pa.array([1, 1, 2]), pa.array([1, 2, 2])),
        (pa.array([1, 1]), pa.array([1])),
        (
            pa.array([Decimal("1.0")], pa.decimal128(5, 1)),
            pa.array([Decimal(10)], pa.decimal128(5, 0)),
        ),
    ],
)
def test_unequal_values(a, b):
    assert one(a) != one(b)


def test_swapped_columns_and_rows_differ():
    a = digest(pa.table({"x": [1, 2], "y": [3, 4]}))
    assert a != digest(pa.table({"y": [1, 2], "x": [3, 4]}))
    assert a != digest(pa.table({"x": [1, 2], "y": [4, 3]}))
    assert a == digest(pa.table({"y": [4, 3], "x": [2, 1]}))
    assert a != digest(pa.table({"x": [1, 2], "y": [3, 4], "z": pa.nulls(2)}))


def test_garbage_under_nulls_does_not_matter():
    """A null struct may have anything in its children."""
    child = pa.array([1, 2])
    mask = pa.array([False, True])
    dirty = pa.StructArray.from_arrays([child], names=["a"], mask=mask)
    assert one(dirty) == one(pa.array([{"a": 1}, None]))
    nested = pa.array([[1, 2], [3], None, [4]], pa.list_(pa.int64()))
    assert one(nested.slice(1)) == one(pa.array([[3], None, [4]]))


def test_sums():
    total = ContentDigest(1, 2**128 - 1) + ContentDigest(2, 2)
    assert total == ContentDigest(3, 1)
    assert ContentDigest() + total == total


def test_stable_across_processes():
    code = (
        "import pyarrow as pa\n"
        "from parquedb.parquet.digest import Digester\n"
        "batch = pa.record_batch({'x': ['a', None, 'longer than twelve bytes'], 'y': [1, 2, 3]})\n"
        "print(Digester().digest(batch).total)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    batch = pa.record_batch({"x": ["a", None, "longer than twelve bytes"], "y": [1, 2, 3]})
    with Digester() as digester:
        assert digester.digest(batch).total == int(found.stdout)


def test_rows_taken_away_again_leave_the_others():
    some, others = pa.table({"i": [1, 2, 2]}), pa.table({"i": [2, 3]})
    both = digest(pa.concat_tables([some, others]))
    assert both - digest(others) == digest(some)
    assert both - both == ContentDigest()
