"""Transactions of pyiceberg, as they are but for the time that they take."""

from __future__ import annotations

from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import update_table_metadata


def compute_metadata_once() -> None:
    """Keep what a transaction computes until it has other updates or another base.

    pyiceberg applies all updates, and copies the metadata with all that it holds, whenever it looks
    something up in it: some sixteen times in a commit, half of the time of tests of long histories.
    """
    Transaction.table_metadata = property(_table_metadata)  # type: ignore[assignment]


def _table_metadata(self: Transaction) -> TableMetadata:
    base, updates = self._table.metadata, self._updates
    kept = self.__dict__.get("_computed")
    if kept is None or kept[0] is not base or kept[1] is not updates:
        kept = (base, updates, update_table_metadata(base, updates))
        self.__dict__["_computed"] = kept
    metadata: TableMetadata = kept[2]
    return metadata
