from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import UnsupportedError
from parquedb.model.schema import Identity, Schema, assign_ids, same_shape, walk
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    TimeType,
    UuidType,
    VariantType,
)
from parquedb.parquet.arrow import arrow_schema_of, constant, schema_of_arrow
from parquedb.parquet.footer import read_footer
from parquedb.parquet.write import write_parquet
from parquedb.storage.memory import MemoryStore

UNITS = ("s", "ms", "us", "ns")
PRIMITIVES = st.one_of(
    st.sampled_from(
        [
            BooleanType(),
            DateType(),
            StringType(),
            BinaryType(),
            UuidType(),
            FixedType(3),
            FixedType(16),
            DecimalType(10, 2),
            DecimalType(38, 0),
            DecimalType(60, 4),
        ]
    ),
    st.builds(IntType, st.sampled_from([8, 16, 32, 64]), signed=st.booleans()),
    st.builds(FloatType, st.sampled_from([16, 32, 64])),
    st.builds(TimeType, st.sampled_from(UNITS)),
    st.builds(TimestampType, st.sampled_from(UNITS), utc=st.booleans()),
)
NAMES = st.sampled_from(["a", "b", "c.d", "é", "element", "key", "with space"])


def fields_of(types: st.SearchStrategy) -> st.SearchStrategy:
    field = st.builds(
        Field, st.just(0), NAMES, types, required=st.booleans(), doc=st.sampled_from([None, "why"])
    )
    return st.lists(field, min_size=1, max_size=4, unique_by=lambda f: f.name).map(tuple)


def nested_of(types: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        fields_of(types).map(StructType),
        st.builds(
            lambda t, required: ListType(Field(0, "element", t, required)), types, st.booleans()
        ),
        st.builds(
            lambda t, required: MapType(
                Field(0, "key", StringType(), required=True), Field(0, "value", t, required)
            ),
            types,
            st.booleans(),
        ),
    )


SCHEMAS = fields_of(st.recursive(PRIMITIVES, nested_of, max_leaves=5)).map(
    lambda fields: assign_ids(Schema(fields, Identity.BY_ID), {}, 10)[0]
)


@given(SCHEMAS)
def test_schemas_survive_arrow(schema):
    assert schema_of_arrow(arrow_schema_of(schema)) == schema
    without = schema_of_arrow(arrow_schema_of(schema, with_ids=False))
    assert without.identity is Identity.BY_NAME
    assert same_shape(without, replace(schema, identity=Identity.BY_NAME))


@settings(max_examples=60, deadline=None)
@given(SCHEMAS)
def test_schemas_survive_parquet(schema):
    """Except for what Parquet has no form for: seconds are stored as milliseconds."""
    store = MemoryStore()
    write_parquet(store, "x.parquet", [], schema)
    footer = read_footer(store, "x.parquet")
    assert footer.has_field_ids
    assert footer.schema.identity is Identity.BY_ID

    def stored(type_):
        if isinstance(type_, TimestampType | TimeType) and type_.unit == "s":
            return replace(type_, unit="ms")
        return type_ if not isinstance(type_, StructType | ListType | MapType) else type(type_)

    before = [(path, f.id, stored(f.type), f.required) for path, f in walk(schema.fields)]
    after = [(path, f.id, stored(f.type), f.required) for path, f in walk(footer.schema.fields)]
    assert after == before


