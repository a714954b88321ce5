"""Lists of Python values to Arrow arrays, exactly or not at all.

:func:`build` takes whole columns at C speed and gives up at the first value that does not fit;
:func:`fits` says which one it was. The two agree: an array can be built of values that all fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from itertools import chain, repeat
from operator import contains, is_, itemgetter
from types import NoneType
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    FixedType,
    FloatType,
    IntType,
    ListType,
    StringType,
    StructType,
    TimestampType,
    Type,
    UuidType,
    VariantType,
)
from parquedb.parquet.arrow import VARIANT_PARTS
from parquedb.parquet.dynamic import AnyArray, AnyType
from parquedb.rows.infer import digits_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_LOCAL = datetime(1970, 1, 1)  # noqa: DTZ001  (a wall clock's)
MICROSECOND = timedelta(microseconds=1)
MIN_US = (date.min.toordinal() - EPOCH.toordinal()) * 86_400_000_000
MAX_US = (date.max.toordinal() - EPOCH.toordinal() + 1) * 86_400_000_000 - 1
"""The first and the last microsecond that a datetime can say, since the epoch."""
US_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}

_NOTHING: dict[str, Any] = {}
_RUN = 64
"""So many values are worth a look whether they are all the same object."""
_RUN_BYTES = 1 << 30


class Misfit(Exception):  # noqa: N818  (it is caught where columns are built, never shown)
    """Some value is not of the column's type."""


MISFITS = (Misfit, pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError)
"""What :func:`build` raises where some value does not fit."""


def build(values: list[Any], type_: Type, arrow: AnyType) -> AnyArray:
    """Return values as an array.

    Args:
        values: The values in their normal form; None is null.
        type_: The column's type.
        arrow: Its Arrow type.

    Raises:
        MISFITS: Some value does not fit, or may not.
    """
    run = _run(values, type_, arrow)
    if run is not None:
        return run
    kinds = set(map(type, values))
    nulls = NoneType in kinds
    kinds.discard(NoneType)
    if not kinds:
        return pa.nulls(len(values), arrow)
    kind = kinds.pop()
    if kinds or _KINDS.get(type(type_)) is not kind:
        raise Misfit
    match type_:
        case FloatType(bits):
            return _floats(values, bits, arrow)
        case TimestampType(unit, utc):
            return _timestamps(_deltas(values, utc=utc, nulls=nulls), unit, arrow)
        case StructType():
            return _structs(values, type_, arrow, nulls=nulls)
        case ListType():
            return _lists(values, type_, arrow, nulls=nulls)
        case VariantType():
            return _variants(values, arrow, nulls=nulls)
        case UuidType():
            stored = pa.array([None if v is None else v.bytes for v in values], pa.binary(16))
            return pa.ExtensionArray.from_storage(arrow, stored)
        case FixedType(length) if any(v is not None and len(v) != length for v in values):
            raise Misfit
        case _:
            array = pa.array(values, arrow)
            if isinstance(array, pa.ChunkedArray):  # more than fits in one: not a question of types
                raise pa.ArrowCapacityError("more than 2 GiB in one column of one batch")
            return array


def _run(values: list[Any], type_: Type, arrow: AnyType) -> AnyArray | None:
    """Build an array of one object again and again: a type, the time of a write.

    None where they are several, or so long that the usual way shall say so.
    """
    if len(values) < _RUN or values[0] is not values[-1] or values[0] is None:
        return None
    one = values[0]
    if not all(map(is_, values, repeat(one))):
        return None
    array = build([one], type_, arrow)
    if array.nbytes * len(values) > _RUN_BYTES:
        return None
    return array.take(pa.array(np.zeros(len(values), np.int32)))


def fits(value: Any, type_: Type) -> bool:
    """Whether a value in its normal form can be in a column and is read back equal."""
    kind: type = type(value)
    if kind is not _KINDS.get(type(type_)):
        return False
    match type_:
        case IntType(bits, signed):
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            return bool(low <= value <= high)
        case FloatType(bits):
            return _fits_float(value, bits)
        case DecimalType(precision, scale):
            before, after = digits_of(value.normalize(_EXACT))
            return after <= scale and before <= precision - scale
        case TimestampType(unit, utc):
            return (value.tzinfo is not None) is utc and _fits_unit(value, unit)
        case FixedType(length):
            return len(value) == length
        case StructType(fields):
            return _fits_struct(value, fields)
        case VariantType():
            return _is_variant(value)
        case ListType(element):
            return all(
                (item is None and not element.required) or fits(item, element.type)
                for item in value
            )
        case _:
            return True


_KINDS: dict[type, type] = {
    BooleanType: bool,
    IntType: int,
    FloatType: float,
    DecimalType: Decimal,
    DateType: date,
    TimestampType: datetime,
    StringType: str,
    BinaryType: bytes,
    FixedType: bytes,
    UuidType: UUID,
    StructType: dict,
    ListType: list,
    VariantType: dict,
}
"""The kind of values that a column of a type holds; columns of other types hold null."""

_NUMPY_FLOATS: dict[int, Callable[[float], Any]] = {16: np.float16, 32: np.float32}
_EXACT = Context(prec=10**6, Emax=10**17, Emin=-(10**17))


