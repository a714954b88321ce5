"""What the native backend of ParqueDB for TypeScript writes.

A file has four string columns: ``$id``, ``$type``, ``$name`` and ``$data``. The last is base64 of
the bytes ``56 01`` and one tagged value, an object of all other fields. Tags are one byte; lengths
and counts are unsigned LEB128, numbers little-endian:

==== =============================== ==== ===================================
0    null                            13   time, int64 milliseconds
1 2  true, false                     15   binary: length, bytes
3–6  int of 8, 16, 32, 64 bit        16   string: length, UTF-8
8    float of 64 bit                 17   array: count, values
..                                   18   object: count, (length, UTF-8, value)
==== =============================== ==== ===================================

JavaScript has no ints of its own: ints beyond 32 bit are written as floats, and read as ints
again as far as they are exact. NaN, which a document cannot hold, is read as None. Times at the
top of an entity are written as text; only those of the system fields can be told from text.
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from parquedb.errors import FormatError
from parquedb.model.schema import Schema
from parquedb.model.types import StringType
from parquedb.rows.columns import SYSTEM_FIELDS, SYSTEM_TYPES
from parquedb.rows.values import MAX_DEPTH, Document

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("$id", "$type", "$name", "$data")

_MAGIC = b"\x56\x01"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAFE = 2.0**53
_MAX_LENGTH_BYTES = 10
_NUMBERS = {3: "<b", 4: "<h", 5: "<i", 6: "<q", 8: "<d", 13: "<q"}
_TEXTS = frozenset(name for name, type_ in SYSTEM_TYPES.items() if isinstance(type_, StringType))


class _Damaged(Exception):  # noqa: N818  (it leaves this module as a FormatError)
    """The bytes do not follow the form."""


def is_typescript_layout(schema: Schema) -> bool:
    """Whether a table has exactly the columns that ParqueDB for TypeScript writes."""
    return sorted(schema.names) == sorted(COLUMNS) and all(
        isinstance(field.type, StringType) for field in schema.fields
    )


def decode_batch(batch: pa.RecordBatch | pa.Table) -> list[Document]:
    """Return the entities of rows as documents, in order.

    Args:
        batch: Rows with the four columns.

    Raises:
        FormatError: A row is damaged; the message names the entity.
    """
    columns = [batch.column(name).to_pylist() for name in COLUMNS]
    return [
        decode_entity(data, id_=id_, type_=type_, name=name)
        for id_, type_, name, data in zip(*columns, strict=True)
    ]


def decode_entity(data: str | None, *, id_: str, type_: str | None, name: str | None) -> Document:
    """Return one entity as a document of ours.

    Args:
        data: The text in ``$data``.
        id_: The text in ``$id``.
        type_: The text in ``$type``.
        name: The text in ``$name``.

    Returns:
        The document, system fields first, with datetimes in ``createdAt`` and its like.

    Raises:
        FormatError: The text is damaged, or a system field holds something else.
    """
    try:
        return _document(_fields(data), id_, type_, name)
    except _Damaged as error:
        raise FormatError(
            f"{id_}: '$data' is not what ParqueDB for TypeScript writes: {error}; "
            f"restore the file from a copy, or remove the entity with the tool that wrote it"
        ) from error


def _document(fields: Document, id_: str, type_: str | None, name: str | None) -> Document:
    fields |= {"$id": id_, "$type": type_}
    if name:
        fields["name"] = name
    document = {}
    for key in SYSTEM_FIELDS:
        value = fields.pop(key, None)
        if value is not None:
            document[key] = _system_value(key, value)
    return document | fields


def _system_value(key: str, value: Any) -> Any:
    if key == "version":
        if type(value) is int and 0 <= value < 2**31:
            return value
    elif key in _TEXTS:
        if type(value) is str:
            return value
    elif type(value) is datetime:
        return value
    elif type(value) is str:
        try:
            at = datetime.fromisoformat(value)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            pass
    raise _Damaged(f"{key} is {value!r:.80}")


def _fields(data: str | None) -> Document:
    if not data:
        return {}
    try:
        bytes_ = b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Damaged(f"it is no base64: {error}") from error
    if bytes_[: len(_MAGIC)] != _MAGIC:
        raise _Damaged(f"it begins with {bytes_[:2].hex(' ')} and not with 56 01")
    fields, end = _value(bytes_, len(_MAGIC), 0)
    if not isinstance(fields, dict):
        raise _Damaged("it holds no object")
    if end != len(bytes_):
        raise _Damaged(f"{len(bytes_) - end} bytes are left at its end")
    return fields


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return the value at an offset and the offset behind it."""
    if at >= len(data):
        raise _Damaged("it ends inside a value")
    tag = data[at]
    at += 1
    if tag in _NUMBERS:
        return _number(tag, data, at)
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    read = _SIZED.get(tag)
    if read is None:
        raise _Damaged(f"the tag {tag} at byte {at - 1} is not known")
    if depth > MAX_DEPTH:
        raise _Damaged(f"it is nested deeper than {MAX_DEPTH} levels")
    return read(data, at, depth)


def _number(tag: int, data: bytes, at: int) -> tuple[Any, int]:
    form = _NUMBERS[tag]
    end = at + struct.calcsize(form)
    if end > len(data):
        raise _Damaged("it ends inside a number")
    (value,) = struct.unpack_from(form, data, at)
    if tag == 8:
        return _double(value), end
    if tag == 13:
        try:
            return _EPOCH + timedelta(milliseconds=value), end
        except OverflowError as error:
            raise _Damaged(f"the time {value} ms is not in the years 1 to 9999") from error
    return value, end


def _double(value: float) -> float | int | None:
    if value != value:  # NaN
        return None
    if -_SAFE <= value <= _SAFE and value.is_integer() and str(value) != "-0.0":
        return int(value)
    return value


def _length(data: bytes, at: int, unit: int = 1) -> tuple[int, int]:
    """Return a length or count, checked against the bytes left, and the offset behind it.

    Args:
        data: The bytes.
        at: Where the number begins.
        unit: The fewest bytes that one of the counted things takes.
    """
    value = 0
    for index in range(_MAX_LENGTH_BYTES):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value * unit > len(data) - at:
                raise _Damaged(f"a length of {value} at byte {at} reaches beyond its end")
            return value, at
    raise _Damaged(f"there is no length at byte {at}")


def _binary(data: bytes, at: int, _: int) -> tuple[bytes, int]:
    length, at = _length(data, at)
    return data[at : at + length], at + length


def _text(data: bytes, at: int, _: int = 0) -> tuple[str, int]:
    length, at = _length(data, at)
    try:
        return data[at : at + length].decode(), at + length
    except UnicodeDecodeError as error:
        raise _Damaged(f"a text at byte {at} is no UTF-8") from error


def _array(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    count, at = _length(data, at)
    items = []
    for _ in range(count):
        item, at = _value(data, at, depth + 1)
        items.append(item)
    return items, at


def _object(data: bytes, at: int, depth: int) -> tuple[Document, int]:
    count, at = _length(data, at, 2)
    fields = {}
    for _ in range(count):
        key, at = _text(data, at)
        fields[key], at = _value(data, at, depth + 1)
    return fields, at


_CONSTANTS: dict[int, bool | None] = {0: None, 1: True, 2: False}
_SIZED: dict[int, Callable[[bytes, int, int], tuple[Any, int]]] = {
    15: _binary,
    16: _text,
    17: _array,
    18: _object,
}
