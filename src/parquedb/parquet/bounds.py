"""Column statistics from the row groups of a Parquet footer.

Parquet's ``min_value`` and ``max_value`` are bounds: a writer that cuts a long string short
increments the maximum (parquet.thrift, ``Statistics``). Arrow leaves out statistics that are
known to be wrong (PARQUET-251, columns of undefined order), and so do we those of INT96.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parquedb.model.files import Stats, Value
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    NullType,
    StringType,
    Type,
    VariantType,
)

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_Convert = Callable[[Any], Any]
_Statistics = Any
"""A ``pyarrow.parquet.Statistics`` or None; the stubs misspell one of its names."""


def gather_stats(
    metadata: FileMetaData,
    fields: Sequence[tuple[Field, bool]],
    numbers: Sequence[int] | None = None,
) -> Stats:
    """Combine the statistics of row groups.

    Bounds and null counts are given for columns with one value a row, that is outside of lists
    and maps. A bound is given only where every row group has one or nothing but nulls.

    Args:
        metadata: The footer.
        fields: The leaf fields in the order of the columns, and whether each is repeated.
        numbers: Which row groups, all by default.
    """
    chosen = range(metadata.num_row_groups) if numbers is None else numbers
    groups = [metadata.row_group(index) for index in chosen]
    rows = [group.num_rows for group in groups]
    nulls: dict[int, int] = {}
    lower: dict[int, Value] = {}
    upper: dict[int, Value] = {}
    sizes: dict[int, int] = {}
    for index, (field, repeated) in enumerate(fields):
        chunks = [group.column(index) for group in groups]
        taken = sum([chunk.total_compressed_size for chunk in chunks])
        sizes[field.id] = sizes.get(field.id, 0) + taken
        if repeated:
            continue
        found: list[_Statistics] = [chunk.statistics for chunk in chunks]
        counts = [_nulls(field.type, s, n) for s, n in zip(found, rows, strict=True)]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            nulls[field.id] = sum(known)
        if (bounds := _bounds(field.type, found, counts, rows)) is not None:
            lower[field.id], upper[field.id] = bounds
    return Stats(nulls, lower, upper, sizes)


def _nulls(type_: Type, stats: _Statistics, rows: int) -> int | None:
    """Return the number of nulls in a row group, None if it does not say."""
    if rows == 0 or isinstance(type_, NullType):
        return rows
    return stats.null_count if stats is not None and stats.has_null_count else None


def _bounds(
    type_: Type,
    found: Sequence[_Statistics],
    nulls: Sequence[int | None],
    rows: Sequence[int],
) -> tuple[Value, Value] | None:
    if isinstance(type_, VariantType):  # its bytes have no order
        return None
    lower: Any = None
    upper: Any = None
    convert = _converter(type_)
    for stats, null, total in zip(found, nulls, rows, strict=True):
        if null == total:
            continue
        if stats is None or not stats.has_min_max or stats.physical_type == "INT96":
            return None
        low, high = convert(stats.min_raw), convert(stats.max_raw)
        if low is None or high is None or low > high:
            return None
        lower = low if lower is None else min(lower, low)
        upper = high if upper is None else max(upper, high)
    if lower is None or upper is None:
        return None
    if isinstance(type_, FloatType):  # the two zeros are equal: cover both
        return lower if lower != 0 else -0.0, upper if upper != 0 else 0.0
    return lower, upper


@functools.lru_cache(maxsize=1024)
def _converter(type_: Type) -> _Convert:
    """Return the function from a raw value to a physical one; None where it is no bound."""
    match type_:
        case IntType(_, signed) if not signed:
            mask = (1 << type_.bits) - 1
            return lambda raw: int(raw) & mask
        case FloatType(16):
            return lambda raw: _not_nan(struct.unpack("<e", _bytes(raw))[0])
        case FloatType():
            return lambda raw: _not_nan(float(raw))
        case DecimalType():
            return _decimal
        case StringType():
            return _text
        case _:
            return lambda raw: raw


def _not_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _decimal(raw: Value) -> int:
    return int.from_bytes(raw, "big", signed=True) if isinstance(raw, bytes) else int(raw)


def _text(raw: Value) -> str | None:
    """Decode UTF-8; a bound cut inside a character is none that can be written down."""
    try:
        return _bytes(raw).decode()
    except UnicodeDecodeError:
        return None


def _bytes(raw: Value) -> bytes:
    assert isinstance(raw, bytes)  # physical type BYTE_ARRAY or FIXED_LEN_BYTE_ARRAY
    return raw
