from __future__ import annotations

import copy
import enum
import math
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.documents.entity import Entity
from parquedb.documents.rules import CollectionRules
from parquedb.documents.schema import parse_schema
from parquedb.documents.validate import validate
from parquedb.errors import InvalidInputError, ValidationError

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
KEY = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Role(enum.StrEnum):
    ADMIN = "admin"


class Plain(enum.Enum):
    ADMIN = "admin"


class Number(enum.IntEnum):
    ONE = 1


def fitted(notation: Any, value: Any) -> Any:
    rules = parse_schema("T", {"f": notation})
    return validate(rules, {"f": value}, creating=True, now=NOW)["f"]


def problem(notation: Any, value: Any) -> str:
    rules = parse_schema("T", {"f": notation})
    with pytest.raises(ValidationError) as caught:
        validate(rules, {"f": value}, creating=True, now=NOW)
    ((_, text),) = caught.value.problems
    return text


@pytest.mark.parametrize(
    ("notation", "value"),
    [
        ("string", "a"),
        ("int", -(2**63)),
        ("float", math.inf),
        ("bool", False),
        ("bytes", b"\x00"),
        ("datetime", datetime(2020, 1, 1)),
        ("datetime", datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2)))),
        ("date", date(2020, 1, 1)),
        ("uuid", KEY),
        ("decimal", Decimal("1.234")),
        ("decimal(10,2)", Decimal("1.20")),
        ("json", {"a": [1, None]}),
        ("json", object()),
        ("email", "a.b+c@ex-ample.co.uk"),
        ("url", "https://example.org/a?b#c"),
        ("enum(a,b)", "a"),
        ("vector(2)", [1.0, 2.0]),
        ("string[]", ["a", "b"]),
        ("string[]", []),
        ("string?[]", ["a", None]),
        ("int[][]", [[1], []]),
        ({"city": "string"}, {"city": "x", "more": 1}),
        ("-> User", "users/1"),
        ("-> User", "users/with/slash"),
        ("-> User[]", ["users/1", "users/2"]),
        ("string?", None),
        ("-> User?", None),
    ],
)
def test_values_that_pass_as_they_are(notation: Any, value: Any) -> None:
    document = {"f": value}
    assert validate(parse_schema("T", {"f": notation}), document, creating=True) is document


@pytest.mark.parametrize(
    ("notation", "value", "wanted"),
    [
        ("float", 1, 1.0),
        ("float", Number.ONE, 1.0),
        ("float[]", [1, 2.5], [1.0, 2.5]),
        ("vector(2)", (1, 2), [1.0, 2.0]),
        ("int", 3.0, 3),
        ("int", Number.ONE, 1),
        ("string", Role.ADMIN, "admin"),
        ("enum(admin,user)", Role.ADMIN, "admin"),
        ("enum(admin,user)", Plain.ADMIN, "admin"),
        ("bytes", bytearray(b"a"), b"a"),
        ("datetime", date(2020, 1, 31), datetime(2020, 1, 31, tzinfo=UTC)),
        ("datetime", "2020-01-31", datetime(2020, 1, 31, tzinfo=UTC)),
        ("datetime", "2020-01-31T12:30", datetime(2020, 1, 31, 12, 30)),
        ("datetime", "2020-01-31t12:30:01.5z", datetime(2020, 1, 31, 12, 30, 1, 500000, UTC)),
        (
            "datetime",
            "2020-01-31 12:30:01+02:00",
            datetime(2020, 1, 31, 12, 30, 1, tzinfo=timezone(timedelta(hours=2))),
        ),
        ("date", "2020-01-31", date(2020, 1, 31)),
        ("date", datetime(2020, 1, 31), date(2020, 1, 31)),
        ("date", "2020-01-31T00:00:00Z", date(2020, 1, 31)),
        ("uuid", str(KEY), KEY),
        ("decimal", "1.10", Decimal("1.10")),
        ("decimal", 5, Decimal(5)),
        ("decimal", 0.1, Decimal("0.1")),
        ("decimal(10,2)", "1.1", Decimal("1.10")),
        ("decimal(10,2)", 9.99, Decimal("9.99")),
        ("decimal(10,2)", Decimal("1.1000"), Decimal("1.10")),
        ("decimal(38,2)", Decimal("9" * 36), Decimal("9" * 36 + ".00")),
        ("string[]", ("a",), ["a"]),
        ({"n": "float"}, {"n": 1}, {"n": 1.0}),
        ([{"n": "float"}], [{"n": 1}, {"n": 2.0}], [{"n": 1.0}, {"n": 2.0}]),
        ("-> User", "1", "users/1"),
        ("-> User", Entity({"$id": "users/1", "name": "x"}), "users/1"),
        ("-> User[]", "1", ["users/1"]),
        ("-> User[]", [{"$id": "users/1"}, "2"], ["users/1", "users/2"]),
    ],
)
def test_values_that_are_converted(notation: Any, value: Any, wanted: Any) -> None:
    before = copy.deepcopy(value)
    found = fitted(notation, value)
    assert found == wanted
    assert repr(found) == repr(wanted)
    assert value == before


