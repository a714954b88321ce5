"""Tables of one format, as the guide's functions hand them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from parquedb.errors import InvalidInputError
from parquedb.log.ports import LogReader, Version
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.report import MigrationReport
from parquedb.model.format import Format
from parquedb.namespace.places import Places
from parquedb.namespace.tables import Namespace, discover_namespaces
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.scan import read_batches
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class Backend:
    """Tables of one format in a storage.

    Args:
        type: The format.
        store: The storage.
        places: Where the formats' tables are kept.
        migration: What was migrated when the backend was opened, if anything.
    """

    type: Format
    store: Store
    places: Places
    migration: MigrationReport | None = None

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces that have a table of this format."""
        names = discover_namespaces(self.store, self.places)
        return tuple(name for name in names if self._namespace(name).exists(self.type))

    def history(self, namespace: str) -> Sequence[Version]:
        """Return the versions of a namespace, oldest first.

        Raises:
            NotFoundError: It has no table of this format.
        """
        return self._reader(namespace).history()

    def snapshot(
        self, namespace: str, *, version: int | None = None, at_ms: int | None = None
    ) -> Snapshot:
        """Return the table at a version or time; the newest by default.

        Args:
            namespace: The namespace.
            version: A version.
            at_ms: A time, milliseconds since the epoch; not together with ``version``.

        Raises:
            NotFoundError: There is no such table or version.
        """
        if version is not None and at_ms is not None:
            raise InvalidInputError("give version or at_ms, not both")
        reader = self._reader(namespace)
        return reader.snapshot(reader.version_at(at_ms) if at_ms is not None else version)

    def scan(
        self, namespace: str, *, version: int | None = None, at_ms: int | None = None
    ) -> pa.RecordBatchReader:
        """Read the rows at a version or time in bounded memory.

        Args:
            namespace: The namespace.
            version: A version.
            at_ms: A time, milliseconds since the epoch; not together with ``version``.

        Raises:
            NotFoundError: There is no such table or version.
        """
        snapshot = self.snapshot(namespace, version=version, at_ms=at_ms)
        batches = (
            batch
            for file in snapshot.files.values()
            for batch in read_batches(
                self.store, file, snapshot.schema, snapshot.specs[file.spec_id]
            )
        )
        return pa.RecordBatchReader.from_batches(arrow_schema_of(snapshot.schema), batches)

    def to_arrow(
        self, namespace: str, *, version: int | None = None, at_ms: int | None = None
    ) -> pa.Table:
        """Read the rows at a version or time into memory.

        Args:
            namespace: The namespace.
            version: A version.
            at_ms: A time, milliseconds since the epoch; not together with ``version``.

        Raises:
            NotFoundError: There is no such table or version.
        """
        return self.scan(namespace, version=version, at_ms=at_ms).read_all()

    def _namespace(self, name: str) -> Namespace:
        return Namespace(self.store, name, self.places)

    def _reader(self, namespace: str) -> LogReader:
        return self._namespace(namespace).reader(self.type)
