"""Single values as bytes and back: bounds in manifests.

Specification: Appendix D, "Binary single-value serialization". Values are physical (see
:mod:`parquedb.model.files`). A column's bytes may be those of a narrower type, from before a
promotion (int to long, float to double), and are read by their length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from parquedb.model.files import Value
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

Decoder = Callable[[bytes], Value | None]
"""Bytes to a value; None where the bytes are no bound that can be used."""
Encoder = Callable[[Value], bytes | None]
"""A value to bytes; None where the value cannot be a bound."""

_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
_INT = struct.Struct("<i").pack
_LONG = struct.Struct("<q").pack


def decoder_of(type_: Type) -> Decoder | None:
    """Return the decoder for a type's values, None if the type has no bounds."""
    match type_:
        case BooleanType():
            return _decode_boolean
        case IntType() | DateType() | TimeType() | TimestampType():
            return _decode_int
        case FloatType():
            return _decode_float
        case DecimalType():
            return _decode_decimal
        case StringType():
            return _decode_string
        case BinaryType() | FixedType() | UuidType():
            return bytes
        case _:
            return None


def encoder_of(type_: Type) -> Encoder | None:
    """Return the encoder for values of an Iceberg type, None if the type has no bounds."""
    match type_:
        case BooleanType():
            return _encode_boolean
        case IntType(bits=64) | TimeType() | TimestampType():
            return _encode_long
        case IntType() | DateType():
            return _encode_int
        case FloatType(bits=64):
            return _encode_double
        case FloatType():
            return _encode_float
        case DecimalType():
            return encode_unscaled
        case StringType():
            return _encode_string
        case BinaryType() | FixedType() | UuidType():
            return _encode_bytes
        case _:
            return None


def encode_unscaled(value: Value) -> bytes | None:
    """Encode a decimal's unscaled integer: two's complement, big-endian, as short as can be."""
    if not isinstance(value, int):
        return None
    magnitude = value if value >= 0 else ~value
    return value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def lower_float(value: Value) -> Value:
    """Return a lower bound with zero made negative: -0.0 sorts before +0.0."""
    return -0.0 if value == 0 else value


def upper_float(value: Value) -> Value:
    """Return an upper bound with zero made positive: -0.0 sorts before +0.0."""
    return 0.0 if value == 0 else value


def _decode_boolean(data: bytes) -> Value | None:
    return any(data) if data else None


def _decode_int(data: bytes) -> Value | None:
    return int.from_bytes(data, "little", signed=True) if len(data) in (4, 8) else None


def _decode_float(data: bytes) -> Value | None:
    match len(data):
        case 8:
            value: float = _DOUBLE.unpack(data)[0]
        case 4:
            value = _FLOAT.unpack(data)[0]
        case _:
            return None
    return value if value == value else None


def _decode_decimal(data: bytes) -> Value | None:
    return int.from_bytes(data, "big", signed=True) if data else None


def _decode_string(data: bytes) -> Value | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _encode_boolean(value: Value) -> bytes | None:
    return b"\x01" if value else b"\x00"


def _encode_int(value: Value) -> bytes | None:
    try:
        return _INT(value)
    except struct.error:
        return None


def _encode_long(value: Value) -> bytes | None:
    try:
        return _LONG(value)
    except struct.error:
        return None


def _encode_float(value: Value) -> bytes | None:
    if not isinstance(value, int | float) or value != value:
        return None
    try:
        return _FLOAT.pack(value)
    except OverflowError:
        return None


def _encode_double(value: Value) -> bytes | None:
    if not isinstance(value, int | float) or value != value:
        return None
    return _DOUBLE.pack(value)


def _encode_string(value: Value) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        return value.encode()
    except UnicodeEncodeError:
        return None


def _encode_bytes(value: Value) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray) else None
