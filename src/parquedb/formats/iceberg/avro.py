"""Avro object container files, as far as manifests and manifest lists need them.

Reading: the container is taken apart by hand; records are decoded by fastavro, all of a file in
one call, with the file's own schema. Members get the names that the Iceberg specification gives
their field ids, whatever the writer called them, and logical types are left physical.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import fastavro
import orjson
import pyarrow as pa

from parquedb.errors import FormatError, UnsupportedError

MAGIC = b"Obj\x01"
_SECTION = "Appendix A: Avro"

Record = dict[str, Any]


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
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise _broken(location, f"its header cannot be read ({error!r})") from error
    if len(sync) != 16:
        raise _broken(location, "it is cut off in its header")
    codec = metadata.pop("avro.codec", b"null").decode()
    pieces = raw[offset + 16 :].split(sync)
    if pieces.pop():
        raise _broken(location, "it is cut off in a block")
    return Container(metadata, schema, codec, pieces)


def decode_pieces(container: Container, pieces: Sequence[bytes], location: str) -> list[Record]:
    """Decode the records of some of a container's blocks, in order.

    Raises:
        FormatError: The blocks do not hold what they should.
        UnsupportedError: They are compressed in a way that is not known.
    """
    total, chunks = 0, []
    for piece in pieces:
        block = _parse_piece(piece, location)
        total += block.count
        chunks.append(_decompress(block.data, container.codec, location))
    if not total:
        return []
    # An Avro array is encoded as its length, its items and a zero: one call decodes all blocks.
    stream = io.BytesIO(b"".join((encode_long(total), *chunks, b"\x00")))
    try:
        records = fastavro.schemaless_reader(stream, _record_schema(container.schema), None)
    except (
        EOFError, IndexError, ValueError, TypeError, KeyError, struct.error
    ) as error:  # fmt: skip
        raise _broken(location, f"its records cannot be decoded ({error!r})") from error
    if stream.read(1):
        raise _broken(location, "its blocks hold more than the records they count")
    return records  # type: ignore[return-value]


def decode_records(container: Container, location: str) -> list[Record]:
    """Decode all records of a container."""
    return decode_pieces(container, container.pieces, location)


def partition_decimals(schema: bytes) -> frozenset[str]:
    """Return the ids of the partition fields, as names, whose bytes are decimals."""
    return _parsed_schema(schema)[1]


def _parse_map(raw: bytes, offset: int) -> tuple[dict[str, bytes], int]:
    entries: dict[str, bytes] = {}
    while True:
        count, offset = _parse_long(raw, offset)
        if not count:
            return entries, offset
        if count < 0:
            count = -count
            _, offset = _parse_long(raw, offset)
        for _ in range(count):
            size, offset = _parse_long(raw, offset)
            key = raw[offset : offset + size].decode()
            size, offset = _parse_long(raw, offset + size)
            entries[key] = raw[offset : offset + size]
            offset += size


def _parse_long(raw: bytes, offset: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = raw[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), offset
        shift += 7


def _parse_piece(piece: bytes, location: str) -> Block:
    try:
        count, offset = _parse_long(piece, 0)
        size, offset = _parse_long(piece, offset)
    except IndexError as error:
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
                size, _ = _parse_varint(body)
                plain = pa.decompress(body, size, codec="snappy", asbytes=True)
                return bytes(plain)
            case _:
                raise UnsupportedError(
                    f"{location} is compressed by {codec!r}; null, deflate, snappy and "
                    "zstandard can be read",
                    feature=f"avro codec {codec}",
                )
    except (zlib.error, OSError, pa.ArrowException, IndexError) as error:
        raise _broken(location, f"a block cannot be decompressed ({error})") from error


def _parse_varint(data: memoryview) -> tuple[int, int]:
    shift = value = offset = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7


def _record_schema(schema: bytes) -> Any:
    return _parsed_schema(schema)[0]


@lru_cache(maxsize=1024)
def _parsed_schema(schema: bytes) -> tuple[Any, frozenset[str]]:
    """Return the schema to decode an array of a file's records, and its decimal partitions."""
    try:
        wire = orjson.loads(schema)
        plain = _Plain()
        array = {"type": "array", "items": plain.type(wire)}
        return fastavro.parse_schema(array), frozenset(plain.decimals)
    except (ValueError, KeyError, TypeError, fastavro.schema.SchemaParseException) as error:
        raise FormatError(
            f"an Avro schema in the table's metadata cannot be read ({error})", section=_SECTION
        ) from error


