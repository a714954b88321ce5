"""Arrow arrays to lists of Python values, whatever they are encoded as.

Instants come as aware datetimes in UTC, maps with text keys as dicts and others as lists of
pairs, structs as dicts without the children that are null.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from parquedb.errors import FormatError
from parquedb.parquet.dynamic import AnyArray, AnyType
from parquedb.rows.arrays import EPOCH, EPOCH_LOCAL, MAX_US, MIN_US, US_PER_UNIT

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal()


def to_list(array: AnyArray) -> list[Any]:
    """Return the values of an array, None for null.

    Args:
        array: An array, chunked or not, sliced or not.

    Raises:
        FormatError: A date or time is not between the years 1 and 9999.
    """
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in to_list(chunk)]
    if array.null_count == len(array):
        return [None] * len(array)
    kind = array.type
    for holds, convert in _CONVERSIONS:
        if holds(kind):
            return convert(array)
    values: list[Any] = array.to_pylist()
    return values


def dicts(names: list[str], columns: list[list[Any]], *, nulls: bool) -> list[dict[str, Any]]:
    """Return one dict a row, without the keys whose value is None.

    Args:
        names: The keys.
        columns: Their values by row; at least one.
        nulls: Whether there may be None among the values.
    """
    if not nulls:
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ]


def _present(array: AnyArray) -> list[bool] | None:
    """Return which values are not null, or None if all of them are there."""
    if not array.null_count:
        return None
    validity = array.buffers()[0]
    if validity is None:  # a type without a bitmap, whose nulls are counted elsewhere
        return [value.is_valid for value in array]
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    present: list[bool] = bits[array.offset : array.offset + len(array)].astype(bool).tolist()
    return present


def _masked(values: list[Any], array: AnyArray) -> list[Any]:
    present = _present(array)
    if present is None:
        return values
    return [value if there else None for value, there in zip(values, present, strict=True)]


def _numbers(array: AnyArray, dtype: str) -> Any:
    """Return an array's fixed-width values as numpy's; null ones are whatever they are."""
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def _integers(array: AnyArray, dtype: str) -> Any:
    """Return int values with zero for null."""
    numbers = _numbers(array, dtype).astype(np.int64)
    present = _present(array)
    return numbers if present is None else np.where(present, numbers, 0)


def _timestamps(array: AnyArray) -> list[Any]:
    numbers = _integers(array, "i8")
    unit = array.type.unit
    if unit == "ns":
        low, high = -(2**63), 2**63 - 1
    else:
        low, high = MIN_US // US_PER_UNIT[unit], MAX_US // US_PER_UNIT[unit]
    if len(numbers) and (numbers.min() < low or numbers.max() > high):
        raise _out_of_range("timestamp")
    numbers = numbers // 1000 if unit == "ns" else numbers * US_PER_UNIT[unit]
    deltas = numbers.view("m8[us]").tolist()
    epoch = EPOCH_LOCAL if array.type.tz is None else EPOCH
    return _masked(list(map(epoch.__add__, deltas)), array)


def _dates(array: AnyArray) -> list[Any]:
    if array.type.bit_width == 32:
        days = _integers(array, "i4")
    else:
        days = _integers(array, "i8") // 86_400_000
    days = days + _EPOCH_DAY
    if len(days) and (days.min() < 1 or days.max() > _LAST_DAY):
        raise _out_of_range("date")
    return _masked(list(map(date.fromordinal, days.tolist())), array)


def _times(array: AnyArray) -> list[Any]:
    unit = array.type.unit
    numbers = _integers(array, f"i{array.type.bit_width // 8}")
    numbers = numbers // 1000 if unit == "ns" else numbers * US_PER_UNIT[unit]
    day = timedelta(days=1)
    deltas = numbers.view("m8[us]").tolist()
    if any(not isinstance(delta, timedelta) or not timedelta() <= delta < day for delta in deltas):
        raise _out_of_range("time of day")
    return _masked([(EPOCH + delta).time() for delta in deltas], array)


def _floats(array: AnyArray) -> list[Any]:
    return _masked(_numbers(array, f"f{array.type.bit_width // 8}").tolist(), array)


def _ints(array: AnyArray) -> list[Any]:
    sign = "u" if pa.types.is_unsigned_integer(array.type) else "i"
    return _masked(_numbers(array, f"{sign}{array.type.bit_width // 8}").tolist(), array)


def _structs(array: AnyArray) -> list[Any]:
    names, columns = [], []
    nulls = False
    for index in range(array.type.num_fields):
        child = array.field(index)
        if child.null_count < len(child):
            nulls = nulls or child.null_count > 0
            names.append(array.type.field(index).name)
            columns.append(to_list(child))
    if not columns:
        return _masked([{} for _ in range(len(array))], array)
    return _masked(dicts(names, columns, nulls=nulls), array)


def _lists(array: AnyArray) -> list[Any]:
    offsets = array.offsets.to_numpy()
    items = to_list(array.values[int(offsets[0]) : int(offsets[-1])])
    ends = (offsets - offsets[0]).tolist()
    return _masked([items[start:end] for start, end in pairwise(ends)], array)


def _list_views(array: AnyArray) -> list[Any]:
    items = to_list(array.values)
    starts, sizes = array.offsets.tolist(), array.sizes.tolist()
    return _masked(
        [items[start : start + size] for start, size in zip(starts, sizes, strict=True)], array
    )


def _fixed_lists(array: AnyArray) -> list[Any]:
    size = array.type.list_size
    items = to_list(array.values[array.offset * size : (array.offset + len(array)) * size])
    return _masked([items[n * size : (n + 1) * size] for n in range(len(array))], array)


def _maps(array: AnyArray) -> list[Any]:
    offsets = array.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    keys, items = to_list(array.keys[first:last]), to_list(array.items[first:last])
    pairs = pairwise((offsets - offsets[0]).tolist())
    if _is_text(array.type.key_type):
        values: list[Any] = [
            dict(zip(keys[start:end], items[start:end], strict=True)) for start, end in pairs
        ]
    else:
        values = [
            [[k, v] for k, v in zip(keys[start:end], items[start:end], strict=True)]
            for start, end in pairs
        ]
    return _masked(values, array)


def _is_text(kind: AnyType) -> bool:
    if _is.is_dictionary(kind):
        kind = kind.value_type
    return bool(_is.is_string(kind) or _is.is_large_string(kind) or _is.is_string_view(kind))


def _dictionary(array: AnyArray) -> list[Any]:
    values = to_list(array.dictionary)
    return [None if index is None else values[index] for index in to_list(array.indices)]


def _extension(array: AnyArray) -> list[Any]:
    values = to_list(array.storage)
    if array.type.extension_name == "arrow.uuid":
        return [None if value is None else UUID(bytes=value) for value in values]
    return values


def _decimals(array: AnyArray) -> list[Any]:
    values: list[Decimal | None] = array.to_pylist()
    return values


def _out_of_range(kind: str) -> FormatError:
    return FormatError(
        f"a {kind} is out of range (years 1 to 9999); correct the value, or read it as an integer"
    )


_is = pa.types
_CONVERSIONS: tuple[tuple[Callable[[AnyType], bool], Callable[[AnyArray], list[Any]]], ...] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), _extension),
    (_is.is_integer, _ints),
    (_is.is_timestamp, _timestamps),
    (_is.is_floating, _floats),
    (_is.is_struct, _structs),
    (lambda kind: _is.is_list(kind) or _is.is_large_list(kind), _lists),
    (_is.is_date, _dates),
    (_is.is_time, _times),
    (_is.is_dictionary, _dictionary),
    (_is.is_map, _maps),
    (_is.is_decimal, _decimals),
    (_is.is_fixed_size_list, _fixed_lists),
    (lambda kind: _is.is_list_view(kind) or _is.is_large_list_view(kind), _list_views),
)
"""The conversion of each kind of array; Arrow itself is quick for the others."""
