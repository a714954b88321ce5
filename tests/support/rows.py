"""Rows as every reader gives them, made comparable.

A table is a list of dicts, one per row, in the reader's own Python types. :func:`canonical` turns
it into a sorted list of tuples in which equal data of any two readers is equal: NaN equals NaN,
points in time are in UTC, a map is the same whether it came as a dict or as pairs.
"""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

Row = Mapping[str, object]
Canonical = tuple[tuple[str, object], ...]
_SHOWN_AS_IT_IS = frozenset({str, int, bool, bytes, date, type(None)})
_AS_IT_IS = _SHOWN_AS_IT_IS | {Decimal}


def canonical(rows: Iterable[Row] | pa.Table) -> list[Canonical]:
    """Return rows in an order and form that depend on their values only."""
    return sorted(_records(rows), key=_order)


def assert_same_rows(found: Iterable[Row] | pa.Table, wanted: Iterable[Row] | pa.Table) -> None:
    """Fail, naming some of the differing rows, unless both have the same rows."""
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


def _records(rows: Iterable[Row] | pa.Table) -> list[Canonical]:
    dicts = rows.to_pylist(maps_as_pydicts="strict") if isinstance(rows, pa.Table) else rows
    return [_record(row) for row in dicts]


def _record(value: Mapping[str, object]) -> Canonical:
    return tuple([(key, _plain(value[key])) for key in _in_order(tuple(value))])


@functools.lru_cache(maxsize=1000)
def _in_order(keys: tuple[str, ...]) -> list[str]:
    return sorted(keys, key=_order)


def _plain(value: object) -> object:
    if value.__class__ in _AS_IT_IS:
        return value
    match value:
        case float() if math.isnan(value):
            return "NaN"
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
