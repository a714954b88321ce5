"""Check what a footer says of column chunks before pyarrow looks at it.

pyarrow parses a footer with care, but ends the whole process when a column chunk contradicts the
schema: its accessor throws where nobody catches. So that is looked for first
(https://parquet.apache.org/docs/file-format/metadata/): ``ColumnChunk``, ``ColumnMetaData.type``,
``Statistics`` and ``SizeStatistics``.
"""

from __future__ import annotations

from collections.abc import Sequence

from parquedb.parquet.thrift import (
    ThriftError,
    read_list_header,
    read_varint,
    seek_member,
    skip_value,
    unzigzag,
)

_ROW_GROUPS, _COLUMNS, _META, _CRYPTO, _ENCRYPTED = 4, 1, 3, 8, 9
_TYPE, _STATISTICS, _SIZES = 1, 12, 16
_BOUNDS = (1, 2, 5, 6)
"""Of ``Statistics``."""
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
"""How many bytes a value of a physical type takes; of the others it is not said here."""
_UNENCODED, _REPETITIONS, _DEFINITIONS = 1, 2, 3
_BYTE_ARRAY = 6
_OF_GROUP = (_COLUMNS,)
_OF_CHUNK = (_META, _CRYPTO, _ENCRYPTED)
_OF_METADATA = (_TYPE, _STATISTICS, _SIZES)
_OF_SIZES = (_UNENCODED, _REPETITIONS, _DEFINITIONS)
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12

Leaf = tuple[int, int, int, int]
"""A column's physical type by its number, its largest repetition and definition level, and how many
bytes a value takes where its length is fixed by the schema, else 0."""


def check_chunks(footer: bytes, leaves: Sequence[Leaf]) -> None:
    """Check that every column chunk is one of its column.

    Args:
        footer: The serialised ``FileMetaData``.
        leaves: The columns.

    Raises:
        ThriftError: One is not.
    """
    at = _find(footer, 0, _ROW_GROUPS, _LIST)
    if at is None:
        return
    groups, type_, at = read_list_header(footer, at)
    if groups and type_ != _STRUCT:
        raise ThriftError("the row groups are no structs")
    for _ in range(groups):
        at = _check_group(footer, at, leaves)


def _check_group(footer: bytes, start: int, leaves: Sequence[Leaf]) -> int:
    last, at, found = 0, start, -1
    while True:
        last, type_, at = seek_member(footer, at, last, _OF_GROUP)
        if not type_:
            break
        if type_ != _LIST:
            at = skip_value(footer, at, type_)
            continue
        found, item, at = read_list_header(footer, at)
        if found != len(leaves) or (found and item != _STRUCT):
            break
        for leaf in leaves:
            at = _check_chunk(footer, at, leaf)
    if found != len(leaves):
        raise ThriftError(f"a row group has {max(found, 0)} columns, the schema {len(leaves)}")
    return at


def _check_chunk(footer: bytes, at: int, leaf: Leaf) -> int:
    last = 0
    while True:
        last, type_, at = seek_member(footer, at, last, _OF_CHUNK)
        if not type_:
            return at
        if last in (_CRYPTO, _ENCRYPTED):
            raise ThriftError("a column is encrypted in a file that is not")
        if type_ == _STRUCT:
            at = _check_metadata(footer, at, leaf)
        else:
            at = skip_value(footer, at, type_)


def _check_metadata(footer: bytes, at: int, leaf: Leaf) -> int:
    last = 0
    while True:
        last, type_, at = seek_member(footer, at, last, _OF_METADATA)
        if not type_:
            return at
        if last == _TYPE and type_ == _I32 and unzigzag(read_varint(footer, at)[0]) != leaf[0]:
            raise ThriftError("a column chunk has another type than its column")
        if last == _SIZES and type_ == _STRUCT:
            at = _check_sizes(footer, at, leaf)
        elif last == _STATISTICS and type_ == _STRUCT:
            at = _check_statistics(footer, at, _WIDTHS.get(leaf[0], leaf[3]))
        else:
            at = skip_value(footer, at, type_)


def _check_sizes(footer: bytes, at: int, leaf: Leaf) -> int:
    last = 0
    while True:
        last, type_, at = seek_member(footer, at, last, _OF_SIZES)
        if not type_:
            return at
        if type_ == _LIST and last in (_REPETITIONS, _DEFINITIONS):
            size, _, _ = read_list_header(footer, at)
            if size not in (0, leaf[1 if last == _REPETITIONS else 2] + 1):
                raise ThriftError(f"a histogram of levels has {size} entries")
        if last == _UNENCODED and type_ == _I64 and leaf[0] != _BYTE_ARRAY:
            raise ThriftError("a column that is no text has the size of its texts")
        at = skip_value(footer, at, type_)


def _check_statistics(footer: bytes, at: int, width: int) -> int:
    last = 0
    while True:
        last, type_, at = seek_member(footer, at, last, _BOUNDS)
        if not type_:
            return at
        if type_ == _BINARY and 0 < read_varint(footer, at)[0] < width:
            raise ThriftError("a bound is shorter than a value")
        at = skip_value(footer, at, type_)


def _find(data: bytes, at: int, wanted: int, wanted_type: int) -> int | None:
    """Return where a member of a struct begins."""
    last = 0
    while True:
        last, type_, at = seek_member(data, at, last, (wanted,))
        if not type_:
            return None
        if type_ == wanted_type:
            return at
        at = skip_value(data, at, type_)
