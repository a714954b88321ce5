from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.query.compare import MISSING, Bracket, bracket_of, compare_key, equal
from tests.support.documents import values


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


ASCENDING = [
    None,
    float("nan"),
    float("-inf"),
    -(10**30),
    Decimal("-1.5"),
    -1,
    0,
    Decimal("0.1"),  # 0.1 as a double is a little more
    0.1,
    1,
    2**53,
    2**53 + 1,
    10**30,
    float("inf"),
    "",
    "A",
    "a",
    "aa",
    "\ud7ff",
    "\uffff",
    "\U00010000",  # by code point, not by UTF-16 unit
    {},
    {"a": 1},
    {"a": 2},
    {"b": 1},
    {"a": "x"},
    [],
    [1],
    [1, 1],
    [2],
    ["a"],
    b"",
    b"\xff",
    b"\x00\x00",  # length before content
    bytes(16),
    uuid.UUID(int=0),
    uuid.UUID(int=1),
    False,
    True,
    date(1969, 12, 31),
    datetime(1969, 12, 31, 12),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 0, 1),
]


@pytest.mark.parametrize(("low", "high"), list(pairwise(ASCENDING)))
def test_values_are_ordered_across_types(low: object, high: object) -> None:
    assert compare_key(low) < compare_key(high)
    assert not compare_key(high) < compare_key(low)
    assert not equal(low, high)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, Decimal("1.00")),
        (0.5, Decimal("0.5")),
        (0.0, -0.0),
        (2**70, float(2**70)),
        (None, MISSING),
        (float("nan"), float("nan")),
        (date(2020, 1, 1), datetime(2020, 1, 1)),
        (date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)),
        (
            datetime(2020, 1, 1, 12, tzinfo=UTC),
            datetime(2020, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        ),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}),
        (Color.RED, "red"),
        (Level.LOW, 1),
        ([1, {"a": None}], (1.0, {"a": None})),
    ],
)
def test_equal(one: object, other: object) -> None:
    assert equal(one, other)
    assert compare_key(one) == compare_key(other)
    assert hash(compare_key(one)) == hash(compare_key(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        ("1", 1),
        (None, False),
        ({}, []),
        ({"a": None}, {}),
        ([1], [True]),
        ({"a": 1}, {"a": True}),
        (bytes(16), uuid.UUID(int=0)),
        ("a", b"a"),
        (2**53 + 1, float(2**53)),
        (Decimal("0.1"), 0.1),
    ],
)
def test_not_equal(one: object, other: object) -> None:
    assert not equal(one, other)


def test_brackets_are_mongodbs() -> None:
    assert bracket_of(MISSING) == bracket_of(None) == Bracket.NULL
    assert bracket_of(True) == Bracket.BOOLEAN
    assert bracket_of(Decimal(1)) == Bracket.NUMBER
    assert bracket_of(date(2020, 1, 1)) == bracket_of(datetime(2020, 1, 1)) == Bracket.DATE
    assert bracket_of(uuid.UUID(int=0)) == bracket_of(b"") == Bracket.BINARY
    assert bracket_of(timedelta(1)) == Bracket.OTHER


def test_times_that_clocks_repeat_are_instants() -> None:
    """Python never finds such a time equal to one of another zone."""
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2020, 10, 25, 2, 30, tzinfo=zone)
    assert equal(first, datetime(2020, 10, 25, 0, 30, tzinfo=UTC))
    assert equal(first.replace(fold=1), datetime(2020, 10, 25, 1, 30, tzinfo=UTC))


@given(st.lists(values(), max_size=6))
def test_the_order_is_total(some: list[object]) -> None:
    keys = sorted(map(compare_key, some))
    assert sorted(compare_key(value) for value in reversed(some)) == keys
    for low, high in pairwise(keys):
        assert low <= high
        assert (low == high) == (not low < high)
