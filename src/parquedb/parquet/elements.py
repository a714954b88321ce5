"""The columns of a Parquet file as a tree of schema elements, with names and field ids.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift: the footer's
member ``schema`` lists the elements depth first. What is not understood is kept byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from parquedb.errors import FormatError
from parquedb.parquet.footer import check_trailer, not_parquet
from parquedb.parquet.thrift import (
    I32,
    RawField,
    ThriftError,
    encode_list_header,
    encode_struct,
    encode_varint,
    find_field,
    read_list_header,
    read_struct,
    read_varint,
    unzigzag,
    zigzag,
)
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

STRUCT, BINARY = 12, 8
"""Thrift's compact types of a struct, and of bytes and strings."""

_SCHEMA = 2
_REPETITION, _NAME, _CHILDREN, _FIELD_ID, _LOGICAL = 3, 4, 5, 9, 10
_VARIANT = 16
"""A logical type by the number of its member in the union of these."""
_BYTE = 3
_VERSION = RawField(1, _BYTE, bytes([1]))
_ANNOTATION = RawField(
    _LOGICAL, STRUCT, encode_struct([RawField(_VARIANT, STRUCT, encode_struct([_VERSION]))])
)
"""The logical type of a variant, which has the version of its encoding."""
_REPEATED = 2
_TRAILER_BYTES = 8
_TAIL_BYTES = 65_536
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a Parquet schema.

    Args:
        name: Its name. Bytes that are no UTF-8 are kept as lone surrogates.
        id: Its field id, None where it has none.
        shape: Everything else that the footer says of it: type, repetition, annotation.
        children: The elements right below it.
    """

    name: str
    id: int | None
    shape: bytes
    children: tuple[Element, ...] = ()

    @property
    def is_repeated(self) -> bool:
        """Whether there is any number of it in one record."""
        found = find_field(self.shape, _REPETITION)
        return found is not None and unzigzag(read_varint(found.value, 0)[0]) == _REPEATED

    @property
    def is_variant(self) -> bool:
        """Whether it is annotated as a variant."""
        logical = find_field(self.shape, _LOGICAL)
        return logical is not None and find_field(logical.value, _VARIANT) is not None


def read_elements(store: Store, key: str) -> Element:
    """Read the columns of a file: the root of its schema.

    Only the end of the file is read, 64 KiB at least, and of the footer only its beginning.

    Raises:
        NotFoundError: There is no such file.
        FormatError: It is no Parquet file or its footer is damaged.
        UnsupportedError: It is encrypted.
    """
    with store.open_read(key) as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(0, size_bytes - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
        length = check_trailer(key, size_bytes, tail[-_TRAILER_BYTES:])
        if length + _TRAILER_BYTES > len(tail):
            file.seek(size_bytes - length - _TRAILER_BYTES)
            tail = file.read(length + _TRAILER_BYTES)
    try:
        return parse_footer(tail[-length - _TRAILER_BYTES :])
    except (ThriftError, IndexError) as error:
        raise damaged(key, error) from error


def parse_footer(tail: bytes) -> Element:
    """Parse the columns of a file: the root of its schema.

    Args:
        tail: The end of the file, with the whole footer.

    Raises:
        ThriftError: The footer is damaged.
    """
    length = int.from_bytes(tail[-_TRAILER_BYTES:][:4], "little")
    found = find_field(tail[-length - _TRAILER_BYTES : -_TRAILER_BYTES], _SCHEMA)
    if found is None:
        raise ThriftError("it has no schema")
    return parse_elements(found.value)


def damaged(key: str, error: Exception) -> FormatError:
    """Make the error for a footer that cannot be taken apart."""
    return not_parquet(key, f"its footer is damaged ({error})")


def parse_elements(value: bytes) -> Element:
    """Parse the footer's member ``schema`` into its root.

    Raises:
        ThriftError: It is no schema.
    """
    size, type_, position = read_list_header(value, 0)
    if type_ != STRUCT or size == 0:
        raise ThriftError("the schema is no list of elements")
    raw: list[list[RawField]] = []
    for _ in range(size):
        fields, position = read_struct(value, position)
        raw.append(fields)
    rest = iter(raw)
    root = _build(next(rest), rest, 0)
    if next(rest, None) is not None:
        raise ThriftError("the schema has elements that belong to nothing")
    return root


def encode_elements(root: Element) -> bytes:
    """Encode a schema as the footer's member."""
    encoded = [encode_element(one) for one in (root, *walk_elements(root))]
    return encode_list_header(len(encoded), STRUCT) + b"".join(encoded)


