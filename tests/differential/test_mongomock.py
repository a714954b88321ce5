"""Filters, orders and projections against mongomock, wherever that follows MongoDB's manual.

Where it does not, :data:`EXCEPTIONS` shows one document of each kind and what MongoDB says, and
:func:`excuse` leaves such documents out of the comparison. The exceptions are strict: they fail
once mongomock agrees.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import mongomock
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from mongomock.filtering import NOTHING, filter_applies, iter_key_candidates, resolve_sort_key

from parquedb.query.compare import MISSING, compare_key
from parquedb.query.match import compile_match
from parquedb.query.parse import parse_filter, parse_projection, parse_sort
from parquedb.query.project import project
from parquedb.query.sort import sort_documents
from tests.support.reach import reached

Document = dict[str, Any]

EXCEPTIONS: list[tuple[Document, Document, bool]] = [
    # A filter, a document, and whether MongoDB finds it.
    # Booleans are not numbers.
    ({"a": 1}, {"a": True}, False),
    # An element of a list may be the list that is asked for.
    ({"a": {"$eq": [2]}}, {"a": [[2]]}, True),
    ({"a": {"$lt": [4]}}, {"a": [[3]]}, True),
    # $in and $all compare the list as a whole too.
    ({"a": {"$in": [[2]]}}, {"a": [2]}, True),
    ({"a": {"$all": [[2]]}}, {"a": [2]}, True),
    # An empty $all finds nothing, null in it what is missing.
    ({"a": {"$all": []}}, {"a": [2]}, False),
    ({"a": {"$all": [None]}}, {}, True),
    # Missing is null in comparisons, too, and is what there is below a number.
    ({"a": {"$gte": None}}, {}, True),
    ({"a.b": None}, {"a": 5}, True),
    # $exists: false and $not are negations, whatever the path reaches.
    ({"a.b": {"$exists": False}}, {"a": [{"b": 2}, {}]}, False),
    ({"a.b": {"$not": {"$gt": 2}}}, {"a": []}, True),
    # An empty document is not equal to nothing.
    ({"a": {}}, {}, False),
    # Only lists have a size, and elements to be matched.
    ({"a": {"$size": 1}}, {"a": {"b": 2}}, False),
    ({"a": {"$size": 1}}, {"a": 7}, False),
    ({"a": {"$all": [{"$elemMatch": {"$gt": 2}}]}}, {"a": 3}, False),
    # $elemMatch of fields is for documents, that of a value for the element itself.
    ({"a": {"$elemMatch": {"b": {"$ne": 2}}}}, {"a": [3]}, False),
    ({"a": {"$elemMatch": {"$gt": 2}}}, {"a": [[3]]}, False),
    ({"a": {"$elemMatch": {"$not": {"$gt": 2}}}}, {"a": [3]}, False),
    # An index is also a key of the list's documents; a list that it names is taken as a whole.
    ({"a.0": 2}, {"a": [{"0": 2}]}, True),
    ({"a.0": 2}, {"a": [[2]]}, False),
]


@pytest.mark.parametrize(("spec", "document", "found"), EXCEPTIONS, ids=str)
def test_exceptions(spec: Document, document: Document, found: bool) -> None:
    assert compile_match(parse_filter(spec))(document) is found
    assert bool(filter_applies(spec, document)) is not found
    assert excuse(spec, document) is not None or spec == {"a": 1}


# Numbers that are not equal to booleans, which mongomock does not tell apart.
SCALARS = (
    None, True, False, 2, 3, 2.0, 2.5, -3, "", "a", "b", "ab", datetime(2020, 1, 1),
    datetime(2021, 1, 1),
)  # fmt: skip
PLAIN = st.sampled_from(SCALARS)
PATHS = ("a", "b", "a.b", "a.b.c", "b.a", "a.0", "a.1", "a.0.b")


def sorted_mapping(fields: Document) -> Document:
    """Documents order by their keys as they stand in MongoDB, by sorted keys here."""
    return {name: fields[name] for name in sorted(fields)}


def mappings(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(sorted_mapping)


VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | mappings(inner), max_leaves=6
)
DOCUMENTS = st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES})
OPERANDS = PLAIN | st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=2) | mappings(inner), max_leaves=3
)
PATTERNS = st.sampled_from(["^a", "b$", "a|b", "^$", "A"])
TYPES = ("double", "string", "object", "array", "bool", "date", "int", "number")

COMPARISONS = st.builds(
    lambda operator, operand: {operator: operand},
    st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]),
    OPERANDS,
)
SETS = st.builds(
    lambda operator, operands: {operator: operands},
    st.sampled_from(["$in", "$nin"]),
    st.lists(OPERANDS | PATTERNS.map(re.compile), min_size=1, max_size=3),
)
SHAPES = st.one_of(
    st.sampled_from(TYPES).map(lambda alias: {"$type": alias}),
    st.integers(0, 3).map(lambda size: {"$size": size}),
)
RANGES = st.builds(
    lambda low, high: {"$gte": low, "$lt": high},
    st.sampled_from([2, "a"]),
    st.sampled_from([3, "b"]),
)
REGEXES = st.builds(
    lambda pattern, flags: {"$regex": pattern, "$options": flags},
    PATTERNS,
    st.sampled_from(["", "i"]),
)
WHOLE = st.one_of(
    st.booleans().map(lambda wanted: {"$exists": wanted}),
    st.lists(OPERANDS, min_size=1, max_size=3).map(lambda operands: {"$all": operands}),
)
ELEMENTS = st.one_of(
    COMPARISONS,
    SETS,
    SHAPES,
    RANGES,
    st.dictionaries(
        st.sampled_from("abc"), PLAIN | COMPARISONS | SETS | SHAPES | WHOLE | REGEXES, max_size=2
    ),
).map(lambda inner: {"$elemMatch": inner})
LEAVES = st.builds(
    lambda path, test: {path: test},
    st.sampled_from(PATHS),
    st.one_of(
        OPERANDS,
        COMPARISONS,
        SETS,
        SHAPES,
        RANGES,
        REGEXES,
        WHOLE,
        ELEMENTS,
        PATTERNS.map(re.compile),
        st.one_of(COMPARISONS, SETS, SHAPES, RANGES, WHOLE, ELEMENTS).map(
            lambda test: {"$not": test}
        ),
        st.lists(ELEMENTS, min_size=1, max_size=2).map(lambda tests: {"$all": tests}),
    ),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda operator, parts: {operator: parts},
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda one, other: {**one, **other}, inner, inner),
    ),
    max_leaves=4,
)


def excuse(spec: Document, document: Document) -> str | None:
    """Return why mongomock's answer does not count, None if it does."""
    for key, value in spec.items():
        if key in ("$and", "$or", "$nor"):
            reasons = [excuse(part, document) for part in value]
        else:
            reasons = list(field_excuses(key, value, document))
        for reason in reasons:
            if reason is not None:
                return reason
    return None


