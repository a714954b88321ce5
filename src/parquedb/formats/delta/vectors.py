"""Deletion vectors: how Delta's log refers to them, read and written.

PROTOCOL.md, "Deletion Vectors", "Deletion Vector Descriptor Schema", "Derived Fields".
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from dataclasses import field

from pyroaring import BitMap64

from parquedb.ambient import Ambient
from parquedb.errors import FormatError
from parquedb.formats.delta.paths import parse_data_path
from parquedb.formats.delta.stats_text import decode_stats, encode_stats
from parquedb.formats.delta.wire import Add, Vector
from parquedb.log.change import AddFile, SetDeletes
from parquedb.log.commit import Commit
from parquedb.model.files import Deletes, InlineVector, Stats, VectorFile
from parquedb.model.schema import Schema
from parquedb.parquet.deletes import (
    FRAME_BYTES,
    MAGIC,
    frame,
    inline_vector,
    load_positions,
    strip_magic,
)
from parquedb.parquet.footer import read_footer, stats_for
from parquedb.slotted import dataclass
from parquedb.storage.keys import join
from parquedb.storage.store import NewObject, Store

_UUID_CHARS = 20
_BESIDE = "_delta_data"
_FILE_VERSION = b"\x01"
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_FROM_Z85 = str.maketrans(_Z85, _B85)
_TO_Z85 = str.maketrans(_B85, _Z85)
_SECTION = "Deletion Vector Descriptor Schema"


def vector_key(root: str, folder: str, vector: Vector) -> str | None:
    """Return the key of a deletion vector's file; None for an inline one.

    Raises:
        FormatError: The descriptor does not follow the specification.
        UnsupportedError: The file lies outside the storage root.
    """
    text = vector.path_or_inline
    match vector.storage:
        case "u":
            prefix, encoded = text[:-_UUID_CHARS], text[-_UUID_CHARS:]
            raw = _decode(encoded)
            if len(raw) != 16:
                raise _broken(folder, f"{text!r} names no file")
            name = f"deletion_vector_{uuid.UUID(bytes=raw)}.bin"
            return join(folder, prefix, name) if prefix else join(folder, name)
        case "p":
            return parse_data_path(root, folder, text)
        case "i":
            return None
        case other:
            raise _broken(folder, f"the storage type {other!r} is not known")


def parse_deletes(root: str, folder: str, vector: Vector | None) -> tuple[Deletes, ...]:
    """Return the deletes that a file's descriptor stands for.

    Raises:
        FormatError: The descriptor does not follow the specification.
        UnsupportedError: Its file lies outside the storage root.
    """
    if vector is None or vector.rows == 0:
        return ()
    key = vector_key(root, folder, vector)
    if key is not None:
        offset = 1 if vector.offset is None else vector.offset
        return (VectorFile(key, offset, vector.size + FRAME_BYTES - len(MAGIC), vector.rows),)
    data = _decode(vector.path_or_inline)
    if not vector.size <= len(data) < vector.size + 4:
        raise _broken(folder, f"an inline vector has {len(data)} bytes, not {vector.size}")
    return (InlineVector(strip_magic(data[: vector.size], folder), vector.rows),)


def widen_stats(text: str | None, rows: int | None) -> str:
    """Return a file's statistics as those of a file with deleted rows.

    Args:
        text: The statistics as recorded.
        rows: The file's row count, if the statistics lack it.
    """
    body = {} if text is None else decode_stats(text)
    body.setdefault("numRecords", rows)
    return encode_stats({**body, "tightBounds": False})


def tighten_stats(text: str | None) -> str | None:
    """Return the statistics of a file with deleted rows as those of the whole file."""
    if text is None or "tightBounds" not in text:
        return text
    body = decode_stats(text)
    body.pop("tightBounds", None)
    return encode_stats(body)


@dataclass(frozen=True, slots=True)
class WrittenVector:
    """How the rows of a file are deleted from a commit on.

    Args:
        vector: The descriptor, None if no row is deleted any more.
        rows: The file's row count, where its recorded statistics lack it.
        stats: Statistics of the whole file, where those recorded may not hold for rows that are
            not deleted any more.
    """

    vector: Vector | None
    rows: int | None = None
    stats: Stats | None = None


@dataclass(slots=True)
class VectorWriter:
    """Writes the deletion vectors of commits, those of a commit into one file.

    None are written into the log itself, however small: Spark's ``VACUUM`` fails on a table that
    has such a vector (Delta 3.3, ``getDeletionVectorRelativePathAndSize``).

    Args:
        store: The storage.
        folder: Key of the table's folder.
        ambient: Where the names of files come from.
        objects: The files that are to be written before the commits are.
    """

    store: Store
    folder: str
    ambient: Ambient
    objects: list[NewObject] = field(default_factory=list)
    _prefix: str | None = None
    _pending: dict[str, tuple[Vector, BitMap64]] = field(default_factory=dict)

    def encode(
        self, commit: Commit, live: Mapping[str, Add], schema: Schema | None
    ) -> dict[str, WrittenVector]:
        """Encode the deletes that a commit sets, by data file.

        Args:
            commit: The commit.
            live: The table's files before it.
            schema: The table's columns.

        Raises:
            FormatError: Deletes that the commit refers to are missing or damaged.
        """
        written: dict[str, WrittenVector] = {}
        blobs: dict[str, InlineVector] = {}
        found: dict[str, BitMap64] = {}
        for change in commit.changes:
            match change:
                case AddFile(file):
                    path, deletes, known = file.path, file.deletes, None
                case SetDeletes(path, deletes):
                    known = live.get(path)
                case _:
                    continue
            blobs.pop(path, None)
            written[path] = WrittenVector(None)
            positions = load_positions(self.store, path, deletes)
            if known is not None:
                written[path] = self._over(path, known, positions, schema)
            packed, found[path] = inline_vector(positions), positions
            if packed.rows:
                blobs[path] = packed
        written |= self._file(written, blobs)
        for path, one in written.items():
            if one.vector is not None:
                self._pending[path] = one.vector, found[path]
        return written

    def _over(
        self, path: str, known: Add, positions: BitMap64, schema: Schema | None
    ) -> WrittenVector:
        """Say what must be known of a live file besides, before its deleted rows become these."""
        rows = stats = None
        vector, before = self._pending.get(path, (None, BitMap64()))
        if vector != known.vector:
            deletes = parse_deletes(self.store.root, self.folder, known.vector)
            before = load_positions(self.store, path, deletes)
        if schema is not None and not before <= positions:  # rows are undeleted
            footer = read_footer(self.store, path)
            rows, stats = footer.rows, stats_for(footer, schema)
        elif known.stats is None or '"numRecords"' not in known.stats:
            rows = read_footer(self.store, path).rows
        return WrittenVector(None, rows, stats)

    def _file(
        self, written: Mapping[str, WrittenVector], blobs: Mapping[str, InlineVector]
    ) -> dict[str, WrittenVector]:
        """Put the vectors of a commit into one file."""
        if not blobs:
            return {}
        name = self.ambient.new_uuid()
        if self._prefix is None:
            # Iceberg's clean-up leaves folders alone whose names begin with an underscore
            _, folders = self.store.list_dir(self.folder)
            self._prefix = _BESIDE if "metadata" in folders else ""
        text = self._prefix + base64.b85encode(name.bytes).decode().translate(_TO_Z85)
        found: dict[str, WrittenVector] = {}
        parts, offset = [_FILE_VERSION], len(_FILE_VERSION)
        for path, packed in blobs.items():
            size = len(MAGIC) + len(packed.bitmap)
            vector = Vector("u", text, packed.rows, offset, size)
            found[path] = WrittenVector(vector, written[path].rows, written[path].stats)
            parts.append(frame(packed.bitmap))
            offset += len(parts[-1])
        key = vector_key(self.store.root, self.folder, vector)
        assert key is not None
        self.objects.append(NewObject(key, b"".join(parts)))
        return found


def _decode(text: str) -> bytes:
    try:
        return base64.b85decode(text.translate(_FROM_Z85))
    except (ValueError, binascii.Error) as error:
        raise _broken(text, f"it is no Z85 ({error})") from error


def _broken(where: str, what: str) -> FormatError:
    return FormatError(
        f"a deletion vector of {where!r} cannot be read: {what}; restore the log from a backup",
        location=where,
        section=_SECTION,
    )
