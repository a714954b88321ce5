"""What a document may hold, how it is refused, and the normal form."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given

from parquedb.errors import InvalidInputError
from parquedb.rows.columns import evolve, system_schema
from parquedb.rows.jsonform import encode_document
from parquedb.rows.shred import shred
from parquedb.rows.values import (
    MAX_DEPTH,
    MAX_SIZE_BYTES,
    STORED_BYTES,
    checked_copy,
    plain,
)
from parquedb.rows.values import check_document as check_only
from tests.support.core import both_ways  # noqa: F401  (a fixture)
from tests.support.stored import Color, Level, same, values

BERLIN = timezone(timedelta(hours=1))


class NoZone(tzinfo):
    """A zone that does not know its offset, so its times count as naive."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


def check_document(document: Any, where: str) -> int:
    """Check a document in both ways, which must agree."""
    refused = None
    try:
        size_bytes = check_only(document, where)
    except InvalidInputError as error:
        refused = error
    if refused is not None:
        with pytest.raises(InvalidInputError) as raised:
            checked_copy(document, where)
        assert str(raised.value) == str(refused)
        raise refused
    before = copy.deepcopy(document)
    copied, found_bytes = checked_copy(document, where)
    assert found_bytes == size_bytes
    assert same(copied, plain(document))
    _spoil(copied)
    assert same(document, before)
    return size_bytes


def _spoil(value: Any) -> None:
    """Change every list and dict, which nobody else may have."""
    if isinstance(value, dict | list):
        for item in list(value.values() if isinstance(value, dict) else value):
            _spoil(item)
        value.clear()


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"d": value}
    return value


