"""Columns are stored as suits them: readable in small pages, and small."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.parquet.footer import read_footer
from parquedb.parquet.storing import PAGE_ROWS
from parquedb.parquet.write import write_parquet
from parquedb.storage.local import LocalStore

ROWS = 20_000


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    made = random.Random(3)
    table = pa.table(
        {
            "id": [f"user-{n:09}" for n in range(ROWS)],
            "kind": [f"kind {made.randrange(16)}" for _ in range(ROWS)],
            "random": [made.randbytes(8).hex() for _ in range(ROWS)],
            "score": [made.random() for _ in range(ROWS)],
            "step": [n * 1000 for n in range(ROWS)],
            "flag": [n % 2 == 0 for n in range(ROWS)],
            "late": pa.nulls(ROWS, pa.string()),
            "tags": [[f"tag {made.randrange(40)}"] * made.randrange(3) for _ in range(ROWS)],
        }
    )
    store = LocalStore(tmp_path_factory.mktemp("storing"))
    pq.write_table(table, store.local_path("source.parquet"))
    schema = read_footer(store, "source.parquet").schema
    write_parquet(store, "x.parquet", table.to_batches(), schema)
    with pq.ParquetFile(store.local_path("x.parquet")) as file:
        assert file.read().to_pylist() == table.to_pylist()
        group = file.metadata.row_group(0)
        found = [group.column(index) for index in range(group.num_columns)]
    return {column.path_in_schema.split(".")[0]: column for column in found}


def test_every_column_has_a_page_index(columns):
    assert all(column.has_offset_index for column in columns.values())
    assert PAGE_ROWS < ROWS


@pytest.mark.parametrize(
    ("name", "codec", "dictionary"),
    [
        ("id", "ZSTD", False),
        ("kind", "SNAPPY", True),
        ("score", "SNAPPY", False),
        ("step", "ZSTD", False),
        ("late", "SNAPPY", True),
        ("tags", "SNAPPY", True),
    ],
)
def test_a_column_is_stored_as_its_values_ask_for(columns, name, codec, dictionary):
    column = columns[name]
    assert column.compression == codec
    assert ("RLE_DICTIONARY" in column.encodings) == dictionary
