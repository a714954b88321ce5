"""From Delta's statistics JSON to the neutral statistics.

PROTOCOL.md, "Per-file Statistics". The parser is compiled once for a schema, because a log has one
statistics string per file.

A bound is kept only if it is certain: timestamps are cut to milliseconds by other writers, so an
upper bound is widened by what may have been cut; old ones that Spark writes with the offset of a
zone, without its seconds, by a minute; decimals that may have gone through a double by its
precision; NaN and infinities are no bounds.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

import orjson

from parquedb.errors import FormatError
from parquedb.formats.delta.values import parse_date, parse_timestamp
from parquedb.model.files import Stats, Value
from parquedb.model.schema import Schema, walk
from parquedb.model.types import (
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    Type,
)
from parquedb.slotted import dataclass

StatsParser = Callable[[str], tuple[int | None, Stats | None]]
"""From a statistics string to the row count and the statistics."""

_DOUBLE_DIGITS = 15
_DECIMAL_DIGITS = 76
_RELATIVE = Decimal(2) ** -51
_OFFSET = re.compile(r"[+-]\d\d:\d\d$")
_MINUTE_US = 60_000_000
_WHOLE_MINUTES_US = 3 * 366 * 86_400_000_000
"""1973: since then no zone's offset has seconds."""
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1

# How the raw JSON value of a bound becomes physical; None drops it.
_Bound = Callable[[Any], Value | None]


@dataclass(frozen=True, slots=True)
class _Leaf:
    id: int
    lower: _Bound | None
    upper: _Bound | None


_Plan = Mapping[str, "_Leaf | _Plan"]


def compile_stats_parser(schema: Schema, location: str) -> StatsParser:
    """Return the function that parses the statistics of files with this schema.

    The function raises :class:`~parquedb.errors.FormatError` for what is no JSON object.
    """
    plan = _plan(schema.fields, dict(schema.aliases))
    exact = any(isinstance(f.type, DecimalType) for _, f in walk(schema.fields))

    def parse(text: str) -> tuple[int | None, Stats | None]:
        try:
            body = json.loads(text, parse_float=Decimal) if exact else orjson.loads(text)
            return parse_stats_object(body, plan)
        except (ValueError, AttributeError, TypeError) as error:
            raise FormatError(
                f"{location!r}: a file's statistics are no valid JSON ({error}); restore the "
                "log from a backup",
                location=location,
                section="Per-file Statistics",
            ) from error

    return parse


def parse_stats_object(body: Any, plan: _Plan) -> tuple[int | None, Stats | None]:
    """Take decoded statistics apart."""
    if body is None:
        return None, None
    rows = body.get("numRecords")
    if rows is not None and (type(rows) is not int or rows < 0):
        raise ValueError(f"numRecords is {rows!r:.80}")
    nulls: dict[int, int] = {}
    lower: dict[int, Value] = {}
    upper: dict[int, Value] = {}
    if (found := body.get("nullCount")) is not None:
        _collect_nulls(found, plan, nulls)
    if body.get("tightBounds") is False:
        # wide bounds: a count that is neither zero nor all carries no information
        nulls = {id_: n for id_, n in nulls.items() if n in (0, rows)}
    if (found := body.get("minValues")) is not None:
        _collect_lower(found, plan, lower)
    if (found := body.get("maxValues")) is not None:
        _collect_upper(found, plan, upper)
    if not (nulls or lower or upper):
        return rows, None
    return rows, Stats(nulls, lower, upper)


def _collect_nulls(found: Any, plan: _Plan, into: dict[int, int]) -> None:
    for name, value in found.items():
        entry = plan.get(name)
        if entry is None or value is None:
            continue
        if type(entry) is _Leaf:
            if type(value) is int and value >= 0:
                into[entry.id] = value
        elif type(value) is dict:
            _collect_nulls(value, entry, into)  # type: ignore[arg-type]


def _collect_lower(found: Any, plan: _Plan, into: dict[int, Value]) -> None:
    for name, raw in found.items():
        entry = plan.get(name)
        if entry is None or raw is None:
            continue
        if type(entry) is _Leaf:
            if entry.lower is not None and (value := entry.lower(raw)) is not None:
                into[entry.id] = value
        elif type(raw) is dict:
            _collect_lower(raw, entry, into)  # type: ignore[arg-type]


