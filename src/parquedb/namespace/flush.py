"""Flush: one commit that moves the tail into the base.

The commit carries the number of the last entry that it includes, so base and mark change at once;
whatever dies on the way leaves the old base with the whole tail, or the new base with the rest.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from weakref import WeakValueDictionary

import pyarrow as pa

from parquedb.errors import (
    ConflictError,
    ParqueDBError,
    StateError,
    StorageError,
    UnsupportedError,
)
from parquedb.formats.dialects import DIALECTS, check_format_version
from parquedb.formats.native.marks import encode_through
from parquedb.formats.native.paths import staged_key, written_key
from parquedb.log.change import AddFile, Change, RemoveFile, SetPartitioning, SetSchema
from parquedb.log.commit import Commit, Operation, Through
from parquedb.log.ports import Conflict
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import UNPARTITIONED
from parquedb.model.schema import Schema
from parquedb.namespace.base import Base, token_of
from parquedb.namespace.entry import Flush
from parquedb.namespace.layout import Piece, plan_pieces
from parquedb.namespace.live import LiveNamespace
from parquedb.namespace.runs import merge_rows
from parquedb.parquet.write import Arrangement, write_parquet
from parquedb.query.view import Source, StaleError, View
from parquedb.rows.columns import evolve, find_variant
from parquedb.slotted import dataclass
from parquedb.storage.store import Appends, Renames, Store, StoreLock

GROUP_ROWS = 65_536
FILE_ROWS = 2_000_000
"""Rows of a file of a table format, about; native is always one file."""
_LARGE_BYTES = 64 << 20
_SMALL_PART = 100
_ATTEMPTS = 20
_LOCKS: WeakValueDictionary[tuple[str, str], threading.RLock] = WeakValueDictionary()
_STORE_LOCKS: WeakValueDictionary[tuple[str, str], StoreLock] = WeakValueDictionary()
"""Those in use: each keeps a file open."""
_LOCKS_GUARD = threading.Lock()


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush did.

    Args:
        format: The base's format.
        version: The version that it made.
        through: The last entry of the journal that is included now.
        rows: Rows of the files that were written.
        files: How many files were written.
        bytes_written: Their bytes.
    """

    format: Format
    version: int
    through: int
    rows: int
    files: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class _Task:
    """A consistent state to be flushed."""

    base: Base
    view: View
    staged: tuple[Source, ...]
    through: int
    at_ms: int
    schema: Schema
    mark: object


def flush(space: LiveNamespace, *, rewrite: bool = False) -> Flushed | None:
    """Move the tail into the base by one commit. Other writers go on meanwhile.

    Args:
        space: The namespace.
        rewrite: Write all files anew even where nothing changed (compaction).

    Returns:
        What was done, None if there was nothing to do.

    Raises:
        ConflictError: The base was changed by others all the time.
        UnsupportedError: The base is partitioned or holds no documents.
        StorageError: The store failed; nothing is lost.
    """
    now = space.now()
    if not now.entries and not rewrite:
        return None  # a mere reader leaves nothing behind, not even a lock
    space.journal.check_place()  # nor does who was left behind by its folder
    with flush_lock(space.store, space.name):
        space.journal.check_place()  # else the base would be ahead of the journal that is there
        stale: StaleError | None = None
        for _ in range(_ATTEMPTS):
            task = _task(space, rewrite=rewrite)
            if task is None:
                space.journal.collect(space.floor)
                return None
            space.journal.sync()  # a base must not be ahead of its journal after a power failure
            try:
                done = _write(space, task, rewrite=rewrite)
                stale = None
            except StaleError as error:
                done, stale = None, error
            space.invalidate()
            if done is not None:
                if space.journal.id is not None:
                    space.note(Flush(done.through, done.format, done.version, _identity(space)))
                    _collect(space, task)
                return done
    if stale is not None:
        raise space.unreadable(stale) from stale
    raise ConflictError(
        f"the base of namespace {space.name!r} is being changed by others all the time; flush again"
    )


def flush_at_close(space: LiveNamespace) -> Flushed | None:
    """Flush unless the tail is small beside a large table, or the table cannot take it.

    The journal keeps it as safe.
    """
    try:
        if find_obstacle(space, space.base) is not None:
            return None
        large = sum(source.file.size_bytes for source in space.base.sources)
        tail = space.journal.size_bytes() + sum(s.staged.size_bytes for s in space.tail.staged)
        if large >= _LARGE_BYTES and tail * _SMALL_PART <= large:
            return None
        return flush(space)
    except (StorageError, StateError):
        if space.has_written:
            raise
        return None  # who only read, perhaps may not write; what waits there is not theirs


