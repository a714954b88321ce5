"""Rows read by their pages are those of the whole row group, whatever the columns and pages."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED
from parquedb.parquet.deletes import kept_rows
from parquedb.parquet.footer import read_footer
from parquedb.parquet.groups import GroupFile
from parquedb.parquet.page_index import parse_locations
from parquedb.parquet.thrift import ThriftError, encode_varint, zigzag
from parquedb.parquet.write import Arrangement, write_parquet
from parquedb.storage.local import LocalStore

TINY = 64
PRIMITIVES = st.sampled_from(
    [
        pa.bool_(),
        pa.int32(),
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.binary(),
        pa.binary(5),
        pa.decimal128(20, 2),
        pa.timestamp("us", "UTC"),
        pa.date32(),
        pa.null(),
    ]
)


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        inner.map(pa.list_),
        inner.map(lambda value: pa.map_(pa.string(), value)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda types: pa.struct([(f"f{n}", each) for n, each in enumerate(types)])
        ),
    )


TYPES = st.recursive(PRIMITIVES, nested, max_leaves=4)


def value(made: random.Random, type_: pa.DataType, kinds: int, nulls: float):
    if made.random() < nulls or pa.types.is_null(type_):
        return None
    if pa.types.is_list(type_):
        count = made.choice([0, 1, 2, 5])
        return [value(made, type_.value_type, kinds, nulls) for _ in range(count)]
    if pa.types.is_map(type_):
        return [
            (f"k{n}", value(made, type_.item_type, kinds, nulls))
            for n in range(made.choice([0, 1, 3]))
        ]
    if pa.types.is_struct(type_):
        return {each.name: value(made, each.type, kinds, nulls) for each in type_}
    number = made.randrange(kinds)
    if pa.types.is_boolean(type_):
        return number % 2 == 0
    if pa.types.is_string(type_):
        return f"text {number}" * (number % 3)
    if pa.types.is_fixed_size_binary(type_):
        return number.to_bytes(5, "big")
    if pa.types.is_binary(type_):
        return number.to_bytes(4, "big")
    if pa.types.is_decimal(type_):
        return Decimal(number) / 100
    if pa.types.is_timestamp(type_):
        return datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            seconds=number
        )
    if pa.types.is_date(type_):
        return datetime.date(2020, 1, 1) + datetime.timedelta(days=number % 9999)
    return number / 2 if pa.types.is_floating(type_) else number


def opened(store: LocalStore, key: str = "x.parquet") -> GroupFile:
    footer = read_footer(store, key)
    file = DataFile(key, footer.size_bytes, footer.rows)
    return GroupFile(store, file, footer.schema, UNPARTITIONED, key="$id")


def check(file: GroupFile, wanted: list[tuple[int, np.ndarray]]) -> None:
    found = file.read_rows(wanted)
    assert found is not None
    compare(file, wanted, found)


def compare(file: GroupFile, wanted: list[tuple[int, np.ndarray]], found: pa.RecordBatch) -> None:
    whole = [file.read(index).take(pa.array(rows)) for index, rows in wanted]
    expected = pa.Table.from_batches(whole)
    found.validate(full=True)
    assert found.schema.equals(expected.schema)
    assert pa.Table.from_batches([found]).to_pylist() == expected.to_pylist()


def rows_of(chosen: random.Random, count: int) -> np.ndarray:
    some = chosen.sample(range(count), chosen.choice([1, 1, 2, min(count, 9)]) if count > 1 else 1)
    return np.array(sorted(some), dtype=np.int64)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(TYPES, min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([1, 7, 60, 400]),
    st.fixed_dictionaries(
        {
            "compression": st.sampled_from(["none", "snappy", "zstd"]),
            "data_page_version": st.sampled_from(["1.0", "2.0"]),
            "use_dictionary": st.booleans(),
            "dictionary_pagesize_limit": st.sampled_from([32, 1 << 20]),
            "max_rows_per_page": st.sampled_from([1, 3, 20, 1000]),
            "write_batch_size": st.sampled_from([1, 16, 1024]),
            "data_page_size": st.sampled_from([TINY, 1 << 20]),
            "row_group_size": st.sampled_from([50, 150, 1000]),
            "write_page_checksum": st.booleans(),
        }
    ),
)
def test_rows_are_those_of_the_whole(tmp_path_factory, types, seed, rows, options):
    made = random.Random(seed)
    kinds, nulls = made.choice([2, 10**6]), made.choice([0.0, 0.2, 0.95])
    columns = {
        f"c{n}": pa.array([value(made, type_, kinds, nulls) for _ in range(rows)], type_)
        for n, type_ in enumerate(types)
    }
    store = LocalStore(tmp_path_factory.mktemp("pages"))
    path = store.local_path("x.parquet")
    pq.write_table(pa.table(columns), path, store_schema=False, write_page_index=True, **options)
    with opened(store) as file:
        indexes = range(len(file.groups))
        for _ in range(4):
            chosen = sorted(made.sample(indexes, made.randint(1, min(3, len(indexes)))))
            wanted = [(index, rows_of(made, file.groups[index].rows)) for index in chosen]
            found = file.read_rows(wanted)
            if found is None:  # lists in so tiny pages have some that pyarrow itself stumbles over
                assert options["data_page_size"] == TINY
            else:
                compare(file, wanted, found)


def table_of(rows: int) -> pa.Table:
    made = random.Random(rows)
    return pa.table(
        {
            "$id": [f"id-{n:06}" for n in range(rows)],
            "kind": [f"kind {n % 7}" for n in range(rows)],
            "score": [made.random() for _ in range(rows)],
            "tags": [[f"t{n % k}" for k in range(2, 2 + n % 4)] for n in range(rows)],
            "at": [{"x": n, "names": ["a"] * (n % 3)} for n in range(rows)],
            "gone": pa.nulls(rows, pa.string()),
        }
    )


def written(store: LocalStore, rows: int, group_rows: int) -> GroupFile:
    table = table_of(rows)
    path = store.local_path("source.parquet")
    pq.write_table(table, path)
    schema = read_footer(store, "source.parquet").schema
    arrangement = Arrangement(group_rows, sorted_by="$id")
    file = write_parquet(store, "x.parquet", table.to_batches(), schema, arrangement=arrangement)
    return GroupFile(store, file, schema, UNPARTITIONED, key="$id")


def test_our_files_are_read_by_pages(tmp_path):
    made = random.Random(1)
    with written(LocalStore(tmp_path), 20_000, 12_000) as file:
        for _ in range(5):
            check(file, [(index, rows_of(made, file.groups[index].rows)) for index in (0, 1)])
        assert file.page_share(0, np.array([5])) == 1 / 6
        assert file.page_share(0, np.array([5, 6, 9000])) == 2 / 6
        about = file.rows_about(0, "id-004100")
        assert about is not None
        assert about.tolist() == list(range(4096, 6144))
        for absent in ("id-004100x", "id-006143x"):
            assert file.rows_about(0, absent) is not None
        assert file.rows_about(0, "zz").tolist() == []


def test_deleted_rows_are_left_out(tmp_path):
    with written(LocalStore(tmp_path), 9_000, 9_000) as file:
        deleted = BitMap64([0, 3, 2047, 2048, 5000])
        file._kept[0] = kept_rows(deleted, 0, 9_000)
        whole = file.read(0)["$id"].to_pylist()
        for rows in ([0], [1, 2044, 2045, 2046], [8994], [4996, 4997]):
            found = file.read_rows([(0, np.array(rows))])
            assert found["$id"].to_pylist() == [whole[row] for row in rows]
        about = file.rows_about(0, "id-002050")
        assert [whole[row] for row in about][:2] == ["id-002049", "id-002050"]


def options_of(name: str):
    return {
        "no page index": {"store_schema": False},
        "an Arrow schema": {"write_page_index": True},
    }[name]


@pytest.mark.parametrize("reason", ["no page index", "an Arrow schema"])
def test_other_files_are_read_whole(tmp_path, reason):
    store = LocalStore(tmp_path)
    pq.write_table(table_of(100), store.local_path("x.parquet"), **options_of(reason))
    with opened(store) as file:
        assert file.read_rows([(0, np.array([3]))]) is None
        assert file.page_share(0, np.array([3])) == 1
        assert file.rows_about(0, "id-000003") is None


def test_another_writers_files_are_read_whole(tmp_path):
    store = LocalStore(tmp_path)
    path = store.local_path("x.parquet")
    duckdb.sql(f"COPY (SELECT 'a' AS \"$id\", 1 AS n) TO '{path}' (FORMAT parquet)")
    with opened(store) as file:
        assert file.read_rows([(0, np.array([0]))]) is None


def paged(store: LocalStore, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table_of(100),
        sink,
        store_schema=False,
        write_page_index=True,
        max_rows_per_page=10,
        write_page_checksum=True,
        compression="none",
        **options,
    )
    return sink.getvalue().to_pybytes()


def test_a_page_index_that_lies_is_not_followed(tmp_path):
    store = LocalStore(tmp_path)
    data = paged(store)
    location = b"\x16" + encode_varint(zigzag(10)) + b"\x00"  # "the page begins at row 10"
    assert data.count(location) >= 6
    with open(store.local_path("x.parquet"), "wb") as file:
        file.write(data.replace(location, b"\x16" + encode_varint(zigzag(11)) + b"\x00"))
    with opened(store) as file:
        assert file.read_rows([(0, np.array([5]))]) is None
        assert file.read_rows([(0, np.array([95]))]) is not None
        assert file.read(0).num_rows == 100


def test_damage_is_told_by_whoever_reads_all(tmp_path):
    store = LocalStore(tmp_path)
    data = bytearray(paged(store, use_dictionary=False))
    at = data.index(b"id-000055")
    data[at] ^= 1
    with open(store.local_path("x.parquet"), "wb") as file:
        file.write(data)
    with opened(store) as file:
        assert file.read_rows([(0, np.array([55]))]) is None
        check_rows = file.read_rows([(0, np.array([45]))])
        assert check_rows is not None
        assert check_rows["$id"].to_pylist() == ["id-000045"]


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 40))
def test_garbage_is_no_offset_index(data, cut):
    sound = bytes.fromhex("192c1608151c1600001636151c16140000")
    for damaged in (data, sound[:cut] + data, b"\x19\x2c" + data):
        try:
            ((offsets, sizes, firsts),) = parse_locations([damaged])
        except ThriftError:
            continue
        assert len(offsets) == len(sizes) == len(firsts) > 0


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


LOCATIONS = st.lists(
    st.tuples(st.integers(0, 2**50), st.integers(0, 2**31 - 1), st.integers(0, 2**40)),
    min_size=1,
    max_size=14,
)


@given(st.lists(st.tuples(LOCATIONS, st.sampled_from(["00", "1926820104ff7f00"])), max_size=4))
def test_offset_indexes_are_parsed_together_as_alone(given_):
    indexes = []
    for pages, end in given_:
        data = bytes([0x19, len(pages) << 4 | 0xC])
        for offset, size, first in pages:
            data += b"\x16" + varint(2 * offset) + b"\x15" + varint(2 * size)
            data += b"\x16" + varint(2 * first) + b"\x00"
        indexes.append(data + bytes.fromhex(end))
    found = parse_locations(indexes) if indexes else []
    alone = [parse_locations([data])[0] for data in indexes]
    wanted = [pages for pages, _ in given_]
    for parsed in (found, alone):
        columns = [[each.tolist() for each in arrays] for arrays in parsed]
        assert [list(zip(*each, strict=True)) for each in columns] == wanted
    if indexes:
        with pytest.raises(ThriftError):
            parse_locations([*indexes, indexes[-1][:-9]])


def test_a_bound_that_is_no_text_bounds_nothing(tmp_path):
    store = LocalStore(tmp_path)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"$id": ["é1", "é2"]}), sink, compression="none", store_schema=False)
    data = sink.getvalue().to_pybytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    with open(store.local_path("x.parquet"), "wb") as file:
        file.write(data[:footer] + data[footer:].replace("é".encode(), b"\xc3("))
    with opened(store) as file:
        (group,) = file.groups
        assert (group.lowest, group.highest) == (None, None)
        assert file.read(0)["$id"].to_pylist() == ["é1", "é2"]
