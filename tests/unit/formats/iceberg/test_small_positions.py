"""Small position delete files are Parquet files for everybody."""

import io

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap64

from parquedb.formats.iceberg.paths import Locations
from parquedb.formats.iceberg.position_files import encode_positions, read_positions
from parquedb.formats.iceberg.small_positions import MOST, decode_small, encode_small
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

LOCATION = "memory://small/t/data/ä b.parquet"
POSITIONS = {
    "one": [0],
    "some": [3, 5, 2**40],
    "63": range(63),
    "64": range(64),
    "127": range(10, 137),
    "128": range(128),
    "most": range(0, 3 * MOST, 3),
}


@pytest.mark.parametrize("name", list(POSITIONS))
def test_every_reader_reads_them(tmp_path, name):
    numbers = list(POSITIONS[name])
    data = encode_small(LOCATION.encode(), np.array(numbers, np.int64))
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    table = pq.read_table(path)
    assert table.to_pydict() == {"file_path": [LOCATION] * len(numbers), "pos": numbers}
    found = duckdb.sql(f"SELECT * FROM '{path}' WHERE file_path LIKE '%ä%' AND pos >= 0").fetchall()
    assert found == [(LOCATION, number) for number in numbers]
    frame = pl.scan_parquet(path).filter(pl.col("pos") >= numbers[-1]).collect()
    assert frame.rows() == [(LOCATION, numbers[-1])]
    assert decode_small(data, LOCATION.encode(), len(numbers)).tolist() == numbers


def test_what_the_footer_says():
    data = encode_small(LOCATION.encode(), np.array([4, 7, 9], np.int64))
    metadata = pq.read_metadata(io.BytesIO(data))
    path, position = (metadata.row_group(0).column(i) for i in range(2))
    assert [f.metadata[b"PARQUET:field_id"] for f in metadata.schema.to_arrow_schema()] == [
        b"2147483546", b"2147483545",
    ]  # fmt: skip
    assert (position.statistics.min, position.statistics.max) == (4, 9)
    assert (path.statistics.min, path.statistics.max) == (LOCATION, LOCATION)
    assert path.total_compressed_size + position.total_compressed_size + 4 == (
        len(data) - metadata.serialized_size - 8
    )


def test_only_the_same_bytes_are_recognized():
    numbers = np.array([4, 7, 9], np.int64)
    data = encode_small(LOCATION.encode(), numbers)
    location = LOCATION.encode()
    for place in range(len(data)):
        other = bytearray(data)
        other[place] ^= 1
        found = decode_small(bytes(other), location, 3)
        # a position is what it is; but those at both ends are in the statistics too
        assert found is None or found.tolist()[::2] == [4, 9]
    assert decode_small(data[:-1], location, 3) is None
    assert decode_small(data + b"x", location, 3) is None
    assert decode_small(data, location, 2) is None
    assert decode_small(data, b"elsewhere", 3) is None
    assert decode_small(b"", location, MOST + 1) is None


@pytest.mark.parametrize("count", [1, MOST, MOST + 1])
def test_small_and_large_files_read_alike(count):
    store = MemoryStore("small")
    positions = BitMap64(range(0, 2 * count, 2))
    store.create(NewObject("d", encode_positions(LOCATION, positions)))
    locations = Locations(store.root, "t")
    key = locations.key(LOCATION)
    for told in (None, (LOCATION, count), (LOCATION, 1)):
        assert read_positions(store, locations, "d", key, told) == {key: positions}
    assert read_positions(store, locations, "d", None) == {key: positions}