def encode_element(element: Element) -> bytes:
    """Encode an element without what is below it."""
    fields, _ = read_struct(element.shape, 0)
    fields.append(RawField(_NAME, BINARY, encode_text(element.name)))
    if element.id is not None:
        fields.append(RawField(_FIELD_ID, I32, encode_varint(zigzag(element.id))))
    return encode_struct(fields)


def walk_elements(root: Element) -> Iterator[Element]:
    """Yield all elements below one, depth first, each before its children."""
    for child in root.children:
        yield child
        yield from walk_elements(child)


def leaf_paths(root: Element, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every column, in the order of the columns; the root has no part in it."""
    for child in root.children:
        path = (*above, child.name)
        if child.children:
            yield from leaf_paths(child, path)
        else:
            yield path


def variant_spans(root: Element) -> Iterator[tuple[int, int]]:
    """Yield the first and last column of each element that is annotated as a variant."""
    first = 0
    for element in walk_elements(root):
        if element.is_variant and element.children:
            yield first, first + sum(1 for _ in leaf_paths(element)) - 1
        first += not element.children


def has_variants(root: Element) -> bool:
    """Whether anything below an element is annotated as a variant."""
    return any(element.is_variant for element in walk_elements(root))


def as_variant(element: Element) -> Element:
    """Return a group with the annotation of a variant."""
    if element.is_variant:
        return element
    fields = [*read_struct(element.shape, 0)[0], _ANNOTATION]
    return replace(element, shape=encode_struct(fields))


def without_variants(root: Element) -> Element:
    """Return a tree in which no element is annotated as a variant."""
    children = tuple(map(without_variants, root.children))
    if not root.is_variant:
        return root if children == root.children else replace(root, children=children)
    kept = [item for item in read_struct(root.shape, 0)[0] if item.id != _LOGICAL]
    return replace(root, shape=encode_struct(kept), children=children)


def without_ids(root: Element) -> Element:
    """Return a tree without any field id."""
    return replace(root, id=None, children=tuple(map(without_ids, root.children)))


def encode_text(text: str) -> bytes:
    """Encode a name as the compact protocol does it."""
    data = text.encode("utf-8", "surrogateescape")
    return encode_varint(len(data)) + data


def decode_text(value: bytes) -> str:
    """Undo :func:`encode_text`."""
    _, start = read_varint(value, 0)
    return value[start:].decode("utf-8", "surrogateescape")


def _build(fields: list[RawField], rest: Iterator[list[RawField]], depth: int) -> Element:
    if depth > _MAX_DEPTH:
        raise ThriftError("the schema is nested too deeply")
    name, field_id, count = "", None, 0
    for item in fields:
        if item.id == _NAME:
            name = decode_text(item.value)
        elif item.id == _FIELD_ID:
            field_id = unzigzag(read_varint(item.value, 0)[0])
        elif item.id == _CHILDREN:
            count = unzigzag(read_varint(item.value, 0)[0])
    children = []
    for _ in range(count):
        child = next(rest, None)
        if child is None:
            raise ThriftError("the schema lacks elements")
        children.append(_build(child, rest, depth + 1))
    others = [item for item in fields if item.id not in (_NAME, _FIELD_ID)]
    return Element(name, field_id, encode_struct(others), tuple(children))
