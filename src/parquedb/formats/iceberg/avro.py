"""Avro object container files, as far as manifests and manifest lists need them.

Specification: Appendix A, "Avro". Files that are written are not compressed: bounds and paths of
few files compress badly, and entries are reused as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from parquedb.errors import FormatError
from parquedb.formats.iceberg.avro_decode import (
    FEW,
    DecodeError,
    Record,
    RecordSchema,
    compile_schema,
    read_bytes,
    read_long,
)
from parquedb.formats.iceberg.compress import FILE_BYTES, CompressError, decompress_block
from parquedb.slotted import dataclass

MAGIC = b"Obj\x01"
_SECTION = "Appendix A: Avro"


@dataclass(frozen=True, slots=True)
class Block:
    """One block of records: how many, and their bytes as stored."""

    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Container:
    """An Avro file taken apart.

    Args:
        metadata: The header's metadata, without ``avro.schema`` and ``avro.codec``.
        schema: The writer's schema, JSON.
        codec: Name of the compression.
        pieces: The blocks as they lie between two sync markers: count, size, data.
    """

    metadata: Mapping[str, bytes]
    schema: bytes
    codec: str
    pieces: Sequence[bytes]


def encode_long(value: int) -> bytes:
    """Encode an Avro int or long: zigzag, then seven bits a byte."""
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x80:
        return _BYTES[rest]
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_BYTES = [bytes((value,)) for value in range(0x80)]


def encode_bytes(data: bytes) -> bytes:
    """Encode Avro bytes or, from UTF-8, a string."""
    return encode_long(len(data)) + data


def encode_header(schema: bytes, metadata: Mapping[str, bytes], sync: bytes) -> bytes:
    """Encode the header of an uncompressed container file."""
    members = {"avro.schema": schema, "avro.codec": b"null", **metadata}
    parts = [MAGIC, encode_long(len(members))]
    for key, value in members.items():
        parts.append(encode_bytes(key.encode()))
        parts.append(encode_bytes(value))
    parts.append(b"\x00")
    parts.append(sync)
    return b"".join(parts)


def encode_block(count: int, data: bytes, sync: bytes) -> bytes:
    """Encode a block of ``count`` records."""
    return b"".join((encode_long(count), encode_long(len(data)), data, sync))


def parse_container(raw: bytes, location: str) -> Container:
    """Take a container file apart.

    Raises:
        FormatError: It is no Avro file, or cut off.
    """
    if not raw.startswith(MAGIC):
        raise _broken(location, "it does not begin as an Avro file does")
    try:
        metadata, offset = _parse_map(raw, len(MAGIC))
        sync = raw[offset : offset + 16]
        schema = metadata.pop("avro.schema")
    except (IndexError, KeyError, UnicodeDecodeError, DecodeError) as error:
        raise _broken(location, f"its header cannot be read ({error!r})") from error
    if len(sync) != 16:
        raise _broken(location, "it is cut off in its header")
    try:
        codec = metadata.pop("avro.codec", b"null").decode()
    except UnicodeDecodeError as error:
        raise _broken(location, "its codec has no name") from error
    pieces = raw[offset + 16 :].split(sync)
    if pieces.pop():
        raise _broken(location, "it is cut off in a block")
    return Container(metadata, schema, codec, pieces)


def decode_pieces(container: Container, pieces: Sequence[bytes], location: str) -> Iterator[Record]:
    """Yield the records of some of a container's blocks, in order.

    Raises:
        FormatError: The blocks do not hold what they should.
        UnsupportedError: They are compressed in a way that is not known.
    """
    read = _records_of(container, location).read
    total = 0
    for piece in pieces:
        block = _parse_piece(piece, location)
        try:
            data, at = decompress_block(block.data, container.codec, location), 0
        except CompressError as error:
            raise _broken(location, f"a block cannot be decompressed ({error})") from error
        total += len(data)
        if total > FILE_BYTES:
            raise _broken(location, f"it becomes more than {FILE_BYTES} bytes")
        if block.count > max(len(data), FEW):
            raise _broken(location, "a block claims more records than it has bytes")
        for _ in range(block.count):
            try:
                record, at = read(data, at)
            except (DecodeError, IndexError, struct.error, UnicodeDecodeError) as error:
                raise _broken(location, f"its records cannot be decoded ({error!r})") from error
            yield record
        if at != len(data):
            raise _broken(location, "a block holds more than the records it counts")


def decode_records(container: Container, location: str) -> Iterator[Record]:
    """Yield all records of a container."""
    return decode_pieces(container, container.pieces, location)


def partition_decimals(container: Container, location: str) -> frozenset[str]:
    """Return the partition fields, as named in records, whose bytes are decimals.

    Raises:
        FormatError: The container has no Avro schema.
    """
    return _records_of(container, location).decimals


def _records_of(container: Container, location: str) -> RecordSchema:
    try:
        return compile_schema(container.schema)
    except FormatError as error:
        raise _broken(location, str(error).partition(";")[0]) from error


def _parse_map(raw: bytes, offset: int) -> tuple[dict[str, bytes], int]:
    entries: dict[str, bytes] = {}
    while True:
        count, offset = read_long(raw, offset)
        if not count:
            return entries, offset
        if count < 0:
            count = -count
            _, offset = read_long(raw, offset)
        for _ in range(count):
            key, offset = read_bytes(raw, offset)
            entries[key.decode()], offset = read_bytes(raw, offset)


def _parse_piece(piece: bytes, location: str) -> Block:
    try:
        count, offset = read_long(piece, 0)
        size, offset = read_long(piece, offset)
    except (IndexError, DecodeError) as error:
        raise _broken(location, "a block is cut off") from error
    if size != len(piece) - offset or count < 0:
        raise _broken(location, "a block is not as long as it says")
    return Block(count, piece[offset:])


def _broken(location: str, what: str) -> FormatError:
    return FormatError(
        f"{location} cannot be read: {what}; restore the file, or roll the table back to a "
        "snapshot that does not need it",
        location=location,
        section=_SECTION,
    )
