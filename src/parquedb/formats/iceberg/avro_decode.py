"""Avro records from bytes, by the schema they were written with.

A schema is compiled once into functions ``(data, position) -> (value, position)``. Members get
the names that the Iceberg specification gives their field ids, whatever the writer called them;
logical types stay physical; maps, which Iceberg writes as arrays of key and value, become dicts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

import orjson

from parquedb.errors import FormatError
from parquedb.slotted import dataclass

Read = Callable[[bytes, int], tuple[Any, int]]
Record = dict[str, Any]

_FLOAT = struct.Struct("<f").unpack_from
_DOUBLE = struct.Struct("<d").unpack_from
_MAX_LONG = (1 << 64) - 1
FEW = 100
"""How many values that take no bytes, such as null, may follow one another."""
_MAX_NODES = 100_000
"""How many parts a schema may have, named types counted wherever they are used."""


class DecodeError(Exception):
    """The bytes are not what their schema says. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """A compiled schema.

    Args:
        read: Reads one record.
        decimals: Names of the partition fields whose bytes are decimals.
    """

    read: Read
    decimals: frozenset[str]


@lru_cache(maxsize=1024)
def compile_schema(schema: bytes) -> RecordSchema:
    """Compile the schema of a file's records.

    Raises:
        FormatError: It is no Avro schema.
    """
    try:
        compiler = _Compiler()
        read = compiler.read(orjson.loads(schema), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"its Avro schema cannot be read ({error!r}); restore the file",
            section="Appendix A: Avro",
        ) from error
    return RecordSchema(read, frozenset(compiler.decimals))


