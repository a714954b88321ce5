"""Rows of a document table to documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from parquedb.errors import FormatError
from parquedb.model.schema import Schema
from parquedb.rows.columns import DATA, SYSTEM_FIELDS
from parquedb.rows.jsonform import decode_overflow
from parquedb.rows.lists import dicts, to_list
from parquedb.rows.values import Document

_SPARSE = 8
_ORDER = {name: index for index, name in enumerate(SYSTEM_FIELDS)}


def assemble(batch: pa.RecordBatch | pa.Table, schema: Schema) -> list[Document]:
    """Return the documents of rows, in order.

    Keys come in this order: system fields, the other columns as in the schema, ``$data``'s.

    Args:
        batch: The rows, with any of the schema's columns in any encoding; others are left out.
        schema: The columns of the table.

    Raises:
        FormatError: A text in ``$data`` is not valid, or a time is out of range; the message
            names the document or the column.
    """
    if isinstance(batch, pa.Table):
        return [document for part in batch.to_batches() for document in assemble(part, schema)]
    have = set(batch.schema.names)
    ordered = in_document_order(schema)
    present = [
        (name, array)
        for name in ordered
        if name in have and name != DATA and _count(array := batch.column(name))
    ]
    if sum(_count(array) for _, array in present) * _SPARSE < batch.num_rows * len(present):
        documents = _sparse(present, batch.num_rows)
    elif present:
        columns = [_values(name, array) for name, array in present]
        nulls = any(_holds_null(array) for _, array in present)
        documents = dicts([name for name, _ in present], columns, nulls=nulls)
    else:
        documents = [{} for _ in range(batch.num_rows)]
    if DATA in have and schema.find(DATA) is not None:
        add_data(documents, to_list(batch.column(DATA)))
    return documents


def _sparse(columns: list[tuple[str, Any]], rows: int) -> list[Document]:
    """Return documents that have few of the columns each."""
    documents: list[Document] = [{} for _ in range(rows)]
    for name, array in columns:
        kept = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
        for row, value in zip(kept.tolist(), _values(name, array.take(kept)), strict=True):
            if value is not None:
                documents[row][name] = value
    return documents


def _count(array: Any) -> int:
    """Return how many values are not null."""
    return len(array) - int(array.null_count)


def _holds_null(array: Any) -> bool:
    """Whether there is a null; a dictionary can hold one that the count does not tell."""
    return array.null_count > 0 or pa.types.is_dictionary(array.type)


def _values(name: str, array: Any) -> list[Any]:
    try:
        return to_list(array)
    except FormatError as error:
        raise FormatError(f"column {name!r}: {error}") from error


def in_document_order(schema: Schema) -> list[str]:
    """Return the names of columns in the order of a document's keys."""
    return sorted(schema.names, key=lambda name: _ORDER.get(name, len(_ORDER)))


def add_data(documents: list[Document], texts: list[str | None]) -> None:
    """Put what ``$data`` holds into documents.

    Raises:
        FormatError: A text is not valid.
    """
    for document, text in zip(documents, texts, strict=True):
        if text is None:
            continue
        try:
            extras, hints = decode_overflow(text)
        except FormatError as error:
            raise FormatError(f"{document.get('$id', 'a document')}: {DATA}: {error}") from error
        for name in hints:
            value = document.get(name)
            if isinstance(value, float) and value.is_integer():
                document[name] = int(value)
        if extras:
            document.update(extras)
