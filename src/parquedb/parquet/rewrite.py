"""Copy a Parquet file with another footer: other field ids and names; no page is touched.

The footer is a Thrift struct at the end of the file, and everything in it refers to the pages, the
page indexes and the bloom filters by their offsets from the file's beginning, so a copy whose
footer has other labels is the same data. Of the footer
(https://parquet.apache.org/docs/file-format/metadata/) only what names columns is written again:
the member ``schema``, the ``path_in_schema`` of every column chunk, and the key-value metadata.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from enum import IntEnum
from functools import partial

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.schema import Schema
from parquedb.parquet.elements import (
    BINARY,
    STRUCT,
    Element,
    damaged,
    decode_text,
    encode_elements,
    encode_text,
    leaf_paths,
    parse_elements,
)
from parquedb.parquet.footer import check_trailer, encrypted
from parquedb.parquet.labels import with_ids_of
from parquedb.parquet.thrift import (
    RawField,
    ThriftError,
    encode_list_header,
    encode_struct,
    next_member,
    read_list_header,
    read_struct,
    read_varint,
    skip_value,
)
from parquedb.slotted import dataclass
from parquedb.storage.files import copy_beginning
from parquedb.storage.store import NewObject, Store

Relabel = Callable[[Element], Element]
"""From a file's columns to the same columns with other names and ids."""

_COLUMNS = 1
_FILE_PATH, _META_DATA, _CRYPTO, _ENCRYPTED_META_DATA = 1, 3, 8, 9
_PATH = 3
_OF_ARROW = (b"ARROW:schema",)
_OF_NAMES = (
    *_OF_ARROW,
    b"org.apache.spark.sql.parquet.row.metadata",
    b"iceberg.schema",
    b"parquet.avro.schema",
    b"avro.schema",
)
"""Keys under which writers repeat the schema in words of their own."""
_TRAILER_BYTES = 8
_IN_MEMORY_BYTES = 4 << 20
_BATCH_BYTES = 64 << 20
_MOST_FOOTER_BYTES = 256 << 20


class _Member(IntEnum):
    """Members of the footer by their numbers."""

    SCHEMA = 2
    ROW_GROUPS = 4
    KEY_VALUES = 5
    ENCRYPTION = 8


@dataclass(frozen=True, slots=True)
class FooterCopy:
    """A copy to be made.

    Args:
        source: The file.
        target: The key of the copy.
        relabel: What becomes of its columns.
    """

    source: str
    target: str
    relabel: Relabel


def copy_with_ids(
    store: Store,
    pairs: Sequence[tuple[str, str]],
    schema: Schema,
    ids: Mapping[int, int] | None = None,
) -> list[int]:
    """Copy files, giving every column the field id that a schema has for it.

    Columns that the schema does not have get ids that nothing asks for.

    Args:
        store: The store.
        pairs: Sources and targets.
        schema: The table's columns, matched as a scan does it.
        ids: The field ids to write by those of the schema, where they differ.

    Returns:
        The targets' sizes in bytes; see :func:`copy_relabelled` for the rest.
    """
    relabel = partial(with_ids_of, schema=schema, ids=ids)
    return copy_relabelled(store, [FooterCopy(*pair, relabel) for pair in pairs])


def copy_relabelled(store: Store, copies: Sequence[FooterCopy]) -> list[int]:
    """Copy files with other names and field ids of their columns.

    Durable on return; an existing target is replaced, so a repetition is harmless. Memory is
    bounded: files of more than 4 MiB are streamed, and of these only the footer, which must not
    have more than 256 MiB, is in memory.

    Args:
        store: The store.
        copies: What to copy.

    Returns:
        The targets' sizes in bytes.

    Raises:
        FormatError: A source is no readable Parquet file; nothing was written for it.
        UnsupportedError: It is encrypted, or its pages lie in other files.
    """
    sizes: list[int] = []
    waiting: list[NewObject] = []
    for copy in copies:
        info = store.head(copy.source)
        size_bytes = 0 if info is None else info.size_bytes
        if size_bytes > _IN_MEMORY_BYTES:
            sizes.append(_stream(store, copy))
            continue
        data = store.get(copy.source)
        length = _footer_length(copy.source, len(data), data[-_TRAILER_BYTES:])
        start = len(data) - _TRAILER_BYTES - length
        footer = relabel_footer(copy.source, data[start : start + length], copy.relabel)
        waiting.append(NewObject(copy.target, data[:start] + ending(footer)))
        sizes.append(len(waiting[-1].data))
        if sum(len(item.data) for item in waiting) > _BATCH_BYTES:
            store.put_many(waiting)
            waiting = []
    store.put_many(waiting)
    return sizes


