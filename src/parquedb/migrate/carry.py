"""What of a source's history is to be carried, read from metadata alone.

The commits are kept in memory up to a bound, so that a normal table's log is read once; beyond it
the transfer reads the log again. Time O(changes), memory O(live files + kept changes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import assert_never

from parquedb.errors import FormatError, NotFoundError, UnsupportedError
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation
from parquedb.log.pairs import common_versions
from parquedb.log.ports import LogReader
from parquedb.log.replay import TableState
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.partitions import PartitionFolders
from parquedb.model.files import DataFile, Deletes, InlineVector, VectorFile
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Identity, Schema, children, ids_by_path, walk
from parquedb.model.types import describe_type
from parquedb.parquet.probe import probe_files
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_SMALL = re.compile(r"\bu?int(8|16)\b")

KEPT_CHANGES = 300_000
"""Changes kept in memory between planning and transfer, about 2 KB each."""


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What a version of the source must look like in the target.

    Args:
        version: The source's version.
        at_ms: Its timestamp.
        rows: Live rows, or None where the metadata does not say.
    """

    version: int
    at_ms: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class Carry:
    """What is to be carried.

    Args:
        versions: The versions, oldest first.
        added: Every file that one of them adds, by key.
        schemas: Every schema that one of them has, each once.
        specs: Every partition spec that one of them has, each once.
        latest: The source's newest snapshot.
        lost: Versions that cannot be carried because they are gone; one line for each reason.
        commits: The commits to carry, oldest first; iterable more than once.
        before: The source before the first of them, None if that is the beginning.
        promoted: Files that were live when a column got a wider type, once for each time.
    """

    versions: tuple[SourceVersion, ...]
    added: Mapping[str, DataFile]
    schemas: tuple[Schema, ...]
    specs: tuple[PartitionSpec, ...]
    latest: Snapshot
    lost: tuple[str, ...]
    commits: Iterable[Commit]
    before: Snapshot | None = None
    promoted: tuple[DataFile, ...] = ()

    @property
    def partitions(self) -> PartitionFolders:
        """The folders in which Delta's writers would put the files."""
        specs = (*self.latest.specs.values(), *self.specs)
        return PartitionFolders.of((*self.schemas, self.latest.schema), specs)


@dataclass(frozen=True, slots=True)
class _Log:
    """Commits that are read anew at each iteration."""

    reader: LogReader
    head: tuple[Commit, ...]
    after: int | None
    has_tail: bool

    def __iter__(self) -> Iterator[Commit]:
        tail = self.reader.commits(after=self.after) if self.has_tail else ()
        return chain(self.head, tail)


def carry_latest(store: Store, reader: LogReader) -> Carry:
    """Carry the newest version only, as one commit that makes the whole table."""
    base = base_commit(reader.snapshot(), reader.tags().get(reader.latest(), ()))
    return _collected(store, reader, _Log(reader, (base,), None, has_tail=False), None, ())


def carry_history(store: Store, reader: LogReader) -> Carry:
    """Carry every version that can be rebuilt."""
    return _collected(store, reader, _Log(reader, (), None, has_tail=True), None, ())


def carry_after(
    store: Store, reader: LogReader, cursor: int, target: LogReader, carried: Schema | None
) -> Carry:
    """Carry the versions after a cursor.

    Where the source no longer has the cursor's version (expired, or undone by a rollback), the
    first version that the target lacks is carried as a whole and the following ones as changes.
    If it lacks none, the source was moved back: its newest version is carried once more, as of
    then.

    Args:
        store: The store.
        reader: The source.
        cursor: The source's version that was carried last.
        target: The target that holds it.
        carried: The target's columns. A metadata change that repeats the cursor's version and
            leads to these columns was carried before.
    """
    try:
        start = reader.snapshot(cursor)
    except NotFoundError:
        newer = _lacking(reader, target)
        first = newer[0] if newer else reader.latest()
        base = _base_at(reader, first)
        if not newer:
            base = replace(base, at_ms=max(base.at_ms, reader.current_since_ms()))
        whole = _Log(reader, (base,), first, has_tail=True)
        lost = (
            ()
            if reader.format is Format.NATIVE
            else (f"the versions between {cursor} and {first}: the source no longer has them",)
        )
        return _collected(store, reader, whole, None, lost)
    if carried is not None and isinstance(reader, IcebergReader):
        start = replace(start, schema=_held_columns(reader, start.schema, carried))
    log: Iterable[Commit] = _Log(reader, (), cursor, has_tail=True)
    if reader.latest() == cursor:
        commits = tuple(log)
        log = () if carried is None or _leads_to(commits, carried, start.schema) else commits
    return _collected(store, reader, log, start, ())


def _lacking(reader: LogReader, target: LogReader) -> list[int]:
    """Return the source's versions after the newest one that the target holds, too."""
    held = {ours.version for ours, _ in common_versions(reader, target)}
    versions = [version.version for version in reader.history()]
    last = max((place for place, one in enumerate(versions) if one in held), default=-1)
    return versions[last + 1 :]


