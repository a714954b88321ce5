"""Accumulators: what ``$group`` makes of a group's values (MongoDB's manual, "Accumulators")."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from parquedb.query.compare import MISSING, NUMBERS, Key, compare_key
from parquedb.query.numeric import Total, as_float
from parquedb.query.operators.base import UnfitError, is_null, shown


class Accumulator(Protocol):
    """Takes values one after another."""

    def add(self, value: Any) -> None:
        """Take the next value, or :data:`~parquedb.query.compare.MISSING`.

        Raises:
            UnfitError: It cannot be taken.
        """

    def result(self) -> Any:
        """Return what the values so far come to."""


class Mean(Total):
    """``$avg``: the mean of the numbers; None of none."""

    __slots__ = ()

    def result(self) -> Any:
        """Return the mean."""
        return self.mean()


class _Extreme:
    """``$min`` and ``$max``: the first of the least, or greatest, that are not null."""

    __slots__ = ("_greatest", "_key", "_value")

    def __init__(self, *, greatest: bool) -> None:
        self._greatest = greatest
        self._key: Key | None = None
        self._value: Any = None

    def add(self, value: Any) -> None:
        if value is None or value is MISSING:
            return
        key, best = compare_key(value), self._key
        if best is None or (key > best if self._greatest else key < best):
            self._key, self._value = key, value

    def result(self) -> Any:
        return self._value


class _First:
    __slots__ = ("_given", "_value")

    def __init__(self) -> None:
        self._given = False
        self._value: Any = None

    def add(self, value: Any) -> None:
        if not self._given:
            self._given, self._value = True, None if value is MISSING else value

    def result(self) -> Any:
        return self._value


class _Last:
    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: Any = None

    def add(self, value: Any) -> None:
        self._value = None if value is MISSING else value

    def result(self) -> Any:
        return self._value


class _Push:
    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: list[Any] = []

    def add(self, value: Any) -> None:
        if value is not MISSING:
            self._values.append(value)

    def result(self) -> Any:
        return self._values


class _AddToSet:
    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Key, Any] = {}

    def add(self, value: Any) -> None:
        if value is not MISSING:
            self._values.setdefault(compare_key(value), value)

    def result(self) -> Any:
        return list(self._values.values())


class Count:
    """``$count``: how many there are, whatever they are."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def add(self, value: Any) -> None:
        """Count one."""
        del value
        self._count += 1

    def add_many(self, count: int) -> None:
        """Count several."""
        self._count += count

    def result(self) -> Any:
        """Return the count."""
        return self._count


class _Deviation:
    """``$stdDevPop`` and ``$stdDevSamp``, by Welford's method."""

    __slots__ = ("_count", "_less", "_mean", "_squares")

    def __init__(self, *, less: int) -> None:
        self._less = less
        self._count = 0
        self._mean = self._squares = 0.0

    def add(self, value: Any) -> None:
        if value.__class__ not in NUMBERS:
            return
        number = as_float(value)
        self._count += 1
        apart = number - self._mean
        self._mean += apart / self._count
        self._squares += apart * (number - self._mean)

    def result(self) -> Any:
        freedom = self._count - self._less
        return math.sqrt(self._squares / freedom) if freedom > 0 else None


class _Merge:
    __slots__ = ("_merged",)

    def __init__(self) -> None:
        self._merged: dict[str, Any] = {}

    def add(self, value: Any) -> None:
        self._merged |= merged([value])

    def result(self) -> Any:
        return self._merged


def merged(values: Iterable[Any]) -> dict[str, Any]:
    """Return documents laid over each other; null and missing ones are left out.

    Raises:
        UnfitError: A value is no document.
    """
    made: dict[str, Any] = {}
    for value in values:
        if value.__class__ is dict:
            made |= value
        elif not is_null(value):
            raise UnfitError(f"needs documents, not {shown(value)}")
    return made


ACCUMULATORS: Final[dict[str, Callable[[], Accumulator]]] = {
    "$sum": Total,
    "$avg": Mean,
    "$min": lambda: _Extreme(greatest=False),
    "$max": lambda: _Extreme(greatest=True),
    "$first": _First,
    "$last": _Last,
    "$push": _Push,
    "$addToSet": _AddToSet,
    "$count": Count,
    "$stdDevPop": lambda: _Deviation(less=0),
    "$stdDevSamp": lambda: _Deviation(less=1),
    "$mergeObjects": _Merge,
}
