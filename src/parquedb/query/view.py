"""What a query sees: files of one snapshot and the newer documents laid over them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import field
from itertools import accumulate
from typing import Any

from parquedb.errors import ParqueDBError
from parquedb.model.files import DataFile
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import EMPTY, Schema
from parquedb.rows.columns import DATA, is_document_schema
from parquedb.slotted import dataclass

Document = dict[str, Any]


class StaleError(ParqueDBError):
    """A file that a view refers to was replaced or removed since. Take a new view."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data file and the table's columns it is read with.

    Args:
        file: The file.
        schema: The table's columns.
        spec: The partition spec that ``file.partition`` belongs to.
        token: Identifies file and schema together, for caches.
    """

    file: DataFile
    schema: Schema
    spec: PartitionSpec
    token: str

    @property
    def overflows(self) -> bool:
        """Whether a row may keep values in ``$data``; False only where the metadata excludes it."""
        column = self.schema.find(DATA)
        return column is not None and not self.has_only_nulls(column.id)

    def has_only_nulls(self, column: int) -> bool:
        """Whether the metadata says that a column, by its id, is null in every row."""
        stats, rows = self.file.stats, self.file.rows
        return stats is not None and rows is not None and stats.nulls.get(column) == rows

    def id_bounds(self) -> tuple[str | None, str | None]:
        """Return bounds of ``$id`` by the metadata, None where it does not say."""
        column, stats = self.schema.find("$id"), self.file.stats
        if column is None or stats is None:
            return None, None
        lower, upper = stats.lower.get(column.id), stats.upper.get(column.id)
        return (
            lower if isinstance(lower, str) else None,
            upper if isinstance(upper, str) else None,
        )


class Holders:
    """Which of some files can hold an id, by their metadata.

    O(log n) where their ids do not overlap; what it takes is made with the first question.

    Args:
        sources: The files.
    """

    __slots__ = ("_bounded", "_lowest", "_reach", "_sources", "_unbounded")

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources
        self._bounded: list[tuple[str, str, Source]] | None = None
        self._unbounded: list[Source] = []
        self._lowest: list[str] = []
        self._reach: list[str] = []  # the highest id of each file and of all before it

    def of(self, id_: str) -> list[Source]:
        """Return the files that can hold an id."""
        bounded = self._bounded
        if bounded is None:
            bounded = self._prepare()
        found = self._unbounded.copy()
        at = bisect_right(self._lowest, id_) - 1
        while at >= 0 and self._reach[at] >= id_:
            if bounded[at][1] >= id_:
                found.append(bounded[at][2])
            at -= 1
        return found

    def _prepare(self) -> list[tuple[str, str, Source]]:
        bounded = []
        unbounded = []
        for source in self._sources:
            if not is_document_schema(source.schema):
                continue
            lower, upper = source.id_bounds()
            if lower is None or upper is None:
                unbounded.append(source)
            else:
                bounded.append((lower, upper, source))
        bounded.sort(key=lambda each: each[0])
        self._unbounded = unbounded
        self._lowest = [lower for lower, _, _ in bounded]
        self._reach = list(accumulate((upper for _, upper, _ in bounded), max))
        self._bounded = bounded  # last: another thread may ask meanwhile
        return bounded


@dataclass(frozen=True, slots=True)
class View:
    """One state of a namespace; never changes.

    Args:
        schema: The table's columns.
        sources: Its files, by the lower bound of ``$id``. No two hold a row of the same id, except
            that ids of ``overlay`` may be anywhere.
        overlay: Newer documents by id, which hide rows of the same id; None where there is no
            document any more.
        known: Which of the files can hold an id, where that was found out before.
    """

    schema: Schema = EMPTY
    sources: tuple[Source, ...] = ()
    overlay: Mapping[str, Document | None] = field(default_factory=dict)
    known: Holders | None = field(default=None, compare=False)

    def holders(self, id_: str) -> list[Source]:
        """Return the files that can hold an id."""
        return (self.known or Holders(self.sources)).of(id_)

    def void_columns(self) -> frozenset[str]:
        """Return the columns that are null in every row of the files, by the metadata."""
        return frozenset(
            column.name
            for column in self.schema.fields
            if all(source.has_only_nulls(column.id) for source in self.sources)
        )


def own_copy(document: Document) -> Document:
    """Return a copy of a document that its taker may change, at any depth."""
    copy = dict(document)
    own_nested(copy)
    return copy


def owned(document: Document | None) -> Document | None:
    """Return what :func:`own_copy` does, None for None."""
    return None if document is None else own_copy(document)


def own_nested(copy: Document) -> None:
    """Replace the lists and dicts inside a shallow copy of a document by copies of their own."""
    for key, value in copy.items():
        if value.__class__ is dict:
            copy[key] = inner = value.copy()
            if not _NESTED.isdisjoint(map(type, inner.values())):
                own_nested(inner)
        elif value.__class__ is list:
            copy[key] = value.copy() if _NESTED.isdisjoint(map(type, value)) else _own_list(value)


def _own_list(items: list[Any]) -> list[Any]:
    copy = items.copy()
    if not _NESTED.isdisjoint(map(type, copy)):
        for index, item in enumerate(copy):
            if item.__class__ is dict:
                copy[index] = own_copy(item)
            elif item.__class__ is list:
                copy[index] = _own_list(item)
    return copy


_NESTED = frozenset({dict, list})