def test_arrays_of_numpy_are_vectors() -> None:
    numpy = pytest.importorskip("numpy")
    assert fitted("vector(2)", numpy.array([1, 2], dtype="float32")) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("notation", "value", "why"),
    [
        ("string", 5, "5 is an int, not a string"),
        ("string", None, "null is not allowed (declare the field with '?' to allow it)"),
        ("string!", None, "null is not allowed (declare the field with '?' to allow it)"),
        ("string", ["a"], "['a'] is a list, not a string"),
        ("string", Plain.ADMIN, "the enum member Plain.ADMIN, not a string"),
        ("int", "5", "'5' is a string, not an int"),
        ("int", True, "True is a bool, not an int"),
        ("int", 1.5, "1.5 is a float, not an int"),
        ("int", 2.0**60, "is a float, not an int"),
        ("int", 2**63, "beyond 64 bits"),
        ("float", 2**53 + 1, "no float exactly"),
        ("float", 10**400, "no float exactly"),
        ("float", True, "True is a bool"),
        ("float", "1.5", "'1.5' is a string"),
        ("float", Decimal(1), "is a Decimal"),
        ("bool", 1, "1 is an int, not a bool"),
        ("bytes", "a", "'a' is a string, not bytes"),
        ("datetime", "yesterday", "not a datetime"),
        ("datetime", "20200131", "not a datetime"),
        ("datetime", "2020-13-01", "month must be in 1..12"),
        ("datetime", 1580000000, "is an int, not a datetime"),
        ("date", datetime(2020, 1, 1, 1), "has a time of day or a zone"),
        ("date", "2020-02-30", "is no date"),
        ("date", 5, "not a date"),
        ("uuid", "x" * 36, "not a UUID"),
        ("uuid", "12345678123456781234567812345678", "not a UUID"),
        ("decimal", "x", "not a decimal"),
        ("decimal", "1_0", "not a decimal"),
        ("decimal", True, "not a decimal"),
        ("decimal", math.inf, "not finite"),
        ("decimal", Decimal("NaN"), "not finite"),
        ("decimal(4,2)", 100, "too many digits before the point"),
        ("decimal(4,2)", Decimal("1.001"), "too many digits after the point"),
        ("decimal(4,2)", Decimal("1E-5000"), "too many digits after the point"),
        ("email", "a", "no e-mail address"),
        ("email", "a@b", "no e-mail address"),
        ("email", "a@b..c", "no e-mail address"),
        ("email", "a b@c.d", "no e-mail address"),
        ("email", "a@b@c.d", "no e-mail address"),
        ("email", "a@b.c\n", "no e-mail address"),
        ("email", "@b.c", "no e-mail address"),
        ("url", "example.org", "no URL"),
        ("url", "http://", "no URL"),
        ("url", "http://a b", "no URL"),
        ("enum(draft,done)", "drafts", "none of 'draft', 'done'; did you mean 'draft'?"),
        ("enum(draft,done)", [], "[] is none of"),
        ({"type": "int", "enum": [1, 2]}, True, "True is none of 1, 2"),
        ({"type": "int", "enum": [1, 2]}, 1.0, "1.0 is none of 1, 2"),
        ("vector(2)", [1.0], "has 1 numbers, 2 are declared"),
        ("string[]", "a", "'a' is a string, not a list"),
        ({"a": "int"}, [], "[] is a list, not a sub-document"),
        ("-> User", "posts/1", 'begin with "users/"'),
        ("-> User", "users/", 'no id of a User ("users/…")'),
        ("-> User", "a\nb", "no id of a User"),
        ("-> User", 5, '5 is an int, not the id of a User ("users/…")'),
        ("-> User[]", 5, "not a list"),
        ("<- Post.author[]", [], "set Post.author instead"),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "abcd", "longer than 3"),
        ({"type": "int", "min": 0}, -1, "-1 is less than 0"),
        ({"type": "int", "max": 5}, 6, "6 is more than 5"),
    ],
)
def test_values_that_are_refused(notation: Any, value: Any, why: str) -> None:
    assert why in problem(notation, value)


USER = parse_schema(
    "User",
    {
        "name": "string!",
        "age": "int? = 0",
        "tags": "string[] = []",
        "at": "datetime = now",
        "day": "date = now",
        "address": {"city": "string!", "country": "string = IT", "geo": {"lat": "float"}},
        "items": [{"sku": "string!", "count": "int = 1"}],
    },
)


