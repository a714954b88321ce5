"""Write Parquet files as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.errors import FormatError
from parquedb.model.files import DataFile
from parquedb.model.schema import Identity, Schema, walk
from parquedb.model.types import VariantType
from parquedb.parquet.arrow import arrow_schema_of, leaves
from parquedb.parquet.bounds import gather_stats
from parquedb.parquet.storing import storing
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

GROUP_ROWS = 131_072
GROUP_BYTES = 128 << 20
_FALSE_POSITIVES = 0.05
_TRAILER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How rows lie in a file.

    Args:
        group_rows: Rows of a row group, at most.
        sorted_by: Name of the column that the rows are sorted by, ascending.
        bloom: Names of columns that get a bloom filter; those that are not there get none.
    """

    group_rows: int = GROUP_ROWS
    sorted_by: str | None = None
    bloom: tuple[str, ...] = ()


PLAIN = Arrangement()
"""In the order in which they come."""


def write_parquet(
    store: Store,
    key: str,
    batches: Iterable[pa.RecordBatch],
    schema: Schema,
    *,
    metadata: Mapping[str, str] | None = None,
    arrangement: Arrangement = PLAIN,
    annotated: bool = False,
) -> DataFile:
    """Write rows as a new Parquet file, in the memory of one row group.

    A row group has at most the arrangement's rows, and about 128 MiB. Field ids are written if the
    schema's identity is ``BY_ID``. No Arrow schema is embedded: the file reads the same everywhere.

    Args:
        store: The store.
        key: The new file's key.
        batches: The rows; columns by position as in ``schema``.
        schema: The columns.
        metadata: Key-value metadata for the footer.
        arrangement: How the rows lie in the file. That they are sorted is the caller's promise.
        annotated: Whether variants are annotated as such, as Iceberg has them and Delta has not.

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
        marked = annotated and any(isinstance(f.type, VariantType) for _, f in walk(schema.fields))
        sink: Any = _Held(file) if marked else file
        groups = _row_groups(key, batches, arrow, arrangement.group_rows)
        first = next(groups, None)
        settings = storing(first) | _arrange(arrow, arrangement)
        groups = itertools.chain([] if first is None else [first], groups)
        del first  # one row group is in memory at a time
        with pq.ParquetWriter(
            sink,
            arrow,
            store_schema=False,
            metadata_collector=collected,
            **settings,
        ) as writer:
            for table in groups:
                writer.write_table(table, row_group_size=max(1, table.num_rows))
            if metadata:
                writer.add_key_value_metadata(dict(metadata))
            if marked:
                sink.hold()
        if marked:
            file.write(_with_annotations(key, sink.held(), schema))
        file.flush()
        size_bytes = file.tell()
    footer = collected[0]
    stats = gather_stats(footer, list(leaves(schema.fields)))
    return DataFile(key, size_bytes, footer.num_rows, stats=stats)


class _Held:
    """Passes a file's pages on and holds its end back."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end: BytesIO | None = None

    def hold(self) -> None:
        """Pass on nothing that follows."""
        self._end = BytesIO()

    def held(self) -> bytes:
        """Return what followed."""
        return b"" if self._end is None else self._end.getvalue()

    def write(self, data: Any) -> int:
        """Take some bytes."""
        return (self._file if self._end is None else self._end).write(data)

    def tell(self) -> int:
        """Return how many came."""
        return self._file.tell() + len(self.held())

    def flush(self) -> None:
        """Do nothing: that is for the end."""

    def close(self) -> None:
        """Do nothing, likewise."""


def _with_annotations(key: str, end: bytes, schema: Schema) -> bytes:
    """Return the end of a file with a footer that says which columns are variants."""
    from parquedb.parquet.labels import with_variants_of  # noqa: PLC0415  (rarely needed)
    from parquedb.parquet.rewrite import ending, relabel_footer  # noqa: PLC0415

    start = len(end) - _TRAILER_BYTES - int.from_bytes(end[-_TRAILER_BYTES:][:4], "little")
    footer = end[start:-_TRAILER_BYTES]
    return end[:start] + ending(
        relabel_footer(key, footer, partial(with_variants_of, schema=schema))
    )


def _row_groups(
    key: str, batches: Iterable[pa.RecordBatch], arrow: pa.Schema, group_rows: int
) -> Iterator[pa.Table]:
    """Gather batches until they make a row group."""
    gathered: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, group_rows - rows)
            gathered.append(_fit(key, part, arrow))
            start += part.num_rows
            rows += part.num_rows
            size_bytes += part.nbytes
            if rows >= group_rows or size_bytes >= GROUP_BYTES:
                yield pa.Table.from_batches(gathered, arrow)
                gathered, rows, size_bytes = [], 0, 0
    if gathered:
        yield pa.Table.from_batches(gathered, arrow)


def _arrange(arrow: pa.Schema, arrangement: Arrangement) -> dict[str, Any]:
    """Return the settings that tell pyarrow's writer of an arrangement."""
    settings: dict[str, Any] = {}
    if arrangement.sorted_by is not None:
        ordering: Any = [(arrangement.sorted_by, "ascending")]
        settings["sorting_columns"] = pq.SortingColumn.from_ordering(arrow, ordering)
    bloom = [name for name in arrangement.bloom if name in arrow.names]
    if bloom:
        settings["bloom_filter_options"] = {
            name: {"ndv": arrangement.group_rows, "fpp": _FALSE_POSITIVES} for name in bloom
        }
    return settings


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
