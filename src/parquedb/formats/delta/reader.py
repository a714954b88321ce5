"""A Delta table as the neutral log."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import FormatError, NotFoundError
from parquedb.formats.delta.checkpoint import read_checkpoint
from parquedb.formats.delta.lineage import parse_origin, parse_through, read_lineage
from parquedb.formats.delta.operations import parse_operation
from parquedb.formats.delta.paths import (
    Listing,
    commit_key,
    log_folder,
    parse_data_path,
    parse_listing,
)
from parquedb.formats.delta.replay import Replay, added_beside, last_by_key, no_version
from parquedb.formats.delta.state import read_commit, read_state
from parquedb.formats.delta.timeline import Era, Moment, Timeline, build_file
from parquedb.formats.delta.vectors import parse_deletes, vector_key
from parquedb.formats.delta.wire import Actions, Add, identity_of
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation, Through
from parquedb.log.ports import Lineage, Version, operation_of
from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import Walk
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.members import count, optional_count
from parquedb.model.schema import Schema
from parquedb.storage.store import Store


class DeltaReader:
    """Reads a Delta table (see :class:`~parquedb.log.ports.LogReader`).

    Args:
        store: The storage.
        folder: Key of the table's folder.
        ambient: Not used; all readers are made alike.
        before: A reader of the table from earlier. The heads of commits that it has read, and that
            are the same files, are not read again.

    Raises:
        NotFoundError: There is no Delta table.
        FormatError: A version is missing in the log.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        ambient: Ambient = SYSTEM,
        before: DeltaReader | None = None,
    ) -> None:
        listing = parse_listing(folder, store.list_dir(log_folder(folder))[0])
        if listing is None:
            raise NotFoundError(
                f"there is no Delta table in '{store.root}/{folder}': {log_folder(folder)!r} has "
                "no commits"
            )
        self._store = store
        self._folder = folder
        self._ambient = ambient
        self._listing: Listing = listing
        self._base_actions: Actions | None = None
        known = None if before is None else before.timeline
        self._timeline = Timeline(store, folder, listing, self._base, known)

    @property
    def format(self) -> Format:
        """Delta."""
        return Format.DELTA

    @property
    def format_version(self) -> int | None:
        """None: there is one form."""
        return None

    @property
    def table_id(self) -> str:
        """``metaData.id`` at the oldest readable version: replacing a table may change it."""
        return self._timeline.at(self._listing.start).era.metadata.id

    @property
    def listing(self) -> Listing:
        """What the log folder held when the reader was made."""
        return self._listing

    @property
    def timeline(self) -> Timeline:
        """Times and metadata of the versions."""
        return self._timeline

    def latest(self) -> int:
        """Return the newest version."""
        return self._listing.latest

    def history(self) -> Sequence[Version]:
        """Return the versions that can be read, oldest first.

        Tables with features that cannot be carried have a history too.
        """
        live: dict[str, tuple[str | None, int | None]] = {}
        unknown = total = 0
        versions = []
        for moment in self._timeline.all():
            actions = self._read(moment.version)
            adds, removes = last_by_key(self._store.root, self._folder, actions)
            added = removed = 0
            for key in (*removes, *adds):
                if key in live and (key in adds or live[key][0] in removes[key]):
                    rows = live.pop(key)[1]
                    unknown -= rows is None
                    total -= rows or 0
                    removed += key not in adds
            for key, add in adds.items():
                rows = _count_rows(add, key)
                live[key] = identity_of(add.vector), rows
                unknown += rows is None
                total += rows or 0
                added += 1
            word = moment.info.operation or operation_of(added=added, removed=removed).value
            rows = None if unknown else total
            origin = parse_origin(moment.info.origin)
            versions.append(Version(moment.version, moment.at_ms, word, rows, origin))
        return versions

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the table at a version; the newest by default."""
        snapshot = self.walk().to(version).snapshot
        return replace(snapshot, files=dict(snapshot.files))

    def walk(self) -> Walk:
        """Return what goes from version to version and reads every commit once."""
        return Replay(self._store, self._folder, self._listing, self._timeline, self._read)

    def version_at(self, at_ms: int) -> int:
        """Return the newest version whose timestamp is not after ``at_ms``."""
        moments = self._timeline.all()
        index = bisect.bisect_right([moment.at_ms for moment in moments], at_ms)
        if index == 0:
            raise NotFoundError(
                f"the Delta table {self._folder!r} has no version at {at_ms} ms since 1970; its "
                f"oldest is version {moments[0].version} at {moments[0].at_ms} ms"
            )
        return moments[index - 1].version

    def current_since_ms(self) -> int:
        """Return the newest version's time: a restored version is a new one."""
        return self._timeline.at(self._listing.latest).at_ms

    def commits(self, after: int | None = None) -> Iterator[Commit]:
        """Yield the commits after a version, oldest first; all by default."""
        start, latest = self._listing.start, self._listing.latest
        live: dict[str, DataFile] = {}
        before: Era | None = None
        first = start
        if after is not None:
            if not start <= after <= latest:
                raise no_version(self._folder, self._listing, after)
            first = after + 1
            if first > latest:
                return
            # properties are told as they change, so what they were must be known
            live = dict(self.snapshot(after).files)
            before = self._timeline.at(after).era
        for version in range(first, latest + 1):
            actions = self._read(version)
            moment = self._moment(version, actions)
            moment.era.check_readable()
            opening = version == first
            yield self._commit(moment, actions, before, live, opening=opening)
            before = moment.era

    def schemas(self) -> Sequence[Schema]:
        """Return the columns that the table has and had, as far as its log tells."""
        return tuple(dict.fromkeys(moment.era.schema for moment in self._timeline.all()))

    def has_promotions(self) -> bool:
        """Return False: a schema's types are those of its files, or wider in every reader."""
        return False

    def unshown(self) -> Sequence[str]:
        """Return nothing: the log is all that there is."""
        return ()

    def tags(self) -> Mapping[int, tuple[str, ...]]:
        """Return the names that commits give to their versions."""
        return {m.version: m.info.tags for m in self._timeline.all() if m.info.tags}

    def lineage(self) -> Lineage | None:
        """Return what the table records of the newest migration into it, if anything."""
        return read_lineage(self._store, self._folder, self._listing)

    def through(self, version: int | None = None) -> Through | None:
        """Return how much of the namespace's journal a version includes."""
        wanted = self.latest() if version is None else version
        if not self._listing.start <= wanted <= self._listing.latest:
            raise no_version(self._folder, self._listing, wanted)
        state = read_state(self._store, self._folder, self._listing, wanted)
        return parse_through(state.txns.values())

    def referenced(self) -> frozenset[str]:
        """Return the keys of all files that any readable version references, and of the log."""
        root, folder = self._store.root, self._folder
        found = {info.key for info in self._store.list(log_folder(folder))}
        for version in range(self._listing.start, self._listing.latest + 1):
            actions = self._read(version)
            vectors = [add.vector for add in actions.adds if add.vector]
            vectors += [gone.vector for gone in actions.removes if gone.vector]
            paths = [add.path for add in actions.adds] + [gone.path for gone in actions.removes]
            found.update(parse_data_path(root, folder, p) for p in (*paths, *actions.cdc_paths))
            keys = (vector_key(root, folder, vector) for vector in vectors)
            found.update(key for key in keys if key is not None)
        return frozenset(found)

    def _commit(
        self,
        moment: Moment,
        actions: Actions,
        before: Era | None,
        live: dict[str, DataFile],
        *,
        opening: bool,
    ) -> Commit:
        changes = _metadata_changes(moment.era, before, opening=opening)
        added, removed = self._file_changes(moment.era, actions, live, changes)
        base = opening and before is None and self._listing.has_base
        info = moment.info
        operation = parse_operation(info, actions, added=added, removed=removed)
        if base:
            operation = operation_of(added=added, removed=0)
        elif operation is Operation.METADATA and moment.version == 0:
            operation = Operation.CREATE
        summary = {
            name: text
            for name, text in (("operation", info.operation), ("userMetadata", info.user_metadata))
            if text is not None
        }
        return Commit(
            moment.version,
            moment.at_ms,
            operation,
            tuple(changes),
            summary,
            base,
            parse_origin(info.origin),
            parse_through(actions.txns),
            info.tags,
        )

    def _file_changes(
        self, era: Era, actions: Actions, live: dict[str, DataFile], changes: list[Change]
    ) -> tuple[int, int]:
        """Append what happened to files to ``changes``; return how many came and went."""
        root, folder = self._store.root, self._folder
        adds, removes = last_by_key(root, folder, actions)
        added = removed = 0
        for key, vectors in removes.items():
            gone = None if key in adds else live.get(key)
            if gone is not None and any(
                gone.deletes == parse_deletes(root, folder, vector) for vector in vectors.values()
            ):
                changes.append(RemoveFile(live.pop(key)))
                removed += 1
        for key, add in adds.items():
            file = build_file(root, folder, era, add)
            known = live.get(key)
            if known == file:
                continue
            if known is not None and known.deletes != file.deletes:
                gone_too = removes.get(key, {}).values()
                if all(parse_deletes(root, folder, one) != known.deletes for one in gone_too):
                    raise added_beside(folder, add)
            if known is not None and known.deletes != file.deletes and _same_data(known, file):
                live[key] = replace(known, deletes=file.deletes)
                changes.append(SetDeletes(key, file.deletes))
                removed += 1
                added += _deleted(file) < _deleted(known)
                continue
            if known is not None and not add.data_change and _same_rows(known, file):
                live[key] = file  # added again, with other statistics
                changes.append(AddFile(file))
                continue
            if known is not None:  # added again, to update what is recorded of it
                changes.append(RemoveFile(known))
                removed += 1
            live[key] = file
            changes.append(AddFile(file))
            added += 1
        return added, removed

    def _moment(self, version: int, actions: Actions) -> Moment:
        if self._timeline.next_version == version and not self._is_base(version):
            return self._timeline.extend(actions)
        return self._timeline.at(version)

    def _read(self, version: int) -> Actions:
        """Read a commit, or the checkpoint that stands for it at the log's beginning."""
        if self._is_base(version):
            return self._base()
        try:
            return read_commit(self._store, self._folder, version)
        except NotFoundError as error:
            key = commit_key(self._folder, version)
            raise NotFoundError(
                f"{key!r} is gone since the table was opened: its log was cleaned up; open it again"
            ) from error

    def _is_base(self, version: int) -> bool:
        return version == self._listing.start and self._listing.has_base

    def _base(self) -> Actions:
        if self._base_actions is None:
            checkpoint = self._listing.checkpoints[self._listing.start]
            self._base_actions = read_checkpoint(self._store, self._folder, checkpoint)
        return self._base_actions


