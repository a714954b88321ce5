"""The rows of a data file as a table's schema sees them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from parquedb.errors import FormatError, InvalidInputError, StorageError
from parquedb.model.files import DataFile, Value
from parquedb.model.partition import IdentityTransform, PartitionSpec
from parquedb.model.schema import Schema
from parquedb.model.types import Field
from parquedb.parquet.adapt import Adapter
from parquedb.parquet.arrow import FIELD_ID, arrow_schema_of, constant
from parquedb.parquet.dynamic import AnyArray, AnyField
from parquedb.parquet.footer import encrypted, not_parquet
from parquedb.parquet.opened import ParquetFile
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths, Store

__all__ = ["read_batches"]

BATCH_ROWS = 65_536
HOW_TO_READ: Mapping[str, Any] = {
    "pre_buffer": False,
    "coerce_int96_timestamp_unit": "us",
    "page_checksum_verification": True,
}
"""Settings of pyarrow's reader."""
_BUFFER_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20


def read_batches(
    store: Store,
    file: DataFile,
    schema: Schema,
    spec: PartitionSpec,
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a data file in the columns and types of a table's schema.

    Deleted rows are left out. Columns are matched by field id if the schema's identity is
    ``BY_ID`` and the file carries ids, else by the schema's alias for the column, if it has one,
    else by name. A column that the file lacks is the constant of its identity partition, or null.
    Values of narrower types are widened. Memory is bounded by a batch and a row group's
    dictionaries.

    Args:
        store: The store.
        file: The data file.
        schema: The table's columns.
        spec: The partition spec that ``file.partition`` belongs to.
        columns: Names of the columns wanted, all by default; they come in the schema's order.
        batch_rows: Rows of a batch, at most.

    Yields:
        Batches with exactly the Arrow schema of ``schema``, cut to ``columns``.

    Raises:
        NotFoundError: There is no such file.
        FormatError: It is no Parquet file, its columns do not fit the schema, or what says which
            of its rows are deleted is damaged.
        UnsupportedError: It is encrypted.
        InvalidInputError: A column is not in the schema.
    """
    wanted = _project(schema, columns)
    arrow = arrow_schema_of(wanted)
    constants = partition_constants(file, spec)
    with open_parquet(store, file.path) as parquet:
        layout = FileLayout.of(file.path, parquet, wanted)
        keep = _keeper(store, file, parquet.metadata.num_rows)
        for rows, batch in _raw_batches(parquet, file.path, layout, batch_rows):
            arrays = [
                adapt_column(field, rows, batch, layout, constants.get(field.id, ABSENT))
                for field in wanted.fields
            ]
            try:
                whole = pa.RecordBatch.from_arrays(arrays, schema=arrow)
            except pa.ArrowException as error:
                raise not_parquet(file.path, f"its columns are inconsistent ({error})") from error
            yield whole if keep is None else keep(whole)


def _keeper(
    store: Store, file: DataFile, rows: int
) -> Callable[[pa.RecordBatch], pa.RecordBatch] | None:
    """Return what leaves the deleted rows out of a file's batches, in their order."""
    if not file.deletes:
        return None
    from parquedb.parquet.deletes import deleted_positions, kept_rows  # noqa: PLC0415

    deleted = deleted_positions(store, file, rows)
    start = 0

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        nonlocal start
        kept = kept_rows(deleted, start, batch.num_rows)
        start += batch.num_rows
        return batch if kept is None else batch.filter(pa.array(kept))

    return keep


@dataclass(frozen=True, slots=True)
class Absent:
    """No partition constant."""


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Which columns of a file are which of the schema's.

    Args:
        adapter: Adapts the columns.
        names: Names of the file's columns that are read.
        found: Index in ``offered`` of each field id that the file has.
        offered: The file's own top-level fields.
    """

    adapter: Adapter
    names: tuple[str, ...]
    found: dict[int, int]
    offered: list[AnyField]

    @classmethod
    def of(cls, key: str, parquet: ParquetFile, schema: Schema) -> FileLayout:
        offered = list(parquet.schema_arrow)
        by_id = schema.matches_ids and any(map(_has_id, offered))
        adapter = Adapter(key, by_id=by_id, aliases=dict(schema.aliases))
        found = {}
        for field in schema.fields:
            index = adapter.find(field, offered)
            if index is not None:
                found[field.id] = index
        names = tuple(offered[index].name for index in found.values())
        every = [field.name for field in offered]
        if any(every.count(name) > 1 for name in names):
            raise not_parquet(key, "two of its columns have one name")
        return cls(adapter, names, found, offered)


def adapt_column(
    field: Field,
    rows: int,
    batch: pa.RecordBatch | None,
    layout: FileLayout,
    partition: Value | Absent | None,
) -> AnyArray:
    path = (field.name,)
    index = layout.found.get(field.id)
    if index is not None and batch is not None:
        return layout.adapter.adapt(batch.column(layout.offered[index].name), field.type, path)
    if isinstance(partition, Absent):
        return layout.adapter.missing(field, rows, path)
    return constant(partition, field.type, rows)


def _project(schema: Schema, columns: Sequence[str] | None) -> Schema:
    if len({field.id for field in schema.fields}) < len(schema.fields):
        raise InvalidInputError("a schema without field ids cannot be read with: assign them first")
    if columns is None:
        return schema
    if unknown := [name for name in columns if schema.find(name) is None]:
        raise InvalidInputError(
            f"no column {unknown[0]!r}; the table has {', '.join(map(repr, schema.names))}"
        )
    return replace(schema, fields=tuple(f for f in schema.fields if f.name in columns))


def partition_constants(file: DataFile, spec: PartitionSpec) -> dict[int, Value | None]:
    """Return the values of identity partitions by the id of their column."""
    if len(file.partition) != len(spec.fields):
        raise FormatError(
            f"{file.path!r} has {len(file.partition)} partition values where the table is "
            f"partitioned by {len(spec.fields)} columns; the table's metadata is damaged",
            location=file.path,
        )
    return {
        field.source_id: value
        for field, value in zip(spec.fields, file.partition, strict=True)
        if isinstance(field.transform, IdentityTransform)
    }


def open_parquet(store: Store, key: str) -> ParquetFile:
    """Open a file so that its pages are read as they are needed.

    Of a small one, whole columns are read: for a page that is read by itself, Arrow makes room for
    as many bytes as its header claims, gigabytes where that is damaged.
    """
    if isinstance(store, LocalPaths):
        path = store.local_path(key)
        with suppress(OSError):  # what is wrong is said below
            if os.stat(path).st_size <= _SMALL_BYTES:
                return parquet_of(store, key, path, buffer_bytes=0)
        return parquet_of(store, key, path)
    file = store.open_read(key)
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size_bytes > _SMALL_BYTES:
        return parquet_of(store, key, file)
    with file:
        return parquet_of(store, key, pa.BufferReader(file.read()), buffer_bytes=0)


def parquet_of(
    store: Store, key: str, source: Any, *, buffer_bytes: int = _BUFFER_BYTES
) -> ParquetFile:
    """Open a file that is given by its path or as an open one.

    Args:
        store: The store.
        key: The file, for messages.
        source: Its path, or an open file.
        buffer_bytes: What is read of a column at a time, 0 for all of it.
    """
    try:
        return ParquetFile(source, {**HOW_TO_READ, "buffer_size": buffer_bytes})
    except (FileNotFoundError, PermissionError) as error:
        store.open_read(key).close()  # says what is wrong in the store's own words
        raise translate(key, error) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise translate(key, error) from error


def _raw_batches(
    parquet: ParquetFile, key: str, layout: FileLayout, batch_rows: int
) -> Iterator[tuple[int, pa.RecordBatch | None]]:
    """Yield row counts and the file's own columns; None where none of them is wanted."""
    if not layout.names:
        rows = parquet.metadata.num_rows
        for start in range(0, rows, batch_rows):
            yield min(batch_rows, rows - start), None
        return
    batches = parquet.iter_batches(layout.names, batch_rows)
    left = parquet.metadata.num_rows
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise translate(key, error) from error
        if batch is None:
            break
        left -= batch.num_rows
        yield batch.num_rows, batch
    if left:  # pyarrow may pass over pages that are damaged
        found = parquet.metadata.num_rows - left
        reason = f"its pages hold {found} rows and its footer says {found + left}"
        raise not_parquet(key, reason)


def _has_id(field: AnyField) -> bool:
    return FIELD_ID in (field.metadata or {})


def translate(key: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(f"{key!r}: {error.strerror or error}")
    if "ncrypt" in str(error):
        return encrypted(key)
    return not_parquet(key, str(error))
