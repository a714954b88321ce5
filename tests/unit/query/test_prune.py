"""Files are skipped only if no document in them matches, and are skipped where that is plain."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from parquedb.model.files import Stats
from parquedb.model.schema import Identity, Schema, assign_ids, ids_by_path
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
    StringType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
)
from parquedb.query.filter import At, Equals, Filter
from parquedb.query.match import compile_match
from parquedb.query.parse import parse_filter
from parquedb.query.prune import may_match
from parquedb.rows.columns import DATA, evolve
from parquedb.rows.shred import shred
from tests.differential.test_sql import collections, filters

FIELDS: list[tuple[str, Type]] = [
    ("$id", StringType()),
    ("version", IntType(32)),
    ("age", IntType(64)),
    ("price", FloatType(64)),
    ("cost", DecimalType(10, 2)),
    ("active", BooleanType()),
    ("email", StringType()),
    ("day", DateType()),
    ("at", TimestampType()),
    ("local", TimestampType("ms", utc=False)),
    ("nano", TimestampType("ns")),
    ("blob", BinaryType()),
    ("hash", FixedType(2)),
    ("key", UuidType()),
    ("clock", TimeType()),
    ("tags", ListType(Field(0, "element", StringType()))),
    ("address", StructType((Field(0, "city", StringType()),))),
    ("items", ListType(Field(0, "element", StructType((Field(0, "n", IntType(64)),))))),
    ("full", IntType(64)),
    ("none", IntType(64)),
    ("wide", IntType(64)),
    ("nested", ListType(Field(0, "element", ListType(Field(0, "element", IntType(64)))))),
    (DATA, StringType()),
]


def _numbered(fields: list[tuple[str, Type]]) -> tuple[Schema, dict[str, int]]:
    bare = Schema(tuple(Field(0, name, type_) for name, type_ in fields), Identity.BY_ID)
    schema, _ = assign_ids(bare, {}, 0)
    return schema, {".".join(path): id_ for path, id_ in ids_by_path(schema).items()}


SCHEMA, IDS = _numbered(FIELDS)
ROWS = 10


def days(value: date) -> int:
    return (value - date(1970, 1, 1)).days


def micros(value: datetime) -> int:
    return round((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


BOUNDS: dict[str, tuple[Any, Any]] = {
    "$id": ("users/b", "users/m"),
    "version": (3, 3),
    "age": (18, 65),
    "price": (1.5, 99.5),
    "cost": (-150, 2000),
    "active": (True, True),
    "email": ("bob@", "zoe@"),
    "day": (days(date(2020, 1, 1)), days(date(2020, 12, 31))),
    "at": (micros(datetime(2020, 1, 1, tzinfo=UTC)), micros(datetime(2020, 2, 1, tzinfo=UTC))),
    "local": (0, 86_400_000),
    "nano": (0, 1),
    "blob": (b"b", b"d"),
    "hash": (b"bb", b"dd"),
    "key": (uuid.UUID(int=5).bytes, uuid.UUID(int=9).bytes),
    "clock": (0, 5),
    "tags.element": ("blue", "red"),
    "address.city": ("Bonn", "Rome"),
    "items.element.n": (5, 9),
    "full": (1, 5),
    "wide": (-(2**40), 2**40),
    "nested.element.element": (1, 2),
}
NULLS = {"age": 2, "full": 0, "active": 0, "version": 0, "$id": 0, "none": 10, "wide": 0}


def may(filter_: Mapping[str, Any], *, overflow: bool = False) -> bool:
    return may_match(
        parse_filter(filter_),
        SCHEMA,
        {IDS[name]: low for name, (low, _) in BOUNDS.items()},
        {IDS[name]: high for name, (_, high) in BOUNDS.items()},
        {IDS[name]: count for name, count in NULLS.items()},
        ROWS,
        overflow=overflow,
    )


SKIPPED: list[Mapping[str, Any]] = [
    {"age": 17},
    {"age": 66.5},
    {"age": Decimal("65.1")},
    {"age": "thirty"},
    {"age": {"$gt": 65}},
    {"age": {"$gte": 65.5}},
    {"age": {"$lt": 18}},
    {"age": {"$in": [1, "x", 100]}},
    {"age": {"$in": []}},
    {"age": {"$type": "string"}},
    {"age": {"$type": "long"}},
    {"age": {"$regex": "a"}},
    {"age": {"$contains": "a"}},
    {"age": {"$size": 1}},
    {"age": {"$elemMatch": {"$gt": 1}}},
    {"age": {"$all": [20, 90]}},
    {"age": {"$all": []}},
    {"email": {"$mod": [2, 0]}},
    {"price": {"$gt": 99.5}},
    {"price": 1},
    {"cost": Decimal("20.01")},
    {"cost": {"$lt": -1.5}},
    {"active": False},
    {"active": {"$ne": True}},
    {"active": 1},
    {"email": "alice@"},
    {"email": {"$regex": "^alice"}},
    {"email": {"$startsWith": "zoey"}},
    {"email": {"$regex": "^a$"}},
    {"day": date(2021, 1, 1)},
    {"day": {"$lt": datetime(2020, 1, 1, tzinfo=UTC)}},
    {"at": {"$gt": datetime(2020, 2, 1, 0, 0, 0, 1, UTC)}},
    {"local": {"$gte": datetime(1970, 1, 2, 0, 0, 1)}},
    {"blob": b"a"},
    {"blob": b"dd"},
    {"hash": b"ee"},
    {"key": b"0123456789abcdef"},
    {"blob": uuid.UUID(int=5)},
    {"tags": "amber"},
    {"tags": {"$elemMatch": {"$gt": "rose"}}},
    {"tags": 5},
    {"tags.0": "amber"},
    {"tags.x": "blue"},
    {"address.city": "Athens"},
    {"address.city.x": 1},
    {"address.zip": 5},
    {"items.n": {"$gt": 9}},
    {"items": {"$elemMatch": {"n": 4, "m": None}}},
    {"items": {"$elemMatch": {"m": 4}}},
    {"age.x": {"$exists": True}},
    {"unknown": 1},
    {"unknown": {"$exists": True}},
    {"full": None},
    {"full": {"$exists": False}},
    {"full": {"$not": {"$gte": 1}}},
    {"full": {"$nin": [1, 2], "$gt": 5}},
    {"$nor": [{"full": {"$exists": True}}]},
    {"$nor": [{"full": {"$lte": 5}}, {"age": 5}]},
    {"version": {"$ne": 3}},
    {"version": {"$nin": [3, 4]}},
    {"version": {"$not": {"$type": "int"}}},
    {"none": {"$exists": True}},
    {"none": {"$gt": 0}},
    {"none": {"$ne": None}},
    {"$and": [{"age": 20}, {"age": 90}]},
    {"$or": [{"age": 2}, {"age": 90}]},
    {"$id": "users/z"},
    {"$id": {"$in": ["users/a", "users/n"]}},
]
READ: list[Mapping[str, Any]] = [
    {},
    {"age": 18},
    {"age": 65.0},
    {"age": None},
    {"age": {"$ne": 20}},
    {"age": {"$exists": False}},
    {"age": {"$not": {"$gte": 18}}},
    {"age": {"$gte": 65}},
    {"age": {"$lte": 18}},
    {"age": {"$type": "int"}},
    {"age": {"$in": [1, 20]}},
    {"age": {"$mod": [2, 0]}},
    {"wide": {"$type": "int"}},
    {"wide": {"$type": "long"}},
    {"price": {"$gt": 99}},
    {"price": {"$not": {"$gte": 1.5}}},
    {"cost": 20},
    {"active": True},
    {"email": {"$regex": "^bo"}},
    {"email": {"$regex": "^z"}},
    {"email": {"$regex": "^ALICE", "$options": "i"}},
    {"email": {"$regex": "alice"}},
    {"email": {"$regex": "^(a|b)"}},
    {"email": {"$startsWith": "b"}},
    {"email": {"$endsWith": "a"}},
    {"day": datetime(2020, 12, 31)},
    {"local": date(1970, 1, 2)},
    {"nano": datetime(2020, 1, 1, tzinfo=UTC)},
    {"blob": b"cat"},
    {"blob": {"$gt": b"e"}},
    {"hash": b"cc"},
    {"key": uuid.UUID(int=77)},
    {"clock": 5},
    {"tags": "green"},
    {"tags": ["amber"]},
    {"tags": {"$in": [["amber"]]}},
    {"tags": None},
    {"tags": {"$ne": "green"}},
    {"tags": {"$size": 3}},
    {"tags": {"$exists": True}},
    {"tags": {"$type": "array"}},
    {"tags": {"$elemMatch": {"$ne": "blue"}}},
    {"tags.0": "green"},
    {"nested": 5},
    {"nested.x": 5},
    {"address": {"city": "Athens"}},
    {"address.city": None},
    {"address.zip": None},
    {"items.n": 7},
    {"items.0.n": 70},
    {"items.0": {"n": 70}},
    {"items": {"$elemMatch": {"n": 7, "m": None}}},
    {"items": {"$elemMatch": {"n": {"$ne": 7}}}},
    {"unknown": None},
    {"unknown": {"$ne": 1}},
    {"full": {"$ne": 3}},
    {"none": None},
    {"none": {"$exists": False}},
    {"$expr": {"$gt": ["$age", 1000]}},
    {"$or": [{"age": 2}, {"age": 30}]},
    {"$id": "users/c"},
]


@pytest.mark.parametrize("filter_", SKIPPED, ids=str)
def test_skipped(filter_: Mapping[str, Any]) -> None:
    assert not may(filter_)


@pytest.mark.parametrize("filter_", READ, ids=str)
def test_read(filter_: Mapping[str, Any]) -> None:
    assert may(filter_)


def test_the_column_of_the_rest_is_no_field() -> None:
    assert may_match(At((DATA,), Equals("x")), SCHEMA, {}, {}, {}, ROWS, overflow=False)


def test_with_overflow_only_system_fields_count() -> None:
    assert may({"age": 17}, overflow=True)
    assert may({"unknown": 1}, overflow=True)
    assert may({"full": None}, overflow=True)
    assert may({"$nor": [{"full": {"$exists": True}}]}, overflow=True)
    assert not may({"$id": "users/z"}, overflow=True)
    assert not may({"version": {"$gt": 3}}, overflow=True)
    assert not may({"$or": [{"version": 5}, {"$id": "users/a"}]}, overflow=True)
    assert may({"$or": [{"version": 5}, {"age": 1}]}, overflow=True)


def test_without_statistics_everything_may_match() -> None:
    for filter_ in ({"age": 1}, {"age": None}, {"tags": "x"}, {"address.city": "x"}):
        assert may_match(parse_filter(filter_), SCHEMA, {}, {}, {}, ROWS, overflow=False)
    assert not may_match(parse_filter({"age": "x"}), SCHEMA, {}, {}, {}, ROWS, overflow=False)


def test_no_rows_no_match() -> None:
    assert not may_match(parse_filter({}), SCHEMA, {}, {}, {}, 0, overflow=True)


def test_floats_may_hold_nan_beyond_their_bounds() -> None:
    schema, ids = _numbered([("x", FloatType(64))])
    bounds = {ids["x"]: 1.0}
    for filter_ in ({"x": {"$ne": 1.0}}, {"x": {"$not": {"$gte": 1}}}):
        parsed = parse_filter(filter_)
        assert may_match(parsed, schema, bounds, bounds, {ids["x"]: 0}, 3, overflow=False)


def _gather(field: Field, array: Any, stats: Stats, *, in_list: bool) -> None:
    """Note the bounds of every leaf, those in lists too, and the nulls outside of lists."""
    match field.type:
        case StructType(fields):
            for child, values in zip(fields, array.flatten(), strict=True):
                _gather(child, values, stats, in_list=in_list)
        case ListType(element):
            _gather(element, array.flatten(), stats, in_list=True)
        case type_:
            if not in_list:
                stats.nulls[field.id] = array.null_count  # type: ignore[index]
            values = [_physical(type_, value) for value in array.drop_null()]
            if values:
                stats.lower[field.id] = min(values)  # type: ignore[index]
                stats.upper[field.id] = max(values)  # type: ignore[index]


def _physical(type_: Type, scalar: Any) -> Any:
    match type_:
        case DateType():
            return scalar.cast(pa.int32()).as_py()
        case TimestampType():
            return scalar.value
        case DecimalType(_, scale):
            return int(scalar.as_py().scaleb(scale))
        case _:
            return scalar.as_py()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents=st.booleans().flatmap(lambda tidy: collections(tidy=tidy)), filter_=filters())
def test_nothing_that_matches_is_skipped(documents: list[dict[str, Any]], filter_: Filter) -> None:
    schema = evolve(None, documents)
    batch = shred(documents, schema)
    stats = Stats({}, {}, {})
    for field, array in zip(schema.fields, batch.columns, strict=True):
        _gather(field, array, stats, in_list=False)
    overflow = batch.column(DATA).null_count < len(batch)
    found = any(map(compile_match(filter_), documents))
    kept = may_match(
        filter_, schema, stats.lower, stats.upper, stats.nulls, len(batch), overflow=overflow
    )
    event(f"found {found}, kept {kept}")
    assert kept or not found
