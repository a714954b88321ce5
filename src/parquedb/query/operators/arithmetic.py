"""Arithmetic on numbers and times; see :mod:`~parquedb.query.numeric` for mixed types."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from parquedb.query.compare import MISSING, NUMBERS, since_epoch
from parquedb.query.numeric import DECIMAL, as_decimal, as_float
from parquedb.query.operators.base import (
    UnfitError,
    number_in,
    or_null,
    positional,
    shown,
    whole_in,
)
from parquedb.query.operators.moments import moment_in, moved
from parquedb.query.operators.parser import Operator

_MOST_BITS: Final = 16_384
_INT64: Final = 1 << 63
_NAN: Final = float("nan")
_WIDE: Final = Context(prec=800, Emax=10**6, Emin=-(10**6), traps=[])
_MILLISECOND: Final = timedelta(milliseconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


def _bounded(value: Any) -> Any:
    if value.__class__ is int and value.bit_length() > _MOST_BITS:
        raise UnfitError(f"the result has more than {_MOST_BITS} bits; convert by $toDouble")
    return value


def _calculated(
    one: Any,
    other: Any,
    plain: Callable[[Any, Any], Any],
    decimal: Callable[[Decimal, Decimal], Decimal],
) -> Any:
    if one.__class__ is Decimal or other.__class__ is Decimal:
        return decimal(as_decimal(one), as_decimal(other))
    try:
        return _bounded(plain(one, other))
    except OverflowError:
        return plain(as_float(one), as_float(other))


def plus(one: Any, other: Any) -> Any:
    """Return the sum of two numbers."""
    return _calculated(one, other, operator.add, DECIMAL.add)


def _times(one: Any, other: Any) -> Any:
    return _calculated(one, other, operator.mul, DECIMAL.multiply)


def _add(*values: Any) -> Any:
    total: Any = 0
    moment: datetime | None = None
    for value in values:
        if value.__class__ in NUMBERS:
            total = plus(total, value)
        elif value is None or value is MISSING:
            return None
        elif not isinstance(value, date):
            raise UnfitError(f"needs numbers or a date, not {shown(value)}")
        elif moment is not None:
            raise UnfitError("only one of its arguments can be a date")
        else:
            moment = moment_in(value)
    return total if moment is None else moved(moment, total)


def _subtract(one: Any, other: Any) -> Any:
    if isinstance(one, date):
        if not isinstance(other, date):
            return moved(moment_in(one), -number_in(other))
        apart = since_epoch(one) - since_epoch(other)
        whole, rest = divmod(apart, _MILLISECOND)
        return apart // _MICROSECOND / 1000 if rest else whole
    if isinstance(other, date):
        raise UnfitError(f"cannot subtract a date from {shown(one)}")
    return _calculated(number_in(one), number_in(other), operator.sub, DECIMAL.subtract)


def _multiply(*values: Any) -> Any:
    product: Any = 1
    for value in values:
        if value is None or value is MISSING:
            return None
        product = _times(product, number_in(value))
    return product


def _divide(one: Any, other: Any) -> Any:
    if number_in(other) == 0:
        raise UnfitError("cannot divide by zero")
    return _calculated(number_in(one), other, operator.truediv, DECIMAL.divide)


def _modulo(one: Any, other: Any) -> Any:
    if number_in(other) == 0:
        raise UnfitError("cannot divide by zero")
    return _calculated(number_in(one), other, _remainder, DECIMAL.remainder)


def _remainder(one: Any, other: Any) -> Any:
    """Return what is left over after a division that cuts off, as C does."""
    if one.__class__ is int and other.__class__ is int:
        rest = abs(one) % abs(other)
        return rest if one >= 0 else -rest
    try:
        return math.fmod(one, other)
    except ValueError:  # of an infinity
        return _NAN


def _absolute(value: Any) -> Any:
    return number_in(value).copy_abs() if value.__class__ is Decimal else abs(number_in(value))


def _to_whole(float_: Callable[[float], int], rounding: str) -> Callable[[Any], Any]:
    def whole(value: Any) -> Any:
        kind = number_in(value).__class__
        if kind is Decimal:
            return value.to_integral_value(rounding, DECIMAL)
        return float(float_(value)) if kind is float and math.isfinite(value) else value

    return whole


def _rounded(rounding: str) -> Callable[..., Any]:
    """Return the function that rounds to a number of decimals, before the point if negative."""

    def rounded(value: Any, place: Any = 0) -> Any:
        digits = whole_in(place)
        if not -20 <= digits <= 100:
            raise UnfitError(f"rounds to -20 to 100 decimals, not {shown(digits)}")
        kind = number_in(value).__class__
        if kind is int and digits >= 0:
            return value
        exact = Decimal(value)  # of a float all its digits, so that no half is made up
        if not exact.is_finite() or (kind is Decimal and _exponent(exact) >= -digits):
            return value
        if kind is Decimal and exact.adjusted() + digits < -2:
            return Decimal(0)
        near = exact.quantize(Decimal((0, (1,), -digits)), rounding, _WIDE)
        if not near.is_finite():  # has more digits than anybody rounds
            return value
        return int(near) if kind is int else float(near) if kind is float else near

    return rounded


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # of a finite one
    return exponent


def _power(base: Any, exponent: Any) -> Any:
    if number_in(base) == 0 and number_in(exponent) < 0:
        raise UnfitError("cannot raise zero to a negative power")
    if base.__class__ is Decimal or exponent.__class__ is Decimal:
        return DECIMAL.power(as_decimal(base), as_decimal(exponent))
    if base.__class__ is int and number_in(exponent).__class__ is int and exponent >= 0:
        if base in (-1, 0, 1):
            return base if exponent % 2 else int(base != 0 or exponent == 0)
        if abs(base).bit_length() * exponent <= 128:
            exact = base**exponent
            if -_INT64 <= exact < _INT64:
                return exact
    return _power_of_floats(as_float(base), as_float(number_in(exponent)), base)


def _power_of_floats(base: float, exponent: float, given: Any) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        odd = exponent % 2 == 1
        return -math.inf if given < 0 and odd else math.inf
    except ValueError:
        return _NAN


def _real(
    float_: Callable[[Any], float], decimal: Callable[[Decimal], Decimal], least: float | None
) -> Callable[[Any], Any]:
    """Return a function of real numbers.

    Args:
        float_: What it is of ints and floats.
        decimal: What it is of decimals.
        least: What its argument must be at least; 0 itself is excluded for logarithms.
    """

    def call(value: Any) -> Any:
        if least is not None and not (number_in(value) >= least or value != value):
            what = "at least 0" if least == 0 else "greater than 0"
            raise UnfitError(f"needs a number {what}, not {shown(value)}")
        if number_in(value).__class__ is Decimal:
            return decimal(value)
        try:
            return float_(value)
        except OverflowError:
            return float_(as_float(value)) if value.__class__ is int else math.inf

    return call


_POSITIVE: Final = math.ulp(0.0)


def _exponential(value: Any) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf if value > 0 else 0.0


def _logarithm(value: Any, base: Any) -> Any:
    if not number_in(value) > 0 or not number_in(base) > 0 or base == 1:
        raise UnfitError("needs numbers greater than 0 and a base other than 1")
    if value.__class__ is Decimal or base.__class__ is Decimal:
        return DECIMAL.divide(DECIMAL.ln(as_decimal(value)), DECIMAL.ln(as_decimal(base)))
    return math.log(value) / math.log(base)


OPERATORS: Final[dict[str, Operator]] = {
    "$add": positional(_add, 0, None),
    "$subtract": positional(or_null(_subtract), 2, 2),
    "$multiply": positional(_multiply, 0, None),
    "$divide": positional(or_null(_divide), 2, 2),
    "$mod": positional(or_null(_modulo), 2, 2),
    "$abs": positional(or_null(_absolute)),
    "$ceil": positional(or_null(_to_whole(math.ceil, ROUND_CEILING))),
    "$floor": positional(or_null(_to_whole(math.floor, ROUND_FLOOR))),
    "$round": positional(or_null(_rounded(ROUND_HALF_EVEN)), 1, 2),
    "$trunc": positional(or_null(_rounded(ROUND_DOWN)), 1, 2),
    "$sqrt": positional(or_null(_real(math.sqrt, DECIMAL.sqrt, 0))),
    "$pow": positional(or_null(_power), 2, 2),
    "$exp": positional(or_null(_real(_exponential, DECIMAL.exp, None))),
    "$ln": positional(or_null(_real(math.log, DECIMAL.ln, _POSITIVE))),
    "$log10": positional(or_null(_real(math.log10, DECIMAL.log10, _POSITIVE))),
    "$log": positional(or_null(_logarithm), 2, 2),
}
