"""The narrowest type that holds the values of two types without loss."""

from __future__ import annotations

from dataclasses import replace

from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StructType,
    TimestampType,
    Type,
)

_UNITS = ("s", "ms", "us", "ns")


def widen_type(a: Type, b: Type) -> Type | None:
    """Return the narrowest type that holds every value of both exactly, or None.

    Integers widen to integers (an unsigned one to the next wider signed one), floats to floats,
    decimals to decimals, timestamps to the finer unit, structs field by field (a field that one
    side lacks becomes optional). Nothing turns into text.
    """
    if a == b or isinstance(b, NullType):
        return a
    match a, b:
        case NullType(), _:
            return b
        case IntType(), IntType():
            return _widen_int(a, b)
        case FloatType(x), FloatType(y):
            return FloatType(max(x, y))
        case DecimalType(), DecimalType():
            scale = max(a.scale, b.scale)
            digits = max(a.precision - a.scale, b.precision - b.scale)
            return DecimalType(digits + scale, scale) if digits + scale <= 38 else None
        case TimestampType(x, utc), TimestampType(y, other) if utc == other:
            return TimestampType(max(x, y, key=_UNITS.index), utc)
        case StructType(x), StructType(y):
            fields = widen_fields(x, y)
            return None if isinstance(fields, str) else StructType(fields)
        case ListType(x), ListType(y):
            element = widen_field(x, y)
            return None if element is None else ListType(element)
        case MapType(), MapType():
            key, value = widen_field(a.key, b.key), widen_field(a.value, b.value)
            return None if key is None or value is None else MapType(key, value)
        case _:
            return None


def widen_field(a: Field, b: Field) -> Field | None:
    """Widen a field's type; it is required only if both are. Name and id are those of ``a``."""
    type_ = widen_type(a.type, b.type)
    return None if type_ is None else replace(a, type=type_, required=a.required and b.required)


def widen_fields(a: tuple[Field, ...], b: tuple[Field, ...]) -> tuple[Field, ...] | str:
    """Widen fields by name; those of ``a`` come first.

    Returns:
        The fields, or the name of the first whose types do not go together.
    """
    others = {field.name: field for field in b}
    merged = []
    for field in a:
        other = others.pop(field.name, None)
        both = replace(field, required=False) if other is None else widen_field(field, other)
        if both is None:
            return field.name
        merged.append(both)
    return (*merged, *(replace(field, required=False) for field in others.values()))


def _widen_int(a: IntType, b: IntType) -> Type | None:
    if a.signed == b.signed:
        return IntType(max(a.bits, b.bits), a.signed)
    signed, unsigned = (a, b) if a.signed else (b, a)
    if unsigned.bits < signed.bits:
        return signed
    match unsigned.bits:
        case 8:
            return IntType(16)
        case 16:
            return IntType(32)
        case 32:
            return IntType(64)
        case _:
            return DecimalType(20, 0)
