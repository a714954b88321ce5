"""Schemas, partition specs and types as JSON and back (Appendix C: "JSON serialization").

Field ids, names, types, requiredness and comments are kept. Of the defaults of format version 3,
``initial-default`` is, which stands for the values in files that are older than the column;
``write-default`` is for writers: a table that is written keeps both as they are in its metadata
(:func:`defaults_of`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.iceberg.defaults import parse_default
from parquedb.model.members import MAX_DEPTH, flag, items, optional_text, text, whole
from parquedb.model.partition import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    PartitionField,
    PartitionSpec,
    Transform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)
from parquedb.model.schema import Identity, Schema, children, walk
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
    VariantType,
    describe_type,
)
from parquedb.slotted import dataclass

FIRST_PARTITION_ID = 1000
Defaults = Mapping[int, Mapping[str, Any]]
"""The members ``initial-default`` and ``write-default`` of columns, by field id."""
_DEFAULTS = ("initial-default", "write-default")
_MAX_PRECISION = 38

_PRIMITIVES: Mapping[str, Type] = {
    "boolean": BooleanType(),
    "int": IntType(32),
    "long": IntType(64),
    "float": FloatType(32),
    "double": FloatType(64),
    "date": DateType(),
    "time": TimeType("us"),
    "timestamp": TimestampType("us", utc=False),
    "timestamptz": TimestampType("us", utc=True),
    "string": StringType(),
    "uuid": UuidType(),
    "binary": BinaryType(),
}
VERSION_3: Mapping[str, Type] = {
    "timestamp_ns": TimestampType("ns", utc=False),
    "timestamptz_ns": TimestampType("ns", utc=True),
    "unknown": NullType(),
    "variant": VariantType(),
}
"""Types that tables of format version 3 have and older ones have not."""
_NAMES = {type_: name for name, type_ in (*_PRIMITIVES.items(), *VERSION_3.items())}
_GEOSPATIAL = ("geometry", "geography")
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(-?\d+)\s*\)")
_FIXED = re.compile(r"fixed\[\s*(\d+)\s*\]")
_SIMPLE: Mapping[str, Transform] = {
    "identity": IdentityTransform(),
    "year": YearTransform(),
    "month": MonthTransform(),
    "day": DayTransform(),
    "hour": HourTransform(),
    "void": VoidTransform(),
}
_SIMPLE_NAMES = {transform: name for name, transform in _SIMPLE.items()}
_SIZED = re.compile(r"(bucket|truncate)\[\s*(\d+)\s*\]")


@dataclass(frozen=True, slots=True)
class IcebergSpec:
    """A partition spec with the ids of its fields.

    Args:
        spec: The spec.
        field_ids: Partition field ids, one per field.
    """

    spec: PartitionSpec
    field_ids: tuple[int, ...]


def parse_type(wire: Any, location: str, depth: int = 0) -> Type:
    """Parse a type ("Schemas")."""
    if isinstance(wire, str):
        return _parse_primitive(wire, location)
    if depth > MAX_DEPTH:
        raise ValueError(f"types are nested deeper than {MAX_DEPTH} levels")
    match wire.get("type"):
        case "struct":
            return StructType(parse_fields(wire["fields"], location, depth + 1))
        case "list":
            element = parse_type(wire["element"], location, depth + 1)
            required = flag(wire.get("element-required", False))
            return ListType(Field(whole(wire["element-id"]), "element", element, required))
        case "map":
            key_type = parse_type(wire["key"], location, depth + 1)
            key = Field(whole(wire["key-id"]), "key", key_type, required=True)
            value = parse_type(wire["value"], location, depth + 1)
            required = flag(wire.get("value-required", False))
            return MapType(key, Field(whole(wire["value-id"]), "value", value, required))
        case other:
            raise FormatError(
                f"{location}: {other!r} is no type; repair the table's metadata",
                location=location,
                section="Appendix C: Schemas",
            )


def encode_type(type_: Type) -> Any:
    """Encode a type ("Schemas")."""
    if (name := _NAMES.get(type_)) is not None:
        return name
    match type_:
        case DecimalType(precision, scale):
            return f"decimal({precision}, {scale})"
        case FixedType(length):
            return f"fixed[{length}]"
        case StructType(fields):
            return {"type": "struct", "fields": [_encode_field(field) for field in fields]}
        case ListType(element):
            return {
                "type": "list",
                "element-id": element.id,
                "element": encode_type(element.type),
                "element-required": element.required,
            }
        case MapType(key, value):
            return {
                "type": "map",
                "key-id": key.id,
                "key": encode_type(key.type),
                "value-id": value.id,
                "value": encode_type(value.type),
                "value-required": value.required,
            }
        case _:
            raise UnsupportedError(
                f"the type {describe_type(type_)} does not exist in Iceberg",
                feature=describe_type(type_),
            )


def parse_fields(
    wire: Sequence[Mapping[str, Any]], location: str, depth: int = 0
) -> tuple[Field, ...]:
    """Parse the fields of a struct."""
    fields = tuple(_parse_field(field, location, depth) for field in items(wire))
    if len({field.name for field in fields}) < len(fields):
        raise ValueError("two fields have one name")
    return fields


def _parse_field(wire: Mapping[str, Any], location: str, depth: int) -> Field:
    name, initial = text(wire["name"]), wire.get("initial-default")
    type_ = parse_type(wire["type"], location, depth)
    if initial is not None and children(type_):
        raise UnsupportedError(
            f"{location}: the column {name!r} is nested and has the initial-default {initial!r}, "
            "which stands for its values in files that are older than the column; rewrite the "
            "table's data files and copy it into a table without the default",
            feature="initial-default",
        )
    value = None if initial is None else parse_default(initial, type_)
    required, doc = flag(wire.get("required", False)), optional_text(wire.get("doc"))
    return Field(whole(wire["id"]), name, type_, required, doc, value)


def parse_schema(wire: Mapping[str, Any], location: str) -> Schema:
    """Parse a schema."""
    fields = parse_fields(wire["fields"], location)
    ids = [field.id for _, field in walk(fields)]
    if len(set(ids)) < len(ids):
        raise ValueError("two fields have one id")
    identifiers = items(wire.get("identifier-field-ids"))
    return Schema(fields, Identity.BY_ID, tuple(whole(id_) for id_ in identifiers))


def encode_schema(
    schema: Schema, schema_id: int, defaults: Defaults | None = None
) -> dict[str, Any]:
    """Encode a schema.

    Args:
        schema: The schema.
        schema_id: Its id.
        defaults: The defaults of its columns.
    """
    wire: dict[str, Any] = {
        "type": "struct",
        "schema-id": schema_id,
        "fields": [_encode_field(field) for field in schema.fields],
    }
    if defaults:
        _put_defaults(wire, defaults)
    if schema.identifier_ids:
        wire["identifier-field-ids"] = list(schema.identifier_ids)
    return wire


def defaults_of(wire: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the defaults in a schema or type as it is in the metadata, by field id."""
    for field in _fields_of(wire):
        found = {name: field[name] for name in _DEFAULTS if field.get(name) is not None}
        if found:
            yield field["id"], found


