"""What a caller can choose about a migration, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import StrEnum

from parquedb.ambient import SYSTEM, Ambient
from parquedb.model.format import Format
from parquedb.namespace.places import DEFAULT_PLACES, Places
from parquedb.slotted import dataclass


class OnConflict(StrEnum):
    """What to do where the target holds other data."""

    ERROR = "error"
    FORCE = "force"
    MERGE = "merge"


class History(StrEnum):
    """How much of the source's history is carried."""

    FULL = "full"
    LATEST = "latest"


class Verify(StrEnum):
    """How source and target are compared after the transfer."""

    COUNT = "count"
    CONTENT = "content"
    NONE = "none"


class Files(StrEnum):
    """How data files come into the target."""

    AUTO = "auto"
    SHARE = "share"
    LINK = "link"
    COPY = "copy"
    REWRITE = "rewrite"


class Phase(StrEnum):
    """The steps of a migration, in the guide's words."""

    SCAN = "scan"
    TRANSFORM = "transform"
    WRITE = "write"
    VERIFY = "verify"
    CLEANUP = "cleanup"


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far a migration is.

    Args:
        namespace: Which one.
        phase: What is being done.
        entities_migrated: Rows of the newest version written so far.
        total_entities: Rows of the source's newest version, or None where unknown.
        versions_migrated: Versions written (in the phase verify: compared) so far.
        total_versions: Versions to write.
    """

    namespace: str
    phase: Phase
    entities_migrated: int
    total_entities: int | None
    versions_migrated: int
    total_versions: int


def _ignore(_: MigrationProgress) -> None:
    """Take no notice of progress."""


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """Everything that a caller can choose.

    Args:
        target: Format to migrate to.
        source: Format to migrate from; None to find out.
        places: Where the formats' tables are kept.
        batch_size: Versions written by one metadata commit.
        delete_source: Whether the source is deleted once the target is verified.
        dry_run: Only plan.
        on_conflict: What to do where the target holds other data.
        history: How much history is carried.
        verify: How the result is compared.
        allow_lossy: Whether things that have no equivalent may be lost.
        files: How data files come into the target.
        key: Column by which ``merge`` deduplicates; None for ``$id``.
        on_progress: Called as the migration goes on.
        ambient: Clock, identities, randomness.
        format_version: The format version of an Iceberg table that the migration makes; None for
            the usual one.
    """

    target: Format
    source: Format | None = None
    places: Places = DEFAULT_PLACES
    batch_size: int = 1000
    delete_source: bool = False
    dry_run: bool = False
    on_conflict: OnConflict = OnConflict.ERROR
    history: History = History.FULL
    verify: Verify = Verify.COUNT
    allow_lossy: bool = False
    files: Files = Files.AUTO
    key: str | None = None
    on_progress: Callable[[MigrationProgress], None] = field(default=_ignore)
    ambient: Ambient = SYSTEM
    format_version: int | None = None
