"""Pipelines by example."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.model.schema import Schema
from parquedb.model.types import (
    BinaryType,
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
    Type,
    UuidType,
)
from parquedb.query.aggregate import leading_match, needs, parse_pipeline, run_pipeline
from parquedb.query.filter import And, At, Equals
from parquedb.query.group_sql import SqlGroup, compile_group
from parquedb.query.numeric import Total

Document = dict[str, Any]

DOCUMENTS: list[Document] = [
    {"$id": "t/0", "city": "Bonn", "n": 1, "f": 0.5, "tags": ["a", "b"], "o": {"x": 1, "y": 2}},
    {"$id": "t/1", "city": "Rome", "n": 2, "f": 1.5, "tags": [], "o": {"x": 2}},
    {"$id": "t/2", "city": "Bonn", "n": 3.0, "tags": None, "o": {"x": 1, "y": None}},
    {"$id": "t/3", "city": None, "n": "x", "tags": "c", "o": [{"x": 5}, 6, {"y": 7}]},
    {"$id": "t/4", "n": None, "f": -0.5},
]


def run(*stages: Document, over: list[Document] | None = None) -> list[Document]:
    documents = DOCUMENTS if over is None else over
    before = copy.deepcopy(documents)
    found = list(run_pipeline(parse_pipeline(stages), documents))
    assert documents == before
    return found


def ids(*stages: Document) -> list[str]:
    return [document["$id"].removeprefix("t/") for document in run(*stages)]


def test_no_stage_is_everything() -> None:
    assert run() == DOCUMENTS


def test_match_sort_skip_limit() -> None:
    assert ids({"$match": {"city": "Bonn"}}) == ["0", "2"]
    assert ids({"$sort": {"n": -1}}) == ["3", "2", "1", "0", "4"]
    assert ids({"$sort": {"n": 1}}, {"$limit": 2}) == ["4", "0"]
    assert ids({"$sort": {"n": 1}}, {"$skip": 1}, {"$limit": 2}) == ["0", "1"]
    assert ids({"$sort": {"city": 1, "n": -1}}, {"$limit": 3}, {"$skip": 1}) == ["4", "2"]
    assert ids({"$limit": 3}, {"$match": {"n": {"$gt": 1}}}) == ["1", "2"]
    assert ids({"$skip": 9}) == []


def test_limits_stop_reading() -> None:
    def endless() -> Iterator[Document]:
        number = 0
        while True:
            yield {"$id": f"t/{number}", "n": number}
            number += 1

    pipeline = parse_pipeline(
        [{"$match": {"n": {"$mod": [2, 1]}}}, {"$project": {"n": 1}}, {"$limit": 2}]
    )
    assert list(run_pipeline(pipeline, endless())) == [
        {"$id": "t/1", "n": 1},
        {"$id": "t/3", "n": 3},
    ]


def test_groups() -> None:
    found = run(
        {
            "$group": {
                "_id": "$city",
                "sum": {"$sum": "$n"},
                "mean": {"$avg": "$f"},
                "least": {"$min": "$n"},
                "most": {"$max": "$n"},
                "first": {"$first": "$f"},
                "last": {"$last": "$f"},
                "all": {"$push": "$n"},
                "count": {"$count": {}},
                "ones": {"$sum": 1},
            }
        }
    )
    assert found == [
        {
            "_id": "Bonn", "sum": 4.0, "mean": 0.5, "least": 1, "most": 3.0, "first": 0.5,
            "last": None, "all": [1, 3.0], "count": 2, "ones": 2,
        },
        {
            "_id": "Rome", "sum": 2, "mean": 1.5, "least": 2, "most": 2, "first": 1.5,
            "last": 1.5, "all": [2], "count": 1, "ones": 1,
        },
        {
            "_id": None, "sum": 0, "mean": -0.5, "least": "x", "most": "x", "first": None,
            "last": -0.5, "all": ["x", None], "count": 2, "ones": 2,
        },
    ]  # fmt: skip
    assert [type(one["sum"]) for one in found] == [float, int, int]


def test_groups_of_equal_values() -> None:
    values = [1, 1.0, True, Decimal("1.0"), "1", None, [1], [1.0], {"a": 1, "b": 2}]
    documents = [{"v": value} for value in values] + [{}, {"v": {"b": 2, "a": 1.0}}]
    found = run({"$group": {"_id": "$v", "n": {"$sum": 1}}}, over=documents)
    assert [(one["_id"], one["n"]) for one in found] == [
        (1, 3),
        (True, 1),
        ("1", 1),
        (None, 2),
        ([1], 2),
        ({"a": 1, "b": 2}, 2),
    ]


def test_groups_by_several_fields() -> None:
    over = [{"a": 1}, {"a": 1, "b": None}, {"b": None, "a": 1.0}, {}]
    found = run({"$group": {"_id": {"a": "$a", "b": "$b"}, "n": {"$sum": 1}}}, over=over)
    assert found == [
        {"_id": {"a": 1}, "n": 1},
        {"_id": {"a": 1, "b": None}, "n": 2},
        {"_id": {}, "n": 1},
    ]
    nested = run({"$group": {"_id": {"y": {"$gt": ["$a", 0]}, "z": 1}}}, over=over)
    assert nested == [{"_id": {"y": True, "z": 1}}, {"_id": {"y": False, "z": 1}}]


def test_groups_of_nothing() -> None:
    assert run({"$group": {"_id": None, "n": {"$sum": 1}}}, over=[]) == []


def test_accumulators_of_sets_deviations_documents() -> None:
    over = [{"v": 1, "o": {"a": 1}}, {"v": 3, "o": {"b": 2, "a": 3}}, {"v": 1.0, "o": None}, {}]
    assert run(
        {
            "$group": {
                "_id": None,
                "set": {"$addToSet": "$v"},
                "pop": {"$stdDevPop": "$v"},
                "samp": {"$stdDevSamp": "$v"},
                "none": {"$stdDevSamp": "$w"},
                "mean": {"$avg": "$w"},
                "o": {"$mergeObjects": "$o"},
                "pairs": {"$push": {"v": "$v"}},
            }
        },
        over=over,
    ) == [
        {
            "_id": None,
            "set": [1, 3],
            "pop": pytest.approx(math.sqrt(8 / 9)),
            "samp": pytest.approx(math.sqrt(4 / 3)),
            "none": None,
            "mean": None,
            "o": {"a": 3, "b": 2},
            "pairs": [{"v": 1}, {"v": 3}, {"v": 1.0}, {}],
        }
    ]


def test_lists_in_groups_are_values() -> None:
    over = [{"v": [1, 2]}, {"v": 3}]
    assert run({"$group": {"_id": None, "s": {"$sum": "$v"}, "m": {"$max": "$v"}}}, over=over) == [
        {"_id": None, "s": 3, "m": [1, 2]}
    ]


def test_an_accumulator_names_the_document_that_it_cannot_take() -> None:
    with pytest.raises(InvalidInputError) as caught:
        run({"$group": {"_id": None, "o": {"$mergeObjects": "$o"}}})
    assert str(caught.value).startswith("t/3: pipeline[0].$group.o.$mergeObjects: needs documents")


def test_an_expression_names_the_document_that_it_cannot_take() -> None:
    with pytest.raises(InvalidInputError) as caught:
        run({"$project": {"m": {"$add": ["$n", 1]}}})
    assert str(caught.value).startswith("t/3: pipeline[0].$project.m.$add: needs numbers or a date")


def test_project_keeps() -> None:
    first = DOCUMENTS[:1]
    assert run({"$project": {"n": 1}}, over=first) == [{"$id": "t/0", "n": 1}]
    assert run({"$project": {"n": True, "$id": 0}}, over=first) == [{"n": 1}]
    assert run({"$project": {"o.x": 1}}, over=first) == [{"$id": "t/0", "o": {"x": 1}}]
    assert run({"$project": {"o": {"y": 1, "z": 1}}}, over=first) == [{"$id": "t/0", "o": {"y": 2}}]
    assert run({"$project": {"$id": 1}}, over=first) == [{"$id": "t/0"}]
    assert run({"$project": {"o.y": 1, "$id": 0}}, over=DOCUMENTS[3:]) == [
        {"o": [{}, {"y": 7}]},
        {},
    ]
    grouped = run({"$group": {"_id": "$city"}}, {"$project": {"x": "$_id"}}, {"$limit": 1})
    assert grouped == [{"_id": "Bonn", "x": "Bonn"}]
    assert run({"$project": {"_id": 0, "x": 1}}, over=[{"_id": 1, "x": 2}]) == [{"x": 2}]


def test_project_leaves_out() -> None:
    first = DOCUMENTS[:1]
    assert run({"$project": {"o": 0, "tags": 0, "f": False}}, over=first) == [
        {"$id": "t/0", "city": "Bonn", "n": 1}
    ]
    assert run({"$project": {"$id": 0}}, over=[{"$id": "a", "b": 1}]) == [{"b": 1}]
    assert run({"$project": {"o.x": 0}}, over=[{"o": [{"x": 1, "y": 2}, 3]}]) == [
        {"o": [{"y": 2}, 3]}
    ]


def test_project_computes() -> None:
    first = DOCUMENTS[:1]
    assert run({"$project": {"n": {"$add": ["$n", 1]}, "c": "$city", "f": 1}}, over=first) == [
        {"$id": "t/0", "f": 0.5, "n": 2, "c": "Bonn"}
    ]
    assert run({"$project": {"o.z": "$n", "o.x": 1, "$id": 0}}, over=first) == [
        {"o": {"x": 1, "z": 1}}
    ]
    assert run({"$project": {"o": {"z": "$none"}, "$id": 0}}, over=first) == [{"o": {}}]
    assert run({"$project": {"a": {"b": "$n"}, "$id": "$n"}}, over=first) == [
        {"$id": 1, "a": {"b": 1}}
    ]
    assert run(
        {"$project": {"x": {"$literal": 1}, "$id": 0, "y": ["$n", "$none"]}}, over=first
    ) == [{"x": 1, "y": [1, None]}]
    assert run({"$project": {"tags": {"$slice": ["$tags", 1]}, "$id": 0}}, over=first) == [
        {"tags": ["a"]}
    ]
    with pytest.raises(InvalidInputError, match="needs 2 to 3 arguments"):
        run({"$project": {"tags": {"$slice": 2}}})


def test_add_fields() -> None:
    over = [{"a": 1, "o": {"x": 1}}, {"a": 2, "o": [{"x": 1}, 5]}, {"a": 3, "o": 7}, {"a": 4}]
    for stage in ("$addFields", "$set"):
        assert run({stage: {"a": 0, "o.y": "$a", "n": "$none"}}, over=over) == [
            {"a": 0, "o": {"x": 1, "y": 1}},
            {"a": 0, "o": [{"x": 1, "y": 2}, {"y": 2}]},
            {"a": 0, "o": {"y": 3}},
            {"a": 0, "o": {"y": 4}},
        ]
    assert run({"$set": {"o": {"y": 1}}}, over=over[:1]) == [{"a": 1, "o": {"x": 1, "y": 1}}]
    assert run({"$set": {"a": "$$REMOVE"}}, over=over[3:]) == [{}]
    assert run({"$set": {"x": "$a", "a": "$x"}}, over=[{"a": 1, "x": 2}]) == [{"a": 2, "x": 1}]


def test_unset() -> None:
    over = [{"a": 1, "o": {"x": 1, "y": 2}, "l": [{"x": 1}, 2]}]
    assert run({"$unset": "a"}, over=over) == [{"o": {"x": 1, "y": 2}, "l": [{"x": 1}, 2]}]
    assert run({"$unset": ["a", "o.x", "l.x", "none.x"]}, over=over) == [
        {"o": {"y": 2}, "l": [{}, 2]}
    ]


def test_unwind() -> None:
    found = run({"$unwind": "$tags"}, {"$project": {"tags": 1}})
    assert found == [
        {"$id": "t/0", "tags": "a"},
        {"$id": "t/0", "tags": "b"},
        {"$id": "t/3", "tags": "c"},
    ]
    options = {"path": "$tags", "includeArrayIndex": "at.i", "preserveNullAndEmptyArrays": True}
    assert run({"$unwind": options}, {"$project": {"tags": 1, "at": 1, "$id": 0}}) == [
        {"tags": "a", "at": {"i": 0}},
        {"tags": "b", "at": {"i": 1}},
        {"at": {"i": None}},
        {"tags": None, "at": {"i": None}},
        {"tags": "c", "at": {"i": None}},
        {"at": {"i": None}},
    ]
    over = [{"o": {"l": [1, [2]], "k": 0}}, {"o": [{"l": [1]}]}, {"o": 1}, {}]
    assert run({"$unwind": "$o.l"}, over=over) == [
        {"o": {"l": 1, "k": 0}},
        {"o": {"l": [2], "k": 0}},
    ]


def test_count() -> None:
    assert run({"$match": {"n": {"$gt": 1}}}, {"$count": "many"}) == [{"many": 2}]
    assert run({"$count": "many"}, over=[]) == []


def test_replace_root() -> None:
    over = [{"o": {"x": 1}, "n": 2}]
    assert run({"$replaceRoot": {"newRoot": "$o"}}, over=over) == [{"x": 1}]
    assert run({"$replaceWith": {"$mergeObjects": ["$o", {"m": "$n"}]}}, over=over) == [
        {"x": 1, "m": 2}
    ]
    with pytest.raises(InvalidInputError, match=r"t/3: .*must come to a document, not list"):
        run({"$match": {"o": {"$exists": True}}}, {"$replaceWith": "$o"})
    with pytest.raises(InvalidInputError, match="not a missing field"):
        run({"$replaceWith": "$none"})


def test_sort_by_count() -> None:
    assert run({"$sortByCount": "$city"}) == [
        {"_id": "Bonn", "count": 2},
        {"_id": None, "count": 2},
        {"_id": "Rome", "count": 1},
    ]


def test_variables() -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    stages = [
        {"$match": {"$or": [{"$expr": {"$gt": ["$at", "$$NOW"]}}, {"n": 7}]}},
        {"$match": {"$expr": {"$lt": ["$n", "$$most"]}}},
        {"$project": {"now": "$$NOW", "n": {"$add": ["$n", "$$most"]}}},
    ]
    over = [
        {"at": datetime(2024, 1, 2, tzinfo=UTC), "n": 1},
        {"at": datetime(2023, 1, 2, tzinfo=UTC), "n": 1},
        {"n": 7},
        {"at": datetime(2024, 1, 2, tzinfo=UTC), "n": 10},
    ]
    pipeline = parse_pipeline(stages, variables={"NOW": now, "most": 10})
    assert list(run_pipeline(pipeline, over)) == [{"n": 11, "now": now}, {"n": 17, "now": now}]
    with pytest.raises(InvalidInputError, match="the time is not known here"):
        parse_pipeline(stages)


WRONG: list[tuple[Any, str]] = [
    ({"$match": {}}, "pipeline: needs a list of stages"),
    ("$match", "pipeline: needs a list of stages"),
    ([[]], "pipeline[0]: a stage must be a mapping"),
    ([{}], "pipeline[0]: a stage names one operator, as $match, not 0"),
    ([{"$limit": 1}, {"$mach": {}}], "pipeline[1]: unknown stage '$mach'; did you mean '$match'?"),
    ([{"$match": {"a": {"$gtt": 1}}}], "did you mean '$gt'?"),
    ([{"$match": {"$expr": {"$gtt": 1}}}], "did you mean '$gt'?"),
    ([{"$group": {}}], 'needs "_id"'),
    ([{"$group": {"_id": 1, "a": 5}}], "needs one accumulator"),
    ([{"$group": {"_id": 1, "a": {"$sum": 1, "$avg": 1}}}], "needs one accumulator"),
    ([{"$group": {"_id": 1, "a": {"$summ": 1}}}], "accumulator '$summ'; did you mean '$sum'?"),
    ([{"$group": {"_id": 1, "a.b": {"$sum": 1}}}], "neither a dot in it"),
    ([{"$group": {"_id": 1, "$a": {"$sum": 1}}}], "nor a $ in front"),
    ([{"$group": {"_id": 1, "a": {"$sum": [1, 2]}}}], "takes one expression"),
    ([{"$group": {"_id": 1, "a": {"$count": {"x": 1}}}}], "unknown option 'x'"),
    ([{"$group": {"_id": {"$ad": 1}}}], "did you mean '$add'?"),
    ([{"$group": {"_id": {"a.b": 1}}}], "has a dot in it"),
    ([{"$sort": {}}], "needs at least one field"),
    ([{"$sort": {"a": 2}}], "the direction must be"),
    ([{"$limit": 0}], "a whole one from 1, not 0"),
    ([{"$limit": "2"}], "must be a number"),
    ([{"$skip": -1}], "a whole one from 0, not -1"),
    ([{"$skip": 1.5}], "a whole one from 0, not 1.5"),
    ([{"$project": {}}], "needs at least one field"),
    ([{"$project": {"a": 1, "b": 0}}], "are mixed"),
    ([{"$project": {"a": 0, "b": "$c"}}], "are mixed"),
    ([{"$project": {"$id": 0, "a": {"b": 0}, "c": {"$add": []}}}], "are mixed"),
    ([{"$project": {"a": 1, "a.b": 1}}], "named twice"),
    ([{"$project": {"a.b": 1, "a": 1}}], "named twice"),
    ([{"$project": {"a..b": 1}}], "is no path"),
    ([{"$project": {"$a": 1}}], "begins with $"),
    ([{"$project": {"a": {"$nope": 1}}}], "unknown operator '$nope'"),
    ([{"$addFields": {}}], "needs at least one field"),
    ([{"$addFields": 1}], "fields must be a mapping"),
    ([{"$unset": []}], "needs a name or a list of names"),
    ([{"$unset": [1]}], "names of fields must be strings"),
    ([{"$unset": ["a", "a.b"]}], "named twice"),
    ([{"$unwind": "tags"}], "needs a field with $ in front"),
    ([{"$unwind": {"path": "$a", "index": "i"}}], "did you mean 'includeArrayIndex'?"),
    ([{"$unwind": {"path": "$a", "includeArrayIndex": "$i"}}], "name without $"),
    ([{"$unwind": {"path": "$a", "preserveNullAndEmptyArrays": 1}}], "must be true or false"),
    ([{"$unwind": {}}], "the option 'path' is missing"),
    ([{"$count": ""}], "needs a field's name"),
    ([{"$count": "a.b"}], "needs a field's name"),
    ([{"$replaceRoot": {}}], "the option 'newRoot' is missing"),
    ([{"$replaceRoot": {"newRoot": "$$x"}}], "unknown variable '$$x'"),
]


@pytest.mark.parametrize(("stages", "message"), WRONG, ids=lambda value: ascii(value)[:60])
def test_wrong_pipelines(stages: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_pipeline(stages)
    assert message in str(caught.value)
    assert str(caught.value).startswith("pipeline")


@pytest.mark.parametrize("name", ["$sample", "$lookup", "$out", "$facet"])
def test_stages_that_there_are_not(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"pipeline\[0\]: \{name} is not supported; "):
        parse_pipeline([{name: {}}])


def test_leading_match() -> None:
    one, two = {"$match": {"a": 1}}, {"$match": {"b": 2}}
    limit = {"$limit": 1}
    rest = parse_pipeline([limit, one])
    assert leading_match(parse_pipeline([limit, one])) == (None, rest)
    assert leading_match(parse_pipeline([one, limit, one])) == (At(("a",), Equals(1)), rest)
    both = And((At(("a",), Equals(1)), At(("b",), Equals(2))))
    assert leading_match(parse_pipeline([one, two])) == (both, parse_pipeline([]))


@pytest.mark.parametrize(
    ("stages", "fields"),
    [
        ([], None),
        ([{"$match": {"a": 1}}], None),
        ([{"$match": {"a.b": 1, "$or": [{"c": 1}, {"$expr": "$d"}]}}, {"$count": "n"}], "a c d"),
        ([{"$count": "n"}], ""),
        ([{"$match": {"$expr": "$$ROOT"}}, {"$count": "n"}], None),
        ([{"$group": {"_id": "$a.b", "x": {"$sum": "$c"}}}, {"$match": {"z": 1}}], "a c"),
        ([{"$group": {"_id": None, "x": {"$push": "$$ROOT"}}}], None),
        ([{"$project": {"a": 1, "b": "$c.d", "e": {"f": 1}}}], "a c e $id _id"),
        ([{"$project": {"a": 1, "$id": 0, "_id": 0}}], "a"),
        ([{"$project": {"a": 0}}], None),
        ([{"$unset": "a"}, {"$group": {"_id": "$b"}}], "b"),
        ([{"$set": {"a.b": "$c"}}, {"$group": {"_id": "$a"}}], "a c"),
        ([{"$unwind": {"path": "$a.b", "includeArrayIndex": "i.j"}}, {"$count": "n"}], "a i"),
        ([{"$sort": {"a.b": 1}}, {"$limit": 2}, {"$skip": 1}, {"$replaceWith": "$c"}], "a c"),
        ([{"$replaceWith": "$$ROOT"}], None),
        ([{"$sortByCount": "$a"}], "a"),
    ],
    ids=str,
)
def test_needs(stages: list[Document], fields: str | None) -> None:
    want = None if fields is None else frozenset(fields.split())
    assert needs(parse_pipeline(stages)) == want


# Sums.


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=2000), st.integers())
def test_sums_are_exact(floats: list[float], whole: int) -> None:
    total = Total()
    for value in floats:
        total.add(value)
    total.add(whole)
    exact = sum(map(Fraction, floats), Fraction(whole))
    try:
        want = float(exact) if floats else whole
    except OverflowError:
        want = math.inf if exact > 0 else -math.inf
    assert total.result() == want


def test_sums_of_infinities_and_decimals() -> None:
    def total(*values: Any) -> Any:
        made = Total()
        for value in values:
            made.add(value)
        return made.result(), made.mean()

    assert total(math.inf, 1) == (math.inf, math.inf)
    assert all(map(math.isnan, total(math.inf, -math.inf, 1)))
    assert total(*[1e308] * 4, *[-1e308] * 4) == (0.0, 0.0)
    assert total(*[1e308] * 600) == (math.inf, math.inf)
    assert total(*[1e308] * 600, *[-1e308] * 600, math.inf) == (math.inf, math.inf)
    assert total(1, 0.5, Decimal("0.1")) == (Decimal("1.6"), Decimal("0.5" + "3" * 33))
    assert total(2**70, 1.0) == (float(2**70), 2.0**69)
    assert total(10**400, 1)[1] == math.inf
    assert total(True, "x", None) == (0, None)


def test_many_sums_are_the_sum_of_all() -> None:
    made = Total()
    made.add(0.1)
    made.add_many(Fraction(0.2) + Fraction(1e300), 2)
    made.add_many(3, 1)
    made.add_many(Decimal("0.5"), 2)
    assert made.count == 6
    assert made.result() == Decimal(repr(1e300)) + 3
    zero = Total()
    zero.add_many(Fraction(0), 2)
    assert (zero.result(), zero.mean()) == (0.0, 0.0)
    assert isinstance(zero.result(), float)


# Groups by SQL.


def schema_of(**columns: Type) -> Schema:
    return Schema(tuple(Field(n, name, t) for n, (name, t) in enumerate(columns.items(), 1)))


TYPED = schema_of(
    city=StringType(),
    n=IntType(64),
    small=IntType(8, signed=False),
    f=FloatType(64),
    half=FloatType(16),
    d=DecimalType(10, 2),
    large=DecimalType(38, 2),
    day=DateType(),
    at=TimestampType(),
    nano=TimestampType("ns"),
    b=BinaryType(),
    fixed=FixedType(2),
    u=UuidType(),
    o=StructType((Field(20, "x", IntType(64)),)),
    l=ListType(Field(21, "element", IntType(64))),
)


def sql_of(spec: Document) -> SqlGroup | None:
    return compile_group(parse_pipeline([{"$group": spec}]), TYPED)


@pytest.mark.parametrize(
    "spec",
    [
        {"_id": "$l"},
        {"_id": "$l.x"},
        {"_id": "$o"},
        {"_id": "$nano"},
        {"_id": "$half"},
        {"_id": "$u"},
        {"_id": "$fixed"},
        {"_id": "$$ROOT"},
        {"_id": {"$getField": {"$literal": "$data"}}},
        {"_id": {"$toUpper": "$city"}},
        {"_id": {"a": "$city", "b": {"c": "$n"}}},
        {"_id": None, "x": {"$push": "$n"}},
        {"_id": None, "x": {"$first": "$n"}},
        {"_id": None, "x": {"$sum": {"$add": ["$n", 1]}}},
        {"_id": None, "x": {"$sum": 0.1}},
        {"_id": None, "x": {"$sum": "$large"}},
        {"_id": None, "x": {"$avg": "$half"}},
        {"_id": None, "x": {"$max": "$b"}},
        {"_id": None, "x": {"$min": "$o"}},
    ],
    ids=str,
)
def test_what_sql_cannot_do_exactly(spec: Document) -> None:
    assert sql_of(spec) is None


def test_only_a_group_is_compiled() -> None:
    assert compile_group(parse_pipeline([]), TYPED) is None
    assert compile_group(parse_pipeline([{"$limit": 1}, {"$group": {"_id": 1}}]), TYPED) is None


def rows_of(group: SqlGroup, table: pa.Table) -> list[Any]:
    with duckdb.connect() as connection:
        connection.register("t", table)
        sql = f"SELECT {group.select} FROM t {group.group_by}"
        return connection.execute(sql).fetchall()


def test_groups_by_sql() -> None:
    group = sql_of({"_id": {"c": "$city", "k": 1}, "n": {"$sum": "$n"}, "most": {"$max": "$at"}})
    assert group is not None
    at = datetime(2024, 1, 1, tzinfo=UTC)
    table = pa.table(
        {
            "city": pa.array(["a", "a", None]),
            "n": pa.array([2**63 - 1, 2**63 - 1, None], pa.int64()),
            "at": pa.array([at, None, None], pa.timestamp("us", "UTC")),
        }
    )
    found = group.documents(rows_of(group, table))
    assert found is not None
    assert sorted(found, key=str) == [
        {"_id": {"c": "a", "k": 1}, "n": 2**64 - 2, "most": at},
        {"_id": {"k": 1}, "n": 0, "most": None},
    ]


@pytest.mark.parametrize(
    ("floats", "total"),
    [
        ([0.1] * 10, 1.0),
        ([1e16, 1.0, -1e16], 1.0),
        ([2.0**61, 2.0**-60, -(2.0**61)], 2.0**-60),
        ([5e-324], None),
        ([1e19], None),
        ([math.inf, 1.0], None),
        ([math.nan], None),
        ([None, None], 0),
        ([-0.0], 0.0),
    ],
)
def test_floats_are_added_exactly_or_not_at_all(
    floats: list[float | None], total: float | None
) -> None:
    group = sql_of({"_id": None, "x": {"$sum": "$f"}})
    assert group is not None
    found = group.documents(rows_of(group, pa.table({"f": pa.array(floats, pa.float64())})))
    assert found == (None if total is None else [{"_id": None, "x": total}])


def test_nan_is_left_to_python() -> None:
    group = sql_of({"_id": None, "x": {"$max": "$f"}})
    assert group is not None
    for floats, found in ([1.0, math.nan], None), ([1.0, 2.0], [{"_id": None, "x": 2.0}]):
        assert group.documents(rows_of(group, pa.table({"f": floats}))) == found


def test_no_group_of_nothing_by_sql() -> None:
    group = sql_of({"_id": None, "x": {"$sum": "$n"}})
    assert group is not None
    assert group.documents(rows_of(group, pa.table({"n": pa.array([], pa.int64())}))) == []


def test_columns_of_a_named_table() -> None:
    pipeline = parse_pipeline([{"$group": {"_id": "$city", "x": {"$sum": "$o.x"}}}])
    group = compile_group(pipeline, TYPED, table="t")
    assert group is not None
    assert group.group_by == 'GROUP BY "t"."city"'
    assert 'struct_extract("t"."o", \'x\')' in group.select
