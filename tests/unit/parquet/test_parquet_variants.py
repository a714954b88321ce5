"""Variants in Parquet files: what their footers say, and rows written and read again."""

import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED
from parquedb.model.schema import Identity, Schema, walk
from parquedb.model.types import (
    Field,
    IntType,
    ListType,
    MapType,
    StringType,
    StructType,
    VariantType,
)
from parquedb.parquet.adapt import Adapter
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.elements import has_variants, read_elements, variant_spans, without_variants
from parquedb.parquet.footer import read_footer, stats_for, with_variants
from parquedb.parquet.labels import with_ids_of, with_names_of
from parquedb.parquet.scan import read_batches
from parquedb.parquet.write import write_parquet
from parquedb.storage.local import LocalStore
from tests.support.variants import STORED, annotate, decode, encode

SCHEMA = Schema(
    (
        Field(1, "id", IntType(64)),
        Field(2, "v", VariantType()),
        Field(3, "one", StructType((Field(6, "x", IntType(64)), Field(7, "in", VariantType())))),
        Field(4, "many", ListType(Field(8, "element", VariantType()))),
        Field(
            5,
            "pairs",
            MapType(
                Field(9, "key", StringType(), required=True), Field(10, "value", VariantType())
            ),
        ),
    ),
    Identity.BY_ID,
)
PLACES = {("v",), ("one", "in"), ("many", "element"), ("pairs", "value")}
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=70)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PARTS = st.none() | JSON.map(encode)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "v": PARTS,
            "one": st.none() | st.fixed_dictionaries({"x": st.just(1), "in": PARTS}),
            "many": st.none() | st.lists(PARTS, max_size=3),
            "pairs": st.none() | st.dictionaries(TEXTS, PARTS, max_size=2),
        }
    ),
    min_size=1,
    max_size=6,
)


def batch_of(rows):
    arrow = arrow_schema_of(SCHEMA)
    plain = [
        {"id": place, **row, "pairs": None if row["pairs"] is None else list(row["pairs"].items())}
        for place, row in enumerate(rows)
    ]
    return pa.RecordBatch.from_pylist(plain, arrow)


def types_of(schema):
    return {path for path, item in walk(schema.fields) if isinstance(item.type, VariantType)}


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_what_is_written_is_read_again(tmp_path_factory, rows):
    store = LocalStore(tmp_path_factory.mktemp("variants"))
    batch = batch_of(rows)
    for annotated in (False, True):
        key = f"{annotated}.parquet"
        file = write_parquet(store, key, [batch], SCHEMA, annotated=annotated)
        assert file.size_bytes == store.head(key).size_bytes
        assert file.stats.nulls[2] == sum(row["v"] is None for row in rows)
        assert not {2, 7, 8, 10} & {*file.stats.lower, *file.stats.upper}
        (again,) = read_batches(store, file, SCHEMA, UNPARTITIONED)
        assert again.equals(batch)
        root = read_elements(store, key)
        assert has_variants(root) is annotated
        footer = read_footer(store, key)
        assert types_of(footer.schema) == (PLACES if annotated else set())
        told = with_variants(footer, PLACES)
        assert types_of(told.schema) == PLACES
        assert told.has_field_ids
        assert told.schema.fields == SCHEMA.fields
        assert stats_for(told, SCHEMA).lower[1] == 0
    path = store.local_path("True.parquet")
    found = duckdb.sql(f"SELECT v::JSON FROM '{path}' ORDER BY id").fetchall()
    assert [json.loads(text) for (text,) in found] == [decode(row["v"]) for row in rows]


def test_other_programs_see_what_is_annotated(tmp_path):
    store = LocalStore(tmp_path)
    value = {"a": [1, "x", {"b": None}], "c": 2.5}
    parts = encode(value)
    rows = [
        {"v": parts, "one": {"x": 1, "in": parts}, "many": [parts, None], "pairs": {"k": parts}}
    ]
    write_parquet(store, "a.parquet", [batch_of(rows)], SCHEMA, annotated=True)
    names = "v, one, many, pairs"
    (row,) = duckdb.sql(f"SELECT {names} FROM '{tmp_path}/a.parquet'").fetchall()
    assert row == (value, {"x": 1, "in": value}, [value, None], {"k": value})
    plain = pq.read_table(tmp_path / "a.parquet").to_pylist()[0]
    assert decode(plain["one"]["in"]) == value
    (kind,) = duckdb.sql(f"SELECT typeof(pairs) FROM '{tmp_path}/a.parquet'").fetchone()
    assert kind == "MAP(VARCHAR, VARIANT)"


