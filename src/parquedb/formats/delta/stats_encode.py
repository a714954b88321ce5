"""From the neutral statistics to Delta's statistics JSON.

PROTOCOL.md, "Per-file Statistics". Minima are cut down and maxima cut up: timestamps to
milliseconds, strings to a prefix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson

from parquedb.formats.delta.values import PER_SECOND, decimal_text, encode_date
from parquedb.model.files import Stats
from parquedb.model.schema import Schema
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
    TimeType,
    Type,
)
from parquedb.slotted import dataclass

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (a reading without a zone)
_MILLISECOND = timedelta(milliseconds=1)

StatsEncoder = Callable[[int | None, Stats | None], str | None]
"""From the row count and the statistics to a statistics string."""

_STRING_CHARS = 32
_LAST_CHAR = 0x10FFFF


@dataclass(frozen=True, slots=True)
class _Column:
    id: int
    path: tuple[str, ...]
    lower: Callable[[Any], Any]
    upper: Callable[[Any], Any]
    bounded: bool
    least: bool | None = None
    most: bool | None = None


def compile_stats_encoder(schema: Schema, skip_ids: frozenset[int]) -> StatsEncoder:
    """Return the function that encodes the statistics of files with this schema.

    A file gets bounds, with null counts, for all columns that can have some, or for none: pyarrow
    datasets of delta-rs lose rows where a file has bounds for only some columns (booleans count),
    or bounds without a null count. A column that holds nothing but null needs none.

    Args:
        schema: Columns in the types of the statistics' physical values.
        skip_ids: Partition columns, which have no statistics.
    """
    columns = [c for c in _columns(schema.fields, ()) if c.id not in skip_ids]
    bounded = [c for c in columns if c.bounded]
    flat = all(len(c.path) == 1 for c in columns)

    def encode(rows: int | None, stats: Stats | None) -> str | None:
        if rows is None:
            return None
        if stats is None:
            return f'{{"numRecords":{rows}}}'
        nulls = [(c.path, stats.nulls[c.id]) for c in columns if c.id in stats.nulls]
        lower, upper = _encode_bounds(bounded, stats, rows)
        body: dict[str, Any] = {"numRecords": rows}
        build: Callable[[Any], dict[str, Any]] = _flat if flat else _nest
        if lower:
            body["minValues"] = build(lower)
            body["maxValues"] = build(upper)
        body["nullCount"] = build(nulls)
        return orjson.dumps(body).decode()

    return encode


def bounded_columns(schema: Schema) -> list[tuple[int, tuple[str, ...]]]:
    """Return ids and paths of the columns that can have bounds."""
    return [(c.id, c.path) for c in _columns(schema.fields, ()) if c.bounded]


def _encode_bounds(bounded: list[_Column], stats: Stats, rows: int) -> tuple[Any, Any]:
    lowers, uppers, nulls = stats.lower, stats.upper, stats.nulls
    lower, upper = [], []
    for column in bounded:
        missing = nulls.get(column.id)
        if missing is None:
            return (), ()
        low, high = lowers.get(column.id, column.least), uppers.get(column.id, column.most)
        if low is None or high is None:
            if missing == rows:
                continue
            return (), ()
        low, high = column.lower(low), column.upper(high)
        if low is None or high is None:
            return (), ()
        lower.append((column.path, low))
        upper.append((column.path, high))
    return lower, upper


def _flat(pairs: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    return {path[0]: value for path, value in pairs}


def _nest(pairs: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, value in pairs:
        inner = root
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return root


def _columns(fields: tuple[Field, ...], above: tuple[str, ...]) -> list[_Column]:
    columns: list[_Column] = []
    for field in fields:
        path = (*above, field.name)
        match field.type:
            case StructType(inner):
                columns += _columns(inner, path)
            case ListType() | MapType():
                continue
            case BooleanType():  # its bounds are known without looking
                column = _Column(field.id, path, _same, _same, bounded=True, least=False, most=True)
                columns.append(column)
            case other:
                columns.append(_Column(field.id, path, *_encoders(other)))
    return columns


def _encoders(type_: Type) -> tuple[Callable[[Any], Any], Callable[[Any], Any], bool]:
    """Return how a lower and an upper bound are written, and whether there are any."""
    match type_:
        case IntType() | TimeType():
            return _same, _same, True
        case FloatType():
            return _finite, _finite, True
        case StringType():
            return _cut_lower, _cut_upper, True
        case DateType():
            return _date_text, _date_text, True
        case TimestampType(unit, utc):
            return *_timestamp_encoders(PER_SECOND[unit], "Z" if utc else ""), True
        case DecimalType(_, scale):

            def number(unscaled: int) -> orjson.Fragment:
                return orjson.Fragment(decimal_text(unscaled, scale))

            return number, number, True
        case _:
            return _same, _same, False


def _timestamp_encoders(
    per_second: int, zone: str
) -> tuple[Callable[[int], str | None], Callable[[int], str | None]]:
    if per_second == 1:
        return (lambda value: _ms_text(value * 1000, zone),) * 2
    per_ms = per_second // 1000
    return (
        lambda value: _ms_text(value // per_ms, zone),
        lambda value: _ms_text(-(-value // per_ms), zone),
    )


def _same(value: Any) -> Any:
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cut_lower(value: str) -> str:
    return value[:_STRING_CHARS]


def _cut_upper(value: str) -> str | None:
    if len(value) <= _STRING_CHARS:
        return value
    for end in range(_STRING_CHARS, 0, -1):
        following = ord(value[end - 1]) + 1
        if following == 0xD800:
            following = 0xE000  # no lone surrogates
        if following <= _LAST_CHAR:
            return value[: end - 1] + chr(following)
    return None


def _date_text(days: int) -> str | None:
    try:
        return encode_date(days)
    except ValueError:
        return None


def _ms_text(at_ms: int, zone: str) -> str | None:
    try:
        return (_EPOCH + _MILLISECOND * at_ms).isoformat(timespec="milliseconds") + zone
    except OverflowError:
        return None