def test_every_problem_is_told_with_its_path() -> None:
    with pytest.raises(ValidationError) as caught:
        validate(
            USER,
            {
                "$id": "users/1",
                "age": "x",
                "tags": ["a", 1, None],
                "address": {"geo": {"lat": "north"}},
                "items": [{"sku": "a"}, {"count": "many"}],
            },
            creating=True,
        )
    assert caught.value.problems == (
        ("name", "is missing"),
        ("age", "'x' is a string, not an int"),
        ("tags.1", "1 is an int, not a string"),
        ("tags.2", "null is not allowed in this list"),
        ("address.city", "is missing"),
        ("address.geo.lat", "'north' is a string, not a float"),
        ("items.1.sku", "is missing"),
        ("items.1.count", "'many' is a string, not an int"),
    )
    assert str(caught.value).startswith(
        "users/1 is not as the schema asks, 8 problems: name: is missing; age: 'x'"
    )
    assert isinstance(caught.value, InvalidInputError)


def test_a_new_document_gets_defaults() -> None:
    given_document = {"name": "Al", "address": {"city": "Rome"}, "items": [{"sku": "a"}]}
    before = copy.deepcopy(given_document)
    document = validate(USER, given_document, creating=True, now=NOW)
    assert given_document == before
    assert document == {
        "name": "Al",
        "age": 0,
        "tags": [],
        "at": NOW,
        "day": NOW.date(),
        "address": {"city": "Rome", "country": "IT"},
        "items": [{"sku": "a", "count": 1}],
    }
    another = validate(USER, {"name": "Bo"}, creating=True, now=NOW)
    assert another["tags"] is not document["tags"]
    assert "address" not in another


def test_defaults_are_for_missing_fields_of_new_documents_only() -> None:
    document = {"name": "Al", "age": None}
    assert validate(USER, document, creating=False) is document
    assert validate(USER, document, creating=True, now=NOW)["age"] is None


def test_now_without_a_time_asks_the_clock() -> None:
    document = validate(USER, {"name": "Al"}, creating=True)
    assert document["at"].tzinfo is UTC
    assert abs(document["at"].date() - document["day"]) <= timedelta(days=1)


def test_a_default_satisfies_required() -> None:
    rules = parse_schema("T", {"a": "int! = 3"})
    assert validate(rules, {}, creating=True) == {"a": 3}
    with pytest.raises(ValidationError, match="a: is missing"):
        validate(rules, {}, creating=False)


def test_an_update_is_checked_where_it_changed_something() -> None:
    old = {"$id": "users/1", "age": "written before there was a schema"}
    new = {**old, "tags": ["a"]}
    assert validate(USER, new, creating=False, changed=frozenset({"tags"})) is new
    with pytest.raises(ValidationError, match="1 problem: age: "):
        validate(USER, new, creating=False, changed=frozenset({"age"}))
    with pytest.raises(ValidationError, match="1 problem: name: is missing"):
        validate(USER, new, creating=False, changed=frozenset({"name", "other"}))


def test_a_strict_schema_names_the_near_field() -> None:
    rules = parse_schema(
        "User", {"$strict": True, "email": "string", "address": {"city": "string"}}
    )
    system = {
        "$id": "users/1",
        "$type": "User",
        "name": "x",
        "createdAt": NOW,
        "updatedAt": NOW,
        "deletedAt": NOW,
        "createdBy": "me",
        "updatedBy": "me",
        "deletedBy": "me",
        "version": 1,
    }
    assert validate(rules, system, creating=True) is system
    document = {**system, "emial": "x", "address": {"town": "x"}}
    with pytest.raises(ValidationError) as caught:
        validate(rules, document, creating=True)
    assert caught.value.problems == (
        ("address.town", "is not in the schema, which is strict"),
        ("emial", "is not in the schema, which is strict; did you mean 'email'?"),
    )
    assert validate(rules, document, creating=False, changed=frozenset({"email"})) is document
    with pytest.raises(ValidationError, match="emial"):
        validate(rules, document, creating=False, changed=frozenset({"emial"}))


def test_no_schema_asks_nothing() -> None:
    document = {"anything": object()}
    assert validate(CollectionRules("User", "users"), document, creating=True) is document
    strict = parse_schema("User", {"$strict": True})
    with pytest.raises(ValidationError, match="anything"):
        validate(strict, document, creating=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from([rule.name for rule in USER.fields] + ["more"])


@given(st.dictionaries(FIELDS, JSON))
def test_what_passed_once_passes_again_unchanged(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    try:
        found = validate(USER, document, creating=True, now=NOW)
    except ValidationError:
        pass
    else:
        assert validate(USER, found, creating=True, now=NOW) is found
        assert validate(USER, found, creating=False) is found
        assert document.keys() <= found.keys()
    assert repr(document) == repr(before)