def test_labels_annotate_for_iceberg_and_not_for_delta(tmp_path):
    store = LocalStore(tmp_path)
    plain = pa.table({"id": [1], "v": pa.array([encode(1)], STORED)})
    pq.write_table(plain, tmp_path / "a.parquet")
    schema = Schema(SCHEMA.fields[:2])
    root = read_elements(store, "a.parquet")
    marked = with_ids_of(root, schema)
    assert list(variant_spans(marked)) == [(1, 2)]
    assert [child.id for child in marked.children[1].children] == [None, None]
    assert with_ids_of(marked, schema) == marked
    assert not has_variants(with_names_of(marked, schema))
    assert without_variants(marked).children[1].shape == root.children[1].shape


def test_a_struct_of_the_same_parts_is_no_variant(tmp_path):
    store = LocalStore(tmp_path)
    pq.write_table(pa.table({"v": pa.array([encode(1)], STORED)}), tmp_path / "a.parquet")
    footer = read_footer(store, "a.parquet")
    assert isinstance(footer.schema.fields[0].type, StructType)
    assert with_variants(footer, {("w",)}) is footer
    annotate(tmp_path / "a.parquet", ["v"])
    assert read_footer(store, "a.parquet").schema.fields[0].type == VariantType()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (pa.struct([*STORED, pa.field("typed_value", pa.int64())]), UnsupportedError),
        (
            pa.struct([STORED.field("metadata"), pa.field("typed_value", pa.int64())]),
            UnsupportedError,
        ),
        (pa.struct([("metadata", pa.string()), ("value", pa.binary())]), UnsupportedError),
        (pa.binary(), UnsupportedError),
    ],
    ids=["shredded", "without value", "text", "bytes"],
)
def test_what_is_no_unshredded_variant_is_refused(tmp_path, kind, error):
    pq.write_table(pa.table({"v": pa.array([None, None], kind)}), tmp_path / "a.parquet")
    schema = Schema((Field(1, "v", VariantType()),))
    file = DataFile("a.parquet", 1, 2)
    with pytest.raises(error, match=r"'v'.*shredded"):
        list(read_batches(LocalStore(tmp_path), file, schema, UNPARTITIONED))


def test_a_part_that_is_null_is_found(tmp_path):
    parts = pa.struct([("metadata", pa.binary()), ("value", pa.binary())])
    column = pa.array([{"metadata": b"\1\0\0", "value": None}], parts)
    pq.write_table(pa.table({"v": column}), tmp_path / "a.parquet")
    schema = Schema((Field(1, "v", VariantType()),))
    with pytest.raises(FormatError, match="a part of it is null"):
        list(read_batches(LocalStore(tmp_path), DataFile("a.parquet", 1, 1), schema, UNPARTITIONED))


def test_required_fields_of_a_null_struct_have_values(tmp_path):
    """Other programs leave nulls there, which Arrow's writer refuses."""
    fields = tuple(
        Field(place, name, kind, required=True)
        for place, (name, kind) in enumerate({"n": IntType(64), "t": StringType()}.items(), 2)
    )
    type_ = StructType(fields)
    loose = pa.struct([("n", pa.int64()), ("t", pa.string())])
    array = pa.array([None, {"n": 1, "t": "x"}, None, {"n": 2, "t": "y"}], loose)[1:]
    adapted = Adapter("a", by_id=False).adapt(array, type_, ("s",))
    assert adapted.to_pylist() == array.to_pylist()
    schema = Schema((Field(1, "s", type_),))
    batch = pa.RecordBatch.from_arrays([adapted], schema=arrow_schema_of(schema))
    write_parquet(LocalStore(tmp_path), "a.parquet", [batch], schema)
    assert pq.read_table(tmp_path / "a.parquet").column("s").to_pylist() == array.to_pylist()
