"""The content of tables from version to version, as digests of all their rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import pyarrow as pa

from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import Step, Walk
from parquedb.model.files import DataFile, Deletes
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.parquet.digest import ContentDigest, Digester
from parquedb.parquet.scan import read_batches
from parquedb.storage.store import Store

Read = Callable[[Store, DataFile, Schema, PartitionSpec], Iterable[pa.RecordBatch]]
"""Reads the rows of a file in the columns of a schema."""

_Seen = tuple[str, tuple[Deletes, ...], Schema, PartitionSpec]


class Digests:
    """Content digests of tables, as a context.

    Each file is read once for each schema it is seen under and each set of its deleted rows.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[_Seen, ContentDigest] = {}
        self._digester = Digester()

    def __enter__(self) -> Digests:
        return self

    def __exit__(self, *_: object) -> None:
        self._digester.close()

    def of(
        self, snapshot: Snapshot, schema: Schema | None = None, read: Read = read_batches
    ) -> ContentDigest:
        """Return the digest of all rows of a snapshot, in no order.

        Args:
            snapshot: The snapshot.
            schema: Columns to see it with; its own by default.
            read: How the rows of its files are read.
        """
        seen = snapshot.schema if schema is None else schema
        files = snapshot.files.values()
        return sum((self.of_file(f, snapshot, seen, read) for f in files), ContentDigest())

    def of_file(
        self, file: DataFile, snapshot: Snapshot, seen: Schema, read: Read
    ) -> ContentDigest:
        """Return the digest of the rows of one of a snapshot's files."""
        spec = snapshot.specs[file.spec_id]
        key = (file.path, file.deletes, seen, spec)
        if key not in self._known:
            plain = replace(file, stats=None)
            batches = read(self._store, plain, seen, spec)
            self._known[key] = sum(map(self._digester.digest, batches), ContentDigest())
        return self._known[key]


class WalkedContent:
    """A table that is walked from version to version, and its content: a step costs what changed.

    Args:
        walk: Walks the table.
        digests: Digests its files.
    """

    def __init__(self, walk: Walk, digests: Digests) -> None:
        self._walk = walk
        self._digests = digests
        self._seen: tuple[Schema, Read] | None = None
        self._pending: set[str] = set()
        self._files: dict[str, ContentDigest] = {}
        self._total = ContentDigest()
        self._step: Step | None = None

    def to(self, version: int | None) -> Step:
        """Go to a version, None for the table as it is now."""
        step = self._step = self._walk.to(version)
        if step.touched is None:
            self._seen = None
        else:
            self._pending.update(step.touched)
        return step

    def digest(self, schema: Schema | None = None, read: Read = read_batches) -> ContentDigest:
        """Return the digest of all rows of the table where the walk is.

        Args:
            schema: Columns to see it with; its own by default.
            read: How the rows of its files are read.
        """
        assert self._step is not None
        snapshot = self._step.snapshot
        seen = snapshot.schema if schema is None else schema
        touched: Collection[str] = self._pending
        if self._seen != (seen, read):
            self._files.clear()
            self._total, touched = ContentDigest(), snapshot.files.keys()
        self._seen = None  # unless all of them can be read
        for key in touched:
            if (before := self._files.pop(key, None)) is not None:
                self._total -= before
            if key in snapshot.files:
                now = self._digests.of_file(snapshot.files[key], snapshot, seen, read)
                self._files[key] = now
                self._total += now
        self._pending.clear()
        self._seen = seen, read
        return self._total
