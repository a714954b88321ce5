from __future__ import annotations

import datetime as dt
import io
from dataclasses import replace
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import FormatError, InvalidInputError, NotFoundError
from parquedb.model.files import DataFile, VectorFile
from parquedb.model.partition import UNPARTITIONED, PartitionField, PartitionSpec, YearTransform
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field
from parquedb.parquet.arrow import arrow_schema_of, schema_of_arrow
from parquedb.parquet.footer import read_footer
from parquedb.parquet.scan import read_batches
from parquedb.parquet.write import write_parquet
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

NEW_YEAR = dt.datetime(1970, 1, 2)
ANCIENT = dt.datetime(1500, 1, 1, 12)
LAST = dt.datetime(9999, 12, 31)


def stored(table, **options):
    store = MemoryStore()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    store.replace("x.parquet", buffer.getvalue())
    return store, DataFile("x.parquet", len(buffer.getvalue()), table.num_rows)


def scan(table, schema, file=None, spec=UNPARTITIONED, columns=None, **options):
    store, plain = stored(table, **options)
    batches = list(read_batches(store, file or plain, schema, spec, columns=columns))
    for batch in batches:
        batch.validate(full=True)
    wanted = arrow_schema_of(schema) if columns is None else None
    for batch in batches:
        if wanted is not None:
            assert batch.schema.equals(wanted, check_metadata=True)
    return pa.Table.from_batches(batches, wanted)


def model(**types):
    return schema_of_arrow(pa.schema(list(types.items())))


@pytest.mark.parametrize(
    ("array", "wanted", "expected"),
    [
        (pa.array([1, None], pa.int32()), pa.int64(), [1, None]),
        (pa.array([1, None], pa.int64()), pa.int32(), [1, None]),
        (pa.array([1, None], pa.uint8()), pa.int32(), [1, None]),
        (pa.array([1, None], pa.int32()), pa.float64(), [1.0, None]),
        (pa.array([1, None], pa.int64()), pa.decimal128(12, 2), [Decimal("1.00"), None]),
        (pa.array([1.5, None], pa.float32()), pa.float64(), [1.5, None]),
        (pa.array([1.5, None], pa.float16()), pa.float32(), [1.5, None]),
        (
            pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            pa.decimal128(20, 1),
            [Decimal("1.5")],
        ),
        (
            pa.array([Decimal("1.5")], pa.decimal32(5, 1)),
            pa.decimal128(20, 3),
            [Decimal("1.500")],
        ),
        (pa.array(["a", None], pa.large_string()), pa.string(), ["a", None]),
        (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
        (pa.array([b"a", None], pa.binary()), pa.string(), ["a", None]),
        (pa.array(["a", None]), pa.binary(), [b"a", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), pa.string(), ["a", None, "a"]),
        (pa.array([1500, None], pa.timestamp("ms")), pa.timestamp("us"), None),
        (pa.array([2000, None], pa.timestamp("ns")), pa.timestamp("us", "UTC"), None),
        (pa.array([1, None], pa.date32()), pa.timestamp("us"), [NEW_YEAR, None]),
        (pa.array([b"x" * 16, None], pa.binary(16)), pa.uuid(), None),
        (pa.array([b"x" * 16, None], pa.uuid()), pa.uuid(), None),
        (pa.array([b"x" * 16, None], pa.uuid()), pa.binary(), [b"x" * 16, None]),
        (pa.nulls(2), pa.string(), [None, None]),
        (pa.array([[1], None], pa.large_list(pa.int32())), pa.list_(pa.int64()), [[1], None]),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)), pa.list_(pa.int8()), None),
        (pa.array([[1, 2], None], pa.list_view(pa.int8())), pa.list_(pa.int8()), None),
    ],
)
def test_columns_are_adapted(array, wanted, expected):
    found = scan(pa.table({"x": array}), model(x=wanted)).column("x")
    if expected is None:
        expected = array.cast(wanted).to_pylist() if not pa.types.is_null(array.type) else []
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (pa.array([1]), pa.string()),
        (pa.array(["1"]), pa.int64()),
        (pa.array([2**40]), pa.int32()),
        (pa.array([1.5]), pa.int64()),
        (pa.array([True]), pa.int64()),
        (pa.array([[1]]), pa.int64()),
        (pa.array([1]), pa.list_(pa.int64())),
        (pa.array([b"\xff"]), pa.string()),
        (pa.array([{"a": 1}]), pa.list_(pa.int64())),
        (pa.array([Decimal("99.99")], pa.decimal128(4, 2)), pa.decimal128(3, 2)),
    ],
)
def test_what_does_not_fit_is_an_error(array, wanted):
    with pytest.raises(FormatError, match=r"'x\.parquet': column 'x' .*rewrite the file or widen"):
        scan(pa.table({"x": array}), model(x=wanted))