def partition_name(field_id: int) -> str:
    """Return the name that a partition field has in decoded records."""
    return f"f{field_id}"


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Read an int or long."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _MAX_LONG:
                break
            return (value >> 1) ^ -(value & 1), at
        shift += 7
        if shift > 63:
            break
    raise DecodeError("an integer is longer than 64 bits")


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Read bytes."""
    size = data[at]
    at += 1
    if size < 0x80 and not size & 1:
        size >>= 1
    else:
        size, at = read_long(data, at - 1)
    end = at + size
    if size < 0 or end > len(data):
        raise DecodeError("a value is longer than its block")
    return data[at:end], end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    value, at = read_bytes(data, at)
    return value.decode(), at


def _read_null(_: bytes, at: int) -> tuple[None, int]:
    return None, at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise DecodeError("a boolean is neither true nor false")
    return data[at] == 1, at + 1


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    return _FLOAT(data, at)[0], at + 4


def _read_double(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE(data, at)[0], at + 8


_PRIMITIVES: Mapping[str, Read] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": read_long,
    "long": read_long,
    "float": _read_float,
    "double": _read_double,
    "bytes": read_bytes,
    "string": _read_string,
}


@dataclass(slots=True)
class _Compiler:
    """Compiles one schema; named types are kept for later references."""

    named: dict[str, Read] = field(default_factory=dict)
    decimals: set[str] = field(default_factory=set)
    nodes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def read(self, wire: Any, parent_id: int | None) -> Read:
        self.nodes += 1 if type(wire) is not str else self.sizes.get(wire, 1)
        if self.nodes > _MAX_NODES:
            raise ValueError(f"it has more than {_MAX_NODES} parts")
        match wire:
            case str():
                return _PRIMITIVES.get(wire) or self.named[wire]
            case list():
                return self._union(wire, parent_id)
            case {"type": "record", "name": name, "fields": fields}:
                before = self.nodes
                read = _record([self._member(member, parent_id) for member in fields])
                self.named[name] = read
                self.sizes[name] = self.nodes - before + 1
                return read
            case {"type": "array", "items": items}:
                return self._array(items)
            case {"type": "map", "values": values}:
                return _dict(_read_string, self.read(values, None))
            case {"type": "fixed", "name": name, "size": int(size)} if size >= 0:
                self.named[name] = _fixed(size)
                return self.named[name]
            case {"type": "enum", "name": name, "symbols": list(symbols)}:
                self.named[name] = _enum(symbols)
                return self.named[name]
            case {"type": inner}:
                return self.read(inner, parent_id)
            case _:
                raise ValueError(f"{wire!r} is no type")

    def _union(self, wire: list[Any], parent_id: int | None) -> Read:
        branches = [self.read(item, parent_id) for item in wire]
        if len(branches) == 2 and wire[0] == "null":
            return _optional(branches[1])
        return _union(branches)

    def _array(self, items: Any) -> Read:
        match items:
            case {"type": "record", "fields": [key, value]} if _is_pair(key, value):
                return _dict(
                    self._member(key, None)[1],
                    self._member(value, None)[1],
                )
            case _:
                return _list(self.read(items, None))

    def _member(self, wire: Mapping[str, Any], parent_id: int | None) -> tuple[str, Read]:
        field_id = wire.get("field-id")
        name: str = wire["name"]
        if type(name) is not str or not isinstance(field_id, int | None):
            raise TypeError(f"{name!r} with the id {field_id!r} is no field")
        if parent_id == PARTITION_ID and field_id is not None:
            name = partition_name(field_id)
        elif field_id is not None:
            name = NAMES.get(field_id, name)
        if parent_id == PARTITION_ID and _is_decimal(wire["type"]):
            self.decimals.add(name)
        elif parent_id != PARTITION_ID and not _is_kind(_PAIRS.get(field_id, name), wire["type"]):
            raise ValueError(f"{name!r} is of the type {wire['type']!r:.80}")
        return name, self.read(wire["type"], field_id)


def _record(members: list[tuple[str, Read]]) -> Read:
    def read(data: bytes, at: int) -> tuple[Record, int]:
        record = {}
        for name, member in members:
            record[name], at = member(data, at)
        return record, at

    return read


def _optional(some: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        branch = data[at]
        if branch == 0:
            return None, at + 1
        if branch == 2:
            return some(data, at + 1)
        raise DecodeError("a union names a branch that it does not have")

    return read


def _union(branches: list[Read]) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        branch, at = read_long(data, at)
        if not 0 <= branch < len(branches):
            raise DecodeError("a union names a branch that it does not have")
        return branches[branch](data, at)

    return read


def _list(item: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        while True:
            count, at = _read_count(data, at)
            if not count:
                return values, at
            start = at
            for _ in range(count):
                value, at = item(data, at)
                values.append(value)
            if at == start and count > FEW:
                raise DecodeError("the items of a list take no bytes")

    return read


def _dict(key: Read, value: Read) -> Read:
    if key is read_long and value is read_bytes:
        return _read_ints_to_bytes
    if key is read_long and value is read_long:
        return _read_ints_to_ints
    return _any_dict(key, value)


def _any_dict(key: Read, value: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
        values: dict[Any, Any] = {}
        while True:
            count, at = _read_count(data, at)
            if not count:
                return values, at
            start = at
            for _ in range(count):
                name, at = key(data, at)
                values[name], at = value(data, at)
            if at == start and count > FEW:
                raise DecodeError("the items of a map take no bytes")

    return read


def _read_count(data: bytes, at: int) -> tuple[int, int]:
    """Read how many items follow in an array; 0 ends it."""
    count, at = read_long(data, at)
    if count < 0:
        count = -count
        _, at = read_long(data, at)
    if count > max(len(data) - at, FEW):
        raise DecodeError("a list claims more items than there are bytes")
    return count, at


def _read_ints_to_ints(data: bytes, at: int) -> tuple[dict[int, int], int]:
    """Read what ``_any_dict(read_long, read_long)`` would: counts and sizes, faster."""
    values: dict[int, int] = {}
    while True:
        count, at = _read_count(data, at)
        if not count:
            return values, at
        for _ in range(count):
            key = data[at]
            if key < 0x80:
                key, at = (key >> 1) ^ -(key & 1), at + 1
            else:
                key, at = read_long(data, at)
            value = data[at]
            if value < 0x80:
                values[key], at = (value >> 1) ^ -(value & 1), at + 1
            else:
                values[key], at = read_long(data, at)


def _read_ints_to_bytes(data: bytes, at: int) -> tuple[dict[int, bytes], int]:
    """Read what ``_any_dict(read_long, read_bytes)`` would: bounds, faster."""
    values: dict[int, bytes] = {}
    while True:
        count, at = _read_count(data, at)
        if not count:
            return values, at
        for _ in range(count):
            key = data[at]
            if key < 0x80:
                key, at = (key >> 1) ^ -(key & 1), at + 1
            else:
                key, at = read_long(data, at)
            values[key], at = read_bytes(data, at)


def _fixed(size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + size
        if end > len(data):
            raise DecodeError("a value is longer than its block")
        return data[at:end], end

    return read


def _enum(symbols: list[str]) -> Read:
    def read(data: bytes, at: int) -> tuple[str, int]:
        position, at = read_long(data, at)
        if not 0 <= position < len(symbols):
            raise DecodeError("an enum names a symbol that it does not have")
        return symbols[position], at

    return read


def _is_pair(key: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    names = NAMES.get(key.get("field-id", -1)), NAMES.get(value.get("field-id", -1))
    return names == ("key", "value") or (key["name"], value["name"]) == ("key", "value")


def _is_decimal(wire: Any) -> bool:
    if isinstance(wire, list):
        return any(_is_decimal(item) for item in wire)
    return isinstance(wire, dict) and wire.get("logicalType") == "decimal"


def _is_kind(name: str, wire: Any) -> bool:
    """Whether a member whose meaning is known has a type that can have it."""
    wanted = _KINDS.get(name)
    if wanted is None:
        return True
    if isinstance(wire, list):
        return all(item == "null" or _is_kind(name, item) for item in wire)
    return (wire["type"] if isinstance(wire, dict) else wire) in wanted


_WHOLE, _TEXT, _BYTES, _MANY = ("int", "long"), ("string",), ("bytes", "fixed"), ("array", "map")
_KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "status", "snapshot_id", "sequence_number", "file_sequence_number", "content",
            "record_count", "file_size_in_bytes", "sort_order_id", "first_row_id",
            "content_offset", "content_size_in_bytes", "manifest_length", "partition_spec_id",
            "min_sequence_number", "added_snapshot_id", "added_files_count",
            "existing_files_count", "deleted_files_count", "added_rows_count",
            "existing_rows_count", "deleted_rows_count",
        ),
        _WHOLE,
    ),
    **dict.fromkeys(
        ("file_path", "file_format", "referenced_data_file", "manifest_path"), _TEXT
    ),
    **dict.fromkeys(
        (
            "column_sizes", "value_counts", "null_value_counts", "nan_value_counts",
            "lower_bounds", "upper_bounds", "split_offsets", "equality_ids", "partitions",
        ),
        _MANY,
    ),
    **dict.fromkeys(("lower_bound", "upper_bound", "key_metadata"), _BYTES),
    **dict.fromkeys(("data_file", "partition"), ("record",)),
    "a count": _WHOLE,
    "a bound": _BYTES,
}  # fmt: skip
"""Types of the members whose names the specification gives."""
_PAIRS: Mapping[int | None, str] = {
    **dict.fromkeys((117, 118, 119, 120, 121, 122, 138, 139, 126, 129), "a count"),
    **dict.fromkeys((127, 130), "a bound"),
}
"""What the keys and values of statistics are, by field id."""
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
