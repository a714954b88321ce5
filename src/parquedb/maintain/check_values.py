"""The true bounds and null counts of a column's rows, for what footers leave open."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Context
from typing import Any

import pyarrow as pa

from parquedb.model.files import DataFile, Value
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.model.types import Field, StructType
from parquedb.parquet.dynamic import AnyArray
from parquedb.parquet.scan import read_batches
from parquedb.storage.store import Store

_EXACT = Context(prec=100)
"""Decimals have up to 76 digits."""


def fields_in_rows(fields: tuple[Field, ...]) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Yield the primitive fields that have one value a row, with their paths."""
    for field in fields:
        match field.type:
            case StructType(inner):
                for path, item in fields_in_rows(inner):
                    yield (field.name, *path), item
            case _:
                yield (field.name,), field


def true_bounds(
    store: Store,
    file: DataFile,
    schema: Schema,
    spec: PartitionSpec,
    path: tuple[str, ...],
) -> tuple[Value, Value] | None:
    """Read a column and return its least and greatest value in rows that are not deleted.

    NaN is no value. None where there are none, or where the type has no order that is known.

    Raises:
        FormatError: The file cannot be read.
    """
    found: tuple[Value, Value] | None = None
    for batch in read_batches(store, file, schema, spec, columns=[path[0]]):
        array: AnyArray = batch.column(0)
        for name in path[1:]:
            parent, array = array, array.field(array.type.get_field_index(name))
            if parent.null_count:
                array = array.filter(parent.is_valid())
        bounds = _bounds(array)
        if bounds is not None:
            low, high = bounds
            found = bounds if found is None else (min(found[0], low), max(found[1], high))
    return found


def _bounds(array: AnyArray) -> tuple[Value, Value] | None:
    import pyarrow.compute as pc  # noqa: PLC0415

    type_, kinds = array.type, pa.types
    if isinstance(array.type, pa.BaseExtensionType):
        array, type_ = array.storage, array.type.storage_type
    if kinds.is_date32(type_):
        array = array.cast(pa.int32())
    elif kinds.is_timestamp(type_) or kinds.is_time64(type_):
        array = array.cast(pa.int64())
    elif kinds.is_time32(type_):
        array = array.cast(pa.int32())
    elif not (
        kinds.is_integer(type_)
        or kinds.is_floating(type_)
        or kinds.is_string(type_)
        or kinds.is_large_string(type_)
        or kinds.is_decimal(type_)
        or kinds.is_boolean(type_)
        or kinds.is_binary(type_)
        or kinds.is_fixed_size_binary(type_)
    ):
        return None
    found: Any = pc.min_max(array)
    low, high = (_value(found[end].as_py(), type_) for end in ("min", "max"))
    return None if low is None or high is None else (low, high)


def _value(value: Any, type_: pa.DataType) -> Value | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if pa.types.is_decimal(type_):
        return int(value.scaleb(type_.scale, _EXACT))
    plain: Value = value
    return plain