BAD = [
    ({"a": float("nan")}, r"^users/1: a: NaN"),
    ({"a": {"b": [1.5, float("nan")]}}, r"^users/1: a\.b\.1: NaN"),
    ({"a": [0.5, float("nan"), 0.5]}, r"a\.1: NaN"),
    ({"a": np.float64("nan")}, "a: NaN"),
    ({"a": "\ud800"}, r"^users/1: a: the text holds half of a surrogate pair"),
    ({"a": ["x", "\udfff"]}, r"a\.1: the text holds half"),
    ({"a": {"\ud800": 1}}, r"a: the key '\\ud800' holds half"),
    ({"\ud800": 1}, r"^users/1: the key '\\ud800' holds half"),
    ({1: 2}, "^users/1: the key 1 is no str but int"),
    ({"a": {None: 2}}, "^users/1: a: the key None is no str but NoneType"),
    ({"a": {1, 2}}, "a: set is no kind of value"),
    ({"a": [{"b": object()}]}, r"a\.0\.b: object is no kind"),
    ({"a": time(1)}, "a: datetime.time is no kind"),
    ({"a": timedelta(1)}, "a: datetime.timedelta is no kind"),
    ({"a": Fraction(1, 2)}, "a: fractions.Fraction is no kind"),
    ({"a": 1j}, "a: complex is no kind"),
    ({"a": bytearray(b"x")}, "a: bytearray is no kind"),
    ({"a": np.int64(1)}, "a: numpy.int64 is no kind"),
    ({"a": np.bool_(True)}, "a: numpy.bool is no kind"),
    ({"a": Decimal("NaN")}, "a: Decimal.'NaN'. is not finite"),
    ({"a": [Decimal("Infinity")]}, "a.0: Decimal.'Infinity'. is not finite"),
    ({"a": datetime.min.replace(tzinfo=BERLIN)}, "a: .* is not between the years 1 and 9999"),
    ({"a": nested(MAX_DEPTH + 1)}, "nested deeper than 100 levels"),
    ({"a": nested(5000)}, "nested deeper than 100 levels"),
    ({"a": "x" * (STORED_BYTES + 1)}, r"more than 16\d{6} bytes; keep large content"),
    ({"a": ["x" * (MAX_SIZE_BYTES // 4)] * 5}, r"more than 16\d{6} bytes"),
]


@pytest.mark.parametrize(("document", "message"), BAD)
def test_bad_values_are_refused(document: dict[Any, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_document({"$id": "users/1", **document}, "users/1")


@pytest.mark.parametrize(("document", "message"), BAD)
def test_bad_values_never_become_rows(document: dict[Any, Any], message: str) -> None:
    """Whatever the columns are, promoted for good values or missing."""
    bad = {"$id": "users/1", **document}
    good: list[dict[str, Any]] = [{"$id": "users/2", "a": 1.5}, {"$id": "users/3"}]
    typed: list[Any] = [1.5, "x", ["x"], [1.5], {"b": [1.5]}, {"b": "x"}, Decimal(1),
                        datetime(2020, 1, 1, tzinfo=UTC), None]  # fmt: skip
    for value in typed:
        schema = evolve(None, [{"$id": "users/2", "a": value}])
        with pytest.raises(InvalidInputError, match=message):
            shred([*good, bad, *good], schema)
    with pytest.raises(InvalidInputError, match=message):
        shred([bad], evolve(None, [bad]))


def test_cycles_and_shared_parts_end() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InvalidInputError, match="nested deeper"):
        check_document({"a": cycle}, "users/1")
    doubled: Any = ["x" * 100]
    for _ in range(60):
        doubled = [doubled, doubled]
    with pytest.raises(InvalidInputError, match="more than 16777216"):
        check_document({"a": doubled}, "users/1")
    with pytest.raises(InvalidInputError, match="more than 16777216"):
        shred([{"$id": "users/1", "a": doubled}], system_schema())


def test_all_problems_are_listed() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_document({"a": float("nan"), "b": {"c": [set()]}, 3: 1}, "users/1")
    message = str(caught.value)
    assert message.startswith("users/1: ")
    assert all(part in message for part in ("a: NaN", "b.c.0: set", "the key 3"))
    many = {f"k{n}": set() for n in range(50)}
    with pytest.raises(InvalidInputError, match="and 30 more"):
        check_document(many, "users/1")


def test_problems_of_many_documents_are_listed() -> None:
    docs: list[dict[str, Any]] = [{"$id": f"users/{n}", "a": n} for n in range(10)]
    docs[3]["a"] = set()
    docs[7]["b"] = float("nan")
    with pytest.raises(InvalidInputError) as caught:
        shred(docs, evolve(None, docs[:2]))
    assert "2 of 10 documents" in str(caught.value)
    assert "users/3: a: set" in str(caught.value)
    assert "users/7: b: NaN" in str(caught.value)


def test_limits_are_inclusive() -> None:
    assert check_document({"a": nested(MAX_DEPTH)}, "users/1") > 0
    text = "x" * (MAX_SIZE_BYTES - len(encode_document({"a": ""})))
    assert check_document({"a": text}, "users/1") == MAX_SIZE_BYTES
    with pytest.raises(InvalidInputError, match="more than 16777216"):
        check_document({"a": text + "x"}, "users/1")
    ints = [1] * 3_000_000
    length = len(encode_document({"a": ints}))
    for many, size_bytes in ((ints, length), (["x", *ints], length + 4)):
        assert check_only({"a": many}, "users/1") == size_bytes
        copied, found_bytes = checked_copy({"a": many}, "users/1")
        assert found_bytes == size_bytes
        assert copied["a"] == many
        assert copied["a"] is not many
    # Six bytes of JSON each: few characters, but too long a text.
    with pytest.raises(InvalidInputError, match="more than 16777216"):
        check_document({"a": "\0" * (MAX_SIZE_BYTES // 5)}, "users/1")
    with pytest.raises(InvalidInputError, match="users/1: the document's JSON form"):
        shred([{"$id": "users/1", "a": "\0" * (MAX_SIZE_BYTES // 5)}], system_schema())


def test_size_is_about_the_length_of_the_json() -> None:
    document = {"$id": "users/1", "name": "Alice", "tags": ["a", "b"], "x": 1.5, "é": "é" * 40}
    length = len(encode_document(document))
    assert length / 2 < check_document(document, "users/1") <= length


@given(values)
def test_size_is_at_most_the_length_of_the_json(value: Any) -> None:
    document = {"a": value, "b": [value, value], "c": {"d": (value,)}}
    length = len(encode_document(document))
    assert check_document(document, "users/1") <= length
    document["c"] = {"d": [value]}
    assert length / 8 <= check_document(document, "users/1") <= length


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Blob(bytes):
    pass


class Id(UUID):
    pass


class Money(Decimal):
    pass


class Day(date):
    pass


class Moment(datetime):
    pass


Pair = namedtuple("Pair", "a b")

NORMAL = [
    (Color.RED, "red"),
    (Level.LOW, 1),
    (Text("x"), "x"),
    (Number(5), 5),
    (np.float64(1.5), 1.5),
    (Blob(b"x"), b"x"),
    (Id(int=5), UUID(int=5)),
    (Money("1.10"), Decimal("1.10")),
    (Day(2020, 1, 2), date(2020, 1, 2)),
    (Moment(2020, 1, 2, 3), datetime(2020, 1, 2, 3)),
    (Moment(2020, 1, 2, 3, tzinfo=BERLIN), datetime(2020, 1, 2, 2, tzinfo=UTC)),
    (datetime(2020, 1, 2, 3, tzinfo=BERLIN), datetime(2020, 1, 2, 2, tzinfo=UTC)),
    (datetime(2020, 1, 2, 3, tzinfo=NoZone()), datetime(2020, 1, 2, 3)),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    (OrderedDict(a=Text("x")), {"a": "x"}),
    ({Color.RED: 1}, {"red": 1}),
    ([Level.LOW, 2], [1, 2]),
    (True, True),
]


@pytest.mark.parametrize(("value", "wanted"), NORMAL)
def test_normal_form(value: Any, wanted: Any) -> None:
    document = {"a": value, "b": [value], "c": {"d": value}}
    want = {"a": wanted, "b": [wanted], "c": {"d": wanted}}
    assert check_document(document, "users/1") > 0
    assert same(plain(document), want)
    text = encode_document(document)
    assert text == encode_document(want)


@given(values)
def test_plain_is_a_copy(value: Any) -> None:
    before = copy.deepcopy(value)
    got = plain([value])[0]
    assert same(plain(got), got)
    if isinstance(got, dict):
        got["new"] = 1
    elif isinstance(got, list):
        got.append(1)
    assert value == before


def test_plain_refuses_what_is_no_value() -> None:
    for bad in (set(), {1: 2}, [object()]):
        with pytest.raises(InvalidInputError, match=r"no kind|no str"):
            plain(bad)


def test_nanoseconds_are_refused() -> None:
    class Stamp(datetime):
        nanosecond = 1

    with pytest.raises(InvalidInputError, match=r"a: .* has nanoseconds"):
        check_document({"a": Stamp(2020, 1, 1)}, "users/1")


@pytest.mark.parametrize("document", [None, 5, [("a", 1)], "text"])
def test_what_is_no_document(document: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^users/1: a document is a dict"):
        check_document(document, "users/1")
    with pytest.raises(InvalidInputError, match=r"^document 1: a document is a dict"):
        shred([{"$id": "users/1"}, document], system_schema())
