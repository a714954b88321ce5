"""Copy a Parquet file with field ids and no Arrow schema in its footer; no page is touched.

The footer is a Thrift struct at the end of the file, and everything in it refers to the pages by
their offsets, so a copy whose footer has another schema list is the same data. Only the member
``schema`` (https://parquet.apache.org/docs/file-format/metadata/) is read and written again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from parquedb.errors import FormatError
from parquedb.model.schema import Schema
from parquedb.model.types import Field, ListType, MapType, StructType
from parquedb.parquet.footer import check_trailer, not_parquet
from parquedb.parquet.thrift import (
    I32,
    RawField,
    ThriftError,
    encode_list_header,
    encode_struct,
    encode_varint,
    read_list_header,
    read_struct,
    read_varint,
    unzigzag,
    zigzag,
)
from parquedb.storage.store import NewObject, Store

_SCHEMA, _KEY_VALUES = 2, 5
_REPETITION, _NAME, _CHILDREN, _FIELD_ID = 3, 4, 5, 9
_REPEATED = 2
_TRAILER_BYTES = 8
_IN_MEMORY_BYTES = 4 << 20
_BATCH_BYTES = 64 << 20
_STRUCT_TYPE = 12


@dataclass(slots=True)
class _Node:
    """An element of a Parquet schema with its children."""

    fields: list[RawField]
    children: list[_Node] = field(default_factory=list)

    def number(self, id_: int) -> int | None:
        for item in self.fields:
            if item.id == id_:
                return unzigzag(read_varint(item.value, 0)[0])
        return None

    @property
    def name(self) -> str:
        for item in self.fields:
            if item.id == _NAME:
                _, start = read_varint(item.value, 0)
                return item.value[start:].decode("utf-8", "replace")
        return ""

    def set_id(self, number: int) -> None:
        kept = [item for item in self.fields if item.id != _FIELD_ID]
        self.fields = [*kept, RawField(_FIELD_ID, I32, encode_varint(zigzag(number)))]


def copy_with_ids(store: Store, pairs: Sequence[tuple[str, str]], schema: Schema) -> list[int]:
    """Copy files, giving every column the field id that a schema has for its name.

    Columns that the schema does not have lose the id they may have. Durable on return; an
    existing target is replaced, so a repetition is harmless. Memory is bounded: files of more
    than 4 MiB are streamed.

    Args:
        store: The store.
        pairs: Sources and targets.
        schema: The ids, by name.

    Returns:
        The targets' sizes in bytes.

    Raises:
        FormatError: A source is no readable Parquet file; nothing was written for it.
    """
    sizes: list[int] = []
    waiting: list[NewObject] = []
    for source, target in pairs:
        info = store.head(source)
        size_bytes = 0 if info is None else info.size_bytes
        if size_bytes > _IN_MEMORY_BYTES:
            sizes.append(_stream(store, source, target, schema))
            continue
        data = store.get(source)
        length = check_trailer(source, len(data), data[-_TRAILER_BYTES:])
        start = len(data) - _TRAILER_BYTES - length
        footer = with_ids(source, data[start : start + length], schema)
        waiting.append(NewObject(target, data[:start] + _ending(footer)))
        sizes.append(len(waiting[-1].data))
        if sum(len(item.data) for item in waiting) > _BATCH_BYTES:
            store.put_many(waiting)
            waiting = []
    store.put_many(waiting)
    return sizes


def with_ids(key: str, footer: bytes, schema: Schema) -> bytes:
    """Return a footer whose columns have the ids of a schema.

    Args:
        key: The file, for messages.
        footer: The serialised ``FileMetaData``.
        schema: The ids, by name.

    Raises:
        FormatError: The footer cannot be read.
    """
    try:
        members, _ = read_struct(footer, 0)
        index = next(i for i, member in enumerate(members) if member.id == _SCHEMA)
        root = _read_tree(members[index].value)
        for node in _below(root):
            node.fields = [item for item in node.fields if item.id != _FIELD_ID]
        _mark_struct(root, schema.fields)
        nodes = [root, *_below(root)]
        encoded = b"".join(encode_struct(node.fields) for node in nodes)
        members[index] = replace(
            members[index], value=encode_list_header(len(nodes), _STRUCT_TYPE) + encoded
        )
        return encode_struct([_without_arrow(member) for member in members])
    except (ThriftError, StopIteration, IndexError) as error:
        raise not_parquet(key, f"its footer is damaged ({error})") from error


def _without_arrow(member: RawField) -> RawField:
    """Drop the embedded Arrow schema: the Parquet schema alone reads the same everywhere."""
    if member.id != _KEY_VALUES:
        return member
    size, type_, position = read_list_header(member.value, 0)
    kept: list[bytes] = []
    for _ in range(size):
        start = position
        fields, position = read_struct(member.value, position)
        if not any(item.id == 1 and item.value.endswith(b"ARROW:schema") for item in fields):
            kept.append(member.value[start:position])
    return replace(member, value=encode_list_header(len(kept), type_) + b"".join(kept))


def _stream(store: Store, source: str, target: str, schema: Schema) -> int:
    with store.open_read(source) as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(size_bytes - _TRAILER_BYTES)
        length = check_trailer(source, size_bytes, file.read(_TRAILER_BYTES))
        start = size_bytes - _TRAILER_BYTES - length
        file.seek(start)
        ending = _ending(with_ids(source, file.read(length), schema))
        file.seek(0)
        if store.head(target) is not None:  # left by a run that was cut short: replaced
            store.delete(target)
        with store.open_create(target) as out:
            shutil.copyfileobj(_Limited(file, start), out, 1 << 24)
            out.write(ending)
    return start + len(ending)


@dataclass(slots=True)
class _Limited:
    """The beginning of a file, as a file."""

    file: object
    left: int

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes of what is left."""
        wanted = self.left if size < 0 else min(size, self.left)
        data: bytes = self.file.read(wanted)  # type: ignore[attr-defined]
        if len(data) < wanted:
            raise FormatError("the file became shorter while it was copied")
        self.left -= len(data)
        return data


