"""Predicates on one typed column value, as exact as MongoDB's comparison of any two types.

A column of numbers or times is a row of *steps*: whole numbers that count units (an integer, the
digits of a decimal, days or microseconds of the epoch, a bool). A literal of any type of the same
bracket lies on a step or between two, so comparing becomes comparing with a step, without
rounding. Floats compare with the nearest float on the right side.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

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
    Type,
    UuidType,
)
from parquedb.query import literals
from parquedb.query.compare import Bracket, bracket_of, since_epoch
from parquedb.query.filter import Bound
from parquedb.query.truth import (
    FALSE,
    NEVER,
    Comparison,
    Sql,
    Truth,
    at_most,
    conjunction,
    disjunction,
    exactly,
    negate,
)
from parquedb.slotted import dataclass

_MAX_DECIMAL = 38
"""Digits of DuckDB's widest decimal."""
_FAR = 400
"""Decimal exponent beyond which no column holds a number."""
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DAY = 86_400_000_000
_TIMES = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""The first and the last microsecond of the years 1 to 9999, all that a document can hold."""
_SIGNS = {Bound.LESS: "<", Bound.AT_MOST: "<=", Bound.GREATER: ">", Bound.AT_LEAST: ">="}
_CONTRARY = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class Unknown(Enum):
    """What is said of a literal that SQL cannot be asked about."""

    UNKNOWN = 0


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class Steps:
    """A column whose values are whole numbers of a unit.

    Args:
        bracket: What its values compare with.
        unit: The unit, in the bracket's measure: 1, or microseconds.
        low: The least step the type has.
        high: The greatest.
        render: Makes a step a literal.
    """

    bracket: Bracket
    unit: Fraction
    low: int
    high: int
    render: Callable[[int], str]


def steps_of(type_: Type) -> Steps | None:
    """Return a type's steps, None if it has none or SQL does not see them exactly."""
    one = Fraction(1)
    match type_:
        case BooleanType():
            return Steps(Bracket.BOOLEAN, one, 0, 1, lambda step: "TRUE" if step else "FALSE")
        case IntType(bits, signed):
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            return Steps(Bracket.NUMBER, one, low, high, literals.integer_literal)
        case DecimalType(precision, scale) if precision <= _MAX_DECIMAL and 0 <= scale <= precision:
            most = 10**precision - 1

            def decimal(step: int) -> str:
                return literals.decimal_literal(step, precision, scale)

            return Steps(Bracket.NUMBER, Fraction(1, 10**scale), -most, most, decimal)
        case DateType():
            day = Fraction(_DAY)
            days = (_TIMES[0] // _DAY, _TIMES[1] // _DAY)
            return Steps(Bracket.DATE, day, *days, literals.date_literal)
        case TimestampType(unit, utc) if unit in _UNITS:
            size = _UNITS[unit]

            def instant(step: int) -> str:
                return literals.timestamp_literal(step * size, utc=utc)

            times = (_TIMES[0] // size, _TIMES[1] // size)
            return Steps(Bracket.DATE, Fraction(size), *times, instant)
        case _:
            return None


def bracket_of_type(type_: Type) -> Bracket | None:
    """Return the bracket of a scalar column's values, None where it is not known."""
    match type_:
        case BooleanType():
            return Bracket.BOOLEAN
        case IntType() | FloatType() | DecimalType():
            return Bracket.NUMBER
        case DateType() | TimestampType():
            return Bracket.DATE
        case StringType():
            return Bracket.STRING
        case BinaryType() | FixedType() | UuidType():
            return Bracket.BINARY
        case _:
            return None


def is_present(column: str) -> Sql:
    """Return that a column is not null."""
    return Sql(f"{column} IS NOT NULL", f"{column} IS NULL", Comparison(column))


def is_null(column: str) -> Sql:
    """Return that a column is null."""
    return negate(is_present(column))


def literal_for(type_: Type, value: Any) -> str | Unknown | None:
    """Return the literal that values of a column equal if they equal a value.

    Args:
        type_: The column's type, a scalar one.
        value: The value, not None.

    Returns:
        The literal, None if no value of the type equals it, or :data:`UNKNOWN`.
    """
    own, other = bracket_of_type(type_), bracket_of(value)
    if own is None:
        return UNKNOWN
    if other == Bracket.NAN and own == Bracket.NUMBER:
        return UNKNOWN
    if own != other:
        return None
    match type_:
        case StringType():
            return literals.text_literal(_plain(value)) if literals.is_text(value) else None
        case BinaryType() | FixedType():
            return literals.bytes_literal(bytes(value)) if isinstance(value, bytes) else None
        case UuidType():
            return f"'{value}'::UUID" if isinstance(value, uuid.UUID) else None
        case FloatType(bits):
            number = _number(value)
            below = _float_at_most(number, bits)
            exact = below is not None and (below == number)
            return _float_literal(below, bits) if exact and below is not None else None
        case _:
            return _step_literal(type_, value)


def equals(column: str, type_: Type, value: Any) -> Truth:
    """Return that a scalar column's value equals a value that is not None."""
    literal = literal_for(type_, value)
    if literal is None:
        return NEVER
    if literal is UNKNOWN:
        return at_most(is_present(column))
    number = number_for(type_, value)
    if is_zero_float(type_, value):
        least = _ordered(column, ">=", literal, number)
        return exactly(conjunction((least, _ordered(column, "<=", literal, number))))
    return exactly(is_equal(column, literal, number))


def number_for(type_: Type, value: Any) -> int | float | None:
    """Return what :func:`literal_for` makes a literal, as a number; None if it is none."""
    if isinstance(type_, FloatType):
        return _float_at_most(_number(value), type_.bits)
    steps = steps_of(type_)
    return None if steps is None else int(_measure(value) / steps.unit)


def is_zero_float(type_: Type, value: Any) -> bool:
    """Whether both of a column's zeros equal a value: a bloom filter would know only one."""
    return isinstance(type_, FloatType) and bool(value == 0)


def is_one_of(column: str, type_: Type, known: Mapping[str, int | float | None]) -> Sql:
    """Return that a scalar column's value is one of literals of its type.

    Args:
        column: The column.
        type_: Its type.
        known: The literals, with their numbers.
    """
    literals_ = list(known)
    if len(literals_) == 1:
        return is_equal(column, literals_[0], known[literals_[0]])
    numbers = tuple(number for number in known.values() if number is not None)
    comparison = Comparison(column, "=", numbers) if len(numbers) == len(known) else None
    if not isinstance(type_, TimestampType) or not type_.utc:
        return Sql(f"{column} IN ({', '.join(literals_)})", None, comparison)
    # DuckDB hands IN to pyarrow's scan as Python datetimes, for which it needs pytz.
    micros = sorted(int(literal.partition("(")[2].rstrip(")")) for literal in literals_)
    least, most = (literals.timestamp_literal(micro, utc=True) for micro in (micros[0], micros[-1]))
    members = f"epoch_us({column}) IN ({', '.join(map(str, micros))})"
    ends = (
        _ordered(column, ">=", least, min(numbers, default=None)),
        _ordered(column, "<=", most, max(numbers, default=None)),
    )
    return conjunction((*ends, Sql(members, None, comparison)))


def is_equal(column: str, literal: str, number: float | None = None) -> Sql:
    """Return that a scalar column's value equals a literal of its type.

    Args:
        column: The column.
        literal: The literal.
        number: The same as a number, if it is one.
    """
    # IS DISTINCT FROM cannot be handed on to a scan of Arrow tables
    contrary = f"({column} <> {literal} OR {column} IS NULL)"
    return Sql(f"{column} = {literal}", contrary, _comparison(column, "=", number))


def compares(column: str, type_: Type, bound: Bound, value: Any) -> Truth:
    """Return that a scalar column's value stands in an order to a value that is not None."""
    own, other = bracket_of_type(type_), bracket_of(value)
    if own is None or (other == Bracket.NAN and own == Bracket.NUMBER):
        return at_most(is_present(column))
    if own != other:
        return NEVER
    match type_:
        case StringType():
            if not literals.is_text(value):
                return at_most(is_present(column))
            return exactly(_ordered(column, _SIGNS[bound], literals.text_literal(_plain(value))))
        case BinaryType() | FixedType() if isinstance(value, bytes):
            return exactly(_ordered_bytes(column, bound, bytes(value)))
        case FloatType(bits):
            return exactly(_ordered_float(column, bound, _number(value), bits))
    steps = steps_of(type_)
    if steps is None:
        return at_most(is_present(column))
    return exactly(_ordered_steps(column, steps, bound, _measure(value)))


def _ordered(column: str, sign: str, literal: str, number: float | None = None) -> Sql:
    contrary = f"({column} {_CONTRARY[sign]} {literal} OR {column} IS NULL)"
    return Sql(f"{column} {sign} {literal}", contrary, _comparison(column, sign, number))


def _comparison(column: str, sign: str, number: float | None) -> Comparison | None:
    return None if number is None else Comparison(column, sign, (number,))


def _ordered_bytes(column: str, bound: Bound, value: bytes) -> Sql:
    """Compare as MongoDB does: the shorter is less."""
    length, literal = f"octet_length({column})", literals.bytes_literal(value)
    strict = "<" if bound in (Bound.LESS, Bound.AT_MOST) else ">"
    same = conjunction(
        (Sql(f"{length} = {len(value)}"), Sql(f"{column} {_SIGNS[bound]} {literal}"))
    )
    return disjunction((Sql(f"{length} {strict} {len(value)}"), same))


def _ordered_steps(column: str, steps: Steps, bound: Bound, measure: Fraction | float) -> Sql:
    if isinstance(measure, float):  # an infinity
        below = (measure > 0) == (bound in (Bound.LESS, Bound.AT_MOST))
        return is_present(column) if below else FALSE
    place = measure / steps.unit
    step = math.floor(place)
    sign = _SIGNS[bound]
    if step != place:
        # Between two steps: at most the lower one, or at least the upper one.
        sign = "<=" if bound in (Bound.LESS, Bound.AT_MOST) else ">"
    if sign in ("<", "<="):
        last = step - (sign == "<")
        if last < steps.low:
            return FALSE
        if last >= steps.high:
            return is_present(column)
    else:
        first = step + (sign == ">")
        if first > steps.high:
            return FALSE
        if first <= steps.low:
            return is_present(column)
    return _ordered(column, sign, steps.render(step), step)


def _ordered_float(column: str, bound: Bound, value: Fraction | float, bits: int) -> Sql:
    below = _float_at_most(value, bits)
    upward = bound in (Bound.GREATER, Bound.AT_LEAST)
    if below is None:  # less than every finite float
        below, sign = -math.inf, ">" if upward else "<="
    elif below == value:
        sign = _SIGNS[bound]
    else:
        sign = ">" if upward else "<="
    literal = _float_literal(below, bits)
    if not upward:
        return _ordered(column, sign, literal, below)
    # NaN, of which no comparison holds elsewhere
    number = Sql(f"NOT isnan({column})", f"isnan({column}) IS NOT FALSE", Comparison(column))
    return conjunction((_ordered(column, sign, literal, below), number))


def _float_literal(value: float, bits: int) -> str:
    if bits == 64 or not math.isfinite(value):
        return literals.double_literal(value)
    return literals.float_literal(value)


def _float_at_most(value: Fraction | float, bits: int) -> float | None:
    """Return the greatest float of a width that is at most a number, None if none is finite."""
    if isinstance(value, float):
        return value
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if near > value:  # compares exactly
        near = math.nextafter(near, -math.inf)
    if near == -math.inf:
        return None
    return near if bits == 64 else literals.float32_below(near)


def _step_literal(type_: Type, value: Any) -> str | Unknown | None:
    steps = steps_of(type_)
    if steps is None:
        return UNKNOWN
    measure = _measure(value)
    if isinstance(measure, float):
        return None
    step = measure / steps.unit
    if step.denominator != 1 or not steps.low <= step <= steps.high:
        return None
    return steps.render(step.numerator)


def _measure(value: Any) -> Fraction | float:
    """Return a number's value, an instant's microseconds, a bool's 0 or 1."""
    if isinstance(value, date):
        return Fraction(since_epoch(value) // timedelta(microseconds=1))
    return _number(value)


def _number(value: Any) -> Fraction | float:
    """Return a number exactly; an infinity as a float."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            return float(value)
        far = value.adjusted() if value else 0
        if abs(far) > _FAR:  # no column comes near; do not write out its digits
            size = Fraction(10) ** (_FAR if far > 0 else -_FAR)
            return -size if value.is_signed() else size
    if isinstance(value, float) and math.isinf(value):
        return float(value)
    return Fraction(value)


def _plain(text: str) -> str:
    return str.__str__(text)