def _collect_upper(found: Any, plan: _Plan, into: dict[int, Value]) -> None:
    for name, raw in found.items():
        entry = plan.get(name)
        if entry is None or raw is None:
            continue
        if type(entry) is _Leaf:
            if entry.upper is not None and (value := entry.upper(raw)) is not None:
                into[entry.id] = value
        elif type(raw) is dict:
            _collect_upper(raw, entry, into)  # type: ignore[arg-type]


def _plan(fields: tuple[Field, ...], aliases: Mapping[int, tuple[str, ...]]) -> _Plan:
    """Return how each column's statistics are parsed, by its physical name (Column Mapping)."""
    plan: dict[str, _Leaf | _Plan] = {}
    for field in fields:
        name = next(iter(aliases.get(field.id, ())), field.name)
        match field.type:
            case StructType(inner):
                plan[name] = _plan(inner, aliases)
            case ListType() | MapType():
                continue
            case other:
                plan[name] = _Leaf(field.id, *_bounds(other))
    return plan


def _bounds(type_: Type) -> tuple[_Bound | None, _Bound | None]:
    match type_:
        case IntType():
            return _integer, _integer
        case StringType():
            return _string, _string
        case FloatType(bits=64):
            return _double, _double
        case FloatType():
            return _single, _single
        case DateType():
            return _date, _date
        case TimestampType():
            return _timestamp, _timestamp_upper
        case BooleanType():
            return _boolean, _boolean
        case DecimalType(precision, scale):
            return (
                lambda raw: _decimal(raw, precision, scale, ROUND_FLOOR),
                lambda raw: _decimal(raw, precision, scale, ROUND_CEILING),
            )
        case _:
            return None, None


def _integer(raw: Any) -> int | None:
    return raw if type(raw) is int else None


def _string(raw: Any) -> str | None:
    return raw if type(raw) is str else None


def _boolean(raw: Any) -> bool | None:
    return raw if type(raw) is bool else None


def _double(raw: Any) -> float | None:
    if type(raw) is float:
        return raw if math.isfinite(raw) else None
    if type(raw) is int or isinstance(raw, Decimal):
        try:
            value = float(raw)
        except OverflowError:
            return None
        return value if math.isfinite(value) else None
    return None


def _single(raw: Any) -> float | None:
    value = _double(raw)
    if value is None:
        return None
    try:
        # a single printed with its shortest digits is that single again, not the double
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return None


def _date(raw: Any) -> int | None:
    if type(raw) is not str:
        return None
    try:
        return parse_date(raw)
    except ValueError:
        return None


def _timestamp(raw: Any) -> int | None:
    value = _moment(raw)
    return None if value is None else value - _cut_off(raw, value)


def _timestamp_upper(raw: Any) -> int | None:
    value = _moment(raw)
    if value is None:
        return None
    return (value if value % 1000 else value + 999) + _cut_off(raw, value)


def _moment(raw: Any) -> int | None:
    if type(raw) is not str:
        return None
    try:
        return parse_timestamp(raw)
    except ValueError:
        return None


def _cut_off(raw: str, value: int) -> int:
    """Return what an offset lacks at most: one of a local mean time has seconds."""
    return _MINUTE_US if value < _WHOLE_MINUTES_US and _OFFSET.search(raw) else 0


def _decimal(raw: Any, precision: int, scale: int, rounding: str) -> int | None:
    if type(raw) is int:
        if raw == (_INT64_MIN if rounding == ROUND_FLOOR else _INT64_MAX):
            return None  # delta-rs cuts larger ones to 64 bits
        number = Decimal(raw)
    elif isinstance(raw, Decimal) and raw.is_finite():
        number = raw
    elif type(raw) is float and math.isfinite(raw):
        number = Decimal(repr(raw))
    else:
        return None
    if number.adjusted() > _DECIMAL_DIGITS:
        return None
    with localcontext() as context:
        context.prec = 100
        if precision > _DOUBLE_DIGITS and len(number.as_tuple().digits) <= _DOUBLE_DIGITS + 2:
            slack = abs(number) * _RELATIVE  # it may have been a double on its way
            number = number - slack if rounding == ROUND_FLOOR else number + slack
        unscaled = int(number.scaleb(scale).to_integral_value(rounding))
        most: int = 10**precision - 1  # readers choke on bounds that the type cannot hold
        return max(-most, min(unscaled, most))
