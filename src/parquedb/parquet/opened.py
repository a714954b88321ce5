"""An open Parquet file, by the part of pyarrow that reads them.

``pyarrow.parquet.ParquetFile`` is a cover of its ``ParquetReader``; the module that it lies in
imports file systems and TLS, which takes longer than to open a database and get a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow._parquet import ParquetReader

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_BATCH_ROWS = 65_536
_DEFAULTS: Mapping[str, Any] = {"arrow_extensions_enabled": True}
"""Where the cover's are others than the reader's."""


class ParquetFile:
    """An open Parquet file, as ``pyarrow.parquet.ParquetFile`` is one.

    Args:
        source: Its path, or an open file, which stays open.
        options: How pyarrow is to read it.

    Raises:
        pa.ArrowException: It is damaged.
        OSError: It cannot be read.
    """

    def __init__(self, source: Any, options: Mapping[str, Any] | None = None) -> None:
        self._file = pa.OSFile(source, "rb") if isinstance(source, str) else None
        try:
            self._reader = _open(source if self._file is None else self._file, options or {})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it, unless it was given open."""
        if self._file is not None:
            self._file.close()

    @property
    def metadata(self) -> FileMetaData:
        """Its footer."""
        return self._reader.metadata

    @property
    def schema_arrow(self) -> pa.Schema:
        """Its columns."""
        return self._reader.schema_arrow

    def read(self, *, use_threads: bool = True) -> pa.Table:
        """Read all of it."""
        return self._reader.read_all(use_threads=use_threads)

    def read_row_group(
        self, index: int, columns: Sequence[str], *, use_threads: bool = True
    ) -> pa.Table:
        """Read some top-level columns of a row group."""
        return self._reader.read_row_group(
            index, column_indices=self._numbers(columns), use_threads=use_threads
        )

    def iter_batches(
        self, columns: Sequence[str], batch_rows: int = _BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of some top-level columns."""
        groups = list(range(self._reader.num_row_groups))
        return self._reader.iter_batches(
            batch_rows, row_groups=groups, column_indices=self._numbers(columns)
        )

    def _numbers(self, columns: Sequence[str]) -> list[int]:
        """Return the numbers of the leaf columns inside of some top-level ones."""
        inside: dict[str, list[int]] = {}
        for number, path in enumerate(self._reader.column_paths):
            inside.setdefault(path[0], []).append(number)
        return [number for name in columns for number in inside.get(name, ())]


def read_metadata(source: Any) -> FileMetaData:
    """Read the footer of an open file.

    Raises:
        pa.ArrowException: It is damaged.
        OSError: It cannot be read.
    """
    return _open(source, {}).metadata


def _open(source: Any, options: Mapping[str, Any]) -> ParquetReader:
    reader = ParquetReader()
    try:
        reader.open(source, **_DEFAULTS, **options)
    except TypeError:  # a version of pyarrow in which it takes something else
        from pyarrow.parquet import ParquetFile as Cover  # noqa: PLC0415

        return Cover(source, **options).reader
    return reader
