"""Tables as folders: create, load, commit, take over, purge."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.table import CommitTableResponse, StagedTable, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil, new_table_metadata
from pyiceberg.table.snapshots import MetadataLogEntry
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties
from typing_extensions import override

from parquedb.catalog.namespaces import FolderNamespaces
from parquedb.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    InvalidInputError,
    StateError,
    StorageError,
    UnsupportedError,
)
from parquedb.formats.iceberg.load import load_existing
from parquedb.formats.iceberg.paths import MetadataName, hint_key, list_metadata, metadata_key
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.storage import NewObject
from parquedb.storage.keys import join, key_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema

_log = logging.getLogger(__name__)

_CODEC = "write.metadata.compression-codec"
_FORMAT_VERSION = "format-version"
_GC_ENABLED = "gc.enabled"


class FilesystemCatalog(FolderNamespaces):
    """A pyiceberg catalog over the folders of a warehouse.

    ``("sales", "eu", "orders")`` is the folder ``sales/eu/orders``. ``("users",)`` and
    ``("default", "users")`` both are the folder ``users``; where there is none, the second is
    also looked for in ``default/users``, where Spark puts it.

    Args:
        name: Any name.
        properties: ``warehouse`` is required: a local path or ``file://`` URI. The rest goes to
            pyiceberg.

    Raises:
        InvalidInputError: There is no ``warehouse``.
        UnsupportedError: The warehouse is not a local folder.
    """

    @override
    def create_table(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Create a table; its folder is decided by its identifier.

        Raises:
            TableAlreadyExistsError: The folder holds an Iceberg table.
            InvalidInputError: ``location`` is another folder, or the identifier is no folder name.
        """
        staged = self._create_staged_table(
            identifier, schema, location, partition_spec, sort_order, properties
        )
        self._create_first(staged.name(), staged.metadata)
        return self.load_table(identifier)

    @override
    def register_table(
        self, identifier: str | Identifier, metadata_location: str, overwrite: bool = False
    ) -> Table:
        """Take over a table of another catalog that lies in the folder of this identifier.

        Its metadata becomes the next ``vN.metadata.json``. The other catalog must not commit to
        it any more.

        Raises:
            TableAlreadyExistsError: The folder is a file system table, and not ``overwrite``.
            InvalidInputError: The table lies in another folder.
        """
        key = self._key(identifier)
        io = load_file_io(self.properties, metadata_location)
        with io.new_input(metadata_location).open() as stream:
            metadata = _parse(stream.read())
        self._check_location(key, metadata.location)
        names = self._numbered(key)
        if names and not overwrite:
            raise TableAlreadyExistsError(f"{self._uri(key)!r} is a file system table already")
        # readers that list the folder see by the log that this file came after that one
        entry = MetadataLogEntry.model_construct(
            metadata_file=metadata_location, timestamp_ms=metadata.last_updated_ms
        )
        logged = metadata.model_copy(update={"metadata_log": [*metadata.metadata_log, entry]})
        self._write(key, _number(names) + 1, logged)
        return self.load_table(identifier)

    @override
    def load_table(self, identifier: str | Identifier) -> Table:
        """Load a table at its newest ``vN``, whatever the version hint says.

        Raises:
            NoSuchTableError: The folder holds no file system table.
            StateError: The table belongs to another catalog.
        """
        key = self._key(identifier)
        name = self._current(key)
        if name is None:
            raise NoSuchTableError(
                f"there is no Iceberg table in {self._uri(key)!r}; list_tables() names those here"
            )
        metadata = _parse(self._store.get(name.key))
        location = self._uri(name.key)
        return Table(
            identifier=self.identifier_to_tuple(identifier),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    @override
    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Commit updates as the next ``vN``.

        Raises:
            CommitFailedException: Somebody else committed first, or a requirement is not met.
            CommitStateUnknownException: The store did not say whether it was committed.
            InvalidInputError: The table's files are elsewhere, because its folder was copied.
        """
        identifier = table.name()
        key = self._key(identifier)
        name = self._current(key)
        current = None if name is None else _parse(self._store.get(name.key))
        for requirement in requirements:
            requirement.validate(current)
        updated = update_table_metadata(
            base_metadata=current or self._empty_table_metadata(),
            updates=updates,
            enforce_validation=current is None,
            metadata_location=None if name is None else self._uri(name.key),
        )
        if current is None or name is None:
            self._create_first(identifier, updated)
            name = self._current(key)
            assert name is not None
            return _response(updated, self._uri(name.key))
        if updated == current:
            return _response(current, self._uri(name.key))
        self._check_location(key, updated.location)
        try:
            location = self._write(key, name.number + 1, updated)
        except AlreadyExistsError as error:
            raise CommitFailedException(
                f"somebody else committed version {name.number + 1} of {self._uri(key)!r} first"
            ) from error
        except CommitUnknownError as error:
            raise CommitStateUnknownException(str(error)) from error
        return _response(updated, location)

    @override
    def drop_table(self, identifier: str | Identifier) -> None:
        """Refuse: the folder is the table, so nothing can be dropped and kept.

        Raises:
            NoSuchTableError: There is no such table.
            UnsupportedError: Always else.
        """
        table = self.load_table(identifier)
        raise UnsupportedError(
            f"a file system table cannot leave its catalog and stay: {table.location()!r} is both; "
            "purge_table() deletes it with its data"
        )

    @override
    def purge_table(self, identifier: str | Identifier) -> None:
        """Delete every file that the table's metadata names below its folder, then the metadata.

        A purge that was cut short can be repeated. Files that the metadata does not name stay.

        Raises:
            NoSuchTableError: There is no such table.
            StateError: The files may be in use by another table; nothing was deleted.
        """
        table = self.load_table(identifier)
        key = self._key(identifier)
        reason = None
        if table.properties.get(_GC_ENABLED, "true").lower() == "false":
            reason = f"its property {_GC_ENABLED} is false, so another table may use its files"
        elif any(self._store.list_dir(join(key, "_delta_log"))):
            reason = "the folder is a Delta table too"
        if reason is not None:
            raise StateError(
                f"{self._uri(key)!r} was not purged: {reason}; `parquedb cleanup-backend` removes "
                "one format of several"
            )
        referenced = IcebergReader(self._store, key).referenced()
        pointers = {name.key for name in list_metadata(self._store, key)} | {hint_key(key)}
        for file in sorted(referenced - pointers):
            if file.startswith(f"{key}/"):
                self._store.delete(file)
        # oldest first: an older version never becomes the newest
        for name in sorted(list_metadata(self._store, key), key=lambda name: name.number):
            self._store.delete(name.key)
        self._store.delete(hint_key(key))

    @override
    def rename_table(
        self, from_identifier: str | Identifier, to_identifier: str | Identifier
    ) -> Table:
        """Refuse: the metadata names its files by absolute paths.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            f"{from_identifier!r} cannot be renamed: a file system table is its folder, and its "
            "metadata names the files in it by absolute paths; write its rows to a new table"
        )

    @override
    def _create_staged_table(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> StagedTable:
        key = self._key(identifier)
        if location is not None:
            self._check_location(key, location)
        version: Any = int(properties.get(_FORMAT_VERSION, 2))
        metadata = new_table_metadata(
            location=self._uri(key),
            schema=self._convert_schema_if_needed(schema, version),
            partition_spec=partition_spec,
            sort_order=sort_order,
            properties=properties,
        )
        first = self._uri(metadata_key(key, 1))
        return StagedTable(
            identifier=self.identifier_to_tuple(identifier),
            metadata=metadata,
            metadata_location=first,
            io=self._load_file_io(properties, first),
            catalog=self,
        )

    def _create_first(self, identifier: Identifier, metadata: TableMetadata) -> None:
        key = self._key(identifier)
        name = f"an Iceberg table exists already in {self._uri(key)!r}"
        if list_metadata(self._store, key):
            raise TableAlreadyExistsError(name)
        try:
            self._write(key, 1, metadata)
        except AlreadyExistsError as error:
            raise TableAlreadyExistsError(name) from error

    def _write(self, key: str, number: int, metadata: TableMetadata) -> str:
        """Create ``v{number}`` if absent, then point the hint at the newest; return its URI."""
        data = metadata.model_dump_json(exclude_none=True).encode()
        suffix = ".metadata.json"
        if metadata.properties.get(_CODEC, "none").lower() == "gzip":
            # the name that Java gives it: two names for one number would be two winners
            data, suffix = gzip.compress(data, mtime=0), ".gz.metadata.json"
        file = metadata_key(key, number, suffix)
        self._store.create(NewObject(file, data))
        try:
            self._point(key, number)
        except StorageError as error:
            _log.warning("%s was committed, but its version hint is stale: %s", file, error)
        return self._uri(file)

    def _point(self, key: str, number: int) -> None:
        """Write the hint until it names the newest version: a slower writer may have been later."""
        hinted = 0
        while hinted < number:
            self._store.replace(hint_key(key), str(number).encode())
            hinted, number = number, _number(self._numbered(key))

    def _current(self, key: str) -> MetadataName | None:
        """Return the newest ``vN``, None where there is no Iceberg table."""
        names = list_metadata(self._store, key)
        if not any(name.catalog for name in names):
            return max(names, key=lambda name: name.number, default=None)
        current = load_existing(self._store, key).name
        if current.catalog:
            raise StateError(
                f"the table in {self._uri(key)!r} belongs to another catalog, whose newest "
                f"metadata file is {current.key!r}; open it there, or take it over with "
                "register_table()"
            )
        return current

    def _check_location(self, key: str, location: str) -> None:
        found = key_of(self._store.root, location)
        if found != key:
            raise InvalidInputError(
                f"the table in {self._uri(key)!r} cannot have its files in {location!r}: a file "
                "system table is its folder; use the folder, or migrate the table with ParqueDB"
            )


def _response(metadata: TableMetadata, location: str) -> CommitTableResponse:
    return CommitTableResponse.model_construct(metadata=metadata, metadata_location=location)


def _number(names: Sequence[MetadataName]) -> int:
    return max((name.number for name in names), default=0)


def _parse(data: bytes) -> TableMetadata:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return TableMetadataUtil.parse_raw(data.decode())
