"""The document database beside its peers: the cases, and the table of their figures.

Every measurement is a process of its own, the median of three (one where it takes more than 20 s).
Each database has its own data set, built once and shared by the cases; those that write work on a
copy. The page cache is warm. Small is one run each, of 20,000 documents.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.documents_systems import ParqueDB, System
from benchmarks.documents_work import SYSTEMS

HERE = Path(__file__).resolve().parent.parent
SIZE = 1_000_000
SMALL_SIZE = 20_000
_LONG = 20.0


@dataclass(frozen=True)
class DocumentCase:
    """One measurement, of all databases that can do it.

    Args:
        name: Its name on the command line.
        title: What is done.
        work: Name of the function of ``benchmarks.documents_work``.
        count: How often it is done in one process.
        target: What has to be reached, for the reader of the table.
        figure: How it is shown: ``rate``, ``time`` or ``bytes``.
        durable: Whether writes are on the disk when they return; None where nothing is written.
        copies: Whether it works on a copy of the data set.
        empty: Whether it begins with an empty folder.
    """

    name: str
    title: str
    work: str
    count: int
    target: str
    figure: str = "time"
    durable: bool | None = None
    copies: bool = False
    empty: bool = False


CASES = (
    DocumentCase(
        "doc-create-os",
        "create one at a time, os",
        "create",
        20_000,
        "1 × SQLite",
        "rate",
        durable=False,
        copies=True,
    ),
    DocumentCase(
        "doc-create-fsync",
        "create one at a time, fsync",
        "create",
        2_000,
        "1 × SQLite",
        "rate",
        durable=True,
        copies=True,
    ),
    DocumentCase(
        "doc-create-many",
        "create_many, from a generator",
        "create_many",
        1,
        "1 × SQLite; 1.5 GB",
        "rate",
        empty=True,
    ),
    DocumentCase("doc-get", "get by id, warm", "get", 20_000, "1 ms"),
    DocumentCase("doc-cold", "cold process: import, open, get", "cold", 1, "300 ms"),
    DocumentCase("doc-scalar", "find 1 % by an int", "scalar", 5, "1 × DuckDB"),
    DocumentCase("doc-nested", "find 1 % by a nested field", "nested", 5, "1 × DuckDB"),
    DocumentCase("doc-element", "find 1 % by an element of a list", "element", 5, "1 × DuckDB"),
    DocumentCase("doc-page", "find: range, sort, limit 10", "page", 10, "1 × DuckDB"),
    DocumentCase("doc-count", "count with a filter", "count", 10, "1 × DuckDB"),
    DocumentCase(
        "doc-update-os",
        "update by id, os",
        "update",
        10_000,
        "1 × SQLite",
        "rate",
        durable=False,
        copies=True,
    ),
    DocumentCase(
        "doc-update-fsync",
        "update by id, fsync",
        "update",
        2_000,
        "1 × SQLite",
        "rate",
        durable=True,
        copies=True,
    ),
    DocumentCase(
        "doc-flush", "flush of 1,000 scattered updates", "flush", 1_000, "3 s", copies=True
    ),
    DocumentCase("doc-size", "on disk", "size", 1, "60 bytes a document", "bytes"),
)


@dataclass(frozen=True)
class _Figure:
    """What was measured."""

    seconds_each: float
    peak_mb: float


class Runner:
    """Runs cases in one folder.

    Args:
        folder: Where data sets lie.
        size: Documents in them, where a database can take so many.
        runs: How often each measurement is repeated.
    """

    def __init__(self, folder: Path, size: int, runs: int) -> None:
        self._folder = folder
        self._size = size
        self._runs = runs
        self._unavailable: dict[str, str] = {}
        self._ours: _Figure | None = None

    def build(self) -> None:
        """Make the data sets."""
        for title, system in SYSTEMS.items():
            done = self._once("build", system, self._place(system), durable=False)
            if isinstance(done, str):
                self._unavailable[title] = done
        for title, reason in self._unavailable.items():
            print(f"{title} is left out: {reason}")

    def show(self, case: DocumentCase) -> None:
        """Measure a case and print a line for each database."""
        self._ours = None
        for system in SYSTEMS.values():
            if system.title in self._unavailable:
                continue
            if case.durable is not None and case.durable not in system.durabilities:
                continue
            figure = self._measure(case, system)
            if figure is not None:
                print(self._line(case, system, figure), flush=True)

    def _line(self, case: DocumentCase, system: type[System], figure: _Figure) -> str:
        title, target, ratio = "", "", ""
        size = self._size_of(system)
        if system is ParqueDB:
            title, target, self._ours = case.title, case.target, figure
        elif self._ours is not None:
            ratio = f"{self._ours.seconds_each / figure.seconds_each:.2f}"
            if size != self._size and case.figure == "time":
                ratio = ""  # not the same work
        peak = "" if case.figure == "bytes" else f"{figure.peak_mb:.0f}"
        shown = _shown(figure.seconds_each, case.figure)
        return (
            f"{title:<36}{system.title:<22}{size:>11,}{shown:>12}{peak:>9}{ratio:>8}   {target}"
        ).rstrip()

    def _measure(self, case: DocumentCase, system: type[System]) -> _Figure | None:
        found: list[_Figure] = []
        spent = 0.0
        while len(found) < self._runs and spent < _LONG:
            place = self._place(system)
            if case.empty or case.copies:
                place = self._folder / "run"
            if case.copies:
                shutil.copytree(self._place(system), place)
                subprocess.run(["sync"], check=True)
            done = self._once(case.work, system, place, durable=bool(case.durable), case=case)
            if case.empty or case.copies:
                shutil.rmtree(place, ignore_errors=True)
            if isinstance(done, str):
                return None
            spent, figure = done
            found.append(figure)
            if case.figure == "bytes":
                break
        seconds = statistics.median(figure.seconds_each for figure in found)
        return _Figure(seconds, statistics.median(figure.peak_mb for figure in found))

    def _once(
        self,
        work: str,
        system: type[System],
        place: Path,
        *,
        durable: bool,
        case: DocumentCase | None = None,
    ) -> tuple[float, _Figure] | str:
        """Return the seconds it took and the figure; or why it cannot be had."""
        count = 1 if case is None else case.count
        if case is not None and case.durable is not None and system.writes is not None:
            count = system.writes
        argument = {
            "system": system.title,
            "work": work,
            "folder": str(place),
            "ids": str(self._folder / "ids.txt"),
            "durable": durable,
            "size": self._size_of(system),
            "count": count,
        }
        if system.writes is not None and work == "get":
            argument["count"] = min(count, 5 * system.writes)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.documents_work", json.dumps(argument)],
            check=True,
            cwd=HERE,
            stdout=subprocess.PIPE,
        )
        figures = json.loads(done.stdout.splitlines()[-1])
        if "unavailable" in figures:
            return str(figures["unavailable"])
        each = figures["seconds"] / figures["count"]
        return figures["seconds"], _Figure(each, figures["peak_mb"])

    def _size_of(self, system: type[System]) -> int:
        return min(self._size, system.limit if self._size == SIZE else system.limit // 10)

    def _place(self, system: type[System]) -> Path:
        return self._folder / system.__name__


def _shown(each: float, figure: str) -> str:
    if figure == "rate":
        return f"{1 / each:,.0f}/s" if each < 0.1 else f"{1 / each:.1f}/s"
    if figure == "bytes":
        return f"{each:.0f} B"
    for unit, seconds in (("s", 1.0), ("ms", 1e-3)):
        if each >= seconds:
            return f"{each / seconds:.3g} {unit}"
    return f"{each * 1e6:.3g} µs"


def run(cases: Sequence[DocumentCase], *, small: bool) -> None:
    """Run cases and print the table.

    Args:
        cases: What to measure.
        small: Whether 20,000 documents do instead of 1,000,000.
    """
    size = SMALL_SIZE if small else SIZE
    print(
        f"\n{'documents of 300 bytes':<36}{'database':<22}{'documents':>11}{'':>12}{'peak MB':>9}"
        f"{'ratio':>8}   target"
    )
    with tempfile.TemporaryDirectory(dir=HERE / ".bench") as folder:
        runner = Runner(Path(folder), size, runs=1 if small else 3)
        runner.build()
        for case in cases:
            runner.show(case)
