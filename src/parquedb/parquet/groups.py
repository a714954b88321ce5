"""Single row groups of a data file, as a table's schema sees them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.errors import FormatError
from parquedb.model.files import DataFile, Stats
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.model.types import Field
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.bounds import gather_stats
from parquedb.parquet.dynamic import AnyArray, AnyType
from parquedb.parquet.footer import Footer, footer_of, not_parquet
from parquedb.parquet.match import match_fields
from parquedb.parquet.page_index import Rows
from parquedb.parquet.pages import PagedFile
from parquedb.parquet.scan import (
    ABSENT,
    HOW_TO_READ,
    FileLayout,
    adapt_column,
    open_parquet,
    parquet_of,
    partition_constants,
    translate,
)
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths, Store

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData


@dataclass(frozen=True, slots=True)
class Group:
    """A row group.

    Args:
        start: Position of its first row among those of the file that are not deleted.
        rows: How many rows of it are not deleted.
        lowest: A value not above any of the key column, None where the footer does not say.
        highest: A value not below any of the key column, None where the footer does not say.
    """

    start: int
    rows: int
    lowest: str | None
    highest: str | None

    def may_hold(self, key: str) -> bool:
        """Whether a key can be in this row group by its bounds."""
        if self.lowest is None or self.highest is None:
            return True
        return self.lowest <= key <= self.highest


class GroupFile:
    """A Parquet file that is kept open to read row groups by number. Safe between threads.

    Deleted rows are left out: positions count the rows that are there.

    Args:
        store: The store.
        file: The data file.
        schema: The table's columns.
        spec: The partition spec that ``file.partition`` belongs to.
        key: Name of the string column whose bounds :attr:`groups` tell.

    Raises:
        NotFoundError: There is no such file.
        FormatError: It is no Parquet file, its columns do not fit the schema, or what says which
            of its rows are deleted is damaged.
        UnsupportedError: It is encrypted.
    """

    def __init__(
        self, store: Store, file: DataFile, schema: Schema, spec: PartitionSpec, *, key: str
    ) -> None:
        self.file = file
        self.schema = schema
        self._lock = threading.Lock()
        self._source = _open_local(store, file.path) if isinstance(store, LocalPaths) else None
        self._parquet = (
            open_parquet(store, file.path)
            if self._source is None
            else parquet_of(store, file.path, self._source)
        )
        self._layout = FileLayout.of(file.path, self._parquet, schema)
        self._constants = partition_constants(file, spec)
        self._arrow = arrow_schema_of(schema)
        self._kept = self._find_kept(store)
        self._own = sorted(self._layout.found.values())
        self._key = self._own_number(key)
        own_key = None if self._key is None else self._layout.offered[self._key].name
        self.groups = self._read_groups(own_key)
        self.rows = sum(group.rows for group in self.groups)
        self.is_sorted = self._says_sorted(own_key)
        self._highest = self._highest_keys()

    def __enter__(self) -> GroupFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()
        if self._source is not None:
            self._source.close()

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of what is read."""
        return self._arrow

    def footer(self) -> Footer:
        """Return what the file's footer says."""
        return footer_of(self.file.path, self.file.size_bytes, self._parquet.metadata)

    def _own_number(self, name: str) -> int | None:
        """Return the number that a column of the schema has in the file, None if it has none."""
        field = self.schema.find(name)
        return None if field is None else self._layout.found.get(field.id)

    def _says_sorted(self, key: str | None) -> bool:
        """Whether the footer says that the rows are sorted by the key column, ascending.

        parquet.thrift, ``RowGroup.sorting_columns``; the groups must follow each other too.
        """
        metadata = self._parquet.metadata
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            first = next(iter(group.sorting_columns), None)
            if first is None or first.descending:
                return False
            if group.column(first.column_index).path_in_schema != key:
                return False
        bounds = [(group.lowest, group.highest) for group in self.groups]
        return all(
            one[1] is not None and other[0] is not None and one[1] <= other[0]
            for one, other in itertools.pairwise(bounds)
        )

    def _highest_keys(self) -> list[str] | None:
        """Return the highest key of each row group; None where they do not follow each other."""
        found = [group.highest for group in self.groups if group.highest is not None]
        known = found and len(found) == len(self.groups) and self.groups[0].lowest is not None
        return found if known and self.is_sorted else None

    def groups_about(self, key: str) -> list[int]:
        """Return the numbers of the row groups that can hold a key by their bounds."""
        if self._highest is None:
            return [index for index, group in enumerate(self.groups) if group.may_hold(key)]
        first = last = bisect_left(self._highest, key)
        while last < len(self.groups) and self.groups[last].may_hold(key):
            last += 1
        return list(range(first, last))

    def group_stats(self, index: int) -> Stats:
        """Return the statistics of a row group, by the ids of the schema's fields.

        Only columns that can be read as they are have some.
        """
        footer = self.footer()
        own = gather_stats(self._parquet.metadata, footer.leaves, [index])
        if index in self._kept:  # some of the nulls may be gone
            own = replace(own, nulls={})
        plain = self._plain_columns() or {}
        common = match_fields(footer.schema.fields, footer.carried_ids, self._plain_schema(plain))
        ids = {item.id: wanted.id for item, wanted in common}
        return Stats(
            {ids[key]: value for key, value in own.nulls.items() if key in ids},
            {ids[key]: value for key, value in own.lower.items() if key in ids},
            {ids[key]: value for key, value in own.upper.items() if key in ids},
        )

    def plain_columns(self) -> dict[str, str] | None:
        """Return the file's own column for each of the schema's that it has.

        Returns:
            Names by names; a column that is not in it is null in every row. None where rows are
            deleted, or a column is a partition's constant, has a default in place of null, or is of
            another type in the file than in the schema, so that the file cannot be read as it is.
        """
        return None if self.file.deletes else self._plain_columns()

    def _plain_columns(self) -> dict[str, str] | None:
        found = {}
        for field in self.schema.fields:
            index = self._layout.found.get(field.id)
            if index is not None:
                offered = self._layout.offered[index]
                wanted = self._arrow.field(field.name).type
                if not (
                    _reads_as(offered.type, wanted)
                    and self._layout.adapter.is_same(offered.type, field.type)
                ):
                    return None
                found[field.name] = offered.name
            elif field.id in self._constants or field.initial is not None:
                return None
        return found

    def _plain_schema(self, plain: Mapping[str, str]) -> Schema:
        fields = tuple(field for field in self.schema.fields if field.name in plain)
        return replace(self.schema, fields=fields)

    def read(self, index: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Read a row group.

        Args:
            index: Its number.
            columns: Names of the schema's columns to read, all by default.

        Raises:
            FormatError: The file's pages or columns are damaged.
            StorageError: It cannot be read.
        """
        fields = [f for f in self.schema.fields if columns is None or f.name in columns]
        found = self._layout.found
        names = [self._layout.offered[found[f.id]].name for f in fields if f.id in found]
        kept = self._kept.get(index)
        rows = self.groups[index].rows if kept is None else len(kept)
        batch = self._read_raw(index, names) if names else None
        whole = self._as_schema_has_it(fields, rows, batch)
        return whole if kept is None else whole.filter(pa.array(kept))

    def page_share(self, index: int, rows: Rows) -> float:
        """Return which part of a row group's pages :meth:`read_rows` would read, 1 if it cannot.

        Args:
            index: Its number.
            rows: Positions in it, ascending.
        """
        pages = self._pages
        return 1.0 if pages is None else pages.share(index, self._stored(index, rows), self._own)

    def read_rows(
        self, wanted: Sequence[tuple[int, Rows]], columns: Sequence[str] | None = None
    ) -> pa.RecordBatch | None:
        """Read some rows of row groups by the pages that hold them.

        Args:
            wanted: Numbers of row groups, and positions in each, ascending.
            columns: Names of the schema's columns to read, which the file has, all by default.

        Returns:
            The rows in that order; None where only whole row groups can be read, or tell what is
            wrong with the file.

        Raises:
            FormatError: The file's columns do not fit the schema.
        """
        if self._pages is None or not wanted:
            return None
        fields = [f for f in self.schema.fields if columns is None or f.name in columns]
        own = self._own
        if columns is not None:
            own = sorted(self._layout.found[field.id] for field in fields)
        stored = [(index, self._stored(index, rows)) for index, rows in wanted]
        arrays = self._pages.read(stored, own)
        offered = self._layout.offered
        if arrays is None or any(arrays[n].type != offered[n].type for n in arrays):
            return None
        count = sum(len(rows) for _, rows in wanted)
        for number in own:
            if number not in arrays:
                arrays[number] = pa.nulls(count, offered[number].type)
        batch = pa.RecordBatch.from_arrays(
            [arrays[number] for number in own], names=[offered[n].name for n in own]
        )
        return self._as_schema_has_it(fields, batch.num_rows, batch)

    def rows_about(self, index: int, key: str) -> Rows | None:
        """Return the positions in a row group among which a key is, if it is there at all.

        Returns:
            Positions, ascending; None where the file does not say.
        """
        if self._pages is None or self._key is None:
            return None
        rows = self._pages.rows_about(index, self._key, key)
        kept = self._kept.get(index)
        if rows is None or kept is None:
            return rows
        return (np.cumsum(kept) - 1)[rows[kept[rows]]]

    @functools.cached_property
    def _pages(self) -> PagedFile | None:
        if self._source is None or not self._own:
            return None  # elsewhere a whole row group is one request, and its pages are many
        return PagedFile.of(self._source, self._parquet.metadata, HOW_TO_READ)

    def _stored(self, index: int, rows: Rows) -> Rows:
        """Return where rows lie among those that are deleted."""
        kept = self._kept.get(index)
        return rows if kept is None else np.flatnonzero(kept)[rows]

    def _as_schema_has_it(
        self, fields: Sequence[Field], rows: int, batch: pa.RecordBatch | None
    ) -> pa.RecordBatch:
        arrays = [self._column(f, rows, batch) for f in fields]
        arrow = pa.schema([self._arrow.field(f.name) for f in fields])
        try:
            return pa.RecordBatch.from_arrays(arrays, schema=arrow)
        except pa.ArrowException as error:
            raise not_parquet(self.file.path, f"its columns are inconsistent ({error})") from error

    def _column(self, field: Field, rows: int, batch: pa.RecordBatch | None) -> AnyArray:
        index = self._layout.found.get(field.id)
        if index is not None and batch is not None and not field.required:
            offered = self._layout.offered[index]
            array = batch.column(offered.name)
            if array.type == self._arrow.field(field.name).type and self._layout.adapter.is_same(
                offered.type, field.type
            ):
                return array  # as most are: the adapter would only look at all of it
        constant = self._constants.get(field.id, ABSENT)
        return adapt_column(field, rows, batch, self._layout, constant)

    def _read_raw(self, index: int, names: Sequence[str]) -> pa.RecordBatch:
        try:
            with self._lock:
                table = self._parquet.read_row_group(index, names)
        except (pa.ArrowException, OSError) as error:
            raise translate(self.file.path, error) from error
        batches = table.combine_chunks().to_batches()
        if len(batches) > 1:
            raise FormatError(
                f"{self.file.path!r}: row group {index} is too large to be read at once; write "
                "the file again with smaller row groups",
                location=self.file.path,
            )
        return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)

    def _find_kept(self, store: Store) -> dict[int, npt.NDArray[np.bool_]]:
        """Return which rows are not deleted, for the row groups that have deleted ones."""
        if not self.file.deletes:
            return {}
        from parquedb.parquet.deletes import deleted_positions, kept_rows  # noqa: PLC0415

        metadata = self._parquet.metadata
        deleted = deleted_positions(store, self.file, metadata.num_rows)
        found, start = {}, 0
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            kept = kept_rows(deleted, start, rows)
            if kept is not None:
                found[index] = kept
            start += rows
        return found

    def _read_groups(self, key: str | None) -> tuple[Group, ...]:
        metadata = self._parquet.metadata
        names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
        column = names.index(key) if key in names else None
        groups, start = [], 0
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            lowest, highest = (None, None) if column is None else _text_bounds(group.column(column))
            kept = self._kept.get(index)
            rows = group.num_rows if kept is None else int(kept.sum())
            groups.append(Group(start, rows, lowest, highest))
            start += rows
        return tuple(groups)


def _text_bounds(chunk: ColumnChunkMetaData) -> tuple[str | None, str | None]:
    """Return the bounds of texts, None where there are none, or one is cut inside a character."""
    stats = chunk.statistics
    with contextlib.suppress(UnicodeDecodeError):
        if stats is not None and stats.has_min_max and isinstance(stats.min, str):
            return stats.min, stats.max
    return None, None


def _reads_as(offered: AnyType, wanted: AnyType) -> bool:
    """Whether a column needs no conversion, however its text is laid out in memory."""
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if any(is_text(offered) for is_text in texts):
        return any(is_text(wanted) for is_text in texts)
    return bool(offered.equals(wanted))


def _open_local(store: LocalPaths, key: str) -> pa.NativeFile | None:
    """Open a file on the local disk; None where that fails, which is told by whoever tries next."""
    try:
        return pa.OSFile(store.local_path(key), "rb")
    except OSError:
        return None
