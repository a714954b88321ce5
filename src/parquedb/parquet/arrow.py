"""Schemas and values between the model and Arrow.

Field ids travel as Arrow does it for Parquet: in a field's metadata under ``PARQUET:field_id``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Context, Decimal
from typing import assert_never

import pyarrow as pa

from parquedb.errors import UnsupportedError
from parquedb.model.files import Value
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
)
from parquedb.parquet.dynamic import AnyArray, AnyField, AnyType

FIELD_ID = b"PARQUET:field_id"
_DOC = b"comment"
_MAX_DECIMAL = 76
VARIANT_PARTS = ("metadata", "value")
"""The parts that a variant is stored in, both bytes; a shredded one has more."""
_NO_ID = 0
"""The id of a field that carries none, see :class:`~parquedb.model.types.Field`."""

_SIMPLE: dict[AnyType, Type] = {
    pa.bool_(): BooleanType(),
    pa.int8(): IntType(8),
    pa.int16(): IntType(16),
    pa.int32(): IntType(32),
    pa.int64(): IntType(64),
    pa.uint8(): IntType(8, signed=False),
    pa.uint16(): IntType(16, signed=False),
    pa.uint32(): IntType(32, signed=False),
    pa.uint64(): IntType(64, signed=False),
    pa.float16(): FloatType(16),
    pa.float32(): FloatType(32),
    pa.float64(): FloatType(64),
    pa.date32(): DateType(),
    pa.date64(): DateType(),
    pa.time32("s"): TimeType("s"),
    pa.time32("ms"): TimeType("ms"),
    pa.time64("us"): TimeType("us"),
    pa.time64("ns"): TimeType("ns"),
    pa.string(): StringType(),
    pa.large_string(): StringType(),
    pa.string_view(): StringType(),
    pa.binary(): BinaryType(),
    pa.large_binary(): BinaryType(),
    pa.binary_view(): BinaryType(),
    pa.null(): NullType(),
}
_PLAIN: dict[Type, AnyType] = {
    BooleanType(): pa.bool_(),
    DateType(): pa.date32(),
    StringType(): pa.string(),
    BinaryType(): pa.binary(),
    UuidType(): pa.uuid(),
    VariantType(): pa.struct(
        [pa.field(name, pa.binary(), nullable=False) for name in VARIANT_PARTS]
    ),
    NullType(): pa.null(),
}
_INTS = {
    (8, True): pa.int8(),
    (16, True): pa.int16(),
    (32, True): pa.int32(),
    (64, True): pa.int64(),
    (8, False): pa.uint8(),
    (16, False): pa.uint16(),
    (32, False): pa.uint32(),
    (64, False): pa.uint64(),
}
_TIMES = {
    "s": pa.time32("s"),
    "ms": pa.time32("ms"),
    "us": pa.time64("us"),
    "ns": pa.time64("ns"),
}
_FLOATS = {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}


def arrow_schema_of(schema: Schema, *, with_ids: bool = True) -> pa.Schema:
    """Return the Arrow schema of a schema.

    Args:
        schema: The columns.
        with_ids: Whether fields carry their id as metadata; those without one never do.

    Raises:
        UnsupportedError: A column's type has no Arrow type.
    """
    return pa.schema([_arrow_field(field, (field.name,), with_ids) for field in schema.fields])


def arrow_type_of(type_: Type, path: Path = (), *, with_ids: bool = True) -> AnyType:
    """Return the Arrow type of a type; ``path`` is the column that messages name.

    Raises:
        UnsupportedError: There is none.
    """
    if (simple := _PLAIN.get(type_)) is not None:
        return simple
    match type_:
        case IntType(bits, signed):
            return _INTS[bits, signed]
        case FloatType(bits):
            return _FLOATS[bits]
        case DecimalType(precision, scale):
            return _arrow_decimal(precision, scale, path)
        case TimeType(unit):
            return _TIMES[unit]
        case TimestampType(unit, utc):
            return pa.timestamp(unit, "UTC" if utc else None)
        case FixedType(length):
            return pa.binary(length)
        case StructType(fields):
            return pa.struct([_arrow_field(f, (*path, f.name), with_ids) for f in fields])
        case ListType(element):
            return pa.list_(_arrow_field(element, (*path, "element"), with_ids))
        case MapType(key, value):
            fields = (replace(key, required=True), value)
            return pa.map_(*(_arrow_field(f, (*path, f.name), with_ids) for f in fields))
        case (
            BooleanType()
            | DateType()
            | StringType()
            | BinaryType()
            | UuidType()
            | VariantType()
            | NullType()
        ):  # not reached: these are in _PLAIN
            return _PLAIN[type_]
        case _:
            assert_never(type_)


def schema_of_arrow(arrow: pa.Schema) -> Schema:
    """Return the schema of an Arrow schema.

    Its identity is ``BY_ID`` if every field, nested ones included, carries an id of its own;
    otherwise it is ``BY_NAME`` and ids are given out anew.

    Raises:
        UnsupportedError: A column's type cannot be carried right.
    """
    schema = carried_schema(arrow)
    ids = [field.id for _, field in walk(schema.fields)]
    if ids and _NO_ID not in ids and len(set(ids)) == len(ids):
        return replace(schema, identity=Identity.BY_ID)
    return assign_ids(schema, {}, 0)[0]


def carried_schema(arrow: pa.Schema) -> Schema:
    """Return the schema of an Arrow schema with the ids that it carries, 0 where it has none.

    Raises:
        UnsupportedError: A column's type cannot be carried right.
    """
    return Schema(tuple(_model_field(field, (field.name,)) for field in arrow))


def type_of_arrow(arrow: AnyType, path: Path = ()) -> Type:
    """Return the type of an Arrow type; ``path`` is the column that messages name.

    Dictionaries and run-ends count as the values they encode.

    Raises:
        UnsupportedError: It has no equivalent.
    """
    if (simple := _SIMPLE.get(arrow)) is not None:
        return simple
    kinds = pa.types
    if kinds.is_dictionary(arrow) or kinds.is_run_end_encoded(arrow):
        return type_of_arrow(arrow.value_type, path)
    if kinds.is_timestamp(arrow):
        return TimestampType(arrow.unit, arrow.tz is not None)
    if kinds.is_decimal(arrow):
        return DecimalType(arrow.precision, arrow.scale)
    if kinds.is_fixed_size_binary(arrow):
        return FixedType(arrow.byte_width)
    if isinstance(arrow, pa.BaseExtensionType):
        return _extension(arrow, path)
    return _nested(arrow, path)


def nulls(rows: int, arrow: AnyType) -> AnyArray:
    """Return a column of nulls that can be written.

    ``pyarrow.nulls`` fills a null struct's required fields with nulls too, which its Parquet
    writer refuses.
    """
    if _requires(arrow):
        return pa.array([None] * rows, arrow)
    return pa.nulls(rows, arrow)


def _requires(arrow: AnyType) -> bool:
    return pa.types.is_struct(arrow) and any(
        not field.nullable or _requires(field.type) for field in arrow
    )


def constant(value: Value | None, type_: Type, rows: int) -> AnyArray:
    """Return a column of one physical value (see :mod:`parquedb.model.files`) repeated.

    Raises:
        pa.ArrowInvalid: The value does not fit the type.
    """
    arrow = arrow_type_of(type_)
    one: AnyArray
    if value is None:
        return nulls(rows, arrow)
    match type_:
        case DecimalType(_, scale):
            one = pa.array([_decimal(value, scale)], arrow)
        case DateType() | TimeType() | TimestampType():
            width = pa.int32() if arrow.bit_width == 32 else pa.int64()
            one = pa.array([value], width).view(arrow)
        case UuidType():
            one = pa.ExtensionArray.from_storage(arrow, pa.array([value], arrow.storage_type))
        case _:
            one = pa.array([value], arrow)
    if isinstance(arrow, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(arrow, pa.repeat(one.storage[0], rows))
    return pa.repeat(one[0], rows)


def _decimal(unscaled: Value, scale: int) -> Decimal:
    if not isinstance(unscaled, int):
        raise pa.ArrowInvalid(f"{unscaled!r} is no unscaled decimal")
    return Decimal(unscaled).scaleb(-scale, Context(prec=_MAX_DECIMAL))


def leaves(fields: tuple[Field, ...]) -> Iterator[tuple[Field, bool]]:
    """Yield the primitive fields in the order of Parquet's columns.

    Each comes with whether it lies inside a list or map, where one row has any number of values.
    A variant is two columns: both have its id, and the nulls are those of the first.
    """
    for field in fields:
        yield from _leaves(field, repeated=False)


def _leaves(field: Field, *, repeated: bool) -> Iterator[tuple[Field, bool]]:
    match field.type:
        case StructType(fields):
            for inner in fields:
                yield from _leaves(inner, repeated=repeated)
        case ListType(element):
            yield from _leaves(element, repeated=True)
        case MapType(key, value):
            yield from _leaves(key, repeated=True)
            yield from _leaves(value, repeated=True)
        case VariantType():
            yield field, repeated
            yield field, True
        case _:
            yield field, repeated


def with_leaf_types(schema: Schema, types: Sequence[Type | None]) -> Schema:
    """Give leaf fields other types.

    Args:
        schema: The schema.
        types: For each leaf in order its type, or None to leave it.
    """
    given = iter(types)

    def change(_: Path, field: Field) -> Field:
        if isinstance(field.type, StructType | ListType | MapType):
            return field
        type_ = next(given)
        return field if type_ is None else replace(field, type=type_)

    return replace(schema, fields=map_fields(schema.fields, change))


def _arrow_field(field: Field, path: Path, with_ids: bool) -> AnyField:  # noqa: FBT001
    metadata = {}
    if with_ids and field.id != _NO_ID:
        metadata[FIELD_ID] = str(field.id).encode()
    if field.doc is not None:
        metadata[_DOC] = field.doc.encode()
    type_ = arrow_type_of(field.type, path, with_ids=with_ids)
    nullable = not field.required or isinstance(field.type, NullType)
    return pa.field(field.name, type_, nullable=nullable, metadata=metadata or None)


def _model_field(field: AnyField, path: Path, name: str | None = None) -> Field:
    metadata = field.metadata or {}
    text = metadata.get(FIELD_ID, b"")
    doc = metadata.get(_DOC)
    return Field(
        int(text) if text.isdigit() else _NO_ID,
        field.name if name is None else name,
        type_of_arrow(field.type, path),
        required=not field.nullable,
        doc=None if doc is None else doc.decode("utf-8", "replace"),
    )


def _arrow_decimal(precision: int, scale: int, path: Path) -> AnyType:
    if not 0 < precision <= _MAX_DECIMAL:
        raise _unsupported(path, f"a decimal of {precision} digits is too wide", "decimal")
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _nested(arrow: AnyType, path: Path) -> Type:
    kinds = pa.types
    if kinds.is_struct(arrow):
        return StructType(tuple(_model_field(f, (*path, f.name)) for f in arrow.fields))
    if kinds.is_map(arrow):
        return MapType(
            replace(_model_field(arrow.key_field, (*path, "key"), "key"), required=True),
            _model_field(arrow.item_field, (*path, "value"), "value"),
        )
    if (
        kinds.is_list(arrow)
        or kinds.is_large_list(arrow)
        or kinds.is_fixed_size_list(arrow)
        or kinds.is_list_view(arrow)
        or kinds.is_large_list_view(arrow)
    ):
        return ListType(_model_field(arrow.value_field, (*path, "element"), "element"))
    raise _unsupported(path, f"the Arrow type {arrow} has no equivalent", str(arrow))


def _extension(arrow: pa.BaseExtensionType, path: Path) -> Type:
    match arrow.extension_name:
        case "arrow.uuid":
            return UuidType()
        case "arrow.json":
            return StringType()
        case "arrow.parquet.variant":
            check_unshredded(arrow.storage_type, path)
            return VariantType()
        case name:
            raise _unsupported(path, f"the Arrow extension type {name!r} is not known", name)


def check_unshredded(arrow: AnyType, path: Path) -> None:
    """Check that a variant is stored in two parts, whatever their order is.

    Raises:
        UnsupportedError: Some of its values are in columns of their own, or it is no variant.
    """
    parts = {item.name: item.type for item in arrow} if pa.types.is_struct(arrow) else {}
    if set(parts) != set(VARIANT_PARTS) or not all(map(_is_bytes, parts.values())):
        raise _unsupported(
            path, f"a variant that is stored as {arrow} (shredded) is not read", "shredded variants"
        )


def shredded(key: str, column: str) -> UnsupportedError:
    """Return the error for a file with a variant that is not stored in two parts alone."""
    return UnsupportedError(
        f"{key!r}: the variant {column!r} is shredded, that is, some of its values are in columns "
        "of their own; write the table's files again without that, or drop the column",
        feature="shredded variants",
    )


def _is_bytes(arrow: AnyType) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_binary(arrow) or kinds.is_large_binary(arrow) or kinds.is_binary_view(arrow)
    )


def _unsupported(path: Path, reason: str, feature: str) -> UnsupportedError:
    column = ".".join(path) or "(no name)"
    return UnsupportedError(
        f"column {column!r}: {reason}; convert or drop the column first", feature=feature
    )
