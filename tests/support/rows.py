"""Rows as every reader gives them, made comparable.

A table is a list of dicts, one per row, in the reader's own Python types. :func:`canonical` turns
it into a sorted list of tuples in which equal data of any two readers is equal: NaN equals NaN,
points in time are in UTC, a map is the same whether it came as a dict or as pairs.
"""

from __future__ import annotations

import functools
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal

import pyarrow as pa

Row = Mapping[str, object]
Canonical = tuple[tuple[str, object], ...]
_SHOWN_AS_IT_IS = frozenset({str, int, bool, bytes, date, type(None)})
_AS_IT_IS = _SHOWN_AS_IT_IS | {Decimal}
_NUMBERS = frozenset({float, int, type(None)})
_MOMENTS = frozenset({datetime, type(None)})


class _Nan:
    """What all NaN become: equal to itself, and to no text."""

    def __repr__(self) -> str:
        return "NaN"


_NAN = _Nan()


def canonical(rows: Iterable[Row] | pa.Table) -> list[Canonical]:
    """Return rows in an order and form that depend on their values only."""
    return sorted(_records(rows), key=_order)


def assert_same_rows(found: Iterable[Row] | pa.Table, wanted: Iterable[Row] | pa.Table) -> None:
    """Fail, naming some of the differing rows, unless both have the same rows."""
    found, wanted = _dicts(found), _dicts(wanted)
    if _surely_same(found, wanted):
        return
    left, right = _records(found), _records(wanted)
    if left == right:
        return
    left.sort(key=_order)
    right.sort(key=_order)
    if left != right:
        only_left = [row for row in left if row not in right][:3]
        only_right = [row for row in right if row not in left][:3]
        raise AssertionError(
            f"{len(left)} rows found, {len(right)} wanted; "
            f"only found: {only_left}; only wanted: {only_right}"
        )


def _dicts(rows: Iterable[Row] | pa.Table) -> list[Row]:
    return rows.to_pylist(maps_as_pydicts="strict") if isinstance(rows, pa.Table) else list(rows)


def _surely_same(left: list[Row], right: list[Row]) -> bool:
    """Compare as :func:`canonical` does, but by whole columns and without an order.

    Most rows have the same names and plain values, so that little is to be done for each value.
    False says nothing: neither of rows with different names, nor of values without a hash.
    """
    if len(left) != len(right):
        return False
    if not left:
        return True
    names = left[0].keys()
    if any(row.keys() != names for rows in (left, right) for row in rows):
        return False
    try:
        return Counter(_tuples(left, names)) == Counter(_tuples(right, names))
    except TypeError:
        return False


def _tuples(rows: list[Row], names: Iterable[str]) -> Iterable[tuple[object, ...]]:
    return zip(*[_plain_all([row[name] for row in rows]) for name in names], strict=True)


def _plain_all(values: list[object]) -> list[object]:
    """Make each value plain; those that are plain already stay, if all of them are."""
    kinds = {value.__class__ for value in values}
    if kinds <= _AS_IT_IS:
        return values
    if kinds <= _NUMBERS:
        return [_NAN if value != value else value for value in values]
    if kinds <= _MOMENTS and all(value is None or _in_utc(value.tzinfo) for value in values):
        return values
    return [_plain(value) for value in values]


@functools.cache
def _in_utc(zone: tzinfo | None) -> bool:
    """Whether times of a zone are equal when, and only when, they are the same in UTC."""
    return zone is not None and zone.utcoffset(None) == timedelta(0)


def _records(rows: Iterable[Row] | pa.Table) -> list[Canonical]:
    return [_record(row) for row in _dicts(rows)]


def _record(value: Mapping[str, object]) -> Canonical:
    return tuple([(key, _plain(value[key])) for key in _in_order(tuple(value))])


@functools.lru_cache(maxsize=1000)
def _in_order(keys: tuple[str, ...]) -> list[str]:
    return sorted(keys, key=_order)


def _plain(value: object) -> object:
    if value.__class__ in _AS_IT_IS:
        return value
    match value:
        case float():
            return _NAN if math.isnan(value) else value
        case datetime() if value.tzinfo is not None:
            return ("utc", (value - value.utcoffset()).replace(tzinfo=None))
        case uuid.UUID():
            return value.bytes
        case bytearray() | memoryview():
            return bytes(value)
        case Mapping():
            return _record(value)
        case list() if value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            return _record(dict(value))  # pyarrow's way to give a map
        case list() | tuple():
            return tuple(_plain(item) for item in value)
        case _:
            return value


def _order(value: object) -> str:
    """Sort key in which equal numbers are equal whatever their type."""
    if value.__class__ in _SHOWN_AS_IT_IS:
        return repr(value)
    match value:
        case tuple():
            return f"({','.join(_order(item) for item in value)})"
        case float() | Decimal() if math.isfinite(value) and value == int(value):
            return repr(int(value))
        case Decimal():
            return repr(value.normalize())
        case _:
            return repr(value)
