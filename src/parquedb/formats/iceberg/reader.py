"""Reads an Iceberg table of format version 1, 2 or 3 as the neutral log.

A version is a snapshot id. The history is that of the branch ``main``: the ancestors of its
current snapshot. A table without snapshots has the one version 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from parquedb.errors import FormatError, NotFoundError
from parquedb.formats.iceberg.chain import Chain, Contents, Difference, ancestors
from parquedb.formats.iceberg.load import load_existing
from parquedb.formats.iceberg.manifest import FileEntry, Manifests
from parquedb.formats.iceberg.names import names_of, with_names
from parquedb.formats.iceberg.origin import (
    LIVE_RECORDS,
    THROUGH,
    completed_at_ms,
    operation_named,
    parse_origin,
    parse_through,
    user_properties,
    user_summary,
)
from parquedb.formats.iceberg.paths import Locations, hint_key
from parquedb.formats.iceberg.rowdeletes import RowDeletes
from parquedb.formats.iceberg.walk import ManifestWalk
from parquedb.formats.iceberg.wire import MAIN, TableSnapshot, highest_column_id
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation, Origin, Through
from parquedb.log.ports import Lineage, Version, operation_of
from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import Walk
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.members import digits
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema, children, walk
from parquedb.model.types import Type
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

__all__ = ["EMPTY_VERSION", "IcebergReader"]

EMPTY_VERSION = 0
"""The version of a table that has no snapshot."""


class IcebergReader:
    """An Iceberg table, read as the neutral log (a :class:`~parquedb.log.ports.LogReader`).

    Args:
        store: Where the table is.
        folder: Key of the table's root.

    Raises:
        NotFoundError: The folder holds no Iceberg table.
        StateError: Only a catalog can tell which metadata file is current.
        FormatError: The metadata does not follow the specification.
        UnsupportedError: The table is of a format version that cannot be read.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._loaded = load_existing(store, folder)
        self._table = self._loaded.table
        self._locations = Locations(store.root, folder)
        self._manifests = Manifests(store, self._locations, self._table)
        self._chain = Chain(self._table, self._manifests)
        self._snapshots = ancestors(self._table)
        self._names = names_of(self._table.properties)

    @property
    def format(self) -> Format:
        """The table's format."""
        return Format.ICEBERG

    @property
    def format_version(self) -> int | None:
        """The table's format version, as it is written."""
        return max(self._table.format_version, 2)

    @property
    def table_id(self) -> str:
        """The table's ``table-uuid``; its location where version 1 metadata has none."""
        return self._table.table_uuid or self._table.location

    def latest(self) -> int:
        """Return the id of the current snapshot; 0 if there is none."""
        return self._snapshots[-1].snapshot_id if self._snapshots else EMPTY_VERSION

    def history(self) -> Sequence[Version]:
        """Return the retained ancestors of the current snapshot, oldest first."""
        if not self._snapshots:
            return (Version(EMPTY_VERSION, self._table.last_updated_ms, "create", 0),)
        return tuple(
            Version(
                snapshot.snapshot_id,
                snapshot.at_ms,
                snapshot.summary.get("operation", "unknown"),
                self._rows(snapshot),
                parse_origin(snapshot.summary),
            )
            for snapshot in self._snapshots
        )

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the table at a snapshot id; without one, as it is now.

        Without a version, schema and partitioning are the table's current ones, also where they
        are newer than the newest snapshot.

        Raises:
            NotFoundError: There is no such snapshot in the history.
        """
        snapshot = self.walk().to(version).snapshot
        return replace(snapshot, files=dict(snapshot.files))

    def _look(self, version: int | None) -> tuple[Snapshot, tuple[TableSnapshot, Contents] | None]:
        """Return the table at a version, without its files, and the snapshot that holds them."""
        table, found = self._table, None
        specs = {spec_id: item.spec for spec_id, item in table.specs.items()}
        schema, spec, at_ms = table.schema, specs[table.default_spec_id], table.last_updated_ms
        if self._snapshots or version not in (None, EMPTY_VERSION):
            one = self._find(self.latest() if version is None else version)
            contents = self._chain.contents(one)
            found, at_ms = (one, contents), one.at_ms
            if version is not None:
                schema = self._chain.schema(one, contents)
                spec = self._chain.spec(contents.manifests) or self._first_spec()
        properties = user_properties(table.properties)
        newest = self.latest() if version is None else version
        schema = replace(with_names(schema, self._names), last_id=highest_column_id(table))
        return Snapshot(newest, at_ms, schema, spec, specs, {}, properties), found

    def walk(self) -> Walk:
        """Return what goes from version to version and reads every manifest once."""
        return ManifestWalk(self._chain, self._look)

    def version_at(self, at_ms: int) -> int:
        """Return the newest snapshot of the history that is not after ``at_ms``."""
        if not self._snapshots and self._table.last_updated_ms <= at_ms:
            return EMPTY_VERSION
        for snapshot in reversed(self._snapshots):
            if snapshot.at_ms <= at_ms:
                return snapshot.snapshot_id
        raise NotFoundError(
            f"the Iceberg table {self._folder!r} has no version at {at_ms} ms since the epoch; "
            "its history begins later"
        )

    def current_since_ms(self) -> int:
        """Return when the current snapshot became that, by the snapshot log."""
        newest = self.latest()
        return next(
            (at_ms for at_ms, id_ in reversed(self._table.snapshot_log) if id_ == newest),
            self._snapshots[-1].at_ms if self._snapshots else self._table.last_updated_ms,
        )

    def commits(self, after: int | None = None) -> Iterator[Commit]:
        """Yield the commits after a snapshot id, oldest first (see :mod:`parquedb.log.ports`).

        Raises:
            NotFoundError: The snapshot ``after`` is not part of the history (any more).
        """
        start, before = 0, None
        if after not in (None, EMPTY_VERSION):
            found = self._find(after)
            start = self._snapshots.index(found) + 1
            before = (found, self._chain.contents(found))
        return self._commits(start, before, whole=after is None)

    def schemas(self) -> Sequence[Schema]:
        """Return the columns that the table has and had, as far as its metadata tells."""
        return tuple(self._table.schemas.values())

    def has_promotions(self) -> bool:
        """Whether a column has different types in the table's schemas, or a default.

        See "Schema Evolution", "Default Values".
        """
        types: dict[int, Type] = {}
        return any(
            types.setdefault(item.id, item.type) != item.type or item.initial is not None
            for schema in self._table.schemas.values()
            for _, item in walk(schema.fields)
            if not children(item.type)
        )

    def unshown(self) -> Sequence[str]:
        """Return what is not of main's history: branches, tags, snapshots; and row lineage."""
        shown = {name for names in self.tags().values() for name in names} | {MAIN}
        refs = self._table.kept.get("refs", {})
        lineage = ("the ids of rows (row lineage)",) if self._table.format_version > 2 else ()
        names = (
            f"the {ref.get('type', 'reference')} {name!r}"
            for name, ref in refs.items()
            if name not in shown
        )
        beside = self._beside_branches()
        snapshots = "1 snapshot" if beside == 1 else f"{beside} snapshots"
        left = (f"{snapshots} of no branch (rolled back, replaced or staged)",)
        return (*names, *(left if beside else ()), *lineage)

    def _beside_branches(self) -> int:
        """Count the snapshots that neither main nor a branch or tag leads to."""
        parents = {snapshot.snapshot_id: snapshot.parent_id for snapshot in self._table.snapshots}
        reached = {snapshot.snapshot_id for snapshot in self._snapshots}
        for ref in self._table.kept.get("refs", {}).values():
            id_: int | None = ref["snapshot-id"]
            while id_ in parents and id_ not in reached:
                reached.add(id_)
                id_ = parents[id_]
        return len(parents) - len(reached)

    def tags(self) -> Mapping[int, tuple[str, ...]]:
        """Return the tags of the history of main ("Snapshot References")."""
        found: dict[int, tuple[str, ...]] = {}
        shown = {snapshot.snapshot_id for snapshot in self._snapshots}
        for name, ref in self._table.kept.get("refs", {}).items():
            id_ = ref.get("snapshot-id")
            if ref.get("type") == "tag" and id_ in shown:
                found[id_] = (*found.get(id_, ()), name)
        return found

    def lineage(self) -> Lineage | None:
        """Return what the newest migration into this table recorded."""
        foreign: list[int] = []
        for snapshot in reversed(self._snapshots):
            origin = parse_origin(snapshot.summary)
            if origin is not None:
                completed = completed_at_ms(self._table.properties)
                version = snapshot.snapshot_id
                undone = self._undone(version)
                return Lineage(origin, version, completed, tuple(reversed(foreign)), undone)
            foreign.append(snapshot.snapshot_id)
        return None

    def _undone(self, carried: int) -> tuple[Origin, int] | None:
        """Return what was carried last before the table was moved back behind it.

        A table that is merely behind never had a later version; one that was moved back did, and
        its snapshot log says so ("Table Metadata Fields").
        """
        log = [id_ for _, id_ in self._table.snapshot_log]
        later = log[log.index(carried) + 1 :] if carried in log else []
        shown = {snapshot.snapshot_id for snapshot in self._snapshots}
        by_id = {snapshot.snapshot_id: snapshot for snapshot in self._table.snapshots}
        for id_ in reversed(later):
            origin = parse_origin(by_id[id_].summary) if id_ in by_id and id_ not in shown else None
            if origin is not None:
                return origin, id_
        return None

    def through(self, version: int | None = None) -> Through | None:
        """Return how much of the namespace's journal a version includes.

        The table's properties say what the newest one ever included: where the snapshots that do
        were expired, the table was replaced or moved back. What was moved back is not to come again
        from the journal.
        """
        newest = self.latest() if version is None else version
        told = parse_through(self._table.properties.get(THROUGH))
        if newest == EMPTY_VERSION:
            return told
        end = self._snapshots.index(self._find(newest)) + 1
        for snapshot in reversed(self._snapshots[:end]):
            found = parse_through(snapshot.summary.get(THROUGH))
            if found is not None:
                return _later(found, told) if end == len(self._snapshots) else found
        if any(THROUGH in snapshot.summary for snapshot in self._snapshots[end:]):
            return None
        return told

    def referenced(self) -> frozenset[str]:
        """Return the keys of all files that any retained snapshot, of any branch, references."""
        keys = {name.key for name in self._loaded.others}
        if self._store.head(hint_key(self._folder)) is not None:
            keys.add(hint_key(self._folder))
        locations = {file for _, file in self._table.metadata_log}
        for kind in ("statistics", "partition-statistics"):
            locations |= {item["statistics-path"] for item in self._table.kept.get(kind, ())}
        seen: set[str] = set()
        for snapshot in self._table.snapshots:
            if snapshot.manifest_list is not None:
                locations.add(snapshot.manifest_list)
            for manifest in self._manifests.read_list(snapshot):
                if manifest.location not in seen:
                    seen.add(manifest.location)
                    entries = self._manifests.entries(manifest)
                    locations |= {entry.record["file_path"] for entry in entries}
        for location in locations | seen:
            key = self._locations.key_or_none(location)
            if key is not None:
                keys.add(key)
        return frozenset(keys)

    def _commits(
        self, start: int, before: tuple[TableSnapshot, Contents] | None, *, whole: bool
    ) -> Iterator[Commit]:
        told, tags = _Told(), self.tags()
        if before is not None:
            told.deletes = self._followed(*before)
            told.schema = self._chain.schema(*before)
            told.spec = self._chain.spec(before[1].manifests) or self._first_spec()
        for snapshot in self._snapshots[start:]:
            contents = self._chain.contents(snapshot)
            difference = self._chain.difference(snapshot, contents, before)
            told.note(snapshot, difference)
            added, deletes = self._deletes(told, snapshot, contents, difference)
            schema = self._chain.schema(snapshot, contents)
            changes = self._news(told, schema, self._spec(told.spec, contents), added)
            if whole and snapshot is self._snapshots[0]:
                changes.append(SetProperties(user_properties(self._table.properties)))
            changes += [RemoveFile(file) for file in difference.removed]
            changes += [AddFile(file) for file in added]
            changes += deletes
            yield _commit(snapshot, changes, difference, tags.get(snapshot.snapshot_id, ()))
            before = (snapshot, contents)
        yield from self._trailing(told, whole=whole)

    def _followed(self, snapshot: TableSnapshot, contents: Contents) -> _Followed | None:
        """Begin to follow the deleted rows at a snapshot; None if it has none."""
        if not contents.deletes:
            return None
        followed = _Followed(RowDeletes(self._manifests), self._chain.live(snapshot, contents))
        followed.rows.advance(contents.deletes, followed.live, followed.live)
        return followed

    def _deletes(
        self, told: _Told, snapshot: TableSnapshot, contents: Contents, difference: Difference
    ) -> tuple[tuple[DataFile, ...], list[Change]]:
        """Return the files that a snapshot adds and whose deleted rows it changes."""
        added = tuple(entry.file for entry in difference.added)
        if told.deletes is None and not contents.deletes:
            return added, []
        followed = told.deletes
        if followed is None:
            followed = told.deletes = _Followed(
                RowDeletes(self._manifests), self._chain.live(snapshot, contents)
            )
        elif difference.base:
            followed.live.clear()
        gone = [file.path for file in difference.removed]
        for path in gone:
            followed.live.pop(path, None)
        followed.live.update((entry.file.path, entry) for entry in difference.added)
        new = {file.path for file in added}
        found = followed.rows.advance(contents.deletes, followed.live, new, gone)
        return (
            tuple(replace(file, deletes=found.get(file.path, ())) for file in added),
            [SetDeletes(path, rows) for path, rows in found.items() if path not in new],
        )

    def _trailing(self, told: _Told, *, whole: bool) -> Iterator[Commit]:
        """Yield the columns and partitioning that are newer than the newest snapshot."""
        table = self._table
        schema, spec = table.schema, table.specs[table.default_spec_id].spec
        if self._snapshots and (schema, spec) == (told.schema, told.spec):
            return
        changes = self._news(told, schema, spec, ())
        changes.append(SetProperties(user_properties(table.properties)))
        first = whole and not self._snapshots
        operation = Operation.CREATE if first else Operation.METADATA
        yield Commit(self.latest(), table.last_updated_ms, operation, tuple(changes))

    def _news(
        self, told: _Told, schema: Schema, spec: PartitionSpec, added: tuple[DataFile, ...]
    ) -> list[Change]:
        """Return the settings that were not yielded yet, and remember them."""
        changes: list[Change] = []
        if told.nothing or schema != told.schema:
            changes.append(SetSchema(with_names(schema, self._names)))
        used = {file.spec_id for file in added} - told.specs - {spec.spec_id}
        changes += [SetPartitioning(self._table.specs[spec_id].spec) for spec_id in sorted(used)]
        if told.nothing or used or spec != told.spec:
            changes.append(SetPartitioning(spec))
        told.nothing, told.schema, told.spec = False, schema, spec
        told.specs |= used | {spec.spec_id}
        return changes

    def _spec(self, previous: PartitionSpec | None, contents: Contents) -> PartitionSpec:
        if previous is None:
            return self._chain.spec(contents.manifests) or self._first_spec()
        return self._chain.spec(contents.own) or previous

    def _first_spec(self) -> PartitionSpec:
        """Return the spec of a table before any file was written."""
        specs = self._table.specs
        return specs[min(specs)].spec

    def _rows(self, snapshot: TableSnapshot) -> int | None:
        total = snapshot.summary.get("total-records", "")
        if snapshot.summary.get("total-delete-files", "0") != "0":
            kept = snapshot.summary.get(LIVE_RECORDS, "")
            return digits(kept)
        if digits(total) is None:
            contents = self._chain.contents(snapshot)
            return None if contents.deletes else contents.rows
        return int(total)

    def _find(self, version: int | None) -> TableSnapshot:
        for snapshot in self._snapshots:
            if snapshot.snapshot_id == version:
                return snapshot
        raise NotFoundError(
            f"the Iceberg table {self._folder!r} has no version {version} in the history of its "
            "branch main (any more); its history lists the versions that can be read"
        )


