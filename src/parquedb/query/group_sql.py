"""``$group`` by DuckDB, where that gives exactly what :mod:`.group` gives.

Sums of floats are exact too: each float is cut into three whole numbers, of units, of 2^-62 and of
2^-124, which add up without rounding. Rows that have floats beyond that are reported, and then the
documents have to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from parquedb.model.schema import Path, Schema
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    FloatType,
    IntType,
    StringType,
    StructType,
    TimestampType,
    Type,
)
from parquedb.query.compare import MISSING, NUMBERS, Bracket
from parquedb.query.expression import Compiled
from parquedb.query.group import Accumulation, Group, Groups
from parquedb.query.places import Opaque, Place, child_of, column_of
from parquedb.query.scalars import bracket_of_type
from parquedb.query.stages import Pipeline
from parquedb.rows.columns import DATA
from parquedb.slotted import dataclass

Document = dict[str, Any]

_MAX_DECIMAL: Final = 38
_MAX_SUMMED: Final = 28
"""Digits of decimals whose sums DuckDB surely holds: 10 more for 10^10 rows."""
_UNIT: Final = 1 << 62
_SCALE: Final = f"{_UNIT}e0"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

Decode = Callable[[Any], Any]
Take = Callable[[Any], None]
"""Gives an accumulator what a group's rows come to."""


class _InexpressibleError(Exception):
    """SQL cannot say it exactly."""


class _InexactError(Exception):
    """The rows hold what SQL did not count exactly."""


@dataclass(frozen=True, slots=True)
class _Column:
    """SQL expressions, and what their values mean.

    Args:
        sql: The expressions.
        take: Makes of a group's row count and their values what is given to the accumulator.
    """

    sql: tuple[str, ...]
    take: Callable[[int, Sequence[Any]], Take]


@dataclass(frozen=True, slots=True)
class _Key:
    """A part of what is grouped by.

    Args:
        name: Its name in ``_id``, None where it is ``_id`` itself.
        sql: The expression, None where it is the same for all rows.
        decode: Makes a document's value of SQL's.
        value: The value for all rows.
    """

    name: str | None
    sql: str | None
    decode: Decode
    value: Any = MISSING


@dataclass(frozen=True, slots=True)
class SqlGroup:
    """A ``$group`` as SQL: ``SELECT {select} FROM … WHERE … {group_by}``.

    It is right for rows whose ``$data`` is null.

    Args:
        select: The SELECT list. No result is a time with a zone.
        group_by: ``GROUP BY …``, or nothing where there is one group.
        stage: The stage.
    """

    select: str
    group_by: str
    stage: Group
    _keys: tuple[_Key, ...] = field(repr=False)
    _columns: tuple[_Column, ...] = field(repr=False)

    def feed(self, groups: Groups, rows: Iterable[Sequence[Any]]) -> bool:
        """Add the groups of result rows to groups, which documents may be added to as well.

        Args:
            groups: The groups of the same stage.
            rows: All result rows.

        Returns:
            Whether they could be added; if not, nothing was, and the documents have to be.
        """
        try:
            read = [self._read(row) for row in rows if row[0]]
        except (_InexactError, OverflowError, ValueError):
            return False
        for value, takes in read:
            for accumulator, take in zip(groups.of(value), takes, strict=True):
                take(accumulator)
        return True

    def documents(self, rows: Iterable[Sequence[Any]]) -> list[Document] | None:
        """Return the groups of result rows.

        Args:
            rows: All result rows.

        Returns:
            What ``$group`` yields, in any order; None where the documents have to be asked.
        """
        groups = Groups(self.stage)
        return list(groups.documents()) if self.feed(groups, rows) else None

    def _read(self, row: Sequence[Any]) -> tuple[Any, list[Take]]:
        at, value = 1, None
        parts: Document = {}
        for key in self._keys:
            found = key.value
            if key.sql is not None:
                found = MISSING if row[at] is None else key.decode(row[at])
                at += 1
            if key.name is None:
                value = found
            elif found is not MISSING:
                parts[key.name] = found
        takes = []
        for column in self._columns:
            end = at + len(column.sql)
            takes.append(column.take(row[0], row[at:end]))
            at = end
        return parts if isinstance(self.stage.key, tuple) else value, takes


