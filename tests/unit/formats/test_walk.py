"""Tables walked from version to version: the same as by snapshots, at the cost of what changes."""

import random
import shutil

import pytest
from deltalake import write_deltalake

from parquedb.backends import migrate_backend, verify_backend
from parquedb.errors import NotFoundError
from parquedb.formats.contents import Digests, WalkedContent
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.storage.counting import count
from parquedb.storage.local import LocalStore
from tests.interop.test_row_deletes import history as history_of_deletes
from tests.interop.test_row_deletes import make_delta, make_iceberg
from tests.support import histories
from tests.support.histories import people

TABLES = {
    "delta_plain": DeltaReader,
    "delta_checkpointed": DeltaReader,
    "delta_partitioned": DeltaReader,
    "iceberg_plain": IcebergReader,
    "iceberg_evolved": IcebergReader,
    "delta_deletes": DeltaReader,
    "iceberg_deletes": IcebergReader,
}


def build(root, name):
    if name.endswith("_deletes"):
        make = make_delta if name.startswith("delta") else make_iceberg
        make(root, history_of_deletes(root))
    else:
        getattr(histories, name)(root)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_a_walk_to_and_fro_is_what_snapshots_are(root, name):
    build(root, name)
    store = LocalStore(root)
    reader = TABLES[name](store, "users")
    versions = [version.version for version in reader.history()]
    chance = random.Random(5)
    stops = [*versions, *chance.choices([*versions, None], k=20)]
    walk, before = reader.walk(), None
    with Digests(store) as digests:
        content = WalkedContent(reader.walk(), digests)
        for stop in stops:
            snapshot, step = reader.snapshot(stop), walk.to(stop)
            assert dict(step.snapshot.files) == snapshot.files
            assert (step.snapshot.schema, step.snapshot.at_ms) == (snapshot.schema, snapshot.at_ms)
            if before is not None and step.touched is not None:
                keys = before.keys() | snapshot.files.keys()
                assert step.touched >= {k for k in keys if before.get(k) != snapshot.files.get(k)}
            before = dict(snapshot.files)
            content.to(stop)
            if chance.random() < 0.7:
                assert content.digest() == digests.of(snapshot)
    with pytest.raises(NotFoundError):
        walk.to(12345)


def test_a_walk_goes_on_after_a_version_that_cannot_be_read(root):
    histories.delta_plain(root)
    reader = DeltaReader(LocalStore(root), "users")
    walk = reader.walk()
    wanted = [dict(reader.snapshot(version).files) for version in range(5)]
    walk.to(1)
    path = root / f"users/_delta_log/{3:020d}.json"
    shutil.move(path, root / "aside")
    with pytest.raises(NotFoundError):
        walk.to(4)
    shutil.move(root / "aside", path)
    assert dict(walk.to(2).snapshot.files) == wanted[2]
    assert dict(walk.to(4).snapshot.files) == wanted[4]


def test_comparing_content_reads_the_logs_a_few_times_however_long(root):
    for version in range(30):
        write_deltalake(str(root / "users"), people(version * 3, 3), mode="append")
    store = count(LocalStore(root))
    migrate_backend(storage=store, to="iceberg", verify="content")
    copied = dict(store.counts.read_bytes)
    assert verify_backend(store, "users", against="iceberg", content=True)["equal"]
    seen = 0
    for key, read in store.counts.read_bytes.items():
        if "/_delta_log/" in key or key.endswith(".avro"):
            size_bytes = store.head(key).size_bytes
            assert read <= 12 * size_bytes, key
            assert read - copied.get(key, 0) <= 5 * size_bytes, key
            seen += 1
    assert seen > 60
