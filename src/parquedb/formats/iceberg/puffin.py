"""Puffin files of deletion vectors (Puffin specification, ``deletion-vector-v1``).

Readers know a vector by its place in the file, from its manifest entry. DuckDB 1.5 and pyiceberg
0.12 apply all vectors of a file that is referred to at all: so each that is written has a file of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.members import count, digits, items, members, optional_text
from parquedb.parquet.deletes import frame
from parquedb.slotted import dataclass

_MAGIC = b"PFA1"
_NO_FLAGS = bytes(4)
OFFSET_BYTES = len(_MAGIC)
"""Where the vector begins."""


def encode_puffin(bitmap: bytes, location: str, rows: int) -> tuple[bytes, int]:
    """Return a Puffin file and the length of the vector in it.

    Args:
        bitmap: The deleted rows as a portable bitmap.
        location: The data file's location, as its own manifest entry has it.
        rows: How many rows are deleted.
    """
    blob = frame(bitmap)
    footer = orjson.dumps(
        {
            "blobs": [
                {
                    "type": "deletion-vector-v1",
                    "fields": [2147483645],  # _pos, as the reference implementation has it
                    "snapshot-id": -1,
                    "sequence-number": -1,
                    "offset": OFFSET_BYTES,
                    "length": len(blob),
                    "properties": {"referenced-data-file": location, "cardinality": str(rows)},
                }
            ],
            "properties": {"created-by": "parquedb"},
        }
    )
    size = len(footer).to_bytes(4, "little")
    return b"".join((_MAGIC, blob, _MAGIC, footer, size, _NO_FLAGS, _MAGIC)), len(blob)


@dataclass(frozen=True, slots=True)
class Blob:
    """What the footer of a Puffin file says of one part of it.

    Args:
        offset_bytes: Where it begins.
        size_bytes: Its length.
        about: The data file whose deleted rows it holds, if it does.
        rows: How many these are.
    """

    offset_bytes: int
    size_bytes: int
    about: str | None
    rows: int | None


def parse_puffin(data: bytes, location: str) -> tuple[Blob, ...]:
    """Return the parts of a Puffin file by its footer ("Footer structure").

    Raises:
        FormatError: It is no Puffin file, or its footer is damaged.
        UnsupportedError: Its footer is compressed.
    """
    ends = data[:4], data[-4:]
    size = int.from_bytes(data[-12:-8], "little")
    if ends != (_MAGIC, _MAGIC) or len(data) < 20 or not 0 <= size <= len(data) - 20:
        raise _broken(location, "it is cut off")
    if data[-8] & 1:
        raise UnsupportedError(
            f"{location} has a compressed footer, which is not read", feature="compressed Puffin"
        )
    try:
        footer = members(orjson.loads(data[-12 - size : -12]))
        return tuple(_parse_blob(members(item)) for item in items(footer["blobs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(location, f"its footer cannot be read ({error!r:.120})") from error


def _parse_blob(wire: Mapping[str, Any]) -> Blob:
    told = members(wire.get("properties"))
    return Blob(
        count(wire["offset"]),
        count(wire["length"]),
        optional_text(told.get("referenced-data-file")),
        digits(optional_text(told.get("cardinality")) or ""),
    )


def _broken(location: str, what: str) -> FormatError:
    return FormatError(
        f"{location} is no whole Puffin file: {what}; restore it from a backup",
        location=location,
        section="Puffin: Footer structure",
    )
