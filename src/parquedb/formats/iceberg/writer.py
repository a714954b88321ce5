"""Appends neutral commits to an Iceberg table of a file system layout, format version 2 or 3.

Any number of commits become snapshots in one new ``vN.metadata.json``; its creation, which only
one writer can win, is the commit ("File System Tables"). Everything it refers to is written
before, the version hint after it.
"""

from __future__ import annotations

import copy
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)
from parquedb.formats.iceberg.apply import Applier
from parquedb.formats.iceberg.chain import ancestors
from parquedb.formats.iceberg.columns import Columns, SchemaMap
from parquedb.formats.iceberg.deletes import DeleteFiles
from parquedb.formats.iceberg.existing import read_live
from parquedb.formats.iceberg.live import LiveTable
from parquedb.formats.iceberg.load import Loaded, load
from parquedb.formats.iceberg.manifest import Manifests
from parquedb.formats.iceberg.names import NAME_MAPPING
from parquedb.formats.iceberg.origin import COMPLETED, FIELD_IDS, SOURCE_IDS
from parquedb.formats.iceberg.paths import Locations, hint_key, metadata_folder, metadata_key
from parquedb.formats.iceberg.refs import with_tags
from parquedb.formats.iceberg.rowids import RowIds
from parquedb.formats.iceberg.wire import TableMetadata, TableSnapshot, encode_metadata
from parquedb.log.change import SetSchema
from parquedb.log.commit import Commit
from parquedb.log.ports import Committed, Conflict
from parquedb.model.format import Format
from parquedb.model.members import digits
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import EMPTY, Schema, walk
from parquedb.slotted import dataclass
from parquedb.storage.keys import join, uri_of
from parquedb.storage.store import NewObject, Store

KEEP_FOREVER_MS = 36_500 * 24 * 60 * 60 * 1000
"""Age at which snapshots may expire: migrated ones are old from the start."""
_ATTEMPTS = 10


@dataclass(slots=True)
class _State:
    """A table between two calls.

    Args:
        number: Number of its newest metadata file, 0 before the first.
        suffix: What follows the number in that file's name.
        location: URI of that file.
        table: Its content; None for a table that does not exist yet.
        applier: What makes snapshots of commits; None until it is needed.
    """

    number: int
    suffix: str
    location: str
    table: TableMetadata | None
    applier: Applier | None

    @property
    def version(self) -> int | None:
        """The newest version, None if there is no table."""
        return None if self.table is None else self.table.current_snapshot_id or 0


