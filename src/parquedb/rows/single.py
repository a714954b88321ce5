"""One row of a document table to its document: what :mod:`.assemble` does for many, faster.

Values of the common types are taken from Arrow's buffers without an Arrow object for each
(https://arrow.apache.org/docs/format/Columnar.html, "Physical memory layout").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pyarrow as pa

from parquedb import compiled
from parquedb.model.schema import Schema
from parquedb.parquet.dynamic import AnyArray, AnyType
from parquedb.rows.arrays import EPOCH
from parquedb.rows.assemble import add_data, in_document_order
from parquedb.rows.columns import DATA
from parquedb.rows.lists import to_list
from parquedb.rows.values import Document

Read = Callable[[int], Any]

_INSTANT = pa.timestamp("us", "UTC")
_NUMBERS = {pa.int64(): "q", pa.int32(): "i", pa.float64(): "d"}
_OFFSETS = {pa.string(): "i", pa.large_string(): "q", pa.binary(): "i", pa.large_binary(): "q"}
_CODES = {
    _INSTANT: "t", pa.bool_(): "?", **_NUMBERS,
    pa.string(): "s", pa.large_string(): "S", pa.binary(): "b", pa.large_binary(): "B",
}  # fmt: skip
"""What the compiled reader calls them (``src/core/rows.c``)."""


class RowReader:
    """Reads the documents of a batch, a row at a time.

    Args:
        batch: The rows.
        schema: The columns of the table.
    """

    __slots__ = ("_data", "_read")

    def __init__(self, batch: pa.RecordBatch, schema: Schema) -> None:
        places = {name: place for place, name in enumerate(batch.schema.names)}
        names = [name for name in in_document_order(schema) if name in places]
        found = {name: batch.column(places[name]) for name in names}
        found = {name: each for name, each in found.items() if not _is_void(each)}
        data = found.pop(DATA, None)
        self._data = None if data is None else _reader_of(data)
        self._read: Callable[[int], Document]
        if compiled.RowReader is None:
            self._read = _row_reader(found)
        else:
            described = tuple(_described(name, each) for name, each in found.items())
            self._read = compiled.RowReader(described, len(batch)).read

    def read(self, row: int) -> Document:
        """Return the document of a row.

        Raises:
            FormatError: A text in ``$data`` is not valid, or a time is out of range.
        """
        document = self._read(row)
        if self._data is not None:
            text = self._data(row)
            if text is not None:
                add_data([document], [text])
        return document


def _row_reader(columns: Mapping[str, AnyArray]) -> Callable[[int], Document]:
    """Return what reads the values of a row by name; those that are null are missing."""
    reads = tuple((name, _reader_of(each)) for name, each in columns.items())

    def read_row(row: int) -> Document:
        document: Document = {}
        for name, read in reads:
            value = read(row)
            if value is not None:
                document[name] = value
        return document

    return read_row


def _described(name: str | None, column: AnyArray) -> compiled.Column:
    """Describe a column for the compiled reader, which reads rows as :func:`_reader_of` does."""
    kind = column.type
    nested: list[tuple[str | None, AnyArray]] = []
    code = _CODES.get(kind) or (
        "(" if not _is_plain(kind) else "{" if pa.types.is_struct(kind) else "["
    )
    if code == "(":
        return (name, code, 0, len(column), None, None, None, _one_by_one(column), ())
    if code == "{":
        members = ((kind.field(i).name, column.field(i)) for i in range(kind.num_fields))
        nested += [member for member in members if not _is_void(member[1])]
    elif code == "[":
        nested.append((None, column.values))
    buffers = column.buffers()
    return (
        name,
        code,
        column.offset,
        len(column),
        buffers[0] if column.null_count else None,
        None if code == "{" else buffers[1],
        buffers[2] if code in "sSbB" else None,
        _one_by_one(column) if code == "t" else None,
        tuple(_described(*each) for each in nested),
    )


def _one_by_one(column: AnyArray) -> Read:
    """Read any column, by an Arrow object for each row."""
    return lambda row: to_list(column.slice(row, 1))[0]


def _reader_of(column: AnyArray) -> Read:
    """Return what reads the value of a row of a column, None for null."""
    kind = column.type
    if kind in _NUMBERS:
        return _where_valid(column, _numbers(column, _NUMBERS[kind]))
    if kind in _OFFSETS:
        return _where_valid(column, _texts(column, _OFFSETS[kind]))
    if kind == _INSTANT:
        return _where_valid(column, _instants(column))
    if pa.types.is_boolean(kind):
        return _where_valid(column, _bits(column, 1))
    if _is_plain(kind):
        nested = _members if pa.types.is_struct(kind) else _items
        return _where_valid(column, nested(column))
    return _one_by_one(column)


def _is_void(column: AnyArray) -> bool:
    """Whether all values of a column are null."""
    return bool(column.null_count == len(column))


def _is_plain(type_: AnyType) -> bool:
    """Whether values of a nested type, at any depth, are read as they are in a document."""
    if pa.types.is_struct(type_):
        return all(_is_plain(type_.field(i).type) for i in range(type_.num_fields))
    if pa.types.is_list(type_):
        return _is_plain(type_.value_type)
    return type_ in _NUMBERS or type_ in _OFFSETS or pa.types.is_boolean(type_)


def _where_valid(column: AnyArray, read: Read) -> Read:
    if not column.null_count:
        return read
    is_valid = _bits(column, 0)
    return lambda row: read(row) if is_valid(row) else None


def _bits(column: AnyArray, buffer: int) -> Callable[[int], bool]:
    bits, first = memoryview(column.buffers()[buffer]), column.offset

    def bit(row: int) -> bool:
        place = first + row
        return bool(bits[place >> 3] >> (place & 7) & 1)

    return bit


def _cells(buffer: pa.Buffer | None, code: str) -> Any:
    """Return a buffer's whole cells, of four or eight bytes."""
    data = memoryview(buffer or b"")
    return data[: len(data) & ~7 if code in "qd" else len(data) & ~3].cast(code)  # type: ignore[call-overload]