def test_one_missing_or_doubled_id_and_names_decide():
    def arrow(*ids):
        return pa.schema(
            [
                pa.field(n, pa.int64(), metadata={"PARQUET:field_id": i} if i else None)
                for n, i in zip("abc", ids, strict=True)
            ]
        )

    assert schema_of_arrow(arrow("7", "5", "9")).identity is Identity.BY_ID
    assert [f.id for f in schema_of_arrow(arrow("7", "5", "9")).fields] == [7, 5, 9]
    for ids in (("7", None, "9"), ("7", "7", "9"), ("7", "x", "9"), ("7", "-1", "9")):
        schema = schema_of_arrow(arrow(*ids))
        assert schema.identity is Identity.BY_NAME
        assert [f.id for f in schema.fields] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.dictionary(pa.int8(), pa.string()), StringType()),
        (pa.dictionary(pa.int8(), pa.int64()), IntType(64)),
        (pa.run_end_encoded(pa.int32(), pa.float32()), FloatType(32)),
        (pa.large_string(), StringType()),
        (pa.string_view(), StringType()),
        (pa.large_binary(), BinaryType()),
        (pa.date64(), DateType()),
        (pa.decimal32(5, 2), DecimalType(5, 2)),
        (pa.decimal64(15, 2), DecimalType(15, 2)),
        (pa.decimal256(50, 2), DecimalType(50, 2)),
        (pa.large_list(pa.int8()), ListType(Field(2, "element", IntType(8)))),
        (pa.list_(pa.int8(), 3), ListType(Field(2, "element", IntType(8)))),
        (pa.list_view(pa.int8()), ListType(Field(2, "element", IntType(8)))),
        (pa.timestamp("ms", "Europe/Zurich"), TimestampType("ms", utc=True)),
        (pa.json_(pa.string()), StringType()),
    ],
)
def test_encodings_are_no_part_of_a_type(arrow, expected):
    assert schema_of_arrow(pa.schema([("x", arrow)])).fields[0].type == expected


@pytest.mark.parametrize(
    "arrow",
    [pa.duration("us"), pa.month_day_nano_interval(), pa.dense_union([pa.field("a", pa.int8())])],
)
def test_unsupported_types_name_the_column(arrow):
    schema = pa.schema([("outer", pa.struct([("inner", arrow)]))])
    with pytest.raises(UnsupportedError, match=r"'outer\.inner'.*convert or drop"):
        schema_of_arrow(schema)


def test_null_columns():
    schema = Schema((Field(1, "n", NullType(), required=True),), Identity.BY_ID)
    assert schema_of_arrow(arrow_schema_of(schema)).fields == (Field(1, "n", NullType()),)


def test_a_variant_is_two_parts_without_field_ids():
    arrow = arrow_schema_of(Schema((Field(1, "v", VariantType()),)))
    parts = [pa.field(name, pa.binary(), nullable=False) for name in ("metadata", "value")]
    assert arrow.field("v").type.equals(pa.struct(parts), check_metadata=True)
    assert arrow.field("v").metadata == {b"PARQUET:field_id": b"1"}
    assert isinstance(schema_of_arrow(arrow).fields[0].type, StructType)  # only a table knows


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (-1, DateType(), "1969-12-31"),
        (1_500_000, TimestampType("us", utc=True), "1970-01-01 00:00:01.500000+00:00"),
        (-12345, DecimalType(10, 2), "-123.45"),
        (10**37 + 1, DecimalType(38, 2), str(Decimal("100000000000000000000000000000000000.01"))),
        ("x", StringType(), "x"),
        (bytes(16), UuidType(), "00000000-0000-0000-0000-000000000000"),
        (None, IntType(32), "None"),
    ],
)
def test_physical_values_become_columns(value, type_, expected):
    column = constant(value, type_, 3)
    assert len(column) == 3
    assert {str(v) for v in column.to_pylist()} == {expected}
    assert column.type == arrow_schema_of(Schema((Field(1, "x", type_),))).field(0).type


def test_int96_is_a_timestamp_in_utc(tmp_path):
    table = pa.table({"t": pa.array([1_500_000_001], pa.timestamp("ns")), "id": [1]})
    pq.write_table(table, tmp_path / "x.parquet", use_deprecated_int96_timestamps=True)
    store = MemoryStore()
    store.replace("x.parquet", (tmp_path / "x.parquet").read_bytes())
    footer = read_footer(store, "x.parquet")
    assert footer.uses_int96
    assert footer.schema.fields[0].type == TimestampType("us", utc=True)
    assert 1 not in footer.stats.lower