def _held_columns(reader: IcebergReader, own: Schema, carried: Schema) -> Schema:
    """Return the source's columns that the target has after the cursor's version.

    A metadata change without a version of its own repeats the version before it: then they are
    not those of that version's snapshot.

    Raises:
        UnsupportedError: The target records no ids, and names alone fit both.
    """
    schemas = list(reader.schemas())
    place = schemas.index(own) if own in schemas else -1
    later = [schema for schema in schemas[place + 1 :] if _has_columns_of(schema, carried)]
    if _has_columns_of(own, carried):
        found, others = own, later
    else:  # columns may become again what they were, and the older schema is the current one
        older = [schema for schema in schemas[: max(place, 0)] if _has_columns_of(schema, carried)]
        others = later or older
        found = others[-1] if others else own
    if carried.identity is not Identity.BY_ID and any(
        ids_by_path(schema) != ids_by_path(found) for schema in others
    ):
        raise UnsupportedError(
            "columns of the Iceberg table changed names among themselves, or came again under an "
            "old one, without a new snapshot, and the target records no field ids, so that it "
            "cannot be told which of them it has; migrate into a new table (--location)",
            feature="column rename",
        )
    return found


def _has_columns_of(schema: Schema, carried: Schema) -> bool:
    ours, theirs = ids_by_path(schema), ids_by_path(carried)
    if carried.identity is Identity.BY_ID:
        return ours == theirs
    return list(ours) == list(theirs)


def _leads_to(commits: Iterable[Commit], carried: Schema, before: Schema) -> bool:
    """Whether all commits are metadata changes after which the columns are the carried ones.

    A column that was dropped and added again has another id. The carried columns may have ids of
    their own; those of the source tell, if they were the same before.
    """
    schemas = [c.schema for commit in commits for c in commit.changes if isinstance(c, SetSchema)]
    if not schemas or column_kinds(schemas[-1]) != column_kinds(carried):
        return not schemas
    theirs, ours, after = (ids_by_path(each) for each in (before, carried, schemas[-1]))
    if any(ours.get(path, id_) != id_ for path, id_ in theirs.items()):
        return True
    return all(ours.get(path, id_) == id_ for path, id_ in after.items())


def column_kinds(schema: Schema) -> list[tuple[str, str]]:
    """Return names and types, with types that formats store alike written alike."""
    return [(f.name, _SMALL.sub("int32", describe_type(f.type))) for f in schema.fields]


def base_commit(snapshot: Snapshot, tags: tuple[str, ...] = ()) -> Commit:
    """Return a snapshot as one commit that makes the whole table.

    Args:
        snapshot: The snapshot.
        tags: Names of its version.
    """
    others = (SetPartitioning(s) for s in snapshot.specs.values() if s != snapshot.spec)
    changes: tuple[Change, ...] = (
        SetSchema(snapshot.schema),
        *others,
        SetPartitioning(snapshot.spec),
        *(AddFile(file) for file in snapshot.files.values()),
    )
    version, at_ms = snapshot.version, snapshot.at_ms
    return Commit(version, at_ms, Operation.OVERWRITE, changes, base=True, tags=tags)


def _base_at(reader: LogReader, version: int) -> Commit:
    """Return a version of a table as one commit that makes the whole table."""
    return base_commit(reader.snapshot(version), reader.tags().get(version, ()))


def changes_types(old: Schema, new: Schema) -> bool:
    """Whether a column has another type in the new schema, or came with a value for old rows.

    Where ids identify columns, another column of the same name is no matter of this function.
    """
    by_id = old.identity is new.identity is Identity.BY_ID
    before = {
        item.id if by_id else path: item.type
        for path, item in walk(old.fields)
        if not children(item.type)
    }
    known = {item.id for _, item in walk(old.fields)}
    if any(item.initial is not None and item.id not in known for _, item in walk(new.fields)):
        return True
    return any(
        before.get(item.id if by_id else path, item.type) != item.type
        for path, item in walk(new.fields)
        if not children(item.type)
    )