@dataclass(slots=True)
class _Followed:
    """The data files of the newest snapshot yielded, and their deleted rows."""

    rows: RowDeletes
    live: dict[str, FileEntry]


@dataclass(slots=True)
class _Told:
    """What the commits yielded so far have said, or what was so before the first of them.

    ``live`` begins empty, also where older commits are not read: it holds what was seen.
    """

    nothing: bool = True
    schema: Schema | None = None
    spec: PartitionSpec | None = None
    specs: set[int] = field(default_factory=set)
    live: set[str] = field(default_factory=set)
    deletes: _Followed | None = None

    def note(self, snapshot: TableSnapshot, difference: Difference) -> None:
        """Follow which files are live.

        Raises:
            FormatError: A file is added that is live already: its rows would count twice.
        """
        self.live.difference_update(file.path for file in difference.removed)
        for file in (entry.file for entry in difference.added):
            if file.path in self.live:
                raise FormatError(
                    f"the snapshot {snapshot.snapshot_id} adds {file.path}, which an earlier one "
                    "added; data files must not be listed twice: remove one of the entries",
                    location=snapshot.manifest_list,
                    section="Manifests",
                )
            self.live.add(file.path)


def _later(found: Through, told: Through | None) -> Through:
    """Return the mark that includes more, of two of the same journal."""
    if told is None or told.journal != found.journal or told.entry <= found.entry:
        return found
    return told


def _commit(
    snapshot: TableSnapshot, changes: list[Change], difference: Difference, tags: tuple[str, ...]
) -> Commit:
    deletes = sum(isinstance(change, SetDeletes) for change in changes)
    operation = operation_of(added=len(difference.added), removed=len(difference.removed) + deletes)
    if operation is not Operation.METADATA:
        operation = operation_named(snapshot.summary) or operation
    return Commit(
        snapshot.snapshot_id,
        snapshot.at_ms,
        operation,
        tuple(changes),
        user_summary(snapshot.summary),
        difference.base,
        parse_origin(snapshot.summary),
        parse_through(snapshot.summary.get(THROUGH)),
        tags,
    )