def test_nested_structs_are_adapted():
    table = pa.table(
        {
            "s": pa.array(
                [{"a": 1, "gone": 1, "in": {"p": "x"}}, None, {"a": None, "gone": 2, "in": None}],
                pa.struct(
                    [
                        ("a", pa.int32()),
                        ("gone", pa.int8()),
                        ("in", pa.struct([("p", pa.large_string())])),
                    ]
                ),
            ),
            "l": pa.array(
                [[{"x": 1}, None], None, []], pa.large_list(pa.struct([("x", pa.int16())]))
            ),
            "m": pa.array(
                [[("k", {"x": 1})], None, []],
                pa.map_(pa.string(), pa.struct([("x", pa.int16())])),
            ),
        }
    )
    item = pa.struct([("new", pa.string()), ("x", pa.int64())])
    schema = model(
        m=pa.map_(pa.string(), item),
        l=pa.list_(item),
        s=pa.struct(
            [
                ("in", pa.struct([("q", pa.int64()), ("p", pa.string())])),
                ("a", pa.int64()),
                ("new", pa.list_(pa.int8())),
            ]
        ),
        extra=pa.list_(pa.int8()),
    )
    assert scan(table, schema).to_pylist() == [
        {
            "m": [("k", {"new": None, "x": 1})],
            "l": [{"new": None, "x": 1}, None],
            "s": {"in": {"q": None, "p": "x"}, "a": 1, "new": None},
            "extra": None,
        },
        {"m": None, "l": None, "s": None, "extra": None},
        {"m": [], "l": [], "s": {"in": None, "a": None, "new": None}, "extra": None},
    ]


def test_lists_across_batches():
    """Batches may be slices of larger arrays: offsets must be right in each."""
    rows = [None if i % 7 == 0 else list(range(i % 5)) for i in range(1000)]
    maps = [None if i % 5 == 0 else [(str(j), j) for j in range(i % 3)] for i in range(1000)]
    table = pa.table(
        {
            "l": pa.array(rows, pa.list_(pa.int32())),
            "m": pa.array(maps, pa.map_(pa.string(), pa.int32())),
        }
    )
    schema = model(l=pa.list_(pa.int64()), m=pa.map_(pa.string(), pa.int64()))
    store, file = stored(table, row_group_size=300)
    batches = list(read_batches(store, file, schema, UNPARTITIONED, batch_rows=64))
    assert max(batch.num_rows for batch in batches) <= 64
    found = pa.Table.from_batches(batches)
    found.validate(full=True)
    assert found.to_pylist() == table.to_pylist()


def with_ids(table, ids):
    fields = [
        pa.field(f.name, f.type, metadata={"PARQUET:field_id": str(i)} if i else None)
        for f, i in zip(table.schema, ids, strict=True)
    ]
    return table.cast(pa.schema(fields))


def test_matching_by_id():
    table = with_ids(pa.table({"old": [1], "b": ["x"], "c": [True]}), [7, 5, 9])
    schema = replace(
        Schema(()),
        fields=(
            replace(model(n=pa.int64()).fields[0], id=7, name="new"),
            replace(model(b=pa.string()).fields[0], id=6, name="b"),
            replace(model(c=pa.string()).fields[0], id=5, name="c"),
        ),
        identity=Identity.BY_ID,
    )
    assert scan(table, schema).to_pylist() == [{"new": 1, "b": None, "c": "x"}]


def test_matching_by_name():
    """Where the file has no ids, and where the table does not go by them."""
    schema = model(b=pa.string(), a=pa.int64())
    table = pa.table({"a": [1], "b": ["x"]})
    expected = [{"b": "x", "a": 1}]
    assert scan(table, replace(schema, identity=Identity.BY_ID)).to_pylist() == expected
    assert scan(with_ids(table, [7, 8]), schema).to_pylist() == expected


def test_names_with_dots():
    table = pa.table({"a": [{"b": 1, "c": 2}], "a.b": ["dotted"]})
    schema = schema_of_arrow(table.schema)
    assert scan(table, schema).to_pylist() == table.to_pylist()
    assert scan(table, schema, columns=["a.b"]).to_pylist() == [{"a.b": "dotted"}]
    assert scan(table, schema, columns=["a"]).to_pylist() == [{"a": {"b": 1, "c": 2}}]


def test_partition_constants():
    table = pa.table({"x": [1, 2]})
    schema = model(
        x=pa.int64(), day=pa.date32(), price=pa.decimal128(5, 2), inside=pa.int64(), year=pa.int32()
    )
    ids = {field.name: field.id for field in schema.fields}
    spec = PartitionSpec(
        3,
        (
            PartitionField(ids["day"], "day"),
            PartitionField(ids["price"], "price"),
            PartitionField(ids["x"], "x"),
            PartitionField(ids["inside"], "inside"),
            PartitionField(ids["year"], "year", YearTransform()),
        ),
    )
    file = DataFile("x.parquet", 1, 2, partition=(1, 150, 99, None, 54), spec_id=3)
    found = scan(table, schema, file, spec).to_pylist()
    assert found == [
        {
            "x": x,
            "day": dt.date(1970, 1, 2),
            "price": Decimal("1.50"),
            "inside": None,
            "year": None,
        }
        for x in (1, 2)
    ]
    assert scan(table, schema, file, spec, columns=["day"]).num_rows == 2
    with pytest.raises(FormatError, match="5 columns"):
        scan(table, schema, replace(file, partition=(1,)), spec)


