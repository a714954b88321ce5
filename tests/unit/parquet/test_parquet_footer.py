from __future__ import annotations

import base64
import datetime as dt
import io
import math
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from parquedb.errors import FormatError, NotFoundError, UnsupportedError
from parquedb.model.schema import ids_by_path
from parquedb.model.types import FixedType, UuidType
from parquedb.parquet.footer import read_footer, read_footers
from parquedb.parquet.probe import probe_file, probe_files
from parquedb.storage.counting import count
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore


def put(store, key, table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    store.replace(key, buffer.getvalue())
    return len(buffer.getvalue())


def footer_of(table, **options):
    store = MemoryStore()
    put(store, "x.parquet", table, **options)
    return read_footer(store, "x.parquet")


def bounds(table, column, **options):
    footer = footer_of(table, **options)
    number = ids_by_path(footer.schema)[column if isinstance(column, tuple) else (column,)]
    stats = footer.stats
    return stats.lower.get(number), stats.upper.get(number), stats.nulls.get(number)


NAN = math.nan


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([3, None, -7], pa.int8()), (-7, 3, 1)),
        (pa.array([1, 2**63 + 5], pa.uint64()), (1, 2**63 + 5, 0)),
        (pa.array([1, 2**31 + 5], pa.uint32()), (1, 2**31 + 5, 0)),
        (pa.array([1.5, NAN, -2.0]), (-2.0, 1.5, 0)),
        (pa.array([NAN, NAN]), (None, None, 0)),
        (pa.array([1.5, None], pa.float16()), (1.5, 1.5, 1)),
        (pa.array(["b", "é", None]), ("b", "é", 1)),
        (pa.array([b"\xff\x00", b"a"]), (b"a", b"\xff\x00", 0)),
        (pa.array([True, False, None]), (False, True, 1)),
        (pa.array([dt.date(1969, 12, 31), dt.date(1970, 1, 2)]), (-1, 1, 0)),
        (pa.array([-5, 7], pa.timestamp("us", "UTC")), (-5, 7, 0)),
        (pa.array([-5, 7], pa.timestamp("ms")), (-5, 7, 0)),
        (pa.array([-5, 7], pa.timestamp("ns")), (-5, 7, 0)),
        (pa.array([-5, 7], pa.timestamp("s")), (-5000, 7000, 0)),
        (pa.array([5, 7], pa.time64("us")), (5, 7, 0)),
        (pa.array([Decimal("-1.25"), Decimal("3.00")], pa.decimal128(9, 2)), (-125, 300, 0)),
        (pa.array([Decimal("-1.25"), Decimal("3.00")], pa.decimal128(30, 2)), (-125, 300, 0)),
        (pa.array([None, None], pa.int64()), (None, None, 2)),
        (pa.nulls(3), (None, None, 3)),
        (pa.array(["a", "b"]).dictionary_encode(), ("a", "b", 0)),
    ],
)
def test_bounds_are_physical_values(array, expected):
    assert bounds(pa.table({"x": array}), "x") == expected


@pytest.mark.parametrize("digits", [5, 15, 30])
def test_decimals_stored_as_integers(digits):
    array = pa.array([Decimal("-1.25"), Decimal("3.00")], pa.decimal128(digits, 2))
    assert bounds(pa.table({"x": array}), "x", store_decimal_as_integer=True) == (-125, 300, 0)


def test_zeros_cover_each_other():
    for values in ([0.0, 0.0], [-0.0, -0.0]):
        low, high, _ = bounds(pa.table({"x": values}), "x")
        assert math.copysign(1, low) == -1
        assert math.copysign(1, high) == 1


def test_row_groups_are_combined():
    table = pa.table({"x": [5, 6, None, None, 1, None], "y": [1, 2, 3, 4, 5, 6]})
    assert bounds(table, "x", row_group_size=2) == (1, 6, 3)
    footer = footer_of(table, row_group_size=2)
    assert (footer.row_groups, footer.rows) == (3, 6)
    assert footer.stats.nulls == {1: 3, 2: 0}
    assert footer.stats.sizes.keys() == {1, 2}


