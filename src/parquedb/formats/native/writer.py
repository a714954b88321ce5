"""Write a table as one Parquet file: the only version that native has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import AlreadyExistsError, NotFoundError, StateError, UnsupportedError
from parquedb.formats.native.origin import (
    OriginEntry,
    digest_tail,
    read_origins,
    write_origins,
)
from parquedb.formats.native.paths import (
    Layout,
    find_beside_table,
    find_layout,
    staged_key,
    written_key,
)
from parquedb.formats.native.reader import version_of
from parquedb.log.commit import Commit
from parquedb.log.ports import Committed, Conflict
from parquedb.log.replay import replay
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Identity, Schema, ids_by_path, same_shape
from parquedb.parquet.footer import read_footer
from parquedb.parquet.scan import read_batches
from parquedb.parquet.write import write_parquet
from parquedb.storage.store import HardLinks, Store


class NativeWriter:
    """Writes a namespace as ``data/{namespace}/data.parquet``; a :class:`LogWriter` of one version.

    Commits are folded into the rows that they leave, and these are written as one file, without
    deleted ones. A writer remembers the table between calls, so that a history can be handed over
    in batches; but each call writes the whole file.

    Native has no compare-and-swap: creation is atomic, while a replacement by somebody else
    between our check and our replacement is lost.

    Args:
        store: The store.
        namespace: The namespace.
        ambient: Where names of staged files come from.
        owned: Keys that an Iceberg or Delta table in the same folder refers to. Without them all
            files in such a table's folder count as the table's.
    """

    def __init__(
        self,
        store: Store,
        namespace: str,
        *,
        ambient: Ambient = SYSTEM,
        owned: frozenset[str] = frozenset(),
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._ambient = ambient
        self._owned = owned
        self._written: tuple[int, Snapshot] | None = None

    @property
    def format(self) -> Format:
        """Native."""
        return Format.NATIVE

    def adopt(self, schema: Schema, spec: PartitionSpec, *, expect: int | None) -> Schema:  # noqa: ARG002
        """Return a schema as it is: files are matched by name."""
        return schema

    def append(
        self,
        commits: Sequence[Commit],
        *,
        expect: int | None,
        completed_at_ms: int | None = None,
        properties: Mapping[str, str] | None = None,  # noqa: ARG002  (native has none)
    ) -> Committed | Conflict:
        """Replace the namespace's file by the rows that the commits leave.

        The commits must make the whole table, unless this writer wrote the version ``expect``;
        then they continue from it. Files that they name must exist in the store. Timestamps,
        properties and the history itself are not kept; the last commit's origin is.

        Args:
            commits: What to write.
            expect: The present version, None if there must be no native data.
            completed_at_ms: Recorded as the time at which the migration was complete.
            properties: Not kept.

        Returns:
            ``Committed`` with the size of the file; ``Conflict`` if the version is another one.

        Raises:
            StateError: The namespace has native data in another layout, which is never replaced.
            UnsupportedError: The table has no columns.
        """
        layout = self._find()
        current = None if layout is None else version_of(layout)
        if current != expect:
            return Conflict(current)
        if not commits:
            if current is None:
                raise StateError(f"no commits to write namespace {self._namespace!r} from")
            return Committed(current, 0)
        known = self._written
        start = known[1] if known is not None and known[0] == expect else None
        snapshot = replay(commits, start)
        staged = staged_key(self._namespace, f"native-{self._ambient.new_uuid().hex}")
        try:
            size_bytes = self._stage(snapshot, staged)
            entry = self._entry(commits[-1], completed_at_ms, staged, size_bytes)
            kept = read_origins(self._store, self._namespace) if expect is not None else ()
            if entry is not None:
                current_entries = [old for old in kept if old.version == expect]
                write_origins(self._store, self._namespace, [*current_entries, entry])
            if not self._publish(staged, expect):
                found = self._find()
                return Conflict(None if found is None else version_of(found))
        finally:
            self._store.delete(staged)
        version = self._current()
        write_origins(
            self._store,
            self._namespace,
            [] if entry is None else [replace(entry, version=version)],
        )
        self._written = (version, snapshot)
        return Committed(version, size_bytes)

    def set_completed(self, completed_at_ms: int | None) -> None:
        """Record or withdraw the completion of the migration that wrote the file.

        Raises:
            StateError: No migration did.
        """
        entries = read_origins(self._store, self._namespace)
        if not entries:
            raise StateError(
                f"namespace {self._namespace!r} was not written by a migration: there is no "
                "completion to record"
            )
        last = replace(entries[-1], completed_at_ms=completed_at_ms)
        write_origins(self._store, self._namespace, [*entries[:-1], last])

    def settle(self) -> None:
        """Do nothing: readers go by what is there."""

    def _find(self) -> Layout | None:
        """Find the present data and refuse a layout that is not the one we write."""
        if self._owned:
            layout = find_layout(self._store, self._namespace, owned=self._owned)
        else:
            layout = find_beside_table(self._store, self._namespace)
        target = written_key(self._namespace)
        if layout is not None and layout.location != target:
            raise StateError(
                f"namespace {self._namespace!r} has native data at {layout.location!r}, which is "
                f"not replaced by {target!r}; move it away first"
            )
        return layout

    def _current(self) -> int:
        layout = self._find()
        if layout is None:
            raise NotFoundError(
                f"{written_key(self._namespace)!r} is gone right after it was written; somebody "
                "else deleted it"
            )
        return version_of(layout)

    def _stage(self, snapshot: Snapshot, key: str) -> int:
        """Write the rows under a name of our own and return the size in bytes."""
        files = list(snapshot.files.values())
        if not snapshot.schema.fields:
            raise UnsupportedError(
                f"namespace {self._namespace!r} has no columns: that cannot be a Parquet file",
                feature="tables without columns",
            )
        if len(files) == 1 and not files[0].deletes and self._fits(files[0], snapshot.schema):
            self._store.copy_many([(files[0].path, key)])
            info = self._store.head(key)
            assert info is not None  # just written under a name of our own
            return info.size_bytes
        return write_parquet(self._store, key, self._rows(snapshot), snapshot.schema).size_bytes

    def _rows(self, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        for file in snapshot.files.values():
            spec = snapshot.specs[file.spec_id]
            yield from read_batches(self._store, file, snapshot.schema, spec)

    def _fits(self, file: DataFile, schema: Schema) -> bool:
        """Whether a file's own columns are exactly the table's, so that its bytes will do."""
        footer = read_footer(self._store, file.path)
        if footer.uses_int96 or not same_shape(footer.schema, schema):
            return False
        if schema.identity is Identity.BY_ID and not footer.has_field_ids:
            return False
        ids = ids_by_path(schema)
        return all(ids[path] == number for path, number in footer.carried_ids.items())

    def _entry(
        self, commit: Commit, completed_at_ms: int | None, staged: str, size_bytes: int
    ) -> OriginEntry | None:
        if commit.origin is None:
            return None
        tail = digest_tail(self._store, staged, size_bytes)
        return OriginEntry(commit.origin, completed_at_ms, size_bytes, tail, None)

    def _publish(self, staged: str, expect: int | None) -> bool:
        """Give the staged file its place. False if somebody else took it first."""
        store, target = self._store, written_key(self._namespace)
        if expect is not None:
            layout = self._find()
            if layout is None or version_of(layout) != expect:
                return False
            store.copy_many([(staged, target)])
            return True
        try:
            if isinstance(store, HardLinks) and store.link_many([(staged, target)]):
                return True
        except AlreadyExistsError:
            return False
        if store.head(target) is not None:
            return False
        store.copy_many([(staged, target)])
        return True
