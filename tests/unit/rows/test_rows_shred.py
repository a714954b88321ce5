"""Where values go, columns of any type, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError
from parquedb.model.schema import Identity, Schema, assign_ids
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
    StringType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
)
from parquedb.rows.arrays import MISFITS, build, fits
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import DATA, evolve, system_schema
from parquedb.rows.shred import shred
from parquedb.rows.values import plain
from tests.support.stored import assert_same, decimals, documents, floats, instants, values


def element(type_: Type, *, required: bool = False) -> ListType:
    return ListType(Field(0, "element", type_, required=required))


def struct(**types: Type) -> StructType:
    return StructType(tuple(Field(0, name, type_) for name, type_ in types.items()))


TYPES: tuple[Type, ...] = (
    BooleanType(), IntType(8), IntType(16), IntType(32), IntType(64), IntType(8, signed=False),
    IntType(64, signed=False), FloatType(16), FloatType(32), FloatType(64), StringType(),
    BinaryType(), DateType(), TimestampType(), TimestampType(utc=False), TimestampType("s"),
    TimestampType("ms"), TimestampType("ns"), DecimalType(5, 2), DecimalType(38, 10),
    DecimalType(50, 3), FixedType(2), UuidType(), TimeType(), element(IntType(64)),
    element(FloatType(32)), element(StringType(), required=True), struct(a=IntType(64)),
    struct(a=StringType(), b=struct(d=TimestampType())), element(struct(d=element(IntType(8)))),
    StructType((Field(0, "a", IntType(64), required=True), Field(0, "b", FloatType(64)))),
    MapType(Field(0, "key", StringType(), required=True), Field(0, "value", IntType(64))),
)  # fmt: skip


def with_column(type_: Type) -> Schema:
    fields = (*system_schema().fields, Field(0, "f", type_))
    return assign_ids(Schema(fields, Identity.BY_ID), {}, 0)[0]


def data_of(docs: list[dict[str, Any]], schema: Schema) -> list[Any]:
    texts = shred(docs, schema).column(DATA).to_pylist()
    return [None if text is None else json.loads(text) for text in texts]


likely = (
    st.booleans() | st.integers(-300, 300) | floats | st.text(max_size=3) | st.binary(max_size=3)
    | st.dates() | instants | st.datetimes() | st.uuids() | decimals
    | st.datetimes().map(lambda v: v.replace(microsecond=0))
    | st.datetimes().map(lambda v: v.replace(microsecond=5000, tzinfo=UTC))
    | st.decimals(-999, 999, places=2) | st.floats(width=16, allow_nan=False)
)  # fmt: skip
shaped = (
    likely
    | st.lists(st.none() | st.integers(-200, 200) | st.text(max_size=2), max_size=3)
    | st.lists(st.integers(-200, 200), max_size=3)
    | st.lists(st.fixed_dictionaries({"d": st.lists(st.integers(-200, 200), max_size=2)}))
    | st.dictionaries(st.sampled_from("ab"), st.integers(-5, 5) | floats | st.none())
    | st.fixed_dictionaries(
        {"a": st.text(max_size=2)}, optional={"b": st.fixed_dictionaries({"d": instants})}
    )
    | values
)


@given(st.sampled_from(TYPES), st.lists(shaped, max_size=5))
@settings(deadline=None, max_examples=600)
def test_columns_of_any_type_hold_any_values(type_: Type, found: list[Any]) -> None:
    docs = [{"$id": f"users/{n}", "f": value} for n, value in enumerate(found)]
    schema = with_column(type_)
    batch = shred(docs, schema)
    batch.validate(full=True)
    assert_same(assemble(batch, schema), [plain(doc) for doc in docs])


@given(st.sampled_from(TYPES), shaped, st.integers(0, 70))
@settings(deadline=None, max_examples=200)
def test_columns_of_any_type_hold_one_value_again_and_again(
    type_: Type, value: Any, odd: int
) -> None:
    docs: list[dict[str, Any]] = [{"$id": f"users/{n:02}", "f": value} for n in range(70)]
    if odd < 70:
        del docs[odd]["f"]
    schema = with_column(type_)
    batch = shred(docs, schema)
    batch.validate(full=True)
    assert_same(assemble(batch, schema), [plain(doc) for doc in docs])


@given(st.sampled_from(TYPES), shaped)
@settings(deadline=None, max_examples=600)
def test_what_fits_is_built_and_nothing_else(type_: Type, value: Any) -> None:
    value = plain(value)
    arrow = shred([], with_column(type_)).schema.field("f").type
    try:
        array = build([value, None, value], type_, arrow)
    except MISFITS:
        assert not fits(value, type_)
    else:
        assert array.type == arrow
        assert value is None or fits(value, type_)


def test_each_type_holds_a_value() -> None:
    """The columns above are not all empty."""
    at = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    held: list[Any] = [
        True, -128, 300, 2**31 - 1, 2**63 - 1, 255, 2**64 - 1, 0.5, 1.5, 0.1, "x", b"x",
        date(2020, 1, 1), at, at.replace(tzinfo=None), at, at, at, Decimal("999.99"),
        Decimal("1.5"), Decimal("1.5"), b"xy", UUID(int=7), None, [1, None], [1.5], ["x"],
        {"a": 1}, {"a": "x", "b": {"d": at}}, [{"d": [1]}, {}, None], {"a": 1}, None,
    ]  # fmt: skip
    for type_, value in zip(TYPES, held, strict=True):
        if value is None:
            continue
        docs = [{"$id": "users/1", "f": value}, {"$id": "users/2"}]
        batch = shred(docs, with_column(type_))
        assert batch.column("f").null_count == 1
        assert batch.column(DATA).null_count == 2
        assert_same(assemble(batch, with_column(type_)), docs)


def test_data_holds_only_what_columns_do_not() -> None:
    docs: list[dict[str, Any]] = [
        {"$id": "u/0", "n": 1, "s": {"a": 1}, "price": 1.5},
        {"$id": "u/1", "n": None, "s": {"a": None}, "price": 2},
        {"$id": "u/2", "n": "x", "s": {"a": 1, "b": 2}, "price": 2**53 + 1},
        {"$id": "u/3", "$x": 1, "n": True, "price": "y", "free": [1, "a"]},
        {"$id": "u/4", "name": None, "deletedAt": None, "s": {}, "price": 3},
        {"$id": "u/5", "n": 2**63, "price": True},
    ]
    schema = evolve(None, [docs[0], {"$id": "u/x", "price": 7}])
    assert data_of(docs, schema) == [
        None,
        {"n": None, "s": {"a": None}, "$int": ["price"]},
        {"n": "x", "s": {"a": 1, "b": 2}, "price": 2**53 + 1},
        {"n": True, "price": "y", "$$x": 1, "free": [1, "a"]},
        {"name": None, "$int": ["price"]},
        {"n": {"$int": str(2**63)}, "price": True},
    ]
    batch = shred(docs, schema)
    assert batch.column("price").to_pylist() == [1.5, 2.0, None, None, 3.0, None]
    assert batch.column("n").to_pylist() == [1] + [None] * 5
    want = [*docs[:4], {"$id": "u/4", "name": None, "s": {}, "price": 3}, docs[5]]
    assert_same(assemble(batch, schema), want)


def test_rows_of_many_parts() -> None:
    docs: list[dict[str, Any]] = [
        {"$id": f"u/{n}", "n": n, "tags": [str(n)], "s": {"a": n / 7}, "id": UUID(int=n)}
        for n in range(10_000)
    ]
    docs[9_000]["n"] = "odd"
    docs[5_000]["new"] = {"x": date(2020, 1, 1)}
    schema = evolve(None, docs[:100])
    batch = shred(docs, schema)
    batch.validate(full=True)
    assert_same(assemble(batch, schema), docs)
    assert_same(assemble(pa.Table.from_batches([batch, batch[:7]]), schema), docs + docs[:7])
    docs[9_999]["n"] = {1, 2}
    with pytest.raises(InvalidInputError, match=r"^u/9999: n: set is no kind"):
        shred(docs, schema)


def test_no_documents() -> None:
    schema = evolve(None, [{"$id": "u/1", "a": [1], "b": {"c": 1}}])
    batch = shred([], schema)
    assert batch.num_rows == 0
    assert assemble(batch, schema) == []
    assert assemble(batch.schema.empty_table(), schema) == []


class Text(StrEnum):
    A = "a"


class Entity(dict[str, Any]):
    pass


def test_documents_and_values_of_subclasses() -> None:
    docs = [Entity({"$id": Text.A, "s": Entity(a=Text.A), "t": (Text.A, "b"), Text.A: 1})]
    schema = evolve(None, docs)
    assert {"s", "t", "a"} <= set(schema.names)
    want = [{"$id": "a", "s": {"a": "a"}, "t": ["a", "b"], "a": 1}]
    (got,) = assemble(shred(docs, schema), schema)
    assert_same([{str.__str__(name): value for name, value in got.items()}], want)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"a": 1}, r"^document 1: \$id: it is required and missing"),
        ({"$id": 5}, r"^document 1: \$id: 5 does not fit"),
        ({"$id": None}, r"^document 1: \$id: it is required and missing"),
        ({"$id": "u/1", "version": 2**31}, "^u/1: version: 2147483648 does not fit"),
        ({"$id": "u/1", "version": "1"}, "^u/1: version: '1' does not fit"),
        ({"$id": "u/1", "createdAt": datetime(2020, 1, 1)}, "^u/1: createdAt: .* does not fit"),
        ({"$id": "u/1", "createdBy": 5}, "^u/1: createdBy: 5 does not fit"),
    ],
)
def test_system_fields_must_fit(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        shred([{"$id": "u/0"}, document], system_schema())


def test_tables_without_data() -> None:
    fields = tuple(field for field in system_schema().fields if field.name != DATA)
    schema = Schema((*fields, Field(30, "n", IntType(64))), Identity.BY_ID)
    docs: list[dict[str, Any]] = [{"$id": "u/1", "n": 1}]
    assert_same(assemble(shred(docs, schema), schema), docs)
    with pytest.raises(InvalidInputError, match=r"u/2: n: no column can hold it and .* '\$data'"):
        shred([*docs, {"$id": "u/2", "n": "x"}], schema)
    with pytest.raises(InvalidInputError, match="u/2: m: no column can hold it"):
        shred([*docs, {"$id": "u/2", "m": 1}], schema)


def test_required_columns() -> None:
    schema = Schema((*system_schema().fields, Field(30, "n", IntType(64), required=True)))
    with pytest.raises(InvalidInputError, match="u/2: n: it is required and missing"):
        shred([{"$id": "u/1", "n": 1}, {"$id": "u/2"}], schema)


def test_times_at_the_ends() -> None:
    first, last = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)
    docs = [{"$id": "u/1", "w": first, "t": first.replace(tzinfo=UTC), "d": date.min},
            {"$id": "u/2", "w": last, "t": last.replace(tzinfo=UTC), "d": date.max},
            {"$id": "u/3", "w": datetime(1969, 12, 31, 23, 59, 59, 999_999),
             "t": datetime(1969, 12, 31, tzinfo=UTC) - timedelta(microseconds=1)}]  # fmt: skip
    schema = evolve(None, docs)
    assert_same(assemble(shred(docs, schema), schema), docs)


@given(documents(min_size=1))
@settings(deadline=None, max_examples=60)
def test_data_text_tells_which_fields_it_overrides(docs: list[dict[str, Any]]) -> None:
    """Where ``"F":`` is not in ``$data``, the column alone is right for F."""
    schema = evolve(None, docs[:1])
    batch = shred(docs, schema)
    texts = batch.column(DATA).to_pylist()
    alone = assemble(batch.drop_columns([DATA]), schema)
    for text, document, want in zip(texts, alone, map(plain, docs), strict=True):
        for name in schema.names:
            key = json.dumps(name, ensure_ascii=False) + ":"
            if text is None or (key not in text and '"$int":' not in text):
                assert_same([document.get(name)], [want.get(name)])


def test_documents_that_have_little_in_common() -> None:
    values: list[Any] = [
        1, "x", 1.5, None, [1], {"a": {"b": date(2020, 1, 1)}}, True, UUID(int=1),
    ]  # fmt: skip
    docs: list[dict[str, Any]] = [
        {"$id": f"u/{n}", "name": str(n)}
        | {f"k{m}": values[m % 8] for m in range(n * 7 % 60, n * 7 % 60 + 8)}
        for n in range(300)
    ]
    schema = evolve(None, docs)
    assert len(schema.fields) > 40
    assert evolve(schema, docs) is schema
    batch = shred(docs, schema)
    batch.validate(full=True)
    assert_same(assemble(batch, schema), docs)
    assert_same(assemble(batch.slice(7, 100), schema), docs[7:107])
    for number in range(300):
        docs[number][f"only{number}"] = number
    assert_same(assemble(shred(docs, schema), schema), docs)
    wider = evolve(schema, docs)
    assert len(wider.fields) == len(schema.fields) + 300
    found = assemble(shred(docs, wider), wider)
    assert_same(found, docs)
    for document in found:
        order = [wider.names.index(name) for name in document if name in wider.names]
        assert order == sorted(order)