def test_a_row_group_without_bounds_takes_them_all_away():
    table = pa.table({"x": [1.0, 2.0, NAN, NAN]})
    assert bounds(table, "x", row_group_size=2) == (None, None, 0)
    assert bounds(pa.table({"x": [1]}), "x", write_statistics=False) == (None, None, None)


def test_no_rows():
    footer = footer_of(pa.table({"x": pa.array([], pa.int64())}))
    assert footer.rows == 0
    assert dict(footer.stats.lower) == {}


def test_nested_columns():
    table = pa.table(
        {
            "s": [{"a": 1, "b": [9]}, None, {"a": None, "b": []}],
            "l": [[1], None, [2, 3]],
            "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "z": ["p", "q", "r"],
        }
    )
    footer = footer_of(table)
    ids = ids_by_path(footer.schema)
    stats = footer.stats
    assert stats.lower == {ids["s", "a"]: 1, ids["z",]: "p"}
    assert stats.upper == {ids["s", "a"]: 1, ids["z",]: "r"}
    assert stats.nulls == {ids["s", "a"]: 2, ids["z",]: 0}
    leaves = [("s", "a"), ("s", "b", "element"), ("l", "element"), ("m", "key"), ("m", "value")]
    assert stats.sizes.keys() == {ids[path] for path in leaves} | {ids["z",]}


def test_bounds_of_other_writers_hold(tmp_path):
    """Rust's parquet (polars) and DuckDB may cut strings; what we read must bound every value."""
    values = ["a" * 300 + "x", "\U0010ffff" * 80, "é" * 100, None]
    frame = pl.DataFrame({"x": values, "n": [1.5, -0.0, None, 3.0]})
    frame.write_parquet(tmp_path / "polars.parquet")
    duckdb.from_arrow(frame.to_arrow()).write_parquet(str(tmp_path / "duck.parquet"))
    for name in ("polars.parquet", "duck.parquet"):
        footer = read_footer(LocalStore(tmp_path), name)
        stats = footer.stats
        for number, column in ((1, values), (2, [1.5, -0.0, 3.0])):
            known = [value for value in column if value is not None]
            assert stats.lower.get(number, min(known)) <= min(known)
            assert stats.upper.get(number, max(known)) >= max(known)
        assert stats.nulls == {1: 1, 2: 1}
        assert not footer.has_field_ids


def test_uuid_without_arrows_schema():
    table = pa.table(
        {"u": pa.array([bytes(16)], pa.uuid()), "f": pa.array([bytes(16)], pa.binary(16))}
    )
    for store_schema in (True, False):
        footer = footer_of(table, store_schema=store_schema)
        assert [f.type for f in footer.schema.fields] == [UuidType(), FixedType(16)]


def test_partial_ids_are_reported():
    schema = pa.schema(
        [pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "7"}), pa.field("b", pa.int64())]
    )
    footer = footer_of(pa.table({"a": [1], "b": [2]}, schema=schema))
    assert not footer.has_field_ids
    assert footer.carried_ids == {("a",): 7}
    assert footer_of(pa.table({"a": [1]})).carried_ids == {}


def test_key_values_and_creator():
    table = pa.table({"a": [1]}).replace_schema_metadata({"k": "v"})
    footer = footer_of(table)
    assert footer.key_values == {"k": "v"}
    assert "parquet-cpp" in footer.created_by


def test_a_footer_longer_than_the_first_read():
    table = pa.table({f"column_{i}": [i] for i in range(2000)})
    store = MemoryStore()
    size = put(store, "x.parquet", table)
    footer = read_footer(store, "x.parquet")
    assert footer.size_bytes == size
    assert len(footer.schema.fields) == 2000


class Kms(pe.KmsClient):
    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key, _):
        return base64.b64encode(key)

    def unwrap_key(self, key, _):
        return base64.b64decode(key)