def flush_lock(store: Store, name: str) -> AbstractContextManager[object]:
    """Return the lock that keeps flushes and cutovers of a namespace apart.

    It works between processes where the store has such locks, else within this process. A thread
    that holds it may take it again.
    """
    key = (store.root, name)
    with _LOCKS_GUARD:
        if not isinstance(store, Appends):
            return _LOCKS.setdefault(key, threading.RLock())
        lock = _STORE_LOCKS.get(key)
        if lock is None:
            lock = _STORE_LOCKS[key] = store.lock(f"_parquedb/{name}/flush")
    lock.doubt()
    return lock


def _task(space: LiveNamespace, *, rewrite: bool) -> _Task | None:
    now = space.now()
    base, view = now.base, now.view
    if not now.entries and not (rewrite and base.version is not None):
        return None
    if (obstacle := find_obstacle(space, base)) is not None:
        raise obstacle
    at_ms = base.at_ms if now.last_at_us is None else now.last_at_us // 1000
    newer = [document for document in view.overlay.values() if document is not None]
    known = view.schema if view.schema.fields else None
    schema = evolve(known, newer, space.options.declared)
    return _Task(base, view, now.staged, now.head, at_ms, schema, now.mark)


def find_obstacle(space: LiveNamespace, base: Base) -> ParqueDBError | None:
    """Return why a table cannot take what is in the journal, which stays there then.

    Args:
        space: The namespace.
        base: Its table.
    """
    if any(source.spec.fields for source in base.sources):
        return UnsupportedError(
            f"the {base.format.label} table of namespace {space.name!r} is partitioned, and "
            "documents are kept in unpartitioned tables; its writes stay in the journal until it "
            "is rewritten without partitions"
        )
    if (variant := find_variant(base.schema)) is not None:
        return UnsupportedError(
            f"the {base.format.label} table of namespace {space.name!r} has a column {variant!r} "
            "of the type variant, which documents cannot hold; its writes stay in the journal "
            "until the column is dropped",
            feature="variant",
        )
    target = written_key(space.name)
    odd = [path for path in base.paths if path != target]
    if base.format is Format.NATIVE and odd:
        return StateError(
            f"namespace {space.name!r} has native data at {odd[0]!r}, which is not replaced; its "
            f"writes stay in the journal: move it to {target!r} if it shall be written, or migrate "
            "it to Iceberg or Delta"
        )
    return None


def _write(space: LiveNamespace, task: _Task, *, rewrite: bool) -> Flushed | None:
    """Write and commit a task; None where the base was changed meanwhile."""
    if task.base.format is Format.NATIVE:
        return _write_native(space, task)
    return _write_table(space, task, rewrite=rewrite)


def _write_native(space: LiveNamespace, task: _Task) -> Flushed | None:
    store, target = space.store, written_key(space.name)
    staged = staged_key(space.name, f"flush-{space.ambient.new_uuid().hex}")
    through = _through(space, task)
    sources = [_reread(source, task.schema) for source in task.view.sources]
    rows = merge_rows(space.blocks, sources, task.view.overlay, task.schema)
    try:
        file = write_parquet(
            store,
            staged,
            rows,
            task.schema,
            metadata={} if through is None else encode_through(through),
            arrangement=_arrangement(space),
        )
        if space.tables.mark(Format.NATIVE) != task.mark:
            return None
        if isinstance(store, Renames):
            store.rename(staged, target)
        else:
            store.copy_many([(staged, target)])
    finally:
        store.delete(staged)
    space.tables.refresh()
    version = space.tables.reader(Format.NATIVE).latest()
    return _flushed(task, version, [file])


