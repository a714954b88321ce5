"""Files opened by the part of pyarrow that reads them, or by its cover where that is another."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow._parquet import ParquetReader

from parquedb.parquet import opened
from parquedb.parquet.opened import ParquetFile, read_metadata

TABLE = pa.table(
    {
        "n": pa.array(range(10), pa.int64()),
        "inner": pa.array([{"a": n, "b": [str(n)]} for n in range(10)]),
        "text": pa.array([str(n) for n in range(10)]),
    }
)
OPTIONS = {"buffer_size": 64, "page_checksum_verification": True}


class OtherReader(ParquetReader):
    """The reader of a pyarrow that knows nothing of what ours is asked for."""

    def open(self, source, **options):
        if options.get("arrow_extensions_enabled"):
            raise TypeError("open() got an unexpected keyword argument 'arrow_extensions_enabled'")
        super().open(source, **options)


@pytest.fixture(params=["as pinned", "another"])
def covers(request, monkeypatch):
    """Return how often the cover was opened."""
    made = []

    class Cover(pq.ParquetFile):
        def __init__(self, *arguments, **options):
            made.append(options)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(pq, "ParquetFile", Cover)
    if request.param == "another":
        monkeypatch.setattr(opened, "ParquetReader", OtherReader)
    yield made
    assert bool(made) == (request.param == "another")


def test_what_is_read(tmp_path, covers):
    path = str(tmp_path / "a.parquet")
    pq.write_table(TABLE, path, row_group_size=4)
    with ParquetFile(path, OPTIONS) as file:
        assert file.metadata.num_rows == 10
        assert file.schema_arrow.equals(TABLE.schema)
        assert file.read().equals(TABLE)
        assert file.read_row_group(1, ["text", "inner"]).equals(
            TABLE.select(["text", "inner"]).slice(4, 4)
        )
        assert file.read_row_group(2, []).num_columns == 0
        batches = list(file.iter_batches(["inner"], 3))
        assert pa.Table.from_batches(batches).equals(TABLE.select(["inner"]))
    assert all(options == OPTIONS for options in covers)


def test_an_open_file_stays_open(covers):
    data = io.BytesIO()
    pq.write_table(TABLE, data)
    with ParquetFile(data) as file:
        assert file.read().equals(TABLE)
    assert not data.closed
    assert read_metadata(data).num_rows == 10


def test_a_damaged_file(tmp_path, covers):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises((pa.ArrowException, OSError)):
        ParquetFile(str(path))
