from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import AlreadyExistsError
from parquedb.storage import NewObject
from parquedb.storage.counting import CountingStore, count
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore


@pytest.fixture
def store() -> CountingStore:
    return count(MemoryStore())


def test_reads(store: CountingStore) -> None:
    store.create(NewObject("a", b"0123456789"))
    store.get("a")
    store.get_range("a", 8, 10)
    store.head("a")
    list(store.list(""))
    assert store.counts.read_bytes == {"a": 12}
    assert store.counts.calls == {"create": 1, "get": 1, "get_range": 1, "head": 1, "list": 1}


def test_a_file_counts_what_is_taken_from_it(store: CountingStore) -> None:
    store.create(NewObject("a", b"0123456789"))
    with store.open_read("a") as file:
        assert store.counts.total_read_bytes() == 0
        file.read(3)
        file.seek(8)
        file.read()
    assert store.counts.total_read_bytes() == 5


def test_a_footer_is_less_than_its_file(store: CountingStore) -> None:
    """The proof that tests make: metadata was read and no data page."""
    with store.open_create("t.parquet") as file:
        pq.write_table(pa.table({"a": [f"{n}" * 100 for n in range(10_000)]}), file)
    size = store.head("t.parquet")
    assert size is not None
    assert store.counts.total_written_bytes(".parquet") == size.size_bytes
    with store.open_read("t.parquet") as file:
        assert pq.ParquetFile(file).metadata.num_rows == 10_000
    # pyarrow guesses the footer's length at 64 KB
    assert 0 < store.counts.total_read_bytes(".parquet") <= 2 * 65_536
    with store.open_read("t.parquet") as file:
        pq.ParquetFile(file).read()
    assert store.counts.total_read_bytes(".parquet") > size.size_bytes
    assert store.counts.total_read_bytes(".json") == 0


def test_writes(store: CountingStore) -> None:
    store.create(NewObject("a", b"12"))
    with pytest.raises(AlreadyExistsError):
        store.create(NewObject("a", b"345"))
    assert store.create_many([NewObject("b", b"1"), NewObject("a", b"2"), NewObject("c", b"")]) == 1
    store.put_many([NewObject("p", b"123")])
    store.replace("r", b"1234")
    with store.open_create("s") as file:
        file.write(b"12345")
    store.copy_many([("a", "a2")])
    assert store.counts.written_bytes == {"a": 2, "b": 1, "p": 3, "r": 4, "s": 5}
    assert store.counts.total_written_bytes() == 15
    assert store.counts.calls["create"] == 2


def test_links_and_paths_are_calls(tmp_path: Path) -> None:
    store = count(LocalStore(tmp_path))
    store.create(NewObject("a", b"12"))
    store.link_many([("a", "b")])  # type: ignore[attr-defined]
    assert store.local_path("b") == str(tmp_path / "b")  # type: ignore[attr-defined]
    assert store.counts.calls == {"create": 1, "link_many": 1, "local_path": 1}
    assert store.counts.total_written_bytes() == 2
