"""Data files and what a table's metadata says of them without opening them.

Values (in statistics and partitions) are *physical*: a date is days since 1970-01-01, a time or
timestamp is an integer in its type's unit, a decimal is its unscaled integer, a UUID is 16 bytes.
Booleans, integers, floats, strings and bytes are themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from parquedb.slotted import dataclass

Value = bool | int | float | str | bytes
"""A physical value, see above."""

_NOTHING: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a file, by field id (leaf fields only).

    A bound is present only if it is certain to hold for every row: truncated maxima are
    incremented or absent, NaN never is a bound, timestamps cut to milliseconds are widened.

    Args:
        nulls: Number of nulls.
        lower: A value not above any non-null value of the column.
        upper: A value not below any non-null value of the column.
        sizes: Compressed bytes of the column in the file.
    """

    nulls: Mapping[int, int] = field(default_factory=lambda: _NOTHING)
    lower: Mapping[int, Value] = field(default_factory=lambda: _NOTHING)
    upper: Mapping[int, Value] = field(default_factory=lambda: _NOTHING)
    sizes: Mapping[int, int] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class InlineVector:
    """Deleted row positions held in the log itself (Delta storage type ``i``).

    Args:
        bitmap: Portable 64-bit roaring bitmap.
        rows: How many positions it holds.
    """

    bitmap: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Deleted row positions as a blob in a file (Delta ``u``/``p``, Iceberg v3 Puffin).

    Args:
        path: Key of the file.
        offset_bytes: Where the blob begins: its length, four bytes.
        size_bytes: Its length with all that frames it (see :mod:`parquedb.parquet.deletes`).
        rows: How many positions it holds.
    """

    path: str
    offset_bytes: int
    size_bytes: int
    rows: int


Deletes = InlineVector | VectorFile
"""Which rows of a data file are deleted.

A reader resolves Iceberg's position and equality deletes to inline vectors: how many rows of a file
they delete is not known before they are read.
"""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table.

    Args:
        path: Key in the store.
        size_bytes: Exact length.
        rows: Row count, deleted rows included, or None where the metadata does not say.
        partition: One value per field of its partition spec, None for null.
        spec_id: The spec that ``partition`` belongs to.
        stats: Column statistics, or None where the metadata has none. Bounds hold for all rows
            that are not deleted; null counts may include deleted rows.
        modified_at_ms: Modification time that the metadata records, or None.
        deletes: Rows that are deleted in it, none of them twice; empty for a plain file.
        fingerprint: Changes with the content, for files that may be overwritten; else None.
    """

    path: str
    size_bytes: int
    rows: int | None
    partition: tuple[Value | None, ...] = ()
    spec_id: int = 0
    stats: Stats | None = None
    modified_at_ms: int | None = None
    deletes: tuple[Deletes, ...] = field(default=())
    fingerprint: str | None = None

    @property
    def live_rows(self) -> int | None:
        """Rows that are not deleted, or None where the metadata does not say."""
        if self.rows is None or not self.deletes:
            return self.rows
        return self.rows - sum(deletes.rows for deletes in self.deletes)
