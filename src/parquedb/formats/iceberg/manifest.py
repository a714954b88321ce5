"""Manifest lists and manifests, read ("Manifests", "Manifest Lists").

Entries of manifest lists are kept by their bytes: a table's snapshots mostly list the same
manifests, so that reading a long history decodes every entry once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from enum import IntEnum

from parquedb.errors import FormatError, NotFoundError, ParqueDBError, UnsupportedError
from parquedb.formats.iceberg.avro import (
    Container,
    decode_pieces,
    decode_records,
    parse_container,
    partition_decimals,
)
from parquedb.formats.iceberg.avro_decode import Record, partition_name
from parquedb.formats.iceberg.bounds import Decoder, decoder_of
from parquedb.formats.iceberg.paths import Locations
from parquedb.formats.iceberg.wire import TableMetadata, TableSnapshot
from parquedb.formats.iceberg.wire_schema import IcebergSpec
from parquedb.model.files import DataFile, Stats, Value
from parquedb.model.schema import walk
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_NO_RECORD: Record = {}


class Status(IntEnum):
    """What became of a file in the snapshot that wrote a manifest entry."""

    EXISTING = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One manifest as a manifest list names it.

    Counts are None where a version 1 list does not say.

    Args:
        location: Where the manifest is.
        length: Its size in bytes.
        spec_id: Id of the partition spec of its files.
        deletes: Whether it lists delete files.
        added_snapshot_id: The snapshot that wrote it; None where not recorded.
        live_files: How many files it adds or keeps.
        live_rows: Their rows.
        added_files: How many files it adds.
        removed_files: How many files it records as removed.
        record: The entry as decoded.
    """

    location: str
    length: int
    spec_id: int
    deletes: bool
    sequence_number: int
    min_sequence_number: int
    added_snapshot_id: int | None
    live_files: int | None
    live_rows: int | None
    added_files: int | None
    removed_files: int | None
    record: Record


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as a manifest names it, with what it inherits from the manifest.

    Args:
        record: The ``data_file`` member as decoded.
    """

    status: int
    snapshot_id: int | None
    sequence_number: int
    file_sequence_number: int
    record: Record


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a manifest as the neutral model has it.

    Args:
        status: What became of it.
        snapshot_id: In which snapshot.
        file: The file.
        sequence_number: Its data sequence number.
        record: For a delete file: the ``data_file`` member as decoded.
    """

    status: int
    snapshot_id: int | None
    file: DataFile
    sequence_number: int
    record: Record


