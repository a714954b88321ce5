"""The reference writers and readers of the tests agree among themselves."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tests.support import duck
from tests.support.rows import assert_same_rows, canonical
from tests.support.tables import make_delta, make_iceberg, make_native, nested, people


@pytest.mark.parametrize("partition_by", [(), ("country",)])
def test_delta(tmp_path: Path, partition_by: tuple[str, ...]) -> None:
    made = make_delta(tmp_path / "users", partition_by=partition_by)
    assert [rows.num_rows for rows in made.versions.values()] == [6, 10, 9, 12, 8]
    assert "nick" in made.newest.column_names
    for version, rows in made.versions.items():
        assert_same_rows(duck.rows_delta(made.folder, version), rows)
    assert_same_rows(duck.rows_delta(made.folder), made.newest)


def test_iceberg(tmp_path: Path) -> None:
    made = make_iceberg(tmp_path)
    # an overwrite is two snapshots: a removal and an addition
    assert [rows.num_rows for rows in made.versions.values()] == [6, 10, 0, 9, 12, 8]
    metadata = max((made.folder / "metadata").glob("*.metadata.json"))
    for snapshot_id, rows in made.versions.items():
        if rows.num_rows:
            assert_same_rows(duck.rows_iceberg(metadata, snapshot_id), rows)


def test_native(tmp_path: Path) -> None:
    rows = make_native(tmp_path / "nested.parquet", nested(0, 20))
    assert_same_rows(duck.rows_parquet([tmp_path / "nested.parquet"]), rows)
    rows = make_native(tmp_path / "folder", partition_by=["country"])
    assert_same_rows(ds.dataset(tmp_path / "folder", partitioning="hive").to_table(), rows)


def test_canonical_rows_tell_differences() -> None:
    rows = people(0, 3)
    assert_same_rows(rows.slice(1), [rows.to_pylist()[2], rows.to_pylist()[1]])
    with pytest.raises(AssertionError, match="2 rows found, 3 wanted"):
        assert_same_rows(rows.slice(1), rows)
    with pytest.raises(AssertionError, match="only found"):
        assert_same_rows([{"a": [1, {"b": None}]}], [{"a": [1, {"b": 0}]}])


WHEN = datetime(2024, 7, 1, 12, tzinfo=UTC)
TWICE = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Zurich"))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, 1, 2], [1, 2, 2]),
        ([1, None], [1, 0]),
        ([1.5, math.nan], [1.5, None]),
        ([1.5, math.nan], [1.5, 2.5]),
        (["NaN"], [math.nan]),
        (["1"], [1]),
        ([WHEN], [WHEN.replace(tzinfo=None)]),
        ([WHEN], [WHEN.replace(tzinfo=ZoneInfo("Europe/Zurich"))]),
        ([TWICE], [TWICE.replace(fold=1)]),
        ([WHEN], [WHEN.date()]),
        ([b"a"], ["a"]),
        ([[1, 2]], [[2, 1]]),
        ([{"a": None}], [{}]),
    ],
)
def test_rows_that_differ_in_one_value_are_not_the_same(left: list[Any], right: list[Any]) -> None:
    rows = [[{"id": i, "v": v} for i, v in enumerate(values)] for values in (left, right)]
    others = [[{"v": v, "w": 1} for v in values] for values in (left, right)]
    for one, other in (rows, others, [rows[0], others[0]]):
        assert_same_rows(one, one[::-1])
        for pair in ((one, other), (other, one)):
            with pytest.raises(AssertionError, match="rows found"):
                assert_same_rows(*pair)


def test_the_same_rows_are_the_same_in_any_order_and_type() -> None:
    here = WHEN.astimezone(ZoneInfo("Europe/Zurich"))
    nan = float("nan")
    one = [{"a": 1, "at": WHEN, "x": nan}, {"a": 2, "at": None, "x": 0.5}]
    other = [{"x": 0.5, "a": 2.0, "at": None}, {"x": math.nan, "a": Decimal("1.0"), "at": here}]
    assert_same_rows(one, other)
    assert_same_rows(iter(other), iter(one))
    assert_same_rows([], pa.table({"a": []}))


def test_canonical_rows_forgive_what_readers_differ_in() -> None:
    nan = float("nan")
    pairs = pa.table({"m": pa.array([[("b", 2), ("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    assert canonical(pairs) == canonical([{"m": {"a": 1, "b": 2}}])
    assert canonical([{"x": nan}, {"x": 1}]) == canonical([{"x": 1.0}, {"x": nan}])
    assert canonical([{"b": bytearray(b"x"), "l": (1,)}]) == canonical([{"l": [1], "b": b"x"}])
