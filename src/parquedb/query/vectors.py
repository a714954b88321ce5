"""Columns of numbers kept in memory, as NumPy has them.

To compare a million numbers takes half a millisecond, less than to ask DuckDB anything. Every
column comes in zones of the same rows, of which the least and the greatest number are known.
Columns that hold NaN are left to DuckDB: no comparison with them is what it is elsewhere.

Like :mod:`.resident`, which keeps the others, a column is kept from its first search on where the
table is not large, else from its second, and the least recently used go first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.errors import FormatError, StorageError
from parquedb.model.types import (
    BooleanType,
    DateType,
    DecimalType,
    FloatType,
    IntType,
    TimestampType,
    Type,
)
from parquedb.parquet.dynamic import AnyArray
from parquedb.parquet.numbers import number_type
from parquedb.query.blocks import Blocks
from parquedb.query.view import Source
from parquedb.slotted import dataclass

ZONE_ROWS = 65_536
SOON_ROWS = 2_000_000
"""In tables of no more rows, columns of numbers are kept from the first search on."""
_SEARCHES = 2
_SHARE = 4
_KNOWN = 4096
_NUMBER_BYTES = 8
_MAX_DIGITS = 18
"""Of a decimal that is a 64-bit number."""
_INTS = (np.int8, np.int16, np.int32)
_UNSIGNED = (np.uint8, np.uint16, np.uint32)

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Zone:
    """Some rows of a column.

    Args:
        low: The least number, None where all are null.
        high: The greatest.
        nulls: How many are null.
    """

    low: int | float | None
    high: int | float | None
    nulls: int


@dataclass(frozen=True, slots=True)
class Vector:
    """A column of a file.

    Args:
        values: Its numbers in the type's own unit, of the least width; anything where it is null.
        valid: Where it is not null; None where it never is.
        zones: What is known of each :data:`ZONE_ROWS` of them.
    """

    values: Array
    valid: Mask | None
    zones: tuple[Zone, ...]

    @property
    def nbytes(self) -> int:
        """The memory it takes."""
        return self.values.nbytes + (0 if self.valid is None else self.valid.nbytes)


class Vectors:
    """The columns kept in memory. Safe between threads.

    Args:
        blocks: Where they are read from, and the budget: a quarter of it at most.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._budget_bytes = blocks.budget_bytes // _SHARE
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._searches: OrderedDict[_Key, int] = OrderedDict()
        self._vectors: OrderedDict[_Key, Vector] = OrderedDict()
        self._refused: set[_Key] = set()

    def of(self, sources: Sequence[Source], names: Sequence[str]) -> list[list[Vector]] | None:
        """Return columns of files.

        Args:
            sources: The files.
            names: Their columns, each of a type that :func:`is_number` says yes to.

        Returns:
            For each file its columns; None where they are too large, not worth to be kept yet, or
            not to be had.

        Raises:
            StaleError: A file was replaced meanwhile.
        """
        if not self._is_worth(sources, names):
            return None
        found = []
        for source in sources:
            vectors = [self._get(source, name) for name in names]
            known = [vector for vector in vectors if vector is not None]
            if len(known) < len(names):
                return None
            found.append(known)
        return found

    def _is_worth(self, sources: Sequence[Source], names: Sequence[str]) -> bool:
        rows = sum(source.file.rows or source.file.size_bytes for source in sources)
        if rows * len(names) * _NUMBER_BYTES > self._budget_bytes:
            return False
        if rows <= SOON_ROWS:
            return True
        keys = [(source.token, name) for source in sources for name in names]
        with self._lock:
            for key in keys:
                self._searches[key] = self._searches.pop(key, 0) + 1
            often = all(self._searches[key] >= _SEARCHES for key in keys)
            while len(self._searches) > max(_KNOWN, len(keys)):
                self._searches.popitem(last=False)
        return often

    def _get(self, source: Source, name: str) -> Vector | None:
        key = (source.token, name)
        with self._lock:
            known = self._vectors.get(key)
            if known is not None:
                self._vectors.move_to_end(key)
                return known
            if key in self._refused:
                return None
        try:
            found = vector_of(self._blocks.column(source, name))
        except (FormatError, StorageError):
            return None  # whoever searches in another way meets the same, and says what is wrong
        self._blocks.check(source)
        with self._lock:
            if found is None:
                if len(self._refused) >= _KNOWN:
                    self._refused.clear()
                self._refused.add(key)
            elif key not in self._vectors:
                self._vectors[key] = found
                self._size_bytes += found.nbytes
                while self._size_bytes > self._budget_bytes:
                    _, oldest = self._vectors.popitem(last=False)
                    self._size_bytes -= oldest.nbytes
        return found


