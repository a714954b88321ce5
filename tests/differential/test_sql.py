"""Filters as SQL over columns must agree with filters on documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.model.schema import Schema
from parquedb.query.filter import (
    And,
    At,
    Bound,
    Compares,
    ContainsAll,
    ElementMatches,
    ElementPasses,
    Equals,
    Exists,
    Filter,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Not,
    Or,
    Text,
    TextOperator,
)
from parquedb.query.match import compile_match
from parquedb.query.sort import SortKey, sort_key
from parquedb.query.sql import compile_filter, sort_expression
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import evolve
from parquedb.rows.shred import shred

Document = dict[str, Any]

NOON = datetime(2020, 1, 2, 12, 0, 0, 1)
SCALARS: dict[str, list[Any]] = {
    "bool": [True, False],
    "int": [-3, 0, 1, 2, 7, 2**31, 2**53 + 1, -(2**63), 2**63 - 1],
    "float": [-0.0, 0.0, 1.0, 1.5, -2.5, 0.1, 2.0**53, 1e300, 5e-324, math.inf, -math.inf],
    "text": [
        "",
        "a",
        "ab",
        "abc",
        "b",
        "a\nb",
        "A",
        "é",
        "a\0b",
        "it's",
        "\ud7ff",
        "\uffff",
        "\U0010ffff",
    ],
    "bytes": [b"", b"a", b"ab", b"\xff", b"b\x00"],
    "instant": [
        NOON.replace(tzinfo=UTC),
        datetime(2020, 1, 2, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    ],
    "local": [
        NOON,
        datetime(2020, 1, 2),
        datetime(1, 1, 1),
        datetime(9999, 12, 31, 23, 59, 59, 999999),
    ],
    "day": [date(2020, 1, 2), date(2020, 1, 3), date(1, 1, 1), date(9999, 12, 31)],
    "decimal": [
        Decimal("1"),
        Decimal("1.10"),
        Decimal("0.1"),
        Decimal("-2.5"),
        Decimal("2"),
        Decimal("0"),
    ],
}
ODD = [
    2**70,
    -(2**63) - 1,
    2**63,
    10**400,
    -(10**400),
    Decimal("1e5000"),
    Decimal("-1e-5000"),
    Decimal("1.00000000000000000000000000001"),
    Decimal("9007199254740993"),
    NOON.replace(tzinfo=timezone(timedelta(hours=2))),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
]
"""Literals of which few columns hold an equal."""
KINDS = sorted(SCALARS)
NAMES = ("a", "b", "c")

anything = st.sampled_from([value for values in SCALARS.values() for value in values])


def of(kind: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(SCALARS[kind])


@st.composite
def shapes(draw: st.DrawFn, depth: int = 0) -> st.SearchStrategy[Any]:
    """Draw a strategy of values that are alike, as a field's values mostly are."""
    choice = draw(st.integers(0, 9 if depth < 2 else 5))
    kind = draw(st.sampled_from(KINDS))
    if choice <= 4:
        return of(kind)
    if choice == 5:
        return st.one_of(of("int"), of("float"))
    inner = draw(shapes(depth + 1))
    if choice <= 7:
        return st.lists(st.one_of(inner, inner, inner, st.none()), max_size=3)
    other = draw(shapes(depth + 1))
    return st.one_of(
        st.fixed_dictionaries({"a": inner}, optional={"b": other}),
        st.fixed_dictionaries({}, optional={"a": inner, "b": other}),
    )


@st.composite
def collections(draw: st.DrawFn, *, tidy: bool) -> list[Document]:
    """Draw documents; tidy ones have no value that their field's column cannot hold."""
    fields = {name: draw(shapes()) for name in draw(st.sets(st.sampled_from(NAMES), min_size=1))}
    if not tidy:
        wild = st.one_of(
            st.none(),
            anything,
            st.lists(anything, max_size=2),
            st.dictionaries(st.sampled_from(NAMES), anything, max_size=2),
        )
        fields = {name: st.one_of(alike, alike, alike, wild) for name, alike in fields.items()}
    documents = draw(st.lists(st.fixed_dictionaries({}, optional=fields), min_size=1, max_size=6))
    return [{"$id": f"t/{number}", "version": 1} | d for number, d in enumerate(documents)]


