"""Our updates against mongomock's; MongoDB's manual decides where mongomock is wrong.

Where mongomock is known to be wrong, or raises something of its own, the case is not compared; it
is in tests/unit/documents/test_update.py instead, with the manual's result.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from parquedb.documents.update import apply_update, parse_update
from parquedb.errors import ParqueDBError
from parquedb.query.compare import compare_key

mongomock = pytest.importorskip("mongomock")

NOW = datetime(2024, 5, 6, tzinfo=UTC)

NAMES = st.sampled_from("abcd")
NUMBERS = st.integers(-5, 5) | st.sampled_from([0.5, -1.5, 2.0])
# No booleans, except in test_values: mongomock takes True for 1.
SCALARS = st.none() | NUMBERS | st.sampled_from(["", "x", "y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "d", "0", "1"]), min_size=1, max_size=3).map(
    ".".join
)
RECORDS = st.fixed_dictionaries({"a": NUMBERS, "b": NUMBERS})
ELEMENTS = st.lists(NUMBERS, max_size=5) | st.lists(RECORDS, max_size=5)
MEMBERS = st.none() | st.integers(-5, 5) | st.sampled_from([0.5, "", "x"]) | RECORDS
CONDITIONS = (
    SCALARS
    | st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$ne"]), NUMBERS).map(
        lambda pair: {pair[0]: pair[1]}
    )
    | st.lists(NUMBERS, max_size=3).map(lambda values: {"$in": values})
    | st.dictionaries(st.sampled_from("ab"), NUMBERS, min_size=1)
    | st.dictionaries(st.sampled_from("ab"), NUMBERS.map(lambda n: {"$gte": n}), min_size=1)
)


def theirs(document: dict[str, Any], update: dict[str, Any]) -> Any:
    """Return what mongomock makes of a document, or the exception it raises."""
    collection = mongomock.MongoClient().db.c
    collection.insert_one({"_id": 1, **copy.deepcopy(document)})
    try:
        collection.update_one({"_id": 1}, copy.deepcopy(update))
    except Exception as error:  # noqa: BLE001 - it raises whatever comes about
        return error
    found = collection.find_one({"_id": 1})
    del found["_id"]
    return found


def ours(document: dict[str, Any], update: dict[str, Any]) -> Any:
    """Return what we make of it, or the exception."""
    try:
        return apply_update(parse_update(update), document, now=NOW)
    except ParqueDBError as error:
        return error


def exactly(value: Any) -> Any:
    """Return a form in which 1, 1.0 and True differ and the order of keys does not count."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return (type(value).__name__, value)


def compare(document: dict[str, Any], update: dict[str, Any]) -> None:
    """Compare what both make of a document, unless one of them refuses."""
    found = ours(document, update)
    if isinstance(found, ParqueDBError):
        event("we refuse")
        return
    wanted = theirs(document, update)
    if isinstance(wanted, Exception):
        event("they raise")
        return
    event("compared")
    assert exactly(found) == exactly(wanted)


@given(DOCUMENTS, st.sampled_from(["$set", "$unset"]), PATHS, VALUES | st.booleans())
@settings(max_examples=300)
def test_values(document: dict[str, Any], operator: str, path: str, value: Any) -> None:
    """Elements are not unset: mongomock leaves them; the manual says that they become null."""
    if operator == "$set" or not path[-1].isdigit():
        compare(document, {operator: {path: value}})


@given(NUMBERS, st.sampled_from(["$min", "$max"]), st.sampled_from(["a", "b", "b.c"]), NUMBERS)
@settings(max_examples=100)
def test_bounds(number: Any, operator: str, path: str, bound: Any) -> None:
    """Of numbers only: mongomock compares by Python's rules."""
    compare({"a": number}, {operator: {path: bound}})


@given(DOCUMENTS, st.sampled_from(["$inc", "$mul"]), PATHS, NUMBERS)
@settings(max_examples=300)
def test_numbers(document: dict[str, Any], operator: str, path: str, number: Any) -> None:
    compare(document, {operator: {path: number}})


@given(
    st.fixed_dictionaries({"a": VALUES, "b": st.fixed_dictionaries({"c": VALUES, "d": VALUES})}),
    st.sampled_from(["a", "b.c", "b.d", "b"]),
    st.sampled_from(["a", "b.c", "b.e", "c", "c.d"]),
)
@settings(max_examples=200)
def test_rename(document: dict[str, Any], path: str, target: str) -> None:
    compare(document, {"$rename": {path: target}})


@given(
    ELEMENTS,
    st.lists(NUMBERS, max_size=3),
    st.none() | st.integers(-6, 6),
    st.none() | st.integers(-6, 6),
    st.none() | st.sampled_from([1, -1]),
)
@settings(max_examples=200)
def test_push(
    elements: list[Any], values: list[Any], position: int | None, cut: int | None, order: int | None
) -> None:
    push: dict[str, Any] = {"$each": values}
    if position is not None:
        push["$position"] = position
    if cut is not None:
        push["$slice"] = cut
    if order is not None:
        push["$sort"] = order
    compare({"a": elements}, {"$push": {"a": push}})


@given(ELEMENTS, CONDITIONS)
@settings(max_examples=200)
def test_pull(elements: list[Any], condition: Any) -> None:
    compare({"a": elements}, {"$pull": {"a": condition}})


@given(st.lists(MEMBERS, max_size=5), st.lists(MEMBERS, max_size=3, unique_by=compare_key))
@settings(max_examples=200)
def test_sets(elements: list[Any], values: list[Any]) -> None:
    """No value twice: mongomock adds it twice."""
    compare({"a": elements}, {"$pullAll": {"a": values}})
    compare({"a": elements}, {"$addToSet": {"a": {"$each": values}}})


@given(DOCUMENTS, st.sampled_from(["$push", "$addToSet", "$pop"]), PATHS, NUMBERS)
@settings(max_examples=200)
def test_lists_anywhere(document: dict[str, Any], operator: str, path: str, number: Any) -> None:
    compare(document, {operator: {path: 1 if operator == "$pop" else number}})
