"""What is written is read back: any documents, any columns."""

from __future__ import annotations

import copy
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.model.schema import Schema
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.write import write_parquet
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import evolve, system_schema
from parquedb.rows.jsonform import decode_document, decode_value, encode_document, encode_value
from parquedb.rows.shred import shred
from parquedb.rows.values import check_document, plain
from parquedb.storage.memory import MemoryStore
from tests.support.stored import assert_same, documents, same, values


def through_parquet(batch: pa.RecordBatch, schema: Schema) -> pa.Table:
    store = MemoryStore("rows")
    write_parquet(store, "t.parquet", [batch], schema)
    return pq.read_table(pa.BufferReader(store.get("t.parquet")))


def round_trip(docs: list[dict[str, Any]], schema: Schema) -> None:
    before = copy.deepcopy(docs)
    want = [plain(doc) for doc in docs]
    batch = shred(docs, schema)
    assert batch.schema.equals(arrow_schema_of(schema), check_metadata=True)
    batch.validate(full=True)
    assert docs == before
    assert_same(assemble(batch, schema), want)
    for start in range(len(docs)):
        assert_same(assemble(batch.slice(start, 2), schema), want[start : start + 2])
    assert_same(assemble(through_parquet(batch, schema), schema), want)


@given(documents())
@settings(deadline=None, max_examples=150)
def test_columns_of_the_same_documents(docs: list[dict[str, Any]]) -> None:
    round_trip(docs, evolve(None, docs))


@given(documents(), documents(), documents())
@settings(deadline=None, max_examples=150)
def test_columns_of_other_documents(
    docs: list[dict[str, Any]], others: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    round_trip(docs, system_schema())
    schema = evolve(None, others)
    round_trip(docs, schema)
    grown = evolve(schema, more)
    known = {field.name: field for field in schema.fields}
    assert [field for field in grown.fields if field.name in known and
            type(field.type) is not type(known[field.name].type)] == []  # fmt: skip
    assert {f.id for f in schema.fields} <= {f.id for f in grown.fields}
    round_trip(docs, grown)
    both = evolve(grown, docs)
    assert evolve(both, docs) is both
    round_trip(docs + more, both)


@given(documents(min_size=1))
@settings(deadline=None, max_examples=150)
def test_json_of_documents(docs: list[dict[str, Any]]) -> None:
    for doc in docs:
        assert check_document(doc, "users/1") > 0
        text = encode_document(doc)
        assert same(decode_document(text), plain(doc))
        assert same(decode_document(text.decode()), plain(doc))
        assert encode_document(plain(doc)) == text


@given(values | st.lists(values))
@settings(deadline=None, max_examples=200)
def test_json_of_values(value: Any) -> None:
    text = encode_value(value)
    assert same(decode_value(text), plain(value))
    assert same(decode_value(text.decode()), plain(value))
    assert encode_value(plain(value)) == text
