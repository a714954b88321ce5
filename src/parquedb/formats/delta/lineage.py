"""What a Delta table records of a migration into it.

Each carried version has ``commitInfo.parquedb.origin``; a ``txn`` action repeats the newest, so
that it survives the clean-up of old commits. Another ``txn`` holds when the migration was
complete, 0 while it is not.
"""

from __future__ import annotations

from collections.abc import Iterable

from parquedb.formats.delta.paths import Listing, commit_key
from parquedb.formats.delta.state import read_state
from parquedb.formats.delta.wire import OriginMark, Txn, parse_head
from parquedb.log.commit import Origin, Through
from parquedb.log.ports import Lineage
from parquedb.model.format import Format
from parquedb.storage.store import Store

COMPLETED_APP = "parquedb/completed"
_ORIGIN_APP = "parquedb/"
_JOURNAL_APP = "parquedb-journal/"


def through_app(journal: str) -> str:
    """Return the ``appId`` under which a journal's progress is kept."""
    return f"{_JOURNAL_APP}{journal}"


def parse_through(txns: Iterable[Txn]) -> Through | None:
    """Return how much of a journal the newest of these ``txn`` actions says is included."""
    marks = [txn for txn in txns if txn.app_id.startswith(_JOURNAL_APP)]
    if not marks:
        return None
    newest = max(marks, key=lambda txn: txn.last_updated_ms or 0)
    return Through(newest.app_id.removeprefix(_JOURNAL_APP), newest.version)


def origin_app(origin: Origin) -> str:
    """Return the ``appId`` under which a source table's cursor is kept."""
    return f"{_ORIGIN_APP}{origin.format.value}/{origin.table_id}"


def parse_origin(mark: OriginMark | None) -> Origin | None:
    """Return the origin that a commit records; None where there is none of a known format."""
    if mark is None or mark.format not in set(Format):
        return None
    return Origin(Format(mark.format), mark.table_id, mark.version)


def read_lineage(store: Store, folder: str, listing: Listing) -> Lineage | None:
    """Walk the log backwards to the newest carried version; ask the checkpoint if none is left."""
    foreign: list[int] = []
    completed_at_ms: int | None = None
    for version in range(listing.latest, -1, -1):
        if version not in listing.commits:
            break
        key = commit_key(folder, version)
        head = parse_head(store.get(key), key)
        marks = [txn for txn in head.txns if txn.app_id == COMPLETED_APP]
        if marks and completed_at_ms is None:
            completed_at_ms = marks[-1].version
        origin = parse_origin(head.info.origin if head.info else None)
        if origin is not None:
            done = completed_at_ms or None
            return Lineage(origin, version, done, tuple(reversed(foreign)))
        if not marks:
            foreign.append(version)
    if not listing.has_base:
        return None
    state = read_state(store, folder, listing, listing.start)
    found = _newest_origin(state.txns.values())
    if found is None:
        return None
    if completed_at_ms is None and COMPLETED_APP in state.txns:
        completed_at_ms = state.txns[COMPLETED_APP].version
    after = tuple(version for version in reversed(foreign) if version > listing.start)
    return Lineage(found, listing.start, completed_at_ms or None, after)


def _newest_origin(txns: Iterable[Txn]) -> Origin | None:
    cursors = [
        txn for txn in txns if txn.app_id.startswith(_ORIGIN_APP) and txn.app_id.count("/") >= 2
    ]
    for txn in sorted(cursors, key=lambda txn: txn.last_updated_ms or 0, reverse=True):
        _, format_, table_id = txn.app_id.split("/", 2)
        origin = parse_origin(OriginMark(format_, table_id, txn.version))
        if origin is not None:
            return origin
    return None
