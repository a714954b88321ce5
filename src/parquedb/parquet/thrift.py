"""As much of Thrift's compact protocol as editing a Parquet footer needs.

A struct is read as its fields' ids, types and undecoded bytes, so that what is not understood is
kept byte for byte. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Collection

from parquedb.slotted import dataclass

_STOP, _TRUE, _FALSE, _BINARY, _STRUCT = 0, 1, 2, 8, 12
_NONE: Collection[int] = ()

I32 = 5
_MAX_DEPTH = 64


class ThriftError(ValueError):
    """The bytes are not in the compact protocol."""


@dataclass(frozen=True, slots=True)
class RawField:
    """A field of a struct, undecoded.

    Args:
        id: Its number.
        type: Its compact type.
        value: Its bytes; empty for a boolean, whose value is its type.
    """

    id: int
    type: int
    value: bytes


def read_struct(data: bytes, position: int) -> tuple[list[RawField], int]:
    """Read a struct; return its fields and where it ends.

    Raises:
        ThriftError: The bytes are no struct.
    """
    fields: list[RawField] = []
    last = 0
    while True:
        if position >= len(data):
            raise ThriftError("a struct does not end")
        header = data[position]
        position += 1
        if header == _STOP:
            return fields, position
        delta, type_ = header >> 4, header & 0x0F
        if delta:
            last += delta
        else:
            number, position = read_varint(data, position)
            last = unzigzag(number)
        end = skip_value(data, position, type_)
        fields.append(RawField(last, type_, data[position:end]))
        position = end


def encode_struct(fields: list[RawField]) -> bytes:
    """Encode a struct; fields go by their ids."""
    parts: list[bytes] = []
    last = 0
    for field in sorted(fields, key=lambda f: f.id):
        delta = field.id - last
        if 0 < delta < 16:
            parts.append(bytes([delta << 4 | field.type]))
        else:
            parts += [bytes([field.type]), encode_varint(zigzag(field.id))]
        parts.append(field.value)
        last = field.id
    return b"".join([*parts, b"\x00"])


def read_list_header(data: bytes, position: int) -> tuple[int, int, int]:
    """Return a list's length, its elements' type, and where they begin."""
    if position >= len(data):
        raise ThriftError("a list does not begin")
    size, type_ = data[position] >> 4, data[position] & 0x0F
    position += 1
    if size == 15:
        size, position = read_varint(data, position)
    if size > len(data):
        raise ThriftError(f"a list claims {size} elements")
    return size, type_, position


def encode_list_header(size: int, type_: int) -> bytes:
    """Encode the beginning of a list."""
    if size < 15:
        return bytes([size << 4 | type_])
    return bytes([0xF0 | type_]) + encode_varint(size)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned variable-length integer and where it ends."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ThriftError("a number does not end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def encode_varint(value: int) -> bytes:
    """Encode an unsigned integer."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def zigzag(value: int) -> int:
    """Return a signed integer as Thrift's unsigned form of it."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """Undo :func:`zigzag`."""
    return value >> 1 ^ -(value & 1)


def next_member(data: bytes, at: int, last: int) -> tuple[int, int, int]:
    """Read the header of a struct's member: its number, its type and where it begins.

    Args:
        data: The bytes.
        at: Where the header begins.
        last: The number of the member before it, 0 for the first.

    Returns:
        The type is 0 at the end of the struct; then the position is where the struct ends.

    Raises:
        ThriftError: The struct does not end.
    """
    if at >= len(data):
        raise ThriftError("a struct does not end")
    header = data[at]
    at += 1
    if header == 0:
        return last, 0, at
    if header >> 4:
        return last + (header >> 4), header & 0x0F, at
    number, at = read_varint(data, at)
    return unzigzag(number), header & 0x0F, at


def seek_member(
    data: bytes, at: int, last: int, wanted: Collection[int], depth: int = 0
) -> tuple[int, int, int]:
    """Read headers of a struct's members until one is wanted; the others are skipped.

    Args:
        data: The bytes.
        at: Where the first header begins.
        last: The number of the member before it, 0 for the first.
        wanted: Numbers of members.
        depth: In how many values the struct lies.

    Returns:
        As :func:`next_member`.

    Raises:
        ThriftError: The struct does not end.
    """
    size = len(data)
    while at < size:
        header = data[at]
        at += 1
        if header == _STOP:
            return last, _STOP, at
        type_ = header & 0x0F
        if header >> 4:
            last += header >> 4
        else:
            number, at = read_varint(data, at)
            last = unzigzag(number)
        if last in wanted:
            return last, type_, at
        if 4 <= type_ <= 6:  # most members, so without a call
            while at < size and data[at] >= 0x80:
                at += 1
            at += 1
        elif type_ == _BINARY and at < size and data[at] < 0x80:
            at += 1 + data[at]
        else:
            at = skip_value(data, at, type_, depth + 1)
    raise ThriftError("a struct does not end")


def skip_value(data: bytes, position: int, type_: int, depth: int = 0) -> int:
    """Return where a value ends.

    Args:
        data: The bytes.
        position: Where it begins.
        type_: Its compact type.
        depth: In how many values it lies.

    Raises:
        ThriftError: It does not, or is nested too deeply.
    """
    if 4 <= type_ <= 6:  # most values, so first and without a call
        while position < len(data) and data[position] >= 0x80:
            position += 1
        end = position + 1
    elif type_ == _BINARY:
        length, start = read_varint(data, position)
        end = start + length
    elif type_ in (_TRUE, _FALSE):
        end = position
    elif depth > _MAX_DEPTH:
        raise ThriftError("values are nested too deeply")
    else:
        end = _skip_other(data, position, type_, depth)
    if end > len(data):
        raise ThriftError("a value does not end")
    return end


def _skip_other(data: bytes, position: int, type_: int, depth: int) -> int:
    match type_:
        case 3:
            return position + 1
        case 7:
            return position + 8
        case 9 | 10:
            return _skip_list(data, position, depth)
        case 11:
            return _skip_map(data, position, depth)
        case 12:
            return _skip_struct(data, position, depth)
        case _:
            raise ThriftError(f"{type_} is no type")


def _skip_struct(data: bytes, position: int, depth: int) -> int:
    return seek_member(data, position, 0, _NONE, depth)[2]


def _skip_list(data: bytes, position: int, depth: int) -> int:
    count, type_, position = read_list_header(data, position)
    if type_ in (_TRUE, _FALSE):
        return position + count
    if 4 <= type_ <= 6:
        size = len(data)
        for _ in range(count):
            while position < size and data[position] >= 0x80:
                position += 1
            position += 1
        return position
    if type_ == _STRUCT and depth < _MAX_DEPTH:
        for _ in range(count):
            position = seek_member(data, position, 0, _NONE, depth + 1)[2]
        return position
    for _ in range(count):
        position = skip_value(data, position, type_, depth + 1)
    return position


def _skip_map(data: bytes, position: int, depth: int) -> int:
    size, position = read_varint(data, position)
    if size == 0:
        return position
    if size > len(data) or position >= len(data):
        raise ThriftError(f"a map claims {size} entries")
    key, value = data[position] >> 4, data[position] & 0x0F
    position += 1
    for _ in range(size):
        for type_ in (key, value):
            position = (
                position + 1 if type_ in (1, 2) else skip_value(data, position, type_, depth + 1)
            )
    return position


def find_field(data: bytes, id_: int) -> RawField | None:
    """Return a field of the struct with which the data begins; what follows it is not read.

    Raises:
        ThriftError: The bytes are no struct as far as they were read.
    """
    position = last = 0
    while position < len(data) and data[position] != _STOP:
        delta, type_ = data[position] >> 4, data[position] & 0x0F
        position += 1
        if delta:
            last += delta
        else:
            number, position = read_varint(data, position)
            last = unzigzag(number)
        end = skip_value(data, position, type_)
        if last == id_:
            return RawField(last, type_, data[position:end])
        position = end
    return None
