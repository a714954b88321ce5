"""Make a migration's target the base of a namespace that is written by document.

The journal's entry ``cutover`` does it (docs/spec/journal.md): what it holds beyond the source's
own mark flows into the target from then on. It is written while flushes are held off, and only if
the target holds the source's newest version; else the migration catches up first.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from parquedb.errors import ConflictError
from parquedb.log.commit import MERGED, Origin
from parquedb.log.ports import LogReader
from parquedb.migrate.options import MigrationOptions
from parquedb.migrate.relate import Continues, relation_of
from parquedb.model.format import Format
from parquedb.namespace.entry import Cutover
from parquedb.namespace.flush import find_obstacle, flush, flush_lock
from parquedb.namespace.journal import Committed, Journal, open_journal
from parquedb.namespace.live import LiveNamespace
from parquedb.namespace.options import LiveOptions
from parquedb.namespace.tables import Namespace, has_journal
from parquedb.query.blocks import Blocks
from parquedb.query.duck import Duck

_ATTEMPTS = 100
_LOOKED_AT_FOR = 10
"""So many attempts are made with what the tables were seen to hold."""


class SourceMovedError(ConflictError):
    """The source got another version before its target could become the base. Catch up."""


def flush_tail(namespace: Namespace, options: MigrationOptions) -> None:
    """Move what the journal holds into the base, so that the migration carries it.

    What the base cannot take stays in the journal, and goes into the target later.

    Raises:
        StorageError: The store failed; nothing is lost.
    """
    if not has_journal(namespace.store, namespace.name):
        return
    blocks, duck = Blocks(namespace.store), Duck()
    space = LiveNamespace(
        namespace.store,
        namespace.name,
        namespace.places,
        blocks,
        duck,
        LiveOptions(),
        ambient=options.ambient,
    )
    try:
        if find_obstacle(space, space.base) is None:
            flush(space)
    finally:
        space.close()
        blocks.close()
        duck.close()
    namespace.refresh()


def journal_base(namespace: Namespace) -> Format | None:
    """Return the base that a namespace's journal records, None without a journal."""
    if not has_journal(namespace.store, namespace.name):
        return None
    with closing(open_journal(namespace.store, namespace.name, base=None)) as journal:
        return journal.state().base


def cut_over(namespace: Namespace, source: Format, options: MigrationOptions) -> None:
    """Make the target the base, if the source is; a namespace without a journal is left as it is.

    Args:
        namespace: The namespace.
        source: The format that was migrated from.
        options: What the caller chose.

    Raises:
        SourceMovedError: The target does not hold the source's newest version.
        CommitUnknownError: It is not known whether it was done.
    """
    store = namespace.store
    if not has_journal(store, namespace.name):
        return
    with (
        flush_lock(store, namespace.name),
        closing(
            open_journal(store, namespace.name, base=source, ambient=options.ambient)
        ) as journal,
    ):
        if journal.exclusively(lambda: _append(journal, namespace, source, options)):
            journal.sync()


def _append(
    journal: Journal, namespace: Namespace, source: Format, options: MigrationOptions
) -> bool:
    """Write the entry; False where the source is the base no more.

    The tables are looked at anew only now and then: whoever writes meanwhile comes first, and one
    that never rests would always. In between only the entries that are new are read.
    """
    after, last_us = journal.first() - 1, 0
    body, through = None, 0
    for attempt in range(_ATTEMPTS):
        last_us = max((last_us, *(entry.at_us for entry in journal.read(after))))
        after, state = journal.head(), journal.state()
        if state.base is not source:
            return False
        if body is None or state.through != through or attempt % _LOOKED_AT_FOR == 0:
            through = state.through
            body = _body(namespace, source, options.target, journal.id, through)
        at_us = max(options.ambient.now_us(), last_us + 1)
        if isinstance(journal.append(body, expect=after, at_us=at_us), Committed):
            return True
    raise ConflictError(
        f"namespace {namespace.name!r} is being written by others all the time; the target "
        "is complete: run the same command again to make it the base"
    )


def _body(
    namespace: Namespace, source: Format, target: Format, journal: str | None, through: int
) -> Cutover:
    namespace.refresh()
    reader, there = namespace.reader(source), namespace.reader(target)
    _check_target(namespace, reader, there)
    mark = reader.through()
    if mark is not None and mark.journal == journal:
        through = max(through, mark.entry)
    return Cutover(target, reader.latest(), there.latest(), through)


def _check_target(namespace: Namespace, source: LogReader, target: LogReader) -> None:
    """Make sure that the target is the source's newest version, or that and merged rows.

    Raises:
        SourceMovedError: The target lacks a version.
        ConflictError: Others changed the target: their rows would take the place of the source's.
    """
    lineage = target.lineage()
    if lineage is not None and not lineage.foreign and lineage.undone is None:
        origin = replace(lineage.origin, table_id=lineage.origin.table_id.removesuffix(MERGED))
        if origin == Origin(source.format, source.table_id, source.latest()):
            return
    relation = relation_of(source, target)  # a target that was the source once has no other origin
    if not isinstance(relation, Continues) or relation.source_version != source.latest():
        raise SourceMovedError(
            f"{source.format.label} of namespace {namespace.name!r} got a new version while it was "
            "migrated; run the same command again to carry it over"
        )
    if relation.target_moved:
        raise ConflictError(
            f"Conflict with existing data: the {target.format.label} table of namespace "
            f"{namespace.name!r} was written to by others, or moved back, since it got version "
            f"{source.latest()} of {source.format.label}, so that it was not made the base; use "
            "--force to replace its rows by a new version, or --merge to combine both by $id"
        )
