"""Readers of the golden tables, none of them ours, and what a table must look like to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from parquedb.backends import create_backend
from tests.golden.tables import Golden, Maker, Row
from tests.support import duck
from tests.support.histories import Known
from tests.support.rows import assert_same_rows
from tests.support.spark import read_delta_at, read_iceberg_at
from tests.support.targets import metadata_file, open_iceberg

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Rows = Iterable[Row] | pa.Table
Reader = Callable[[Path, int], Rows]

ICEBERG: dict[str, Reader] = {
    "pyiceberg": lambda folder, id_: open_iceberg(folder).scan(snapshot_id=id_).to_arrow(),
    "duckdb": lambda folder, id_: duck.rows_iceberg(metadata_file(folder), id_),
    "polars": lambda folder, id_: (
        pl.scan_iceberg(str(metadata_file(folder)), snapshot_id=id_, reader_override="native")
        .collect()
        .to_arrow()
    ),
}
DELTA: dict[str, Reader] = {
    "delta-rs": lambda folder, v: pa.table(DeltaTable(folder, version=v).scan().read_all()),
    "pyarrow": lambda folder, v: DeltaTable(folder, version=v).to_pyarrow_table(),
    "duckdb": duck.rows_delta,
    "polars": lambda folder, v: pl.scan_delta(str(folder), version=v).collect().to_arrow(),
}
"""Polars and pyarrow, too, replay a Delta log by delta-rs; their scans of the files are their own.
"spark" can be named for either format."""


def known_by_spark(maker: Maker, *, start: int = 0) -> list[Known]:
    """Return what Spark says of every version of a table on its main line.

    Args:
        maker: Where the table is.
        start: The first version of a Delta table to read.
    """
    if maker.format == "iceberg":
        return [
            Known(id_, at, read_iceberg_at(maker.spark, maker.folder, snapshot_id=id_))
            for id_, at in iceberg_line(maker.folder)
        ]
    history = maker.sql("DESCRIBE HISTORY {table}")
    return [
        Known(
            row["version"],
            round(row["timestamp"].timestamp() * 1000),
            read_delta_at(maker.spark, maker.folder, version=row["version"]),
        )
        for row in sorted(history, key=lambda row: row["version"])
        if row["version"] >= start
    ]


def iceberg_line(folder: Path) -> list[tuple[int, int]]:
    """Return id and time of every snapshot from the oldest ancestor to the current one."""
    metadata = json.loads(metadata_file(folder).read_bytes())
    by_id = {snapshot["snapshot-id"]: snapshot for snapshot in metadata.get("snapshots", [])}
    line, at = [], metadata.get("current-snapshot-id")
    while at in by_id:
        line.append((at, by_id[at]["timestamp-ms"]))
        at = by_id[at].get("parent-snapshot-id")
    return line[::-1]


def delta_line(folder: Path) -> list[tuple[int, int]]:
    """Return number and time of every version of a Delta table that we wrote.

    The time in the commit and the log file's own, by which others travel, must be the same.
    """
    line = []
    for path in sorted((folder / "_delta_log").glob("*.json")):
        actions = [json.loads(text) for text in path.read_text().splitlines()]
        (at,) = (action["commitInfo"]["timestamp"] for action in actions if "commitInfo" in action)
        assert path.stat().st_mtime_ns // 1_000_000 == at
        line.append((int(path.stem), at))
    return line


def assert_table_has(
    spark: SparkSession,
    table: Golden,
    root: Path,
    format_: str,
    wanted: Sequence[Known],
    *,
    place: str = "",
) -> None:
    """Fail unless a migrated table has these versions, in order, with rows and times.

    Args:
        spark: The session.
        table: Says who can read it.
        root: The storage.
        format_: The format that it was migrated to.
        wanted: What its versions must be; their numbers do not matter.
        place: The prefix (warehouse or location) below which it lies.
    """
    folder = root / place / "users"
    line = iceberg_line(folder) if format_ == "iceberg" else delta_line(folder)
    assert [at for _, at in line] == [known.at_ms for known in wanted]
    for name in table.readers(format_):
        if name == "spark":
            continue
        reader = (ICEBERG if format_ == "iceberg" else DELTA)[name]
        for (version, _), known in zip(line, wanted, strict=True):
            with_note(f"{name} at {version}", reader(folder, version), known.rows)
    every = "spark" in table.readers(format_)
    if every or table.spark_reads:
        chosen = range(len(line)) if every else sorted({len(line) // 2, len(line) - 1})
        for index in chosen:
            version = line[index][0]
            found = spark_rows(spark, folder, format_, version)
            with_note(f"Spark at {version}", found, wanted[index].rows)
    assert_ours_has(root, format_, wanted, place=place)


def assert_ours_has(root: Path, format_: str, wanted: Sequence[Known], *, place: str = "") -> None:
    """Fail unless ParqueDB itself reads these versions of a table."""
    backend = create_backend(type=format_, storage=root, warehouse=place, location=place)
    history = list(backend.history("users"))[-len(wanted) :]
    assert [version.at_ms for version in history] == [known.at_ms for known in wanted]
    for version, known in zip(history, wanted, strict=True):
        found = backend.to_arrow("users", version=version.version)
        with_note(f"ours at {version.version}", found, known.rows)


def spark_rows(spark: SparkSession, folder: Path, format_: str, version: int) -> list[Row]:
    """Read a table at a version by Spark."""
    if format_ == "iceberg":
        return read_iceberg_at(spark, folder, snapshot_id=version)
    return read_delta_at(spark, folder, version=version)


def with_note(note: str, found: Rows, wanted: Rows) -> None:
    """Compare rows; the note says in a failure who read them."""
    try:
        assert_same_rows(found, wanted)
    except AssertionError as error:
        error.add_note(note)
        raise


def changed(wanted: Sequence[Known], change: Callable[[Row], Row]) -> list[Known]:
    """Return versions with every row changed."""
    return [
        Known(known.version, known.at_ms, [change(dict(row)) for row in known.rows])
        for known in wanted
    ]


def native_rows(path: Path) -> list[tuple[str, Rows]]:
    """Read a native file by two programs."""
    import pyarrow.parquet as pq

    return [("pyarrow", pq.read_table(path)), ("duckdb", duck.rows_parquet([path]))]
