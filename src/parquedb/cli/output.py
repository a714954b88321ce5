"""Print results: a JSON document, or text for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parquedb.documents.exchange.files import Progress as ExchangeProgress
    from parquedb.migrate.options import MigrationProgress

_TOLD_DOCUMENTS = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


@contextmanager
def until_nobody_reads() -> Iterator[None]:
    """Write to standard output in a ``with`` block, which ends early once nobody reads it.

    ``parquedb query … | head`` has what it wanted then: that is no failure.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(message: str) -> None:
    """Print a message on standard error."""
    sys.stderr.write(f"parquedb: {message}\n")


def iso_time(at_ms: int) -> str:
    """Return a time, milliseconds since the epoch, as ISO 8601 in UTC."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings, numbers to the right."""
    text = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *text, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[i], int | None) for row in rows)
        for i in range(len(headings))
    ]
    for line in [list(headings), *text]:
        cells = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def size_of(size_bytes: int) -> str:
    """Return a size as people write it."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Callable[[MigrationProgress], None]]:
    """Show progress: bars on a terminal, a line for each new phase otherwise, on standard error.

    Args:
        quiet: Show nothing.
    """
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        seen: set[tuple[str, str]] = set()

        def show_line(progress: MigrationProgress) -> None:
            if (progress.namespace, progress.phase) not in seen:
                seen.add((progress.namespace, progress.phase))
                sys.stderr.write(f"{progress.namespace}: {progress.phase.value}\n")

        yield show_line


@contextmanager
def _bars() -> Iterator[Callable[[MigrationProgress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("versions, {task.fields[rows]} rows"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}

        def show(progress: MigrationProgress) -> None:
            key = (progress.namespace, progress.phase.value)
            if key not in tasks:
                name = f"{progress.namespace}: {progress.phase.value}"
                tasks[key] = bars.add_task(name, total=None, rows=0)
            bars.update(
                tasks[key],
                completed=progress.versions_migrated,
                total=progress.total_versions or None,
                rows=progress.entities_migrated,
            )

        yield show


def print_documents_table(documents: Sequence[Mapping[str, Any]]) -> None:
    """Print documents as a table: by rich on a terminal, in plain columns elsewhere."""
    from parquedb.documents.exchange.readable import json_text, readable_value

    names = list(dict.fromkeys(name for document in documents for name in document))
    rows: list[list[str]] = []
    for document in documents:
        shown = [readable_value(document.get(name, "")) for name in names]
        rows.append([s if isinstance(s, str) else json_text(s).decode() for s in shown])
    if not names:
        return
    if not sys.stdout.isatty():
        print_table(names, rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in names:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


@contextmanager
def shown_documents(label: str, *, quiet: bool) -> Iterator[Callable[[ExchangeProgress], None]]:
    """Show how many documents were read or written, on standard error.

    A bar on a terminal; otherwise a line now and then.

    Args:
        label: What is done.
        quiet: Show nothing.
    """
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _document_bar(label) as show:
            yield show
    else:
        told = 0

        def show_line(progress: ExchangeProgress) -> None:
            nonlocal told
            if progress.documents - told >= _TOLD_DOCUMENTS:
                told = progress.documents
                sys.stderr.write(f"{label} {told} documents\n")

        yield show_line


@contextmanager
def _document_bar(label: str) -> Iterator[Callable[[ExchangeProgress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[documents]} documents"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=None, documents=0)

        def show(progress: ExchangeProgress) -> None:
            bars.update(
                task,
                completed=progress.read_bytes,
                total=progress.total_bytes,
                documents=progress.documents,
            )

        yield show
