"""Pipelines against mongomock, groups by DuckDB against groups in Python, pruning against both.

Random pipelines keep to what mongomock does as MongoDB's manual says; what it does not is tested by
example in ``tests/unit/query``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import mongomock
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError
from parquedb.model.schema import Schema
from parquedb.query.aggregate import Pipeline, needs, parse_pipeline, run_pipeline
from parquedb.query.compare import compare_key
from parquedb.query.group import Group, Groups
from parquedb.query.group_sql import compile_group
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import DATA, evolve
from parquedb.rows.shred import shred
from tests.support.stored import same

Document = dict[str, Any]

lenient = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

numbers = st.integers(-4, 9) | st.sampled_from([0.5, -1.5, 2.0, 3.25])
words = st.sampled_from(["a", "ab", "b", "Zed", ""])
scalars = numbers | words | st.booleans() | st.none()
addresses = st.fixed_dictionaries({}, optional={"city": words, "zip": numbers})
days = st.datetimes(datetime(1999, 12, 25), datetime(2001, 1, 9)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
documents = st.lists(
    st.fixed_dictionaries(
        {"k": st.integers(0, 3)},
        optional={
            "n": numbers,
            "m": numbers | st.none(),
            "s": words,
            "x": scalars,
            "tags": st.lists(numbers | words, max_size=3),
            "nums": st.lists(numbers, max_size=3),
            "address": addresses,
            "items": st.lists(
                st.fixed_dictionaries({"sku": words}, optional={"q": numbers}), max_size=3
            ),
            "at": days,
        },
    ),
    max_size=7,
).map(lambda made: [{"_id": number, **document} for number, document in enumerate(made)])

# Expressions by what they come to.
number_fields = st.sampled_from(["$n", "$m", "$k"])
fields = st.sampled_from(["$n", "$m", "$s", "$k", "$x", "$address.zip", "$address.city", "$none"])
booleans = st.deferred(
    lambda: st.one_of(
        st.builds(
            lambda op, a, b: {op: [a, b]},
            st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
            number_fields.map(lambda name: {"$ifNull": [name, 0]}),
            numbers,
        ),
        st.builds(
            lambda op, a, b: {op: [{"$ifNull": [a, "none"]}, b]},
            st.sampled_from(["$eq", "$ne"]),
            fields,
            words | st.integers(2, 5),
        ),
        st.builds(lambda a, b: {"$and": [a, b]}, booleans, booleans),
        st.builds(lambda a, b: {"$or": [a, b]}, booleans, booleans),
        st.builds(lambda a: {"$not": a}, booleans),
        st.builds(
            lambda a: {"$in": [{"$ifNull": [a, 5]}, [1, "a", 2.0]]}, st.sampled_from(["$s", "$k"])
        ),
    )
)
number_values = st.recursive(
    number_fields | numbers,
    lambda inner: st.one_of(
        st.builds(lambda a, b: {"$add": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"$subtract": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"$multiply": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"$divide": [a, b]}, inner, st.sampled_from([2, 4, -0.5])),
        st.builds(lambda a: {"$abs": a}, inner),
        st.builds(lambda a, b: {"$ifNull": [a, b]}, inner, inner),
        st.builds(lambda c, a, b: {"$cond": [c, a, b]}, booleans, inner, inner),
        st.builds(
            lambda c, a, b: {"$switch": {"branches": [{"case": c, "then": a}], "default": b}},
            booleans,
            inner,
            inner,
        ),
        st.builds(
            lambda op, a, b: {op: [{"$ifNull": [a, 1]}, {"$ifNull": [b, 2]}]},
            st.sampled_from(["$sum", "$avg", "$min", "$max"]),
            number_fields,
            number_fields,
        ),
    ),
    max_leaves=4,
)
text_of = st.sampled_from(["$s", "$address.city"]).map(lambda name: {"$ifNull": [name, "Xy "]})
texts = st.one_of(
    text_of,
    st.builds(lambda a, b: {"$concat": [a, "-", b]}, text_of, text_of),
    st.builds(lambda a: {"$toUpper": a}, text_of),
    st.builds(lambda a: {"$toLower": a}, text_of),
)
lists = st.one_of(
    st.just({"$ifNull": ["$tags", [1]]}),
    st.just({"$slice": [{"$ifNull": ["$nums", []]}, 2]}),
    st.just({"$concatArrays": [{"$ifNull": ["$nums", []]}, {"$ifNull": ["$tags", []]}]}),
    st.builds(
        lambda a: {
            "$map": {"input": {"$ifNull": ["$nums", [1]]}, "as": "e", "in": {"$add": ["$$e", a]}}
        },
        st.integers(0, 3),
    ),
    st.builds(
        lambda a: {
            "$filter": {
                "input": {"$ifNull": ["$nums", [1]]},
                "as": "e",
                "cond": {"$gt": ["$$e", a]},
            }
        },
        st.integers(0, 3),
    ),
)
others = st.one_of(
    fields,
    st.just("$items.sku"),
    st.just({"$size": {"$ifNull": ["$tags", []]}}),
    st.just({"$isArray": "$tags"}),
    st.just({"$arrayElemAt": [{"$ifNull": ["$nums", [7]]}, 0]}),
    st.just({"$literal": "$n"}),
    st.builds(
        lambda op: {op: {"$ifNull": ["$at", datetime(2000, 2, 29, 1, 2, 3)]}},
        st.sampled_from(
            ["$year", "$month", "$dayOfMonth", "$hour", "$minute", "$second", "$dayOfWeek"]
        ),
    ),
    st.just({"a": "$n", "b": {"c": "$k"}}),
)
expressions = st.one_of(number_values, booleans, texts, lists, others)
computed = expressions.filter(lambda expression: not isinstance(expression, int | float))

accumulated = st.one_of(
    st.builds(lambda op, e: {op: e}, st.sampled_from(["$sum", "$avg"]), number_values),
    st.builds(lambda op, e: {op: e}, st.sampled_from(["$min", "$max"]), number_values),
    st.builds(lambda op, e: {op: e}, st.sampled_from(["$first", "$last"]), st.just("$k")),
    st.builds(lambda e: {"$push": e}, st.sampled_from(["$k", "$s", "$n"])),
    st.just({"$sum": 1}),
)
keys = st.one_of(
    st.none(),
    st.sampled_from(["$k", "$s", "$n", "$address.city"]),
    st.just({"k": "$k", "n": {"$ifNull": ["$n", 0]}}),
    number_values.filter(lambda value: not isinstance(value, int | float)),
    booleans,
)
filters = st.one_of(
    st.builds(lambda v: {"n": {"$gt": v}}, numbers),
    st.builds(lambda v: {"s": v}, words),
    st.builds(lambda v: {"tags": v}, words),
    st.builds(lambda e: {"$expr": e}, booleans),
    st.just({"address.city": {"$exists": True}}),
)
sorts = st.one_of(
    st.sampled_from([{"k": 1, "_id": -1}, {"n": -1, "_id": 1}, {"s": 1, "k": -1, "_id": 1}])
)
stages = st.one_of(
    st.builds(lambda f: {"$match": f}, filters),
    st.builds(lambda s: {"$sort": s}, sorts),
    st.builds(lambda n: {"$limit": n}, st.integers(1, 4)),
    st.builds(lambda n: {"$skip": n}, st.integers(0, 2)),
    st.builds(
        lambda e, f: {"$addFields": {"n": {"$ifNull": [e, 0]}, "new": f}},
        number_values,
        expressions,
    ),
    st.sampled_from(
        [
            {"$unwind": "$tags"},
            {"$unwind": {"path": "$nums", "includeArrayIndex": "i"}},
            {"$unwind": {"path": "$tags", "preserveNullAndEmptyArrays": True}},
        ]
    ),
)
last_stages = st.one_of(
    st.builds(
        lambda key, a, b: {"$group": {"_id": key, "a": a, "b": b}}, keys, accumulated, accumulated
    ),
    st.builds(lambda e, f: {"$project": {"k": 1, "e": e, "f": f}}, computed, computed),
    st.just({"$project": {"address.city": 1, "items.q": 1, "n": 1}}),
    st.just({"$project": {"tags": 0, "address.zip": 0}}),
    st.builds(lambda e: {"$replaceRoot": {"newRoot": {"v": e}}}, expressions),
)


def comparable(value: Any) -> Any:
    """Return a value without the differences between nearly equal floats, -0.0 and 0.0."""
    if isinstance(value, float):
        return round(value, 9) + 0.0
    if isinstance(value, list):
        return [comparable(element) for element in value]
    if isinstance(value, dict):
        return {name: comparable(inner) for name, inner in value.items()}
    return value


def kinds(value: Any) -> Any:
    """Return the types in a value, to be compared too: 1 is not 1.0 is not True."""
    if isinstance(value, dict):
        return {name: kinds(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kinds(element) for element in value]
    return type(value)


@lenient
@given(
    given_documents=documents,
    first=st.lists(stages, max_size=3),
    last=st.none() | last_stages,
)
def test_pipelines_against_mongomock(
    given_documents: list[Document], first: list[Document], last: Document | None
) -> None:
    stages_ = [*first, *([] if last is None else [last])]
    collection = mongomock.MongoClient().db.c
    if given_documents:
        collection.insert_many(given_documents)
    try:
        theirs = list(collection.aggregate(stages_))
    except (mongomock.OperationFailure, NotImplementedError, TypeError) as error:
        event(f"mongomock cannot: {type(error).__name__}")
        return
    ours = list(run_pipeline(parse_pipeline(stages_), given_documents))
    if last is not None and "$group" in last:
        if not ours:  # mongomock makes a group of nothing
            return
        ours.sort(key=lambda document: compare_key(document["_id"]))
        theirs.sort(key=lambda document: compare_key(document["_id"]))
    assert comparable(ours) == comparable(theirs)
    assert kinds(ours) == kinds(theirs)


# Groups by DuckDB. Half of the fields are such that sums and extremes are hard.
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "city": st.sampled_from(["a", "b", "", "é", "a\0b", "it's"]),
    "flag": st.booleans(),
    "count": st.integers(-2, 2) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1]),
    "price": st.sampled_from([0.1, 0.2, 0.3, 1e16, -1e16, 1.0, -0.0, 0.0, 2.0**-60, 3.3e-5]),
    "wild": st.floats(allow_nan=False),
    "cost": st.decimals(min_value=-1000, max_value=1000, places=2),
    "day": st.sampled_from([date(1, 1, 1), date(2020, 2, 29), date(9999, 12, 31)]),
    "at": st.sampled_from(
        [datetime(1, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC)]
    ),
    "local": st.sampled_from([datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31)]),
    "blob": st.sampled_from([b"", b"a", b"\xff"]),
    "address": st.fixed_dictionaries(
        {},
        optional={
            "zip": st.integers(0, 2),
            "geo": st.fixed_dictionaries({"lat": st.floats(-90, 90)}),
        },
    ),
    "tags": st.lists(st.integers(0, 2), max_size=2),
}
PATHS = [
    *(f"${name}" for name in COLUMNS),
    "$address.zip",
    "$address.geo.lat",
    "$city.none",
    "$none",
    "$$type",
    "$tags.0",
]
rows = st.lists(st.fixed_dictionaries({}, optional=COLUMNS), min_size=1, max_size=12).map(
    lambda made: [{"$id": f"t/{at}", "version": 1, **one} for at, one in enumerate(made)]
)
paths = st.sampled_from(PATHS)
group_keys = st.one_of(
    st.none(),
    paths,
    st.just("all"),
    st.dictionaries(st.sampled_from(["x", "y"]), paths | st.just(1), max_size=2),
)
accumulations = st.one_of(
    st.builds(
        lambda op, path: {op: path}, st.sampled_from(["$sum", "$avg", "$min", "$max"]), paths
    ),
    st.sampled_from([{"$sum": 1}, {"$count": {}}, {"$sum": "x"}, {"$avg": 3}, {"$max": "m"}]),
)
groups = st.builds(
    lambda key, fields: [{"$group": {"_id": key, **fields}}],
    group_keys,
    st.dictionaries(st.sampled_from(["p", "q", "r"]), accumulations, max_size=3),
)


@pytest.fixture(scope="module")
def duck() -> Iterator[Any]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        yield connection


def tidied(documents: list[Document]) -> tuple[list[Document], pa.RecordBatch, Schema]:
    """Return the documents that columns alone hold, with their rows."""
    schema = evolve(None, documents)
    batch = shred(documents, schema)
    batch = batch.filter(pc.is_null(batch.column(DATA)))
    return assemble(batch, schema), batch, schema


def run_sql(duck: Any, pipeline: Pipeline, batch: pa.RecordBatch, schema: Schema) -> Any:
    """Return a group's SQL and its rows, None where there is no SQL."""
    group = compile_group(pipeline, schema)
    if group is None:
        return None
    duck.register("t", pa.Table.from_batches([batch]))
    return group, duck.execute(f"SELECT {group.select} FROM t {group.group_by}").fetchall()


