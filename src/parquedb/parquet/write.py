"""Write Parquet files as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import FormatError
from parquedb.model.files import DataFile
from parquedb.model.schema import Identity, Schema
from parquedb.parquet.arrow import arrow_schema_of, leaves
from parquedb.parquet.bounds import gather_stats
from parquedb.storage.store import Store

GROUP_ROWS = 131_072
GROUP_BYTES = 128 << 20


def write_parquet(
    store: Store,
    key: str,
    batches: Iterable[pa.RecordBatch],
    schema: Schema,
    *,
    metadata: Mapping[str, str] | None = None,
) -> DataFile:
    """Write rows as a new Parquet file, in the memory of one row group.

    A row group has about 131,072 rows or 128 MiB. Field ids are written if the schema's identity
    is ``BY_ID``. No Arrow schema is embedded: the file reads the same everywhere.

    Args:
        store: The store.
        key: The new file's key.
        batches: The rows; columns by position as in ``schema``.
        schema: The columns.
        metadata: Key-value metadata for the footer.

    Returns:
        The file with its row count, exact size and statistics by the ids of ``schema``.

    Raises:
        AlreadyExistsError: The key is taken; nothing was written.
        FormatError: A batch does not have the columns of ``schema``.
        UnsupportedError: A column's type cannot be stored in Parquet.
    """
    arrow = arrow_schema_of(schema, with_ids=schema.identity is Identity.BY_ID)
    collected: list[pq.FileMetaData] = []
    with store.open_create(key) as file:
        with pq.ParquetWriter(
            file,
            arrow,
            compression="zstd",
            store_schema=False,
            metadata_collector=collected,
        ) as writer:
            for table in _row_groups(key, batches, arrow):
                writer.write_table(table, row_group_size=max(1, table.num_rows))
            if metadata:
                writer.add_key_value_metadata(dict(metadata))
        file.flush()
        size_bytes = file.tell()
    footer = collected[0]
    stats = gather_stats(footer, list(leaves(schema.fields)))
    return DataFile(key, size_bytes, footer.num_rows, stats=stats)


def _row_groups(
    key: str, batches: Iterable[pa.RecordBatch], arrow: pa.Schema
) -> Iterator[pa.Table]:
    """Gather batches until they make a row group."""
    gathered: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        for start in range(0, batch.num_rows, GROUP_ROWS):
            part = batch.slice(start, GROUP_ROWS)
            gathered.append(_fit(key, part, arrow))
            rows += part.num_rows
            size_bytes += part.nbytes
            if rows >= GROUP_ROWS or size_bytes >= GROUP_BYTES:
                yield pa.Table.from_batches(gathered, arrow)
                gathered, rows, size_bytes = [], 0, 0
    if gathered:
        yield pa.Table.from_batches(gathered, arrow)


def _fit(key: str, batch: pa.RecordBatch, arrow: pa.Schema) -> pa.RecordBatch:
    """Give a batch the file's schema; names and types must be equal already."""
    try:
        if batch.schema.names != arrow.names:
            raise pa.ArrowInvalid(f"columns {batch.schema.names}, not {arrow.names}")
        return pa.RecordBatch.from_arrays(batch.columns, schema=arrow)
    except pa.ArrowException as error:
        raise FormatError(
            f"rows for {key!r} do not have the file's columns: {error}", location=key
        ) from error