@dataclass(slots=True)
class _Plain:
    """Drops logical types and names record members by their Iceberg field ids.

    Every ``fixed`` gets a name of its own: writers are known to define one name twice.
    """

    decimals: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    fixed: int = 0

    def type(self, wire: Any, parent_id: int | None = None) -> Any:
        match wire:
            case list():
                return [self.type(item, parent_id) for item in wire]
            case {"type": "record", "name": name, "fields": fields}:
                members = [self.member(member, parent_id) for member in fields]
                return {"type": "record", "name": name, "fields": members}
            case {"type": "array", "items": items}:
                return {"type": "array", "items": self.type(items, parent_id)}
            case {"type": "map", "values": values}:
                return {"type": "map", "values": self.type(values, parent_id)}
            case {"type": "fixed", "name": name, "size": size}:
                self.sizes[name] = size
                return self.new_fixed(size)
            case {"type": inner}:
                return self.type(inner, parent_id)
            case str() if wire in self.sizes:
                return self.new_fixed(self.sizes[wire])
            case _:
                return wire

    def member(self, wire: Mapping[str, Any], parent_id: int | None) -> dict[str, Any]:
        field_id = wire.get("field-id")
        name = NAMES.get(field_id, wire["name"]) if field_id is not None else wire["name"]
        if parent_id == PARTITION_ID:
            name = partition_name(field_id) if field_id is not None else wire["name"]
            if _is_decimal(wire["type"]):
                self.decimals.add(name)
        return {"name": name, "type": self.type(wire["type"], field_id)}

    def new_fixed(self, size: int) -> dict[str, Any]:
        self.fixed += 1
        return {"type": "fixed", "name": f"fixed{self.fixed}", "size": size}


def partition_name(field_id: int) -> str:
    """Return the name that a partition field has in decoded records."""
    return f"f{field_id}"


def _is_decimal(wire: Any) -> bool:
    if isinstance(wire, list):
        return any(_is_decimal(item) for item in wire)
    return isinstance(wire, dict) and wire.get("logicalType") == "decimal"


def _broken(location: str, what: str) -> FormatError:
    return FormatError(
        f"{location} cannot be read: {what}; restore the file, or roll the table back to a "
        "snapshot that does not need it",
        location=location,
        section=_SECTION,
    )


PARTITION_ID = 102
NAMES: Mapping[int, str] = {
    0: "status", 1: "snapshot_id", 2: "data_file", 3: "sequence_number",
    4: "file_sequence_number", 134: "content", 100: "file_path", 101: "file_format",
    102: "partition", 103: "record_count", 104: "file_size_in_bytes", 108: "column_sizes",
    109: "value_counts", 110: "null_value_counts", 137: "nan_value_counts", 125: "lower_bounds",
    128: "upper_bounds", 131: "key_metadata", 132: "split_offsets", 135: "equality_ids",
    140: "sort_order_id", 142: "first_row_id", 143: "referenced_data_file",
    144: "content_offset", 145: "content_size_in_bytes",
    117: "key", 118: "value", 119: "key", 120: "value", 121: "key", 122: "value", 138: "key",
    139: "value", 126: "key", 127: "value", 129: "key", 130: "value",
    500: "manifest_path", 501: "manifest_length", 502: "partition_spec_id", 517: "content",
    515: "sequence_number", 516: "min_sequence_number", 503: "added_snapshot_id",
    504: "added_files_count", 505: "existing_files_count", 506: "deleted_files_count",
    512: "added_rows_count", 513: "existing_rows_count", 514: "deleted_rows_count",
    507: "partitions", 519: "key_metadata", 509: "contains_null", 518: "contains_nan",
    510: "lower_bound", 511: "upper_bound",
}  # fmt: skip
"""Names of manifest and manifest list members by field id ("Manifests", "Manifest Lists")."""
