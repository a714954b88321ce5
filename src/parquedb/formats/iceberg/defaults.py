"""Default values of columns as JSON ("Appendix D: JSON single-value serialization")."""

from __future__ import annotations

import re
import uuid
from datetime import date
from decimal import Decimal
from typing import Any

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

_EPOCH = date(1970, 1, 1).toordinal()
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def parse_default(wire: Any, type_: Type) -> Value:
    """Return a default as a physical value (see :mod:`parquedb.model.files`).

    Raises:
        ValueError: It is no value of the type, or of a type whose values are not carried.
    """
    match type_, wire:
        case BooleanType(), bool(flag):
            return flag
        case StringType(), str(text):
            return text
        case IntType(bits), int(number) if type(wire) is int and _fits(number, bits):
            return number
        case FloatType(), int() | float() if type(wire) is not bool:
            return float(wire)
        case DecimalType(precision, scale), str():
            return _parse_decimal(wire, precision, scale)
        case DateType(), str():
            return date.fromisoformat(wire).toordinal() - _EPOCH
        case TimeType(unit), str():
            return _parse_time(wire, unit)
        case TimestampType(unit, utc), str():
            return _parse_timestamp(wire, unit, utc=utc)
        case UuidType(), str():
            return uuid.UUID(wire).bytes
        case FixedType(length), str() if len(wire) == 2 * length:
            return bytes.fromhex(wire)
        case BinaryType(), str():
            return bytes.fromhex(wire)
        case _:
            raise ValueError(f"{wire!r:.80} is no default of this type")


def _fits(number: int, bits: int) -> bool:
    return -(1 << bits - 1) <= number < 1 << bits - 1


def _parse_decimal(text: str, precision: int, scale: int) -> int:
    number = Decimal(text)
    if not number.is_finite() or -number.as_tuple().exponent != scale:  # type: ignore[operator]
        raise ValueError(f"{text!r:.80} does not have {scale} decimal places")
    sign, digits, _ = number.as_tuple()
    if len(digits) > precision:
        raise ValueError(f"{text!r:.80} has more than {precision} digits")
    unscaled = int("".join(map(str, digits)))
    return -unscaled if sign else unscaled


def _parse_time(text: str, unit: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.80} is no time")
    hours, minutes, seconds = (int(found[place]) for place in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"{text!r:.80} is no time")
    fraction = int((found[4] or "").ljust(9, "0"))
    whole = ((hours * 60 + minutes) * 60 + seconds) * _PER_SECOND[unit]
    return whole + fraction // (1_000_000_000 // _PER_SECOND[unit])


def _parse_timestamp(text: str, unit: str, *, utc: bool) -> int:
    day, mark, rest = text.partition("T")
    if utc:
        if not rest.endswith(("+00:00", "Z")):
            raise ValueError(f"{text!r:.80} is not in UTC")
        rest = rest.removesuffix("Z").removesuffix("+00:00")
    if not mark:
        raise ValueError(f"{text!r:.80} is no timestamp")
    days = date.fromisoformat(day).toordinal() - _EPOCH
    return days * 86_400 * _PER_SECOND[unit] + _parse_time(rest, unit)
