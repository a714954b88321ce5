"""Random histories by other programs, carried there and back: every version is the same.

``PARQUEDB_HISTORIES=200`` draws so many a test, ``PARQUEDB_EXAMPLES=other`` other ones.
"""

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.backends import create_backend, migrate_backend
from parquedb.log.change import AddFile, RemoveFile, SetDeletes, SetSchema
from parquedb.model.types import describe_type
from tests.support.histories import Known
from tests.support.random_histories import (
    DELTA_STEPS,
    ICEBERG_STEPS,
    apply_delta,
    apply_iceberg,
    create_delta,
    create_iceberg,
)
from tests.support.targets import assert_delta_has, assert_iceberg_has

HISTORIES = int(os.environ.get("PARQUEDB_HISTORIES", "8"))
BACK = {"warehouse": "back", "location": "back"}


@contextmanager
def new_root():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "lake"
        root.mkdir()
        yield root


def histories(steps):
    """Steps before the first migration, and after it."""
    return st.tuples(st.lists(steps, min_size=1, max_size=7), st.lists(steps, max_size=4))


def known_iceberg(table):
    """What pyiceberg says of every snapshot on the main line, and its time."""
    table = table.refresh()
    line, at = [], table.current_snapshot()
    while at is not None:
        line.append(at)
        parent = at.parent_snapshot_id
        at = None if parent is None else table.snapshot_by_id(parent)
    return [
        Known(s.snapshot_id, s.timestamp_ms, rows_at(table, s.snapshot_id)) for s in reversed(line)
    ]


def rows_at(table, snapshot_id=None):
    return table.scan(snapshot_id=snapshot_id).to_arrow().to_pylist()


def trailing(table, known_columns):
    """The columns that no snapshot has yet and no migration has seen: a version of their own."""
    snapshot = table.current_snapshot()
    columns = table.schema().fields
    if known_columns is not None and columns == known_columns:
        return []
    if snapshot is None or table.schemas()[snapshot.schema_id].fields != columns:
        rows = [] if snapshot is None else rows_at(table)
        return [Known(None, table.metadata.last_updated_ms, rows)]
    return []


def following(table, wanted, known_columns):
    """The versions that a migration carries after those that it has carried already."""
    line = known_iceberg(table)
    numbers = [known.version for known in line]
    cursor = next((k.version for k in reversed(wanted) if k.version is not None), None)
    if cursor in numbers:
        line = line[numbers.index(cursor) + 1 :]
    elif cursor is not None:  # rolled back behind it
        newer = [known for known in line if known.at_ms > wanted[-1].at_ms]
        since_ms = table.metadata.snapshot_log[-1].timestamp_ms
        line = newer or [replace(known, at_ms=max(known.at_ms, since_ms)) for known in line[-1:]]
    return line + trailing(table, None if line else known_columns)


def increasing(wanted):
    """Times as a table has them: none before another."""
    made = []
    for known in wanted:
        at_ms = max(known.at_ms, made[-1].at_ms + 1) if made else known.at_ms
        made.append(replace(known, at_ms=at_ms))
    return made


def known_delta(folder):
    """What delta-rs says of every version."""
    times = {entry["version"]: entry["timestamp"] for entry in DeltaTable(folder).history()}
    return [
        Known(v, times[v], pa.table(DeltaTable(folder, version=v).scan().read_all()).to_pylist())
        for v in sorted(times)
    ]


def outline(root, format_, **places):
    """A log in words: operation, rows added and removed, columns where they change."""
    backend = create_backend(type=format_, storage=root, **places)
    reader = backend._reader("users")
    lines, columns, live = [], None, set()
    for commit in reader.commits():
        gone = [c.file for c in commit.changes if isinstance(c, RemoveFile)]
        live -= {file.path for file in gone}
        came = [c.file for c in commit.changes if isinstance(c, AddFile)]
        came = [file for file in came if file.path not in live]  # else it has new statistics
        live |= {file.path for file in came}
        added, removed = sum(file.rows for file in came), sum(file.rows for file in gone)
        assert not any(isinstance(c, SetDeletes) for c in commit.changes)
        schemas = [c.schema for c in commit.changes if isinstance(c, SetSchema)]
        if schemas:
            columns = [(f.name, describe_type(f.type)) for f in schemas[-1].fields]
        word = operation_in_both(commit.operation.value, added, removed)
        lines.append((commit.at_ms, word, added, removed, columns))
    return lines


def operation_in_both(word, added, removed):
    """The word for an operation that Iceberg and Delta both have."""
    if not added and not removed:
        return "metadata"  # Iceberg has no snapshot for the creation of a table
    if word == "delete" and added:
        return "overwrite"  # rows that stay were written again; Delta calls this a delete, too
    return word


def migrate(root, **options):
    """Migrate, and write no more files than the dry run says."""
    told = migrate_backend(storage=root, dry_run=True, **options).namespaces["users"]
    done = migrate_backend(storage=root, verify="content", **options).namespaces["users"]
    for means, count in done.files.items():  # what is removed again by then may not be needed
        assert told.files.get(means, 0) >= count, means
    assert (told.versions, told.rows) == (done.versions, done.rows)


@settings(max_examples=HISTORIES)
@given(history=histories(ICEBERG_STEPS), partitioned=st.booleans())
def test_iceberg_to_delta_and_back(history, partitioned):
    with new_root() as root:
        table = create_iceberg(root, partitioned=partitioned)
        wanted, columns = [], None
        for steps in history:
            apply_iceberg(table, steps)
            news = following(table, wanted, columns)
            columns = table.schema().fields
            migrate(root, to="delta")
            migrate(root, from_="delta", to="iceberg", warehouse="back")
            wanted = increasing(wanted + news)
        assert_delta_has(root / "users", wanted)
        assert_iceberg_has(root / "back" / "users", wanted)
        assert outline(root, "iceberg", warehouse="back") == outline(root, "delta")


@settings(max_examples=HISTORIES)
@given(history=histories(DELTA_STEPS), partitioned=st.booleans())
def test_delta_to_iceberg_and_back(history, partitioned):
    with new_root() as root:
        folder = root / "users"
        create_delta(folder, partitioned=partitioned)
        for steps in history:
            apply_delta(folder, steps)
            migrate(root, to="iceberg")
            migrate(root, from_="iceberg", to="delta", location="back")
        wanted = known_delta(folder)
        assert_iceberg_has(folder, wanted)
        assert_delta_has(root / "back" / "users", wanted)
        assert outline(root, "delta", location="back") == outline(root, "delta")
        assert outline(root, "iceberg") == outline(root, "delta")
