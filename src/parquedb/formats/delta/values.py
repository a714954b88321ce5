"""Values of partitions and statistics between their physical form and Delta's text.

PROTOCOL.md, "Partition Value Serialization" and "Per-file Statistics". Physical values are those
of :mod:`parquedb.model.files`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext

from parquedb.errors import FormatError, UnsupportedError
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
    describe_type,
)

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (a reading without a zone)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS = 76
_MICROSECOND = timedelta(microseconds=1)
_ESCAPED = re.compile(r"(?:\\u00[0-9A-Fa-f]{2})+")
_ODD_DECIMAL = re.compile(r"(-?[0-9]+)\.0*-([0-9]+)")
_SHORT_DATE = re.compile(r"(\d{1,4})-(\d{1,2})-(\d{1,2})")


def parse_date(text: str) -> int:
    """Return the days since 1970-01-01 of ``2024-01-31``.

    Raises:
        ValueError: It is no date between the years 1 and 9999.
    """
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        match = _SHORT_DATE.fullmatch(text)
        if match is None:
            raise
        return date(int(match[1]), int(match[2]), int(match[3])).toordinal() - _EPOCH_DAY


def encode_date(days: int) -> str:
    """Return a date as ``2024-01-31``.

    Raises:
        ValueError: It is not between the years 1 and 9999.
    """
    try:
        return date.fromordinal(days + _EPOCH_DAY).isoformat()
    except OverflowError as error:
        raise ValueError(str(error)) from error


def parse_timestamp(text: str) -> int:
    """Return microseconds since 1970; a text without a zone is taken as UTC, or as it is.

    Raises:
        ValueError: It is no ISO 8601 timestamp between the years 1 and 9999.
    """
    at = datetime.fromisoformat(text)
    return (at - (_EPOCH if at.tzinfo is None else _EPOCH_UTC)) // _MICROSECOND


def encode_timestamp(at_us: int, *, form: str) -> str:
    """Return microseconds since 1970 as text.

    Args:
        at_us: Microseconds.
        form: ``"utc"`` for ``2024-01-31T00:00:00.000000Z``, ``"ntz"`` for
            ``2024-01-31 00:00:00.000000``.

    Raises:
        ValueError: It is not between the years 1 and 9999.
    """
    try:
        at = _EPOCH + timedelta(microseconds=at_us)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if form == "utc":
        return at.isoformat(timespec="microseconds") + "Z"
    return at.isoformat(sep=" ", timespec="microseconds")


def unscale(number: Decimal, scale: int) -> int | None:
    """Return a decimal's unscaled integer, or None where it has more digits than the scale."""
    if not number.is_finite() or number.adjusted() > _MAX_DIGITS:
        return None
    with localcontext() as context:
        context.prec = 100
        scaled = number.scaleb(scale)
        whole = scaled.to_integral_value()
        return int(whole) if whole == scaled else None


def decimal_text(unscaled: int, scale: int) -> str:
    """Return an unscaled integer as a plain decimal number: ``-12.30``."""
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def compile_partition_parser(
    column: str, type_: Type, location: str
) -> Callable[[str | None], Value | None]:
    """Return the function that parses one column's partition values.

    Raises:
        UnsupportedError: Columns of this type cannot partition a table.
    """
    parse = _partition_parser(type_)
    if parse is None:
        raise UnsupportedError(
            f"{location!r}: partition column {column!r} has the type {describe_type(type_)}, "
            "by which Delta does not partition",
            feature="partitionColumns",
        )

    def parse_value(text: str | None) -> Value | None:
        if text is None or text == "":
            return None
        try:
            return parse(text)
        except (ValueError, OverflowError, InvalidOperation) as error:
            raise FormatError(
                f"{location!r}: {text!r} is no partition value of column {column!r} "
                f"({describe_type(type_)}); restore the log from a backup",
                location=location,
                section="Partition Value Serialization",
            ) from error

    return parse_value


def encode_partition_value(column: str, type_: Type, value: Value | None) -> str | None:
    """Return a partition value as text, None for null.

    Raises:
        UnsupportedError: The value cannot be told from null, or is outside what Delta can say.
    """
    if value is None:
        return None
    try:
        text = _partition_text(type_, value)
    except (UnicodeDecodeError, ValueError) as error:
        raise UnsupportedError(
            f"partition column {column!r}: the value {value!r} cannot be written as a Delta "
            f"partition value ({error}); migrate without partitioning",
            feature="partitionColumns",
        ) from error
    if text == "":
        raise UnsupportedError(
            f"partition column {column!r} has an empty value, which Delta reads as null; "
            "migrate without partitioning",
            feature="partitionColumns",
        )
    return text


def _partition_parser(type_: Type) -> Callable[[str], Value] | None:
    match type_:
        case StringType():
            return str
        case IntType():
            return lambda text: _parse_int(text, type_)
        case FloatType():
            return float
        case DateType():
            return parse_date
        case TimestampType(unit):
            return lambda text: _from_us(parse_timestamp(text), unit)
        case BooleanType():
            return _parse_boolean
        case DecimalType(_, scale):
            return lambda text: _parse_decimal(text, scale)
        case BinaryType():
            return _parse_binary
        case _:
            return None


def _partition_text(type_: Type, value: Value) -> str:
    match type_, value:
        case BooleanType(), bool():
            return "true" if value else "false"
        case DecimalType(_, scale), int():
            return decimal_text(value, scale)
        case DateType(), int():
            return encode_date(value)
        case TimestampType(unit, utc), int():
            at_us = _to_us(value, unit)
            return encode_timestamp(at_us, form="utc" if utc else "ntz")
        case FloatType(), int() | float():
            return _float_text(float(value))
        case ((BinaryType() | FixedType() | UuidType()), bytes()):
            text = value.decode("utf-8")
            if _ESCAPED.fullmatch(text):
                raise ValueError("it looks like escaped bytes")
            return text
        case ((IntType() | TimeType()), int()):
            return str(value)
        case StringType(), str():
            return value
        case _:
            raise ValueError(f"no value of type {describe_type(type_)}")


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _parse_int(text: str, type_: IntType) -> int:
    value = int(text)
    low = -(1 << (type_.bits - 1)) if type_.signed else 0
    if not low <= value < low + (1 << type_.bits):
        raise ValueError(f"{text!r} is out of range")
    return value


def _parse_boolean(text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError(f"{text!r} is neither true nor false")


def _parse_binary(text: str) -> bytes:
    """Return the bytes of a text: escaped, one by one, as delta-rs does, or as UTF-8, as Spark."""
    if not _ESCAPED.fullmatch(text):
        return text.encode()
    return bytes(int(byte, 16) for byte in text.lower().split("\\u00")[1:])


def _parse_decimal(text: str, scale: int) -> int:
    odd = _ODD_DECIMAL.fullmatch(text)
    if odd is not None:  # older delta-rs: both parts of -3.45 with their sign
        return -(abs(int(odd[1])) * int(10**scale) + int(odd[2]))
    unscaled = unscale(Decimal(text), scale)
    if unscaled is None:
        raise ValueError(f"{text!r} has more than {scale} decimal places")
    return unscaled


def _from_us(at_us: int, unit: str) -> int:
    per_second = PER_SECOND[unit]
    return at_us * (per_second // 1_000_000) if per_second > 1_000_000 else (
        at_us // (1_000_000 // per_second)
    )  # fmt: skip


def _to_us(value: int, unit: str) -> int:
    per_second = PER_SECOND[unit]
    if per_second <= 1_000_000:
        return value * (1_000_000 // per_second)
    if value % 1_000:
        raise ValueError("it has nanoseconds")
    return value // 1_000
