"""Where the pages of a row group lie and which rows they hold, by its page index.

The offset index of a column chunk lists its data pages with the first row of each, the column index
their bounds (https://parquet.apache.org/docs/file-format/pageindex/). All here is pure but for the
reading of the indexes. What does not add up is an error, for somebody who can do without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from parquedb.parquet.elements import BINARY, STRUCT, Element
from parquedb.parquet.thrift import (
    RawField,
    ThriftError,
    encode_struct,
    next_member,
    read_list_header,
    read_varint,
    seek_member,
    skip_value,
    unzigzag,
)
from parquedb.slotted import dataclass

Rows = npt.NDArray[np.int64]
Read = Callable[[int, int], bytes]
"""Reads so many bytes from an offset."""

_LIST = 9
_ROW_GROUPS = 4
_COLUMNS, _ROWS = 1, 3
_FILE_PATH, _META, _OFFSETS, _OFFSETS_SIZE, _BOUNDS, _BOUNDS_SIZE, _CRYPTO, _ENCRYPTED = (
    1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
_LEAD = range(1, 5)
"""Type, encodings, path and codec of a column chunk."""
_VALUES, _UNCOMPRESSED, _COMPRESSED, _DATA, _DICTIONARY, _STATISTICS = 5, 6, 7, 9, 11, 12
_NULLS = 3
_NULL_PAGES, _LOWEST, _HIGHEST = 1, 2, 3
_AROUND = np.array([0x16, 0x15, 0x16, 0x00])
"""The bytes before, between and after the three numbers of a page's location."""
_NUMBERS = slice(1, 6, 2)
_LONGEST = 9
_FIRST_BYTE = 4

_Members = dict[int, tuple[int, int, int]]
"""A struct's members by their numbers: type, beginning and end."""


@dataclass(frozen=True, slots=True)
class ChunkPages:
    """A column chunk.

    Args:
        lead: The encoded members of its metadata that say what it is.
        values: How many values it has.
        uncompressed_bytes: Its size before compression.
        start: Where it begins: with a dictionary, or with the first data page.
        offsets: Where each data page begins.
        ends: Where each data page ends.
        firsts: The first row of each data page, and the row count at the end. Pages of the same
            first row belong together: writers may leave some without a row.
        bounds: Where the column index lies and how long it is, None where there is none.
        is_void: Whether all its values are null.
    """

    lead: bytes
    values: int
    uncompressed_bytes: int
    start: int
    offsets: Rows
    ends: Rows
    firsts: Rows
    bounds: tuple[int, int] | None
    is_void: bool


@dataclass(frozen=True, slots=True)
class GroupPages:
    """A row group.

    Args:
        chunks: Its column chunks.
        bands: Lists of rows, each with the row count at the end: where pages begin.
        band_of: For each top-level column the number of the band in which all its leaves have
            pages that begin at just these rows, and perhaps at others.
    """

    chunks: tuple[ChunkPages, ...]
    bands: tuple[Rows, ...]
    band_of: tuple[int, ...]


class GroupPlaces:
    """Where the row groups begin in a footer. Safe between threads.

    They are looked for one after the other as they are asked for: what is said of many takes time.

    Args:
        footer: The serialised ``FileMetaData``.

    Raises:
        ThriftError: The footer is damaged.
        LookupError: It has no row groups.
    """

    def __init__(self, footer: bytes) -> None:
        _, type_, at = seek_member(footer, 0, 0, (_ROW_GROUPS,))
        if not type_:
            raise LookupError("a footer has no row groups")
        self._footer = footer
        self._count, _, first = read_list_header(footer, at)
        self._found = [first]
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> int:
        if index >= self._count:
            raise IndexError(index)
        with self._lock:
            while len(self._found) <= index:
                self._found.append(skip_value(self._footer, self._found[-1], STRUCT))
            return self._found[index]


def leaves_of(root: Element) -> list[range]:
    """Return the numbers of the leaves of each top-level column."""
    found, first = [], 0
    for child in root.children:
        count = _leaf_count(child)
        found.append(range(first, first + count))
        first += count
    return found


def parse_group(footer: bytes, at: int, leaves: Sequence[range], read: Read) -> GroupPages:
    """Parse what a footer says of a row group, and the offset indexes of its columns.

    Args:
        footer: The serialised ``FileMetaData``.
        at: Where the row group begins in it.
        leaves: The leaves of each top-level column.
        read: Reads from the file.

    Raises:
        ThriftError: It is damaged, or says that pages lie where they cannot.
        LookupError: It lacks a member, such as an offset index.
    """
    members, _ = _members(footer, at)
    rows = _number(footer, members[_ROWS])
    count, _, at = read_list_header(footer, members[_COLUMNS][1])
    if count != sum(map(len, leaves)):
        raise ThriftError(f"a row group has {count} columns")
    chunks = []
    for _ in range(count):
        raw, at = _members(footer, at)
        if not {_FILE_PATH, _CRYPTO, _ENCRYPTED}.isdisjoint(raw):
            raise ThriftError("a column chunk lies elsewhere or is encrypted")
        chunks.append(_parse_chunk(footer, raw, rows, read))
    bands: dict[bytes, int] = {}
    starts: list[Rows] = []
    band_of: list[int] = []
    for places in leaves:
        common = distinct(chunks[places[0]].firsts)
        for leaf in places[1:]:
            others = set(chunks[leaf].firsts.tolist())
            common = np.array([row for row in common.tolist() if row in others])
        number = bands.setdefault(common.tobytes(), len(bands))
        if number == len(starts):
            starts.append(common)
        band_of.append(number)
    return GroupPages(tuple(chunks), tuple(starts), tuple(band_of))