def field_excuses(path: str, value: Any, document: Document) -> Iterator[str | None]:
    candidates = [
        MISSING if found is NOTHING else found for found in iter_key_candidates(path, document)
    ]
    ours = list(reached(document, tuple(path.split(".")), fans=False))
    if Counter(map(compare_key, candidates)) != Counter(map(compare_key, ours)):
        yield "the path"
    if any(part.isdigit() for part in path.split(".")) and any(
        isinstance(found, list) for found in candidates
    ):
        yield "a list named by its index"
    if value == {} and {} not in ours:
        yield "an empty document"
    if not isinstance(value, dict) or not any(key.startswith("$") for key in value):
        return
    for operator, operand in value.items():
        yield operator_excuse(operator, operand, candidates)


def operator_excuse(operator: str, operand: Any, candidates: list[Any]) -> str | None:
    lists = [found for found in candidates if isinstance(found, list)]
    match operator:
        case "$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte":
            if isinstance(operand, list) and any(
                isinstance(element, list) for found in lists for element in found
            ):
                return "lists in lists"
            if operator in ("$gte", "$lte") and operand is None and MISSING in candidates:
                return "null is at least null"
        case "$in" | "$nin":
            return "lists in $in" if any(isinstance(one, list) for one in operand) else None
        case "$all":
            return all_excuse(operand, candidates, lists)
        case "$exists":
            return "$exists: false" if not operand and len(candidates) > 1 else None
        case "$size":
            return "$size of what is no list" if len(lists) < len(candidates) else None
        case "$elemMatch":
            return element_excuse(operand, lists)
        case "$not":
            if not candidates:
                return "$not where there is nothing"
            inner = [operator_excuse(*one, candidates) for one in operand.items()]
            return next(filter(None, inner), None)
        case _:
            return None
    return None


