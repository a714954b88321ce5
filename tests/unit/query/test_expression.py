"""Aggregation expressions by example, as MongoDB's manual has them."""

from __future__ import annotations

import math
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from parquedb.errors import InvalidInputError
from parquedb.query.compare import MISSING
from parquedb.query.expression import compile_expression, fields_of_expression
from parquedb.query.match import matches
from parquedb.query.operators.base import MAX_ELEMENTS, MAX_TEXT
from parquedb.query.operators.table import OPERATORS
from parquedb.query.parse import parse_filter
from tests.support.stored import same

LEAP = datetime(2024, 2, 29, 13, 45, 59, 123456, tzinfo=UTC)
SUNDAY = datetime(2024, 1, 7, tzinfo=UTC)
WALL = datetime(2024, 2, 29, 13, 45)

DOCUMENT: dict[str, Any] = {
    "$id": "users/1",
    "$type": "User",
    "author": {"$id": "users/2", "name": "Ann"},
    "n": 5,
    "f": 2.5,
    "neg": -7,
    "dec": Decimal("1.10"),
    "s": "héLLo ",
    "null": None,
    "t": LEAP,
    "sun": SUNDAY,
    "wall": WALL,
    "day": date(2024, 2, 29),
    "yes": True,
    "list": [3, 1, 2],
    "texts": ["a", "b"],
    "empty": [],
    "o": {"x": 1, "y": {"z": 2}},
    "items": [{"q": 1, "r": {"s": "a"}}, {"q": 2}, 3, [{"q": 4}], {"r": {"s": "b"}}],
    "id": uuid.UUID(int=1),
    "b": b"bytes",
    "huge": 10**30,
}

BIG = 1 << 15_998


def label(value: Any) -> str:
    return ascii(value)[:60] if BIG not in _leaves(value) else "big"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [leaf for one in value for leaf in _leaves(one)] if isinstance(value, list) else [value]