def encrypt(*, plaintext_footer):
    factory = pe.CryptoFactory(Kms)
    how = factory.file_encryption_properties(
        pe.KmsConnectionConfig(),
        pe.EncryptionConfiguration(
            footer_key="f", column_keys={"c": ["a"]}, plaintext_footer=plaintext_footer
        ),
    )
    buffer = io.BytesIO()
    table = pa.table({"a": [1]})
    with pq.ParquetWriter(buffer, table.schema, encryption_properties=how) as writer:
        writer.write_table(table)
    return buffer.getvalue()


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_encrypted_files_are_refused(plaintext_footer):
    store = MemoryStore()
    store.replace("x.parquet", encrypt(plaintext_footer=plaintext_footer))
    with pytest.raises(UnsupportedError, match=r"'x\.parquet' is an encrypted Parquet file"):
        read_footer(store, "x.parquet")
    if not plaintext_footer:
        with pytest.raises(UnsupportedError, match="encrypted"):
            probe_file(store, "x.parquet", None)


def damaged():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(100))}), buffer)
    whole = buffer.getvalue()
    length = int.from_bytes(whole[-8:-4], "little")
    middle = len(whole) - 8 - length // 2
    return {
        "empty": (b"", "empty"),
        "text": (b"id,name\n1,a\n2,b\n", "PAR1"),
        "magic only": (b"PAR1", "PAR1"),
        "cut short": (whole[:-20], "PAR1"),
        "no head": (b"PAR1" + whole[-100:], "footer claims"),
        "footer scrambled": (whole[:middle] + b"\xff" * 40 + whole[middle + 40 :], "damaged"),
        "length zero": (whole[:-8] + bytes(4) + b"PAR1", "footer claims 0"),
    }


@pytest.mark.parametrize("kind", damaged())
def test_damaged_files_are_named(kind):
    data, reason = damaged()[kind]
    store = MemoryStore()
    store.replace("bad.parquet", data)
    pattern = rf"'bad\.parquet' is not a readable Parquet file: .*{reason}.*; restore"
    with pytest.raises(FormatError, match=pattern) as caught:
        read_footer(store, "bad.parquet")
    assert caught.value.location == "bad.parquet"


def test_all_damaged_files_are_listed():
    store = MemoryStore()
    keys = []
    for number in range(10):
        keys.append(f"{number}.parquet")
        if number % 3:
            put(store, keys[-1], pa.table({"a": [number]}))
        else:
            store.replace(keys[-1], b"nonsense")
    with pytest.raises(FormatError, match="4 of 10 files") as caught:
        read_footers(store, keys)
    assert len(caught.value.problems) == 4
    good = [key for key in keys if int(key[0]) % 3]
    assert [f.key for f in read_footers(store, good)] == good
    with pytest.raises(NotFoundError):
        read_footer(store, "none.parquet")


@pytest.mark.parametrize("local", [True, False])
def test_probe(tmp_path, local):
    store = LocalStore(tmp_path) if local else MemoryStore()
    size = put(store, "a.parquet", pa.table({"a": [1]}))
    store.replace("b.parquet", b"hello")
    probe_file(store, "a.parquet", size)
    probe_file(store, "a.parquet", None)
    with pytest.raises(FormatError, match=r"'b\.parquet' is not a readable Parquet file"):
        probe_file(store, "b.parquet", 5)
    with pytest.raises(FormatError, match=rf"has {size} bytes where .* says {size + 1}"):
        probe_file(store, "a.parquet", size + 1)
    with pytest.raises(FormatError, match=r"'c\.parquet' does not exist"):
        probe_file(store, "c.parquet", None)
    files = [("a.parquet", size)] * 200
    probe_files(store, files)
    with pytest.raises(FormatError, match="100 of 300 data files") as caught:
        probe_files(store, files + [("c.parquet", 1)] * 100)
    assert len(caught.value.problems) == 100
    assert len(str(caught.value).splitlines()) == 22


def test_footers_are_read_and_no_page():
    """Each footer is one read of a file's end, a probe not even that: bytes, not seconds."""
    store = count(MemoryStore())
    size = put(store, "0.parquet", pa.table({f"c{i}": list(range(30_000)) for i in range(10)}))
    assert size > 500_000
    store.copy_many([("0.parquet", f"{i}.parquet") for i in range(1, 50)])
    keys = [f"{i}.parquet" for i in range(50)]
    before = store.counts.total_read_bytes()
    assert len(read_footers(store, keys)) == 50
    assert store.counts.total_read_bytes() - before <= 50 * 65_536
    before = store.counts.total_read_bytes()
    probe_files(store, [(key, size) for key in keys])
    assert store.counts.total_read_bytes() - before <= 50 * 64
