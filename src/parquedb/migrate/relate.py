"""How two tables of a namespace stand to each other.

Has one been carried into the other? Both directions count. A target that records versions of the
source continues after the last one; a target whose own versions the source records (it was the
source once) continues after the version that both have in common. A table that was moved back to
an older snapshot is not merely behind: as a source it has news, as a target it was changed.
Versions that leave a target's files and columns as they were (of a vacuum, of rewritten manifests)
are no changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parquedb.errors import NotFoundError
from parquedb.log.commit import MERGED
from parquedb.log.pairs import common_versions
from parquedb.log.ports import Lineage, LogReader
from parquedb.log.snapshot import Snapshot
from parquedb.model.format import Format
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Fresh:
    """There is no target table yet."""


@dataclass(frozen=True, slots=True)
class Unrelated:
    """The target holds data that did not come from the source.

    Args:
        by_way: The format of the namespace's third table, where that has versions in common with
            both; how the versions of these two go together is not recorded then.
    """

    by_way: Format | None = None


@dataclass(frozen=True, slots=True)
class Continues:
    """Both have a version in common.

    Args:
        source_version: The common version in the source.
        target_version: The common version in the target.
        target_moved: Whether the target has rows of its own since, or merged ones, or was moved
            back.
        completed: Whether the migration that made the common version is recorded as complete.
    """

    source_version: int
    target_version: int
    target_moved: bool
    completed: bool


Relation = Fresh | Unrelated | Continues


def relate(
    source: tuple[Format, str, Lineage | None],
    target: tuple[Format, str, Lineage | None, int],
    changed: Callable[[int], bool] = lambda _: True,
) -> Relation:
    """Say how a target stands to a source.

    Args:
        source: Format, table id and lineage of the source.
        target: Format, table id, lineage and newest version of the target.
        changed: Says whether the target has other files or columns now than at an older version.
    """
    source_format, source_id, source_lineage = source
    target_format, target_id, target_lineage, target_latest = target
    found: list[Continues] = []
    exact: list[Continues] = []
    if target_lineage is not None:
        origin = target_lineage.origin
        if (origin.format, origin.table_id) == (source_format, source_id):
            own, done = target_lineage.version, target_lineage.completed_at_ms is not None
            moved = bool(target_lineage.foreign) and changed(own)
            moved = moved or target_lineage.undone is not None
            found.append(Continues(origin.version, own, moved, done))
        elif (origin.format, origin.table_id) == (source_format, source_id + MERGED):
            own = target_lineage.version
            found.append(Continues(origin.version, own, target_moved=True, completed=True))
    if source_lineage is not None:
        undone = source_lineage.undone
        reached = [] if undone is None else [undone]
        reached.append((source_lineage.origin, source_lineage.version))
        for origin, version in reached:
            if (origin.format, origin.table_id) == (target_format, target_id):
                moved = origin.version != target_latest and changed(origin.version)
                same = origin.version == target_latest
                relation = Continues(version, origin.version, moved, completed=True)
                (exact if same else found).append(relation)
    if not found and not exact:
        return Unrelated()
    # A table that went to and fro has both: the newer one is where the target has not moved since.
    # A source that was made from the target's newest version is newer than what that was made from.
    return min((*exact, *found), key=lambda relation: relation.target_moved)


def relation_of(source: LogReader, target: LogReader | None) -> Relation:
    """Read both lineages and say how the target stands to the source."""
    if target is None:
        return Fresh()
    found = relate(
        (source.format, source.table_id, source.lineage()),
        (target.format, target.table_id, target.lineage(), target.latest()),
        partial(_has_changed, target),
    )
    if isinstance(found, Unrelated):
        return _met_before(source, target) or found
    return found


def _met_before(source: LogReader, target: LogReader) -> Continues | None:
    """Return the newest version that two tables had in common before one met a third.

    A table says of every version where it came from, and its lineage only of the newest. A target
    that has changed since that version is a conflict, whoever changed it.
    """
    pairs = common_versions(source, target)
    if not pairs:
        return None
    ours, theirs = pairs[-1]
    if theirs.version != target.latest() and _has_changed(target, theirs.version):
        return None
    return Continues(ours.version, theirs.version, target_moved=False, completed=True)


def meets(one: LogReader, other: LogReader) -> bool:
    """Whether two tables record a version that they have in common."""
    return isinstance(relation_of(one, other), Continues)


def _has_changed(reader: LogReader, version: int) -> bool:
    try:
        return _outline(reader.snapshot(version)) != _outline(reader.snapshot())
    except NotFoundError:
        return True


def _outline(snapshot: Snapshot) -> object:
    files = {key: (file.size_bytes, file.deletes) for key, file in snapshot.files.items()}
    return files, snapshot.schema.fields, snapshot.spec