def all_excuse(operands: list[Any], candidates: list[Any], lists: list[Any]) -> str | None:
    if not operands or 0 < len(lists) < len(candidates) or (lists and not all(lists[:1])):
        return "$all of several"
    if any(isinstance(one, list | re.Pattern) for one in operands):
        return "lists and patterns in $all"
    if None in operands and MISSING in candidates:
        return "$all of null"
    inner = [one["$elemMatch"] for one in operands if isinstance(one, dict) and "$elemMatch" in one]
    if inner and len(lists) < len(candidates):
        return "$elemMatch in $all of what is no list"
    return next(filter(None, (element_excuse(one, lists) for one in inner)), None)


def element_excuse(inner: Document, lists: list[Any]) -> str | None:
    elements = [element for found in lists for element in found]
    if any(key.startswith("$") for key in inner):
        if "$not" in inner or any(isinstance(element, list) for element in elements):
            return "lists in $elemMatch"
        reasons = [
            operator_excuse(*one, [element]) for one in inner.items() for element in elements
        ]
    else:
        if not all(isinstance(element, dict) for element in elements):
            return "no documents in $elemMatch"
        reasons = [excuse(inner, element) for element in elements]
    return next(filter(None, reasons), None)


@settings(max_examples=500, deadline=None)
@given(FILTERS, st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_filters(spec: Document, some: list[Document]) -> None:
    match = compile_match(parse_filter(spec))
    for document in some:
        reason = excuse(spec, document)
        event(reason or "compared")
        if reason is None:
            assert match(document) is bool(filter_applies(spec, document)), document


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"a": PLAIN | mappings(PLAIN), "b": PLAIN}), max_size=8
    ),
    st.sampled_from(["a", "b", "a.b"]),
    st.sampled_from([1, -1]),
)
def test_orders(some: list[Document], path: str, direction: int) -> None:
    """Without lists, of which mongomock takes the first element and not the least or greatest."""
    expected = sorted(
        some, key=lambda document: resolve_sort_key(path, document), reverse=direction < 0
    )
    assert sort_documents(some, parse_sort({path: direction})) == expected


INNER = mappings(PLAIN)
"""Without scalars where a path goes on, which mongomock leaves out also when it excludes."""


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries({}, optional={"a": INNER | st.lists(INNER, max_size=2), "b": INNER}),
    st.sets(st.sampled_from(["a", "b", "a.b", "a.c", "b.a"]), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_projections(document: Document, paths: set[str], including: bool, with_id: bool) -> None:
    assume(
        not any(one != other and other.startswith(one + ".") for one in paths for other in paths)
    )
    spec = {path: int(including) for path in sorted(paths)}
    collection = mongomock.MongoClient().db.things
    collection.insert_one({"_id": 7, **document})
    expected = collection.find_one({}, {**spec, "_id": int(with_id)})
    if "_id" in expected:
        expected["$id"] = expected.pop("_id")
    kept = project(parse_projection({**spec, "$id": with_id}), {"$id": 7, **document})
    assert kept == expected
