"""The closed set of things that a commit can do to a table."""

from __future__ import annotations

from collections.abc import Mapping

from parquedb.model.files import DataFile, Deletes
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class AddFile:
    """A data file becomes part of the table.

    Args:
        file: The file. One that is live already stays, and this is recorded of it from now on.
    """

    file: DataFile


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """A data file stops being part of the table.

    Args:
        file: The file as it was when it was live.
    """

    file: DataFile


@dataclass(frozen=True, slots=True)
class SetDeletes:
    """The deleted rows of a live file become these.

    Args:
        path: Key of the data file.
        deletes: All of its deletes from now on; empty to undo them.
    """

    path: str
    deletes: tuple[Deletes, ...]


@dataclass(frozen=True, slots=True)
class SetSchema:
    """The table's columns become these.

    Args:
        schema: The columns.
        instead_of: The columns that they were made from, where a table that has others by now is
            a conflict even at the version expected: Iceberg changes columns without a version.
        files_follow: Whether all files that stay read right under these columns also by name: a
            table that matches by name refuses renames and names that are used again otherwise.
    """

    schema: Schema
    instead_of: Schema | None = None
    files_follow: bool = False


@dataclass(frozen=True, slots=True)
class SetPartitioning:
    """New files are partitioned this way from now on.

    Args:
        spec: The partitioning.
        current: Whether it is the table's from now on; False if only files refer to it.
    """

    spec: PartitionSpec
    current: bool = True


@dataclass(frozen=True, slots=True)
class SetProperties:
    """User properties are set, or removed where the value is None."""

    updates: Mapping[str, str | None]


Change = AddFile | RemoveFile | SetDeletes | SetSchema | SetPartitioning | SetProperties
