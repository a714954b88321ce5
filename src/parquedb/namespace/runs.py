"""Merge the rows of files with newer documents, in the order of ``$id``.

The rows of sorted files are streamed a row group at a time, one of each file where their ids
overlap. The rows of a file that is not sorted are sorted in memory first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquedb.errors import FormatError, StateError
from parquedb.model.schema import Schema
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.query.blocks import Blocks, indices
from parquedb.query.seek import rows_through
from parquedb.query.view import Document, Source
from parquedb.rows.shred import shred

_BATCH_ROWS = 65_536
_BATCH_BYTES = 128 << 20


def merge_rows(
    blocks: Blocks,
    sources: Sequence[Source],
    overlay: Mapping[str, Document | None],
    schema: Schema,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of files and documents as batches sorted by ``$id``.

    Args:
        blocks: Where the files are read from.
        sources: The files, to be read with ``schema`` (see :func:`~.base.source_of`).
        overlay: Documents that replace rows of the same id, or None where the row goes.
        schema: The columns of what is yielded.

    Raises:
        FormatError: A file is damaged.
    """
    newer = _Newer(overlay, schema)
    arrow = arrow_schema_of(schema)
    stored = _in_order(blocks, sources, arrow)
    for batch in _ahead(stored):
        yield newer.lay_over(batch.cast(arrow) if batch.schema != arrow else batch)
    yield from newer.rest()


class _Newer:
    """Newer documents in the order of their ids, laid over batches that come in this order."""

    def __init__(self, overlay: Mapping[str, Document | None], schema: Schema) -> None:
        self._hidden = sorted(overlay)
        kept = [overlay[id_] for id_ in self._hidden]
        self._ids = [i for i, d in zip(self._hidden, kept, strict=True) if d is not None]
        batches = [
            shred(part, schema)
            for part in _chunks([document for document in kept if document is not None])
        ]
        self._rows = pa.Table.from_batches(batches, arrow_schema_of(schema))
        self._next = 0

    def lay_over(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch with its hidden rows replaced, and new rows up to its last id put in."""
        if batch.num_rows == 0:
            return batch
        ids = batch.column("$id")
        if ids.null_count:
            raise FormatError(
                f"{ids.null_count} rows have no '$id', so that documents cannot be written beside "
                "them: give them one, or remove them, with the program that wrote the table"
            )
        first, last = ids[0].as_py(), ids[-1].as_py()
        hidden = self._hidden[bisect_left(self._hidden, first) : bisect_right(self._hidden, last)]
        end = bisect_right(self._ids, last)
        extra = self._rows.slice(self._next, end - self._next)
        self._next = end
        if not hidden and not extra.num_rows:
            return batch
        # positions of the rows that stay, then of the new ones, then in the order of the ids
        gone = pc.is_in(ids, value_set=pa.array(hidden, ids.type))
        stays = np.flatnonzero(~gone.to_numpy(zero_copy_only=False))
        picked = np.concatenate([stays, np.arange(extra.num_rows) + batch.num_rows])
        both = pa.concat_tables([pa.Table.from_batches([batch]), extra])
        order = self._order(ids, gone, hidden, extra)
        if order is None:
            order = pc.sort_indices(both.column("$id").take(indices(picked))).to_numpy()
            order = picked[order]
        return _one_batch(both.take(indices(order)))

    def rest(self) -> Iterator[pa.RecordBatch]:
        """Yield the documents that come after all batches."""
        yield from self._rows.slice(self._next).to_batches(_BATCH_ROWS)

    def _order(
        self, ids: Any, gone: Any, hidden: Sequence[str], extra: pa.Table
    ) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """Return the order where new rows only take the places of old ones, else None."""
        if extra.num_rows != len(hidden) or pc.sum(gone).as_py() != len(hidden):
            return None
        if extra.column("$id").to_pylist() != hidden:  # some go, and as many others come
            return None
        order = np.arange(len(ids), dtype=np.int64)
        order[gone.to_numpy(zero_copy_only=False)] = np.arange(extra.num_rows) + len(ids)
        return order


def _in_order(
    blocks: Blocks, sources: Sequence[Source], arrow: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of files in the order of ``$id``."""
    if blocks.in_order(sources):
        for source in sources:
            yield from blocks.groups(source)
        return
    waiting = [_Run(blocks, source, arrow) for source in sources]
    waiting.sort(key=lambda run: run.lowest, reverse=True)
    begun: list[_Run] = []
    while waiting or begun:
        while waiting and (not begun or waiting[-1].lowest <= min(run.last for run in begun)):
            run = waiting.pop()
            if run.advance():
                begun.append(run)
        if not begun:
            continue
        last = min(run.last for run in begun)
        parts = [part for run in begun if (part := run.take(last)).num_rows]
        yield from parts if len(parts) == 1 else _sorted(parts, arrow)
        begun = [run for run in begun if run.rest.num_rows or run.advance()]


class _Run:
    """The rows of a file in the order of ``$id``.

    Args:
        blocks: Where it is read from.
        source: The file.
        arrow: Its columns.

    Attributes:
        lowest: An id that is not after any of it.
        rest: The rows that were read and not taken yet.
        last: The last id among these.
    """

    def __init__(self, blocks: Blocks, source: Source, arrow: pa.Schema) -> None:
        file = blocks.open(source)
        self.lowest, self.last = "", ""
        self.rest = pa.RecordBatch.from_pylist([], arrow)
        if file.is_sorted and file.groups:
            self.lowest = file.groups[0].lowest or ""
            self._batches = blocks.groups(source)
        else:
            self._batches = _sorted_file(blocks, source, arrow)

    def advance(self) -> bool:
        """Read on once all is taken; False at the end."""
        for batch in self._batches:
            if batch.num_rows:
                ids = batch.column("$id")
                # rows without an id come last, and are refused where they are used
                named = len(ids) - ids.null_count
                self.rest, self.last = batch, ids[named - 1].as_py() if named else ""
                return True
        return False

    def take(self, last: str) -> pa.RecordBatch:
        """Take the rows up to an id."""
        ids = self.rest.column("$id")
        whole = last == self.last or ids.null_count
        count = len(ids) if whole else rows_through(ids, last)
        part, self.rest = self.rest.slice(0, count), self.rest.slice(count)
        return part


def _sorted_file(blocks: Blocks, source: Source, arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
    yield from _sorted(list(blocks.groups(source)), arrow)


def _sorted(batches: Sequence[pa.RecordBatch], arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield rows in the order of ``$id``."""
    table = pa.Table.from_batches(batches, arrow)
    order = pc.sort_indices(table, sort_keys=[("$id", "ascending")])
    rows = max(1, min(_BATCH_ROWS, len(order) * _BATCH_BYTES // max(table.nbytes, 1)))
    for start in range(0, len(order), rows):
        yield _one_batch(table.take(order.slice(start, rows)))


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches, the next one being read while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = pool.submit(next, batches, None)
            yield batch


def _chunks(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for start in range(0, len(documents), _BATCH_ROWS):
        yield documents[start : start + _BATCH_ROWS]


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    if len(batches) > 1:  # a column of more than 2 GiB
        raise StateError(
            f"{table.num_rows} rows of {table.nbytes} bytes cannot be merged at once; flush more "
            "often, with a smaller flush_bytes"
        )
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