def compile_group(
    pipeline: Pipeline, schema: Schema, *, table: str | None = None
) -> SqlGroup | None:
    """Return the ``$group`` that a pipeline begins with as SQL.

    Args:
        pipeline: The pipeline, without the ``$match`` that it may begin with.
        schema: The columns of the rows, whose ``$data`` must be null.
        table: The table's name or alias in the query, where columns have to be qualified.

    Returns:
        The SQL; None where the first stage is no ``$group``, or SQL cannot do the same.
    """
    if not pipeline.stages or not isinstance(pipeline.stages[0], Group):
        return None
    stage = pipeline.stages[0]
    columns = _Columns(schema, table)
    keys: tuple[_Key, ...]
    try:
        if isinstance(stage.key, Compiled):
            keys = (columns.key(None, stage.key),)
        else:
            keys = tuple(columns.key(name, part) for name, part in stage.key)
        fields = tuple(columns.accumulated(one) for one in stage.fields)
    except _InexpressibleError:
        return None
    by = [key.sql for key in keys if key.sql is not None]
    select = ["count(*)", *by, *(sql for column in fields for sql in column.sql)]
    group_by = f"GROUP BY {', '.join(dict.fromkeys(by))}" if by else ""
    return SqlGroup(", ".join(select), group_by, stage, keys, fields)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of the rows."""

    schema: Schema
    table: str | None

    def key(self, name: str | None, value: Compiled) -> _Key:
        """Return what to group by."""
        if value.constant:
            return _Key(name, None, _as_is, value.constant[0])
        place = self._place(value)
        if place is None:
            return _Key(name, None, _as_is)
        sql, decode = _rendered(place)
        return _Key(name, sql, decode)

    def accumulated(self, one: Accumulation) -> _Column:
        """Return what an accumulator is made of."""
        match one.operator:
            case "$count":
                return _Column((), lambda rows, _: lambda total: total.add_many(rows))
            case "$sum" | "$avg":
                if one.value.constant:
                    return _constant_sum(one.value.constant[0])
                return _sum(self._place(one.value))
            case "$min" | "$max":
                if one.value.constant:
                    constant = one.value.constant[0]
                    return _Column((), lambda *_: lambda total: total.add(constant))
                return _extreme(one.operator[1:], self._place(one.value))
            case _:
                raise _InexpressibleError

    def _place(self, value: Compiled) -> Place | None:
        """Return the column that an expression is, None if it is a field that no row has."""
        path = value.path
        if path is None or path[0] == DATA:
            raise _InexpressibleError
        place = self._down(path)
        if isinstance(place, Opaque):
            raise _InexpressibleError
        if place is not None and bracket_of_type(place.type) is None:
            raise _InexpressibleError
        return place

    def _down(self, path: Path) -> Place | Opaque | None:
        place = column_of(self.schema.fields, path[0], self.table)
        for name in path[1:]:
            if not isinstance(place, Place):
                return place
            if isinstance(place.type, StructType):
                place = child_of(place, name)
            elif bracket_of_type(place.type) is not None:
                return None
            else:
                raise _InexpressibleError
        return place


def _as_is(value: Any) -> Any:
    return value


def _day(days: int) -> date:
    return date.fromordinal(days + _EPOCH_DAY)


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _reading(micros: int) -> datetime:
    return _instant(micros).replace(tzinfo=None)


def _rendered(place: Place) -> tuple[str, Decode]:
    """Return a column as SQL whose results Python takes as they are, and how to decode them."""
    column = place.expression
    match place.type:
        case BooleanType() | IntType() | FloatType(32 | 64) | StringType() | BinaryType():
            return column, _as_is
        case DecimalType() if _is_plain(place.type, _MAX_DECIMAL):
            return column, _as_is
        case DateType():
            return f"({column} - DATE '1970-01-01')", _day
        case TimestampType("us", utc):
            return f"epoch_us({column})", _instant if utc else _reading
        case _:
            raise _InexpressibleError


def _is_plain(type_: Type, digits: int) -> bool:
    return isinstance(type_, DecimalType) and 0 <= type_.scale <= type_.precision <= digits


def _nothing(*_: Any) -> Take:
    return lambda _: None


_NOTHING: Final = _Column((), _nothing)


def _constant_sum(value: Any) -> _Column:
    kind = value.__class__
    if kind not in NUMBERS:
        return _NOTHING
    if kind is not int:
        raise _InexpressibleError
    return _Column((), lambda rows, _: lambda total: total.add_many(value * rows, rows))


def _sum(place: Place | None) -> _Column:
    if place is None or bracket_of_type(place.type) != Bracket.NUMBER:
        return _NOTHING
    column = place.expression
    match place.type:
        case IntType():
            return _Column((f"count({column})", f"sum({column})"), _summed)
        case DecimalType() if _is_plain(place.type, _MAX_SUMMED):
            return _Column((f"count({column})", f"sum({column})"), _summed)
        case FloatType(32 | 64):
            return _float_sum(f"CAST({column} AS DOUBLE)")
        case _:
            raise _InexpressibleError


def _summed(_: int, values: Sequence[Any]) -> Take:
    count, total = values
    return (lambda accumulator: accumulator.add_many(total, count)) if count else _nothing()


def _float_sum(column: str) -> _Column:
    whole = f"TRY_CAST({column} AS BIGINT)"  # rounds; null for what is too large, or NaN
    rest = f"(({column} - {whole}) * {_SCALE})"
    part = f"CAST({rest} AS BIGINT)"
    last = f"(({rest} - {part}) * {_SCALE})"
    small = f"CAST({last} AS BIGINT)"
    return _Column(
        (
            f"count({column})",
            f"count({whole})",
            f"bool_or({last} <> {small})",
            f"sum({whole})",
            f"sum({part})",
            f"sum({small})",
        ),
        _summed_floats,
    )


def _summed_floats(_: int, values: Sequence[Any]) -> Take:
    count, counted, inexact, whole, part, small = values
    if count != counted or inexact:
        raise _InexactError
    if not count:
        return _nothing()
    total = Fraction((whole * _UNIT + part) * _UNIT + small, _UNIT * _UNIT)
    return lambda accumulator: accumulator.add_many(total, count)


def _extreme(function: str, place: Place | None) -> _Column:
    if place is None:
        return _NOTHING
    if isinstance(place.type, BinaryType):  # the shorter is less, which SQL does not think
        raise _InexpressibleError
    sql, decode = _rendered(place)

    def take(_: int, values: Sequence[Any]) -> Take:
        if len(values) > 1 and values[1]:  # NaN is greatest for DuckDB, least for us
            raise _InexactError
        if values[0] is None:
            return _nothing()
        value = decode(values[0])
        return lambda total: total.add(value)

    if isinstance(place.type, FloatType):
        return _Column((f"{function}({sql})", f"bool_or(isnan({sql}))"), take)
    return _Column((f"{function}({sql})",), take)
