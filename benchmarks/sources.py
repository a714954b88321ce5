"""Make one source table: ``python -m benchmarks.sources KIND SIZE FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks import tables
from parquedb.backends import migrate_backend


def delta_commits(folder: Path, size: int) -> None:
    """A Delta table of that many commits."""
    tables.delta_table(folder / "t", size)


def delta_vectors(folder: Path, size: int) -> None:
    """A Delta table of that many commits, each of which changes 10 deletion vectors."""
    tables.delta_vectors(folder / "t", size)


def iceberg_deletes(folder: Path, size: int) -> None:
    """An Iceberg table of that many snapshots, each of which changes the deletes of 10 files."""
    delta_vectors(folder, size)
    _only_iceberg(folder)


def delta_files(folder: Path, size: int) -> None:
    """A Delta table of one commit of that many files."""
    tables.delta_table(folder / "t", 1, size)


def iceberg_commits(folder: Path, size: int) -> None:
    """An Iceberg table of that many snapshots."""
    delta_commits(folder, size)
    _only_iceberg(folder)


def iceberg_files(folder: Path, size: int) -> None:
    """An Iceberg table of one snapshot of that many files."""
    delta_files(folder, size)
    _only_iceberg(folder)


def folder(folder: Path, size: int) -> None:
    """That many native Parquet files."""
    tables.parquet_folder(folder / "data" / "t", size)


def big(folder: Path, size: int) -> None:
    """One native Parquet file of that many MB."""
    tables.big_file(folder / "data" / "t" / "data.parquet", size * 1_000_000)


def big_iceberg(folder: Path, size: int) -> None:
    """An Iceberg table of one file of that many MB, and the native file."""
    big(folder, size)
    migrate_backend(storage=folder, to="iceberg")


def _only_iceberg(folder: Path) -> None:
    migrate_backend(storage=folder, to="iceberg", files="share")
    shutil.rmtree(folder / "t" / "_delta_log")


if __name__ == "__main__":
    kind, size, where = sys.argv[1:]
    globals()[kind](Path(where), int(size))
