"""Filters as SQL over columns must agree with filters on documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.model.schema import Schema
from parquedb.model.types import Field, ListType, StructType, Type
from parquedb.parquet.arrow import schema_of_arrow
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
        Decimal(1),
        Decimal("1.10"),
        Decimal("0.1"),
        Decimal("-2.5"),
        Decimal(2),
        Decimal(0),
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
    Decimal(9007199254740993),
    NOON.replace(tzinfo=timezone(timedelta(hours=2))),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
]
"""Literals of which few columns hold an equal."""
UUIDS = [UUID(int=1), UUID(int=2**127)]
NEAR_FOREIGN = [
    *UUIDS,
    UUIDS[0].bytes,
    255,
    256,
    -129,
    2**64,
    0.1,
    0.10000000149011612,
    16777217,
    math.nextafter(16777216.0, 0),
    1e39,
    1e-50,
    -1e-50,
    math.nan,
    Decimal("999.99"),
    Decimal("999.991"),
    1000,
    Decimal("1.1"),
    date(2020, 1, 2),
    datetime(2020, 1, 2, 12, 0, 0, 1),
    datetime(1969, 12, 31, 23, 59, 59, 1),
    datetime(2020, 1, 2, 12, tzinfo=UTC),
    time(12),
]
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


def _places(
    fields: Sequence[Field], above: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Type]]:
    """Return the paths of scalar values, through structs and lists."""
    found: list[tuple[tuple[str, ...], Type]] = []
    for field in fields:
        type_ = field.type
        while isinstance(type_, ListType):
            if isinstance(type_.element.type, ListType):
                break  # a path does not go into lists in lists
            type_ = type_.element.type
        if isinstance(type_, StructType):
            found += _places(type_.fields, (*above, field.name))
        elif not isinstance(type_, ListType):
            found.append(((*above, field.name), type_))
    return found


@st.composite
def simple_tests(draw: st.DrawFn, near: list[Any]) -> Any:
    """Draw an equality, a comparison or a choice, mostly of values that occur."""
    value = st.one_of(st.sampled_from(near), st.sampled_from(near), scalars)
    choice = draw(st.integers(0, 2))
    if choice == 0:
        return Equals(draw(value))
    if choice == 1:
        return Compares(draw(st.sampled_from(list(Bound))), draw(value))
    return In(tuple(draw(st.lists(value, max_size=3))))


def _values_at(value: Any, path: tuple[str, ...]) -> list[Any]:
    if isinstance(value, list):
        return [found for element in value for found in _values_at(element, path)]
    if not path:
        return [] if isinstance(value, dict) else [value]
    return _values_at(value.get(path[0]), path[1:]) if isinstance(value, dict) else []


@lenient
@given(documents=collections(tidy=True), data=st.data())
def test_simple_filters_are_exact(
    duck: Any, documents: list[Document], data: st.DataObject
) -> None:
    schema = evolve(None, documents)
    places = _places(schema.fields)
    path = data.draw(st.sampled_from([path for path, _ in places if path != ("$data",)]))
    near = [value for document in documents for value in _values_at(document, path)] or [None]
    leaf: Filter = At(path, data.draw(simple_tests(near)))
    filter_: Filter = Not(leaf) if data.draw(st.booleans()) else leaf
    table = table_of(documents, schema)
    if table.column("$data").null_count == table.num_rows:
        assert compile_filter(filter_, schema, overflow=False).exact
    check(duck, documents, schema, filter_)


@lenient
@given(documents=collections(tidy=True), data=st.data(), descending=st.booleans())
def test_sorting(
    duck: Any, documents: list[Document], data: st.DataObject, descending: bool
) -> None:
    schema = evolve(None, documents)
    path = data.draw(paths)
    table = table_of(documents, schema)
    overflow = table.column("$data").null_count < table.num_rows
    expression = sort_expression(path, schema, overflow=overflow)
    if expression is None:
        return
    duck.register("t", table)
    direction = "DESC NULLS LAST" if descending else "ASC NULLS FIRST"
    rows = duck.execute(f'SELECT "row number" FROM t ORDER BY {expression} {direction}').fetchall()
    key = sort_key((SortKey(path, descending),))
    keys = [key(documents[row]) for (row,) in rows]
    assert keys == sorted(keys)


def foreign_table() -> pa.Table:
    """Return a table with columns that no document has, and values at their types' ends."""
    ints = [0, 1, 2, 127, None]
    instants = [
        datetime(2020, 1, 2),
        datetime(2020, 1, 2, 12),
        datetime(1969, 12, 31, 23, 59, 59),
        None,
    ]
    decimals = [Decimal("1.10"), Decimal("999.99"), Decimal("-999.99"), Decimal(0), None]
    columns = {
        "i8": pa.array([-128, *ints], pa.int8()),
        "u8": pa.array([255, *ints], pa.uint8()),
        "i32": pa.array([-(2**31), *ints], pa.int32()),
        "u32": pa.array([2**32 - 1, *ints], pa.uint32()),
        "u64": pa.array([2**64 - 1, *ints], pa.uint64()),
        "i64": pa.array([2**53 + 1, *ints], pa.int64()),
        "f32": pa.array([math.nan, 0.1, 1.0, -math.inf, math.inf, None, 16777216.0], pa.float32()),
        "f64": pa.array(
            [math.nan, 0.1, 1.0, -math.inf, math.inf, None, -0.0, 2.0**53], pa.float64()
        ),
        "d5": pa.array(decimals, pa.decimal128(5, 2)),
        "d38": pa.array(decimals, pa.decimal128(38, 10)),
        "s": pa.array(instants, pa.timestamp("s")),
        "ms": pa.array(instants, pa.timestamp("ms")),
        "ms_utc": pa.array(instants, pa.timestamp("ms", "UTC")),
        "ns": pa.array(instants, pa.timestamp("ns")),
        "day": pa.array([date(2020, 1, 2), date(1, 1, 1), None], pa.date32()),
        "time": pa.array([time(12), None], pa.time64("us")),
        "fixed": pa.array([b"ab", b"ac", None], pa.binary(2)),
        "uuid": pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([UUIDS[0].bytes, None], pa.binary(16))
        ),
        "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "f32s": pa.array([[0.1, None, math.nan], [1.0], [], None], pa.list_(pa.float32())),
        "nothing": pa.nulls(3),
        "Mixed": pa.array(["a", None]),
        "_e0": pa.array([[{"a": 1}, None], None], pa.list_(pa.struct({"a": pa.int64()}))),
    }
    rows = max(map(len, columns.values()))
    whole = {
        n: [column[i % len(column)].as_py() for i in range(rows)]
        for n, column in columns.items()
        if n != "uuid"
    }
    table = pa.table({n: pa.array(v, columns[n].type) for n, v in whole.items()})
    uuids = pa.array([[UUIDS[0].bytes, None][i % 2] for i in range(rows)], pa.binary(16))
    return table.append_column("uuid", pa.ExtensionArray.from_storage(pa.uuid(), uuids))


