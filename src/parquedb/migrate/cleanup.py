"""Delete a format's table once another format holds everything that it holds.

A file is deleted only if the format's own metadata, read completely, names it, no other format of
the namespace refers to it, and it lies below the namespace's own folders. What is to be deleted
is recorded first, so that a clean-up that was cut short is finished by the next one.
"""

from __future__ import annotations

import re

import orjson

from parquedb.errors import FormatError, LossyError, StateError
from parquedb.formats.native.paths import beside_key
from parquedb.log.pairs import common_versions
from parquedb.log.ports import LogReader
from parquedb.migrate.cutover import journal_base
from parquedb.migrate.relate import Continues, relation_of
from parquedb.migrate.report import counted
from parquedb.model.format import Format
from parquedb.namespace.tables import Namespace
from parquedb.slotted import dataclass

_METADATA = re.compile(r"/(_delta_log|metadata)/|^_parquedb/")


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What a clean-up deletes.

    Args:
        namespace: The namespace.
        format: The format whose table goes.
        keys: The files, metadata first, each with the etag it had when the plan was made.
        kept: How many of its files stay because another format refers to them.
        covered_by: The format that holds everything.
    """

    namespace: str
    format: Format
    keys: tuple[tuple[str, str], ...]
    kept: int
    covered_by: Format


def plan_cleanup(
    namespace: Namespace, format_: Format, *, allow_lossy: bool = False
) -> CleanupPlan:
    """Decide what a clean-up deletes. Reads the metadata of every format of the namespace.

    Raises:
        NotFoundError: The namespace has no table of this format.
        StateError: No other format holds the newest rows that it holds.
        LossyError: Another format holds them, but older versions or branches would be lost.
        FormatError: Some format's metadata cannot be read, so that nothing can be deleted safely.
    """
    record = namespace.cleanup_record(format_)
    if namespace.store.head(record) is not None:
        return _recorded(namespace, format_, record)
    if journal_base(namespace) is format_:
        raise StateError(
            f"{namespace.name!r} is kept as {format_.label}: its documents are written there. Run "
            "migrate-backend first; nothing was deleted"
        )
    reader = namespace.reader(format_)
    own = reader.referenced()
    others = {f: namespace.reader(f) for f in namespace.formats() if f is not format_}
    found = {f: _gaps(other, reader, namespace) for f, other in others.items()}
    covering = min(
        (f for f, gaps in found.items() if gaps is not None),
        key=lambda f: len(found[f] or ()),
        default=None,
    )
    if covering is None:
        raise StateError(
            f"{namespace.name!r}: no other format holds everything that {format_.label} holds at "
            f"version {reader.latest()}, with all files whole; run migrate-backend first, or see "
            f"what 'parquedb check {namespace.name}' finds; nothing was deleted"
        )
    if (gaps := found[covering]) and not allow_lossy:
        raise LossyError(
            f"{namespace.name!r}: {covering.label} holds the newest rows, but deleting "
            f"{format_.label} loses {'; '.join(gaps)}. Pass --allow-lossy (allow_lossy=True) to "
            "accept that; nothing was deleted",
            lost=gaps,
        )
    shared = frozenset[str]().union(*(other.referenced() for other in others.values()))
    folders = tuple(f"{folder}/" for folder in _own_folders(namespace, format_))
    single = f"{namespace.name}.parquet"
    deletable = [key for key in own - shared if key.startswith(folders) or (key == single)]
    deletable.sort(key=lambda key: (_METADATA.search(key) is None, key))
    kept = len(own) - len(deletable)
    if format_ is Format.NATIVE:
        deletable.append(beside_key(namespace.name))
    heads = [(key, namespace.store.head(key)) for key in deletable]
    keys = tuple((key, info.etag) for key, info in heads if info is not None)
    return CleanupPlan(namespace.name, format_, keys, kept, covering)


def clean_up(namespace: Namespace, plan: CleanupPlan) -> None:
    """Delete what a plan says. Idempotent; a run that is cut short is finished by the next.

    A file that was overwritten since the plan was made is somebody's new data and stays.
    """
    record = namespace.cleanup_record(plan.format)
    content = {"keys": plan.keys, "kept": plan.kept, "covered_by": plan.covered_by}
    namespace.store.replace(record, orjson.dumps(content))
    for key, etag in plan.keys:
        info = namespace.store.head(key)
        if info is not None and info.etag == etag:
            namespace.store.delete(key)
    namespace.store.delete(record)
    namespace.refresh()


def finish_cleanup(namespace: Namespace) -> None:
    """Finish every clean-up of a namespace that was cut short, so that its keys are free again."""
    for format_ in Format:
        record = namespace.cleanup_record(format_)
        if namespace.store.head(record) is not None:
            clean_up(namespace, _recorded(namespace, format_, record))


def _gaps(other: LogReader, reader: LogReader, namespace: Namespace) -> list[str] | None:
    """Say what ``other`` lacks of what ``reader`` holds.

    Returns:
        One line for each kind of thing that would be lost; None if ``other`` does not even hold
        the newest rows of ``reader``, or its files are not all there.
    """
    pairs = common_versions(reader, other)
    held = {
        ours.version
        for ours, theirs in pairs
        if ours.rows is None or theirs.rows is None or ours.rows == theirs.rows
    }
    relation = relation_of(reader, other)
    # a table that was moved back holds rows that the other one had before, and has no more
    if not isinstance(relation, Continues) or relation.source_version != reader.latest():
        return None
    if not pairs or reader.latest() not in held:
        return None
    lineage = other.lineage()
    if lineage is not None and lineage.completed_at_ms is None:
        return None
    live = other.snapshot().files
    for key in other.referenced():
        info = None if _METADATA.search(key) else namespace.store.head(key)
        whole = info is not None and (key not in live or live[key].size_bytes == info.size_bytes)
        if not whole and not _METADATA.search(key):
            return None  # gone or cut short
    kept = {name for names in other.tags().values() for name in names}
    tags = (name for names in reader.tags().values() for name in names)
    gaps = [*reader.unshown(), *(f"the tag {name!r}" for name in tags if name not in kept)]
    lacking = [version.version for version in reader.history() if version.version not in held]
    if lacking:
        gaps.append(f"{counted(len(lacking), 'version')}, from {lacking[0]} to {lacking[-1]}")
    return gaps


def _own_folders(namespace: Namespace, format_: Format) -> tuple[str, ...]:
    folder = namespace.folder(format_)
    if format_ is Format.NATIVE:
        return (f"data/{namespace.name}", namespace.name, f"_parquedb/{namespace.name}")
    return (folder,)


def _recorded(namespace: Namespace, format_: Format, record: str) -> CleanupPlan:
    try:
        content = orjson.loads(namespace.store.get(record))
        return CleanupPlan(
            namespace.name,
            format_,
            tuple((str(key), str(etag)) for key, etag in content["keys"]),
            int(content["kept"]),
            Format(content["covered_by"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{record!r}, the record of a clean-up that was cut short, cannot be read ({error}); "
            "nothing was deleted: delete the record and run cleanup-backend again",
            location=record,
        ) from error
