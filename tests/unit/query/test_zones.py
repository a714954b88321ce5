"""Rows found by comparing columns of numbers are those that the filter and the order name."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.parquet.arrow import schema_of_arrow
from parquedb.query import literals, vectors, zones
from parquedb.query.match import compile_match
from parquedb.query.parse import parse_filter
from parquedb.query.sort import SortKey, sort_documents
from parquedb.query.sql import compile_filter
from parquedb.query.vectors import vector_of
from parquedb.query.zones import Sifted, compared, count_rows, first_rows, rows_of

NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "byte": (pa.int8(), [-128, -1, 0, 1, 127]),
    "int": (pa.int64(), [-(2**63), -3, 0, 1, 2, 300, 70_000, 2**53 + 1, 2**63 - 1]),
    "natural": (pa.uint64(), [0, 1, 255, 256, 2**63, 2**64 - 1]),
    "single": (pa.float32(), [-0.0, 0.0, 0.5, -2.5, math.inf, -math.inf]),
    "float": (pa.float64(), [-0.0, 0.0, 0.1, 1.0, 2.0**53, 5e-324, math.inf, -math.inf]),
    "bool": (pa.bool_(), [True, False]),
    "day": (pa.date32(), [date(1, 1, 1), date(2020, 1, 2), date(9999, 12, 31)]),
    "instant": (pa.timestamp("us", "UTC"), [NOON, NOON + timedelta(microseconds=1)]),
    "local": (pa.timestamp("ms"), [datetime(1, 1, 1), datetime(2020, 1, 2, 12)]),
    "decimal": (pa.decimal128(18, 2), [Decimal("-1.10"), Decimal("0.01"), Decimal(2)]),
}
ODD = [
    None,
    2**70,
    -(2**64),
    1.5,
    Decimal("0.1"),
    0.10000000149011612,
    "text",
    NOON.date(),
    10**400,
]
ARROW = pa.schema([(name, type_) for name, (type_, _) in VALUES.items()])
SCHEMA = schema_of_arrow(ARROW)


@st.composite
def filters(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    if depth < 2 and draw(st.integers(0, 2)) == 0:
        name = draw(st.sampled_from(["$and", "$or", "$nor"]))
        return {name: draw(st.lists(filters(depth + 1), min_size=1, max_size=3))}
    column = draw(st.sampled_from(list(VALUES)))
    near = st.sampled_from([*VALUES[column][1], *ODD])
    test = draw(
        st.one_of(
            st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$eq", "$ne"]), near),
            st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(near, max_size=7)),
            st.tuples(st.just("$exists"), st.booleans()),
        )
    )
    return {column: dict([test])}


@st.composite
def files(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Draw the documents of some files; columns hold few or many nulls, and few or many values."""
    kinds = {name: draw(st.lists(st.sampled_from([*values, None]), min_size=1, max_size=4))
             for name, (_, values) in VALUES.items()}  # fmt: skip
    row = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in kinds.items()})
    return draw(st.lists(st.lists(row, max_size=9), max_size=3))


def sifted(documents: list[dict[str, Any]], spec: dict[str, Any], key: str | None) -> Sifted:
    """Return a file as it is searched, of two row groups."""
    half = len(documents) // 2
    parts = [pa.Table.from_pylist(part, ARROW) for part in (documents[:half], documents[half:])]
    columns = {
        name: vector_of([part.combine_chunks()[name].chunk(0) for part in parts if part.num_rows])
        for name in VALUES
    }
    condition = compile_filter(parse_filter(spec), SCHEMA, overflow=False)
    assert condition.exact
    assert condition.predicate is not None
    assert compared(condition.predicate) is not None
    by_sql = {str(literals.identifier(name)): vector for name, vector in columns.items()}
    assert None not in columns.values()
    return Sifted(len(documents), condition.predicate, by_sql, key and columns[key])  # type: ignore[arg-type]