CASES: list[tuple[Any, Any]] = [
    # Paths and variables.
    ("$n", 5),
    ("$none", MISSING),
    ("$null", None),
    ("$o.y.z", 2),
    ("$n.x", MISSING),
    ("$items.q", [1, 2]),
    ("$items.r.s", ["a", "b"]),
    ("$items.none", []),
    ("$list.0", []),
    ("$$id", "users/1"),
    ("$$type", "User"),
    ("$author.$id", "users/2"),
    ("$$ROOT.o.x", 1),
    ("$$CURRENT.n", 5),
    ("$$REMOVE", MISSING),
    # Literals, documents, lists.
    (7, 7),
    ("plain", "plain"),
    (None, None),
    ({}, {}),
    ({"$literal": "$n"}, "$n"),
    ({"$literal": {"$add": [1]}}, {"$add": [1]}),
    ({"a": "$n", "b": "$none", "c": {"d": "$null"}}, {"a": 5, "c": {"d": None}}),
    (["$n", "$none", [1, "$f"]], [5, None, [1, 2.5]]),
    ((1, "$n"), [1, 5]),
    # Comparisons: missing is below null, which is below everything; brackets are ordered.
    ({"$eq": ["$n", 5.0]}, True),
    ({"$eq": [1, True]}, False),
    ({"$eq": ["$none", None]}, False),
    ({"$lt": ["$none", None]}, True),
    ({"$gt": ["$null", "$none"]}, True),
    ({"$gt": [1, None]}, True),
    ({"$gt": ["a", 10**9]}, True),
    ({"$ne": ["$dec", Decimal("1.1")]}, False),
    ({"$gte": ["$list", [3, 1]]}, True),
    ({"$lte": ["$day", "$t"]}, True),
    ({"$cmp": ["$n", 7]}, -1),
    ({"$cmp": [7, "$n"]}, 1),
    ({"$cmp": ["$n", 5]}, 0),
    # Logic.
    ({"$and": []}, True),
    ({"$or": []}, False),
    ({"$and": ["$n", "", []]}, True),
    ({"$and": [0, {"$divide": ["$n", 0]}]}, False),
    ({"$or": ["$null", "$none", False, 0.0, "$n"]}, True),
    ({"$not": "$none"}, True),
    ({"$not": ["$n"]}, False),
    ({"$cond": ["$yes", 1, {"$divide": ["$n", 0]}]}, 1),
    ({"$cond": {"if": "$null", "then": 1, "else": 2}}, 2),
    ({"$ifNull": ["$none", "$null", "$n"]}, 5),
    ({"$ifNull": ["$none", "$null"]}, None),
    (
        {
            "$switch": {
                "branches": [
                    {"case": {"$gt": ["$n", 9]}, "then": "big"},
                    {"case": {"$gt": ["$n", 3]}, "then": "middle"},
                ]
            }
        },
        "middle",
    ),
    ({"$switch": {"branches": [{"case": False, "then": 1}], "default": "$s"}}, "héLLo "),
    ({"$let": {"vars": {"a": 1, "b": "$n"}, "in": {"$add": ["$$a", "$$b"]}}}, 6),
    ({"$let": {"vars": {"o": "$o"}, "in": "$$o.y.z"}}, 2),
    # Arithmetic.
    ({"$add": []}, 0),
    ({"$add": [1, 2, 3]}, 6),
    ({"$add": ["$n", "$f"]}, 7.5),
    ({"$add": ["$dec", 1]}, Decimal("2.10")),
    ({"$add": ["$dec", "$f"]}, Decimal("3.60")),
    ({"$add": ["$n", "$none"]}, None),
    ({"$add": ["$huge", 1]}, 10**30 + 1),
    ({"$add": ["$t", 1000]}, LEAP + timedelta(seconds=1)),
    ({"$add": [0.5, "$wall"]}, WALL + timedelta(microseconds=500)),
    ({"$add": ["$day", 86_400_000]}, datetime(2024, 3, 1, tzinfo=UTC)),
    ({"$subtract": [3, "$n"]}, -2),
    ({"$subtract": ["$null", 1]}, None),
    ({"$subtract": ["$t", 1000]}, LEAP - timedelta(seconds=1)),
    ({"$subtract": ["$sun", "$day"]}, -53 * 86_400_000),
    ({"$subtract": ["$t", {"$add": ["$t", 0.5]}]}, -0.5),
    ({"$multiply": ["$n", "$f"]}, 12.5),
    ({"$multiply": []}, 1),
    ({"$multiply": [2, None]}, None),
    ({"$divide": [4, 2]}, 2.0),
    ({"$divide": ["$dec", 2]}, Decimal("0.55")),
    ({"$divide": [10**400, 10**399]}, 10.0),
    ({"$mod": ["$neg", 3]}, -1),
    ({"$mod": [7.5, -2]}, 1.5),
    ({"$mod": ["$dec", 1]}, Decimal("0.10")),
    ({"$abs": "$neg"}, 7),
    ({"$abs": -0.5}, 0.5),
    ({"$ceil": "$f"}, 3.0),
    ({"$ceil": "$n"}, 5),
    ({"$floor": -2.5}, -3.0),
    ({"$floor": "$dec"}, Decimal(1)),
    ({"$round": 2.5}, 2.0),
    ({"$round": [3.5, 0]}, 4.0),
    ({"$round": ["$neg", -1]}, -10),
    ({"$round": [1.25, 1]}, 1.2),
    ({"$round": [Decimal("1.255"), 2]}, Decimal("1.26")),
    ({"$round": [1e300, 2]}, 1e300),
    ({"$round": [math.inf, 2]}, math.inf),
    ({"$round": [Decimal("1e-999"), 2]}, Decimal(0)),
    ({"$round": ["$none", 1]}, None),
    ({"$trunc": -2.7}, -2.0),
    ({"$trunc": [1299, -2]}, 1200),
    ({"$sqrt": 16}, 4.0),
    ({"$sqrt": Decimal(4)}, Decimal(2)),
    ({"$sqrt": "$null"}, None),
    ({"$pow": [2, 10]}, 1024),
    ({"$pow": [0, 0]}, 1),
    ({"$pow": [-1, 10**9 + 1]}, -1),
    ({"$pow": [2, 100]}, 2.0**100),
    ({"$pow": [10, 10**9]}, math.inf),
    ({"$pow": [2, -1]}, 0.5),
    ({"$pow": [-8, 0.5]}, math.nan),
    ({"$pow": [Decimal(2), 2]}, Decimal(4)),
    ({"$exp": 0}, 1.0),
    ({"$exp": 1000}, math.inf),
    ({"$ln": 1}, 0.0),
    ({"$log10": 1000}, 3.0),
    ({"$log": [8, 2]}, 3.0),
    # Strings.
    ({"$concat": ["a", "$s", "b"]}, "ahéLLo b"),
    ({"$concat": ["a", "$none"]}, None),
    ({"$toUpper": "$s"}, "HÉLLO "),
    ({"$toLower": "$none"}, ""),
    ({"$strLenCP": "$s"}, 6),
    ({"$strLenBytes": "$s"}, 7),
    ({"$strcasecmp": ["ABC", "abd"]}, -1),
    ({"$substrCP": ["$s", 1, 2]}, "éL"),
    ({"$substrCP": ["$null", 0, 2]}, ""),
    ({"$substrCP": [12345, 1, 3]}, "234"),
    ({"$split": ["a-b-c", "-"]}, ["a", "b", "c"]),
    ({"$split": ["$none", "-"]}, None),
    ({"$trim": {"input": " \u00a0a b\n"}}, "a b"),
    ({"$trim": {"input": "xxaxx", "chars": "x"}}, "a"),
    ({"$ltrim": {"input": "  a "}}, "a "),
    ({"$rtrim": {"input": "$none"}}, None),
    ({"$indexOfCP": ["$s", "L"]}, 2),
    ({"$indexOfCP": ["$s", "L", 3, 4]}, 3),
    ({"$indexOfCP": ["$s", "x"]}, -1),
    ({"$indexOfCP": ["$s", "", 9]}, -1),
    ({"$indexOfCP": ["$none", "x"]}, None),
    ({"$replaceAll": {"input": "aXbX", "find": "X", "replacement": "--"}}, "a--b--"),
    ({"$replaceOne": {"input": "aXbX", "find": "X", "replacement": ""}}, "abX"),
    ({"$replaceAll": {"input": "$none", "find": "X", "replacement": ""}}, None),
    ({"$regexMatch": {"input": "$s", "regex": "^h.l"}}, False),
    ({"$regexMatch": {"input": "$s", "regex": "^h.l", "options": "i"}}, True),
    ({"$regexMatch": {"input": "$s", "regex": re.compile("^H", re.IGNORECASE)}}, True),
    ({"$regexMatch": {"input": "$none", "regex": "x"}}, False),
    ({"$regexMatch": {"input": "ab", "regex": {"$concat": ["^", "a"]}}}, True),
    ({"$regexMatch": {"input": "ab", "regex": "$null"}}, False),
    # Lists.
    ({"$size": "$list"}, 3),
    ({"$arrayElemAt": ["$list", -1]}, 2),
    ({"$arrayElemAt": ["$list", 3]}, MISSING),
    ({"$arrayElemAt": ["$none", 0]}, None),
    ({"$first": "$list"}, 3),
    ({"$last": "$list"}, 2),
    ({"$first": "$empty"}, MISSING),
    ({"$last": "$none"}, None),
    ({"$slice": ["$list", 2]}, [3, 1]),
    ({"$slice": ["$list", -2]}, [1, 2]),
    ({"$slice": ["$list", 1, 5]}, [1, 2]),
    ({"$slice": ["$list", -9, 2]}, [3, 1]),
    ({"$in": ["$n", [1, 5.0]]}, True),
    ({"$in": ["$none", [None]]}, False),
    ({"$in": [2, "$list"]}, True),
    ({"$concatArrays": ["$list", ["$n"]]}, [3, 1, 2, 5]),
    ({"$concatArrays": ["$list", "$none"]}, None),
    ({"$filter": {"input": "$list", "cond": {"$gt": ["$$this", 1]}}}, [3, 2]),
    ({"$filter": {"input": "$list", "as": "e", "cond": True, "limit": 2}}, [3, 1]),
    ({"$filter": {"input": "$none", "cond": True}}, None),
    ({"$map": {"input": "$list", "as": "e", "in": {"$add": ["$$e", "$n"]}}}, [8, 6, 7]),
    ({"$map": {"input": "$texts", "in": "$none"}}, [None, None]),
    (
        {
            "$map": {
                "input": "$texts",
                "as": "t",
                "in": {"$map": {"input": "$list", "as": "n", "in": ["$$t", "$$n"]}},
            }
        },
        [[["a", 3], ["a", 1], ["a", 2]], [["b", 3], ["b", 1], ["b", 2]]],
    ),
    (
        {
            "$reduce": {
                "input": "$list",
                "initialValue": 0,
                "in": {"$add": ["$$value", "$$this"]},
            }
        },
        6,
    ),
    ({"$reduce": {"input": "$null", "initialValue": 0, "in": 1}}, None),
    ({"$reverseArray": "$list"}, [2, 1, 3]),
    ({"$isArray": "$list"}, True),
    ({"$isArray": ["$none"]}, False),
    ({"$range": [0, 10, 3]}, [0, 3, 6, 9]),
    ({"$range": [3, 0, -1]}, [3, 2, 1]),
    ({"$range": [3, 0]}, []),
    ({"$setUnion": [[2, 1], [1.0, 3]]}, [1, 2, 3]),
    ({"$setIntersection": [[3, 2, 1], "$list", [2, 3]]}, [2, 3]),
    ({"$setDifference": ["$list", [1]]}, [3, 2]),
    ({"$setUnion": ["$list", "$none"]}, None),
    ({"$sum": "$list"}, 6),
    ({"$sum": ["$n", "$list", "x", 1]}, 6),
    ({"$sum": "$none"}, 0),
    ({"$sum": [[0.1] * 10]}, 1.0),
    ({"$avg": "$list"}, 2.0),
    ({"$avg": ["$none"]}, None),
    ({"$min": "$list"}, 1),
    ({"$max": ["$n", "$s", None]}, "héLLo "),
    ({"$max": "$empty"}, None),
    ({"$stdDevPop": [[1, 3]]}, 1.0),
    ({"$stdDevSamp": 1}, None),
    # Documents.
    ({"$mergeObjects": ["$o", {"x": 2}, "$none"]}, {"x": 2, "y": {"z": 2}}),
    ({"$mergeObjects": {"$slice": ["$items", 2]}}, {"q": 2, "r": {"s": "a"}}),
    ({"$mergeObjects": []}, {}),
    ({"$objectToArray": "$author"}, [{"k": "$id", "v": "users/2"}, {"k": "name", "v": "Ann"}]),
    ({"$objectToArray": "$none"}, None),
    ({"$arrayToObject": [[["a", 1], {"k": "b", "v": 2}]]}, {"a": 1, "b": 2}),
    ({"$getField": "n"}, 5),
    ({"$getField": {"$literal": "$id"}}, "users/1"),
    ({"$getField": {"field": "x", "input": "$o"}}, 1),
    ({"$getField": {"field": {"$concat": ["", "n"]}}}, 5),
    ({"$getField": {"field": "x", "input": "$null"}}, None),
    ({"$getField": {"field": "x", "input": "$n"}}, MISSING),
    # Dates.
    ({"$year": "$t"}, 2024),
    ({"$month": "$day"}, 2),
    ({"$dayOfMonth": "$wall"}, 29),
    ({"$hour": "$t"}, 13),
    ({"$hour": {"date": "$t", "timezone": "+05:30"}}, 19),
    ({"$hour": {"date": "$t", "timezone": "Europe/Paris"}}, 14),
    ({"$hour": {"date": "$t", "timezone": "UTC"}}, 13),
    ({"$minute": "$t"}, 45),
    ({"$second": "$t"}, 59),
    ({"$millisecond": "$t"}, 123),
    ({"$dayOfWeek": "$sun"}, 1),
    ({"$dayOfWeek": {"$add": ["$sun", 86_400_000]}}, 2),
    ({"$dayOfYear": "$t"}, 60),
    ({"$week": "$sun"}, 1),
    ({"$isoDayOfWeek": "$sun"}, 7),
    ({"$isoWeek": "$sun"}, 1),
    ({"$isoWeekYear": {"$toDate": "2023-01-01"}}, 2022),
    ({"$year": "$none"}, None),
    ({"$dateToString": {"date": "$t"}}, "2024-02-29T13:45:59.123Z"),
    (
        {"$dateToString": {"date": "$t", "timezone": "-0330"}},
        "2024-02-29T10:15:59.123-0330",
    ),
    (
        {"$dateToString": {"date": "$t", "format": "%d/%m/%Y %H:%M:%S %j %w %u %U %V %G %b %B %%"}},
        "29/02/2024 13:45:59 060 5 4 08 09 2024 Feb February %",
    ),
    (
        {"$dateToString": {"date": "$t", "format": "%z %Z", "timezone": "+02:00"}},
        "+0200 +120",
    ),
    ({"$dateToString": {"date": "$none", "onNull": "never"}}, "never"),
    ({"$dateTrunc": {"date": "$t", "unit": "year"}}, datetime(2024, 1, 1, tzinfo=UTC)),
    ({"$dateTrunc": {"date": "$t", "unit": "quarter"}}, datetime(2024, 1, 1, tzinfo=UTC)),
    ({"$dateTrunc": {"date": "$t", "unit": "month"}}, datetime(2024, 2, 1, tzinfo=UTC)),
    ({"$dateTrunc": {"date": "$t", "unit": "week"}}, datetime(2024, 2, 25, tzinfo=UTC)),
    (
        {"$dateTrunc": {"date": "$t", "unit": "week", "startOfWeek": "Mon"}},
        datetime(2024, 2, 26, tzinfo=UTC),
    ),
    ({"$dateTrunc": {"date": "$t", "unit": "day"}}, datetime(2024, 2, 29, tzinfo=UTC)),
    ({"$dateTrunc": {"date": "$wall", "unit": "hour"}}, WALL.replace(minute=0)),
    (
        {"$dateTrunc": {"date": "$t", "unit": "hour", "binSize": 6}},
        datetime(2024, 2, 29, 12, tzinfo=UTC),
    ),
    (
        {"$dateTrunc": {"date": "$t", "unit": "day", "timezone": "Europe/Paris"}},
        datetime(2024, 2, 28, 23, tzinfo=UTC),
    ),
    (
        {"$dateTrunc": {"date": {"$toDate": "1999-05-05"}, "unit": "month", "binSize": 4}},
        datetime(1999, 5, 1, tzinfo=UTC),
    ),
    ({"$dateTrunc": {"date": "$t", "unit": "second"}}, LEAP.replace(microsecond=0)),
    ({"$dateTrunc": {"date": "$none", "unit": "second"}}, None),
    # Conversions.
    ({"$toString": "$yes"}, "true"),
    ({"$toString": 2.0}, "2"),
    ({"$toString": -0.5}, "-0.5"),
    ({"$toString": math.inf}, "Infinity"),
    ({"$toString": "$dec"}, "1.10"),
    ({"$toString": "$t"}, "2024-02-29T13:45:59.123456Z"),
    ({"$toString": "$wall"}, "2024-02-29T13:45:00.000"),
    ({"$toString": "$id"}, "00000000-0000-0000-0000-000000000001"),
    ({"$toString": "$huge"}, "1" + "0" * 30),
    ({"$toString": "$none"}, None),
    ({"$toInt": "$f"}, 2),
    ({"$toInt": "-12"}, -12),
    ({"$toInt": Decimal("-2.9")}, -2),
    ({"$toInt": "$yes"}, 1),
    ({"$toLong": "$sun"}, 1_704_585_600_000),
    ({"$toDouble": "1e3"}, 1000.0),
    ({"$toDouble": "$huge"}, 1e30),
    ({"$toDecimal": 0.1}, Decimal("0.1")),
    ({"$toDecimal": "1.50"}, Decimal("1.50")),
    ({"$toBool": "false"}, True),
    ({"$toBool": 0}, False),
    ({"$toDate": 1_704_585_600_000}, SUNDAY),
    ({"$toDate": "2024-02-29T14:45:59.123456+01:00"}, LEAP),
    ({"$toDate": "2024-01-07"}, SUNDAY),
    ({"$convert": {"input": "12", "to": "int"}}, 12),
    ({"$convert": {"input": "x", "to": "int", "onError": "bad"}}, "bad"),
    ({"$convert": {"input": "$none", "to": "int", "onNull": 0}}, 0),
    ({"$convert": {"input": 1, "to": 2}}, "1"),
    ({"$convert": {"input": 1, "to": {"$concat": ["dou", "ble"]}}}, 1.0),
    ({"$convert": {"input": 1, "to": "$null"}}, None),
    ({"$type": "$none"}, "missing"),
    ({"$type": "$n"}, "int"),
    ({"$type": "$huge"}, "long"),
    ({"$type": "$t"}, "date"),
    ({"$type": "$id"}, "binData"),
    ({"$isNumber": "$dec"}, True),
]


