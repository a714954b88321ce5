"""A commit: one version of a table as the set of changes that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from parquedb.slotted import dataclass

if TYPE_CHECKING:
    from parquedb.log.change import Change
    from parquedb.model.format import Format


class Operation(StrEnum):
    """What a commit did, in the words that both table formats can be mapped to."""

    CREATE = "create"
    APPEND = "append"
    OVERWRITE = "overwrite"
    DELETE = "delete"
    REPLACE = "replace"
    """Files were rewritten and the rows stayed the same (compaction)."""
    METADATA = "metadata"
    """No file was added or removed."""


MERGED = "+merged"
"""Ends the ``table_id`` of an origin whose rows were merged with others and are not a copy."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The version of another table that a commit was carried from.

    Args:
        format: Format of the other table.
        table_id: Its identity: Iceberg ``table-uuid``, Delta ``metaData.id``, a native
            namespace's ``native:{namespace}``.
        version: Its version.
    """

    format: Format
    table_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Through:
    """How much of a namespace's journal the rows of a version include.

    Args:
        journal: The journal's id.
        entry: Number of the last entry that is included.
    """

    journal: str
    entry: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table.

    Args:
        version: The version in the table that it was read from. Delta: the number in the log
            file's name. Iceberg: the snapshot id. Native: a number derived from the files'
            names, sizes and modification times.
        at_ms: When it was made, milliseconds since the epoch, as recorded by its table.
        operation: What it did.
        changes: What changed, in order. Schema and partitioning come before the files.
        summary: Free-form facts that the table records with the commit.
        base: True for a commit that stands for all before it, because the older ones can no
            longer be read: its changes make the whole table.
        origin: Where the commit itself was carried from by an earlier migration, if it was.
        through: How much of the namespace's journal is included, if the commit is a flush.
        tags: Names that the table gives to the version.
    """

    version: int
    at_ms: int
    operation: Operation
    changes: tuple[Change, ...]
    summary: Mapping[str, str] = field(default_factory=dict)
    base: bool = False
    origin: Origin | None = None
    through: Through | None = None
    tags: tuple[str, ...] = ()
