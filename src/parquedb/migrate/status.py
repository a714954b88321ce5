"""What a storage holds: formats, versions, rows, and what the user should know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing

from parquedb.errors import NotFoundError, ParqueDBError
from parquedb.migrate.relate import Continues, relation_of
from parquedb.model.format import Format
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import open_journal
from parquedb.namespace.places import Places
from parquedb.namespace.tables import Detection, Namespace, discover_namespaces, has_journal
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """What is known of the journal of a namespace that is written by document.

    Args:
        base: The format of the base.
        head: Number of its newest entry that wrote something.
        through: Number of the last entry that the base includes.
        size_bytes: Bytes of its segments.
    """

    base: Format | None
    head: int
    through: int
    size_bytes: int

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        return {
            "base": self.base,
            "head": self.head,
            "through": self.through,
            "bytes": self.size_bytes,
        }


@dataclass(frozen=True, slots=True)
class NamespaceStatus:
    """What is known of a namespace.

    Args:
        detection: Its formats.
        versions: How many versions each format's table has.
        rows: Rows of the primary format's newest version, or None where unknown.
        notes: What the user should know: what is not carried yet, what is dangerous.
        error: Why some of this could not be read, or None.
        journal: Its journal, None where it is not written by document.
    """

    detection: Detection
    versions: Mapping[Format, int]
    rows: int | None
    notes: tuple[str, ...]
    error: str | None = None
    journal: JournalStatus | None = None

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        shape: dict[str, object] = {
            "formats": list(self.detection.formats),
            "primary": self.detection.primary,
            "versions": {format_.value: count for format_, count in self.versions.items()},
            "rows": self.rows,
            "journal": None if self.journal is None else self.journal.to_json(),
            "notes": list(self.notes),
        }
        if self.error is not None:
            shape["error"] = self.error
        return shape


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """What is known of a storage.

    Args:
        namespaces: By name.
    """

    namespaces: Mapping[str, NamespaceStatus]

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        primaries = Counter(
            status.detection.primary.value
            for status in self.namespaces.values()
            if status.detection.primary is not None
        )
        return {
            "namespaces": {name: status.to_json() for name, status in self.namespaces.items()},
            "summary": dict(primaries),
        }


def read_status(store: Store, names: Sequence[str] | None, places: Places) -> StorageStatus:
    """Read what a storage holds.

    Args:
        store: The storage.
        names: The namespaces; None for all there are.
        places: Where the formats' tables are kept.

    Raises:
        NotFoundError: A named namespace has no data.
    """
    found = discover_namespaces(store, places) if names is None else tuple(names)
    named = names is not None
    return StorageStatus(
        {name: _status(Namespace(store, name, places), named=named) for name in found}
    )


def _status(namespace: Namespace, *, named: bool) -> NamespaceStatus:
    versions: dict[Format, int] = {}
    detection = Detection((), None)
    journal = rows = None
    try:
        formats = namespace.formats()
        detection = Detection(formats, formats[0] if formats else None)
        journal = _journal(namespace)
        if not formats and journal is None:
            raise namespace.no_data()
        for format_ in formats:
            versions[format_] = len(namespace.reader(format_).history())
        detection = namespace.detect()
        if detection.primary is not None:
            rows = namespace.reader(detection.primary).snapshot().rows
        notes = tuple(_notes(namespace, detection))
        if journal is not None and journal.head > journal.through:
            notes += ("the journal holds writes that no table has yet: run parquedb flush",)
    except ParqueDBError as error:
        if named and isinstance(error, NotFoundError):
            raise
        return NamespaceStatus(detection, versions, None, (), str(error), journal)
    return NamespaceStatus(detection, versions, rows, notes, None, journal)


def _journal(namespace: Namespace) -> JournalStatus | None:
    if not has_journal(namespace.store, namespace.name):
        return None
    with closing(open_journal(namespace.store, namespace.name, base=None)) as journal:
        entries = journal.read(journal.first() - 1)
        base, through = journal.state().base, journal.state().through
        if base is not None and namespace.exists(base):
            mark = namespace.reader(base).through()
            if mark is not None and mark.journal == journal.id:
                through = max(through, mark.entry)
        waiting = [e.number for e in entries if isinstance(e.body, Write) and e.number > through]
        head = max(waiting, default=through)
        return JournalStatus(base, head, through, journal.size_bytes())


def _notes(namespace: Namespace, detection: Detection) -> list[str]:
    notes = []
    for target in detection.formats:
        for source in detection.formats:
            if source is target:
                continue
            lineage = namespace.reader(target).lineage()
            if lineage is None or lineage.origin.format is not source:
                continue
            relation = relation_of(namespace.reader(source), namespace.reader(target))
            if not isinstance(relation, Continues):
                continue
            if relation.target_moved and lineage.undone is not None:
                notes.append(
                    f"{target.label} was moved back since it was migrated from {source.label}: run "
                    f"migrate-backend --from {target} --to {source} to carry that over"
                )
                continue
            latest = namespace.reader(source).latest()
            if relation.target_moved:
                notes.append(
                    f"{target.label} was written to since it was migrated from {source.label}"
                )
            if latest != relation.source_version:
                notes.append(
                    f"{source.label} has moved on since it was migrated to {target.label}: run "
                    f"migrate-backend --from {source} --to {target} to carry over what is new"
                )
            if not relation.completed:
                notes.append(
                    f"the migration from {source.label} to {target.label} is not complete: run it "
                    "again"
                )
    tables = [f for f in detection.formats if f is not Format.NATIVE]
    if len({namespace.folder(format_) for format_ in tables}) < len(tables):
        notes.append(
            "Iceberg and Delta live in one folder: do not run orphan removal or a full vacuum of "
            "one without the other in mind; cleanup-backend removes the one you no longer need"
        )
    return notes
