"""Avro object container files, as far as manifests and manifest lists need them.

Specification: Appendix A, "Avro". Files that are written are not compressed: bounds and paths of
few files compress badly, and entries are reused as they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.iceberg.avro_decode import DecodeError, Record, compile_schema, read_long

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
    codec = metadata.pop("avro.codec", b"null").decode()
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
    read = compile_schema(container.schema).read
    for piece in pieces:
        block = _parse_piece(piece, location)
        data, at = _decompress(block.data, container.codec, location), 0
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


def partition_decimals(schema: bytes) -> frozenset[str]:
    """Return the partition fields, as named in records, whose bytes are decimals."""
    return compile_schema(schema).decimals


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
            size, offset = read_long(raw, offset)
            key = raw[offset : offset + size].decode()
            size, offset = read_long(raw, offset + size)
            entries[key] = raw[offset : offset + size]
            offset += size


def _parse_piece(piece: bytes, location: str) -> Block:
    try:
        count, offset = read_long(piece, 0)
        size, offset = read_long(piece, offset)
    except (IndexError, DecodeError) as error:
        raise _broken(location, "a block is cut off") from error
    if size != len(piece) - offset or count < 0:
        raise _broken(location, "a block is not as long as it says")
    return Block(count, piece[offset:])


def _decompress(data: bytes, codec: str, location: str) -> bytes:
    try:
        match codec:
            case "null":
                return data
            case "deflate":
                return zlib.decompress(data, -zlib.MAX_WBITS)
            case "zstandard":
                with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
                    return bytes(stream.read())
            case "snappy":
                body = memoryview(data)[:-4]  # followed by a CRC of the decompressed bytes
                plain = pa.decompress(body, _snappy_size(body), codec="snappy", asbytes=True)
                return bytes(plain)
            case _:
                raise UnsupportedError(
                    f"{location} is compressed by {codec!r}; null, deflate, snappy and "
                    "zstandard can be read",
                    feature=f"avro codec {codec}",
                )
    except (zlib.error, OSError, pa.ArrowException, IndexError) as error:
        raise _broken(location, f"a block cannot be decompressed ({error})") from error


def _snappy_size(data: memoryview) -> int:
    """Return the decompressed length, with which Snappy's raw format begins."""
    value = 0
    for position, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value
    raise zlib.error("its length is missing")


def _broken(location: str, what: str) -> FormatError:
    return FormatError(
        f"{location} cannot be read: {what}; restore the file, or roll the table back to a "
        "snapshot that does not need it",
        location=location,
        section=_SECTION,
    )
