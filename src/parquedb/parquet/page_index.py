"""Where the pages of a row group lie and which rows they hold, by its page index.

The offset index of a column chunk lists its data pages with the first row of each, the column index
their bounds (https://parquet.apache.org/docs/file-format/pageindex/). All here is pure but for the
reading of the indexes. What does not add up is an error, for somebody who can do without.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from parquedb.parquet.elements import BINARY, STRUCT, Element
from parquedb.parquet.thrift import (
    ThriftError,
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
_VALUES, _UNCOMPRESSED, _COMPRESSED, _DATA, _DICTIONARY, _STATISTICS = 5, 6, 7, 9, 11, 12
"""Before these come type, encodings, path and codec of a column chunk."""
_NULLS = 3
_OF_CHUNK = (
    (
        _META,
        (_FILE_PATH, _META, _OFFSETS, _OFFSETS_SIZE, _BOUNDS, _BOUNDS_SIZE, _CRYPTO, _ENCRYPTED),
    ),
    (_STATISTICS, (_VALUES, _UNCOMPRESSED, _COMPRESSED, _DATA, _DICTIONARY, _STATISTICS)),
    (0, (_NULLS,)),
)
"""The members of a column chunk that are looked at, of its metadata, of its statistics."""
_NULL_PAGES, _LOWEST, _HIGHEST = 1, 2, 3
_AROUND = np.array([0x16, 0x15, 0x16, 0x00])
"""The bytes before, between and after the three numbers of a page's location."""
_NUMBERS = slice(1, 6, 2)
_MEMBERS = 7
_LONGEST = 9
_FIRST_BYTE = 4

_Members = dict[int, tuple[int, int, int]]
"""A struct's members by their numbers: type, beginning and end."""


