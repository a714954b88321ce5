"""Conversions between types, and names of types."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.compare import NUMBERS, since_epoch
from parquedb.query.match import alias_of
from parquedb.query.numeric import as_decimal, as_float
from parquedb.query.operand import Place, nearest
from parquedb.query.operators.base import (
    UnfitError,
    is_null,
    is_true,
    located,
    or_null,
    positional,
    shown,
)
from parquedb.query.operators.moments import EPOCH, moment_in, moved
from parquedb.query.operators.parser import Node, Operator, Parser, Scope

_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER: Final = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE | re.ASCII
)
_MOST_DIGITS: Final = 4000
_MILLISECOND: Final = timedelta(milliseconds=1)


def to_text(value: Any) -> str:
    """Return a scalar as text."""
    kind = value.__class__
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return "true" if value else "false"
    if kind in NUMBERS:
        return _number_text(value)
    if isinstance(value, date):
        return iso_text(moment_in(value))
    if kind is uuid.UUID:
        return str(value)
    raise UnfitError(f"cannot make text of {shown(value)}")


def _number_text(value: Any) -> str:
    if value.__class__ is float:
        if not math.isfinite(value):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return repr(value).removesuffix(".0")
    return str(Decimal(value))  # an int of any length; str(int) has a limit


def iso_text(moment: datetime) -> str:
    """Return a time in ISO 8601 with milliseconds, or with microseconds where it has some."""
    fraction = f"{moment.microsecond:06}"
    text = f"{moment.replace(tzinfo=None, microsecond=0).isoformat()}."
    text += fraction.removesuffix("000") if fraction.endswith("000") else fraction
    return f"{text}Z" if moment.tzinfo is not None else text


def _to_int(value: Any) -> int:
    kind = value.__class__
    if kind is int or kind is bool:
        return int(value)
    if kind is str:
        if _INTEGER.fullmatch(value) is None or len(value) > _MOST_DIGITS:
            raise UnfitError(f"cannot make an integer of {shown(value)}")
        return int(value)
    if kind not in NUMBERS:
        raise UnfitError(f"cannot make an integer of {shown(value)}")
    if not math.isfinite(value) or (kind is Decimal and value.adjusted() > _MOST_DIGITS):
        raise UnfitError(f"{shown(value)} is no integer of reasonable size")
    return int(value)


def _to_long(value: Any) -> int:
    return since_epoch(value) // _MILLISECOND if isinstance(value, date) else _to_int(value)


def _to_double(value: Any) -> float:
    if isinstance(value, date):
        return since_epoch(value) / _MILLISECOND
    if value.__class__ is str:
        return float(_number_in_text(value))
    if value.__class__ is bool or value.__class__ in NUMBERS:
        return as_float(value)
    raise UnfitError(f"cannot make a number of {shown(value)}")


def _to_decimal(value: Any) -> Decimal:
    if isinstance(value, date):
        return Decimal(since_epoch(value) // _MILLISECOND)
    if value.__class__ is str:
        try:
            return Decimal(_number_in_text(value))
        except InvalidOperation:
            raise UnfitError(f"cannot make a number of {shown(value)}") from None
    if value.__class__ is bool or value.__class__ in NUMBERS:
        return as_decimal(value)
    raise UnfitError(f"cannot make a number of {shown(value)}")


def _number_in_text(text: str) -> str:
    if _NUMBER.fullmatch(text) is None:
        raise UnfitError(f"cannot make a number of {shown(text)}")
    return text


def _to_date(value: Any) -> datetime:
    if value.__class__ in NUMBERS:
        return moved(EPOCH, value)
    if value.__class__ is str:
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment_in(moment)
        except (ValueError, OverflowError):
            raise UnfitError(f"{shown(value)} is no date in ISO 8601") from None
    return moment_in(value)


Conversion = Callable[[Any], Any]
_CONVERSIONS: Final[dict[str, Conversion]] = {
    "double": _to_double,
    "string": to_text,
    "bool": is_true,
    "date": _to_date,
    "int": _to_int,
    "long": _to_long,
    "decimal": _to_decimal,
}
_NUMBERED: Final = {
    1: "double",
    2: "string",
    8: "bool",
    9: "date",
    16: "int",
    18: "long",
    19: "decimal",
}


def _conversion(name: Any) -> Conversion:
    alias = _NUMBERED.get(int(name)) if name.__class__ in (int, float) else name
    if not isinstance(alias, str) or alias not in _CONVERSIONS:
        raise UnfitError(
            f"cannot convert to {shown(name)}; did you mean {nearest(str(name), _CONVERSIONS)!r}?"
        )
    return _CONVERSIONS[alias]


def _convert(parser: Parser, operand: Any, place: Place) -> Node:
    given = parser.options(operand, place, ("input", "to"), ("onError", "onNull"))
    to = given["to"]
    find = located(_conversion, place.at("to"))
    known = find(to.value) if to.constant else None
    subject, on_error, on_null = given["input"], given.get("onError"), given.get("onNull")

    def convert(value: Any, name: Any) -> Any:
        return (known or _conversion(name))(value)

    call = located(convert, place)

    def evaluate(scope: Scope) -> Any:
        value = subject.evaluate(scope)
        if is_null(value):
            return None if on_null is None else on_null.evaluate(scope)
        name = to.evaluate(scope)
        if is_null(name):
            return None
        try:
            return call(value, name)
        except InvalidInputError:
            if on_error is None:
                raise
            return on_error.evaluate(scope)

    return Node(evaluate)


OPERATORS: Final[dict[str, Operator]] = {
    "$toString": positional(or_null(to_text)),
    "$toInt": positional(or_null(_to_int)),
    "$toLong": positional(or_null(_to_long)),
    "$toDouble": positional(or_null(_to_double)),
    "$toDecimal": positional(or_null(_to_decimal)),
    "$toBool": positional(or_null(is_true)),
    "$toDate": positional(or_null(_to_date)),
    "$convert": _convert,
    "$type": positional(alias_of),
    "$isNumber": positional(lambda value: value.__class__ in NUMBERS),
}
