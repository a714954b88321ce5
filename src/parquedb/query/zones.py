"""Rows that match, and the first of them in an order, by comparing whole zones of numbers.

What a filter means is said once, in SQL (:mod:`.sql`). Where the SQL is put together of nothing
but comparisons of numbers, they are made here, as it says, on columns that are kept in memory.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parquedb.query.truth import FALSE, TRUE, Comparison, Kind, Sql
from parquedb.query.vectors import ZONE_ROWS, Array, Mask, Vector, Zone
from parquedb.slotted import dataclass

Rows = npt.NDArray[np.int64]

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_FEW: Final = 4
"""How many numbers are compared one after another."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """A file that is searched.

    Args:
        rows: How many rows it has.
        predicate: What the rows must pass.
        columns: The columns that it compares, by the SQL that names them.
        key: The column that is sorted by; None where it is null everywhere.
        hidden: Rows that do not pass, ascending, if any.
    """

    rows: int
    predicate: Sql
    columns: Mapping[str, Vector]
    key: Vector | None = None
    hidden: Rows | None = None

    def zones(self) -> range:
        """Return the numbers of its zones."""
        return range(-(-self.rows // ZONE_ROWS))

    def size(self, zone: int) -> int:
        """Return how many rows a zone has."""
        return min(ZONE_ROWS, self.rows - zone * ZONE_ROWS)

    def passing(self, zone: int) -> Mask | bool:
        """Return which rows of a zone pass; True for all, False for none."""
        mask = _passing(self.predicate, self.columns, zone)
        if mask is False or self.hidden is None:
            return mask
        start = zone * ZONE_ROWS
        low, high = np.searchsorted(self.hidden, [start, start + ZONE_ROWS])
        if low == high:
            return mask
        mask = np.ones(self.size(zone), np.bool_) if mask is True else mask.copy()
        mask[self.hidden[low:high] - start] = False
        return mask


def compared(predicate: Sql) -> frozenset[str] | None:
    """Return SQL of the columns that a predicate compares, None if it is not made of comparisons.

    Args:
        predicate: The predicate.
    """
    if predicate.kind is not Kind.LEAF:
        found = [compared(part) for part in predicate.parts]
        known = [columns for columns in found if columns is not None]
        return frozenset().union(*known) if len(known) == len(found) else None
    if predicate in (TRUE, FALSE):
        return frozenset()
    return None if predicate.comparison is None else frozenset({predicate.comparison.column})


def count_rows(files: Sequence[Sifted]) -> int:
    """Return how many rows pass."""
    total = 0
    for file in files:
        for zone in file.zones():
            mask = file.passing(zone)
            if mask is True:
                total += file.size(zone)
            elif mask is not False:
                total += int(np.count_nonzero(mask))
    return total


def rows_of(files: Sequence[Sifted], limit: int | None) -> Rows:
    """Return the rows that pass, counted on from file to file.

    Args:
        files: The files.
        limit: How many at most, None for all.
    """
    found, left, first = [np.empty(0, np.int64)], limit, 0
    for file in files:
        for zone in file.zones():
            if left is not None and left <= 0:
                break
            rows = _where(file.passing(zone), file.size(zone))[:left]
            found.append(rows + (first + zone * ZONE_ROWS))
            left = None if left is None else left - len(rows)
        first += file.rows
    return np.concatenate(found)


def first_rows(files: Sequence[Sifted], count: int, *, descending: bool) -> Rows:
    """Return the first rows that pass in the order of a column, counted on from file to file.

    Null is lower than every number; rows of the same value stay in their order.

    Args:
        files: The files.
        count: How many at most.
        descending: Whether greater numbers come first.
    """
    if descending:
        best = _numbers(files, count, descending=True)
        return np.concatenate([best, _nulls(files, count - len(best))])
    nulls = _nulls(files, count)
    return np.concatenate([nulls, _numbers(files, count - len(nulls), descending=False)])


def _nulls(files: Sequence[Sifted], count: int) -> Rows:
    """Return the first rows that pass and have no key."""
    found, left, first = [np.empty(0, np.int64)], count, 0
    for file in files:
        for zone in file.zones():
            valid = False if file.key is None else _valid(file.key, zone, file.key.zones[zone])
            if left <= 0 or valid is True:
                continue
            rows = _where(_both(_opposite(valid), file.passing(zone)), file.size(zone))[:left]
            found.append(rows + (first + zone * ZONE_ROWS))
            left -= len(rows)
        first += file.rows
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class _Span:
    """A zone with numbers in the column that is sorted by.

    Args:
        file: The file.
        key: The column.
        zone: The zone's number.
        known: What is known of it.
        first: The number of its first row.
    """

    file: Sifted
    key: Vector
    zone: int
    known: Zone
    first: int


def _spans(files: Sequence[Sifted]) -> Iterator[_Span]:
    first = 0
    for file in files:
        key = file.key
        if key is not None:
            for zone, known in enumerate(key.zones):
                if known.low is not None:
                    yield _Span(file, key, zone, known, first + zone * ZONE_ROWS)
        first += file.rows


def _numbers(files: Sequence[Sifted], count: int, *, descending: bool) -> Rows:
    """Return the first rows that pass and have a key.

    The zones come in the order of their best keys, so that the others are soon out of question.
    """
    best = _Best(count, descending=descending)
    if count <= 0:
        return best.rows
    if descending:
        spans = sorted(_spans(files), key=lambda span: -_known(span.known.high))
    else:
        spans = sorted(_spans(files), key=lambda span: _known(span.known.low))
    for span in spans:
        edge = _known(span.known.high if descending else span.known.low)
        if best.is_full and (edge < best.last if descending else edge > best.last):
            break
        mask = best.candidates(span)
        if mask is False or (mask is not True and not mask.any()):
            continue
        rows = _where(_both(mask, span.file.passing(span.zone)), span.file.size(span.zone))
        if len(rows):
            best.add(_slice(span.key.values, span.zone)[rows], rows + span.first)
    return best.rows


class _Best:
    """The best rows so far, in their order.

    Args:
        count: How many are kept.
        descending: Whether greater keys are better.

    Attributes:
        rows: Their numbers.
        is_full: Whether others can only take the place of one of them.
        last: The worst key; anything while it is not full.
    """

    def __init__(self, count: int, *, descending: bool) -> None:
        self._count = count
        self._descending = descending
        self._keys: Array | None = None
        self.rows: Rows = np.empty(0, np.int64)
        self.is_full = False
        self.last: int | float = 0

    def candidates(self, span: _Span) -> Mask | bool:
        """Return which rows of a zone have a key that can be among the best."""
        if not self.is_full:
            return _valid(span.key, span.zone, span.known)
        # a row that comes later must be better than the last, another one may be equal
        strict = span.first > self.rows[-1]
        sign = {(False, False): "<=", (False, True): "<", (True, False): ">=", (True, True): ">"}
        comparison = Comparison("", sign[self._descending, strict], (self.last,))
        return _compared(comparison, span.key, span.zone)

    def add(self, keys: Array, rows: Rows) -> None:
        """Add rows."""
        if self._keys is not None:
            keys, rows = np.concatenate([self._keys, keys]), np.concatenate([self.rows, rows])
        if len(keys) > self._count:
            keys, rows = self._cut(keys, rows)
        if self._descending:
            order = np.lexsort((-rows, keys))[::-1]
        else:
            order = np.lexsort((rows, keys))
        self._keys, self.rows = keys[order], rows[order]
        self.is_full = len(rows) == self._count
        self.last = self._keys[-1].item()

    def _cut(self, keys: Array, rows: Rows) -> tuple[Array, Rows]:
        """Return the best of more than are kept, in any order."""
        place = len(keys) - self._count if self._descending else self._count - 1
        last = np.partition(keys, place)[place]
        better = keys > last if self._descending else keys < last
        same = np.flatnonzero(keys == last)
        left = self._count - int(np.count_nonzero(better))
        if len(same) > left:
            same = same[np.argpartition(rows[same], left - 1)[:left]]
        chosen = np.concatenate([np.flatnonzero(better), same])
        return keys[chosen], rows[chosen]


def _known(number: float | None) -> int | float:
    assert number is not None  # as there are numbers in the zone
    return number


def _where(mask: Mask | bool, size: int) -> Rows:  # noqa: FBT001
    if mask is True:
        return np.arange(size, dtype=np.int64)
    if mask is False or not mask.any():
        return np.empty(0, np.int64)
    return np.flatnonzero(mask)


def _slice(values: Array, zone: int) -> Array:
    return values[zone * ZONE_ROWS : (zone + 1) * ZONE_ROWS]


def _passing(predicate: Sql, columns: Mapping[str, Vector], zone: int) -> Mask | bool:
    if predicate.kind is Kind.LEAF:
        if predicate.comparison is None:
            return predicate == TRUE
        return _compared(predicate.comparison, columns[predicate.comparison.column], zone)
    result = predicate.kind is Kind.AND
    join = _both if result else _either
    mask: Mask | bool = result
    for part in predicate.parts:
        mask = join(mask, _passing(part, columns, zone))
        if mask is not result and isinstance(mask, bool):
            break
    return mask


def _both(one: Mask | bool, other: Mask | bool) -> Mask | bool:  # noqa: FBT001
    if one is True or other is False:
        return other
    return one if other is True or one is False else one & other


def _either(one: Mask | bool, other: Mask | bool) -> Mask | bool:  # noqa: FBT001
    if one is False or other is True:
        return other
    return one if other is False or one is True else one | other


def _opposite(mask: Mask | bool) -> Mask | bool:  # noqa: FBT001
    return not mask if isinstance(mask, bool) else ~mask


def _valid(vector: Vector, zone: int, known: Zone) -> Mask | bool:
    """Return where a zone of a column is not null."""
    if known.low is None:
        return False
    return True if not known.nulls or vector.valid is None else _slice(vector.valid, zone)


def _compared(comparison: Comparison, vector: Vector, zone: int) -> Mask | bool:
    known = vector.zones[zone]
    mask = _valid(vector, zone, known)
    if comparison.sign and mask is not False:
        numbers = _slice(vector.values, zone)
        bounds = _known(known.low), _known(known.high)
        mask = _both(mask, _of_numbers(comparison, numbers, *bounds))
    return _opposite(mask) if comparison.negated else mask


def _of_numbers(comparison: Comparison, numbers: Array, low: float, high: float) -> Mask | bool:
    """Compare numbers, unless their bounds tell; what is compared is between these, so it fits."""
    compare = _COMPARE[comparison.sign]
    if comparison.sign == "=":
        between = [value for value in comparison.values if low <= value <= high]
        if not between or low == high:
            return bool(between)
        if len(between) > _FEW:
            return np.isin(numbers, np.array(between, numbers.dtype))
        masks: list[Mask] = [compare(numbers, numbers.dtype.type(value)) for value in between]
        return functools.reduce(operator.or_, masks)
    (value,) = comparison.values
    of_low, of_high = compare(low, value), compare(high, value)
    if of_low == of_high:
        return bool(of_low)
    mask: Mask = compare(numbers, numbers.dtype.type(value))
    return mask
