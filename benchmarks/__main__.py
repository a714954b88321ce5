"""Run the benchmarks and print a table: seconds, peak memory, ratio to the peer.

``python -m benchmarks`` runs everything, ``python -m benchmarks small`` leaves out the cases that
take minutes, ``python -m benchmarks NAME…`` runs the named ones; ``documents`` are those of the
document database (see :mod:`.documents`). Every measurement is a process of its own, started after
its source table was made; seconds are those of the call without imports, the median of three runs
(one for cases of more than 20 s).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import documents, tables

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Args:
        name: Its name on the command line.
        title: What is done.
        prepare: Name of the function of ``benchmarks.sources`` that makes the source.
        work: Name of the function of ``benchmarks.work`` that is timed.
        peer: Name of the peer's function, or None.
        peer_title: What the peer is.
        target: What has to be reached, for the reader of the table.
        slow: Left out by ``small``.
    """

    name: str
    title: str
    prepare: tuple[str, int]
    work: str
    peer: str | None = None
    peer_title: str = ""
    target: str = ""
    slow: bool = False


CASES = (
    Case(
        "d2i-1k",
        "1,000 Delta commits to Iceberg",
        ("delta_commits", 1000),
        "delta_to_iceberg",
        "pyiceberg_commits",
        "pyiceberg add_files, 40 of them",
        "2 s",
    ),
    Case(
        "i2d-1k",
        "1,000 Iceberg snapshots to Delta",
        ("iceberg_commits", 1000),
        "iceberg_to_delta",
        None,
        "",
        "2 s",
    ),
    Case(
        "d2i-10k",
        "10,000 Delta commits to Iceberg",
        ("delta_commits", 10_000),
        "delta_to_iceberg",
        None,
        "",
        "13 times 1,000",
        slow=True,
    ),
    Case(
        "i2d-10k",
        "10,000 Iceberg snapshots to Delta",
        ("iceberg_commits", 10_000),
        "iceberg_to_delta",
        None,
        "",
        "13 times 1,000",
        slow=True,
    ),
    Case(
        "dv2i",
        "1,000 commits of 10 deletion vectors to Iceberg",
        ("delta_vectors", 1000),
        "delta_to_iceberg",
        None,
        "",
        "5 s",
    ),
    Case(
        "dv2d",
        "1,000 snapshots of 10 delete files to Delta",
        ("iceberg_deletes", 1000),
        "iceberg_to_delta",
        None,
        "",
        "5 s",
    ),
    Case(
        "d2i-files",
        "20,000-file snapshot, Delta to Iceberg",
        ("delta_files", 20_000),
        "delta_to_iceberg",
        "pyiceberg_add_folder",
        "pyiceberg add_files",
        "3 s, 400 MB",
        slow=True,
    ),
    Case(
        "i2d-files",
        "20,000-file snapshot, Iceberg to Delta",
        ("iceberg_files", 20_000),
        "iceberg_to_delta",
        "delta_rs_open",
        "delta-rs: only opening it",
        "3 s, 400 MB",
    ),
    Case(
        "n2d",
        "2,000 Parquet files to Delta",
        ("folder", 2000),
        "native_to_delta",
        "delta_rs_convert",
        "delta-rs convert_to_deltalake",
        "1 s",
    ),
    Case(
        "n2i",
        "2,000 Parquet files to Iceberg",
        ("folder", 2000),
        "native_to_iceberg",
        "pyiceberg_add_native",
        "pyiceberg add_files",
        "1.5 s",
    ),
    Case(
        "big2i",
        "500 MB native file to Iceberg, kept",
        ("big", 500),
        "native_to_iceberg",
        "copy_native",
        "cp and fsync",
        "as fast as cp",
    ),
    Case(
        "big2d",
        "500 MB native file to Delta, kept",
        ("big", 500),
        "native_to_delta",
        "copy_native",
        "cp and fsync",
        "as fast as cp",
    ),
    Case(
        "big2i-move",
        "500 MB native to Iceberg, --delete-source",
        ("big", 500),
        "native_to_iceberg_moved",
        "copy_native",
        "cp and fsync",
        "no matter the size",
    ),
    Case(
        "bigi2d",
        "500 MB Iceberg table to Delta",
        ("big_iceberg", 500),
        "iceberg_to_delta",
        "copy_native",
        "cp and fsync",
        "no matter the size",
    ),
)


def main(arguments: list[str]) -> None:
    """Run the chosen cases and print the tables."""
    names = {case.name for case in CASES}
    of_documents = {case.name for case in documents.CASES}
    known = names | of_documents | {"documents"}
    chosen = {a for a in arguments if a != "small"}
    if unknown := chosen - known:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if not chosen:
        chosen = names | of_documents
    elif "documents" in chosen:
        chosen |= of_documents
    small = "small" in arguments
    print(machine())
    if cases := [case for case in CASES if case.name in chosen and not (small and case.slow)]:
        run_migrations(cases)
    if asked := [case for case in documents.CASES if case.name in chosen]:
        documents.run(asked, small=small)


def run_migrations(cases: list[Case]) -> None:
    """Run the migrations and print their table."""
    print(
        f"{'case':<48}{'seconds':>9}{'peak MB':>9}   {'peer':<32}{'seconds':>9}{'peak MB':>9}"
        f"{'ratio':>8}   target"
    )
    with tempfile.TemporaryDirectory(dir=HERE / ".bench") as folder:
        for case in cases:
            (place := Path(folder, case.name)).mkdir()
            show(case, place)


def show(case: Case, folder: Path) -> None:
    """Measure one case and print its line."""
    lake = folder / "lake"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.sources",
            case.prepare[0],
            str(case.prepare[1]),
            str(lake),
        ],
        check=True,
        cwd=HERE,
    )
    lake.rename(folder / "pristine")  # absolute paths in metadata stay right: runs use its name
    ours = measure(case.work, folder)
    line = f"{case.title:<48}{ours[0]:>9.2f}{ours[1]:>9.0f}   "
    if case.peer is not None:
        peer = measure(case.peer, folder)
        line += f"{case.peer_title:<32}{peer[0]:>9.2f}{peer[1]:>9.0f}{ours[0] / peer[0]:>8.2f}"
    else:
        line += f"{'':<58}"
    print(f"{line}   {case.target}", flush=True)


def measure(work: str, folder: Path) -> tuple[float, float]:
    """Run a function of ``benchmarks.work`` on a fresh copy each; return seconds and peak MB."""
    seconds, peaks = [], []
    while len(seconds) < 3 and not (seconds and seconds[0] > 20):
        lake = folder / "lake"
        subprocess.run(["cp", "-al", folder / "pristine", lake], check=True)
        os.sync()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.work", work, str(lake)],
            check=True,
            cwd=HERE,
            stdout=subprocess.PIPE,
        )
        figures = json.loads(done.stdout.splitlines()[-1])
        seconds.append(figures["seconds"])
        peaks.append(figures["peak_mb"])
        # deleted at the very end: ext4 is slow to give new files the places of deleted ones
        lake.rename(folder / f"{work}-{len(seconds)}")
    return statistics.median(seconds), statistics.median(peaks)


def machine() -> str:
    """Describe the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}; table rows of {tables.ROWS} in small files"
    )


if __name__ == "__main__":
    (HERE / ".bench").mkdir(exist_ok=True)
    main(sys.argv[1:])