def _write_table(space: LiveNamespace, task: _Task, *, rewrite: bool) -> Flushed | None:
    base = task.base
    folder = space.tables.folder(base.format)
    before = None if base.version is None else space.tables.reader(base.format)
    writer = DIALECTS[base.format].open_writer(
        space.store, folder, space.ambient, _version_of_new(space, base), before
    )
    schema = writer.adopt(task.schema, UNPARTITIONED, expect=base.version)
    pieces, kept = plan_pieces(space.blocks, base.sources, task.staged, task.view.overlay, rewrite)
    written: list[DataFile] = []
    try:
        for piece in pieces:
            for file in _write_piece(space, piece, schema, f"{folder}/{_data_folder(space, base)}"):
                written.append(file)  # noqa: PERF402  (the first ones count if a later one fails)
    except BaseException:
        _discard(space, written)
        raise
    operation = Operation.OVERWRITE if len(kept) < len(base.sources) else Operation.APPEND
    if rewrite and not len(task.view.overlay) and not task.staged:
        operation = Operation.REPLACE
    commit = Commit(
        0,
        max(task.at_ms, base.at_ms),
        operation,
        _changes(base, schema, kept, written),
        through=_through(space, task),
    )
    # whatever is raised here leaves open whether the files are referred to: they stay
    result = writer.append([commit], expect=base.version)
    if isinstance(result, Conflict):
        _discard(space, written)
        return None
    return _flushed(task, result.version, written)


def _version_of_new(space: LiveNamespace, base: Base) -> int | None:
    """Return of which version of its format a table is made: as asked now, else as recorded.

    Raises:
        InvalidInputError: This program does not know what was recorded.
    """
    version = space.options.format_version or space.journal.state().format_version
    if base.version is None and version is not None and DIALECTS[base.format].versions:
        check_format_version(base.format, version)
    return version


def _changes(
    base: Base, schema: Schema, kept: Sequence[Source], written: Sequence[DataFile]
) -> tuple[Change, ...]:
    staying = {source.file.path for source in kept}
    gone = [source.file for source in base.sources if source.file.path not in staying]
    return (
        SetSchema(schema),
        SetPartitioning(UNPARTITIONED),
        *(RemoveFile(file) for file in gone),
        *(AddFile(file) for file in written),
    )


def _write_piece(
    space: LiveNamespace, piece: Piece, schema: Schema, folder: str
) -> Iterator[DataFile]:
    """Write the rows of some files and documents as new files of about ``FILE_ROWS`` rows."""
    sources = [_reread(source, schema) for source in piece.sources]
    batches = merge_rows(space.blocks, sources, piece.overlay, schema)
    for first in batches:
        if not first.num_rows:
            continue
        key = f"{folder}/{space.ambient.new_uuid()}.parquet"
        part = _until_full(itertools.chain([first], batches))
        yield write_parquet(space.store, key, part, schema, arrangement=_arrangement(space))


def _until_full(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        if rows >= FILE_ROWS:
            return


def _discard(space: LiveNamespace, written: Sequence[DataFile]) -> None:
    """Delete files that no commit refers to."""
    for file in written:
        space.store.delete(file.path)


def _identity(space: LiveNamespace) -> str | None:
    """Return what tells the base's table from one that another program makes in its place."""
    base = space.base
    return None if base.format is Format.NATIVE else base.table


def _collect(space: LiveNamespace, task: _Task) -> None:
    """Delete what only the entries that are in the base now needed."""
    space.journal.collect(task.through)
    for source in task.staged:
        space.store.delete(source.file.path)


def _reread(source: Source, schema: Schema) -> Source:
    """Return a source to be read with other columns of the same names."""
    known = source.schema
    own = replace(schema, identity=known.identity, aliases=known.aliases, file_ids=known.file_ids)
    return Source(source.file, own, source.spec, token_of(source.file, own))


def _arrangement(space: LiveNamespace) -> Arrangement:
    return Arrangement(GROUP_ROWS, "$id", ("$id", *space.options.indexed))


def _data_folder(space: LiveNamespace, base: Base) -> str:
    """Return where new files lie below the table's folder (see ``migrate.execute``)."""
    folder = space.tables.folder(base.format)
    shared = any(
        space.tables.folder(other) == folder and space.tables.exists(other)
        for other in Format
        if other is not base.format and other is not Format.NATIVE
    )
    return f"_{base.format.value}_data" if shared else "data"


def _through(space: LiveNamespace, task: _Task) -> Through | None:
    """Return how much of the journal a task includes, None where there is no journal."""
    return None if space.journal.id is None else Through(space.journal.id, task.through)


def _flushed(task: _Task, version: int, written: Sequence[DataFile]) -> Flushed:
    return Flushed(
        task.base.format,
        version,
        task.through,
        sum(file.rows or 0 for file in written),
        len(written),
        sum(file.size_bytes for file in written),
    )
