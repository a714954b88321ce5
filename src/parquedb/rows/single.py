"""One row of a document table to its document: what :mod:`.assemble` does for many, faster."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa

from parquedb.model.schema import Schema
from parquedb.parquet.dynamic import AnyArray, AnyType
from parquedb.rows.arrays import EPOCH
from parquedb.rows.assemble import add_data, in_document_order
from parquedb.rows.columns import DATA
from parquedb.rows.lists import to_list
from parquedb.rows.values import Document

Read = Callable[[AnyArray, int], Any]

_PLAIN = (pa.string(), pa.bool_(), pa.int64(), pa.int32(), pa.float64(), pa.binary(), pa.date32())
_INSTANT = pa.timestamp("us", "UTC")


class RowReader:
    """Reads documents from batches of one schema, a row at a time.

    Args:
        columns: The batches' columns.
        schema: The columns of the table.
    """

    def __init__(self, columns: pa.Schema, schema: Schema) -> None:
        self._data = columns.get_field_index(DATA) if schema.find(DATA) is not None else -1
        self._reads = [
            (name, columns.get_field_index(name), _reader_of(columns.field(name).type))
            for name in in_document_order(schema)
            if name != DATA and name in columns.names
        ]

    def read(self, batch: pa.RecordBatch, row: int) -> Document:
        """Return the document of a row.

        Raises:
            FormatError: A text in ``$data`` is not valid, or a time is out of range.
        """
        document: Document = {}
        for name, index, read in self._reads:
            value = read(batch.column(index), row)
            if value is not None:
                document[name] = value
        if self._data >= 0:
            text = batch.column(self._data)[row].as_py()
            if text is not None:
                add_data([document], [text])
        return document


def _reader_of(type_: AnyType) -> Read:
    if type_ in _PLAIN:
        return _plain
    if type_ == _INSTANT:
        return _instant
    if _is_plain(type_):
        return _nested
    return _any


def _is_plain(type_: AnyType) -> bool:
    """Whether values of a type, at any depth, are what Arrow itself makes of them."""
    if pa.types.is_struct(type_):
        return all(_is_plain(type_.field(i).type) for i in range(type_.num_fields))
    if pa.types.is_list(type_):
        return _is_plain(type_.value_type)
    return type_ in _PLAIN


def _plain(column: AnyArray, row: int) -> Any:
    return column[row].as_py()


def _instant(column: AnyArray, row: int) -> Any:
    micros = column[row].value
    if micros is None:
        return None
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return _any(column, row)  # which says what is wrong


def _nested(column: AnyArray, row: int) -> Any:
    return _without_nulls(column[row].as_py())


def _any(column: AnyArray, row: int) -> Any:
    return to_list(column.slice(row, 1))[0]


def _without_nulls(value: Any) -> Any:
    """Leave out the keys of structs that are null: they are missing."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
