"""What a partition value says of the column that it was made from.

Iceberg specification, "Partition Transforms". Values are physical (:mod:`parquedb.model.files`).
"""

from __future__ import annotations

import math
from typing import assert_never

from parquedb.model.files import Value
from parquedb.model.partition import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)
from parquedb.model.types import (
    DateType,
    DecimalType,
    IntType,
    StringType,
    TimestampType,
    Type,
)

Bounds = tuple[Value | None, Value | None]
"""A value not above and one not below any value of a column; None where nothing is certain."""

_UNKNOWN: Bounds = (None, None)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_LAST_CHAR = 0x10FFFF


def source_bounds(transform: Transform, type_: Type, value: Value) -> Bounds:
    """Return between which values the rows of a file lie, by one of its partition values.

    Args:
        transform: How the value was made.
        type_: Type of the column that it was made from.
        value: The partition value, not null.

    Returns:
        The bounds; each is certain or None.
    """
    match transform:
        case IdentityTransform():
            return _of_identity(value)
        case YearTransform() | MonthTransform() | DayTransform() | HourTransform():
            return _of_time(transform, type_, value) if isinstance(value, int) else _UNKNOWN
        case TruncateTransform(width):
            return _of_truncated(type_, width, value)
        case BucketTransform() | VoidTransform():
            return _UNKNOWN
        case _:
            assert_never(transform)


def _of_identity(value: Value) -> Bounds:
    if isinstance(value, float):
        if math.isnan(value):
            return _UNKNOWN
        if value == 0:  # both zeros are equal, and sort one before the other
            return -0.0, 0.0
    return value, value


def _of_time(
    transform: YearTransform | MonthTransform | DayTransform | HourTransform,
    type_: Type,
    value: int,
) -> Bounds:
    """Return the first and the last moment of a year, month, day or hour.

    Old versions of the reference implementation rounded times before 1970 up: their value is one
    too high, so that a value of 0 or less may stand for the one below it, too. Days of dates were
    always exact.
    """
    exact = isinstance(transform, DayTransform) and isinstance(type_, DateType)
    first = value - 1 if value <= 0 and not exact else value
    match type_:
        case DateType():
            if isinstance(transform, HourTransform):
                return _UNKNOWN
            return _days(transform, first), _days(transform, value + 1) - 1
        case TimestampType(unit):
            step = _PER_SECOND[unit]
            if isinstance(transform, HourTransform):
                return first * 3_600 * step, (value + 1) * 3_600 * step - 1
            day = 86_400 * step
            return _days(transform, first) * day, _days(transform, value + 1) * day - 1
        case _:
            return _UNKNOWN


def _days(transform: YearTransform | MonthTransform | DayTransform, value: int) -> int:
    """Return the first day of a year, month or day, in days since 1970-01-01."""
    match transform:
        case YearTransform():
            return _month_start(12 * value)
        case MonthTransform():
            return _month_start(value)
        case DayTransform():
            return value


def _month_start(months: int) -> int:
    """Return the first day of a month, counted from 1970-01, in any year."""
    year, month = 1970 + months // 12, months % 12 + 1
    # years from March on, so that the leap day is the last one (Howard Hinnant's algorithm)
    shifted = year - (month <= 2)
    era, of_era = divmod(shifted, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _of_truncated(type_: Type, width: int, value: Value) -> Bounds:
    match type_, value:
        case IntType(), int():
            last = value + width - 1
            # near the end of the numbers, a value may have come from the other end by overflow
            if last > 2**63 - 1 or value <= 2**31 - 1 < last:
                return _UNKNOWN
            return value, last
        case DecimalType(), int():
            return value, value + width - 1
        case StringType(), str():
            shorter = len(value.encode("utf-16-le", "surrogatepass")) // 2 < width
            return value, value if shorter else _after_prefix(value)
        case _:
            return _UNKNOWN


def _after_prefix(prefix: str) -> str | None:
    """Return a text that is not below any text with a prefix."""
    for end in range(len(prefix), 0, -1):
        following = ord(prefix[end - 1]) + 1
        if following == 0xD800:
            following = 0xE000  # no lone surrogates
        if following <= _LAST_CHAR:
            return prefix[: end - 1] + chr(following)
    return None
