"""Documents in Parquet: any file's rows, and tables of documents as they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.documents.exchange.files import Incoming, seekable
from parquedb.errors import FormatError
from parquedb.model.schema import Schema
from parquedb.model.types import Field, StringType
from parquedb.rows.assemble import assemble
from parquedb.rows.typescript import decode_batch, is_typescript_layout

if TYPE_CHECKING:
    from parquedb.documents.exchange.json_text import Placed

_BATCH_ROWS = 8_192


def read_parquet(incoming: Incoming) -> Iterator[Placed]:
    """Yield the rows of a Parquet file as documents, with the number of each row from 1.

    Null is a field that the document does not have. Rows of a table of documents, ``$data``
    included, become these documents again.

    Raises:
        InvalidInputError: It is no Parquet file, or a row cannot be a document.
    """
    incoming.unit = "row"
    with seekable(incoming) as file:
        try:
            with pq.ParquetFile(file, coerce_int96_timestamp_unit="us") as parquet:
                yield from _rows(incoming, parquet)
        except (pa.ArrowException, OSError) as error:
            incoming.refuse("", f"this cannot be read as Parquet ({error})")


def _rows(incoming: Incoming, parquet: pq.ParquetFile) -> Iterator[Placed]:
    arrow = parquet.schema_arrow
    repeated = sorted({name for name in arrow.names if arrow.names.count(name) > 1})
    if repeated:
        incoming.refuse("", f"two columns are called {repeated[0]!r}; rename one")
    # what the columns hold is told by the rows
    schema = Schema(tuple(Field(i, name, StringType()) for i, name in enumerate(arrow.names, 1)))
    texts = all(pa.types.is_string(field.type) for field in arrow)
    decode = texts and is_typescript_layout(schema)
    number = done = 0
    total = max(1, parquet.metadata.num_rows)
    for batch in parquet.iter_batches(_BATCH_ROWS):
        try:
            documents = decode_batch(batch) if decode else assemble(batch, schema)
        except FormatError as error:
            incoming.refuse(f", rows {number + 1} to {number + batch.num_rows}", str(error))
        done += batch.num_rows
        incoming.read_bytes = (incoming.total_bytes or 0) * done // total
        for document in documents:
            number += 1
            yield number, document
