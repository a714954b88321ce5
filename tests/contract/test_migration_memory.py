"""A migration in memory: no local disk is assumed, and no data page is read that need not be."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.backends import create_backend, migrate_backend
from parquedb.storage import NewObject
from parquedb.storage.counting import count
from parquedb.storage.memory import MemoryStore


@pytest.fixture
def store():
    buffer = io.BytesIO()
    numbers = np.random.default_rng(1).random(500_000)
    pq.write_table(pa.table({"x": numbers, "y": numbers}), buffer, compression="none")
    found = MemoryStore("pages")
    found.create(NewObject("data/users/data.parquet", buffer.getvalue(), 1_600_000_000_000))
    return found


def test_all_paths_in_memory(store):
    wanted = create_backend(type="native", storage=store).to_arrow("users")
    migrate_backend(storage=store, to="iceberg", verify="content")
    migrate_backend(storage=store, from_="iceberg", to="delta", verify="content")
    for type_ in ("iceberg", "delta"):
        backend = create_backend(type=type_, storage=store)
        assert backend.to_arrow("users").equals(wanted)
        assert [version.at_ms for version in backend.history("users")] == [1_600_000_000_000]
    migrate_backend(storage=store, from_="delta", to="iceberg", delete_source=True)
    assert [info.key for info in store.list("users/_delta_log")] == []
    assert create_backend(type="iceberg", storage=store).to_arrow("users").equals(wanted)


@pytest.mark.parametrize("files", ["auto", "share"])
def test_no_data_page_is_read(store, files):
    size = store.head("data/users/data.parquet").size_bytes
    counted = count(store)
    migrate_backend(storage=counted, to="delta")  # a copy inside the store
    report = migrate_backend(storage=counted, from_="delta", to="iceberg", files=files)
    assert report.to_json()["namespaces"]["users"]["files"]["shared"] == 1
    read = counted.counts.total_read_bytes(".parquet")
    assert read < size / 20
