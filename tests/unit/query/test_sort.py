from __future__ import annotations

import heapq
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError
from parquedb.query.sort import SortKey, parse_sort, sort_documents, sort_key
from tests.support.documents import documents

AGE, NAME = SortKey(("age",)), SortKey(("name",))
OLDEST = SortKey(("age",), descending=True)


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        (None, ()),
        ([], ()),
        ({}, ()),
        ("age", (AGE,)),
        ("-age", (OLDEST,)),
        ("-a.b", (SortKey(("a", "b"), descending=True),)),
        ("$id", (SortKey(("$id",)),)),
        (["-age", "name"], (OLDEST, NAME)),
        (("-age", "name"), (OLDEST, NAME)),
        ({"age": -1, "name": 1}, (OLDEST, NAME)),
        ([("age", 1)], (AGE,)),
        ([("age", -1.0), "name"], (OLDEST, NAME)),
        ({"-age": 1}, (SortKey(("-age",)),)),
    ],
)
def test_parse(spec: Any, keys: tuple[SortKey, ...]) -> None:
    assert parse_sort(spec) == keys


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (5, "5 is no order"),
        (("age", -1), "-1 is no field and direction"),
        ([("age",)], "is no field and direction"),
        ([(1, 1)], "is no field and direction"),
        ({"age": 2}, "age: the direction must be 1 (ascending) or -1 (descending), not 2"),
        ({"age": True}, "not True"),
        ({"age": "desc"}, "not 'desc'"),
        ({1: 1}, "is no field and direction"),
        ("", "a field's name is empty"),
        ("-", "a field's name is empty"),
        (["age", "-age"], "'age' is named twice"),
    ],
)
def test_refuse(spec: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_sort(spec)
    assert message in str(error.value)


def order(spec: Any, *found: Any) -> list[Any]:
    return [
        document["v"]
        for document in sort_documents([{"v": value} for value in found], parse_sort(spec))
    ]


def test_types_follow_each_other() -> None:
    ascending = [
        [], None, -1, Decimal("0.5"), 2.0, "A", "a", {}, {"a": 1}, b"x", False, True,
        date(2020, 1, 1), datetime(2020, 1, 2, tzinfo=UTC),
    ]  # fmt: skip
    assert order("v", *reversed(ascending)) == ascending
    assert order("-v", *ascending) == list(reversed(ascending))


def test_lists_count_as_their_least_or_greatest_element() -> None:
    assert order("v", [5, 3], 4, [9, 1], [], 2) == [[], [9, 1], 2, [5, 3], 4]
    assert order("-v", [5, 3], 4, [9, 1], [], 2) == [[9, 1], [5, 3], 4, 2, []]
    assert order("v", [[2]], [[1, 5], "a"], 3) == [3, [[1, 5], "a"], [[2]]]


def test_paths() -> None:
    found = [{"b": 3}, [{"b": 2}, {"b": 9}], [{"b": 5}, {}], 7, [], [1], [{"b": [4, 1]}]]
    assert order("v.b", *found) == [
        [{"b": 5}, {}], 7, [], [1], [{"b": [4, 1]}], [{"b": 2}, {"b": 9}], {"b": 3},
    ]  # fmt: skip
    assert order("-v.b", *found)[:4] == [
        [{"b": 2}, {"b": 9}], [{"b": 5}, {}], [{"b": [4, 1]}], {"b": 3},
    ]  # fmt: skip
    assert order("v.0", [3, 1], [2, 5], {"0": 1}, [{"0": 0}]) == [
        {"0": 1}, [2, 5], [3, 1], [{"0": 0}],
    ]  # fmt: skip
    assert order("v.1.b", [0, {"b": 2}], [0, {"b": 1}], [0]) == [
        [0], [0, {"b": 1}], [0, {"b": 2}],
    ]  # fmt: skip


def test_missing_is_null() -> None:
    some = [{"n": 1, "v": 0}, {"n": 2}, {"n": 3, "v": None}, {"n": 4, "v": -1}]
    assert [one["n"] for one in sort_documents(some, parse_sort("v"))] == [2, 3, 4, 1]
    assert [one["n"] for one in sort_documents(some, parse_sort("-v"))] == [1, 4, 2, 3]


def test_no_order_keeps_the_documents() -> None:
    some = [{"n": 2}, {"n": 1}]
    assert sort_documents(some, ()) == some
    assert sort_documents(iter(some), (), limit=1) == some[:1]


def test_large_decimals_turn_round_exactly() -> None:
    big = Decimal("1" * 40)
    assert order("-v", big, Decimal("1" * 39 + "2")) == [Decimal("1" * 39 + "2"), big]
    keys = parse_sort("-v")
    assert sort_key(keys)({"v": Decimal("1" * 39 + "2")}) < sort_key(keys)({"v": big})


@given(
    st.lists(documents(), max_size=8),
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "a.b", "a.0"]), st.sampled_from([1, -1])),
        max_size=3,
        unique_by=lambda pair: pair[0],
    ),
    st.integers(0, 9),
)
def test_keys_and_passes_order_alike(
    some: list[dict[str, Any]], spec: list[tuple[str, int]], limit: int
) -> None:
    keys = parse_sort(spec)
    ordered = [id(document) for document in sort_documents(some, keys)]
    assert [id(document) for document in sorted(some, key=sort_key(keys))] == ordered
    limited = sort_documents(some, keys, limit=limit)
    assert [id(document) for document in limited] == ordered[:limit]
    assert [
        id(one) for one in heapq.merge(some[:0], sort_documents(some, keys), key=sort_key(keys))
    ] == ordered