def relabel_footer(key: str, footer: bytes, relabel: Relabel) -> bytes:
    """Return a footer whose columns have other names and field ids.

    The embedded Arrow schema is left out, since it repeats what the Parquet schema says; where
    names change, so are the schemas that other writers embed.

    Args:
        key: The file, for messages.
        footer: The serialised ``FileMetaData``.
        relabel: What becomes of the columns; their number and order stay.

    Raises:
        FormatError: The footer cannot be read.
        UnsupportedError: It belongs to an encrypted file, or its pages lie in other files.
    """
    try:
        members, _ = read_struct(footer, 0)
        if any(member.id == _Member.ENCRYPTION for member in members):
            raise encrypted(key)
        root = next(
            parse_elements(member.value) for member in members if member.id == _Member.SCHEMA
        )
        after = relabel(root)
        paths = None
        if (before := list(leaf_paths(root))) != (names := list(leaf_paths(after))):
            paths = _Paths.of(key, before, names)
        done = [_relabel_member(member, after, paths) for member in members]
        return encode_struct(done)
    except (ThriftError, StopIteration, IndexError) as error:
        raise damaged(key, error) from error


def _relabel_member(member: RawField, after: Element, paths: _Paths | None) -> RawField:
    match member.id:
        case _Member.SCHEMA:
            return replace(member, value=encode_elements(after))
        case _Member.ROW_GROUPS if paths is not None:
            return replace(member, value=paths.in_row_groups(member.value))
        case _Member.KEY_VALUES:
            return _without_keys(member, _OF_ARROW if paths is None else _OF_NAMES)
        case _:
            return member


def _without_keys(member: RawField, keys: tuple[bytes, ...]) -> RawField:
    """Drop schemas embedded as key-values: the Parquet schema alone reads the same everywhere."""
    size, type_, position = read_list_header(member.value, 0)
    kept: list[bytes] = []
    for _ in range(size):
        start = position
        fields, position = read_struct(member.value, position)
        names = [decode_text(item.value) for item in fields if item.id == 1]
        if not any(name.encode("utf-8", "surrogateescape") in keys for name in names):
            kept.append(member.value[start:position])
    return replace(member, value=encode_list_header(len(kept), type_) + b"".join(kept))


@dataclass(slots=True)
class _Edit:
    """Bytes of which parts are replaced, from the front to the end."""

    data: bytes
    parts: list[bytes] = field(default_factory=list)
    done: int = 0

    def replace(self, start: int, end: int, new: bytes) -> None:
        self.parts += (self.data[self.done : start], new)
        self.done = end

    def finish(self) -> bytes:
        return b"".join((*self.parts, self.data[self.done :]))


