"""The Avro schemas of manifests and manifest lists that are written (format versions 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from parquedb.formats.iceberg.entries import PartitionColumn, decimal_size, sanitize
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


def _required(field_id: int, name: str, type_: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, "field-id": field_id}


def _optional(field_id: int, name: str, type_: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", type_], "default": None, "field-id": field_id}


def _map(key_id: int, value_id: int, value: str) -> dict[str, Any]:
    return {
        "type": "array",
        "logicalType": "map",
        "items": {
            "type": "record",
            "name": f"k{key_id}_v{value_id}",
            "fields": [_required(key_id, "key", "int"), _required(value_id, "value", value)],
        },
    }


def _list(element_id: int, element: Any) -> dict[str, Any]:
    return {"type": "array", "items": element, "element-id": element_id}


_NEW_MEMBERS = (
    _optional(142, "first_row_id", "long"),
    _optional(143, "referenced_data_file", "string"),
    _optional(144, "content_offset", "long"),
    _optional(145, "content_size_in_bytes", "long"),
)
"""Members of a data file that format version 3 added."""


@lru_cache(maxsize=256)
def manifest_schema(columns: tuple[PartitionColumn, ...], version: int = 2) -> bytes:
    """Return the Avro schema of a manifest ("Manifest Entry Fields", "Data File Fields")."""
    partition = {
        "type": "record",
        "name": "r102",
        "fields": _partition_fields(columns),
    }
    data_file = {
        "type": "record",
        "name": "r2",
        "fields": [
            _required(134, "content", "int"),
            _required(100, "file_path", "string"),
            _required(101, "file_format", "string"),
            _required(102, "partition", partition),
            _required(103, "record_count", "long"),
            _required(104, "file_size_in_bytes", "long"),
            _optional(108, "column_sizes", _map(117, 118, "long")),
            _optional(109, "value_counts", _map(119, 120, "long")),
            _optional(110, "null_value_counts", _map(121, 122, "long")),
            _optional(137, "nan_value_counts", _map(138, 139, "long")),
            _optional(125, "lower_bounds", _map(126, 127, "bytes")),
            _optional(128, "upper_bounds", _map(129, 130, "bytes")),
            _optional(131, "key_metadata", "bytes"),
            _optional(132, "split_offsets", _list(133, "long")),
            _optional(135, "equality_ids", _list(136, "int")),
            _optional(140, "sort_order_id", "int"),
            *(_NEW_MEMBERS if version > 2 else ()),
        ],
    }
    return orjson.dumps(
        {
            "type": "record",
            "name": "manifest_entry",
            "fields": [
                _required(0, "status", "int"),
                _optional(1, "snapshot_id", "long"),
                _optional(3, "sequence_number", "long"),
                _optional(4, "file_sequence_number", "long"),
                _required(2, "data_file", data_file),
            ],
        }
    )


def _partition_fields(columns: Sequence[PartitionColumn]) -> list[dict[str, Any]]:
    fields, defined = [], set[str]()
    for column in columns:
        type_ = _avro_type(column.type)
        if isinstance(type_, dict) and "name" in type_:
            # Avro wants a named type to be defined once and referred to afterwards.
            if type_["name"] in defined:
                type_ = type_["name"]
            else:
                defined.add(type_["name"])
        field = _optional(column.field_id, sanitize(column.name), type_)
        if field["name"] != column.name:
            field["iceberg-field-name"] = column.name
        fields.append(field)
    return fields


_AVRO: Mapping[Type, Any] = {
    BooleanType(): "boolean",
    IntType(32): "int",
    IntType(64): "long",
    FloatType(32): "float",
    FloatType(64): "double",
    StringType(): "string",
    BinaryType(): "bytes",
    DateType(): {"type": "int", "logicalType": "date"},
    TimeType("us"): {"type": "long", "logicalType": "time-micros"},
    UuidType(): {"type": "fixed", "name": "uuid_fixed", "size": 16, "logicalType": "uuid"},
}


def _avro_type(type_: Type) -> Any:
    match type_:
        case TimestampType(unit, utc):
            name = "timestamp-nanos" if unit == "ns" else "timestamp-micros"
            return {"type": "long", "logicalType": name, "adjust-to-utc": utc}
        case DecimalType(precision, scale):
            return {
                "type": "fixed",
                "name": f"decimal_{precision}_{scale}",
                "size": decimal_size(precision),
                "logicalType": "decimal",
                "precision": precision,
                "scale": scale,
            }
        case FixedType(length):
            return {"type": "fixed", "name": f"fixed_{length}", "size": length}
        case _:
            return _AVRO[type_]


_SUMMARY = {
    "type": "record",
    "name": "r508",
    "fields": [
        _required(509, "contains_null", "boolean"),
        _optional(518, "contains_nan", "boolean"),
        _optional(510, "lower_bound", "bytes"),
        _optional(511, "upper_bound", "bytes"),
    ],
}

_LIST_FIELDS = [
    _required(500, "manifest_path", "string"),
    _required(501, "manifest_length", "long"),
    _required(502, "partition_spec_id", "int"),
    _required(517, "content", "int"),
    _required(515, "sequence_number", "long"),
    _required(516, "min_sequence_number", "long"),
    _required(503, "added_snapshot_id", "long"),
    _required(504, "added_files_count", "int"),
    _required(505, "existing_files_count", "int"),
    _required(506, "deleted_files_count", "int"),
    _required(512, "added_rows_count", "long"),
    _required(513, "existing_rows_count", "long"),
    _required(514, "deleted_rows_count", "long"),
    _optional(507, "partitions", _list(508, _SUMMARY)),
    _optional(519, "key_metadata", "bytes"),
]


def _list_schema(fields: Sequence[dict[str, Any]]) -> bytes:
    return orjson.dumps({"type": "record", "name": "manifest_file", "fields": list(fields)})


MANIFEST_LIST_SCHEMA: bytes = _list_schema(_LIST_FIELDS)
"""The Avro schema of a manifest list ("Manifest Lists")."""
MANIFEST_LIST_SCHEMA_3: bytes = _list_schema(
    [*_LIST_FIELDS, _optional(520, "first_row_id", "long")]
)
"""The same in format version 3."""
