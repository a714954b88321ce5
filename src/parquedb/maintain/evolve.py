"""Change a table's columns by one commit.

Iceberg: metadata alone, and an empty snapshot, so that the change is a version. Delta: metadata
alone where names and types in the files stay right, else with the files written again, names in
their footers alone. Native: its one file is replaced. See docs/design/012-schema-evolution.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import ConflictError, StateError, UnsupportedError
from parquedb.formats.dialects import DIALECTS
from parquedb.formats.native.reader import NativeReader
from parquedb.log.change import AddFile, Change, RemoveFile, SetPartitioning, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed, LogReader
from parquedb.log.snapshot import Snapshot
from parquedb.maintain.evolve_files import Copies, Need, replace_native
from parquedb.maintain.evolve_rules import check_edits, check_table, check_types
from parquedb.model.edit import Edit, apply_edits
from parquedb.model.format import Format
from parquedb.model.schema import Schema
from parquedb.namespace.entry import Write
from parquedb.namespace.flush import flush_lock
from parquedb.namespace.journal import open_journal
from parquedb.namespace.tables import Namespace, has_journal, read_base
from parquedb.slotted import dataclass

_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Evolved:
    """What a change of columns did.

    Args:
        namespace: The namespace.
        format: The table's format.
        version: The version that the change is; the present one if nothing was to be done.
        columns: The names of the top-level columns now.
        changed: Whether anything was done.
        footer: How many data files were copied with other names in their footers.
        rewritten: How many data files were decoded and encoded again.
        bytes_written: Bytes of data and metadata written.
    """

    namespace: str
    format: Format
    version: int
    columns: tuple[str, ...]
    changed: bool = True
    footer: int = 0
    rewritten: int = 0
    bytes_written: int = 0


def evolve_table(
    space: Namespace, format_: Format, edits: Sequence[Edit], *, ambient: Ambient = SYSTEM
) -> Evolved:
    """Change the columns of a namespace's table by one commit, which is a version of its own.

    Older versions keep their columns. Where somebody else commits first, the change is made of
    what the table is then.

    Args:
        space: The namespace.
        format_: Which of its tables.
        edits: The changes, in order.
        ambient: Clock and identities.

    Returns:
        What was done; nothing if the columns are so already.

    Raises:
        NotFoundError: There is no such table.
        InvalidInputError: A change cannot be done to these columns.
        UnsupportedError: The table or its format cannot have the change.
        StateError: The collection is kept in another format.
        ConflictError: Others kept committing first.
        StorageError: The store failed; the table is as before, or as asked.
    """
    if not space.exists(format_):
        raise space.no_data(format_)
    with _lock(space, format_):
        copies = Copies(space, format_, ambient)
        for _ in range(_ATTEMPTS):
            space.refresh()
            done = _try(space, format_, edits, copies, ambient)
            if done is not None:
                return done
        copies.discard()
    raise ConflictError(
        f"the {format_.label} table of namespace {space.name!r} is being written by others all "
        "the time; try again"
    )


def _try(
    space: Namespace, format_: Format, edits: Sequence[Edit], copies: Copies, ambient: Ambient
) -> Evolved | None:
    """Make the change of the table as it is now; None where somebody else committed first."""
    journaled = has_journal(space.store, space.name)
    if journaled and (base := read_base(space.store, space.name)) is not format_:
        raise StateError(
            f"the collection {space.name!r} is kept in {base.label if base else 'no table'}, not "
            f"in {format_.label}; change its columns there"
        )
    reader = space.reader(format_)
    snapshot = reader.snapshot()
    before = snapshot.schema
    check_edits(space.name, format_, before, edits, journaled=journaled)
    after = apply_edits(before, edits)
    check_types(format_, reader.format_version, edits)
    if after == before:
        return Evolved(space.name, format_, reader.latest(), before.names, changed=False)
    check_table(space, format_, snapshot, after)
    if isinstance(reader, NativeReader):
        return _evolve_native(space, reader, snapshot, after, ambient)
    at_ms = _moment(space, reader, ambient) if journaled else ambient.now_ms()
    writer = DIALECTS[format_].open_writer(
        space.store, space.folder(format_), ambient, None, reader
    )
    changes: tuple[Change, ...] = (_set_schema(format_, before, after),)
    if format_ is Format.DELTA:
        try:
            changes = (*changes, *_moved(copies, snapshot, after))
        except Exception:
            copies.discard()
            raise
    moved = any(isinstance(change, AddFile) for change in changes)
    operation = Operation.REPLACE if moved else Operation.METADATA
    try:
        commit = Commit(0, at_ms, operation, changes)
        result = writer.append([commit], expect=reader.latest())
    except UnsupportedError:  # nothing was written; other errors leave that open: the copies stay
        copies.discard()
        raise
    if not isinstance(result, Committed):
        return None
    copies.discard(snapshot, after)
    return Evolved(
        space.name,
        format_,
        result.version,
        after.names,
        footer=copies.count(Need.FOOTER),
        rewritten=copies.count(Need.REWRITE),
        bytes_written=result.bytes_written + copies.bytes_written,
    )


def _set_schema(format_: Format, before: Schema, after: Schema) -> SetSchema:
    """Return the change of columns as a format's writer takes it."""
    if format_ is Format.DELTA:
        return SetSchema(after, instead_of=before, files_follow=True)
    # what columns are called in Iceberg's files without ids is for the writer to know
    return SetSchema(replace(after, aliases=()), instead_of=before)


