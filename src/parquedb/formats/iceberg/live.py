"""The live files of a table that is written, in manifests, from snapshot to snapshot.

Every data file's entry is kept as the bytes that a manifest holds. A snapshot writes one manifest
for what it adds and rewrites those that hold what it removes. Small manifests that have gathered
are merged, so that lists stay short: 32 of the smallest into one, and eight of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from parquedb.errors import StateError
from parquedb.formats.iceberg.avro import encode_block, encode_bytes, encode_header, encode_long
from parquedb.formats.iceberg.avro_schemas import (
    MANIFEST_LIST_SCHEMA,
    MANIFEST_LIST_SCHEMA_3,
    manifest_schema,
)
from parquedb.formats.iceberg.entries import (
    NULL,
    SOME,
    PartitionColumn,
    encode_summaries,
    summarise,
)
from parquedb.formats.iceberg.rowids import RowIds
from parquedb.model.files import Value
from parquedb.slotted import dataclass

LEVELS = ((32, 32), (256, 8))
"""Manifests with fewer live files than the first number are merged when so many have gathered."""
LARGEST = 10_000
"""Files in one manifest at most."""
CHUNK = 256
"""Files in a manifest after a large one lost a few."""
_BLOCK = 1_000

_EXISTING, _ADDED, _DELETED = b"\x00", b"\x02", b"\x04"
NO_REFERENCE = NULL * 3
"""No ``referenced_data_file``, ``content_offset``, ``content_size_in_bytes``."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A live file: a data file, or one that deletes rows of a data file.

    Args:
        path: Its key; of a deletion vector, with its place in the file after a NUL.
        rows: Row count.
        size_bytes: Length.
        partition: Its partition tuple, of the table's types.
        sequence_number: Its data sequence number.
        added_by: The snapshot that added it, encoded.
        rest: Its manifest entry after that, encoded.
        location: Its location, where it is not the key below the storage root.
        target: Of a delete file that is about one data file: that one's location.
        first_row_id: Of a data file in format version 3: the id of its first row, once it has one.
        reference: The members of its entry after that, encoded.
    """

    path: str
    rows: int
    size_bytes: int
    partition: tuple[Value | None, ...]
    sequence_number: int
    added_by: bytes
    rest: bytes
    location: str | None = None
    target: str | None = None
    first_row_id: int | None = None
    reference: bytes = NO_REFERENCE


@dataclass(frozen=True, slots=True)
class Kind:
    """What files must have in common to be in one manifest.

    Args:
        spec_id: Their partition spec.
        columns: The fields of their partition tuples.
    """

    spec_id: int
    columns: tuple[PartitionColumn, ...]


@dataclass(slots=True)
class LiveManifest:
    """A manifest of the newest snapshot.

    Args:
        kind: What its files have in common.
        frame: Its entry in a manifest list, encoded as a block.
        count: Number of live files.
        load: Reads its live files, where it was written by somebody else or an earlier run.
        outdated: Whether it must be written again, because it is of format version 1.
    """

    kind: Kind
    frame: bytes
    count: int
    load: Callable[[], dict[str, LiveFile]]
    _files: dict[str, LiveFile] | None = None
    outdated: bool = False

    @property
    def files(self) -> dict[str, LiveFile]:
        """Its live files by key."""
        if self._files is None:
            self._files = self.load()
        return self._files


@dataclass(frozen=True, slots=True)
class SnapshotContext:
    """What the manifests of one snapshot share.

    Args:
        snapshot_id: Its id.
        sequence_number: Its sequence number.
        place: Makes the key of a new manifest from its number in the snapshot.
        locate: Makes a location of a key.
        meta: Makes the metadata of a manifest's header from the partition spec's id.
        deletes: Whether the manifests are of delete files.
        version: The table's format version.
        row_ids: Gives ids to the rows of data files, in version 3.
    """

    snapshot_id: int
    sequence_number: int
    place: Callable[[int], str]
    locate: Callable[[str], str]
    meta: Callable[[int], Mapping[str, bytes]]
    deletes: bool = False
    version: int = 2
    row_ids: RowIds | None = None


@dataclass(slots=True)
class LiveTable:
    """The manifests of the newest snapshot, those of data files or those of delete files.

    Args:
        sync: Sync marker of the Avro files.
        manifests: The manifests.
        files: Number of live files.
        rows: Their rows.
        size_bytes: Their bytes, None if not known.
    """

    sync: bytes
    manifests: list[LiveManifest] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    size_bytes: int | None = 0
    _index: dict[str, LiveManifest] | None = None

    def find(self, path: str) -> LiveFile | None:
        """Return a live file."""
        manifest = self._by_path().get(path)
        return None if manifest is None else manifest.files[path]

    def kind_of(self, path: str) -> Kind:
        """Return what a live file has in common with others."""
        return self._by_path()[path].kind

    def all_files(self) -> Iterator[LiveFile]:
        """Yield all live files."""
        for manifest in self.manifests:
            yield from manifest.files.values()

    def advance(
        self,
        context: SnapshotContext,
        added: Mapping[Kind, Sequence[LiveFile]],
        removed: Iterable[LiveFile],
    ) -> Iterator[tuple[str, bytes]]:
        """Make the manifests of the next snapshot and yield the new ones with their keys."""
        writer = _Writer(self.sync, context)
        self.manifests = [manifest for manifest in self.manifests if manifest.count]
        yield from self._renew(writer)
        yield from self._merge(writer)
        yield from self._remove(writer, list(removed))
        for kind, files in added.items():
            for chunk in _chunks(files, LARGEST):
                yield self._put(writer, kind, chunk, _ADDED)
                self._account(chunk, 1)

    def encode_list(self, meta: Mapping[str, bytes], deletes: LiveTable, version: int) -> bytes:
        """Encode the manifest list of the newest snapshot.

        Args:
            meta: Metadata of the list's header.
            deletes: The manifests of delete files, with the same sync marker.
            version: The table's format version.
        """
        schema = MANIFEST_LIST_SCHEMA_3 if version > 2 else MANIFEST_LIST_SCHEMA
        header = encode_header(schema, meta, self.sync)
        frames = [manifest.frame for manifest in (*self.manifests, *deletes.manifests)]
        return b"".join((header, *frames))

    def _renew(self, writer: _Writer) -> Iterator[tuple[str, bytes]]:
        """Write outdated manifests again."""
        outdated = [manifest for manifest in self.manifests if manifest.outdated]
        self.manifests = [manifest for manifest in self.manifests if not manifest.outdated]
        for manifest in outdated:
            yield self._put(writer, manifest.kind, list(manifest.files.values()), _EXISTING)

    def _merge(self, writer: _Writer) -> Iterator[tuple[str, bytes]]:
        """Merge small manifests of a kind where enough have gathered."""
        below = 0
        for limit, fan_in in LEVELS:
            groups: dict[Kind, list[LiveManifest]] = {}
            for manifest in self.manifests:
                if below <= manifest.count < limit:
                    groups.setdefault(manifest.kind, []).append(manifest)
            for kind, group in groups.items():
                if len(group) >= fan_in:
                    files = [file for manifest in group for file in manifest.files.values()]
                    gone = set(map(id, group))
                    self.manifests = [m for m in self.manifests if id(m) not in gone]
                    yield self._put(writer, kind, files, _EXISTING)
            below = limit

    def _remove(self, writer: _Writer, removed: Sequence[LiveFile]) -> Iterator[tuple[str, bytes]]:
        """Rewrite the manifests that hold removed files, small ones together."""
        if not removed:
            return
        index = self._by_path()
        touched: dict[int, tuple[LiveManifest, list[LiveFile]]] = {}
        for file in removed:
            manifest = index.pop(file.path)
            touched.setdefault(id(manifest), (manifest, []))[1].append(file)
        self.manifests = [manifest for manifest in self.manifests if id(manifest) not in touched]
        deleted: dict[Kind, list[LiveFile]] = {}
        small: dict[Kind, list[LiveFile]] = {}
        for manifest, gone in touched.values():
            paths = {file.path for file in gone}
            kept = [file for path, file in manifest.files.items() if path not in paths]
            if len(kept) <= 2 * CHUNK:
                small.setdefault(manifest.kind, []).extend(kept)
            else:
                for chunk in _chunks(kept, CHUNK):
                    yield self._put(writer, manifest.kind, chunk, _EXISTING)
            deleted.setdefault(manifest.kind, []).extend(gone)
        for kind, kept in small.items():
            for chunk in _chunks(kept, 2 * CHUNK):
                yield self._put(writer, kind, chunk, _EXISTING)
        # Apart from the files that stay, so that whoever follows the changes reads only these.
        for kind, gone in deleted.items():
            yield self._put(writer, kind, (), _EXISTING, gone)
            self._account(gone, -1)

    def _put(
        self,
        writer: _Writer,
        kind: Kind,
        files: Sequence[LiveFile],
        status: bytes,
        deleted: Sequence[LiveFile] = (),
    ) -> tuple[str, bytes]:
        key, data, frame, first = writer.write(kind, files, status, deleted)
        by_path = {file.path: file for file in _numbered(files, first)}
        manifest = LiveManifest(kind, frame, len(files), dict, by_path)
        self.manifests.append(manifest)
        if self._index is not None:
            self._index.update(dict.fromkeys(by_path, manifest))
        return key, data

    def _account(self, files: Sequence[LiveFile], sign: int) -> None:
        self.files += sign * len(files)
        self.rows += sign * sum(file.rows for file in files)
        if self.size_bytes is not None:
            self.size_bytes += sign * sum(file.size_bytes for file in files)

    def _by_path(self) -> dict[str, LiveManifest]:
        if self._index is None:
            index = {path: m for m in self.manifests for path in m.files}
            if len(index) != sum(manifest.count for manifest in self.manifests):
                raise StateError(
                    "the Iceberg table lists a data file twice; rewrite its manifests first"
                )
            self._index = index
        return self._index


@dataclass(slots=True)
class _Writer:
    """Encodes the manifests of one snapshot."""

    sync: bytes
    context: SnapshotContext
    written: int = 0

    def write(
        self, kind: Kind, files: Sequence[LiveFile], status: bytes, deleted: Sequence[LiveFile]
    ) -> tuple[str, bytes, bytes, int | None]:
        """Return a manifest's key, its bytes, its entry in a manifest list and its first row id."""
        context = self.context
        snapshot = SOME + encode_long(context.snapshot_id)
        tail = _no_tail if context.version < 3 else _tail
        entries = [p for file in deleted for p in (_DELETED, snapshot, file.rest, tail(file))]
        entries += [p for file in files for p in (status, file.added_by, file.rest, tail(file))]
        data = self._container(kind, entries)
        key = context.place(self.written)
        self.written += 1
        first = None
        if context.row_ids is not None:
            first = context.row_ids.take(sum(f.rows for f in files if f.first_row_id is None))
        frame = self._frame(kind, key, len(data), (files, deleted), status, first)
        return key, data, frame, first

    def _container(self, kind: Kind, entries: Sequence[bytes]) -> bytes:
        meta = {**self.context.meta(kind.spec_id)}
        if self.context.deletes:
            meta["content"] = b"deletes"
        schema = manifest_schema(kind.columns, self.context.version)
        parts = [encode_header(schema, meta, self.sync)]
        for start in range(0, len(entries), 4 * _BLOCK):
            block = entries[start : start + 4 * _BLOCK]
            parts.append(encode_block(len(block) // 4, b"".join(block), self.sync))
        return b"".join(parts)

    def _frame(
        self,
        kind: Kind,
        key: str,
        length: int,
        content: tuple[Sequence[LiveFile], Sequence[LiveFile]],
        status: bytes,
        first_row_id: int | None,
    ) -> bytes:
        context, (files, deleted) = self.context, content
        rows = sum(file.rows for file in files)
        added = status == _ADDED
        lowest = min((file.sequence_number for file in files), default=context.sequence_number)
        partitions = [file.partition for file in (*files, *deleted)] if kind.columns else []
        counts = (len(files), 0) if added else (0, len(files))
        row_counts = (rows, 0) if added else (0, rows)
        return frame_of(
            self.sync,
            context.locate(key),
            (
                length, kind.spec_id, int(context.deletes), context.sequence_number, lowest,
                context.snapshot_id,
                *counts, len(deleted), *row_counts, sum(file.rows for file in deleted),
            ),
            encode_summaries(summarise(kind.columns, partitions)),
            list_tail(context.version, first_row_id),
        )  # fmt: skip


def frame_of(
    sync: bytes, location: str, numbers: Iterable[int], summaries: bytes, tail: bytes = NULL
) -> bytes:
    """Encode a manifest list entry as a block of its own.

    Args:
        sync: Sync marker of the list.
        location: The manifest's location.
        numbers: The members from ``manifest_length`` to ``deleted_rows_count``.
        summaries: The member ``partitions``, encoded.
        tail: The members after that, encoded.
    """
    start = encode_bytes(location.encode())
    body = b"".join((start, *map(encode_long, numbers), summaries, tail))
    return encode_block(1, body, sync)


def list_tail(version: int, first_row_id: int | None) -> bytes:
    """Encode the members of a manifest list entry after ``partitions``."""
    return NULL if version < 3 else NULL + _optional_long(first_row_id)


def _no_tail(_: LiveFile) -> bytes:
    return b""


def _tail(file: LiveFile) -> bytes:
    """Encode what format version 3 has at the end of an entry."""
    return _optional_long(file.first_row_id) + file.reference


def _optional_long(value: int | None) -> bytes:
    return NULL if value is None else SOME + encode_long(value)


def _numbered(files: Sequence[LiveFile], first: int | None) -> Iterator[LiveFile]:
    """Yield files with the ids that they inherit from their manifest."""
    for file in files:
        if first is None or file.first_row_id is not None:
            yield file
        else:
            yield replace(file, first_row_id=first)
            first += file.rows


def _chunks(files: Sequence[LiveFile], size: int) -> Iterator[Sequence[LiveFile]]:
    for start in range(0, len(files), size):
        yield files[start : start + size]
