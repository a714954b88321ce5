"""What a migration did, or would do, as values that print as the documented JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from parquedb.errors import ParqueDBError
from parquedb.model.format import Format
from parquedb.slotted import dataclass


class Means(StrEnum):
    """How a data file comes into the target, cheapest first."""

    SHARED = "shared"
    LINKED = "linked"
    COPIED = "copied"
    FOOTER = "footer"
    REWRITTEN = "rewritten"


class Action(StrEnum):
    """What became of a namespace."""

    MIGRATED = "migrated"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """What a merge found, in rows.

    Args:
        only_in_target: Keys that only the target has.
        only_in_source: Keys that only the source has.
        source_newer: Keys on both sides whose row comes from the source.
        target_newer: Keys on both sides whose row stays the target's.
        equal: Keys on both sides with equal rows.
    """

    only_in_target: int
    only_in_source: int
    source_newer: int
    target_newer: int
    equal: int


@dataclass(frozen=True, slots=True)
class NamespaceReport:
    """What a migration did, or would do, with one namespace.

    Args:
        source: Format migrated from; None where there was none to choose.
        target: Format migrated to.
        action: What became of it.
        reason: Why, in one sentence.
        versions: Versions carried.
        rows: Rows of the newest version, or None where the metadata does not say.
        files: Data files by how they came into the target.
        bytes_written: Bytes of new data and metadata; for a dry run the data only.
        bytes_referenced: Bytes of data files that were shared or linked, not written.
        verified: What was compared, or None.
        lost: What was, or would be, lost; one line each.
        warnings: What the caller should know besides.
        merge: What a merge found.
        error: The error behind ``refused`` and ``failed``.
    """

    source: Format | None
    target: Format
    action: Action
    reason: str
    versions: int = 0
    rows: int | None = None
    files: Mapping[Means, int] = field(default_factory=dict)
    bytes_written: int = 0
    bytes_referenced: int = 0
    verified: str | None = None
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    merge: MergeCounts | None = None
    error: ParqueDBError | None = None

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        shape: dict[str, object] = {
            "from": self.source,
            "to": self.target,
            "action": self.action,
            "reason": self.reason,
            "versions": self.versions,
            "rows": self.rows,
            "files": {means.value: self.files.get(means, 0) for means in Means},
            "bytes_written": self.bytes_written,
            "bytes_referenced": self.bytes_referenced,
            "verified": self.verified,
            "lost": list(self.lost),
            "warnings": list(self.warnings),
        }
        if self.merge is not None:
            shape["merge"] = {name: getattr(self.merge, name) for name in self.merge.__slots__}
        return shape


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a migration did, or would do.

    Args:
        namespaces: By namespace.
        duration_ms: Wall time.
        dry_run: Whether nothing was to be done.
    """

    namespaces: Mapping[str, NamespaceReport]
    duration_ms: int
    dry_run: bool = False

    @property
    def success(self) -> bool:
        """Whether every namespace was migrated or needed nothing."""
        return all(
            report.action in (Action.MIGRATED, Action.SKIPPED)
            for report in self.namespaces.values()
        )

    def raise_for_errors(self) -> None:
        """Raise the first namespace's error, if there is any."""
        for report in self.namespaces.values():
            if report.error is not None:
                raise report.error

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        shape: dict[str, object] = {
            "success": self.success,
            "namespaces": {name: report.to_json() for name, report in self.namespaces.items()},
            "duration_ms": self.duration_ms,
        }
        if self.dry_run:
            shape["dry_run"] = True
        return shape


def counted(number: int, thing: str) -> str:
    """Return a number of things as a sentence says it: ``1 version``, ``2 versions``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