@pytest.fixture(scope="module")
def foreign(duck: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Schema, list[Document]]:
    """Make the views ``arrow`` and ``parquet`` of the foreign table."""
    table = foreign_table()
    schema = schema_of_arrow(table.schema)
    numbered = table.append_column("row number", pa.array(range(table.num_rows)))
    path = tmp_path_factory.mktemp("foreign") / "t.parquet"
    pq.write_table(numbered, path)
    duck.register(
        "arrow",
        numbered.drop_columns(["nothing"]).append_column(
            "nothing", pa.nulls(len(table), pa.int32())
        ),
    )
    duck.execute(f"CREATE VIEW parquet AS FROM read_parquet('{path}')")
    return schema, assemble(table, schema)


@settings(lenient, max_examples=300)
@given(data=st.data())
def test_columns_of_all_types(
    duck: Any, foreign: tuple[Schema, list[Document]], data: st.DataObject
) -> None:
    schema, documents = foreign
    name = data.draw(st.sampled_from(schema.names))
    near = [value for document in documents for value in _values_at(document, (name,))]
    test = data.draw(st.one_of(simple_tests([*near, *NEAR_FOREIGN]), plain_tests))
    tail = data.draw(st.sampled_from([(), (), (), ("0",), ("a",)]))
    leaf: Filter = At((name, *tail), test)
    filter_: Filter = Not(leaf) if data.draw(st.booleans()) else leaf
    matches = compile_match(filter_)
    expected = {row for row, document in enumerate(documents) if matches(document)}
    condition = compile_filter(filter_, schema, overflow=False)
    for view in ("arrow", "parquet"):
        sure, possible = (
            {n for (n,) in duck.execute(f'SELECT "row number" FROM {view} WHERE {text}').fetchall()}
            for text in (condition.sure, condition.possible)
        )
        assert sure <= expected <= possible, (filter_, condition)
