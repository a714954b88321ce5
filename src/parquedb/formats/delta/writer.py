"""Appends neutral commits to a Delta table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import ConflictError
from parquedb.formats.delta.checkpoint_write import can_checkpoint, write_state_checkpoint
from parquedb.formats.delta.encode import Marks, encode_commit
from parquedb.formats.delta.lineage import COMPLETED_APP
from parquedb.formats.delta.paths import (
    commit_key,
    exists,
    is_log,
    log_folder,
    parse_commit_name,
)
from parquedb.formats.delta.protocol import check_writable
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.state import LogState
from parquedb.formats.delta.table import Table, read_table
from parquedb.formats.delta.vectors import VectorWriter
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed, Conflict
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.storage.store import NewObject, Store

_CHECKPOINT_EVERY = 100
_ATTEMPTS = 20


class DeltaWriter:
    """Writes a Delta table (see :class:`~parquedb.log.ports.LogWriter`).

    One commit file a version, each the creation of the next numbered object; a classic checkpoint
    at the end of an append when a hundred versions have come since the last one.

    Args:
        store: The storage.
        folder: Key of the table's folder.
        ambient: Where a new table's id and the time of :meth:`set_completed` come from.
        before: A reader of the table from earlier; what did not change since is not read again.

    Raises:
        FormatError: There is a table and its log does not follow the specification.
        UnsupportedError: There is a table and it cannot be read, or asks of its writers what
            cannot be honoured.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        ambient: Ambient = SYSTEM,
        before: DeltaReader | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._ambient = ambient
        self._before = before
        self._table: Table | None = None
        if before is not None and self._is_there(before):
            self._table = self._take(before)
        elif exists(store, folder):
            self._table = self._read()

    @property
    def format(self) -> Format:
        """Delta."""
        return Format.DELTA

    def adopt(self, schema: Schema, spec: PartitionSpec, *, expect: int | None) -> Schema:  # noqa: ARG002
        """Return a schema as it is: files are matched by name."""
        return schema

    def append(
        self,
        commits: Sequence[Commit],
        *,
        expect: int | None,
        completed_at_ms: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> Committed | Conflict:
        """Append commits as new versions (see :meth:`~parquedb.log.ports.LogWriter.append`).

        Without commits, ``completed_at_ms`` is recorded as :meth:`set_completed` does.
        """
        table = self._current(expect)
        if table.version != expect:
            return Conflict(table.version)
        if not commits:
            if completed_at_ms is not None:
                self.set_completed(completed_at_ms)
            after = self._table or table
            return Committed(-1 if after.version is None else after.version, 0)
        first = table.log.version + 1
        items, vectors = self._encode(table, commits, completed_at_ms, properties or {})
        self._table = None  # until it is known how far the log came
        if vectors:
            self._store.put_many(vectors)
        created = self._store.create_many(items)
        if created < len(items):
            return Conflict(self._newest(), created)
        self._table = table
        written = sum(len(item.data) for item in (*items, *vectors)) + self._checkpoint(table)
        return Committed(first + len(items) - 1, written)

    def set_completed(self, completed_at_ms: int | None) -> None:
        """Record or withdraw the completion of the migration: one more commit, if it differs.

        Raises:
            ConflictError: Other writers kept coming first.
        """
        for _ in range(_ATTEMPTS):
            table = self._table or self._read()
            recorded = table.log.txns.get(COMPLETED_APP)
            if (recorded.version if recorded else 0) == (completed_at_ms or 0):
                self._table = table
                return
            commit = Commit(table.log.version + 1, self._ambient.now_ms(), Operation.METADATA, ())
            vectors = VectorWriter(self._store, self._folder, self._ambient)
            item = self._encode_one(table, commit, Marks(completed_at_ms or 0), {}, vectors)
            self._table = None
            if self._store.create_many([item]) == 1:
                self._table = table
                return
        raise ConflictError(
            f"the Delta table {self._folder!r} is being written by others all the time; try again"
        )

    def settle(self) -> None:
        """Do nothing: a commit is one object."""

    def _encode(
        self,
        table: Table,
        commits: Sequence[Commit],
        completed_at_ms: int | None,
        properties: Mapping[str, str],
    ) -> tuple[list[NewObject], list[NewObject]]:
        """Encode all commits before any is written; the table is then at the last one.

        Returns:
            The commits, and the files with deletion vectors that they refer to.
        """
        self._table = None
        recorded = table.log.txns.get(COMPLETED_APP)
        withdraw = recorded is not None and recorded.version > 0
        items = []
        vectors = VectorWriter(self._store, self._folder, self._ambient)
        for index, commit in enumerate(commits):
            marks = Marks()
            if index == len(commits) - 1 and completed_at_ms is not None:
                marks = Marks(completed_at_ms)
            elif withdraw and commit.origin is not None:
                marks, withdraw = Marks(0), False
            items.append(self._encode_one(table, commit, marks, properties, vectors))
        return items, vectors.objects

    def _encode_one(
        self,
        table: Table,
        commit: Commit,
        marks: Marks,
        properties: Mapping[str, str],
        vectors: VectorWriter,
    ) -> NewObject:
        data, at_ms = encode_commit(
            table, commit, marks, lambda: str(self._ambient.new_uuid()), properties, vectors
        )
        return NewObject(commit_key(self._folder, table.log.version), data, at_ms)

    def _current(self, expect: int | None) -> Table:
        """Return the table as last known; as it is now where that does not fit ``expect``."""
        table = self._table
        if table is not None and table.version == expect:
            return table
        if exists(self._store, self._folder):
            return self._read()
        return Table(LogState(self._store.root, self._folder))

    def _read(self) -> Table:
        self._before = DeltaReader(self._store, self._folder, before=self._before)
        return self._take(self._before)

    def _is_there(self, reader: DeltaReader) -> bool:
        """Whether the newest commit that a reader has seen is there; newer ones are a conflict."""
        info = reader.listing.commits.get(reader.latest())
        return info is not None and self._store.head(info.key) == info

    def _take(self, reader: DeltaReader) -> Table:
        table, parsed = read_table(self._store, self._folder, reader)
        protocol, metadata = table.log.protocol, table.log.metadata
        if protocol is not None and metadata is not None:
            check_writable(self._folder, protocol, metadata, parsed)
        return table

    def _newest(self) -> int | None:
        infos = self._store.list_dir(log_folder(self._folder))[0]
        if not is_log(infos):
            return None
        names = (info.key.rsplit("/", 1)[-1] for info in infos)
        return max((v for v in map(parse_commit_name, names) if v is not None), default=None)

    def _checkpoint(self, table: Table) -> int:
        due = table.log.version - table.checkpoint >= _CHECKPOINT_EVERY
        if not due or not can_checkpoint(table.log):
            return 0
        written = write_state_checkpoint(self._store, table.log)
        table.checkpoint = table.log.version
        return written
