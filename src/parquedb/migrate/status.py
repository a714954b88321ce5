"""What a storage holds: formats, versions, rows, and what the user should know of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parquedb.errors import ParqueDBError
from parquedb.migrate.relate import Continues, relation_of
from parquedb.model.format import Format
from parquedb.namespace.places import Places
from parquedb.namespace.tables import Detection, Namespace, discover_namespaces
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class NamespaceStatus:
    """What is known of a namespace.

    Args:
        detection: Its formats.
        versions: How many versions each format's table has.
        rows: Rows of the primary format's newest version, or None where unknown.
        notes: What the user should know: what is not carried yet, what is dangerous.
        error: Why some of this could not be read, or None.
    """

    detection: Detection
    versions: Mapping[Format, int]
    rows: int | None
    notes: tuple[str, ...]
    error: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        shape: dict[str, object] = {
            "formats": list(self.detection.formats),
            "primary": self.detection.primary,
            "versions": {format_.value: count for format_, count in self.versions.items()},
            "rows": self.rows,
            "journal": None,
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
    return StorageStatus({name: _status(Namespace(store, name, places)) for name in found})


def _status(namespace: Namespace) -> NamespaceStatus:
    formats = namespace.formats()
    if not formats:
        raise namespace.no_data()
    versions: dict[Format, int] = {}
    detection = Detection(formats, formats[0])
    try:
        for format_ in formats:
            versions[format_] = len(namespace.reader(format_).history())
        detection = namespace.detect()
        rows = None
        if detection.primary is not None:
            rows = namespace.reader(detection.primary).snapshot().rows
        notes = tuple(_notes(namespace, detection))
    except ParqueDBError as error:
        return NamespaceStatus(detection, versions, None, (), str(error))
    return NamespaceStatus(detection, versions, rows, notes)


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