part = st.sampled_from(("a", "b", "c", "0", "1"))
paths = st.builds(
    lambda head, tail: (head, *tail),
    st.sampled_from((*NAMES, "$id", "version", "$data", "zz")),
    st.lists(part, max_size=2),
)
scalars = st.one_of(anything, st.sampled_from(ODD), st.none())
values = st.one_of(
    scalars,
    scalars,
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(
        st.sampled_from(("a", "b")), st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=2
    ),
)
patterns = st.builds(
    Matches,
    st.sampled_from(["a", "^a", "b$", "^ab$", ".", "a.b", "^$", "[a-b]+", "\\w", "^a|b", "x?"]),
    st.sampled_from(["", "i", "s", "im", "x"]),
)
ALIASES = [
    "bool",
    "int",
    "long",
    "double",
    "decimal",
    "string",
    "binData",
    "date",
    "object",
    "array",
    "null",
]
plain_tests = st.one_of(
    st.builds(Equals, values),
    st.builds(Equals, scalars),
    st.builds(Compares, st.sampled_from(list(Bound)), values),
    st.builds(Compares, st.sampled_from(list(Bound)), scalars),
    st.builds(
        In, st.lists(values, max_size=3).map(tuple), st.lists(patterns, max_size=1).map(tuple)
    ),
    st.just(Exists()),
    st.builds(HasType, st.frozensets(st.sampled_from(ALIASES), min_size=1, max_size=3)),
    patterns,
    st.builds(Text, st.sampled_from(list(TextOperator)), st.sampled_from(["", *SCALARS["text"]])),
    st.builds(
        Modulo, st.sampled_from([2, 3, -4, 2**40, 2**63, 2**70]), st.sampled_from([0, 1, -1, 2, 5])
    ),
    st.builds(HasSize, st.integers(0, 3)),
)


@st.composite
def filters(draw: st.DrawFn, depth: int = 0) -> Filter:
    choice = draw(st.integers(0, 9))
    inner = filters(depth + 1)
    if depth > 2 or choice <= 3:
        return At(draw(paths), draw(plain_tests))
    if choice <= 6:
        return At(draw(paths), draw(list_tests(depth + 1)))
    if choice == 7:
        return And(tuple(draw(st.lists(inner, max_size=3))))
    if choice == 8:
        return Or(tuple(draw(st.lists(inner, max_size=3))))
    return Not(draw(inner))


@st.composite
def list_tests(draw: st.DrawFn, depth: int) -> Any:
    choice = draw(st.integers(0, 3))
    if choice == 0:
        return ElementMatches(draw(filters(depth)))
    if choice == 1:
        signed = st.tuples(plain_tests, st.booleans())
        return ElementPasses(tuple(draw(st.lists(signed, min_size=1, max_size=2))))
    if choice == 2 or depth > 2:
        return draw(plain_tests)
    member = st.one_of(st.builds(Equals, values), patterns, list_tests(depth + 1))
    members = draw(st.lists(member, max_size=2))
    kinds = (Equals, Matches, ElementMatches, ElementPasses)
    return ContainsAll(tuple(one for one in members if isinstance(one, kinds)))


lenient = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def duck() -> Any:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        yield connection


def table_of(documents: Sequence[Document], schema: Schema) -> pa.Table:
    table = pa.Table.from_batches([shred(documents, schema)])
    return table.append_column("row number", pa.array(range(len(documents))))


def verdicts(
    duck: Any, table: pa.Table, schema: Schema, filter_: Filter, overflow: bool
) -> list[tuple[bool, bool]]:
    """Return for every row whether it surely and whether it possibly matches."""
    condition = compile_filter(filter_, schema, overflow=overflow)
    duck.register("t", table)
    sure, possible = (
        {n for (n,) in duck.execute(f'SELECT "row number" FROM t WHERE {text}').fetchall()}
        for text in (condition.sure, condition.possible)
    )
    if not condition.exact:
        text = f"SELECT count(*) FROM t WHERE ({condition.sure}) IS NULL"
        assert duck.execute(text).fetchall() == [(0,)]
    return [(row in sure, row in possible) for row in range(table.num_rows)]


def check(duck: Any, documents: Sequence[Document], schema: Schema, filter_: Filter) -> None:
    table = table_of(documents, schema)
    read = assemble(table.drop_columns("row number"), schema)
    assert [d["$id"] for d in read] == [d["$id"] for d in documents]
    overflow = table.column("$data").null_count < table.num_rows
    matches = compile_match(filter_)
    for document, (sure, possible) in zip(
        documents, verdicts(duck, table, schema, filter_, overflow), strict=True
    ):
        expected = matches(document)
        where = (filter_, document, compile_filter(filter_, schema, overflow=overflow))
        assert not sure or expected, where
        assert possible or not expected, where


@lenient
@given(documents=collections(tidy=False), filter_=filters(), seen=st.integers(0, 6))
def test_untidy_documents(duck: Any, documents: list[Document], filter_: Filter, seen: int) -> None:
    schema = evolve(None, documents[:seen])
    check(duck, documents, schema, filter_)


@lenient
@given(documents=collections(tidy=True), filter_=filters())
def test_tidy_documents(duck: Any, documents: list[Document], filter_: Filter) -> None:
    check(duck, documents, evolve(None, documents), filter_)