def _metadata_changes(era: Era, before: Era | None, *, opening: bool) -> list[Change]:
    changes: list[Change] = []
    if opening or before is None or before.schema != era.schema:
        changes.append(SetSchema(era.schema))
    if opening or before is None or before.spec != era.spec:
        changes.append(SetPartitioning(era.spec))
    if before is not era:
        old = {} if before is None else before.properties
        new = era.properties
        updates: dict[str, str | None] = {k: v for k, v in new.items() if old.get(k) != v}
        updates.update({key: None for key in old if key not in new})
        if updates:
            changes.append(SetProperties(updates))
    return changes


def _same_data(known: DataFile, file: DataFile) -> bool:
    return (known.size_bytes, known.partition, known.spec_id) == (
        file.size_bytes,
        file.partition,
        file.spec_id,
    )


def _same_rows(known: DataFile, file: DataFile) -> bool:
    return _same_data(known, file) and (known.rows, known.deletes) == (file.rows, file.deletes)


def _deleted(file: DataFile) -> int:
    return sum(deletes.rows for deletes in file.deletes)


def _count_rows(add: Add, location: str) -> int | None:
    if add.stats is None:
        return None
    try:
        body: Any = orjson.loads(add.stats)
        rows = None if body is None else optional_count(body.get("numRecords"))
        if rows is not None and add.vector is not None:
            rows = count(rows - add.vector.rows)
    except (ValueError, AttributeError, TypeError) as error:
        raise FormatError(
            f"{location!r}: the file's statistics are no valid JSON ({error}); restore the log "
            "from a backup",
            location=location,
            section="Per-file Statistics",
        ) from error
    return rows