class _Collector:
    """Walks commits once and notes what a plan and a verification need."""

    def __init__(self, start: Snapshot | None) -> None:
        self.state = TableState() if start is None else TableState.of(start)
        self.versions: list[SourceVersion] = []
        self.added: dict[str, DataFile] = {}
        self.schemas: dict[Schema, None] = {}
        self.specs: dict[PartitionSpec, None] = {}
        self.kept: list[Commit] | None = []
        self.truncated_at: int | None = None
        self.promoted: list[DataFile] = []
        self.vectors: set[str] = set()
        self._rows = 0
        self._unknown = 0
        self._changes = 0
        for file in self.state.files.values():
            self._count(file, 1)

    def _count(self, file: DataFile, sign: int) -> None:
        if file.rows is None:
            self._unknown += sign
        else:
            self._rows += sign * (file.live_rows or 0)

    def add(self, commit: Commit) -> None:
        """Note one commit."""
        if commit.base:
            self._rows = self._unknown = 0
            if not self.versions:
                self.truncated_at = commit.version
        self.state.begin(commit)
        for change in commit.changes:
            self._add_change(commit, change)
        rows = None if self._unknown else self._rows
        self.versions.append(SourceVersion(commit.version, commit.at_ms, rows))
        self._changes += len(commit.changes) + _weight(commit)
        if self.kept is not None:
            self.kept.append(commit)
            if self._changes > KEPT_CHANGES:
                self.kept = None

    def _add_change(self, commit: Commit, change: Change) -> None:
        files = self.state.files
        before: DataFile | None = None
        match change:
            case AddFile(file):
                before = files.get(file.path)
                self.added[file.path] = file
                self.vectors |= _vector_files(file.deletes)
            case RemoveFile(file):
                before = files.get(file.path)
            case SetDeletes(path, deletes):
                before = files.get(path)
                self.vectors |= _vector_files(deletes)
            case SetSchema(schema):
                self.schemas[schema] = None
                if changes_types(self.state.schema, schema):
                    self.promoted += files.values()
            case SetPartitioning(spec):
                self.specs[spec] = None
            case SetProperties():
                pass
            case _:
                assert_never(change)
        if before is not None:
            self._count(before, -1)
        self.state.apply_change(commit, change)
        match change:
            case AddFile(file):
                self._count(file, 1)
            case SetDeletes(path, _):
                self._count(files[path], 1)
            case _:
                pass


def _weight(commit: Commit) -> int:
    """Return how many changes' memory the bitmaps of a commit take."""
    size = 0
    for change in commit.changes:
        match change:
            case AddFile(file):
                deletes = file.deletes
            case SetDeletes(_, deletes):
                pass
            case _:
                continue
        size += sum(len(one.bitmap) for one in deletes if isinstance(one, InlineVector))
    return size >> 11


def _collected(
    store: Store,
    reader: LogReader,
    log: Iterable[Commit],
    start: Snapshot | None,
    lost: tuple[str, ...],
) -> Carry:
    collector = _Collector(start)
    for commit in log:
        collector.add(commit)
    latest = collector.state.snapshot()
    first = _first_whole_version(store, reader, log, collector, latest)
    if first is not None:
        skipped = sum(1 for _ in _until(collector.versions, first))
        again = _Log(reader, (_base_at(reader, first),), first, has_tail=True)
        gone = f"{skipped} versions before {first}: data files that they need were deleted"
        return _collected(store, reader, again, None, (*lost, gone))
    whole_log = isinstance(log, _Log) and log.after is None and log.has_tail
    whole_log = whole_log and reader.format is not Format.NATIVE
    if collector.truncated_at is not None and whole_log:
        before = collector.truncated_at
        lost = (*lost, f"the versions before {before}: the source no longer has them")
    return Carry(
        tuple(collector.versions),
        collector.added,
        tuple(collector.schemas),
        tuple(collector.specs),
        latest,
        lost,
        log if collector.kept is None else tuple(collector.kept),
        start,
        tuple(collector.promoted),
    )


def _until(versions: Sequence[SourceVersion], first: int) -> Iterator[SourceVersion]:
    for version in versions:
        if version.version == first:
            return
        yield version


def _first_whole_version(
    store: Store,
    reader: LogReader,
    log: Iterable[Commit],
    collector: _Collector,
    latest: Snapshot,
) -> int | None:
    """Check that every file exists whole; say with which version to begin if some are gone.

    Raises:
        FormatError: A live file is gone, or an existing one is damaged.
    """
    added = collector.added
    lost = {key for key in collector.vectors if store.head(key) is None}
    missing: set[str] = set()
    try:
        probe_files(store, [(key, file.size_bytes) for key, file in added.items()])
    except FormatError:
        missing = {key for key in added if store.head(key) is None}
        if not missing:
            raise
    if not missing and not lost:
        return None
    needed = {one for file in latest.files.values() for one in _vector_files(file.deletes)}
    if broken := sorted((missing & latest.files.keys()) | (lost & needed)):
        raise FormatError(
            f"{broken[0]!r} is missing ({len(broken)} such files): the {reader.format.label} "
            "table refers to files that do not exist; restore them or repair the table first",
            location=broken[0],
            problems=broken,
        )
    probe_files(
        store, [(key, file.size_bytes) for key, file in added.items() if key not in missing]
    )
    return _last_in_need(log, missing, lost)


def _last_in_need(log: Iterable[Commit], missing: set[str], lost: set[str]) -> int | None:
    """Return the first version after which no file and no deletion vector is missing."""
    first = None
    held: dict[str, tuple[Deletes, ...]] = {}
    for commit in log:
        for change in commit.changes:
            match change:
                case AddFile(file):
                    held[file.path] = file.deletes
                case RemoveFile(file):
                    old = held.pop(file.path, file.deletes)
                    if file.path in missing or not lost.isdisjoint(_vector_files(old)):
                        first = commit.version
                case SetDeletes(path, deletes):
                    if not lost.isdisjoint(_vector_files(held.get(path, ()))):
                        first = commit.version
                    held[path] = deletes
                case _:
                    pass
    return first


def _vector_files(deletes: Iterable[Deletes]) -> set[str]:
    return {one.path for one in deletes if isinstance(one, VectorFile)}