class IcebergWriter:
    """Appends neutral commits to one table (a :class:`~parquedb.log.ports.LogWriter`).

    Args:
        store: Where the table is, or will be.
        folder: Key of the table's root.
        ambient: Where ids come from.
        format_version: Of a table that does not exist yet; others keep theirs.
    """

    def __init__(
        self, store: Store, folder: str, *, ambient: Ambient = SYSTEM, format_version: int = 2
    ) -> None:
        self._store = store
        self._folder = folder
        self._ambient = ambient
        self._state: _State | None = None
        self._adopted: Columns | None = None
        self._wanted = format_version

    @property
    def format(self) -> Format:
        """The table's format."""
        return Format.ICEBERG

    def adopt(self, schema: Schema, spec: PartitionSpec, *, expect: int | None) -> Schema:
        """Return a schema with the field ids that :meth:`append` will give it.

        See :meth:`parquedb.log.ports.LogWriter.adopt`.
        """
        if self._adopted is None:
            state = self._current(expect)
            applier = state.applier
            if applier is None and state.table is None:
                self._adopted = Columns.new(schema, self._wanted)
            else:
                own = applier or self._applier(state, (), {})
                self._adopted = copy.deepcopy(own.columns)
        return self._adopted.map_schema(schema, spec, own_ids=False).schema

    def append(
        self,
        commits: Sequence[Commit],
        *,
        expect: int | None,
        completed_at_ms: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> Committed | Conflict:
        """Append commits as snapshots, all in one new metadata file.

        See :meth:`parquedb.log.ports.LogWriter.append`. Versions are snapshot ids; 0 stands for
        a table without a snapshot.

        Raises:
            UnsupportedError: A change cannot be expressed in Iceberg, or the table belongs to a
                catalog; nothing was written.
            InvalidInputError: The first commit of a new table has no schema.
            CommitUnknownError: The store did not say whether the commit happened.
        """
        state = self._current(expect)
        if state.version != expect or _has_other_columns(state.table, commits):
            return Conflict(state.version)
        if state.table is None and not commits:
            raise InvalidInputError(
                f"there is no Iceberg table {self._folder!r} and no commit to make one"
            )
        self._state = None  # a failure below leaves it to be read again
        applier = state.applier or self._applier(state, commits, properties or {})
        snapshots = [applier.apply(commit) for commit in commits]
        _set_completed(applier.properties, completed_at_ms, only_if_given=True)
        tags = {
            name: snapshot.snapshot_id
            for commit, snapshot in zip(commits, snapshots, strict=True)
            for name in commit.tags
        }
        table = with_tags(self._table(state, applier, snapshots), tags)
        objects, applier.objects = applier.objects, []
        return self._commit(state, table, applier, objects)

    def set_completed(self, completed_at_ms: int | None) -> None:
        """Record or withdraw the completion of the migration, without a new snapshot.

        Raises:
            NotFoundError: There is no table.
            ConflictError: Somebody else kept committing.
        """
        for _ in range(_ATTEMPTS):
            known = self._state
            state = self._current(None if known is None else known.version)
            if state.table is None:
                raise NotFoundError(f"there is no Iceberg table {self._folder!r}")
            properties = dict(state.table.properties)
            _set_completed(properties, completed_at_ms, only_if_given=False)
            if properties == state.table.properties:
                return
            table = replace(
                state.table,
                properties=properties,
                metadata_log=_metadata_log(state, properties),
            )
            self._state = None
            if state.applier is not None:
                state.applier.properties = properties
            if isinstance(self._commit(state, table, state.applier, []), Committed):
                return
        raise ConflictError(
            f"the Iceberg table {self._folder!r} is written by somebody else all the time; "
            "try again"
        )

    def settle(self) -> None:
        """Make the hint name the newest metadata file, if who wrote that did not come to it."""
        loaded = load(self._store, self._folder)
        if loaded is None or loaded.name.catalog:
            return
        try:
            hint = self._store.get(hint_key(self._folder)).strip()
        except NotFoundError:
            hint = b""
        if hint != str(loaded.name.number).encode():
            self._point(loaded.name.number, loaded.name.suffix)

    def _current(self, expect: int | None) -> _State:
        """Return the table as it is; what is known of it is used while it cannot be stale."""
        state = self._state
        # Old metadata files may be removed, oldest first: then numbers could be reused.
        if (
            state is not None
            and state.table is not None
            and state.version == expect
            and self._store.head(self._key(state)) is not None
        ):
            return state
        self._state = None
        loaded = load(self._store, self._folder)
        if loaded is None:
            return _State(0, ".metadata.json", "", None, None)
        if loaded.name.catalog:
            raise UnsupportedError(
                f"the Iceberg table {self._folder!r} belongs to a catalog: its newest metadata "
                f"file is {loaded.name.key}; write to it through its catalog, or migrate it into "
                "another folder",
                feature="metastore tables",
            )
        return self._upgraded(loaded)

    def _upgraded(self, loaded: Loaded) -> _State:
        """Return an existing table, ready to be written as format version 2 or 3."""
        table, name = loaded.table, loaded.name
        for snapshot in table.snapshots:
            if snapshot.manifest_list is None:
                raise UnsupportedError(
                    f"the snapshot {snapshot.snapshot_id} of the Iceberg table {self._folder!r} "
                    "has no manifest list, as early tables of format version 1 did; expire it or "
                    "rewrite the table with another tool before writing to it",
                    feature="manifests without a list",
                )
        if not table.table_uuid:
            table = replace(table, table_uuid=str(self._ambient.new_uuid()))
        return _State(name.number, name.suffix, loaded.location, table, None)

    def _key(self, state: _State) -> str:
        return metadata_key(self._folder, state.number, state.suffix)

    def _applier(
        self, state: _State, commits: Sequence[Commit], properties: Mapping[str, str]
    ) -> Applier:
        if state.table is None:
            return self._new_applier(_first_schema(commits), properties)
        table = state.table
        own = table.properties
        columns = Columns.of(
            table,
            verbatim=own.get(FIELD_IDS) == "source",
            source_ids={int(k): v for k, v in orjson.loads(own.get(SOURCE_IDS, "{}")).items()},
        )
        chain = ancestors(table)
        tip = chain[-1] if chain else None
        manifests = Manifests(self._store, Locations(self._store.root, self._folder), table)
        version = max(table.format_version, 2)
        row_ids = RowIds.after(table.next_row_id) if version > 2 else None
        live, deletes = read_live(manifests, tip, self._sync(), row_ids)
        ids = {item.id: item.id for _, item in walk(table.schema.fields)}
        return Applier(
            root=self._store.root,
            metadata=metadata_folder(self._folder),
            ambient=self._ambient,
            columns=columns,
            live=live,
            deletes=DeleteFiles(
                self._store,
                self._data_folder(own),
                deletes,
                None if tip is None else (manifests, tip),
                version=version,
            ),
            properties=dict(table.properties),
            parent=tip,
            sequence_number=table.last_sequence_number,
            taken={snapshot.snapshot_id for snapshot in table.snapshots},
            schemas=SchemaMap(table.schema, table.current_schema_id, table.schema, ids),
            spec_id=table.default_spec_id,
            source_specs={id_: item.spec for id_, item in table.specs.items()},
            spec=table.specs[table.default_spec_id].spec,
            version=version,
            row_ids=row_ids,
            defaults=table.defaults,
        )

    def _new_applier(self, schema: Schema, properties: Mapping[str, str]) -> Applier:
        version = self._wanted
        columns = Columns.new(schema, version)
        settings = {"history.expire.max-snapshot-age-ms": str(KEEP_FOREVER_MS)}
        _, folders = self._store.list_dir(self._folder)
        if "_delta_log" in folders:
            # Delta's vacuum leaves folders alone whose names begin with an underscore.
            place = uri_of(self._store.root, join(self._folder, "_iceberg_data"))
            settings["write.data.path"] = place
        if columns.verbatim:
            settings[FIELD_IDS] = "source"
        sync = self._sync()
        return Applier(
            root=self._store.root,
            metadata=metadata_folder(self._folder),
            ambient=self._ambient,
            columns=columns,
            live=LiveTable(sync),
            deletes=DeleteFiles(
                self._store, self._data_folder(settings), LiveTable(sync), version=version
            ),
            properties={**settings, **properties},
            parent=None,
            sequence_number=0,
            taken=set(),
            schemas=None,
            spec_id=0,
            source_specs={},
            spec=None,
            version=version,
            row_ids=RowIds.after(0) if version > 2 else None,
        )

    def _data_folder(self, properties: Mapping[str, str]) -> str:
        """Return the key of the folder in which new delete files lie: where data files do."""
        place = properties.get("write.data.path", "")
        locations = Locations(self._store.root, self._folder)
        return (place and locations.key_or_none(place)) or join(self._folder, "data")

    def _sync(self) -> bytes:
        return self._ambient.new_uuid().bytes

    def _table(
        self, state: _State, applier: Applier, snapshots: Sequence[TableSnapshot]
    ) -> TableMetadata:
        """Return the table's metadata with new snapshots."""
        columns, properties = applier.columns, applier.properties
        # always: files that other engines wrote to the source need not carry field ids
        if columns.known:
            properties[NAME_MAPPING] = columns.name_mapping(properties.get(NAME_MAPPING))
        if columns.source_ids:
            ids = {str(theirs): ours for theirs, ours in columns.source_ids.items()}
            properties[SOURCE_IDS] = orjson.dumps(ids).decode()
        old = state.table
        new = tuple(snapshots)
        log = tuple((snapshot.at_ms, snapshot.snapshot_id) for snapshot in new)
        current = None if old is None else old.current_snapshot_id
        tip = new[-1] if new else None
        schema_id = applier.schemas.schema_id if applier.schemas is not None else 0
        return TableMetadata(
            format_version=applier.version,
            table_uuid=str(self._ambient.new_uuid()) if old is None else old.table_uuid,
            location=uri_of(self._store.root, self._folder) if old is None else old.location,
            last_sequence_number=applier.sequence_number,
            last_updated_ms=_latest_ms(old, tip),
            last_column_id=columns.last_column_id,
            schemas=dict(columns.schemas),
            current_schema_id=schema_id,
            specs=dict(columns.specs),
            default_spec_id=applier.spec_id,
            last_partition_id=columns.last_partition_id,
            properties=dict(properties),
            current_snapshot_id=current if tip is None else tip.snapshot_id,
            snapshots=(() if old is None else old.snapshots) + new,
            snapshot_log=(() if old is None else old.snapshot_log) + log,
            metadata_log=_metadata_log(state, properties),
            kept={} if old is None else old.kept,
            next_row_id=_next_row_id(old, new),
            wire_schemas={} if old is None else old.wire_schemas,
            defaults={} if old is None else old.defaults,
        )

    def _commit(
        self,
        state: _State,
        table: TableMetadata,
        applier: Applier | None,
        objects: Sequence[NewObject],
    ) -> Committed | Conflict:
        """Write what a metadata file refers to, the file itself, and the hint."""
        if objects:
            self._store.put_many(objects)
        number = state.number + 1
        key = metadata_key(self._folder, number, state.suffix)
        data = encode_metadata(table)
        if ".gz" in state.suffix:
            data = gzip.compress(data, compresslevel=1, mtime=0)
        if not self._create(key, data):
            return Conflict(self._current(None).version)
        location = uri_of(self._store.root, key)
        self._state = _State(number, state.suffix, location, table, applier)
        self._point(number, state.suffix)
        written = len(data) + sum(len(item.data) for item in objects)
        return Committed(table.current_snapshot_id or 0, written)

    def _point(self, number: int, suffix: str) -> None:
        """Make the hint name the newest metadata file, also where others write at the same time."""
        pointed = 0
        while pointed < number:
            pointed = number
            self._store.replace(hint_key(self._folder), str(pointed).encode())
            while self._store.head(metadata_key(self._folder, number + 1, suffix)) is not None:
                number += 1

    def _create(self, key: str, data: bytes) -> bool:
        """Create the metadata file; False if somebody else did."""
        try:
            self._store.create(NewObject(key, data))
        except AlreadyExistsError:
            return False
        except CommitUnknownError:
            try:
                found = self._store.get(key)
            except NotFoundError:
                raise CommitUnknownError(
                    f"{key} may or may not have been created; read the table again, delete nothing"
                ) from None
            return found == data
        return True


def _first_schema(commits: Sequence[Commit]) -> Schema:
    for change in commits[0].changes:
        if isinstance(change, SetSchema):
            return change.schema
    return EMPTY


def _has_other_columns(table: TableMetadata | None, commits: Sequence[Commit]) -> bool:
    """Whether commits rest on columns that the table has no more."""
    for change in commits[0].changes if commits and table is not None else ():
        if isinstance(change, SetSchema) and change.instead_of is not None:
            known = change.instead_of
            assert table is not None
            return (known.fields, known.identifier_ids) != (
                table.schema.fields,
                table.schema.identifier_ids,
            )
    return False


def _latest_ms(old: TableMetadata | None, tip: TableSnapshot | None) -> int:
    """Return when the table was last updated: never behind its log or its newest snapshot."""
    if old is None:
        return 0 if tip is None else tip.at_ms
    return old.last_updated_ms if tip is None else max(old.last_updated_ms, tip.at_ms)


def _next_row_id(old: TableMetadata | None, new: Sequence[TableSnapshot]) -> int:
    """Return the lowest row id that no snapshot gave out."""
    given = new[-1].row_ids if new else None
    if given is not None:
        return sum(given)
    return 0 if old is None else old.next_row_id


def _metadata_log(state: _State, properties: Mapping[str, str]) -> tuple[tuple[int, str], ...]:
    if state.table is None:
        return ()
    limit = properties.get("write.metadata.previous-versions-max", "")
    keep = max(digits(limit) or 0, 1) if limit.isdigit() else 100
    entry = (state.table.last_updated_ms, state.location)
    return (*state.table.metadata_log, entry)[-keep:]


def _set_completed(
    properties: dict[str, str], completed_at_ms: int | None, *, only_if_given: bool
) -> None:
    if completed_at_ms is not None:
        properties[COMPLETED] = str(completed_at_ms)
    elif not only_if_given:
        properties.pop(COMPLETED, None)
