"""Do one piece of work and print what it cost: ``python -m benchmarks.work NAME FOLDER``."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]


def delta_to_iceberg(folder: Path) -> Work:
    """Migrate with the whole history."""
    return _migrate(folder, to="iceberg")


def iceberg_to_delta(folder: Path) -> Work:
    """Migrate with the whole history."""
    return _migrate(folder, to="delta", from_="iceberg")


def native_to_delta(folder: Path) -> Work:
    """Migrate and keep the source."""
    return _migrate(folder, to="delta")


def native_to_iceberg(folder: Path) -> Work:
    """Migrate and keep the source."""
    return _migrate(folder, to="iceberg")


def native_to_iceberg_moved(folder: Path) -> Work:
    """Migrate and delete the source."""
    return _migrate(folder, to="iceberg", delete_source=True)


def copy_native(folder: Path) -> Work:
    """Copy the file, durably."""

    def run() -> None:
        target = folder / "copy.parquet"
        shutil.copyfile(folder / "data" / "t" / "data.parquet", target)
        with target.open("rb") as file:
            os.fsync(file.fileno())

    return run


def delta_rs_open(folder: Path) -> Work:
    """Open the migrated table with delta-rs, which is less than any conversion."""
    from deltalake import DeltaTable

    iceberg_to_delta(folder)()
    return lambda: len(DeltaTable(folder / "t").file_uris())


def delta_rs_convert(folder: Path) -> Work:
    """Convert the folder in place with delta-rs."""
    from deltalake import convert_to_deltalake

    return lambda: convert_to_deltalake(folder / "data" / "t")


def pyiceberg_commits(folder: Path) -> Work:
    """Add files one commit each with pyiceberg: 40 commits, of one snapshot each."""
    files = sorted(str(path) for path in (folder / "t").glob("*.parquet"))[:40]
    table = _pyiceberg_table(folder, files[0])

    def run() -> None:
        for file in files:
            table.add_files([file], check_duplicate_files=False)

    return run


def pyiceberg_add_folder(folder: Path) -> Work:
    """Add all files of a Delta table's newest version with pyiceberg."""
    return _pyiceberg_add(folder, folder / "t")


def pyiceberg_add_native(folder: Path) -> Work:
    """Add all files of a native folder with pyiceberg."""
    return _pyiceberg_add(folder, folder / "data" / "t")


def _pyiceberg_add(folder: Path, files: Path) -> Work:
    paths = sorted(str(path) for path in files.glob("*.parquet"))
    table = _pyiceberg_table(folder, paths[0])
    return lambda: table.add_files(paths, check_duplicate_files=False)


def _pyiceberg_table(folder: Path, sample: str):  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog(
        "bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=(folder / "warehouse").as_uri()
    )
    catalog.create_namespace("b")
    return catalog.create_table("b.t", schema=pq.read_schema(sample))


def _migrate(folder: Path, **options: object) -> Work:
    from parquedb.backends import migrate_backend

    return lambda: migrate_backend(storage=folder, **options)


if __name__ == "__main__":
    name, where = sys.argv[1:]
    work = globals()[name](Path(where))
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_mb": peak_kb / 1024}))
