"""Some rows of a Parquet file without the rest of their row groups: in whole pages.

The pages that hold wanted rows are copied, with the dictionaries before them, into a Parquet file
in memory, which pyarrow reads as any other. Columns whose pages begin at the same rows share such a
file. Whatever is unusual or does not add up is left to whoever reads whole row groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from parquedb.parquet.dynamic import AnyArray
from parquedb.parquet.elements import (
    STRUCT,
    Element,
    encode_element,
    parse_elements,
    walk_elements,
)
from parquedb.parquet.footer import written_by
from parquedb.parquet.opened import ParquetFile
from parquedb.parquet.page_index import (
    ChunkPages,
    GroupPages,
    GroupPlaces,
    Read,
    Rows,
    distinct,
    leaves_of,
    pages_about,
    parse_group,
)
from parquedb.parquet.thrift import (
    I32,
    RawField,
    ThriftError,
    encode_list_header,
    encode_struct,
    encode_varint,
    find_field,
    read_struct,
    zigzag,
)

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_WRITER = "parquet-cpp-arrow version "
"""Whose page indexes are relied upon: in its files no page begins within a row."""
_ARROW_SCHEMA = b"ARROW:schema"
_TRAILER_BYTES = 8
_I64, _LIST = 6, 9
_VERSION, _SCHEMA, _ROWS, _ROW_GROUPS = 1, 2, 3, 4
_CHILDREN = 5
_FEW = 64
"""How many rows are cut out of others one by one."""


_Span = tuple[Rows, Rows]


class PagedFile:
    """The pages of a Parquet file. Safe between threads.

    Args:
        source: The open file, as pyarrow has it.
        options: How pyarrow is to read it.

    Raises:
        ThriftError: Its footer is damaged.
        LookupError: Its footer lacks something.
    """

    def __init__(self, source: Any, options: Mapping[str, Any]) -> None:
        self._source = source
        self._options = options
        end = source.size() - _TRAILER_BYTES
        length = int.from_bytes(source.read_at(4, end), "little")
        self._data_end = end - length
        self._footer: bytes = source.read_at(length, self._data_end)
        root = _root_of(self._footer)
        self._schema = _Schema(root)
        self._leaves = leaves_of(root)
        self._flat = {
            number
            for number, child in enumerate(root.children)
            if not child.children and not child.is_repeated
        }
        self._places = GroupPlaces(self._footer)
        self._groups: dict[int, GroupPages | None] = {}

    @classmethod
    def of(
        cls, source: Any, metadata: FileMetaData, options: Mapping[str, Any]
    ) -> PagedFile | None:
        """Return the pages of a file, None where they are not to be read one by one.

        Args:
            source: The open file, as pyarrow has it.
            metadata: Its footer.
            options: How pyarrow is to read it.
        """
        if not written_by(metadata).startswith(_WRITER):
            return None
        if _ARROW_SCHEMA in (metadata.metadata or {}):  # it asks for types of its own
            return None
        try:
            return cls(source, options)
        except (ThriftError, LookupError, OSError):
            return None

    def share(self, index: int, rows: Rows, columns: Sequence[int]) -> float:
        """Return which part of a row group's pages hold some rows, 1 where they cannot be read.

        Args:
            index: The row group's number.
            rows: Rows of it, ascending.
            columns: Numbers of the top-level columns that are wanted.
        """
        group = self._group(index)
        if group is None:
            return 1.0
        bands = [group.bands[number] for number in {group.band_of[column] for column in columns}]
        parts = [len(distinct(_stretches(band, rows))) / (len(band) - 1) for band in bands]
        return max(parts, default=1.0)

    def rows_about(self, index: int, column: int, text: str) -> Rows | None:
        """Return the rows among which a text is, if it is there at all.

        Args:
            index: The row group's number.
            column: The number of the column of texts.
            text: The text.

        Returns:
            Rows, ascending; None where the file does not say.
        """
        group = self._group(index)
        if group is None:
            return None
        chunk = group.chunks[self._leaves[column][0]]
        if chunk.bounds is None:
            return None
        try:
            pages = pages_about(self._read(*chunk.bounds), text.encode(errors="surrogatepass"))
        except (ThriftError, LookupError, OSError):
            return None
        if pages and pages[-1] >= len(chunk.offsets):
            return None
        return _ranges(chunk.firsts[pages], chunk.firsts[[page + 1 for page in pages]])

    def read(
        self, wanted: Sequence[tuple[int, Rows]], columns: Sequence[int]
    ) -> dict[int, AnyArray] | None:
        """Read rows.

        Args:
            wanted: Row groups by their numbers, and rows of each, ascending.
            columns: Numbers of the top-level columns.

        Returns:
            The columns by their numbers, without those that have only nulls in the row groups; None
            where pages are missing or damaged, or do not hold the rows that the page index says.
        """
        groups = [group for index, _ in wanted if (group := self._group(index)) is not None]
        if len(groups) < len(wanted):
            return None
        by_bands: dict[tuple[int, ...], list[int]] = {}
        for column in columns:
            if not (column in self._flat and all(self._is_void(group, column) for group in groups)):
                bands = tuple(group.band_of[column] for group in groups)
                by_bands.setdefault(bands, []).append(column)
        found: dict[int, AnyArray] = {}
        for bands, alike in by_bands.items():
            parts = [
                (group, group.bands[band], rows)
                for group, band, (_, rows) in zip(groups, bands, wanted, strict=True)
            ]
            try:
                arrays = self._read_alike(alike, parts)
            except (pa.ArrowException, OSError, ThriftError):
                return None
            if arrays is None:
                return None
            found |= zip(alike, arrays, strict=True)
        return found

    def _read_alike(
        self, columns: Sequence[int], parts: Sequence[tuple[GroupPages, Rows, Rows]]
    ) -> list[AnyArray] | None:
        """Read rows of columns whose pages begin at the same rows in each row group."""
        excerpt = _Excerpt(self._read)
        places = []
        for group, band, rows in parts:
            stretches = _stretches(band, rows)
            chosen = distinct(stretches)
            lows, highs = band[chosen], band[chosen + 1]
            shifts = excerpt.rows + np.cumsum(highs - lows) - highs
            places.append(rows + shifts[np.searchsorted(chosen, stretches)])
            chunks = [group.chunks[leaf] for column in columns for leaf in self._leaves[column]]
            excerpt.add(chunks, lows, highs)
        data = excerpt.finish(self._schema.of(columns))
        with ParquetFile(pa.BufferReader(data), self._options) as parquet:
            table = parquet.read(use_threads=len(parts) > 1)
        if table.num_rows != excerpt.rows or table.num_columns != len(columns):
            return None
        batches = table.combine_chunks().to_batches()
        if len(batches) != 1:
            return None
        return pick_rows(batches[0], np.concatenate(places)).columns

    def _is_void(self, group: GroupPages, column: int) -> bool:
        return group.chunks[self._leaves[column][0]].is_void

    def _group(self, index: int) -> GroupPages | None:
        if index not in self._groups:
            try:
                found = parse_group(self._footer, self._places[index], self._leaves, self._read)
            except (ThriftError, LookupError, OSError):
                self._groups[index] = None
            else:
                self._groups[index] = found
                self._places.note_end(index, found.end)
        return self._groups[index]

    def _read(self, offset: int, size_bytes: int) -> bytes:
        if offset < 0 or not 0 < size_bytes <= self._data_end - offset:
            raise ThriftError("something lies outside of the file")
        data: bytes = self._source.read_at(size_bytes, offset)
        if len(data) < size_bytes:
            raise ThriftError("the file is cut short")
        return data


class _Excerpt:
    """A Parquet file in the making, of pages of another one.

    Args:
        read: Reads from that one.

    Attributes:
        rows: How many rows it has.
    """

    def __init__(self, read: Read) -> None:
        self.rows = 0
        self._read = read
        self._parts = [b"PAR1"]
        self._size_bytes = len(self._parts[0])
        self._groups: list[bytes] = []

    def add(self, chunks: Sequence[ChunkPages], lows: Rows, highs: Rows) -> None:
        """Add a row group: the pages of chunks that hold rows from some to others, exactly."""
        rows = int((highs - lows).sum())
        spans: dict[int, _Span] = {}
        for chunk in chunks:  # most of which have the same beginnings, as the same object
            if id(chunk.firsts) not in spans:
                first = np.searchsorted(chunk.firsts, lows)
                spans[id(chunk.firsts)] = first, np.searchsorted(chunk.firsts, highs) - 1
        encoded = [self._copy(chunk, *spans[id(chunk.firsts)]) for chunk in chunks]
        # one row more than there are, so that pyarrow comes to tell where pages hold too many
        head = b"\x19" + encode_list_header(len(encoded), STRUCT)
        self._groups.append(
            b"".join((head, *encoded, _i64(1, self._size_bytes), _i64(1, rows + 1), b"\x00"))
        )
        self.rows += rows

    def _copy(self, chunk: ChunkPages, lows: Rows, highs: Rows) -> bytes:
        """Copy pages of a chunk and return what the footer says of them.

        Args:
            chunk: The chunk.
            lows: The first page of each stretch.
            highs: The last.
        """
        start = self._size_bytes
        first = int(chunk.offsets[0])
        if chunk.start < first:
            self._append(self._read(chunk.start, first - chunk.start))
        pages = self._size_bytes
        begins, ends = chunk.offsets[lows].tolist(), chunk.ends[highs].tolist()
        for begin, end in zip(begins, ends, strict=True):
            self._append(self._read(begin, end - begin))
        numbers = (
            chunk.lead,  # up to member 6; the others' numbers are told by their distances
            _i64(1, self._size_bytes - start),
            _i64(2, pages),
            _i64(2, start) if start < pages else b"",
        )
        return b"\x26\x08\x1c" + b"".join(numbers) + b"\x00\x00"

    def finish(self, schema: bytes) -> bytes:
        """Return the file.

        Args:
            schema: The footer's member of that name, encoded.
        """
        groups = encode_list_header(len(self._groups), STRUCT) + b"".join(self._groups)
        footer = encode_struct(
            [
                RawField(_VERSION, I32, encode_varint(zigzag(2))),
                RawField(_SCHEMA, _LIST, schema),
                RawField(_ROWS, _I64, encode_varint(zigzag(self.rows))),
                RawField(_ROW_GROUPS, _LIST, groups),
            ]
        )
        return b"".join((*self._parts, footer, len(footer).to_bytes(4, "little"), b"PAR1"))

    def _append(self, data: bytes) -> None:
        self._parts.append(data)
        self._size_bytes += len(data)


class _Schema:
    """Schemas of some of a file's columns, encoded.

    Args:
        root: The root of the file's.
    """

    def __init__(self, root: Element) -> None:
        shape, _ = read_struct(root.shape, 0)
        self._root = replace(root, children=())
        self._shape = [member for member in shape if member.id != _CHILDREN]
        below = [(child, *walk_elements(child)) for child in root.children]
        self._columns = [b"".join(map(encode_element, elements)) for elements in below]
        self._counts = [len(elements) for elements in below]
        self._last: tuple[Sequence[int], bytes] = ((), b"")

    def of(self, columns: Sequence[int]) -> bytes:
        """Return the footer's member for some columns."""
        known, encoded = self._last
        if list(known) == list(columns):
            return encoded
        count = RawField(_CHILDREN, I32, encode_varint(zigzag(len(columns))))
        root = encode_element(replace(self._root, shape=encode_struct([*self._shape, count])))
        head = encode_list_header(1 + sum(self._counts[column] for column in columns), STRUCT)
        encoded = b"".join((head, root, *(self._columns[column] for column in columns)))
        self._last = columns, encoded
        return encoded