@pytest.mark.parametrize(("source", "want"), CASES, ids=label)
def test_value(source: Any, want: Any) -> None:
    found = compile_expression(source)(DOCUMENT)
    if want is MISSING or (isinstance(want, float) and math.isnan(want)):
        assert found is want or math.isnan(found)
    else:
        assert same(found, want), found


def test_every_operator_is_tested() -> None:
    def named(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(named, value.values()))
        return set().union(*map(named, value)) if isinstance(value, list) else set()

    assert named([source for source, _ in CASES]) >= OPERATORS.keys()


WRONG: list[tuple[Any, str]] = [
    ({"$ad": [1, 2]}, "unknown operator '$ad'; did you mean '$add'?"),
    ({"$add": [1], "$sum": 2}, "'$add' must be alone"),
    ({"a": 1, "$add": []}, "'$add' must be alone"),
    ({"a.b": 1}, "has a dot"),
    ({1: 1}, "keys must be strings"),
    ("$", "a part of it is empty"),
    ("$a..b", "a part of it is empty"),
    ("$a.$b", "begins with $"),
    ("$$RUT", "unknown variable '$$RUT'; did you mean '$$ROOT'?"),
    ("$$NOW", "the time is not known here"),
    ({"$divide": [1]}, "needs 2 arguments, not 1"),
    ({"$not": [1, 2]}, "needs 1 argument, not 2"),
    ({"$ifNull": [1]}, "needs at least 2 arguments"),
    ({"$slice": [1, 2, 3, 4]}, "needs 2 to 3 arguments"),
    ({"$divide": [1, 0]}, "$divide: cannot divide by zero"),
    ({"$cond": {"if": 1, "then": 2}}, "the option 'else' is missing"),
    ({"$cond": {"if": 1, "then": 2, "els": 3}}, "unknown option 'els'; did you mean 'else'?"),
    ({"$switch": {"branches": []}}, "needs a list of branches"),
    ({"$map": {"input": [], "as": "$x", "in": 1}}, "'$x' is no name of a variable"),
    ({"$map": {"input": [], "as": 1, "in": 1}}, "needs a string"),
    ({"$regexMatch": {"input": "a", "regex": "(?=a)"}}, "the syntax is RE2's"),
    ({"$regexMatch": {"input": "a", "regex": "a", "options": "q"}}, "unknown option 'q'"),
    ({"$regexMatch": {"input": "a", "regex": 1}}, "needs a regular expression"),
    ({"$regexMatch": {"input": "a", "regex": re.compile(b"a")}}, "must be of str"),
    ({"$convert": {"input": 1, "to": "strin"}}, "did you mean 'string'?"),
    ({"$literal": math.nan}, "not a number that documents can hold"),
    ({"$literal": object()}, "documents hold no object"),
    (re.compile("a"), "a regular expression cannot stand here"),
    ([[[[1, {"$nop": 1}]]]], "expression[0][0][0][1]: unknown operator '$nop'"),
]


