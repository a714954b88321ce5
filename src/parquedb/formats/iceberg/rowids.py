"""Row ids: the numbers that tables of format version 3 give to their rows ("Row Lineage").

A data file's rows have the ids from its ``first_row_id`` on, by their places in it. A new file's is
not in its own manifest entry: it follows from that of the manifest and the rows of the files before
it, and is written out when the entry is copied into another manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parquedb.slotted import dataclass


@dataclass(slots=True)
class RowIds:
    """Gives out row ids, snapshot by snapshot.

    Args:
        first: The first id of the snapshot that is being made.
        next: The lowest id that was never given out.
    """

    first: int
    next: int

    @classmethod
    def after(cls, next_row_id: int) -> RowIds:
        """Begin where a table stands."""
        return cls(next_row_id, next_row_id)

    def take(self, rows: int) -> int:
        """Give ids to some rows; return the first one."""
        first = self.next
        self.next += rows
        return first

    def close(self) -> tuple[int, int]:
        """Return a snapshot's first id and how many it gave out; begin the next snapshot."""
        found = self.first, self.next - self.first
        self.first = self.next
        return found


def inherit_row_id(record: Mapping[str, Any], next_id: int | None) -> tuple[int | None, int | None]:
    """Return a live file's first row id and the next one ("First Row ID Inheritance").

    Args:
        record: The ``data_file`` member as decoded.
        next_id: What the manifest has for the next file without one; None where it has nothing.
    """
    if next_id is None or record.get("content"):
        return None, next_id
    own: int | None = record.get("first_row_id")
    return (next_id, next_id + record["record_count"]) if own is None else (own, next_id)