@dataclass(frozen=True, slots=True)
class ChunkPages:
    """A column chunk.

    Args:
        lead: The encoded members of its metadata that say what it is, how many values it has and
            its size before compression.
        start: Where it begins: with a dictionary, or with the first data page.
        offsets: Where each data page begins.
        ends: Where each data page ends.
        firsts: The first row of each data page, and the row count at the end. Pages of the same
            first row belong together: writers may leave some without a row.
        bounds: Where the column index lies and how long it is, None where there is none.
        is_void: Whether all its values are null.
    """

    lead: bytes
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
        end: Where it ends in the footer.
    """

    chunks: tuple[ChunkPages, ...]
    bands: tuple[Rows, ...]
    band_of: tuple[int, ...]
    end: int


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

    def note_end(self, index: int, end: int) -> None:
        """Note where a row group ends, which is where the next one begins."""
        with self._lock:
            if len(self._found) == index + 1:
                self._found.append(end)


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
    rows, columns, end = _columns_of(footer, at)
    if len(columns) != sum(map(len, leaves)):
        raise ThriftError(f"a row group has {len(columns)} columns")
    indexes = [_read_index(footer, column[0], read) for column in columns]
    alike: dict[bytes, Rows] = {}
    chunks = [
        _parse_chunk(footer, column, rows, pages, alike)
        for column, pages in zip(columns, parse_locations(indexes), strict=True)
    ]
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
    return GroupPages(tuple(chunks), tuple(starts), tuple(band_of), end)


def parse_locations(indexes: Sequence[bytes]) -> list[tuple[Rows, Rows, Rows]]:
    """Parse offset indexes into the offset, the size and the first row of each page.

    All at once, since what NumPy takes for a call is more than it takes for the pages of a column.

    Raises:
        ThriftError: One is damaged, or not as writers write it.
    """
    counts, begins = [], []
    size = 0
    for data in indexes:
        member, type_, at = next_member(data, 0, 0)
        count, item, at = read_list_header(data, at)
        if (member, type_, item) != (1, _LIST, STRUCT) or count == 0:
            raise ThriftError("an offset index has no locations")
        counts.append(_MEMBERS * count)
        begins.append(size + at)
        size += len(data)
    # every location is seven variable-length numbers: three in bytes that are numbers themselves
    raw = np.frombuffer(b"".join(indexes), np.uint8)
    lasts = np.flatnonzero(raw < 0x80)
    nearest = np.searchsorted(lasts, begins).tolist()
    pieces = [lasts[at : at + count] for at, count in zip(nearest, counts, strict=True)]
    ends = [*map(len, indexes)]
    if any(
        len(piece) < count or piece[-1] >= end
        for piece, count, end in zip(pieces, counts, itertools.accumulate(ends), strict=True)
    ):
        raise ThriftError("an offset index does not end")
    values = _decoded(raw, np.concatenate(pieces), begins, counts).reshape(-1, _MEMBERS)
    numbers = values[:, _NUMBERS]
    if not (values[:, ::2] == _AROUND).all() or (numbers & 1).any():
        raise ThriftError("an offset index is not as it should be")
    offsets, sizes, firsts = (numbers >> 1).T
    pages = list(itertools.accumulate((count // _MEMBERS for count in counts), initial=0))
    return [
        (offsets[one:other], sizes[one:other], firsts[one:other])
        for one, other in itertools.pairwise(pages)
    ]


def _decoded(
    raw: npt.NDArray[np.uint8], lasts: Rows, begins: Sequence[int], counts: Sequence[int]
) -> Rows:
    """Decode variable-length numbers.

    Args:
        raw: The bytes.
        lasts: The last byte of each.
        begins: Where a run of them begins that follow each other.
        counts: How many are in each run.

    Raises:
        ThriftError: One is too long.
    """
    starts = np.empty_like(lasts)
    starts[1:] = lasts[:-1] + 1
    starts[np.cumsum([0, *counts[:-1]])] = begins
    lengths = lasts - starts + 1
    longest = int(lengths.max())
    if longest > _LONGEST:
        raise ThriftError("a number in an offset index is too long")
    values = (raw[starts] & 0x7F).astype(np.int64)
    for place in range(1, longest):
        longer = np.flatnonzero(lengths > place)
        values[longer] |= (raw[starts[longer] + place] & 0x7F).astype(np.int64) << (7 * place)
    return values


def distinct(ascending: Rows) -> Rows:
    """Return each of some ascending numbers once; NumPy's own way of it imports more than it does.

    Args:
        ascending: The numbers.
    """
    is_new = np.ones(len(ascending), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=is_new[1:])
    return ascending[is_new]


def pages_about(column_index: bytes, value: bytes) -> list[int]:
    """Return the numbers of the pages that can hold a text by their bounds, ascending.

    Raises:
        ThriftError: The index is damaged.
        LookupError: It lacks a member.
    """
    (members,), _ = _nested_members(column_index, 0, [(0, (_NULL_PAGES, _LOWEST, _HIGHEST))])
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


def _columns_of(footer: bytes, at: int) -> tuple[int, list[list[_Members]], int]:
    """Return a row group's row count, each column chunk's members down to statistics, its end."""
    rows: int | None = None
    columns: list[list[_Members]] = []
    last = 0
    while True:
        last, type_, at = seek_member(footer, at, last, (_COLUMNS, _ROWS))
        if not type_:
            break
        if last == _ROWS:
            rows = _number(footer, (type_, at, at))
            at = skip_value(footer, at, type_)
            continue
        count, _, at = read_list_header(footer, at)
        for _ in range(count):
            column, at = _nested_members(footer, at, _OF_CHUNK)
            columns.append(column)
    if rows is None:
        raise LookupError("a row group does not say how many rows it has")
    return rows, columns, at


def _read_index(footer: bytes, raw: _Members, read: Read) -> bytes:
    """Read the offset index of a column chunk."""
    if not {_FILE_PATH, _CRYPTO, _ENCRYPTED}.isdisjoint(raw):
        raise ThriftError("a column chunk lies elsewhere or is encrypted")
    return read(_number(footer, raw[_OFFSETS]), _number(footer, raw[_OFFSETS_SIZE]))


def _parse_chunk(
    footer: bytes,
    column: list[_Members],
    rows: int,
    pages: tuple[Rows, Rows, Rows],
    alike: dict[bytes, Rows],
) -> ChunkPages:
    """Parse a column chunk.

    Args:
        footer: The footer.
        column: The chunk's members, those of its metadata, of its statistics.
        rows: How many rows the row group has.
        pages: The offset, the size and the first row of each page.
        alike: The beginnings of pages of other chunks, which are the same objects where they are
            the same; these are added.
    """
    raw, meta, statistics = column
    if list(meta) != sorted(meta):
        raise ThriftError("members of a column chunk are not in order")
    lead = footer[raw[_META][1] : meta[_UNCOMPRESSED][2]]
    offsets, sizes, begins = pages
    firsts = np.empty(len(begins) + 1, np.int64)
    firsts[:-1], firsts[-1] = begins, rows
    firsts = alike.setdefault(firsts.tobytes(), firsts)
    ends = offsets + sizes
    start = _number(footer, meta[_DATA])
    if _DICTIONARY in meta:
        start = min(start, _number(footer, meta[_DICTIONARY]) or start)
    if not (
        _FIRST_BYTE <= start <= offsets[0]
        and start + _number(footer, meta[_COMPRESSED]) == ends[-1]
        and (ends[:-1] == offsets[1:]).all()
        and (firsts[1:] >= firsts[:-1]).all()
        and firsts[0] == 0
    ):
        raise ThriftError("an offset index contradicts its column chunk")
    bounds = None
    if _BOUNDS in raw and _BOUNDS_SIZE in raw:
        bounds = _number(footer, raw[_BOUNDS]), _number(footer, raw[_BOUNDS_SIZE])
    nulls = _number(footer, statistics[_NULLS]) if _NULLS in statistics else None
    is_void = nulls == _number(footer, meta[_VALUES])
    return ChunkPages(lead, start, offsets, ends, firsts, bounds, is_void)


def _leaf_count(element: Element) -> int:
    return sum(map(_leaf_count, element.children)) if element.children else 1


def _nested_members(
    data: bytes, at: int, path: Sequence[tuple[int, Sequence[int]]]
) -> tuple[list[_Members], int]:
    """Return members of a struct, of a struct in it, and so on, and where it ends.

    Args:
        data: The bytes.
        at: Where it begins.
        path: Of each struct the member that is the next one, and which others are wanted. One that
            is not there has no members.
    """
    (inner, wanted), *rest = path
    members: _Members = {}
    below: list[_Members] = [{} for _ in rest]
    last = 0
    while True:
        last, type_, begin = seek_member(data, at, last, wanted)
        if not type_:
            return [members, *below], begin
        if rest and last == inner and type_ == STRUCT:
            below, at = _nested_members(data, begin, rest)
        else:
            at = skip_value(data, begin, type_)
        members[last] = type_, begin, at


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