def sorted_groups(found: Sequence[Document]) -> list[Document]:
    return sorted(found, key=lambda document: compare_key(document["_id"]))


def zeros(value: Any) -> Any:
    """Return a value without the sign of zeros, of which either may stand for both."""
    if isinstance(value, dict):
        return {name: zeros(inner) for name, inner in value.items()}
    return value + 0.0 if isinstance(value, float) else value


@lenient
@given(documents=rows, spec=groups)
def test_groups_by_sql(duck: Any, documents: list[Document], spec: list[Document]) -> None:
    pipeline = parse_pipeline(spec)
    documents, batch, schema = tidied(documents)
    ran = run_sql(duck, pipeline, batch, schema)
    event(f"expressible: {ran is not None}")
    if ran is None:
        return
    group, result = ran
    found = group.documents(result)
    event(f"exact: {found is not None}")
    want = sorted_groups(list(run_pipeline(pipeline, documents)))
    if found is None:
        assert "$wild" in str(spec) or "$address.geo.lat" in str(spec)
        return
    found = sorted_groups(found)
    assert len(found) == len(want)
    for one, other in zip(found, want, strict=True):
        assert same(zeros(one), zeros(other)), (one, other)


@lenient
@given(documents=rows, newer=rows, spec=groups)
def test_groups_by_sql_and_documents_together(
    duck: Any, documents: list[Document], newer: list[Document], spec: list[Document]
) -> None:
    pipeline = parse_pipeline(spec)
    documents, batch, schema = tidied(documents)
    ran = run_sql(duck, pipeline, batch, schema)
    if ran is None:
        return
    stage = pipeline.stages[0]
    assert isinstance(stage, Group)
    together = Groups(stage)
    fed = ran[0].feed(together, ran[1])
    for document in newer if fed else [*documents, *newer]:
        together.add(document)
    want = sorted_groups(list(run_pipeline(pipeline, [*documents, *newer])))
    found = sorted_groups(list(together.documents()))
    assert len(found) == len(want)
    for one, other in zip(found, want, strict=True):
        assert same(zeros(one), zeros(other)), (one, other)


@lenient
@given(documents=rows, spec=groups, more=st.lists(stages, max_size=2))
def test_only_the_needed_fields_are_needed(
    documents: list[Document], spec: list[Document], more: list[Document]
) -> None:
    pipeline = parse_pipeline([*more, *spec])
    names = needs(pipeline)
    assert names is not None
    bare = [{name: v for name, v in one.items() if name in names} for one in documents]
    try:
        want = list(run_pipeline(pipeline, documents))
    except InvalidInputError:
        return
    assert list(run_pipeline(pipeline, bare)) == want