def _put_defaults(wire: Any, defaults: Defaults) -> None:
    for field in _fields_of(wire):
        field.update(defaults.get(field["id"], {}))


def _fields_of(wire: Any) -> Iterator[dict[str, Any]]:
    """Yield the fields of structs in a type that was parsed, at any depth."""
    if not isinstance(wire, dict):
        return
    for field in wire.get("fields") or ():
        yield field
        yield from _fields_of(field["type"])
    for inner in ("element", "key", "value"):
        yield from _fields_of(wire.get(inner))


def parse_spec_fields(
    wire: Sequence[Mapping[str, Any]], spec_id: int, location: str
) -> IcebergSpec:
    """Parse a spec's fields; version 1 may leave their ids out, then they count from 1000."""
    fields = []
    for field in wire:
        sources: Sequence[int] = field.get("source-ids") or ()
        if "source-id" not in field and len(sources) != 1:
            raise UnsupportedError(
                f"{location}: partition field {field.get('name')!r} has several source columns",
                feature="multi-argument transforms",
            )
        transform = _parse_transform(field["transform"], location)
        source_id = field["source-id"] if "source-id" in field else sources[0]
        fields.append(PartitionField(whole(source_id), text(field["name"]), transform))
    ids = (
        whole(field.get("field-id", FIRST_PARTITION_ID + position))
        for position, field in enumerate(wire)
    )
    return IcebergSpec(PartitionSpec(spec_id, tuple(fields)), tuple(ids))


def encode_spec_fields(spec: IcebergSpec) -> list[dict[str, Any]]:
    """Encode a spec's fields."""
    return [
        {
            "source-id": field.source_id,
            "field-id": field_id,
            "name": field.name,
            "transform": encode_transform(field.transform),
        }
        for field, field_id in zip(spec.spec.fields, spec.field_ids, strict=True)
    ]


def encode_transform(transform: Transform) -> str:
    """Encode a partition transform ("Partition Specs")."""
    match transform:
        case BucketTransform(buckets):
            return f"bucket[{buckets}]"
        case TruncateTransform(width):
            return f"truncate[{width}]"
        case _:
            return _SIMPLE_NAMES[transform]


def result_type(transform: Transform, source: Type) -> Type:
    """Return the type of a transform's values ("Partition Transforms")."""
    match transform:
        case IdentityTransform() | TruncateTransform() | VoidTransform():
            return source
        case DayTransform():
            return DateType()
        case _:
            return IntType(32)


def _parse_primitive(wire: str, location: str) -> Type:
    if (type_ := _PRIMITIVES.get(wire) or VERSION_3.get(wire)) is not None:
        return type_
    if match := _DECIMAL.fullmatch(wire):
        precision, scale = int(match[1]), int(match[2])
        if not (0 < precision <= _MAX_PRECISION and 0 <= scale <= precision):
            raise ValueError(f"there is no type {wire}")
        return DecimalType(precision, scale)
    if match := _FIXED.fullmatch(wire):
        if not 0 < int(match[1]) < 1 << 31:
            raise ValueError(f"there is no type {wire}")
        return FixedType(int(match[1]))
    if wire.startswith(_GEOSPATIAL):
        name = wire.partition("(")[0]
        raise UnsupportedError(
            f"{location}: a column has the type {wire!r}, which is not carried; drop the column "
            "and expire the snapshots that have it, or copy the table without it",
            feature=name,
        )
    raise FormatError(
        f"{location}: {wire!r} is no type; repair the table's metadata",
        location=location,
        section="Primitive Types",
    )


def _encode_field(field: Field) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "id": field.id,
        "name": field.name,
        "required": field.required,
        "type": encode_type(field.type),
    }
    if field.doc is not None:
        wire["doc"] = field.doc
    return wire


def _parse_transform(wire: str, location: str) -> Transform:
    if (simple := _SIMPLE.get(text(wire))) is not None:
        return simple
    if match := _SIZED.fullmatch(wire):
        size = int(match[2])
        if not 0 < size < 1 << 31:
            raise ValueError(f"there is no transform {wire}")
        return BucketTransform(size) if match[1] == "bucket" else TruncateTransform(size)
    raise UnsupportedError(
        f"{location}: the partition transform {wire!r} is not known", feature=f"transform {wire}"
    )
