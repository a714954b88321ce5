"""The types of columns, as one closed union that all formats map to and from.

Nothing here belongs to a format. Widths and units are those of the data, so that a mapping
between two formats can say whether it is exact.
"""

from __future__ import annotations

from typing import Literal

from parquedb.slotted import dataclass

TimeUnit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class BooleanType:
    """True or false."""


@dataclass(frozen=True, slots=True)
class IntType:
    """An integer of 8, 16, 32 or 64 bits."""

    bits: Literal[8, 16, 32, 64]
    signed: bool = True


@dataclass(frozen=True, slots=True)
class FloatType:
    """An IEEE 754 number of 16, 32 or 64 bits."""

    bits: Literal[16, 32, 64]


@dataclass(frozen=True, slots=True)
class DecimalType:
    """A decimal number of fixed precision and scale."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class DateType:
    """A calendar date."""


@dataclass(frozen=True, slots=True)
class TimeType:
    """A time of day without a zone."""

    unit: TimeUnit = "us"


@dataclass(frozen=True, slots=True)
class TimestampType:
    """A point in time (``utc``) or a wall-clock reading without a zone (not ``utc``)."""

    unit: TimeUnit = "us"
    utc: bool = True


@dataclass(frozen=True, slots=True)
class StringType:
    """Unicode text."""


@dataclass(frozen=True, slots=True)
class BinaryType:
    """Bytes of any length."""


@dataclass(frozen=True, slots=True)
class FixedType:
    """Bytes of one length."""

    length: int


@dataclass(frozen=True, slots=True)
class UuidType:
    """A UUID in 16 bytes."""


@dataclass(frozen=True, slots=True)
class VariantType:
    """Semi-structured data in Parquet's Variant encoding."""


@dataclass(frozen=True, slots=True)
class NullType:
    """A column that holds nothing but null (Iceberg ``unknown``, Delta ``void``)."""


@dataclass(frozen=True, slots=True)
class StructType:
    """A record of named fields."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class ListType:
    """A sequence; ``element`` is a field named ``element``."""

    element: Field


@dataclass(frozen=True, slots=True)
class MapType:
    """A mapping; its fields are named ``key`` and ``value``."""

    key: Field
    value: Field


PrimitiveType = (
    BooleanType
    | IntType
    | FloatType
    | DecimalType
    | DateType
    | TimeType
    | TimestampType
    | StringType
    | BinaryType
    | FixedType
    | UuidType
    | VariantType
    | NullType
)
NestedType = StructType | ListType | MapType
Type = PrimitiveType | NestedType


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed column or part of one.

    Args:
        id: Identity that survives a rename; unique in a schema; 0 while none is assigned.
        name: The name that users see.
        type: Its type.
        required: Whether null is excluded.
        doc: A comment, or None.
        initial: The physical value (see :mod:`parquedb.model.files`) in rows of data files that
            lack the column; None for null.
    """

    id: int
    name: str
    type: Type
    required: bool = False
    doc: str | None = None
    initial: bool | int | float | str | bytes | None = None


def describe_type(type_: Type) -> str:
    """Return a type as messages print it: ``decimal(10,2)``, ``list<struct<a: int32>>``."""
    match type_:
        case IntType(bits, signed):
            return f"{'' if signed else 'u'}int{bits}"
        case FloatType(bits):
            return f"float{bits}"
        case DecimalType(precision, scale):
            return f"decimal({precision},{scale})"
        case TimeType(unit):
            return f"time({unit})"
        case TimestampType(unit, utc):
            return f"timestamp({unit}{', UTC' if utc else ''})"
        case FixedType(length):
            return f"fixed({length})"
        case StructType(fields):
            return f"struct<{', '.join(f'{f.name}: {describe_type(f.type)}' for f in fields)}>"
        case ListType(element):
            return f"list<{describe_type(element.type)}>"
        case MapType(key, value):
            return f"map<{describe_type(key.type)}, {describe_type(value.type)}>"
        case _:
            return "void" if isinstance(type_, NullType) else _word(type_)


def _word(type_: Type) -> str:
    return type(type_).__name__.removesuffix("Type").lower()
