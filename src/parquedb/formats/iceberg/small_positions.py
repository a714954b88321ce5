"""Small position delete files as bytes, written and recognized without a Parquet library.

A history may have tens of thousands of them, a few hundred bytes each, and Parquet libraries take
several times as long for one as its bytes need. The form is the plainest that there is: one row
group without compression, the path once in a dictionary, the positions as they are. A file is
recognized by being, byte for byte, what would be written for the positions at their place.

https://parquet.apache.org/docs/file-format/; the members of structs are those of parquet.thrift in
Thrift's compact protocol: a byte of (distance to the last member's id) << 4 | type, then the value.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from parquedb.parquet.thrift import encode_varint, zigzag

PATH_ID, POSITION_ID = 2147483546, 2147483545
"""Reserved field ids of the two columns ("Reserved Field IDs")."""
MOST = 1_000
"""Positions in a small file at most."""

_Numbers = npt.NDArray[np.int64]
_MAGIC = b"PAR1"


def _int(value: int) -> bytes:
    return encode_varint(zigzag(value))


def _text(value: bytes) -> bytes:
    return encode_varint(len(value)) + value


_SCHEMA = b"".join(
    (
        b"\x15\x04\x19\x3c",  # version 2; a schema of three elements
        b"\x48", _text(b"schema"), b"\x15\x04\x00",  # the root with two children
        b"\x15\x0c\x25\x00\x18", _text(b"file_path"),  # BYTE_ARRAY, required
        b"\x25\x00\x35", _int(PATH_ID), b"\x1c\x1c\x00\x00\x00",  # UTF8, field id, STRING
        b"\x15\x04\x25\x00\x18", _text(b"pos"), b"\x55", _int(POSITION_ID), b"\x00",  # INT64
    )
)  # fmt: skip
_PATH = b"\x15\x0c\x19\x25\x00\x10\x19\x18" + _text(b"file_path")  # PLAIN, RLE_DICTIONARY
_POSITION = b"\x15\x04\x19\x15\x00\x19\x18" + _text(b"pos")  # PLAIN
_EXACT = b"\x11\x11\x00"
_END = (
    b"\x28" + _text(b"parquedb version 1 (build 0)") + b"\x19\x2c" + b"\x1c\x00\x00" * 2 + b"\x00"
)


def encode_small(location: bytes, positions: _Numbers) -> bytes:
    """Return a position delete file of one data file.

    Args:
        location: The data file's location.
        positions: At least one and at most :data:`MOST` deleted rows, sorted.
    """
    rows = len(positions)
    front, codes, second = _front(location, rows)
    numbers = positions.astype("<i8").tobytes()
    return b"".join((front, numbers, _back(location, numbers, (len(front), codes, second))))


def decode_small(data: bytes, location: bytes, rows: int) -> _Numbers | None:
    """Return the positions in a file of this form; None if it has any other.

    Args:
        data: The file.
        location: The data file's location by the metadata.
        rows: How many rows the file has by the metadata.
    """
    if not 0 < rows <= MOST:
        return None
    front, codes, second = _front(location, rows)
    start, end = len(front), len(front) + 8 * rows
    numbers = data[start:end]
    if len(numbers) < 8 * rows or not data.startswith(front):
        return None
    if data[end:] != _back(location, numbers, (start, codes, second)):
        return None
    return np.frombuffer(numbers, "<i8").astype(np.int64)


@functools.lru_cache(maxsize=256)
def _front(location: bytes, rows: int) -> tuple[bytes, int, int]:
    """Return what is before the positions, and where the codes and the second column begin."""
    value = len(location).to_bytes(4, "little") + location
    size = _int(len(value))
    run = b"\x01" + encode_varint(rows << 1) + b"\x00"  # codes of one bit, all the first value
    dictionary = b"\x15\x04\x15%b\x15%b\x4c\x15\x02\x15\x00\x00\x00" % (size, size)
    first = b"".join((_MAGIC, dictionary, value))
    middle = b"".join((first, _data_page(rows, len(run), b"\x10"), run))
    return middle + _data_page(rows, 8 * rows, b"\x00"), len(first), len(middle)


def _data_page(rows: int, size_bytes: int, encoding: bytes) -> bytes:
    """Return the header of a page of values that are never null."""
    size = _int(size_bytes)
    inner = b"\x15%b\x15%b\x15\x06\x15\x06\x00" % (_int(rows), encoding)
    return b"\x15\x00\x15%b\x15%b\x2c%b\x00" % (size, size, inner)


def _back(location: bytes, numbers: bytes, places: tuple[int, int, int]) -> bytes:
    """Return what follows the positions: the footer."""
    start, codes, second = places
    rows, end, first = len(numbers) // 8, start + len(numbers), len(_MAGIC)
    count = _int(rows)
    path_size, position_size, whole = _int(second - first), _int(end - second), _int(end - first)
    path, low, high = _text(location), numbers[:8], numbers[-8:]
    footer = b"".join(
        (
            _SCHEMA, b"\x16", count, b"\x19\x1c\x19\x2c",  # one row group of two columns
            b"\x26", _int(first), b"\x1c", _PATH,
            b"\x15\x00\x16", count, b"\x16", path_size, b"\x16", path_size,  # no compression
            b"\x26", _int(codes), b"\x26", _int(first),
            b"\x1c\x36\x00\x28", path, b"\x18", path, _EXACT, b"\x00\x00",
            b"\x26", _int(second), b"\x1c", _POSITION,
            b"\x15\x00\x16", count, b"\x16", position_size, b"\x16", position_size,
            b"\x26", _int(second),
            b"\x3c\x36\x00\x28\x08", high, b"\x18\x08", low, _EXACT, b"\x00\x00",
            b"\x16", whole, b"\x16", count, b"\x26", _int(first), b"\x16", whole, b"\x14\x00\x00",
            _END,
        )
    )  # fmt: skip
    return b"".join((footer, len(footer).to_bytes(4, "little"), _MAGIC))
