"""Turns neutral commits into snapshots: pure, apart from reading an existing table's manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import assert_never

from parquedb.ambient import Ambient
from parquedb.errors import InvalidInputError, StateError, UnsupportedError
from parquedb.formats.iceberg.avro import encode_long
from parquedb.formats.iceberg.columns import Columns, SchemaMap
from parquedb.formats.iceberg.deletes import DeleteChanges, DeleteFiles, is_vector
from parquedb.formats.iceberg.entries import (
    SOME,
    encode_data_file,
    encode_manifest_meta,
    encode_partition,
    partition_columns,
)
from parquedb.formats.iceberg.live import Kind, LiveFile, LiveTable, SnapshotContext
from parquedb.formats.iceberg.metrics import MetricsEncoder, convert_value
from parquedb.formats.iceberg.origin import (
    LIVE_RECORDS,
    ORIGIN,
    THROUGH,
    encode_origin,
    encode_through,
)
from parquedb.formats.iceberg.rowids import RowIds
from parquedb.formats.iceberg.wire import TableSnapshot
from parquedb.formats.iceberg.wire_schema import Defaults, result_type
from parquedb.log.change import (
    AddFile,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation
from parquedb.model.files import DataFile, Deletes, Value
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import walk
from parquedb.slotted import dataclass
from parquedb.storage.keys import uri_of
from parquedb.storage.store import NewObject

_RESERVED = ("added-", "deleted-", "removed-", "total-", "changed-partition-count", "operation")
_RESERVED_PROPERTIES = (
    "format-version", "uuid", "snapshot-count", "current-snapshot-id", "current-snapshot-summary",
    "current-snapshot-timestamp-ms", "current-schema", "default-partition-spec",
    "default-sort-order", "parquedb.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileEncoder:
    """Encodes files of one schema and one partition spec.

    Args:
        root: URI of the storage root.
        kind: What the files have in common in manifests.
        metrics: Encodes their statistics.
        conversions: How partition values become the table's, None where they are the same.
    """

    root: str
    kind: Kind
    metrics: MetricsEncoder
    conversions: tuple[Callable[[Value], Value] | None, ...]

    def encode(self, file: DataFile, snapshot_id: bytes, sequence_number: int) -> LiveFile:
        """Encode a file that a snapshot adds.

        Raises:
            UnsupportedError: Its row count is not known.
            InvalidInputError: Its partition tuple does not fit the spec.
        """
        rows = file.rows
        if rows is None:
            raise UnsupportedError(
                f"the row count of {file.path} is not known, and Iceberg needs it; read it from "
                "the file's footer first",
                feature="record_count",
            )
        if len(file.partition) != len(self.conversions):
            raise InvalidInputError(
                f"{file.path} has {len(file.partition)} partition values and its partition spec "
                f"{len(self.conversions)} fields"
            )
        partition = tuple(
            value if convert is None or value is None else convert(value)
            for value, convert in zip(file.partition, self.conversions, strict=True)
        )
        sequence = SOME + encode_long(sequence_number)
        data_file = encode_data_file(
            uri_of(self.root, file.path),
            encode_partition(self.kind.columns, partition),
            rows,
            file.size_bytes,
            self.metrics.encode(file.stats, rows),
        )
        rest = b"".join((sequence, sequence, data_file))
        return LiveFile(
            file.path, rows, file.size_bytes, partition, sequence_number, snapshot_id, rest
        )


@dataclass(slots=True)
class Applier:
    """A table while commits become snapshots of it.

    Args:
        root: URI of the storage root.
        metadata: Key of the table's metadata folder.
        ambient: Where ids come from.
        columns: Its schemas and specs.
        live: Its live data files.
        deletes: Its delete files.
        properties: Its properties.
        parent: The newest snapshot.
        sequence_number: That one's sequence number, the table's last.
        taken: Ids of all its snapshots.
        schemas: How the commits' current schema became the table's.
        spec_id: The table's default spec.
        source_specs: The commits' specs by their ids.
        spec: The commits' current spec; before they say so, the table's own.
        version: The table's format version.
        row_ids: Gives ids to its rows, in version 3.
        defaults: The defaults of its columns.
    """

    root: str
    metadata: str
    ambient: Ambient
    columns: Columns
    live: LiveTable
    deletes: DeleteFiles
    properties: dict[str, str]
    parent: TableSnapshot | None
    sequence_number: int
    taken: set[int]
    schemas: SchemaMap | None
    spec_id: int
    source_specs: dict[int, PartitionSpec]
    spec: PartitionSpec | None
    version: int = 2
    row_ids: RowIds | None = None
    defaults: Defaults = field(default_factory=dict)
    objects: list[NewObject] = field(default_factory=list)
    _told_spec: bool = False
    _encoders: dict[int, FileEncoder] = field(default_factory=dict)

    def apply(self, commit: Commit) -> TableSnapshot:
        """Make one commit the next snapshot; its new objects are put into ``objects``.

        Raises:
            UnsupportedError: A change cannot be expressed.
            InvalidInputError: The commit contradicts itself or has no schema to refer to.
            StateError: It removes a file that is not part of the table.
            FormatError: Deletes that it refers to are missing or damaged.
        """
        self._settle(commit)
        if commit.through is not None:
            self.properties[THROUGH] = encode_through(commit.through)
        self.sequence_number += 1
        snapshot_id = self._new_id()
        added, removed, vectors = self._files(commit, snapshot_id)
        name = self.ambient.new_uuid()
        deletes = self._deletes(added, removed, vectors, (snapshot_id, str(name)))
        schemas = self._schema_map()
        context = SnapshotContext(
            snapshot_id,
            self.sequence_number,
            lambda number: f"{self.metadata}/{name}-m{number}.avro",
            lambda key: uri_of(self.root, key),
            lambda spec_id: encode_manifest_meta(
                self.columns.specs[spec_id],
                schemas.schema,
                schemas.schema_id,
                self.version,
                self.defaults,
            ),
            version=self.version,
            row_ids=self.row_ids,
        )
        for key, data in self.live.advance(context, added, removed):
            self.objects.append(NewObject(key, data))
        of_deletes = replace(
            context,
            place=lambda number: f"{self.metadata}/{name}-d{number}.avro",
            deletes=True,
            row_ids=None,
        )
        advanced = self.deletes.table.advance(of_deletes, deletes.added, deletes.removed)
        self.objects += deletes.objects
        self.objects += [NewObject(key, data) for key, data in advanced]
        parent_id = None if self.parent is None else self.parent.snapshot_id
        list_key = f"{self.metadata}/snap-{snapshot_id}-1-{name}.avro"
        meta = {
            "snapshot-id": str(snapshot_id).encode(),
            "parent-snapshot-id": (b"null" if parent_id is None else str(parent_id).encode()),
            "sequence-number": str(self.sequence_number).encode(),
            "format-version": str(self.version).encode(),
        }
        given = None if self.row_ids is None else self.row_ids.close()
        if given is not None:
            meta["first-row-id"] = str(given[0]).encode()
        listed = self.live.encode_list(meta, self.deletes.table, self.version)
        self.objects.append(NewObject(list_key, listed))
        new = [file for files in added.values() for file in files]
        self.parent = TableSnapshot(
            snapshot_id,
            parent_id,
            self.sequence_number,
            commit.at_ms if self.parent is None else max(commit.at_ms, self.parent.at_ms + 1),
            uri_of(self.root, list_key),
            self._summary(commit, new, removed, deletes),
            schemas.schema_id,
            row_ids=given,
        )
        return self.parent

    def _settle(self, commit: Commit) -> None:
        """Take over schema, partitioning and properties of a commit."""
        schema = None if self.schemas is None else self.schemas.source
        spec, changed = self.spec, False
        for change in commit.changes:
            match change:
                case SetSchema(new):
                    changed = changed or new != schema or self.spec is None
                    schema = new
                case SetPartitioning(new_spec, current):
                    if self.source_specs.get(new_spec.spec_id) != new_spec:
                        self.source_specs[new_spec.spec_id] = new_spec
                        self._encoders.pop(new_spec.spec_id, None)
                    if current:
                        changed = changed or new_spec != spec or not self._told_spec
                        spec, self._told_spec = new_spec, True
                case SetProperties(updates):
                    self._set_properties(updates)
                case AddFile() | RemoveFile() | SetDeletes():
                    pass
                case _:
                    assert_never(change)
        if schema is None:
            raise InvalidInputError(
                f"version {commit.version} is the first of a new Iceberg table and has no schema"
            )
        if spec is None:
            spec = PartitionSpec()
            self.source_specs[spec.spec_id] = spec
            changed = self._told_spec = True
        if changed or self.schemas is None:
            told = spec if self._told_spec else PartitionSpec()
            self.schemas = self.columns.map_schema(
                schema, told, own_ids=commit.origin is None and bool(self.columns.schemas)
            )
            self.spec = spec
            if self._told_spec:
                self.spec_id = self.columns.map_spec(spec, self.schemas.ids)
            self._encoders.clear()

    def _set_properties(self, updates: Mapping[str, str | None]) -> None:
        for key, value in updates.items():
            if key.startswith(_RESERVED_PROPERTIES):
                continue
            if value is None:
                self.properties.pop(key, None)
            else:
                self.properties[key] = value

    def _files(
        self, commit: Commit, snapshot_id: int
    ) -> tuple[dict[Kind, list[LiveFile]], list[LiveFile], dict[str, tuple[Deletes, ...]]]:
        """Return what a commit adds, encoded, and what it removes, after cancelling out.

        And the deletes that it gives to data files.
        """
        vectors: dict[str, tuple[Deletes, ...]] = {}
        added: dict[str, DataFile] = {}
        removed: dict[str, LiveFile] = {}
        if commit.base and self.live.files:
            for manifest in self.live.manifests:
                removed.update(manifest.files)
        for change in commit.changes:
            match change:
                case AddFile(file):
                    old = None if file.path in removed else self.live.find(file.path)
                    if old is not None:
                        removed[file.path] = old
                    added[file.path] = file
                    vectors[file.path] = file.deletes
                case RemoveFile(file):
                    vectors.pop(file.path, None)
                    if added.pop(file.path, None) is None:
                        removed[file.path] = self._live_file(commit, file.path)
                case SetDeletes(path, deletes):
                    if path not in added:
                        self._live_file(commit, path)
                    vectors[path] = deletes
                case _:
                    pass
        encoded: dict[Kind, list[LiveFile]] = {}
        prefix = SOME + encode_long(snapshot_id)
        for file in added.values():
            encoder = self._encoders.get(file.spec_id) or self._encoder(file.spec_id)
            live = encoder.encode(file, prefix, self.sequence_number)
            encoded.setdefault(encoder.kind, []).append(live)
        return encoded, list(removed.values()), vectors

    def _deletes(
        self,
        added: Mapping[Kind, list[LiveFile]],
        removed: list[LiveFile],
        vectors: Mapping[str, tuple[Deletes, ...]],
        stamp: tuple[int, str],
    ) -> DeleteChanges:
        """Return what becomes of the delete files."""
        own = self.deletes
        own.load(lambda path: self.live.find(path) is not None)
        if own.is_empty and not any(vectors.values()):
            return DeleteChanges()
        new = {file.path: (kind, file) for kind, files in added.items() for file in files}
        gone = [file.path for file in removed]
        data = dict(new)
        for path in (*vectors, *own.resolved):
            if path not in data and path not in gone:
                found = self.live.find(path)
                if found is not None:
                    data[path] = self.live.kind_of(path), found
        return own.change(vectors, data, gone, (stamp[0], self.sequence_number, stamp[1]))

    def _live_file(self, commit: Commit, path: str) -> LiveFile:
        found = self.live.find(path)
        if found is None:
            raise StateError(
                f"version {commit.version} removes {path!r}, which is not part of the Iceberg "
                "table; the two tables do not have the same history: migrate into a new table"
            )
        return found

    def _encoder(self, source_spec_id: int) -> FileEncoder:
        schemas = self._schema_map()
        spec = self.source_specs.get(source_spec_id)
        if spec is None:
            raise InvalidInputError(
                f"a file belongs to the partition spec {source_spec_id}, which no commit set"
            )
        theirs = {item.id: item.type for _, item in walk(schemas.source.fields)}
        ours = {item.id: item.type for _, item in walk(schemas.schema.fields)}
        spec_id = self.columns.map_spec(spec, schemas.ids)
        target = self.columns.specs[spec_id]
        kind = Kind(spec_id, partition_columns(target, ours))
        conversions = tuple(
            convert_value(result_type(item.transform, theirs[item.source_id]), column.type)
            for item, column in zip(spec.fields, kind.columns, strict=True)
        )
        encoder = FileEncoder(self.root, kind, MetricsEncoder(schemas), conversions)
        self._encoders[source_spec_id] = encoder
        return encoder

    def _schema_map(self) -> SchemaMap:
        if self.schemas is None:
            raise InvalidInputError("a commit came before any schema")
        return self.schemas

    def _new_id(self) -> int:
        while True:
            snapshot_id = self.ambient.random_bits(63)
            if snapshot_id > 0 and snapshot_id not in self.taken:
                self.taken.add(snapshot_id)
                return snapshot_id

    def _summary(
        self,
        commit: Commit,
        added: list[LiveFile],
        removed: list[LiveFile],
        deletes: DeleteChanges,
    ) -> dict[str, str]:
        """Return a snapshot's summary ("Optional Snapshot Summary Fields")."""
        new = deletes.new
        fewer = len(removed) + len(new) + len(deletes.removed)
        summary = {"operation": _operation(commit.operation, len(added), fewer)}
        summary |= {
            key: value
            for key, value in commit.summary.items()
            if not key.startswith((*_RESERVED, "parquedb."))
        }
        if commit.origin is not None:
            summary[ORIGIN] = encode_origin(commit.origin)
        if commit.through is not None:
            summary[THROUGH] = encode_through(commit.through)
        for files, one, other in ((added, "added", "added"), (removed, "deleted", "removed")):
            if files:
                summary[f"{one}-data-files"] = str(len(files))
                summary[f"{one}-records"] = str(sum(file.rows for file in files))
                summary[f"{other}-files-size"] = str(sum(file.size_bytes for file in files))
        summary["total-records"] = str(self.live.rows)
        summary["total-data-files"] = str(self.live.files)
        if self.live.size_bytes is not None:
            summary["total-files-size"] = str(self.live.size_bytes)
        for files, one in ((new, "added"), (deletes.removed, "removed")):
            if files:
                summary[f"{one}-delete-files"] = str(len(files))
        if new:
            kind = "added-dvs" if self.version > 2 else "added-position-delete-files"
            summary[kind] = str(len(new))
            summary["added-position-deletes"] = str(sum(file.rows for file in new))
        if vectors := sum(map(is_vector, deletes.removed)):
            summary["removed-dvs"] = str(vectors)
        held = self.deletes.table
        summary["total-delete-files"] = str(held.files)
        summary["total-position-deletes"] = str(held.rows)
        summary["total-equality-deletes"] = "0"
        if held.files:
            summary[LIVE_RECORDS] = str(self.live.rows - held.rows)
        return summary


def _operation(operation: Operation, added: int, removed: int) -> str:
    """Return the operation as a summary names it ("Snapshots")."""
    if operation is Operation.REPLACE and (added or removed):
        return "replace"
    if removed:
        return "overwrite" if added or operation is not Operation.DELETE else "delete"
    return "overwrite" if operation is Operation.OVERWRITE else "append"