def _ending(footer: bytes) -> bytes:
    return footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _read_tree(value: bytes) -> _Node:
    size, type_, position = read_list_header(value, 0)
    if type_ != _STRUCT_TYPE or size == 0:
        raise ThriftError("the schema is no list of elements")
    nodes: list[_Node] = []
    for _ in range(size):
        fields, position = read_struct(value, position)
        nodes.append(_Node(fields))
    rest = iter(nodes)
    root = next(rest)
    _adopt(root, rest, 0)
    if next(rest, None) is not None:
        raise ThriftError("the schema has elements that belong to nothing")
    return root


def _adopt(node: _Node, rest: Iterator[_Node], depth: int) -> None:
    if depth > 100:
        raise ThriftError("the schema is nested too deeply")
    for _ in range(node.number(_CHILDREN) or 0):
        child = next(rest, None)
        if child is None:
            raise ThriftError("the schema lacks elements")
        node.children.append(child)
        _adopt(child, rest, depth + 1)


def _below(node: _Node) -> Iterator[_Node]:
    for child in node.children:
        yield child
        yield from _below(child)


def _mark_struct(node: _Node, fields: tuple[Field, ...]) -> None:
    by_name = {item.name: item for item in fields}
    for child in node.children:
        if (found := by_name.get(child.name)) is not None:
            _mark(child, found)


def _mark(node: _Node, wanted: Field) -> None:
    """Give an element and what is below it their ids."""
    node.set_id(wanted.id)
    match wanted.type:
        case StructType(fields):
            _mark_struct(node, fields)
        case ListType(element):
            _mark_list(node, element)
        case MapType(key, value) if node.children and len(node.children[0].children) == 2:
            _mark(node.children[0].children[0], key)
            _mark(node.children[0].children[1], value)
        case _:
            pass


def _mark_list(node: _Node, element: Field) -> None:
    """Give a list's element its id, by the rules for older ways to write lists.

    https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#backward-compatibility-rules
    """
    if node.number(_REPETITION) == _REPEATED or not node.children:
        return  # an unannotated repeated field is its own element
    repeated = node.children[0]
    legacy = (
        not repeated.children
        or len(repeated.children) > 1
        or repeated.name == "array"
        or repeated.name == f"{node.name}_tuple"
    )
    _mark(repeated if legacy else repeated.children[0], element)
