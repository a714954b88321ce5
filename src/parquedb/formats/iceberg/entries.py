"""Manifest entries and manifest list entries as Avro bytes, and the schemas in their headers.

Written by hand, because one data file's entry is reused, as bytes, whenever its manifest is
merged or rewritten. The order of members is that of the reference implementation.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from parquedb.formats.iceberg.avro import encode_bytes, encode_long
from parquedb.formats.iceberg.avro_decode import Record, partition_name
from parquedb.formats.iceberg.bounds import encoder_of
from parquedb.formats.iceberg.wire_schema import (
    Defaults,
    IcebergSpec,
    encode_schema,
    encode_spec_fields,
    result_type,
)
from parquedb.model.files import Value
from parquedb.model.schema import Schema, walk
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    FixedType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
)
from parquedb.slotted import dataclass

NULL = b"\x00"
"""The null branch of an optional member."""
SOME = b"\x02"
"""The other branch, before the value."""

_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class PartitionColumn:
    """One field of the partition tuples of a manifest.

    Args:
        name: Its name.
        field_id: Its id.
        type: Type of its values.
    """

    name: str
    field_id: int
    type: Type


@dataclass(frozen=True, slots=True)
class Summary:
    """What a manifest list says of one partition field in a manifest ("field_summary")."""

    contains_null: bool
    contains_nan: bool
    lower: bytes | None
    upper: bytes | None


def partition_columns(spec: IcebergSpec, types: Mapping[int, Type]) -> tuple[PartitionColumn, ...]:
    """Return the fields of a spec's partition tuples.

    Args:
        spec: The spec.
        types: Types of the table's columns by field id.
    """
    return tuple(
        PartitionColumn(
            item.name,
            field_id,
            result_type(item.transform, types.get(item.source_id, StringType())),
        )
        for item, field_id in zip(spec.spec.fields, spec.field_ids, strict=True)
    )


def encode_manifest_meta(
    spec: IcebergSpec,
    schema: Schema,
    schema_id: int,
    version: int = 2,
    defaults: Defaults | None = None,
) -> dict[str, bytes]:
    """Return the metadata of a manifest's header ("Manifests")."""
    return {
        "schema": orjson.dumps(encode_schema(schema, schema_id, defaults)),
        "schema-id": str(schema_id).encode(),
        "partition-spec": orjson.dumps(encode_spec_fields(spec)),
        "partition-spec-id": str(spec.spec.spec_id).encode(),
        "format-version": str(version).encode(),
        "content": b"data",
    }


def encode_partition(
    columns: Sequence[PartitionColumn], values: Sequence[Value | None]
) -> bytes:  # fmt: skip
    """Encode a partition tuple."""
    parts = []
    for column, value in zip(columns, values, strict=True):
        parts.append(NULL if value is None else SOME + _encode_value(column.type, value))
    return b"".join(parts)


def encode_data_file(
    location: str, partition: bytes, rows: int, size_bytes: int, metrics: bytes
) -> bytes:
    """Encode the ``data_file`` member of a Parquet file that needs nothing special.

    Args:
        location: Its URI.
        partition: Its partition tuple, encoded.
        rows: Its row count.
        size_bytes: Its length.
        metrics: Encoded members from ``column_sizes`` to ``upper_bounds``.
    """
    return b"".join(
        (
            b"\x00",
            encode_bytes(location.encode()),
            b"\x0ePARQUET",
            partition,
            encode_long(rows),
            encode_long(size_bytes),
            metrics,
            b"\x00\x00\x00\x00",  # no key_metadata, split_offsets, equality_ids, sort_order_id
        )
    )


def encode_decoded(columns: Sequence[PartitionColumn], record: Record) -> bytes:
    """Encode a ``data_file`` member again that was decoded from somebody's manifest."""
    partition = encode_partition(columns, partition_values(columns, record["partition"]))
    maps = [
        _encode_items(record.get(name), encode_long)
        for name in ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts")
    ]
    bounds = [
        _encode_items(record.get(name), encode_bytes) for name in ("lower_bounds", "upper_bounds")
    ]
    key_metadata = record.get("key_metadata")
    order = record.get("sort_order_id")
    return b"".join(
        (
            encode_long(record.get("content") or 0),
            encode_bytes(record["file_path"].encode()),
            encode_bytes(record["file_format"].encode()),
            partition,
            encode_long(record["record_count"]),
            encode_long(record["file_size_in_bytes"]),
            *maps,
            *bounds,
            NULL if key_metadata is None else SOME + encode_bytes(key_metadata),
            _encode_longs(record.get("split_offsets")),
            _encode_longs(record.get("equality_ids")),
            NULL if order is None else SOME + encode_long(order),
        )
    )