def _numbers(column: AnyArray, code: str) -> Read:
    read: Read = _cells(column.buffers()[1], code)[column.offset :].__getitem__
    return read


def _texts(column: AnyArray, code: str) -> Read:
    _, offsets, data = column.buffers()
    starts, text = _cells(offsets, code)[column.offset :], memoryview(data or b"")
    if column.type in (pa.binary(), pa.large_binary()):
        return lambda row: bytes(text[starts[row] : starts[row + 1]])
    return lambda row: str(text[starts[row] : starts[row + 1]], "utf-8")


def _instants(column: AnyArray) -> Read:
    micros = _numbers(column, "q")
    last = (0, EPOCH)

    def instant(row: int) -> Any:
        nonlocal last
        value, known = micros(row), last
        if known[0] == value:  # as many are that were written together
            return known[1]
        try:
            found = EPOCH + timedelta(0, 0, value)
        except OverflowError:
            return to_list(column.slice(row, 1))[0]  # which says what is wrong
        last = value, found
        return found

    return instant


def _members(column: AnyArray) -> Read:
    """Read structs as dicts; members that are null are missing."""
    kind = column.type
    members_ = [(kind.field(i).name, column.field(i)) for i in range(kind.num_fields)]
    reads = [(name, _reader_of(each)) for name, each in members_ if not _is_void(each)]
    if not any(each.null_count for _, each in members_):
        return lambda row: {name: read(row) for name, read in reads}

    def members(row: int) -> Any:
        found = {name: read(row) for name, read in reads}
        if None in found.values():
            return {name: value for name, value in found.items() if value is not None}
        return found

    return members


def _items(column: AnyArray) -> Read:
    starts, read = _cells(column.buffers()[1], "i")[column.offset :], _reader_of(column.values)
    return lambda row: [read(i) for i in range(starts[row], starts[row + 1])]
