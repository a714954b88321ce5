"""Equality deletes, resolved to positions ("Equality Delete Files").

A row is deleted if its values in the delete file's columns equal those of one of the file's rows;
null equals null.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap64

from parquedb.errors import FormatError, NotFoundError, UnsupportedError
from parquedb.formats.iceberg.names import names_of
from parquedb.formats.iceberg.wire import TableMetadata
from parquedb.model.files import DataFile
from parquedb.model.partition import UNPARTITIONED, PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, FloatType, ListType, MapType, StructType, VariantType
from parquedb.parquet.scan import read_batches
from parquedb.storage.store import Store


def equality_schema(table: TableMetadata, ids: tuple[int, ...], location: str) -> Schema:
    """Return the columns by which a delete file deletes.

    Raises:
        UnsupportedError: They cannot be compared right: nested columns, variants, floats.
    """
    known: dict[int, Field] = {}
    schemas = sorted(table.schemas.items())
    for _, schema in schemas:
        known.update({field.id: field for field in schema.fields})
    known.update({field.id: field for field in table.schema.fields})
    fields = []
    for id_ in ids:
        field = known.get(id_)
        nested = field is None or isinstance(
            field.type, StructType | ListType | MapType | VariantType
        )
        if field is None or nested or isinstance(field.type, FloatType):
            name = f"field {id_}" if field is None else repr(field.name)
            raise UnsupportedError(
                f"{location} deletes rows by {name}, a nested column, a variant or one of "
                "floating-point numbers, which cannot be compared as every reader does; rewrite "
                "the table's data files (compaction) and expire the snapshots that have such "
                "deletes",
                feature="equality-deletes",
            )
        fields.append(replace(field, required=False))
    named = tuple(replace(field, name=f"c{place}") for place, field in enumerate(fields))
    by_name = len({field.name for field in fields}) == len(fields)
    names = names_of(table.properties)
    aliases = [
        (field.id, (field.name,) if names is None else names.names.get(field.id, ()))
        for field in fields
    ]
    return Schema(tuple(fields) if by_name else named, Identity.BY_ID, aliases=tuple(aliases))


class EqualityFile:
    """One equality delete file, held as the values that it deletes.

    Args:
        store: The store.
        file: The delete file.
        schema: Its columns (:func:`equality_schema`).
    """

    def __init__(self, store: Store, file: DataFile, schema: Schema) -> None:
        self._store = store
        self._schema = schema
        plain = replace(file, partition=(), spec_id=0)
        try:
            batches = list(read_batches(store, plain, schema, UNPARTITIONED))
        except NotFoundError as error:
            raise FormatError(
                f"{file.path!r} holds deleted rows and does not exist; restore it, or roll the "
                "table back to a snapshot that does not need it",
                location=file.path,
                section="Equality Delete Files",
            ) from error
        self._values: Any = None
        if len(schema.fields) == 1:
            columns = [_storage(batch.column(0)) for batch in batches]
            self._values = pa.chunked_array(columns) if columns else None
            self._rows: frozenset[tuple[object, ...]] = frozenset()
        else:
            self._rows = frozenset(row for batch in batches for row in _rows(batch))

    def positions(self, file: DataFile, spec: PartitionSpec) -> BitMap64:
        """Return the rows of a data file that have one of the deleted values."""
        found, start = BitMap64(), 0
        whole = replace(file, deletes=())
        for batch in read_batches(self._store, whole, self._schema, spec):
            mask = self._match(batch)
            found.update((np.flatnonzero(mask) + start).tolist())
            start += batch.num_rows
        return found

    def _match(self, batch: pa.RecordBatch) -> np.ndarray:
        if len(self._schema.fields) > 1:
            return np.fromiter(
                (row in self._rows for row in _rows(batch)), np.bool_, batch.num_rows
            )
        if self._values is None:
            return np.zeros(batch.num_rows, np.bool_)
        column = _storage(batch.column(0))
        matched: Any = pc.call_function(
            "is_in", [column], pc.SetLookupOptions(value_set=self._values, skip_nulls=False)
        )
        return np.asarray(matched.to_numpy(zero_copy_only=False), np.bool_)


def _rows(batch: pa.RecordBatch) -> list[tuple[object, ...]]:
    columns = [_storage(column).to_pylist() for column in batch.columns]
    return list(zip(*columns, strict=True))


def _storage(column: Any) -> Any:
    return column.storage if isinstance(column, pa.ExtensionArray) else column