@dataclass(slots=True)
class Manifests:
    """Reads one table's manifest lists and manifests."""

    store: Store
    locations: Locations
    table: TableMetadata
    _entries: dict[bytes, dict[bytes, list[ManifestFile]]] = field(default_factory=dict)
    _decoders: dict[int, Decoder] = field(default_factory=dict)
    _newest: tuple[str, Container] | None = None

    def __post_init__(self) -> None:
        for schema in self.table.schemas.values():
            for _, column in walk(schema.fields):
                decoder = decoder_of(column.type)
                if decoder is not None:
                    self._decoders[column.id] = decoder

    def read_list(self, snapshot: TableSnapshot) -> list[ManifestFile]:
        """Return the manifests of a snapshot.

        Raises:
            FormatError: The manifest list is missing or damaged.
            UnsupportedError: It is encrypted.
        """
        if snapshot.manifest_list is None:
            return [self._unlisted(location) for location in snapshot.manifests]
        location = snapshot.manifest_list
        container = self._container(location)
        known = self._entries.setdefault(container.schema + container.codec.encode(), {})
        found: list[ManifestFile] = []
        for piece in container.pieces:
            entries = known.get(piece)
            if entries is None:
                records = decode_pieces(container, (piece,), location)
                with _damage(location):
                    entries = [_parse_manifest_file(record, location) for record in records]
                known[piece] = entries
            found += entries
        return found

    def header(self, manifest: ManifestFile) -> Mapping[str, bytes]:
        """Return the metadata in a manifest's header (``schema``, ``partition-spec-id``)."""
        return self._container(manifest.location).metadata

    def entries(self, manifest: ManifestFile) -> list[Entry]:
        """Return all entries of a manifest, with inherited values filled in.

        Raises:
            FormatError: The manifest is missing or damaged.
        """
        _, records = self._records(manifest)
        with _damage(manifest.location):
            return [_inherit(record, manifest) for record in records]

    def files(self, manifest: ManifestFile, of: int | None = None) -> list[FileEntry]:
        """Return the files of a manifest, removed ones included.

        Args:
            manifest: The manifest.
            of: Only what this snapshot added or removed; everything without it.

        Raises:
            FormatError: The manifest is missing or damaged.
            UnsupportedError: It names files that are no Parquet files or are encrypted.
        """
        container, records = self._records(manifest)
        spec = self.table.specs.get(manifest.spec_id)
        if spec is None:
            raise FormatError(
                f"{manifest.location} belongs to the partition spec {manifest.spec_id}, which the "
                "table's metadata does not contain; restore the metadata file",
                location=manifest.location,
                section="Manifest Lists",
            )
        to_partition = _partition_of(spec, partition_decimals(container, manifest.location))
        found = []
        with _damage(manifest.location):
            for record in records:
                status, snapshot_id = record["status"], record.get("snapshot_id")
                if snapshot_id is None:
                    snapshot_id = manifest.added_snapshot_id
                if of is not None and (snapshot_id != of or status == Status.EXISTING):
                    continue
                file = self._data_file(record["data_file"], to_partition, manifest.spec_id)
                sequence = record.get("sequence_number")
                if sequence is None:
                    sequence = manifest.sequence_number if status == Status.ADDED else 0
                kept = record["data_file"] if manifest.deletes else _NO_RECORD
                found.append(FileEntry(Status(status), snapshot_id, file, sequence, kept))
        return found

    def _records(self, manifest: ManifestFile) -> tuple[Container, Iterator[Record]]:
        container = self._container(manifest.location)
        return container, decode_records(container, manifest.location)

    def _container(self, location: str) -> Container:
        if self._newest is None or self._newest[0] != location:
            self._newest = location, self._read(location)
        return self._newest[1]

    def _read(self, location: str) -> Container:
        try:
            raw = self.store.get(self.locations.key(location))
        except NotFoundError as error:
            raise FormatError(
                f"{location} is named by the table's metadata and does not exist; restore it, or "
                "roll the table back to a snapshot that does not need it",
                location=location,
                section="Snapshots",
            ) from error
        return parse_container(raw, location)

    def _unlisted(self, location: str) -> ManifestFile:
        """Describe a manifest that a version 1 snapshot names without a list."""
        container = self._container(location)
        with _damage(location):
            spec_id = int(container.metadata.get("partition-spec-id", b"0"))
        return ManifestFile(
            location=location,
            length=0,
            spec_id=spec_id,
            deletes=False,
            sequence_number=0,
            min_sequence_number=0,
            added_snapshot_id=None,
            live_files=None,
            live_rows=None,
            added_files=None,
            removed_files=None,
            record={},
        )

    def _data_file(
        self,
        record: Record,
        to_partition: Callable[[Record], tuple[Value | None, ...]],
        spec_id: int,
    ) -> DataFile:
        location = _location(record["file_path"])
        positions = record.get("content") == 1
        known = ("PARQUET", "PUFFIN") if positions else ("PARQUET",)
        if record["file_format"].upper() not in known:
            if record.get("content"):
                raise UnsupportedError(
                    f"{location} holds deleted rows in a file of format {record['file_format']}; "
                    "only Parquet files and deletion vectors can be read: rewrite the table's data "
                    "files (compaction) and expire the snapshots that have such deletes",
                    feature="position-deletes" if positions else "equality-deletes",
                )
            raise UnsupportedError(
                f"{location} is a file of format {record['file_format']}; only Parquet data "
                "files can be read: rewrite the table's data files as Parquet",
                feature=f"file format {record['file_format'].lower()}",
            )
        if record.get("key_metadata") is not None:
            raise UnsupportedError(f"{location} is encrypted", feature="encryption")
        return DataFile(
            self.locations.key(location),
            _count(record["file_size_in_bytes"]),
            _count(record["record_count"]),
            to_partition(record["partition"]),
            spec_id,
            self._stats(record),
        )

    def _stats(self, record: Record) -> Stats | None:
        nulls = record.get("null_value_counts")
        lower = record.get("lower_bounds")
        upper = record.get("upper_bounds")
        sizes = record.get("column_sizes")
        nans = record.get("nan_value_counts")
        if not (nulls or lower or upper or sizes):
            return None
        return Stats(
            nulls or {},
            self._bounds(lower) if lower else {},
            self._bounds(_numbers_only(upper, nans) if nans else upper) if upper else {},
            sizes or {},
        )

    def _bounds(self, encoded: Mapping[int, bytes]) -> dict[int, Value]:
        decoders = self._decoders
        bounds: dict[int, Value] = {}
        for column, data in encoded.items():
            decoder = decoders.get(column)
            if decoder is not None:
                value = decoder(data)
                if value is not None:
                    bounds[column] = value
        return bounds