def parse_locations(data: bytes) -> tuple[Rows, Rows, Rows]:
    """Parse an offset index into the offset, the size and the first row of each page.

    Raises:
        ThriftError: It is damaged, or not as writers write it.
    """
    member, type_, at = next_member(data, 0, 0)
    count, item, at = read_list_header(data, at)
    if (member, type_, item) != (1, _LIST, STRUCT) or count == 0:
        raise ThriftError("an offset index has no locations")
    # every location is seven variable-length numbers: three in bytes that are numbers themselves
    raw = np.frombuffer(data, np.uint8, offset=at)
    ends = (raw < 0x80).nonzero()[0][: 7 * count]
    if len(ends) < 7 * count:
        raise ThriftError("an offset index does not end")
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1] + 1
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST:
        raise ThriftError("a number in an offset index is too long")
    raw = raw[: ends[-1] + 1]
    shifts = 7 * (np.arange(len(raw)) - starts.repeat(lengths))
    values = np.add.reduceat((raw & 0x7F).astype(np.int64) << shifts, starts).reshape(count, 7)
    numbers = values[:, _NUMBERS]
    if not (values[:, ::2] == _AROUND).all() or (numbers & 1).any():
        raise ThriftError("an offset index is not as it should be")
    offsets, sizes, firsts = (numbers >> 1).T
    return offsets, sizes, firsts


def distinct(ascending: Rows) -> Rows:
    """Return each of some ascending numbers once; NumPy's own way of it imports more than it does.

    Args:
        ascending: The numbers.
    """
    return ascending[np.diff(ascending, prepend=-1) > 0]


def pages_about(column_index: bytes, value: bytes) -> list[int]:
    """Return the numbers of the pages that can hold a text by their bounds, ascending.

    Raises:
        ThriftError: The index is damaged.
        LookupError: It lacks a member.
    """
    members, _ = _members(column_index, 0)
    count, _, at = read_list_header(column_index, members[_NULL_PAGES][1])
    nulls = column_index[at : at + count]
    lowest = _texts(column_index, members[_LOWEST])
    highest = _texts(column_index, members[_HIGHEST])
    if not count == len(nulls) == len(lowest) == len(highest):
        raise ThriftError("a column index has lists of different lengths")
    return [
        page
        for page, (null, low, high) in enumerate(zip(nulls, lowest, highest, strict=True))
        if null != 1 and low <= value <= high
    ]


def _parse_chunk(footer: bytes, raw: _Members, rows: int, read: Read) -> ChunkPages:
    meta, _ = _members(footer, raw[_META][1])
    lead = [RawField(n, meta[n][0], footer[meta[n][1] : meta[n][2]]) for n in _LEAD]
    where = _number(footer, raw[_OFFSETS]), _number(footer, raw[_OFFSETS_SIZE])
    offsets, sizes, firsts = parse_locations(read(*where))
    firsts = np.append(firsts, rows)
    ends = offsets + sizes
    start = _number(footer, meta[_DATA])
    if _DICTIONARY in meta:
        start = min(start, _number(footer, meta[_DICTIONARY]) or start)
    if not (
        _FIRST_BYTE <= start <= offsets[0]
        and start + _number(footer, meta[_COMPRESSED]) == ends[-1]
        and (ends[:-1] == offsets[1:]).all()
        and (np.diff(firsts) >= 0).all()
        and firsts[0] == 0
    ):
        raise ThriftError("an offset index contradicts its column chunk")
    bounds = None
    if _BOUNDS in raw and _BOUNDS_SIZE in raw:
        bounds = _number(footer, raw[_BOUNDS]), _number(footer, raw[_BOUNDS_SIZE])
    values, uncompressed = _number(footer, meta[_VALUES]), _number(footer, meta[_UNCOMPRESSED])
    nulls = None
    if _STATISTICS in meta:
        statistics, _ = _members(footer, meta[_STATISTICS][1])
        nulls = _number(footer, statistics[_NULLS]) if _NULLS in statistics else None
    encoded = encode_struct(lead)[:-1]
    return ChunkPages(
        encoded, values, uncompressed, start, offsets, ends, firsts, bounds, nulls == values
    )


def _leaf_count(element: Element) -> int:
    return sum(map(_leaf_count, element.children)) if element.children else 1


def _members(data: bytes, at: int) -> tuple[_Members, int]:
    """Return a struct's members and where it ends."""
    found: _Members = {}
    last = 0
    while True:
        last, type_, at = next_member(data, at, last)
        if not type_:
            return found, at
        end = skip_value(data, at, type_)
        found[last] = type_, at, end
        at = end


def _number(data: bytes, member: tuple[int, int, int]) -> int:
    return unzigzag(read_varint(data, member[1])[0])


def _texts(data: bytes, member: tuple[int, int, int]) -> list[bytes]:
    count, type_, at = read_list_header(data, member[1])
    if type_ != BINARY:
        raise ThriftError("bounds are no texts")
    found = []
    for _ in range(count):
        length, start = read_varint(data, at)
        at = start + length
        found.append(data[start:at])
    return found
