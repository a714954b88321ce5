"""MongoDB's order and equality of values across types (manual, "Comparison/Sort Order").

Values of different brackets never equal and are ordered by their brackets. Numbers of all types
compare by value, exactly; booleans are not numbers. Instants, wall-clock readings (taken as UTC)
and dates (midnight UTC) are one bracket, bytes and UUIDs another. Strings compare by code point.
Unlike MongoDB, documents equal whatever the order of their keys.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final


class Bracket(IntEnum):
    """The types of values that are compared with each other, in ascending order."""

    EMPTY = 0
    """An empty list as a sort key; MongoDB puts it before null."""
    NULL = 5
    NAN = 9
    """Not a number: its own bracket, since no comparison with a number holds for it."""
    NUMBER = 10
    STRING = 15
    OBJECT = 20
    ARRAY = 25
    BINARY = 30
    BOOLEAN = 40
    DATE = 45
    OTHER = 100
    """What no document can hold, read from a table that is not ours; ordered by type and text."""


class Missing:
    """The type of :data:`MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""Stands where a path reaches nothing."""

Key = tuple[int, Any]
"""Hashable; keys equal if and only if the values do, and are ordered as the values are."""

NULL_KEY: Final[Key] = (5, None)
EMPTY_KEY: Final[Key] = (0, None)
_NAN_KEY: Final[Key] = (9, None)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WALL = datetime(1970, 1, 1)  # noqa: DTZ001  (a reading without a zone)
_EPOCH_DAY = _EPOCH_WALL.toordinal()
NUMBERS: Final = frozenset((int, float, Decimal))
"""The exact types of numbers, without bool."""

_GENERIC: Final = (str, bool, int, float, Decimal, datetime, date, dict, list, tuple, bytes)


def since_epoch(value: date) -> timedelta:
    """Return the time from 1970 in UTC to an instant, a wall-clock reading or a date's midnight."""
    if not isinstance(value, datetime):
        return timedelta(days=value.toordinal() - _EPOCH_DAY)
    return value - (_EPOCH_WALL if value.utcoffset() is None else _EPOCH)


def compare_key(value: Any) -> Key:
    """Return a value's place in the order of all values.

    Args:
        value: Any value of a document, or :data:`MISSING`, which is like null.

    Returns:
        A key to be compared with others and to be hashed.
    """
    kind = value.__class__
    if kind is str:
        return (15, value)
    if kind in NUMBERS:
        return (10, value) if value == value else _NAN_KEY
    if value is None or value is MISSING:
        return NULL_KEY
    return _key_of_kind(kind, value)


def _key_of_kind(kind: type[Any], value: Any) -> Key:
    if kind is dict:
        fields = ((name, compare_key(value[name])) for name in sorted(value))
        return (20, tuple((key[0], name, key[1]) for name, key in fields))
    if kind is list or kind is tuple:
        return (25, tuple(map(compare_key, value)))
    if kind is bool:
        return (40, value)
    if kind is datetime or kind is date:
        return (45, since_epoch(value))
    if kind is bytes:
        return (30, (len(value), 0, value))
    if kind is uuid.UUID:
        return (30, (16, 4, value.bytes))
    for base in _GENERIC:
        if isinstance(value, base):
            return compare_key(value) if base is kind else _key_of_base(base, value)
    return (100, (kind.__name__, str(value)))


def _key_of_base(base: type[Any], value: Any) -> Key:
    """Return the key of a subclass's value."""
    if base is datetime or base is date:
        return (45, since_epoch(value))
    return compare_key(base(value))


def bracket_of(value: Any) -> int:
    """Return the number of a value's :class:`Bracket`."""
    return compare_key(value)[0]


def equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal: ``1`` and ``1.0`` are, ``1`` and ``True`` are not."""
    if one is other:
        return True
    if one.__class__ is str and other.__class__ is str:
        return bool(one == other)
    return compare_key(one) == compare_key(other)
