from __future__ import annotations

import datetime as dt
import io
import os
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import FormatError, NotFoundError, StateError
from parquedb.formats.native.features import FEATURES, fit_type
from parquedb.formats.native.reader import NativeReader
from parquedb.log.change import AddFile, SetPartitioning, SetSchema
from parquedb.log.commit import Operation
from parquedb.log.replay import replay
from parquedb.model.format import Format
from parquedb.model.schema import Identity
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
    VariantType,
)
from parquedb.parquet.scan import read_batches
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore


def put(store, key, table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    store.replace(key, buffer.getvalue())


def rows_of(reader):
    snapshot = reader.snapshot()
    found = []
    for file in snapshot.files.values():
        for batch in read_batches(
            reader._store, file, snapshot.schema, snapshot.specs[file.spec_id]
        ):
            found += batch.to_pylist()
    return found


def types_of(reader):
    return {field.name: field.type for field in reader.snapshot().schema.fields}


def by_id(rows):
    return sorted(rows, key=lambda row: row["id"])


def test_one_version():
    store = MemoryStore()
    put(store, "users.parquet", pa.table({"id": [1, 2]}))
    reader = NativeReader(store, "users")
    info = store.head("users.parquet")
    assert reader.format is Format.NATIVE
    assert reader.table_id == "native:users"
    assert 0 <= reader.latest() < 2**53
    assert [v.version for v in reader.history()] == [reader.latest()]
    assert reader.history()[0].rows == 2
    assert reader.version_at(info.modified_at_us // 1000) == reader.latest()
    assert reader.lineage() is None
    assert reader.referenced() == {"users.parquet"}
    (commit,) = reader.commits()
    assert (commit.operation, commit.base) == (Operation.CREATE, True)
    assert [type(c) for c in commit.changes] == [SetSchema, SetPartitioning, AddFile]
    assert replay([commit]) == reader.snapshot() == reader.snapshot(reader.latest())
    assert list(reader.commits(reader.latest())) == []
    (file,) = reader.snapshot().files.values()
    assert file.modified_at_ms == info.modified_at_us // 1000
    for call in (reader.snapshot, lambda v: list(reader.commits(v))):
        with pytest.raises(NotFoundError, match="has no version 1"):
            call(1)
    with pytest.raises(NotFoundError, match="keeps no history"):
        reader.version_at(0)
    with pytest.raises(NotFoundError, match="No data found for namespace 'nobody'"):
        NativeReader(store, "nobody")


def test_the_version_changes_with_the_files(tmp_path):
    store = LocalStore(tmp_path)
    put(store, "users/a.parquet", pa.table({"id": [1]}))
    first = NativeReader(store, "users").latest()
    assert NativeReader(store, "users").latest() == first
    os.utime(tmp_path / "users/a.parquet", ns=(1, 2_000_000_000))
    second = NativeReader(store, "users")
    assert second.latest() != first
    assert second.history()[0].at_ms == 2000
    put(store, "users/b.parquet", pa.table({"id": [1]}))
    assert len({first, second.latest(), NativeReader(store, "users").latest()}) == 3


HIVE = pa.table(
    {
        "id": [1, 2, 3, 4],
        "city": ["Zürich/West", "a b", None, "100%"],
        "day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2), None, dt.date(1969, 1, 1)],
        "n": [7, -7, 0, None],
    }
)


def write_by_pyarrow(folder):
    part = ds.partitioning(HIVE.select(["city", "day", "n"]).schema, flavor="hive")
    ds.write_dataset(HIVE, folder, format="parquet", partitioning=part)


def write_by_duckdb(folder):
    duckdb.from_arrow(HIVE).query(
        "t", f"COPY t TO '{folder}' (FORMAT parquet, PARTITION_BY (city, day, n))"
    )


def write_by_polars(folder):
    pl.from_arrow(HIVE).write_parquet(folder, partition_by=["city", "day", "n"])


@pytest.mark.parametrize("write", [write_by_pyarrow, write_by_duckdb, write_by_polars])
def test_hive_folders_of_others(tmp_path, write):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "events")
    reader = NativeReader(LocalStore(tmp_path), "events")
    types = types_of(reader)
    assert types == {"id": IntType(64), "city": StringType(), "day": DateType(), "n": IntType(64)}
    assert by_id(rows_of(reader)) == HIVE.to_pylist()
    spec = reader.snapshot().spec
    assert [field.name for field in spec.fields] == ["city", "day", "n"]


def test_partition_columns_inside_the_files():
    store = MemoryStore()
    put(store, "t/k=007/a.parquet", pa.table({"id": [1], "k": pa.array([7], pa.int16())}))
    put(store, "t/k=8/a.parquet", pa.table({"id": [2]}))
    reader = NativeReader(store, "t")
    assert types_of(reader) == {"id": IntType(64), "k": IntType(16)}
    assert by_id(rows_of(reader)) == [{"id": 1, "k": 7}, {"id": 2, "k": 8}]
    put(store, "t/k=x/a.parquet", pa.table({"id": [2]}))
    with pytest.raises(FormatError, match="k='x' is no int16"):
        NativeReader(store, "t").snapshot()


def test_schemas_are_widened():
    store = MemoryStore()
    first = pa.table(
        {
            "id": pa.array([1], pa.int32()),
            "f": pa.array([1.5], pa.float32()),
            "d": pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            "t": pa.array([5], pa.timestamp("ms")),
            "s": [{"a": 1}],
            "l": pa.array([[1]], pa.list_(pa.int32())),
            "gone": ["x"],
            "n": pa.nulls(1),
        }
    )
    second = pa.table(
        {
            "new": [True],
            "n": ["was null"],
            "l": pa.array([[2**40]], pa.list_(pa.int64())),
            "s": [{"b": "y", "a": 2}],
            "t": pa.array([6], pa.timestamp("us")),
            "d": pa.array([Decimal("2.25")], pa.decimal128(9, 2)),
            "f": pa.array([2.5], pa.float64()),
            "id": pa.array([2**40], pa.int64()),
        }
    )
    put(store, "t/1.parquet", first)
    put(store, "t/2.parquet", second)
    reader = NativeReader(store, "t")
    schema = reader.snapshot().schema
    assert schema.names == ("id", "f", "d", "t", "s", "l", "gone", "n", "new")
    types = types_of(reader)
    assert types["id"] == IntType(64)
    assert types["f"] == FloatType(64)
    assert types["d"] == DecimalType(9, 2)
    assert types["t"] == TimestampType("us", utc=False)
    assert [f.name for f in types["s"].fields] == ["a", "b"]
    assert types["l"].element.type == IntType(64)
    assert types["n"] == StringType()
    found = rows_of(reader)
    assert found[0]["s"] == {"a": 1, "b": None}
    assert found[1] == {**second.to_pylist()[0], "gone": None, "n": "was null"}
    files = reader.snapshot().files
    ids = {field.name: field.id for field in schema.fields}
    low = files["t/1.parquet"].stats.lower
    assert (low[ids["id"]], low[ids["f"]], low[ids["d"]], low[ids["t"]]) == (1, 1.5, 150, 5000)
    assert ids["new"] not in files["t/1.parquet"].stats.nulls


def test_disagreements_are_all_listed():
    store = MemoryStore()
    put(store, "t/1.parquet", pa.table({"a": [1], "b": ["x"], "s": [{"c": 1}]}))
    put(store, "t/2.parquet", pa.table({"a": ["1"], "b": [2.5], "s": [{"c": True}]}))
    reader = NativeReader(store, "t")
    with pytest.raises(FormatError, match=r"^Migration failed: Schema mismatch: ") as caught:
        reader.snapshot()
    assert caught.value.problems == (
        "column 'a' is int64 in 't/1.parquet' and string in 't/2.parquet'",
        "column 'b' is string in 't/1.parquet' and float64 in 't/2.parquet'",
        "column 's.c' is int64 in 't/1.parquet' and boolean in 't/2.parquet'",
    )


def with_ids(**columns):
    fields = []
    for name, number in columns.items():
        metadata = {"PARQUET:field_id": str(number)} if number else None
        fields.append(pa.field(name, pa.int64(), metadata=metadata))
    return pa.table([[1]] * len(fields), schema=pa.schema(fields))


@pytest.mark.parametrize(
    ("files", "identity", "ids", "conflicting"),
    [
        ([{"a": 7, "b": 5}, {"a": 7, "b": 5}], "id", {"a": 7, "b": 5}, ()),
        ([{"a": 7}, {"a": 7, "b": 9}], "id", {"a": 7, "b": 9}, ()),
        ([{"a": 7, "b": 5}, {"a": 5, "b": 7}], "name", {"a": 7, "b": 5}, ("t/1.parquet",)),
        ([{"a": 7}, {"b": 7}], "name", {"a": 7, "b": 8}, ("t/1.parquet",)),
        ([{"a": 7}, {"a": 0, "b": 0}], "name", {"a": 7, "b": 8}, ()),
        ([{"a": 7, "b": 0}], "name", {"a": 7, "b": 8}, ()),
        ([{"a": 0}, {"a": 0}], "name", {"a": 1}, ()),
    ],
)
def test_field_ids(files, identity, ids, conflicting):
    store = MemoryStore()
    for number, columns in enumerate(files):
        put(store, f"t/{number}.parquet", with_ids(**columns))
    reader = NativeReader(store, "t")
    schema = reader.snapshot().schema
    assert schema.identity is Identity(identity)
    assert {field.name: field.id for field in schema.fields} == ids
    assert reader.conflicting_ids == conflicting
    assert all(row["a"] in (1, None) for row in rows_of(reader))


def test_partition_ids_follow_the_files_own():
    store = MemoryStore()
    put(store, "t/k=1/x.parquet", with_ids(a=7))
    schema = NativeReader(store, "t").snapshot().schema
    assert schema.identity is Identity.BY_ID
    assert {field.name: field.id for field in schema.fields} == {"a": 7, "k": 8}


def test_zero_rows_and_damaged_files():
    store = MemoryStore()
    put(store, "t/1.parquet", pa.table({"id": pa.array([], pa.int64())}))
    assert NativeReader(store, "t").snapshot().rows == 0
    store.replace("t/2.parquet", b"not parquet at all")
    with pytest.raises(FormatError, match=r"'t/2\.parquet' is not a readable Parquet file"):
        NativeReader(store, "t").snapshot()


def test_a_file_that_changes_under_a_reader():
    store = MemoryStore()
    put(store, "t.parquet", pa.table({"id": [1]}))
    reader = NativeReader(store, "t")
    put(store, "t.parquet", pa.table({"id": list(range(1000))}))
    with pytest.raises(StateError, match="was overwritten while"):
        reader.snapshot()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.fixed_dictionaries(
                {"id": st.integers(-(2**31), 2**31 - 1), "x": st.none() | st.text(max_size=5)}
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_statistics_bound_every_row(parts):
    store = MemoryStore()
    for number, rows in enumerate(parts):
        kind = pa.int32() if number % 2 else pa.int64()
        table = pa.Table.from_pylist(rows, pa.schema({"id": kind, "x": pa.string()}))
        put(store, f"t/{number}.parquet", table, row_group_size=2)
    reader = NativeReader(store, "t")
    snapshot = reader.snapshot()
    assert snapshot.rows == sum(map(len, parts))
    for number, rows in enumerate(parts):
        stats = snapshot.files[f"t/{number}.parquet"].stats
        for field in snapshot.schema.fields:
            values = [row[field.name] for row in rows if row[field.name] is not None]
            assert stats.nulls[field.id] == len(rows) - len(values)
            assert (stats.lower.get(field.id), stats.upper.get(field.id)) == (
                (min(values), max(values)) if values else (None, None)
            )


def test_features():
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    assert fit_type(IntType(8)).becomes == IntType(8)
    assert fit_type(VariantType()).becomes is None
    assert fit_type(ListType(Field(0, "element", VariantType()))).becomes is None
    assert fit_type(StructType(())).becomes is None
    assert fit_type(DecimalType(60, 2)).becomes == DecimalType(60, 2)