@given(
    files(),
    filters(),
    st.sampled_from(list(VALUES)),
    st.booleans(),
    st.integers(0, 12),
    st.sampled_from([2, 3, 8]),
    st.sets(st.integers(0, 26), max_size=3),
)
def test_rows_are_those_of_the_reference(
    given_: list[list[dict[str, Any]]],
    spec: dict[str, Any],
    key: str,
    descending: bool,
    count: int,
    zone_rows: int,
    gone: set[int],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zones, "ZONE_ROWS", zone_rows)
        patch.setattr(vectors, "ZONE_ROWS", zone_rows)
        searched, first = [], 0
        for documents in given_:
            some = [row - first for row in sorted(gone) if 0 <= row - first < len(documents)]
            made = sifted(documents, spec, key)
            searched.append(replace(made, hidden=np.array(some) if some else None))
            first += len(documents)
        matches = compile_match(parse_filter(spec))
        rows = [
            {**{k: v for k, v in document.items() if v is not None}, "row": row}
            for row, document in enumerate(document for each in given_ for document in each)
        ]
        found = [row for row in rows if matches(row) and row["row"] not in gone]

        assert count_rows(searched) == len(found)
        assert rows_of(searched, None).tolist() == [row["row"] for row in found]
        assert rows_of(searched, count).tolist() == [row["row"] for row in found[:count]]
        wanted = sort_documents(found, [SortKey((key,), descending)])[:count]
        best = first_rows(searched, count, descending=descending)
        assert best.tolist() == [row["row"] for row in wanted]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("shape", ["ascending", "descending", "mixed", "constant", "few", "tides"])
@pytest.mark.parametrize("count", [1, 10, 3000])
def test_the_first_of_many(
    monkeypatch: pytest.MonkeyPatch, shape: str, count: int, descending: bool
) -> None:
    monkeypatch.setattr(zones, "ZONE_ROWS", 1000)
    monkeypatch.setattr(vectors, "ZONE_ROWS", 1000)
    size = 20_000
    values = {
        "ascending": np.arange(size),
        "descending": -np.arange(size),
        "mixed": np.random.default_rng(1).permutation(size),
        "constant": np.ones(size, np.int64),
        "few": np.random.default_rng(2).integers(0, 3, size),
        "tides": np.arange(size) * 7919 % 20 + np.arange(size) // 1000 * 3 % 7,
    }[shape]
    valid = np.random.default_rng(3).random(size) < 0.999
    vector = vector_of([pa.array(values, mask=~valid)])
    assert vector is not None
    predicate = compile_filter(parse_filter({}), SCHEMA, overflow=False).predicate
    assert predicate is not None

    found = first_rows([Sifted(size, predicate, {}, vector)], count, descending=descending)

    nulls = [row for row in range(size) if not valid[row]]
    rest = sorted(
        (row for row in range(size) if valid[row]),
        key=lambda row: -values[row] if descending else values[row],
    )
    assert found.tolist() == ([*rest, *nulls] if descending else [*nulls, *rest])[:count]


def test_whole_numbers_are_kept_in_the_least_width() -> None:
    narrow = vector_of([pa.array([5, None, 100]), pa.array([-128])])
    assert narrow is not None
    assert narrow.values.dtype == np.int8
    assert narrow.values[[0, 2, 3]].tolist() == [5, 100, -128]
    wide = vector_of([pa.array([5, 2**40])])
    assert wide is not None
    assert wide.values.dtype == np.int64


def test_a_part_of_an_array_is_a_column() -> None:
    whole = pa.array([True, None, False, True, True, None, False, True, True, False])
    found = vector_of([whole.slice(3, 5)])
    assert found is not None
    assert found.valid is not None
    assert found.valid.tolist() == [True, True, False, True, True]
    assert found.values[found.valid].tolist() == [1, 1, 0, 1]


def test_not_a_number_is_left_to_others() -> None:
    assert vector_of([pa.array([1.0, math.nan])]) is None
    assert vector_of([pa.array([1.0, None])]) is not None