def _root_of(footer: bytes) -> Element:
    found = find_field(footer, _SCHEMA)
    if found is None:
        raise ThriftError("a footer has no schema")
    return parse_elements(found.value)


def _stretches(band: Rows, rows: Rows) -> Rows:
    """Return for each row after which of a band's beginnings it comes."""
    return np.searchsorted(band, rows, side="right") - 1


def _ranges(lows: Rows, highs: Rows) -> Rows:
    """Return all numbers from some to others, exclusively."""
    spans = [np.arange(low, high) for low, high in zip(lows, highs, strict=True)]
    return np.concatenate([np.empty(0, np.int64), *spans])


def pick_rows(batch: pa.RecordBatch, places: Rows) -> pa.RecordBatch:
    """Return rows of a batch.

    A few are cut out one by one: ``take`` would import pyarrow's functions first, which takes
    longer than to find and read ten rows of a million.

    Args:
        batch: The batch.
        places: Their positions, at least one.
    """
    first, count = int(places[0]), len(places)
    if (places == np.arange(first, first + count)).all():
        return batch.slice(first, count)
    if count > _FEW:
        return batch.take(pa.array(places, pa.int64()))
    rows = pa.Table.from_batches([batch.slice(place, 1) for place in places.tolist()])
    return rows.combine_chunks().to_batches()[0]


def _i64(distance: int, value: int) -> bytes:
    """Encode a member that is a number.

    Args:
        distance: From the member before it.
        value: The number.
    """
    return bytes([distance << 4 | _I64]) + encode_varint(zigzag(value))
