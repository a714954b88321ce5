"""The files of a view that can hold a match, put together as far as one search can read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from parquedb.model.schema import Schema
from parquedb.query.blocks import Blocks
from parquedb.query.filter import EVERYTHING, Filter
from parquedb.query.prune import may_match
from parquedb.query.sql import Condition, compile_filter
from parquedb.query.view import Source, View
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths

_VIRTUAL = frozenset({"file_index", "file_row_number", "filename"})
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Part:
    """Files that one SELECT reads.

    Args:
        first: Index of the first of them in the view.
        sources: They.
        columns: The file's own column by the schema's; None where they are read through Arrow.
        overflow: Whether ``$data`` may hold something.
        schema: The columns that the files have.
    """

    first: int
    sources: tuple[Source, ...]
    columns: dict[str, str] | None
    overflow: bool
    schema: Schema

    def condition(self, filter_: Filter) -> Condition:
        """Return a filter as SQL over the columns."""
        return compile_filter(filter_, self.schema, overflow=self.overflow)


def parts_of(blocks: Blocks, view: View, filter_: Filter = EVERYTHING) -> list[Part]:
    """Group the files that can hold a match, so that each group can be read by one SELECT.

    Args:
        blocks: Where the files are.
        view: They.
        filter_: What is searched for.
    """
    found: list[tuple[int, dict[str, str] | None, bool, list[Source]]] = []
    local = isinstance(blocks.store, LocalPaths)
    void = view.void_columns()
    for index, source in enumerate(view.sources):
        if not may_hold(source, filter_):
            continue
        columns = blocks.open(source).plain_columns() if local else None
        if columns is not None:
            clashes = _clash(columns.values()) or _is_glob(blocks, source)
            columns = None if clashes else {n: columns[n] for n in columns if n not in void}
        if found:
            first, known, overflow, sources = found[-1]
            follows = first + len(sources) == index
            if follows and known == columns and overflow == source.overflows:
                sources.append(source)
                continue
        found.append((index, columns, source.overflows, [source]))
    return [
        Part(first, tuple(sources), columns, overflow, _present(view.schema, columns))
        for first, columns, overflow, sources in found
    ]


def may_hold(source: Source, filter_: Filter) -> bool:
    """Whether a file can hold a match by the statistics that the table has of it."""
    stats, rows = source.file.stats, source.file.rows
    if stats is None or rows is None:
        return True
    overflow = source.overflows
    return may_match(
        filter_, source.schema, stats.lower, stats.upper, stats.nulls, rows, overflow=overflow
    )


def _present(schema: Schema, columns: dict[str, str] | None) -> Schema:
    if columns is None:
        return schema
    return replace(schema, fields=tuple(f for f in schema.fields if f.name in columns))


def _is_glob(blocks: Blocks, source: Source) -> bool:
    """Whether DuckDB would take a path for a pattern, which it cannot be told not to."""
    assert isinstance(blocks.store, LocalPaths)
    return not _GLOB.isdisjoint(blocks.store.local_path(source.file.path))


def _clash(names: Any) -> bool:
    """Whether DuckDB would confuse columns: it ignores case, and adds columns of its own."""
    lowered = [name.lower() for name in names]
    return len(set(lowered)) < len(lowered) or not _VIRTUAL.isdisjoint(lowered)
