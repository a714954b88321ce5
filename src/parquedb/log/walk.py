"""A table at one version after the other: going forward costs what changes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from parquedb.slotted import dataclass

if TYPE_CHECKING:
    from parquedb.log.ports import LogReader
    from parquedb.log.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """A table at a version, and what changed since the step before.

    Args:
        snapshot: The table. Its files are only right until the next step is taken.
        touched: Keys of all files that came, went or changed since; None for any.
    """

    snapshot: Snapshot
    touched: Collection[str] | None


class Walk(Protocol):
    """Goes from version to version of one table."""

    def to(self, version: int | None) -> Step:
        """Go to a version, None for the table as it is now. Forward is cheap.

        Raises:
            NotFoundError: There is no such version.
            FormatError: The metadata does not follow the specification.
        """
        ...


class SnapshotWalk:
    """Walks by snapshots: every step costs what the table holds.

    Args:
        reader: The table.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def to(self, version: int | None) -> Step:
        """Go to a version."""
        return Step(self._reader.snapshot(version), None)
