"""The deleted rows of a data file as a set of row positions.

A set is kept as a portable 64-bit roaring bitmap (RoaringFormatSpec, "Extension for 64-bit
implementations"). In files it lies in a frame that Delta (PROTOCOL.md, "Deletion Vector Format")
and Iceberg (Puffin, ``deletion-vector-v1``) have in common: the length of what follows without
the checksum, four bytes big-endian; a magic number, four bytes little-endian; the bitmap; the
CRC-32 of magic number and bitmap, four bytes big-endian.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import assert_never

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from parquedb.errors import FormatError, NotFoundError
from parquedb.model.files import DataFile, Deletes, InlineVector, VectorFile
from parquedb.storage.store import Store

MAGIC = (1681511377).to_bytes(4, "little")
"""Begins every bitmap, inline or in a file."""
FRAME_BYTES = 12
"""What a frame adds to a bitmap: length, magic number and checksum."""
_SECTION = "Deletion Vector Format"
_NATIVE = (1681511376).to_bytes(4, "little")


def inline_vector(positions: Iterable[int] | BitMap64) -> InlineVector:
    """Return a set of positions as it is held in the log; equal sets give equal vectors."""
    bitmap = positions if isinstance(positions, BitMap64) else BitMap64(positions)
    bitmap.run_optimize()
    return InlineVector(bitmap.serialize(), len(bitmap))


def load_positions(store: Store, path: str, deletes: Sequence[Deletes]) -> BitMap64:
    """Return all deleted positions of a data file.

    Args:
        store: The store.
        path: Key of the data file, for messages.
        deletes: Its deletes.

    Raises:
        FormatError: A vector is missing or damaged, or holds another number of positions than
            the table's metadata says.
    """
    total = BitMap64()
    for one in deletes:
        match one:
            case InlineVector(bitmap, rows):
                found = parse_bitmap(bitmap, path)
            case VectorFile(vector_path, offset, size, rows):
                try:
                    data = store.get_range(vector_path, offset, size)
                except NotFoundError as error:
                    raise FormatError(
                        f"{vector_path!r}, which holds the deleted rows of {path!r}, is missing; "
                        "restore it from a backup",
                        location=vector_path,
                        section=_SECTION,
                    ) from error
                found = parse_bitmap(unframe(data, size, vector_path), vector_path)
            case _:
                assert_never(one)
        if len(found) != rows:
            raise FormatError(
                f"the deletion vector of {path!r} holds {len(found)} positions and the table's "
                f"metadata says {rows}; restore both from one backup",
                location=path,
                section=_SECTION,
            )
        total |= found
    return total


def deleted_positions(store: Store, file: DataFile, rows: int) -> BitMap64:
    """Return the deleted positions of a data file that has so many rows.

    Raises:
        FormatError: See :func:`load_positions`; or a position is not one of the file's.
    """
    found = load_positions(store, file.path, file.deletes)
    if found and found.max() >= rows:
        raise FormatError(
            f"row {found.max()} of {file.path!r} is said to be deleted, and the file has "
            f"{rows} rows; the deletes belong to another file",
            location=file.path,
            section=_SECTION,
        )
    return found


def kept_rows(deleted: BitMap64, start: int, rows: int) -> npt.NDArray[np.bool_] | None:
    """Return which of some rows of a file are not deleted; None if all are kept.

    Args:
        deleted: Positions in the file.
        start: Position of the first row.
        rows: How many rows.
    """
    here = deleted & BitMap64(range(start, start + rows))
    if not here:
        return None
    kept = np.ones(rows, np.bool_)
    positions = np.frombuffer(here.to_array(), np.uint64)
    kept[(positions - np.uint64(start)).astype(np.int64)] = False
    return kept


def same_deletes(
    store: Store, path: str, left: Sequence[Deletes], right: Sequence[Deletes]
) -> bool:
    """Whether two deletes of one data file are the same rows."""
    if left == right:
        return True
    return load_positions(store, path, left) == load_positions(store, path, right)


def parse_bitmap(data: bytes, location: str) -> BitMap64:
    """Parse a portable bitmap.

    Raises:
        FormatError: It is none.
    """
    try:
        return BitMap64.deserialize(data)
    except (ValueError, EOFError, IndexError, MemoryError) as error:
        raise _broken(location, f"its bitmap cannot be read ({error})") from error


def strip_magic(data: bytes, location: str) -> bytes:
    """Return the bitmap after the magic number.

    Raises:
        FormatError: It does not begin with it.
    """
    if data[:4] == _NATIVE:
        raise _broken(location, "it is in Java's own form, which the specification does not have")
    if data[:4] != MAGIC:
        raise _broken(location, "it does not begin with the magic number")
    return data[4:]


def frame(bitmap: bytes) -> bytes:
    """Return a bitmap as it lies in a file."""
    body = MAGIC + bitmap
    return len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def unframe(data: bytes, size: int, location: str) -> bytes:
    """Return the bitmap in a frame.

    Args:
        data: The frame.
        size: How many bytes it must have.
        location: Where it is, for messages.

    Raises:
        FormatError: It is cut off or damaged.
    """
    if len(data) != size or size < FRAME_BYTES:
        raise _broken(location, "it is cut off")
    if int.from_bytes(data[:4], "big") != size - 8:
        raise _broken(location, "its length is not the one in the table's metadata")
    body = data[4:-4]
    if zlib.crc32(body).to_bytes(4, "big") != data[-4:]:
        raise _broken(location, "its checksum is wrong")
    return strip_magic(body, location)


def _broken(location: str, what: str) -> FormatError:
    return FormatError(
        f"the deletion vector in {location!r} is damaged: {what}; restore it from a backup",
        location=location,
        section=_SECTION,
    )
