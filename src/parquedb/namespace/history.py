"""The versions of a namespace that can be read, and the tail after them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from parquedb.namespace.entry import Write
from parquedb.namespace.live import LiveNamespace
from parquedb.query.filter import EVERYTHING
from parquedb.slotted import dataclass

UNFLUSHED = "unflushed"
"""The operation of the line that stands for the tail."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One state of a namespace that can be read.

    Args:
        version: The table's version; None for what only the journal holds.
        timestamp: When it was made, in UTC.
        operation: What made it, in the table's own word (``append``, ``MERGE``); ``"unflushed"``
            for what only the journal holds.
        rows: Documents, soft-deleted ones among them; None where the metadata does not say.
    """

    version: int | None
    timestamp: datetime
    operation: str
    rows: int | None


def list_snapshots(space: LiveNamespace) -> list[SnapshotInfo]:
    """Return the versions of a namespace's table, oldest first, and the tail as the last line.

    Raises:
        FormatError: The table's metadata cannot be read.
    """
    with space.lock:
        now = space.now()
        base, entries = now.base, tuple(space.tail.entries)
        versions = [] if base.version is None else space.tables.reader(base.format).history()
    found = [
        SnapshotInfo(each.version, _instant(each.at_ms * 1000), each.operation, each.rows)
        for each in versions
    ]
    written = [entry.at_us for entry in entries if isinstance(entry.body, Write)]
    if written:
        rows = space.retrying(lambda: space.executor.count(space.view(), EVERYTHING))
        found.append(SnapshotInfo(None, _instant(written[-1]), UNFLUSHED, rows))
    return found


def _instant(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)
