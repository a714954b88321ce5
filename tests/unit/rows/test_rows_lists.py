"""Arrays that others wrote, in every type and encoding."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from parquedb.errors import FormatError
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, StringType
from parquedb.parquet.arrow import schema_of_arrow
from parquedb.rows.assemble import assemble
from parquedb.rows.columns import DATA
from parquedb.rows.lists import to_list
from tests.support.stored import assert_same

AT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
WALL = AT.replace(tzinfo=None)


def map_of(pairs: list[Any], key: Any) -> Any:
    return pa.array(pairs, pa.map_(key, pa.int32()))


ARRAYS: list[tuple[Any, list[Any]]] = [
    (pa.array([True, None, False]), [True, None, False]),
    *(
        (pa.array([1, None, 127], kind), [1, None, 127])
        for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(),
                     pa.int64(), pa.uint64())
    ),
    (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    *((pa.array([1.5, None, -0.0], kind), [1.5, None, -0.0])
      for kind in (pa.float16(), pa.float32(), pa.float64())),
    *((pa.array(["é", None, ""], kind), ["é", None, ""])
      for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *((pa.array([b"x", None, b""], kind), [b"x", None, b""])
      for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    (pa.array([b"xy", None], pa.binary(2)), [b"xy", None]),
    *((pa.array([AT, None], pa.timestamp(unit, "UTC")), [AT, None])
      for unit in ("s", "ms", "us", "ns")),
    *((pa.array([WALL, None], pa.timestamp(unit)), [WALL, None])
      for unit in ("s", "ms", "us", "ns")),
    (pa.array([AT], pa.timestamp("us", "Europe/Berlin")), [AT]),
    (pa.array([-1, 1999], pa.int64()).view(pa.timestamp("ns", "UTC")),
     [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]),
    *((pa.array([date(1, 1, 1), None, date.max], kind), [date(1, 1, 1), None, date.max])
      for kind in (pa.date32(), pa.date64())),
    *((pa.array([time(1, 2, 3), None], kind), [time(1, 2, 3), None])
      for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))),
    *((pa.array([Decimal("1.50"), None], kind), [Decimal("1.50"), None])
      for kind in (pa.decimal128(9, 2), pa.decimal256(60, 2))),
    (pa.nulls(2), [None, None]),
    (pa.nulls(2, pa.struct([("a", pa.int32())])), [None, None]),
    (pa.array(["a", None, "b", "a"]).dictionary_encode(), ["a", None, "b", "a"]),
    (pa.DictionaryArray.from_arrays([0, 1, None], ["a", None]), ["a", None, None]),
    (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(int=7).bytes, None], pa.binary(16))),
     [UUID(int=7), None]),
    (pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(["{}", None])), ["{}", None]),
    (pa.array([{"a": 1, "b": "x"}, {"a": None, "b": None}, None, {"b": "y"}]),
     [{"a": 1, "b": "x"}, {}, None, {"b": "y"}]),
    (pa.array([{}, None], pa.struct([])), [{}, None]),
    *((pa.array([[1, None], None, [], [2]], kind), [[1, None], None, [], [2]])
      for kind in (pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.list_view(pa.int8()),
                   pa.large_list_view(pa.int8()))),
    (pa.array([[1, 2], None, [3, None]], pa.list_(pa.int32(), 2)), [[1, 2], None, [3, None]]),
    (pa.array([[{"a": [AT]}], [None, {}]],
              pa.list_(pa.struct([("a", pa.list_(pa.timestamp("us", "UTC")))]))),
     [[{"a": [AT]}], [None, {}]]),
    (map_of([[("a", 1), ("b", None)], None, []], pa.string()), [{"a": 1, "b": None}, None, {}]),
    (map_of([[(1, 1), (2, None)], None, []], pa.int32()), [[[1, 1], [2, None]], None, []]),
    (pa.chunked_array([["a"], [], [None, "b"]]), ["a", None, "b"]),
]  # fmt: skip


@pytest.mark.parametrize(("array", "wanted"), ARRAYS, ids=lambda value: str(
    getattr(value, "type", "")))  # fmt: skip
def test_arrays(array: Any, wanted: list[Any]) -> None:
    assert_same(to_list(array), wanted)
    for start in range(len(wanted) + 1):
        for length in range(len(wanted) + 1 - start):
            assert_same(to_list(array.slice(start, length)), wanted[start : start + length])
    if not isinstance(array, pa.ChunkedArray):
        table = pa.table({"$id": [str(n) for n in range(len(array))], "f": array})
        if not pa.types.is_null(array.type):
            docs = [{"$id": str(n)} | ({"f": v} if v is not None else {})
                    for n, v in enumerate(wanted)]  # fmt: skip
            assert_same(assemble(table, schema_of_arrow(table.schema)), docs)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (2**62, pa.timestamp("us", "UTC")),
        (-(2**62), pa.timestamp("us")),
        (2**62, pa.timestamp("s")),
        (2**40, pa.timestamp("s", "UTC")),
        (2**62, pa.time64("us")),
        (-1, pa.time64("ns")),
        (2**62, pa.date64()),
    ],
)
def test_times_that_python_has_not(values: int, kind: Any) -> None:
    array = pa.array([values, None], pa.int64()).view(kind)
    table = pa.table({"$id": ["users/1", "users/2"], "f": array})
    with pytest.raises(FormatError, match=r"column 'f': a .* is out of range"):
        assemble(table, schema_of_arrow(table.schema))
    assert assemble(table.slice(1), schema_of_arrow(table.schema)) == [{"$id": "users/2"}]


def document_table(texts: list[str | None]) -> tuple[pa.Table, Schema]:
    table = pa.table({"$id": [f"users/{n}" for n in range(len(texts))], DATA: texts,
                      "price": pa.array([1.0] * len(texts))})  # fmt: skip
    return table, schema_of_arrow(table.schema)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a":{"$date":"x"}}', '{"$other":1}'])
def test_damaged_data_names_the_document(text: str) -> None:
    table, schema = document_table([None, text])
    with pytest.raises(FormatError, match=r"^users/1: \$data: the text .* is not"):
        assemble(table, schema)


def test_data_that_others_wrote() -> None:
    table, schema = document_table(['{ "a" : 1.0 }', '{"$int":["price","a","b"],"b":1}', "{}"])
    assert_same(
        assemble(table, schema),
        [
            {"$id": "users/0", "price": 1.0, "a": 1.0},
            {"$id": "users/1", "price": 1, "b": 1},
            {"$id": "users/2", "price": 1.0},
        ],
    )


def test_keys_are_in_order() -> None:
    fields = [Field(n, name, StringType()) for n, name in enumerate(
        ["z", DATA, "version", "a", "$type", "$id"], 1)]  # fmt: skip
    schema = Schema(tuple(fields), Identity.BY_ID)
    batch = pa.record_batch(
        {"other": ["o"], "a": ["a"], DATA: ['{"m":1}'], "version": ["v"], "z": ["z"],
         "$type": ["t"], "$id": ["i"]}
    )  # fmt: skip
    assert list(assemble(batch, schema)[0]) == ["$id", "$type", "version", "z", "a", "m"]
    assert assemble(batch.select(["a"]), schema) == [{"a": "a"}]
    assert assemble(batch.select(["other"]), schema) == [{}]
    assert assemble(batch.select([DATA]), schema) == [{"m": 1}]
