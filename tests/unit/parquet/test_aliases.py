"""Data files whose columns are called otherwise than the table's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, IntType, ListType, StringType, StructType
from parquedb.parquet.footer import read_footer, stats_for
from parquedb.parquet.groups import GroupFile
from parquedb.parquet.scan import read_batches
from parquedb.storage.local import LocalStore

LONG = IntType(64)


def _write(folder: Path, table: pa.Table) -> tuple[LocalStore, DataFile]:
    pq.write_table(table, folder / "f.parquet")
    size = (folder / "f.parquet").stat().st_size
    return LocalStore(folder), DataFile("f.parquet", size, table.num_rows)


def _rows(store: LocalStore, file: DataFile, schema: Schema) -> list[dict[str, object]]:
    batches = read_batches(store, file, schema, UNPARTITIONED)
    return [row for batch in batches for row in batch.to_pylist()]


SCHEMA = Schema(
    (
        Field(1, "id", LONG),
        Field(2, "title", StringType()),
        Field(3, "address", StructType((Field(4, "town", StringType()), Field(5, "zip", LONG)))),
        Field(6, "tags", ListType(Field(7, "element", StructType((Field(8, "v", LONG),))))),
        Field(9, "name", StringType()),
    ),
    Identity.BY_ID,
    aliases=((1, ("id", "key")), (2, ("name",)), (4, ("col-x",)), (8, ("old",)), (9, ())),
)


def test_fields_without_ids_are_matched_by_alias(tmp_path: Path) -> None:
    table = pa.table(
        {
            "key": [1, 2],
            "name": ["a", "b"],
            "address": [{"col-x": "Bern", "zip": 3}, None],
            "tags": [[{"old": 5}], []],
        }
    )
    store, file = _write(tmp_path, table)
    first, second = _rows(store, file, SCHEMA)
    assert first == {
        "id": 1,
        "title": "a",
        "address": {"town": "Bern", "zip": 3},
        "tags": [{"v": 5}],
        "name": None,  # of a new column of that name: its values are in no such file
    }
    assert second["title"] == "b"
    assert second["address"] is None
    stats = stats_for(read_footer(store, "f.parquet"), SCHEMA)
    assert stats.lower == {1: 1, 2: "a", 4: "Bern", 5: 3}
    assert 8 in stats.sizes
    assert 9 not in stats.nulls


def test_ids_in_the_file_count_unless_they_are_others(tmp_path: Path) -> None:
    marked = pa.schema(
        [
            pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "2"}),
            pa.field("b", pa.int64(), metadata={"PARQUET:field_id": "1"}),
        ]
    )
    store, file = _write(tmp_path, pa.table({"a": [1], "b": [20]}, schema=marked))
    schema = Schema(
        (Field(1, "x", LONG), Field(2, "y", LONG)),
        Identity.BY_ID,
        aliases=((1, ("a",)), (2, ("b",))),
    )
    assert _rows(store, file, schema) == [{"x": 20, "y": 1}]
    assert stats_for(read_footer(store, "f.parquet"), schema).lower == {1: 20, 2: 1}
    by_alias = replace(schema, file_ids=False)
    assert _rows(store, file, by_alias) == [{"x": 1, "y": 20}]
    assert stats_for(read_footer(store, "f.parquet"), by_alias).lower == {1: 1, 2: 20}


def test_lists_whose_insides_have_no_ids_are_matched_by_those_that_have(tmp_path: Path) -> None:
    item = pa.struct([pa.field("p", pa.int64(), metadata={"PARQUET:field_id": "8"})])
    marked = pa.schema([pa.field("q", pa.list_(item), metadata={"PARQUET:field_id": "6"})])
    store, file = _write(tmp_path, pa.table({"q": [[{"p": 1}]]}, schema=marked))
    schema = replace(SCHEMA, fields=SCHEMA.fields[3:4])
    assert _rows(store, file, schema) == [{"tags": [{"v": 1}]}]
    assert set(stats_for(read_footer(store, "f.parquet"), schema).sizes) == {8}


@pytest.mark.parametrize("swapped", [False, True], ids=["straight", "swapped"])
def test_a_row_group_knows_nested_columns_that_changed_their_names(
    tmp_path: Path, swapped: bool
) -> None:
    inner = pa.struct(
        [
            pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "3"}),
            pa.field("b", pa.int64(), metadata={"PARQUET:field_id": "4"}),
        ]
    )
    marked = pa.schema(
        [
            pa.field("k", pa.string(), metadata={"PARQUET:field_id": "1"}),
            pa.field("s", inner, metadata={"PARQUET:field_id": "2"}),
        ]
    )
    table = pa.table({"k": ["x"], "s": [{"a": 1, "b": 2}]}, schema=marked)
    store, file = _write(tmp_path, table)
    ids = (4, 3) if swapped else (3, 4)
    struct = StructType((Field(ids[0], "a", LONG), Field(ids[1], "b", LONG)))
    schema = Schema((Field(1, "key", StringType()), Field(2, "s", struct)), Identity.BY_ID)
    with GroupFile(store, file, schema, UNPARTITIONED, key="key") as opened:
        assert (opened.groups[0].lowest, opened.groups[0].highest) == ("x", "x")
        assert opened.read(0).to_pylist() == [
            {"key": "x", "s": {"a": 2, "b": 1} if swapped else {"a": 1, "b": 2}}
        ]
        assert (opened.plain_columns() is None) is swapped