def _floats(values: list[Any], bits: int, arrow: AnyType) -> AnyArray:
    array = pa.array(values, pa.float64())
    numbers = _fixed_width(array, np.float64)
    if np.isnan(numbers).any():
        raise Misfit
    if bits == 64:
        return array
    with np.errstate(over="ignore"):
        narrow = numbers.astype(f"f{bits // 8}")
    if not np.array_equal(narrow.astype(np.float64), numbers):
        raise Misfit
    return pa.Array.from_buffers(arrow, len(values), [array.buffers()[0], pa.py_buffer(narrow)])


def _deltas(values: list[Any], *, utc: bool, nulls: bool) -> list[timedelta | None]:
    """Subtract the epoch; raises for a naive value among aware ones and the other way round."""
    epoch: Any = EPOCH if utc else EPOCH_LOCAL
    since = epoch.__rsub__
    if nulls:
        return [None if value is None else since(value) for value in values]
    return list(map(since, values))


def _timestamps(deltas: list[timedelta | None], unit: str, arrow: AnyType) -> AnyArray:
    array = pa.array(deltas, pa.duration("us"))
    validity = array.buffers()[0]
    numbers = _fixed_width(array, np.int64)
    if numbers.min() < MIN_US or numbers.max() > MAX_US:
        raise Misfit
    if unit == "ns":
        if np.abs(numbers).max() > (2**63 - 1) // 1000:
            raise Misfit
        numbers = numbers * 1000
    elif unit != "us":
        numbers, rest = np.divmod(numbers, US_PER_UNIT[unit])
        if rest.any():
            raise Misfit
    return pa.Array.from_buffers(arrow, len(deltas), [validity, pa.py_buffer(numbers)])


def _structs(values: list[Any], type_: StructType, arrow: AnyType, *, nulls: bool) -> AnyArray:
    present = [_NOTHING if value is None else value for value in values] if nulls else values
    names = {field.name for field in type_.fields}
    shapes = set(map(tuple, present))
    if not names.issuperset(chain.from_iterable(shapes)):
        raise Misfit
    whole = len(shapes) == 1 and len(next(iter(shapes))) == len(names)
    children = []
    for index, field in enumerate(type_.fields):
        name = field.name
        if whole:
            column = list(map(itemgetter(name), present))
            if _count_none(column):
                raise Misfit
        else:
            column = [value.get(name) for value in present]
            lacking = len(present) - sum(map(contains, present, repeat(name)))
            empty = _count_none(column)
            if empty != lacking or (field.required and empty > values.count(None)):
                raise Misfit
        children.append(build(column, field.type, arrow.field(index).type))
    mask = pa.array([value is None for value in values]) if nulls else None
    return pa.StructArray.from_arrays(children, fields=list(arrow.fields), mask=mask)


def _variants(values: list[Any], arrow: AnyType, *, nulls: bool) -> AnyArray:
    """Return variants as they are read: in their two parts."""
    none = dict.fromkeys(VARIANT_PARTS, b"")
    present = [none if value is None else value for value in values] if nulls else values
    if not all(map(_is_variant, present)):
        raise Misfit
    parts = [pa.array([one[name] for one in present], pa.binary()) for name in VARIANT_PARTS]
    mask = pa.array([value is None for value in values]) if nulls else None
    return pa.StructArray.from_arrays(parts, fields=list(arrow.fields), mask=mask)


def _is_variant(value: dict[str, Any]) -> bool:
    return set(value) == set(VARIANT_PARTS) and all(type(part) is bytes for part in value.values())


def _lists(values: list[Any], type_: ListType, arrow: AnyType, *, nulls: bool) -> AnyArray:
    present = [() if value is None else value for value in values] if nulls else values
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, present), np.int64, len(values)), out=offsets[1:])
    items = list(chain.from_iterable(present))
    if type_.element.required and _count_none(items):
        raise Misfit
    if offsets[-1] >= 2**31:
        raise pa.ArrowCapacityError("more than 2 ** 31 list elements in one batch")
    return pa.ListArray.from_arrays(
        _offsets(offsets),
        build(items, type_.element.type, arrow.value_type),
        type=arrow,
        mask=pa.array([value is None for value in values]) if nulls else None,
    )


def _offsets(offsets: Any) -> Any:
    return pa.array(offsets.astype(np.int32))


def _fixed_width(array: AnyArray, dtype: Any) -> Any:
    """Return the values of a fresh array as numpy's; null ones are whatever they are."""
    return np.frombuffer(array.buffers()[1], dtype)[: len(array)]


def _count_none(values: list[Any]) -> int:
    return values.count(None)


def _fits_float(value: float, bits: int) -> bool:
    if bits == 64 or value != value:
        return value == value
    with np.errstate(over="ignore"):
        return float(_NUMPY_FLOATS[bits](value)) == value


def _fits_unit(value: datetime, unit: str) -> bool:
    us = (value - (EPOCH_LOCAL if value.tzinfo is None else EPOCH)) // MICROSECOND
    if unit == "ns":
        return abs(us) <= (2**63 - 1) // 1000
    return us % US_PER_UNIT[unit] == 0


def _fits_struct(value: dict[str, Any], fields: Iterable[Any]) -> bool:
    types = {field.name: field.type for field in fields}
    return all(key in types and fits(item, types[key]) for key, item in value.items()) and all(
        field.name in value for field in fields if field.required
    )