def encode_reference(record: Record) -> bytes:
    """Encode what a ``data_file`` member says of the part of a file that it is.

    These are the last members of it in format version 3.
    """
    about = record.get("referenced_data_file")
    numbers = (record.get("content_offset"), record.get("content_size_in_bytes"))
    return b"".join(
        (
            NULL if about is None else SOME + encode_bytes(about.encode()),
            *(NULL if number is None else SOME + encode_long(number) for number in numbers),
        )
    )


def partition_values(
    columns: Sequence[PartitionColumn], record: Mapping[str, Any]
) -> tuple[Value | None, ...]:
    """Return a decoded partition tuple as physical values."""
    values: list[Value | None] = []
    for position, column in enumerate(columns):
        name = partition_name(column.field_id)
        value = record[name] if name in record else list(record.values())[position]
        if isinstance(column.type, DecimalType) and isinstance(value, bytes):
            value = int.from_bytes(value, "big", signed=True)
        values.append(value)
    return tuple(values)


def summarise(
    columns: Sequence[PartitionColumn], partitions: Sequence[tuple[Value | None, ...]]
) -> list[Summary]:
    """Summarise the partitions of a manifest's files, field by field."""
    summaries = []
    for position, column in enumerate(columns):
        values = {partition[position] for partition in partitions}
        null = None in values
        real: list[Any] = [value for value in values if value is not None]
        ordered = [value for value in real if value == value]
        encode = None if isinstance(column.type, UuidType) else encoder_of(column.type)
        lower = upper = None
        if ordered and encode is not None:
            lower, upper = encode(min(ordered)), encode(max(ordered))
        summaries.append(Summary(null, len(ordered) < len(real), lower, upper))
    return summaries


def encode_summaries(summaries: Sequence[Summary]) -> bytes:
    """Encode the ``partitions`` member of a manifest list entry."""
    if not summaries:
        return b"\x02\x00"
    parts = [SOME, encode_long(len(summaries))]
    for item in summaries:
        parts.append(b"\x01" if item.contains_null else b"\x00")
        parts.append(SOME + (b"\x01" if item.contains_nan else b"\x00"))
        parts += [
            NULL if bound is None else SOME + encode_bytes(bound)
            for bound in (item.lower, item.upper)
        ]
    return b"".join((*parts, b"\x00"))


def column_types(schemas: Mapping[int, Schema]) -> dict[int, Type]:
    """Return the newest type of every column that the schemas have."""
    types: dict[int, Type] = {}
    for _, schema in sorted(schemas.items()):
        types.update({item.id: item.type for _, item in walk(schema.fields)})
    return types


def _encode_items(items: Mapping[int, Any] | None, encode: Callable[[Any], bytes]) -> bytes:
    if items is None:
        return NULL
    if not items:
        return b"\x02\x00"
    body = b"".join([encode_long(key) + encode(value) for key, value in items.items()])
    return SOME + encode_long(len(items)) + body + b"\x00"


def _encode_longs(items: Sequence[int] | None) -> bytes:
    if items is None:
        return NULL
    if not items:
        return b"\x02\x00"
    return SOME + encode_long(len(items)) + b"".join(map(encode_long, items)) + b"\x00"


def _encode_value(type_: Type, value: Any) -> bytes:
    match type_:
        case BooleanType():
            return b"\x01" if value else b"\x00"
        case IntType() | DateType() | TimeType() | TimestampType():
            return encode_long(value)
        case FloatType(bits=64):
            return _DOUBLE.pack(value)
        case FloatType():
            return _FLOAT.pack(value)
        case DecimalType(precision):
            return int(value).to_bytes(decimal_size(precision), "big", signed=True)
        case UuidType() | FixedType():
            return bytes(value)
        case BinaryType():
            return encode_bytes(value)
        case _:
            return encode_bytes(str(value).encode())


def decimal_size(precision: int) -> int:
    """Return the fewest bytes that hold every decimal of a precision."""
    return int(10**precision).bit_length() // 8 + 1


def sanitize(name: str) -> str:
    """Return a column's name as an Avro name, escaped as the reference implementation does."""
    escaped = re.sub(r"[^A-Za-z0-9_]", lambda match: f"_x{ord(match[0]):X}", name)
    return f"_{escaped}" if not escaped or escaped[0].isdigit() else escaped
