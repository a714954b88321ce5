"""The functions of the migration guide: detect, migrate, clean up, and open a backend.

Everything here takes a storage URI, a local path or a store, and plain strings for formats.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from parquedb.ambient import SYSTEM, Ambient
from parquedb.backends.tables import Backend
from parquedb.errors import InvalidInputError, StateError, did_you_mean
from parquedb.formats.dialects import check_format_version
from parquedb.log.ports import Version
from parquedb.maintain.check import check_namespaces
from parquedb.maintain.check_report import Checked, CheckProgress, CheckReport, Finding, Orphan
from parquedb.maintain.evolve import Evolved
from parquedb.migrate.cleanup import CleanupPlan, clean_up, plan_cleanup
from parquedb.migrate.options import (
    Files,
    History,
    MigrationOptions,
    MigrationProgress,
    OnConflict,
    Phase,
    Verify,
)
from parquedb.migrate.report import MigrationReport, NamespaceReport
from parquedb.migrate.run import run_migration
from parquedb.migrate.status import NamespaceStatus, StorageStatus, read_status
from parquedb.migrate.verify import compare_tables
from parquedb.model.format import Format
from parquedb.namespace.places import Places, check_namespace
from parquedb.namespace.tables import Detection, Namespace
from parquedb.namespace.tables import discover_namespaces as _discover
from parquedb.storage.open import open_store
from parquedb.storage.store import Store

__all__ = [
    "Backend",
    "CheckProgress",
    "CheckReport",
    "Checked",
    "CleanupPlan",
    "Detection",
    "Evolved",
    "Finding",
    "Format",
    "MigrationProgress",
    "MigrationReport",
    "NamespaceReport",
    "NamespaceStatus",
    "Orphan",
    "Phase",
    "StorageStatus",
    "Version",
    "backend_status",
    "check_backend",
    "cleanup_backend",
    "create_backend",
    "create_backend_with_migration",
    "detect_existing_format",
    "discover_namespaces",
    "migrate_backend",
    "verify_backend",
]

Storage = str | os.PathLike[str] | Store
"""A storage: a URI, a local path, or a store."""

_Choice = TypeVar("_Choice", bound=StrEnum)


def detect_existing_format(
    storage: Storage, namespace: str, *, warehouse: str = "", location: str = ""
) -> Detection:
    """Detect which formats exist for a namespace.

    Args:
        storage: The storage.
        namespace: The namespace.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.

    Returns:
        ``.formats``, all that were found, and ``.primary``, the one to read from: the target of
        the newest completed migration, else Iceberg, Delta, native in this order, and the target
        of a migration that is not complete after its source, else None.

    Raises:
        InvalidInputError: The name cannot be a namespace's.
        FormatError: A table's metadata cannot be read.
    """
    return Namespace(open_store(storage), namespace, Places(warehouse, location)).detect()


def discover_namespaces(
    storage: Storage, *, warehouse: str = "", location: str = ""
) -> tuple[str, ...]:
    """Find all namespaces in a storage, at any depth, sorted by name.

    Args:
        storage: The storage.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
    """
    return _discover(open_store(storage), Places(warehouse, location))


def migrate_backend(
    *,
    storage: Storage,
    to: str,
    from_: str = "auto",
    namespaces: Sequence[str] | str = "*",
    warehouse: str = "",
    location: str = "",
    batch_size: int = 1000,
    delete_source: bool = False,
    dry_run: bool = False,
    on_conflict: str = "error",
    history: str = "full",
    verify: str = "count",
    allow_lossy: bool = False,
    files: str = "auto",
    key: str | None = None,
    format_version: int | None = None,
    on_progress: Callable[[MigrationProgress], None] | None = None,
    ambient: Ambient = SYSTEM,
) -> MigrationReport:
    """Migrate namespaces to another format, with their history.

    Running it again carries over only what is new; where nothing is, nothing is written. A run
    that was cut short is completed by the next one.

    Args:
        storage: The storage.
        to: ``"native"``, ``"iceberg"`` or ``"delta"``.
        from_: The format to migrate from, or ``"auto"``.
        namespaces: Names, or ``"*"`` for all.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
        batch_size: Versions written by one metadata commit.
        delete_source: Delete the source once the target is verified. It is kept by default.
        dry_run: Only plan; nothing is written, and a refusal is in the report, not raised.
        on_conflict: ``"error"``, ``"force"`` (replace the target's rows by a new version) or
            ``"merge"`` (combine both sides by ``key``).
        history: ``"full"`` or ``"latest"``.
        verify: ``"count"`` (by metadata), ``"content"`` (all rows of every version) or ``"none"``.
        allow_lossy: Accept the losses that a dry run lists.
        files: ``"auto"``, ``"share"``, ``"link"``, ``"copy"`` or ``"rewrite"``.
        key: Column to merge by; ``$id`` by default.
        format_version: The Iceberg format version of new tables, 2 or 3; 2 by default. A table that
            exists keeps its own.
        on_progress: Called as the migration goes on.
        ambient: Clock, identities, randomness.

    Returns:
        What was done, by namespace.

    Raises:
        InvalidInputError: An argument is not acceptable.
        NotFoundError: A namespace has no data.
        ConflictError: A target holds other data and ``on_conflict`` is ``"error"``.
        LossyError: Something would be lost and ``allow_lossy`` is not set.
        UnsupportedError: A table uses a feature that cannot be carried.
        FormatError: A table's metadata or a data file is damaged.
        VerificationError: The target differs; the source was kept.
    """
    options = MigrationOptions(
        target=_choice(Format, "to", to),
        source=None if from_ == "auto" else _choice(Format, "from_", from_),
        places=Places(warehouse, location),
        batch_size=batch_size,
        delete_source=delete_source,
        dry_run=dry_run,
        on_conflict=_choice(OnConflict, "on_conflict", on_conflict),
        history=_choice(History, "history", history),
        verify=_choice(Verify, "verify", verify),
        allow_lossy=allow_lossy,
        files=_choice(Files, "files", files),
        key=key,
        format_version=format_version,
        ambient=ambient,
        **({} if on_progress is None else {"on_progress": on_progress}),
    )
    report = run_migration(open_store(storage), _namespaces(namespaces), options)
    if not dry_run:
        report.raise_for_errors()
    return report


def backend_status(
    storage: Storage,
    namespaces: Sequence[str] | str = "*",
    *,
    warehouse: str = "",
    location: str = "",
) -> StorageStatus:
    """Say what a storage holds: formats, versions, rows, and what a migration has yet to carry.

    A namespace whose metadata cannot be read is reported with its error.

    Args:
        storage: The storage.
        namespaces: Names, or ``"*"`` for all.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.

    Raises:
        NotFoundError: A named namespace has no data.
    """
    places = Places(warehouse, location)
    return read_status(open_store(storage), _namespaces(namespaces), places)


def cleanup_backend(
    storage: Storage,
    namespace: str,
    format: str,  # noqa: A002  (the guide's word)
    *,
    warehouse: str = "",
    location: str = "",
    dry_run: bool = False,
    allow_lossy: bool = False,
) -> CleanupPlan:
    """Delete a namespace's table in one format, once another format holds all of it.

    Only files that the format's own metadata names go, and none that another format refers to.

    Args:
        storage: The storage.
        namespace: The namespace.
        format: The format whose table goes.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
        dry_run: Only say what would be deleted.
        allow_lossy: Accept that older versions or branches are lost that no other format holds.

    Returns:
        What was, or would be, deleted.

    Raises:
        NotFoundError: There is no such table.
        StateError: No other format holds the newest rows that this one holds.
        LossyError: Older versions or branches would be lost.
        FormatError: Metadata cannot be read, so that nothing can be deleted safely.
    """
    chosen = _choice(Format, "format", format)
    space = Namespace(open_store(storage), namespace, Places(warehouse, location))
    plan = plan_cleanup(space, chosen, allow_lossy=allow_lossy)
    if not dry_run:
        clean_up(space, plan)
    return plan


def verify_backend(
    storage: Storage,
    namespace: str,
    against: str,
    *,
    warehouse: str = "",
    location: str = "",
    content: bool = True,
) -> Mapping[str, object]:
    """Compare a namespace's primary table with another format of it, version by version.

    Args:
        storage: The storage.
        namespace: The namespace.
        against: The format to compare with.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
        content: Compare all rows; else the row counts of the metadata.

    Returns:
        ``{"format": …, "against": …, "equal": bool, "versions": n, "differences": [...]}``.

    Raises:
        NotFoundError: A table is missing, or neither was migrated from the other.
    """
    other = _choice(Format, "against", against)
    store = open_store(storage)
    space = Namespace(store, namespace, Places(warehouse, location))
    detection = space.detect()
    candidates = [f for f in (detection.primary, *detection.formats) if f not in (None, other)]
    if other not in detection.formats:
        raise space.no_data(other)
    if not candidates or candidates[0] is None:
        raise StateError(f"{namespace!r} exists as {other.label} only; there is nothing to compare")
    first = candidates[0]
    found = compare_tables(store, space.reader(first), space.reader(other), content=content)
    return {"namespace": namespace, "format": first, "against": other, **found}


def check_backend(
    storage: Storage,
    namespaces: Sequence[str] | str = "*",
    *,
    warehouse: str = "",
    location: str = "",
    deep: bool = False,
    on_progress: Callable[[CheckProgress], None] | None = None,
) -> CheckReport:
    """Check everything that the metadata of namespaces says. Nothing is written.

    That every file is there with the size recorded, that statistics agree with footers, that
    versions follow each other, that tables which are copies agree, that the journal is whole.
    What cannot be read is a finding, not an error.

    Args:
        storage: The storage.
        namespaces: Names, or ``"*"`` for all.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
        deep: Read all rows and deletion vectors too, and compare copies by content.
        on_progress: Called as the check goes on.

    Returns:
        ``.healthy``, and for each namespace its findings, and the files to which nothing refers.

    Raises:
        NotFoundError: A named namespace has no data.
        StorageError: The storage cannot be listed.
    """
    return check_namespaces(
        open_store(storage),
        Places(warehouse, location),
        _namespaces(namespaces),
        deep=deep,
        on_progress=(lambda _: None) if on_progress is None else on_progress,
    )


def create_backend(
    *,
    type: str,  # noqa: A002  (the guide's word)
    storage: Storage,
    warehouse: str = "",
    location: str = "",
) -> Backend:
    """Open a backend without migrating anything.

    Args:
        type: ``"native"``, ``"iceberg"`` or ``"delta"``.
        storage: The storage.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
    """
    return Backend(_choice(Format, "type", type), open_store(storage), Places(warehouse, location))


def create_backend_with_migration(
    *,
    type: str,  # noqa: A002  (the guide's word)
    storage: Storage,
    warehouse: str = "",
    location: str = "",
    migrate_from: str | None = "auto",
    keep_source: bool = True,
    format_version: int | None = None,
    on_progress: Callable[[MigrationProgress], None] | None = None,
) -> Backend:
    """Open a backend, migrating what the storage holds in other formats first.

    Blocks until the migration is complete and verified. A storage that holds nothing yet, or
    nothing new, is opened as it is.

    Args:
        type: ``"native"``, ``"iceberg"`` or ``"delta"``.
        storage: The storage.
        warehouse: Prefix of Iceberg tables.
        location: Prefix of Delta tables.
        migrate_from: The format to migrate from, ``"auto"``, or None to migrate nothing.
        keep_source: Keep the source's files.
        format_version: The Iceberg format version of new tables, 2 or 3; 2 by default.
        on_progress: Called as the migration goes on.

    Raises:
        ConflictError: A target holds other data.
        UnsupportedError: A table uses a feature that cannot be carried.
        LossyError: The type is native and a source would lose its history.
    """
    backend = create_backend(type=type, storage=storage, warehouse=warehouse, location=location)
    check_format_version(backend.type, format_version)
    names = _discover(backend.store, backend.places)
    if migrate_from is None or not names:
        return backend
    if migrate_from != "auto":
        source = _choice(Format, "migrate_from", migrate_from)
        names = tuple(
            name for name in names if Namespace(backend.store, name, backend.places).exists(source)
        )
    if not names or migrate_from == type:
        return backend
    report = migrate_backend(
        storage=backend.store,
        to=type,
        from_=migrate_from,
        namespaces=names,
        warehouse=warehouse,
        location=location,
        delete_source=not keep_source,
        format_version=format_version,
        on_progress=on_progress,
    )
    return Backend(backend.type, backend.store, backend.places, report)


def _namespaces(namespaces: Iterable[str] | str) -> tuple[str, ...] | None:
    if isinstance(namespaces, str):
        return None if namespaces == "*" else (namespaces,)
    given: object = namespaces
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise InvalidInputError(
            f"namespaces is {given!r}; it is a list of names, such as ['users'], or '*' for all"
        )
    return tuple(check_namespace(name) for name in namespaces)


def _choice(kind: type[_Choice], argument: str, value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(member.value) for member in kind)
        raise InvalidInputError(
            f"{argument} is {value!r}; it must be one of {known}{did_you_mean(value, kind)}"
        ) from None