@pytest.mark.parametrize(("source", "message"), WRONG)
def test_wrong_expressions_are_refused_before_any_document(source: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_expression(source)
    assert message in str(caught.value)


def test_expressions_nested_too_deep_are_refused() -> None:
    source: Any = 1
    for _ in range(200):
        source = {"$add": [source]}
    with pytest.raises(InvalidInputError, match="nested deeper than 100 levels"):
        compile_expression(source)


UNFIT: list[tuple[Any, str]] = [
    ({"$add": ["$s", 1]}, "$add: needs numbers or a date, not str 'héLLo '"),
    ({"$add": ["$t", "$t"]}, "only one of its arguments can be a date"),
    ({"$add": ["$t", 3 * 10**14]}, "before the year 1 or after 9999"),
    ({"$add": ["$t", math.inf]}, "no date is float 'inf' milliseconds away"),
    ({"$subtract": ["$n", "$t"]}, "cannot subtract a date from int '5'"),
    ({"$multiply": ["$yes", 1]}, "needs a number, not bool 'True'"),
    ({"$mod": ["$n", 0]}, "cannot divide by zero"),
    ({"$sqrt": "$neg"}, "needs a number at least 0, not int '-7'"),
    ({"$ln": {"$subtract": ["$n", 5]}}, "needs a number greater than 0, not int '0'"),
    ({"$log": ["$n", 1]}, "a base other than 1"),
    ({"$pow": [{"$subtract": ["$n", 5]}, -1]}, "cannot raise zero to a negative power"),
    ({"$round": ["$f", 101]}, "rounds to -20 to 100 decimals"),
    ({"$round": ["$f", 0.5]}, "needs a whole number"),
    ({"$concat": ["a", "$n"]}, "needs a string, not int '5'"),
    ({"$strLenCP": "$none"}, "needs a string, not a missing field"),
    ({"$substrCP": ["$s", -1, 2]}, "at least 0"),
    ({"$split": ["$s", ""]}, "cannot split at an empty string"),
    ({"$toUpper": "$list"}, "cannot make text of"),
    ({"$size": "$none"}, "needs a list, not a missing field"),
    ({"$arrayElemAt": ["$s", 0]}, "needs a list"),
    ({"$slice": ["$list", 1, 0]}, "above 0"),
    ({"$in": [1, "$n"]}, "needs a list"),
    ({"$filter": {"input": "$n", "cond": 1}}, "needs a list"),
    ({"$filter": {"input": "$list", "cond": 1, "limit": 0}}, "from 1, not int '0'"),
    ({"$range": [0, "$n", 0]}, "a step other than 0"),
    ({"$mergeObjects": ["$n"]}, "needs documents, not int '5'"),
    ({"$objectToArray": "$n"}, "needs a document"),
    ({"$arrayToObject": "$list"}, "needs pairs"),
    ({"$year": "$s"}, "needs a date, not str"),
    ({"$hour": {"date": "$t", "timezone": "Mars/Olympus"}}, "unknown time zone 'Mars/Olympus'"),
    ({"$hour": {"date": "$t", "timezone": "../x"}}, "unknown time zone"),
    ({"$dateToString": {"date": "$t", "format": "%Q"}}, "an unknown part '%Q'"),
    ({"$dateToString": {"date": "$t", "format": "%"}}, "an unknown part '%'"),
    ({"$dateTrunc": {"date": "$t", "unit": "mont"}}, "did you mean 'month'?"),
    ({"$dateTrunc": {"date": "$t", "unit": "day", "binSize": 0}}, "needs a binSize from 1"),
    ({"$dateTrunc": {"date": "$t", "unit": "week", "startOfWeek": "x"}}, "unknown day of the week"),
    ({"$toInt": "$s"}, "cannot make an integer of str"),
    ({"$toInt": {"$divide": [1e308, 1e-308]}}, "no integer of reasonable size"),
    ({"$toInt": "$o"}, "cannot make an integer of dict"),
    ({"$toDouble": "$s"}, "cannot make a number of str"),
    ({"$toDecimal": "1_0"}, "cannot make a number of str"),
    ({"$toDate": "yesterday"}, "no date in ISO 8601"),
    ({"$toDate": "$yes"}, "needs a date"),
    ({"$convert": {"input": "$o", "to": "int"}}, "cannot make an integer of dict"),
    ({"$switch": {"branches": [{"case": "$null", "then": 1}]}}, "no branch applies"),
    ({"$regexMatch": {"input": "$n", "regex": "a"}}, "needs a string"),
    ({"$sqrt": {"$multiply": ["$neg", BIG]}}, "not an int of 16001 bits"),
    ({"$multiply": [BIG, BIG, "$n"]}, "more than 16384 bits"),
]


@pytest.mark.parametrize(("source", "message"), UNFIT, ids=label)
def test_values_that_an_operator_cannot_take(source: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_expression(source)(DOCUMENT)
    assert message in str(caught.value)
    assert "expression: $" in str(caught.value)


def test_the_error_names_the_document_and_the_operator() -> None:
    evaluate = compile_expression({"$cond": ["$yes", {"$add": ["$s", 1]}, 0]})
    with pytest.raises(InvalidInputError) as caught:
        evaluate(DOCUMENT)
    assert str(caught.value).startswith("users/1: expression: $cond[1].$add: needs numbers")


@pytest.mark.parametrize(
    "step",
    [
        {"$concat": ["$$value", "$$value"]},
        {"$replaceAll": {"input": "$$value", "find": "x", "replacement": "xx"}},
    ],
)
def test_texts_do_not_grow_without_bound(step: Any) -> None:
    evaluate = compile_expression(
        {"$reduce": {"input": {"$range": [0, 100]}, "initialValue": "x", "in": step}}
    )
    with pytest.raises(InvalidInputError, match="characters"):
        evaluate({})
    assert MAX_TEXT == 16 << 20


def test_lists_do_not_grow_without_bound() -> None:
    doubled = {"$concatArrays": ["$$value", "$$value"]}
    for source in (
        {"$reduce": {"input": {"$range": [0, 100]}, "initialValue": [1], "in": doubled}},
        {"$range": ["$none", MAX_ELEMENTS + 2]} | {},
    ):
        with pytest.raises(InvalidInputError, match=r"elements|needs a number"):
            compile_expression(source)({})
    with pytest.raises(InvalidInputError, match="elements"):
        compile_expression({"$range": [0, 2**62]})


def test_numbers_do_not_grow_without_bound() -> None:
    squared = {"$multiply": ["$$value", "$$value"]}
    source = {"$reduce": {"input": {"$range": [0, 100]}, "initialValue": 3, "in": squared}}
    with pytest.raises(InvalidInputError, match="more than 16384 bits"):
        compile_expression(source)({})


def test_the_time_is_what_it_is_said_to_be() -> None:
    assert compile_expression("$$NOW", {"NOW": LEAP})({}) == LEAP
    evaluate = compile_expression({"$subtract": ["$$NOW", "$t"]}, {"NOW": LEAP})
    assert evaluate({"t": LEAP - timedelta(milliseconds=7)}) == 7
    named = compile_expression({"$add": ["$n", "$$more.x"]}, {"more": {"x": 2}})
    assert named({"n": 1}) == 3


def test_results_do_not_share_literals() -> None:
    evaluate = compile_expression({"$literal": {"a": [1]}})
    evaluate({})["a"].append(2)
    assert evaluate({}) == {"a": [1]}


def test_the_document_is_not_changed() -> None:
    before = repr(DOCUMENT)
    for source, _ in CASES:
        compile_expression(source)(DOCUMENT)
    assert repr(DOCUMENT) == before


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("$a.b", {"a"}),
        ({"$add": ["$a", {"$sum": "$b.c"}]}, {"a", "b"}),
        ("$$id", {"$id"}),
        ("$$ROOT.x.y", {"x"}),
        ({"$getField": "a.b"}, {"a.b"}),
        ({"$map": {"input": "$a", "in": "$$this.b"}}, {"a"}),
        (1, set()),
        ("$$ROOT", None),
        ({"$getField": {"field": {"$concat": ["$a", "x"]}}}, None),
    ],
)
def test_fields(source: Any, fields: set[str] | None) -> None:
    assert fields_of_expression(source) == fields


def test_expressions_as_filters() -> None:
    assert matches(parse_filter({"$expr": {"$gt": ["$n", "$f"]}}), DOCUMENT)
    assert not matches(parse_filter({"$expr": {"$gt": ["$f", "$n"]}}), DOCUMENT)
    assert not matches(parse_filter({"$expr": "$none"}), DOCUMENT)
    both = parse_filter({"n": 5, "$or": [{"$expr": {"$eq": ["$n", 6]}}, {"yes": True}]})
    assert matches(both, DOCUMENT)