def is_number(type_: Type) -> bool:
    """Whether values of a type are numbers that NumPy has, in their order."""
    match type_:
        case BooleanType() | IntType() | DateType() | TimestampType():
            return True
        case FloatType(bits):
            return bits > 16
        case DecimalType(precision, _):
            return precision <= _MAX_DIGITS
        case _:
            return False


def vector_of(arrays: Sequence[AnyArray]) -> Vector | None:
    """Return a column of numbers.

    Args:
        arrays: Its parts, as Arrow has them.

    Returns:
        The column; None where it holds NaN.
    """
    parts = [_numbers_of(array) for array in arrays]
    values = np.concatenate(parts) if parts else np.empty(0, np.int8)
    valid = None
    if any(array.null_count for array in arrays):
        valid = np.concatenate([_valid_of(array) for array in arrays])
        if not valid.any():
            values = np.broadcast_to(np.int8(0), values.shape)
    zones = tuple(
        _zone_of(values[start : start + ZONE_ROWS], _cut(valid, start))
        for start in range(0, len(values), ZONE_ROWS)
    )
    if any(zone.low != zone.low for zone in zones):
        return None
    return Vector(_narrowed(values, valid, zones), valid, zones)


def _numbers_of(array: AnyArray) -> Array:
    type_, data, end = array.type, array.buffers()[1], array.offset + len(array)
    kind: np.dtype[Any]
    if pa.types.is_decimal128(type_):
        kind = np.dtype(np.int64)
    elif pa.types.is_floating(type_) or pa.types.is_integer(type_):
        kind = number_type(type_)
    else:
        kind = np.dtype(f"i{max(1, type_.bit_width // 8)}")  # bools, days, or units of time
    if data is None:
        return np.zeros(len(array), kind)
    if pa.types.is_boolean(type_):
        return _bits(data, array.offset, end).view(kind)
    if pa.types.is_decimal128(type_):
        return np.frombuffer(data, kind, 2 * end)[2 * array.offset :: 2]
    return np.frombuffer(data, kind, end)[array.offset :]


def _valid_of(array: AnyArray) -> Mask:
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    data = array.buffers()[0]
    if data is None:  # of the type of nulls
        return np.zeros(len(array), np.bool_)
    return _bits(data, array.offset, array.offset + len(array)).view(np.bool_)


def _bits(data: pa.Buffer, start: int, end: int) -> Array:
    packed = np.frombuffer(memoryview(data), np.uint8)
    return np.unpackbits(packed, count=end, bitorder="little")[start:]


def _cut(valid: Mask | None, start: int) -> Mask | None:
    return None if valid is None else valid[start : start + ZONE_ROWS]


def _zone_of(values: Array, valid: Mask | None) -> Zone:
    size = len(values)
    if valid is not None and not valid.all():
        values = values[valid]
        if not len(values):
            return Zone(None, None, size)
    return Zone(values.min().item(), values.max().item(), size - len(values))


def _narrowed(values: Array, valid: Mask | None, zones: Sequence[Zone]) -> Array:
    """Return whole numbers in the least width that holds them: they are compared faster."""
    kinds = {"i": _INTS, "u": _UNSIGNED}.get(values.dtype.kind)
    lows = [zone.low for zone in zones if zone.low is not None]
    highs = [zone.high for zone in zones if zone.high is not None]
    if kinds is None or not lows:
        return values
    low, high = min(lows), max(highs)
    for kind in kinds:
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            if valid is not None:
                values = np.where(valid, values, low)
            return values.astype(kind)
    return values
