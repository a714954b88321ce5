"""Damaged Delta logs: commits, checkpoints, deletion vectors."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from parquedb.formats.delta.reader import DeltaReader
from parquedb.parquet.deletes import load_positions
from parquedb.storage.store import NewObject
from tests.support import corpus
from tests.support.mutate import damaged, damaged_json, fuzz
from tests.support.sound import read_all

LOG = "t/_delta_log/"


def commit_key(version):
    return f"{LOG}{version:020}.json"


def reading(key, store=None):
    made = store or corpus.delta()

    def check(data):
        read_all(DeltaReader(corpus.Overlay(made, {key: data}), "t"))

    return check


def test_the_table_without_damage():
    read_all(DeltaReader(corpus.delta(), "t"))


@pytest.mark.parametrize("version", range(5))
def test_values_of_commits(version):
    key = commit_key(version)
    fuzz(reading(key), damaged_json([corpus.delta().get(key)], lines=True), 30)


@pytest.mark.parametrize("version", [0, 2])
def test_bytes_of_commits(version):
    fuzz(reading(commit_key(version)), damaged([corpus.delta().get(commit_key(version))]))


CLASSIC = f"{LOG}{2:020}.checkpoint.parquet"


def only_checkpoint():
    """Return the table without the commits before its checkpoint."""
    made = corpus.store()
    for info in corpus.delta().list(""):
        if info.key not in (commit_key(0), commit_key(1), commit_key(2)):
            made.create(NewObject(info.key, corpus.delta().get(info.key)))
    return made


def test_bytes_of_a_checkpoint():
    store = only_checkpoint()
    fuzz(reading(CLASSIC, store), damaged([store.get(CLASSIC)]), 40)


def test_values_of_a_checkpoint():
    """Members that are missing, null, or of another type."""
    store = only_checkpoint()
    table = pq.read_table(io.BytesIO(store.get(CLASSIC)))
    places = [
        (column, inner)
        for column in table.column_names
        for inner in table.schema.field(column).type
    ]
    read = reading(CLASSIC, store)

    def check(change):
        place, kind = change
        read(corpus.parquet(changed(table, *places[place], kind)))

    changes = st.tuples(st.integers(0, len(places) - 1), st.sampled_from(list(OTHER)))
    fuzz(check, changes, 30)


OTHER = {
    "missing": None,
    "null": pa.null(),
    "text": pa.string(),
    "number": pa.int64(),
    "fraction": pa.float64(),
    "bytes": pa.binary(),
    "list": pa.list_(pa.string()),
    "map": pa.map_(pa.string(), pa.int64()),
    "struct": pa.struct([("x", pa.int64())]),
}
VALUES = {
    "null": None, "text": "x", "number": -1, "fraction": 0.5, "bytes": b"\xff", "list": ["x"],
    "map": [("x", 1)], "struct": {"x": 1},
}  # fmt: skip


def changed(table, column, inner, kind):
    """Return a table with one member of one column's structs changed."""
    array = table[column].combine_chunks()
    members = {field.name: array.field(field.name) for field in array.type}
    members.pop(inner.name)
    if kind != "missing":
        members[inner.name] = pa.array([VALUES[kind]] * len(array), OTHER[kind])
    made = pa.StructArray.from_arrays(
        list(members.values()), names=list(members), mask=array.is_null()
    )
    return table.set_column(table.column_names.index(column), column, made)


def test_deletion_vectors():
    """Damage is found by the checksum: never other rows."""
    (key, *_) = corpus.keys(corpus.delta(), ".bin")
    snapshot = DeltaReader(corpus.delta(), "t").snapshot()
    files = [file for file in snapshot.files.values() if file.deletes]
    right = [load_positions(corpus.delta(), file.path, file.deletes) for file in files]

    def check(data):
        store = corpus.Overlay(corpus.delta(), {key: data})
        found = [load_positions(store, file.path, file.deletes) for file in files]
        assert found == right

    fuzz(check, damaged([corpus.delta().get(key)]), 60)