def _moved(copies: Copies, snapshot: Snapshot, after: Schema) -> Iterator[Change]:
    """Yield what becomes of a Delta table's files."""
    renamed = {f.source_id for f in snapshot.spec.fields} & {
        new.id
        for new in after.fields
        for old in snapshot.schema.fields
        if old.id == new.id and old.name != new.name
    }
    if renamed:
        yield SetPartitioning(snapshot.spec)
    for old, new in copies.make(snapshot, after):
        yield RemoveFile(old)
        yield AddFile(new)


def _evolve_native(
    space: Namespace, reader: NativeReader, snapshot: Snapshot, after: Schema, ambient: Ambient
) -> Evolved | None:
    replaced = replace_native(space, reader, snapshot, after, ambient)
    if replaced is None:
        return None
    space.refresh()
    return Evolved(
        space.name,
        Format.NATIVE,
        space.reader(Format.NATIVE).latest(),
        after.names,
        footer=int(replaced.need is Need.FOOTER),
        rewritten=int(replaced.need is Need.REWRITE),
        bytes_written=replaced.bytes_written,
    )


@contextmanager
def _lock(space: Namespace, format_: Format) -> Iterator[None]:
    """Keep flushes and cutovers of a collection away; for native, other changes too."""
    native = format_ is Format.NATIVE
    held = (
        flush_lock(space.store, space.name)
        if native or has_journal(space.store, space.name)
        else nullcontext()
    )
    with held:
        yield


def _moment(space: Namespace, reader: LogReader, ambient: Ambient) -> int:
    """Return the time of the change: before the writes that the table does not hold yet.

    These get a version when they are flushed, with the time of the last of them. If the change
    came after it, ``as_of`` a time between would show the table without them.
    """
    with closing(open_journal(space.store, space.name, base=None)) as journal:
        entries = journal.read(journal.first() - 1)
        through = reader.through()
        included = journal.state().through
        if through is not None and through.journal == journal.id:
            included = max(included, through.entry)
    waiting = [
        entry.at_us // 1000 - 1
        for entry in entries
        if isinstance(entry.body, Write) and entry.number > included
    ]
    newest = reader.history()[-1].at_ms if waiting else 0
    return max(newest + 1, min([ambient.now_ms(), *waiting]))