@dataclass(frozen=True, slots=True)
class _Paths:
    """Replaces the paths of columns in row groups, and copies all that is between.

    A footer may have hundreds of thousands of column chunks, so each is walked through once.

    Args:
        key: The file, for messages.
        before: Each column's path so far.
        after: Each column's new path.
    """

    key: str
    before: Sequence[tuple[str, ...]]
    after: Sequence[bytes]

    @classmethod
    def of(
        cls, key: str, before: Sequence[tuple[str, ...]], after: Sequence[tuple[str, ...]]
    ) -> _Paths:
        return cls(key, before, [_encode_path(path) for path in after])

    def in_row_groups(self, value: bytes) -> bytes:
        edit = _Edit(value)
        size, type_, at = read_list_header(value, 0)
        if type_ != STRUCT:
            raise ThriftError("a list does not hold structs")
        for _ in range(size):
            at = self._in_row_group(edit, at)
        return edit.finish()

    def _in_row_group(self, edit: _Edit, at: int) -> int:
        last = 0
        while True:
            last, type_, at = next_member(edit.data, at, last)
            if not type_:
                return at
            if last == _COLUMNS:
                at = self._in_columns(edit, at)
            else:
                at = skip_value(edit.data, at, type_)

    def _in_columns(self, edit: _Edit, at: int) -> int:
        count, type_, at = read_list_header(edit.data, at)
        if count != len(self.before) or (count and type_ != STRUCT):
            raise ThriftError(f"a row group has {count} columns, the schema {len(self.before)}")
        for index in range(count):
            at = self._in_column(edit, at, index)
        return at

    def _in_column(self, edit: _Edit, at: int, index: int) -> int:
        last, described = 0, False
        while True:
            last, type_, at = next_member(edit.data, at, last)
            if not type_:
                break
            if last in (_CRYPTO, _ENCRYPTED_META_DATA):
                raise encrypted(self.key)
            if last == _FILE_PATH:
                raise UnsupportedError(
                    f"{self.key!r} is a Parquet file whose pages lie in other files; write it "
                    "again as one file",
                    feature="Parquet file_path",
                )
            if last == _META_DATA and type_ == STRUCT:
                described = True
                at = self._in_metadata(edit, at, index)
            else:
                at = skip_value(edit.data, at, type_)
        if not described:
            raise ThriftError("a column chunk has no metadata")
        return at

    def _in_metadata(self, edit: _Edit, at: int, index: int) -> int:
        last = 0
        while True:
            last, type_, at = next_member(edit.data, at, last)
            if not type_:
                return at
            end = skip_value(edit.data, at, type_)
            if last == _PATH:
                path = edit.data[at:end]
                if (found := tuple(_read_texts(path))) != self.before[index]:
                    raise ThriftError(
                        f"the column {'.'.join(self.before[index])!r} is called "
                        f"{'.'.join(found)!r} in a row group"
                    )
                if path != self.after[index]:
                    edit.replace(at, end, self.after[index])
            at = end


def _encode_path(path: tuple[str, ...]) -> bytes:
    return encode_list_header(len(path), BINARY) + b"".join(map(encode_text, path))


def _read_texts(value: bytes) -> Iterator[str]:
    size, type_, position = read_list_header(value, 0)
    if type_ != BINARY:
        raise ThriftError("a path does not hold names")
    for _ in range(size):
        length, start = read_varint(value, position)
        position = start + length
        yield value[start:position].decode("utf-8", "surrogateescape")


def _stream(store: Store, copy: FooterCopy) -> int:
    source, target = copy.source, copy.target
    with store.open_read(source) as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(size_bytes - _TRAILER_BYTES)
        length = _footer_length(source, size_bytes, file.read(_TRAILER_BYTES))
        start = size_bytes - _TRAILER_BYTES - length
        file.seek(start)
        end = ending(relabel_footer(source, file.read(length), copy.relabel))
        file.seek(0)
        if store.head(target) is not None:  # left by a run that was cut short: replaced
            store.delete(target)
        with store.open_create(target) as out:
            if copy_beginning(file, out, start) < start:
                raise FormatError(
                    f"{source!r} became shorter while it was copied; run the same command again",
                    location=source,
                )
            out.write(end)
    return start + len(end)


def _footer_length(key: str, size_bytes: int, trailer: bytes) -> int:
    length = check_trailer(key, size_bytes, trailer)
    if length > _MOST_FOOTER_BYTES:
        raise UnsupportedError(
            f"{key!r} has a footer of {length:,} bytes, which other readers refuse too; write it "
            "again with larger row groups",
            feature="Parquet footers of more than 256 MiB",
        )
    return length


def ending(footer: bytes) -> bytes:
    """Return a footer with what follows it: its length and the magic."""
    return footer + len(footer).to_bytes(4, "little") + b"PAR1"
