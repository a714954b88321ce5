"""Types and values of hive partition columns, which are text in the names of folders.

A column is an integer if every value is one in its usual form (``7``, not ``007``), a date if
every value is an ISO date, and text otherwise. A column that the files hold too has their type.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal, InvalidOperation

from parquedb.errors import FormatError
from parquedb.formats.native.paths import Layout
from parquedb.model.files import Value
from parquedb.model.types import (
    BooleanType,
    DateType,
    DecimalType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
    Type,
    describe_type,
)

_INT = re.compile(r"0|-?[1-9][0-9]*")
_DIGITS = re.compile(r"-?[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def guess_type(texts: Iterable[str | None]) -> Type:
    """Return the type of a partition column that is in no file."""
    values = [text for text in texts if text is not None]
    if values and all(_is_int(text) for text in values):
        return IntType(64)
    if values and all(_is_date(text) for text in values):
        return DateType()
    return StringType()


def parse_partitions(layout: Layout, types: Sequence[Type]) -> list[tuple[Value | None, ...]]:
    """Return each file's partition values.

    Raises:
        FormatError: Folder names are no values of their columns' types; all are listed.
    """
    problems: list[str] = []
    parsers = [_parser(type_) for type_ in types]
    parsed = []
    for file in layout.files:
        values: list[Value | None] = []
        for name, type_, parse, text in zip(
            layout.partition_columns, types, parsers, file.partition, strict=True
        ):
            try:
                values.append(None if text is None else parse(text))
            except (ValueError, OverflowError, InvalidOperation):
                problems.append(f"{file.info.key!r}: {name}={text!r} is no {describe_type(type_)}")
        parsed.append(tuple(values))
    if problems:
        raise FormatError(
            f"{len(problems)} partition folders do not fit the type that the files give the "
            f"column: {'; '.join(problems[:20])}; rename the folders or rewrite the files",
            location=layout.location,
            problems=problems,
        )
    return parsed


def _parser(type_: Type) -> Callable[[str], Value]:
    match type_:
        case StringType():
            return str
        case IntType():
            return lambda text: _parse_int(text, type_)
        case FloatType():
            return float
        case BooleanType():
            return _parse_boolean
        case DateType():
            return lambda text: dt.date.fromisoformat(text).toordinal() - _EPOCH_DAY
        case DecimalType(_, scale):
            return lambda text: _parse_decimal(text, scale)
        case TimestampType(unit):
            return lambda text: _parse_timestamp(text, unit)
        case _:
            return _refuse


def _parse_boolean(text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError(text)


def _parse_int(text: str, type_: IntType) -> int:
    """Parse digits; zeros before a number do not matter where the files say it is one."""
    if _DIGITS.fullmatch(text) is None:
        raise ValueError(text)
    low = -(1 << (type_.bits - 1)) if type_.signed else 0
    number = int(text)
    if not low <= number < low + (1 << type_.bits):
        raise ValueError(text)
    return number


def _parse_decimal(text: str, scale: int) -> int:
    scaled = Decimal(text).scaleb(scale, Context(prec=76))
    if scaled != scaled.to_integral_value():
        raise ValueError(text)
    return int(scaled)


def _parse_timestamp(text: str, unit: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    microseconds = (moment - _EPOCH) // dt.timedelta(microseconds=1)
    ticks, rest = divmod(microseconds * _PER_SECOND[unit], 1_000_000)
    if rest:
        raise ValueError(text)
    return ticks


def _refuse(text: str) -> Value:
    raise ValueError(text)


def _is_int(text: str) -> bool:
    return _INT.fullmatch(text) is not None and -(1 << 63) <= int(text) < 1 << 63


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True
