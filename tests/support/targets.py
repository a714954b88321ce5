"""Migrated tables, read by readers that are not ours, at every version and by timestamp."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from pyiceberg.table import StaticTable, Table

from tests.support import duck
from tests.support.histories import Known
from tests.support.rows import assert_same_rows


def metadata_file(folder: Path) -> Path:
    """Return the newest ``vN.metadata.json``."""
    files = (folder / "metadata").glob("v*.metadata.json")
    return max(files, key=lambda path: int(path.name.split(".")[0][1:]))


def open_iceberg(folder: Path) -> Table:
    """Open a table with pyiceberg."""
    return StaticTable.from_metadata(str(metadata_file(folder)))


def assert_iceberg_has(folder: Path, wanted: list[Known], *, skip: int = 0) -> None:
    """Compare every snapshot, in pyiceberg and DuckDB, by id and by timestamp.

    Args:
        folder: The table's folder.
        wanted: The versions that it must have, in order.
        skip: How many snapshots come before them.
    """
    table = open_iceberg(folder)
    snapshots = sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)[skip:]
    assert len(snapshots) == len(wanted)
    metadata = metadata_file(folder)
    for snapshot, known in zip(snapshots, wanted, strict=True):
        assert snapshot.timestamp_ms == known.at_ms
        found = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        assert_same_rows(found, known.rows)
        assert_same_rows(duck.rows_iceberg(metadata, snapshot.snapshot_id), known.rows)
        assert table.snapshot_as_of_timestamp(known.at_ms) == snapshot
    current = table.scan().to_arrow()
    assert_same_rows(current, wanted[-1].rows)


def assert_delta_has(
    folder: Path,
    wanted: list[Known],
    *,
    skip: int = 0,
    by_time: bool = True,
    vectors: bool = False,
) -> None:
    """Compare every version, in delta-rs, DuckDB and Polars, by number and by timestamp.

    Args:
        folder: The table's folder.
        wanted: The versions that it must have, in order.
        skip: How many versions come before them.
        by_time: Whether to ask by timestamp, too. delta-rs does not find its own commits by the
            timestamps that it shows: it travels by the modification times of the log files.
        vectors: Whether the table has deletion vectors. pyarrow's reader refuses these tables;
            Polars reads them by delta-rs.
    """
    table = DeltaTable(folder)
    assert table.version() + 1 - skip == len(wanted)
    times = {entry["version"]: entry["timestamp"] for entry in table.history()}
    for version, known in enumerate(wanted, skip):
        assert times[version] == known.at_ms
        if vectors:
            found = pl.scan_delta(str(folder), version=version).collect().to_arrow()
        else:
            found = DeltaTable(folder, version=version).to_pyarrow_table()
        assert_same_rows(found, known.rows)
        assert_same_rows(duck.rows_delta(folder, version), known.rows)
        if by_time:
            travelled = DeltaTable(folder)
            travelled.load_as_version(datetime.fromtimestamp(known.at_ms / 1000, UTC))
            assert travelled.version() == version
    assert_same_rows(pl.read_delta(str(folder)).to_arrow(), wanted[-1].rows)
