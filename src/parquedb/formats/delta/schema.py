"""Delta's schema strings and the neutral schema.

PROTOCOL.md, "Schema Serialization Format". Field ids are those that the fields' metadata carry
(``parquedb.field.id``, and ``parquedb.field.nested.ids`` for the insides of lists and maps), or are
given out by path, so that the same path keeps the same id for the whole log. What others record as
``parquet.field.id`` is read too, but not written: DuckDB 1.5 reads null in every column of a table
that has it without column mapping.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any, assert_never

import orjson

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.members import MAX_DEPTH, flag, members, text
from parquedb.model.schema import Identity, Path, Schema, assign_ids, map_fields, walk
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

FIELD_ID = "parquedb.field.id"
NESTED_IDS = "parquedb.field.nested.ids"
_FIELD_IDS = (FIELD_ID, "parquedb.field-id", "parquet.field.id")
_NESTED_IDS = (NESTED_IDS, "parquet.field.nested.ids")
_COMMENT = "comment"

_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(-?\d+)\s*\)")

PRIMITIVES: Mapping[str, Type] = {
    "string": StringType(),
    "long": IntType(64),
    "integer": IntType(32),
    "short": IntType(16),
    "byte": IntType(8),
    "float": FloatType(32),
    "double": FloatType(64),
    "boolean": BooleanType(),
    "binary": BinaryType(),
    "date": DateType(),
    "timestamp": TimestampType("us", utc=True),
    "timestamp_ntz": TimestampType("us", utc=False),
    "void": NullType(),
    "variant": VariantType(),
    "decimal": DecimalType(10, 0),
}
"""Types by their names, but decimals with precision."""

_MAX_PRECISION = 38

FieldMetadata = Mapping[str, Any]
"""The ``metadata`` of a struct field: any JSON values."""


@dataclass(frozen=True, slots=True)
class ParsedSchema:
    """A schema string, taken apart.

    Args:
        schema: The columns. Fields that record no id have id 0.
        metadata: The ``metadata`` of struct fields by path, only where there is any.
    """

    schema: Schema
    metadata: Mapping[Path, FieldMetadata]


@dataclass(slots=True)
class IdBook:
    """The ids given out over a log, so that a path keeps its id."""

    known: dict[Path, int] = field(default_factory=dict)
    last_id: int = 0

    def assign(self, schema: Schema) -> Schema:
        """Return a parsed schema with an id for every field.

        Where all fields record one, those are used and the schema is ``BY_ID``.
        """
        recorded = {path: f.id for path, f in walk(schema.fields)}
        explicit = {path: id_ for path, id_ in recorded.items() if id_ > 0}
        if len(set(explicit.values())) < len(explicit):
            explicit = {}  # copied by some tool from another column: no identity in these
        self.last_id = max((self.last_id, *explicit.values()))
        if explicit and len(explicit) == len(recorded):
            self.known.update(explicit)
            return replace(schema, identity=Identity.BY_ID, last_id=self.last_id)
        taken = set(explicit.values())
        known = {path: id_ for path, id_ in self.known.items() if id_ not in taken} | explicit
        assigned, self.last_id = assign_ids(schema, known, self.last_id)
        self.known.update({path: f.id for path, f in walk(assigned.fields)})
        return replace(assigned, identity=Identity.BY_NAME, last_id=self.last_id)


def parse_schema(source: str, location: str) -> ParsedSchema:
    """Parse a ``schemaString``.

    Raises:
        FormatError: It does not follow the specification.
        UnsupportedError: It has a type that is not known.
    """
    metadata: dict[Path, FieldMetadata] = {}
    try:
        root = orjson.loads(source)
        if root["type"] != "struct":
            raise ValueError("the outermost type is not 'struct'")
        fields = _parse_fields(root, (), metadata)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(
            f"{location!r}: the table's schemaString cannot be read "
            f"({type(error).__name__}: {error}); restore the file from a backup",
            location=location,
            section="Schema Serialization Format",
        ) from error
    return ParsedSchema(Schema(fields), metadata)


def encode_schema(schema: Schema, keep: Mapping[Path, FieldMetadata] | None = None) -> str:
    """Return a schema as a ``schemaString``.

    Field ids are recorded if the schema's identity is ``BY_ID``.

    Args:
        schema: Columns of types that Delta has.
        keep: Other metadata of fields by path, which is kept.

    Raises:
        UnsupportedError: A type has no equivalent.
    """
    with_ids = schema.identity is Identity.BY_ID
    root = _encode_struct(schema.fields, (), keep or {}, with_ids=with_ids)
    return orjson.dumps(root).decode()


def has_timestamp_ntz(schema: Schema) -> bool:
    """Whether any field is a timestamp without a zone."""
    return any(isinstance(f.type, TimestampType) and not f.type.utc for _, f in walk(schema.fields))


def has_variants(schema: Schema) -> bool:
    """Whether any field is a variant."""
    return any(isinstance(field.type, VariantType) for _, field in walk(schema.fields))


def fit_schema(schema: Schema, fit: Callable[[Type], Type | None]) -> Schema:
    """Return a schema with every leaf's type as Delta stores it.

    Raises:
        UnsupportedError: A type has no equivalent.
    """

    def change(path: Path, one: Field) -> Field:
        if isinstance(one.type, StructType | ListType | MapType):
            return one
        becomes = fit(one.type)
        if becomes is None:
            raise UnsupportedError(
                f"column {'.'.join(path)!r}: the type {describe_type(one.type)} has no "
                "equivalent in Delta; drop the column or convert it first",
                feature=describe_type(one.type),
            )
        return replace(one, type=becomes)

    return replace(schema, fields=map_fields(schema.fields, change))


def _parse_fields(body: Any, above: Path, metadata: dict[Path, FieldMetadata]) -> tuple[Field, ...]:
    fields = []
    if len(above) > MAX_DEPTH:
        raise ValueError(f"types are nested deeper than {MAX_DEPTH} levels")
    for item in body["fields"]:
        name = text(item["name"])
        path = (*above, name)
        own: FieldMetadata = members(item.get("metadata"))
        if own:
            metadata[path] = own
        ids = [own[k] for k in _NESTED_IDS if isinstance(own.get(k), dict)]
        nested: Mapping[str, int] = ids[0] if ids else {}
        type_ = _parse_type(item["type"], path, metadata, nested, name)
        recorded = next((own[k] for k in _FIELD_IDS if type(own.get(k)) is int), 0)
        doc = own.get(_COMMENT) if isinstance(own.get(_COMMENT), str) else None
        fields.append(Field(recorded, name, type_, not flag(item.get("nullable", True)), doc))
    if len({field.name for field in fields}) < len(fields):
        raise ValueError("two fields have one name")
    return tuple(fields)


def _parse_type(
    body: Any,
    path: Path,
    metadata: dict[Path, FieldMetadata],
    nested: Mapping[str, int],
    prefix: str,
) -> Type:
    if isinstance(body, str):
        return _parse_primitive(body, path)
    if len(path) > MAX_DEPTH:
        raise ValueError(f"types are nested deeper than {MAX_DEPTH} levels")
    match body["type"]:
        case "struct":
            return StructType(_parse_fields(body, path, metadata))
        case "array":
            name = f"{prefix}.element"
            inner = _parse_type(body["elementType"], (*path, "element"), metadata, nested, name)
            required = not flag(body.get("containsNull", True))
            return ListType(Field(_nested_id(nested, name), "element", inner, required))
        case "map":
            key_name, value_name = f"{prefix}.key", f"{prefix}.value"
            key = _parse_type(body["keyType"], (*path, "key"), metadata, nested, key_name)
            value = _parse_type(body["valueType"], (*path, "value"), metadata, nested, value_name)
            required = not flag(body.get("valueContainsNull", True))
            return MapType(
                Field(_nested_id(nested, key_name), "key", key, required=True),
                Field(_nested_id(nested, value_name), "value", value, required),
            )
        case other:
            raise ValueError(f"unknown kind of type {other!r} in column {'.'.join(path)!r}")


def _nested_id(nested: Mapping[str, int], name: str) -> int:
    found = nested.get(name, 0)
    return found if type(found) is int else 0


def _parse_primitive(wire: str, path: Path) -> Type:
    known = PRIMITIVES.get(wire)
    if known is not None:
        return known
    match = _DECIMAL.fullmatch(wire)
    if match is not None:
        precision, scale = int(match[1]), int(match[2])
        if not (0 < precision <= _MAX_PRECISION and 0 <= scale <= precision):
            raise ValueError(f"there is no type {wire}")
        return DecimalType(precision, scale)
    raise UnsupportedError(
        f"column {'.'.join(path)!r} has the type {wire!r}, which is not known; migrate the table "
        "without this column",
        feature=wire,
    )


def _encode_struct(
    fields: tuple[Field, ...],
    above: Path,
    keep: Mapping[Path, FieldMetadata],
    *,
    with_ids: bool,
) -> dict[str, Any]:
    encoded = []
    for one in fields:
        path = (*above, one.name)
        ours = (*_FIELD_IDS, *_NESTED_IDS, _COMMENT)
        metadata = {k: v for k, v in keep.get(path, {}).items() if k not in ours}
        nested: dict[str, int] = {}
        body = _encode_type(one.type, path, keep, nested, one.name, with_ids=with_ids)
        if one.doc is not None:
            metadata[_COMMENT] = one.doc
        if with_ids:
            metadata[FIELD_ID] = one.id
            if nested:
                metadata[NESTED_IDS] = nested
        encoded.append(
            {"name": one.name, "type": body, "nullable": not one.required, "metadata": metadata}
        )
    return {"type": "struct", "fields": encoded}


def _encode_type(
    type_: Type,
    path: Path,
    keep: Mapping[Path, FieldMetadata],
    nested: dict[str, int],
    prefix: str,
    *,
    with_ids: bool,
) -> Any:
    def inner(one: Field) -> Any:
        name = f"{prefix}.{one.name}"
        nested[name] = one.id
        below = (*path, one.name)
        return _encode_type(one.type, below, keep, nested, name, with_ids=with_ids)

    match type_:
        case StructType(fields):
            return _encode_struct(fields, path, keep, with_ids=with_ids)
        case ListType(element):
            return {
                "type": "array",
                "elementType": inner(element),
                "containsNull": not element.required,
            }
        case MapType(key, value):
            return {
                "type": "map",
                "keyType": inner(key),
                "valueType": inner(value),
                "valueContainsNull": not value.required,
            }
        case _:
            return _encode_primitive(type_, path)


def _encode_primitive(type_: Type, path: Path) -> str:
    match type_:
        case BooleanType():
            return "boolean"
        case IntType(bits, signed=True):
            return {8: "byte", 16: "short", 32: "integer", 64: "long"}[bits]
        case FloatType(bits=32):
            return "float"
        case FloatType(bits=64):
            return "double"
        case DecimalType(precision, scale):
            return f"decimal({precision},{scale})"
        case DateType():
            return "date"
        case TimestampType(_, utc):
            return "timestamp" if utc else "timestamp_ntz"
        case StringType():
            return "string"
        case BinaryType():
            return "binary"
        case VariantType():
            return "variant"
        case (
            IntType()
            | FloatType()
            | TimeType()
            | FixedType()
            | UuidType()
            | NullType()
            | StructType()
            | ListType()
            | MapType()
        ):
            raise UnsupportedError(
                f"column {'.'.join(path)!r}: Delta has no type {describe_type(type_)}",
                feature=describe_type(type_),
            )
        case _:
            assert_never(type_)
