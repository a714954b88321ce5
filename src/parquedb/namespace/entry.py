"""What a journal holds: entries, numbered from 1 without gaps, and what they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, assert_never

from parquedb.model.format import Format
from parquedb.rows.values import Document
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Staged:
    """A Parquet file of documents that a large write left beside the journal.

    Args:
        path: The file's key in the store.
        size_bytes: Its length.
        rows: How many documents it holds.
        fresh: Whether no id in it was there before.
    """

    path: str
    size_bytes: int
    rows: int
    fresh: bool


Kept = Document | bytes | None
"""A document, or its JSON as the journal has it; None for one that was removed for good."""


class Write(NamedTuple):
    """Documents written together.

    Attributes:
        documents: The documents as they are now, by id.
        staged: Files with further documents, whose ids are not among ``documents``.
    """

    documents: Mapping[str, Kept]
    staged: tuple[Staged, ...] = ()


@dataclass(frozen=True, slots=True)
class Flush:
    """The base holds all entries through one.

    Args:
        through: Number of the last entry that the base includes.
        format: The base's format.
        version: The base's version that does.
        table: The identity of the base's table; None for a native one, or where an older program
            wrote the entry.
    """

    through: int
    format: Format
    version: int
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Migrate:
    """A live migration begins.

    Args:
        id: The migration's id.
        source: The format of the base.
        target: The format that it moves to.
    """

    id: str
    source: Format
    target: Format


@dataclass(frozen=True, slots=True)
class Cutover:
    """Another table is the base from here on; the migration in progress is over.

    Args:
        target: The format of the new base.
        source_version: The old base's version that was carried last.
        target_version: The version of the new base that it became.
        through: Number of the last entry that the new base includes.
    """

    target: Format
    source_version: int
    target_version: int
    through: int


@dataclass(frozen=True, slots=True)
class Retire:
    """A format's table is given up: what was the base before, or a migration's target.

    Args:
        format: The format.
    """

    format: Format


Body = Write | Flush | Migrate | Cutover | Retire
"""What an entry says."""


class Entry(NamedTuple):
    """One entry of a journal. Written once, never changed.

    Attributes:
        number: Its place, from 1.
        at_us: When it was written, microseconds since the epoch.
        tx: Tells it apart from every other attempt to write an entry of this number.
        body: What it says.
    """

    number: int
    at_us: int
    tx: str
    body: Body


@dataclass(frozen=True, slots=True)
class State:
    """What the entries so far add up to, apart from the documents.

    Args:
        base: The format of the namespace's table; None where it has none yet.
        migration: The migration in progress, if there is one.
        through: Number of the last entry that the base includes by the newest cutover; the base
            itself may say a higher one.
        format_version: Of which version of its format the base is to be made, None for the usual
            one; a table that is there has its own.
    """

    base: Format | None = None
    migration: Migrate | None = None
    through: int = 0
    format_version: int | None = None

    def after(self, body: Body) -> State:
        """Return the state after one more entry."""
        match body:
            case Write():
                return self
            case Flush(format=format_):
                return replace(self, base=format_) if self.base is None else self
            case Migrate():
                return replace(self, migration=body)
            case Cutover(target=target, through=through):
                return State(target, None, through)
            case Retire(format=format_):
                if self.migration is not None and self.migration.target is format_:
                    return replace(self, migration=None)
                return self
            case _:
                assert_never(body)
