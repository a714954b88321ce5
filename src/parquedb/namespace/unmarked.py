"""Tables that do not say how much of the journal they include."""

from __future__ import annotations

from parquedb.errors import ConflictError
from parquedb.model.format import Format
from parquedb.namespace.base import Base
from parquedb.namespace.entry import Flush
from parquedb.namespace.journal import CollectedError, Journal

_ATTEMPTS = 20


def included_without_mark(base: Base, journal: Journal) -> int:
    """Return the last entry that a table without any mark includes, 0 if none.

    Another program made it anew after the last flush: a native file, or a table with another
    identity. It stands for what that flush had left there. Any other table without a mark is older
    than all flushes, and includes nothing.

    Args:
        base: The table.
        journal: The namespace's journal.
    """
    if base.through is not None or base.version is None or journal.id is None:
        return 0
    for _ in range(_ATTEMPTS):
        try:
            entries = journal.read(journal.first() - 1)
        except CollectedError:  # since the first one was looked up
            continue
        flushes = [
            entry.body
            for entry in entries
            if isinstance(entry.body, Flush) and entry.body.format is base.format
        ]
        if not flushes:
            return 0
        newest = max(flushes, key=lambda body: body.through)
        is_new = base.format is Format.NATIVE or newest.table not in (None, base.table)
        return newest.through if is_new else 0
    raise ConflictError("the journal is being collected by others all the time; try again")