def _numbers_only(upper: Mapping[int, bytes], nans: Mapping[int, int]) -> Mapping[int, bytes]:
    """Return the bounds of columns without NaN, which Iceberg's bounds leave out."""
    return {column: data for column, data in upper.items() if not nans.get(column)}


@contextmanager
def _damage(location: str) -> Iterator[None]:
    """Say of records that lack something, or hold what cannot be, which file they are in."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ParqueDBError):
            raise
        raise FormatError(
            f"{location} does not follow the specification ({type(error).__name__}: {error}); "
            "restore the file, or roll the table back to a snapshot that does not need it",
            location=location,
            section="Manifests",
        ) from error


def _count(value: int | None) -> int:
    if value is None or value < 0:
        raise ValueError(f"{value} is no count")
    return value


def _location(value: str | None) -> str:
    if value is None:
        raise ValueError("a file has no location")
    return value


def _parse_manifest_file(record: Record, location: str) -> ManifestFile:
    if record.get("key_metadata") is not None:
        raise UnsupportedError(f"{location} names an encrypted manifest", feature="encryption")
    added, existing = record.get("added_files_count"), record.get("existing_files_count")
    rows, kept_rows = record.get("added_rows_count"), record.get("existing_rows_count")
    return ManifestFile(
        location=_location(record["manifest_path"]),
        length=_count(record["manifest_length"]),
        spec_id=_count(record["partition_spec_id"]),
        deletes=bool(record.get("content")),
        sequence_number=record.get("sequence_number") or 0,
        min_sequence_number=record.get("min_sequence_number") or 0,
        added_snapshot_id=record.get("added_snapshot_id"),
        live_files=None if added is None or existing is None else added + existing,
        live_rows=None if rows is None or kept_rows is None else rows + kept_rows,
        added_files=added,
        removed_files=record.get("deleted_files_count"),
        record=record,
    )


def _inherit(record: Record, manifest: ManifestFile) -> Entry:
    """Fill in what an entry inherits ("Sequence Number Inheritance")."""
    status, snapshot_id = record["status"], record.get("snapshot_id")
    sequence, file_sequence = record.get("sequence_number"), record.get("file_sequence_number")
    inherited = manifest.sequence_number if status == Status.ADDED else 0
    return Entry(
        status,
        manifest.added_snapshot_id if snapshot_id is None else snapshot_id,
        inherited if sequence is None else sequence,
        inherited if file_sequence is None else file_sequence,
        record["data_file"],
    )


def _partition_of(
    spec: IcebergSpec, decimals: frozenset[str]
) -> Callable[[Record], tuple[Value | None, ...]]:
    """Return how to make a partition tuple in the spec's order from a decoded record."""
    names = [partition_name(field_id) for field_id in spec.field_ids]
    if not names:
        return lambda _: ()

    def convert(record: Record) -> tuple[Value | None, ...]:
        if names[0] not in record:  # written without field ids: by position
            return tuple(record.values())
        values = [record[name] for name in names]
        for position, name in enumerate(names):
            if name in decimals and values[position] is not None:
                values[position] = int.from_bytes(values[position], "big", signed=True)
        return tuple(values)

    return convert