def test_required_columns_must_be_there():
    schema = Schema((Field(1, "x", model(x=pa.int64()).fields[0].type, required=True),))
    with pytest.raises(FormatError, match="lacks the required column 'x'"):
        scan(pa.table({"y": [1]}), schema)


def test_refusals():
    table, schema = pa.table({"x": [1]}), model(x=pa.int64())
    deleted = DataFile("x.parquet", 1, 1, deletes=(VectorFile("d.bin", 1, 50, 1),))
    with pytest.raises(FormatError, match=r"'d\.bin', which holds the deleted rows"):
        scan(table, schema, deleted)
    with pytest.raises(NotFoundError):
        scan(table, schema, DataFile("none.parquet", 1, 1))
    with pytest.raises(InvalidInputError, match="no column 'nope'; the table has 'x'"):
        scan(table, schema, columns=["nope"])


def test_local_errors_name_the_file(tmp_path):
    store = LocalStore(tmp_path)
    schema = model(x=pa.int64())
    store.replace("bad.parquet", b"PAR1 nonsense PAR1")
    for key, error in (("bad.parquet", FormatError), ("none.parquet", NotFoundError)):
        with pytest.raises(error, match=key):
            list(read_batches(store, DataFile(key, 1, 1), schema, UNPARTITIONED))


def test_a_damaged_page_is_an_error():
    table = pa.table({"x": np.arange(50_000) * 977 % 10_007})
    store, file = stored(table, compression="zstd", use_dictionary=False)
    data = bytearray(store.get("x.parquet"))
    data[5000:9000] = bytes(4000)
    store.replace("x.parquet", bytes(data))
    with pytest.raises(FormatError, match=r"'x\.parquet' is not a readable Parquet file"):
        list(read_batches(store, file, model(x=pa.int64()), UNPARTITIONED))


def test_what_is_finer_than_the_unit_is_cut_off():
    table = pa.table({"t": pa.array([1999, None], pa.timestamp("ns"))})
    found = scan(table, model(t=pa.timestamp("us"))).column("t")
    assert found.cast(pa.int64()).to_pylist() == [1, None]


def test_int96_reads_before_1677():
    moments = [ANCIENT, None, LAST]
    table = pa.table({"t": pa.array(moments, pa.timestamp("us"))})
    found = scan(
        table, model(t=pa.timestamp("us", "UTC")), use_deprecated_int96_timestamps=True
    ).column("t")
    assert found.cast(pa.timestamp("us")).to_pylist() == moments


def test_what_is_written_is_read_by_others(tmp_path):
    store = LocalStore(tmp_path)
    table = pa.table(
        {
            "id": range(300_000),
            "s": [f"row {i}" for i in range(300_000)],
            "t": pa.array(range(300_000), pa.timestamp("us", "UTC")),
            "l": [[i] if i % 2 else None for i in range(300_000)],
        }
    )
    schema = replace(schema_of_arrow(table.schema), identity=Identity.BY_ID)
    file = write_parquet(store, "x.parquet", table.to_batches(40_000), schema, metadata={"k": "v"})
    footer = read_footer(store, "x.parquet")
    assert (file.rows, file.size_bytes) == (300_000, (tmp_path / "x.parquet").stat().st_size)
    assert file.stats == footer.stats
    assert footer.row_groups == 3
    assert footer.has_field_ids
    assert footer.key_values == {"k": "v"}
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == table.to_pylist()
    frame = pl.read_parquet(tmp_path / "x.parquet")
    assert frame["id"].sum() == sum(range(300_000))
    assert frame.schema["t"] == pl.Datetime("us", "UTC")
    assert set(tmp_path.iterdir()) == {tmp_path / "x.parquet"}


def test_a_failed_write_leaves_nothing(tmp_path):
    store = LocalStore(tmp_path)
    schema = model(x=pa.int64())

    def batches():
        yield from pa.table({"x": range(200_000)}).to_batches(50_000)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="broke"):
        write_parquet(store, "x.parquet", batches(), schema)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FormatError, match=r"rows for 'x\.parquet' do not have"):
        write_parquet(store, "x.parquet", pa.table({"y": [1]}).to_batches(), schema)


def test_no_rows_is_a_file():
    store = MemoryStore()
    schema = model(x=pa.int64(), l=pa.list_(pa.int8()))
    file = write_parquet(store, "x.parquet", [], schema)
    assert file.rows == 0
    assert list(read_batches(store, file, schema, UNPARTITIONED)) == []
