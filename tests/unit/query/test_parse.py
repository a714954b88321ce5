from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from parquedb.errors import InvalidInputError
from parquedb.query.filter import (
    EVERYTHING,
    And,
    At,
    Bound,
    Compares,
    ContainsAll,
    ElementMatches,
    ElementPasses,
    Equals,
    Exists,
    Expression,
    Filter,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Not,
    Or,
    Passes,
    Text,
    TextOperator,
)
from parquedb.query.parse import parse_filter


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Wide(datetime):
    pass


class Wider(Decimal):
    pass


A = ("a",)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, EVERYTHING),
        ({"a": 1}, At(A, Equals(1))),
        ({"a.b.0": None}, At(("a", "b", "0"), Equals(None))),
        ({"a": 1, "b": 2}, And((At(A, Equals(1)), At(("b",), Equals(2))))),
        ({"a": {}}, At(A, Equals({}))),
        ({"a": (1, (2,))}, At(A, Equals([1, [2]]))),
        ({"$id": "u/1"}, At(("$id",), Equals("u/1"))),
        ({"$type": {"$eq": "User"}}, At(("$type",), Equals("User"))),
        ({"a": {"$eq": {"$x": 1}}}, At(A, Equals({"$x": 1}))),
        ({"a": {"$ne": 1}}, Not(At(A, Equals(1)))),
        ({"a": {"$gte": 1}}, At(A, Compares(Bound.AT_LEAST, 1))),
        (
            {"a": {"$gt": 1, "$lt": 2}},
            And((At(A, Compares(Bound.GREATER, 1)), At(A, Compares(Bound.LESS, 2)))),
        ),
        (
            {"a": {"$in": [1, None, re.compile("x", re.IGNORECASE)]}},
            At(A, In((1, None), (Matches("x", "i"),))),
        ),
        ({"a": {"$nin": {1}}}, Not(At(A, In((1,))))),
        ({"a": {"$exists": True}}, At(A, Exists())),
        ({"a": {"$exists": 0}}, Not(At(A, Exists()))),
        ({"a": {"$type": "string"}}, At(A, HasType(frozenset({"string"})))),
        (
            {"a": {"$type": ["number", 2.0, -1]}},
            At(A, HasType(frozenset({"int", "long", "double", "decimal", "string", "minKey"}))),
        ),
        ({"a": {"$size": 2.0}}, At(A, HasSize(2))),
        ({"a": {"$mod": [4.9, -1.5]}}, At(A, Modulo(4, -1))),
        ({"a": {"$startsWith": "x"}}, At(A, Text(TextOperator.STARTS_WITH, "x"))),
        ({"a": {"$endsWith": "x"}}, At(A, Text(TextOperator.ENDS_WITH, "x"))),
        ({"a": {"$contains": ""}}, At(A, Text(TextOperator.CONTAINS, ""))),
        ({"a": re.compile("x", re.DOTALL | re.MULTILINE)}, At(A, Matches("x", "ms"))),
        ({"a": {"$eq": re.compile("x")}}, At(A, Matches("x"))),
        ({"a": {"$options": "xiu", "$regex": "x"}}, At(A, Matches("x", "ix"))),
        (
            {"a": {"$regex": re.compile("x", re.IGNORECASE), "$options": "m"}},
            At(A, Matches("x", "im")),
        ),
        ({"a": {"$not": re.compile("x")}}, Not(At(A, Matches("x")))),
        ({"a": {"$not": {"$gt": 1}}}, Not(At(A, Compares(Bound.GREATER, 1)))),
        ({"a": {"$not": {"$ne": 1}}}, At(A, Equals(1))),
        (
            {"a": {"$not": {"$gt": 1, "$ne": 3}}},
            Not(And((At(A, Compares(Bound.GREATER, 1)), Not(At(A, Equals(3)))))),
        ),
        (
            {
                "a": {
                    "$all": [
                        1,
                        re.compile("x"),
                        {"$elemMatch": {"b": 1}},
                        {"$elemMatch": {"$gt": 1}},
                    ]
                }
            },
            At(
                A,
                ContainsAll(
                    (
                        Equals(1),
                        Matches("x"),
                        ElementMatches(At(("b",), Equals(1))),
                        ElementPasses(((Compares(Bound.GREATER, 1), False),)),
                    )
                ),
            ),
        ),
        ({"a": {"$elemMatch": {}}}, At(A, ElementMatches(EVERYTHING))),
        ({"a": {"$elemMatch": {"$id": 1}}}, At(A, ElementMatches(At(("$id",), Equals(1))))),
        (
            {"a": {"$elemMatch": {"$or": [{"b": 1}]}}},
            At(A, ElementMatches(At(("b",), Equals(1)))),
        ),
        (
            {"a": {"$elemMatch": {"$ne": 1, "$not": {"$gt": 1, "$type": "int"}}}},
            At(
                A,
                ElementPasses(
                    (
                        (Equals(1), True),
                        (
                            Passes(
                                (
                                    (Compares(Bound.GREATER, 1), False),
                                    (HasType(frozenset({"int"})), False),
                                )
                            ),
                            True,
                        ),
                    )
                ),
            ),
        ),
        ({"$and": [{"a": 1}]}, At(A, Equals(1))),
        ({"$and": [{"a": 1}, {}]}, And((At(A, Equals(1)), EVERYTHING))),
        ({"$or": [{"a": 1}, {"a": 2}]}, Or((At(A, Equals(1)), At(A, Equals(2))))),
        ({"$nor": [{"a": 1}]}, Not(At(A, Equals(1)))),
        ({"$comment": object(), "a": {"$eq": 1, "$comment": "why"}}, At(A, Equals(1))),
        ({"$expr": {"$gt": ["$a", "$b"]}}, Expression({"$gt": ["$a", "$b"]})),
        (MappingProxyType({"a": MappingProxyType({"$eq": 1})}), At(A, Equals(1))),
    ],
)
def test_parse(spec: Any, expected: Filter) -> None:
    assert parse_filter(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "filter: a filter must be a mapping, not list '[]'"),
        (None, "filter: a filter must be a mapping, not None"),
        ("a", "filter: a filter must be a mapping, not str 'a'"),
        ({1: 2}, "filter: keys must be strings, not int '1'"),
        ({"a": {1: 2}}, "filter: a: keys must be strings"),
        ({"a": {"b": {1: 2}}}, "filter: a.b: keys must be strings"),
        ({"$gt": 1}, 'it belongs to a field, as in {"name": {"$gt": …}}'),
        ({"$ro": []}, "filter: $ro: unknown top-level operator '$ro'; did you mean '$or'?"),
        ({"$where": "x"}, "unknown top-level operator '$where'"),
        ({"a": {"b": 1, "$gt": 2}}, "filter: a: operators and fields are mixed: '$gt' and 'b'"),
        ({"a": {"$eqq": 2}}, "filter: a.$eqq: unknown operator '$eqq'; did you mean '$eq'?"),
        ({"a": {"$startswith": "x"}}, "did you mean '$startsWith'?"),
        ({"a": {"$regexp": "x"}}, "did you mean '$regex'?"),
        ({"a": {"$or": []}}, "'$or' does not belong to a field"),
        ({"a": {"$id": "u/1"}}, "'$id' is a field, not an operator; name it by a path"),
        ({"$expr": {"$gtt": [1, 2]}}, "filter: $expr"),
        ({"$or": {}}, "filter: $or: $or needs a list of at least one filter, not dict"),
        ({"$and": []}, "$and needs a list of at least one filter"),
        ({"$or": [{"a": {"$x": 1}}]}, "filter: $or[0].a.$x: unknown operator"),
        ({"$nor": [1]}, "filter: $nor[0]: a filter must be a mapping"),
        ({"a": float("nan")}, "filter: a: nan is not a number that documents can hold"),
        ({"a": {"$gt": Decimal("sNaN")}}, "sNaN is not a number"),
        ({"a": {"$in": [1, [float("nan")]]}}, "filter: a.$in[1][0]: nan is not"),
        ({"a": Decimal("Infinity")}, "Infinity is not a number"),
        ({"a": object}, "filter: a: documents hold no type"),
        ({"a": {"b": [1, {2}]}}, "filter: a.b[1]: documents hold no set"),
        ({"a": "\ud800"}, "half of a surrogate pair"),
        ({"\ud800": 1}, "half of a surrogate pair"),
        ({"a": {"$in": 1}}, "filter: a.$in: needs a list, not int '1'"),
        ({"a": {"$in": [{"$gt": 1}]}}, "operators cannot stand in a list of values"),
        ({"a": {"$ne": re.compile("x")}}, '$ne takes no regular expression; use {"$not": …}'),
        ({"a": {"$gt": re.compile("x")}}, "a regular expression cannot stand here"),
        ({"a": [re.compile("x")]}, "filter: a[0]: a regular expression cannot stand here"),
        ({"a": {"$not": 1}}, "needs operators or a regular expression, not int"),
        ({"a": {"$not": {}}}, "needs operators or a regular expression, not dict"),
        ({"a": {"$not": {"b": 1}}}, 'to negate an equality use {"$ne": …}'),
        ({"a": {"$exists": "yes"}}, "needs true or false, not str 'yes'"),
        ({"a": {"$type": "strnig"}}, "unknown type 'strnig'; did you mean 'string'?"),
        ({"a": {"$type": 77}}, "77 is no type's number"),
        ({"a": {"$type": 1.5}}, "1.5 is no type's number"),
        ({"a": {"$type": float("inf")}}, "inf is no type's number"),
        ({"a": {"$type": []}}, "needs at least one type"),
        ({"a": {"$type": True}}, "needs a string, not bool"),
        ({"a": {"$all": 1}}, "filter: a.$all: needs a list"),
        ({"a": {"$all": [{"$gt": 1}]}}, "$elemMatch is the only operator that can stand in $all"),
        ({"a": {"$elemMatch": 1}}, "$elemMatch must be a mapping"),
        ({"a": {"$elemMatch": {"$gt": 1, "b": 2}}}, "operators and fields are mixed"),
        ({"a": {"$elemMatch": {"$expr": 1}}}, "$expr can only be used outside of $elemMatch"),
        ({"a": {"$elemMatch": {"$and": [{"$expr": 1}]}}}, "$expr can only be used outside"),
        ({"a": {"$size": -1}}, "a size must be a whole number from 0, not -1"),
        ({"a": {"$size": 1.5}}, "a size must be a whole number"),
        ({"a": {"$size": "1"}}, "a size must be a number"),
        ({"a": {"$mod": [4]}}, "needs [divisor, remainder]"),
        ({"a": {"$mod": 4}}, "needs [divisor, remainder]"),
        ({"a": {"$mod": [0.5, 1]}}, "the divisor must not be 0"),
        (
            {"a": {"$mod": [1, float("inf")]}},
            "filter: a.$mod[1]: the remainder must be a number of 64 bits",
        ),
        ({"a": {"$mod": [Decimal("1E+9999999"), 1]}}, "the divisor must be a number of 64 bits"),
        ({"a": {"$mod": [Decimal("sNaN"), 1]}}, "the divisor must be a number of 64 bits"),
        ({"a": {"$mod": [True, 1]}}, "the divisor must be a number, not bool"),
        ({"a": {"$contains": 1}}, "filter: a.$contains: needs a string"),
        ({"a": {"$regex": 1}}, "filter: a.$regex: needs a string"),
        ({"a": {"$regex": "x", "$options": "g"}}, "unknown option 'g' in $options"),
        ({"a": {"$regex": "x", "$options": 1}}, "filter: a.$regex.$options: needs a string"),
        ({"a": {"$options": "i"}}, "$options belongs to a $regex, which is missing"),
        ({"a": {"$regex": "("}}, "filter: a.$regex: regular expression '(': missing )"),
        ({"a": re.compile(r"(a)\1")}, "neither backreferences nor lookaround"),
        ({"a": re.compile("(?=a)")}, "neither backreferences nor lookaround"),
        ({"a": re.compile(b"x")}, "must be of str, not bytes"),
    ],
)
def test_refuse(spec: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_filter(spec)
    assert message in str(error.value)
    assert str(error.value).startswith("filter")


def nested_and(levels: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        spec = {"$and": [spec]}
    return spec


def nested_value(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


def nested_not(levels: int) -> Any:
    spec: Any = {"$gt": 1}
    for _ in range(levels):
        spec = {"$not": spec}
    return {"a": spec}


def nested_element(levels: int) -> Any:
    spec: Any = {"$gt": 1}
    for _ in range(levels):
        spec = {"$elemMatch": spec}
    return {"a": spec}


@pytest.mark.parametrize("nested", [nested_and, nested_value, nested_not, nested_element])
def test_too_deep(nested: Any) -> None:
    parse_filter(nested(49))
    for levels in (101, 5000):
        with pytest.raises(InvalidInputError, match="nested deeper than 100 levels"):
            parse_filter(nested(levels))


def test_values_are_copied_and_of_base_types() -> None:
    given = {"k": [1, (2,)]}
    now = datetime(2020, 1, 1, 1, 2, 3, 4, tzinfo=UTC, fold=1)
    values = {
        "a": given,
        "b": Color.RED,
        "c": Level.LOW,
        "d": Wide(2020, 1, 1, 1, 2, 3, 4, tzinfo=UTC, fold=1),
        "e": Wider("1.50"),
        "f": uuid.UUID(int=5),
        "g": date(2020, 1, 1),
        "h": b"x",
        "i": 10**30,
        "j": float("inf"),
        "k": bytearray(b"x"),
    }
    del values["k"]
    parsed = parse_filter({"v": {"$eq": values}})
    given["k"].append(3)  # type: ignore[attr-defined]
    assert isinstance(parsed, At)
    assert isinstance(parsed.test, Equals)
    value = parsed.test.value
    assert value["a"] == {"k": [1, [2]]}
    assert [type(value[name]) for name in "bcdefghij"] == [
        str,
        int,
        datetime,
        Decimal,
        uuid.UUID,
        date,
        bytes,
        int,
        float,
    ]
    assert (value["d"], value["d"].fold) == (now, 1)
    assert str(value["e"]) == "1.50"
