"""Which columns documents call for."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from parquedb.model.schema import Identity, Schema, max_id, walk
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    StringType,
    StructType,
    Type,
    describe_type,
)
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import (
    DATA,
    SYSTEM_FIELDS,
    evolve,
    is_document_schema,
    system_schema,
)
from parquedb.rows.shred import shred
from tests.support.stored import assert_same


def docs_of(*values: Any, key: str = "f") -> list[dict[str, Any]]:
    return [{"$id": f"users/{n}", key: value} for n, value in enumerate(values)]


def column_of(*values: Any, key: str = "f") -> str | None:
    field = evolve(None, docs_of(*values, key=key)).find(key)
    return None if field is None else describe_type(field.type)


def test_system_columns() -> None:
    schema = system_schema()
    assert schema.names == (*SYSTEM_FIELDS, DATA)
    assert schema.identity is Identity.BY_ID
    assert [field.id for field in schema.fields] == list(range(1, 12))
    assert [field.name for field in schema.fields if field.required] == ["$id"]
    assert is_document_schema(schema)
    assert not is_document_schema(Schema((Field(1, "$id", IntType(64)),)))
    assert not is_document_schema(Schema((Field(1, "id", StringType()),)))


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([True, None], "boolean"),
        ([1, -5], "int64"),
        ([2**63], None),
        ([1, 2**63], None),
        ([1.5], "float64"),
        ([1.5, 1, 2**53], "float64"),
        ([1.5, 2**53 + 1], None),
        ([1, True], None),
        (["x"], "string"),
        (["x", 1], None),
        ([b"x"], "binary"),
        ([date(2020, 1, 1)], "date"),
        ([datetime(2020, 1, 1, tzinfo=UTC)], "timestamp(us, UTC)"),
        ([datetime(2020, 1, 1)], "timestamp(us)"),
        ([datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)], None),
        ([date(2020, 1, 1), datetime(2020, 1, 1)], None),
        ([Decimal("1.5"), Decimal("2.25"), Decimal(3)], "decimal(38,2)"),
        ([Decimal("1E+5")], "decimal(38,0)"),
        ([Decimal("1E+38")], None),
        ([Decimal("0.1"), Decimal("9" * 38)], None),
        ([UUID(int=1)], None),
        ([None], None),
        ([], None),
        ([[]], None),
        ([[None]], None),
        ([{}], None),
        ([["x"], [], [None]], "list<string>"),
        ([("x",), ["y"]], "list<string>"),
        ([[1], ["x"]], None),
        ([[1, 1.5]], None),
        ([[[1]], [[], None]], "list<list<int64>>"),
        ([{"a": 1}, {"b": "x"}], "struct<a: int64, b: string>"),
        ([{"a": {"b": [1.5]}}], "struct<a: struct<b: list<float64>>>"),
        ([{"a": 1}, {"a": "x"}, {"b": 1}], "struct<b: int64>"),
        ([{"a": 1, "b": 1}, {"a": "x", "b": 1}], None),
        ([{"a": None}], None),
        ([{"a": 1}, {"": 1}], None),
        ([{"a": 1}, {"x.y": 1}], "struct<a: int64>"),
        ([{"a": 1}, {"A": 1}], None),
        ([{"a": 1}, "x"], None),
        ([[{"a": 1}], [{"b": 2}, None]], "list<struct<a: int64, b: int64>>"),
        ([{f"k{n}": n for n in range(64)}], "struct<" + ", ".join(
            f"k{n}: int64" for n in range(64)) + ">"),
        ([{f"k{n}": n for n in range(65)}], None),
        ([{f"k{n}": 1} for n in range(65)], None),
        ([{1: 2}], None),
        ([{1, 2}], None),
    ],
)  # fmt: skip
def test_types(values: list[Any], column: str | None) -> None:
    assert column_of(*values) == column
    assert column_of(*values, *[None] * 3) == column
    if column is not None:
        schema = evolve(None, docs_of(*values))
        assert_same(assemble(shred(docs_of(*values), schema), schema),
                    [{k: list(v) if isinstance(v, tuple) else v for k, v in d.items()}
                     for d in docs_of(*values)])  # fmt: skip


@pytest.mark.parametrize(("levels", "fits"), [(16, True), (17, False)])
def test_nesting(levels: int, fits: bool) -> None:
    lists: Any = 1
    structs: Any = 1
    for _ in range(levels):
        lists, structs = [lists], {"a": structs}
    assert (column_of(lists) is not None) is fits
    assert (column_of(structs) is not None) is fits


@pytest.mark.parametrize(
    "key",
    ["", "$x", "_parquedb", "_parquedb_x", "a b", "a,b", "a;b", "{a", "a}", "(a", "a)", "a\nb",
     "a\tb", "a\0", "a=b", "a.b", "a`b", "a'b", 'a"b', "NAME", "CreatedAt", "$ID", "$DATA", "_pos",
     "_Metadata", "x" * 256],
)  # fmt: skip
def test_names_that_are_no_columns(key: str) -> None:
    schema = evolve(None, docs_of(1, 2, key=key), {key: IntType(64)})
    assert schema == system_schema()
    assert_same(assemble(shred(docs_of(1, 2, key=key), schema), schema), docs_of(1, 2, key=key))
    inside = docs_of({key: 1}, {key: 2, "a": 1})
    assert_same(assemble(shred(inside, evolve(None, inside)), evolve(None, inside)), inside)


@pytest.mark.parametrize("key", ["a", "_id", "é", "日本", "a-b", "a/b", "a:b", "element", "x" * 99])
def test_names_that_are_columns(key: str) -> None:
    assert column_of(1, key=key) == "int64"


def test_names_equal_but_for_case() -> None:
    docs = [{"$id": "users/1", "Email": "x", "email": "y"}]
    assert evolve(None, docs) == system_schema()
    first = evolve(None, [{"$id": "users/1", "Email": "x"}])
    assert evolve(first, docs) is first
    assert_same(assemble(shred(docs, first), first), docs)


def test_new_columns_keep_what_is_there() -> None:
    first = evolve(None, docs_of({"a": 1}))
    assert first.names == (*SYSTEM_FIELDS, "f", DATA)
    second = evolve(first, [{"$id": "users/1", "f": {"a": "text", "b": 1.5}, "g": [1]}])
    assert second.names == (*first.names, "g")
    assert describe_type(second.fields[10].type) == "struct<a: int64, b: float64>"
    ids = [field.id for _, field in walk(second.fields)]
    assert len(ids) == len(set(ids))
    old = {path: field.id for path, field in walk(first.fields)}
    new = {path: field.id for path, field in walk(second.fields)}
    assert old.items() <= new.items()
    assert min(new[path] for path in new.keys() - old.keys()) == max_id(first) + 1
    assert evolve(second, docs_of({"a": 5}, 7, None)) is second


def test_structs_grow_inside_lists_and_structs() -> None:
    schema = evolve(None, docs_of({"rows": [{"a": 1}]}))
    schema = evolve(schema, docs_of({"rows": [{"b": {"c": "x"}}, None, 5]}))
    schema = evolve(schema, docs_of({"rows": [{"b": {"d": [1]}}]}))
    field = schema.find("f")
    assert field is not None
    assert describe_type(field.type) == (
        "struct<rows: list<struct<a: int64, b: struct<c: string, d: list<int64>>>>>"
    )
    full = evolve(None, docs_of({f"k{n}": n for n in range(64)}))
    assert evolve(full, docs_of({"more": 1})) is full


def test_a_thousand_columns() -> None:
    docs = [{"$id": "users/1", **{f"k{n}": n for n in range(1200)}}]
    schema = evolve(None, docs)
    assert len(schema.fields) == 1000
    assert_same(assemble(shred(docs, schema), schema), docs)


def test_declared_types() -> None:
    struct = StructType((Field(7, "a", IntType(64), required=True), Field(7, "b", FloatType(64))))
    declared: dict[str, Type] = {
        "price": DecimalType(10, 2),
        "box": struct,
        "boxes": ListType(Field(9, "element", struct, required=True)),
        "name": IntType(64),
        "NAME": IntType(64),
        "x y": IntType(64),
    }
    schema = evolve(None, [], declared)
    assert schema.names == (*SYSTEM_FIELDS, "price", "box", "boxes", DATA)
    assert evolve(schema, [], declared) is schema
    assert not any(field.required for _, field in walk(schema.fields[1:]))
    ids = [field.id for _, field in walk(schema.fields)]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    docs = docs_of("x", key="price") + docs_of({"b": 1.5, "c": "new"}, {"a": 1}, key="box")
    wider = evolve(schema, docs, declared)
    box = wider.find("box")
    assert box is not None
    assert describe_type(box.type) == "struct<a: int64, b: float64, c: string>"
    assert_same(assemble(shred(docs, wider), wider), docs)
    more = StructType((Field(0, "z", IntType(64)), Field(0, "A", IntType(64)), struct.fields[0]))
    again = evolve(wider, [], {"box": more, "price": IntType(64), "boxes": StringType()})
    box = again.find("box")
    assert box is not None
    assert describe_type(box.type) == "struct<a: int64, b: float64, c: string, z: int64>"
    assert again.find("price") == wider.find("price")
    assert again.find("boxes") == wider.find("boxes")
