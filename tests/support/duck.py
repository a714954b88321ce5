"""DuckDB as an independent reader of Iceberg and Delta tables, without network.

The extensions come as Python packages and are loaded by file; avro before iceberg.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import duckdb

EXTENSIONS = ("avro", "iceberg", "delta")


@functools.cache
def connection() -> duckdb.DuckDBPyConnection:
    """Return this process's connection, with avro, iceberg and delta loaded.

    It has one thread: the tables are small, and the other cores have tests of their own.
    """
    db = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 1})
    for name in EXTENSIONS:
        db.execute(f"LOAD '{_extension(name)}'")
    return db


def rows_iceberg(location: str | Path, snapshot_id: int | None = None) -> list[dict[str, object]]:
    """Read an Iceberg table at a snapshot.

    Args:
        location: A ``vN.metadata.json``, or the table's folder (then its version hint decides).
        snapshot_id: The snapshot; the current one by default.
    """
    at = "" if snapshot_id is None else f", snapshot_from_id={snapshot_id}"
    return query(f"SELECT * FROM iceberg_scan('{_quoted(location)}'{at})")


def rows_delta(folder: str | Path, version: int | None = None) -> list[dict[str, object]]:
    """Read a Delta table at a version; the newest by default."""
    at = "" if version is None else f", version={version}"
    return query(f"SELECT * FROM delta_scan('{_quoted(folder)}'{at})")


def rows_parquet(paths: Sequence[str | Path]) -> list[dict[str, object]]:
    """Read Parquet files by name."""
    names = ", ".join(f"'{_quoted(path)}'" for path in paths)
    return query(f"SELECT * FROM read_parquet([{names}], union_by_name=true)")


def query(sql: str) -> list[dict[str, object]]:
    """Run a query and return its rows as dicts."""
    table = connection().cursor().sql(sql).to_arrow_table()
    rows: list[dict[str, object]] = table.to_pylist(maps_as_pydicts="strict")
    return rows


def _quoted(location: str | Path) -> str:
    return str(location).replace("'", "''")


def _extension(name: str) -> Path:
    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    if package is None or package.origin is None:
        raise RuntimeError(f"duckdb-extension-{name} is not installed: `make test` installs it")
    files = sorted(Path(package.origin).parent.rglob(f"{name}.duckdb_extension"))
    matching = [file for file in files if duckdb.__version__ in str(file)]
    if not matching:
        raise RuntimeError(f"no {name} extension for DuckDB {duckdb.__version__} among {files}")
    return matching[0]
