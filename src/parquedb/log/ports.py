"""What a dialect provides: a reader that yields neutral commits and a writer that keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from parquedb.slotted import dataclass

if TYPE_CHECKING:
    from parquedb.log.commit import Commit, Operation, Origin, Through
    from parquedb.log.snapshot import Snapshot
    from parquedb.log.walk import Walk
    from parquedb.model.format import Format
    from parquedb.model.partition import PartitionSpec
    from parquedb.model.schema import Schema


@dataclass(frozen=True, slots=True)
class Version:
    """One line of a table's history.

    Args:
        version: The version (see :class:`~parquedb.log.commit.Commit`).
        at_ms: Its timestamp, milliseconds since the epoch.
        operation: What it did, in the table's own word (``append``, ``MERGE``).
        rows: Live rows, or None where the metadata does not say.
        origin: Where it was carried from, if a migration made it.
    """

    version: int
    at_ms: int
    operation: str
    rows: int | None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a table records of the newest migration into it.

    Args:
        origin: The last version that was carried, and of which table.
        version: This table's own version that carries it.
        completed_at_ms: When the migration that carried it was complete, milliseconds since the
            epoch; None while it is not.
        foreign: Own versions after ``version``, made by somebody else since.
        undone: The newest version that was carried before the table was moved back behind it, and
            the table's own that carries it and is no part of its history any more.
    """

    origin: Origin
    version: int
    completed_at_ms: int | None
    foreign: tuple[int, ...] = ()
    undone: tuple[Origin, int] | None = None


class LogReader(Protocol):
    """A table of some format, read as the neutral log.

    A reader sees the table as it was when the reader was made; make another to see later commits.
    Every method raises :class:`~parquedb.errors.FormatError` for metadata that does not follow the
    specification and :class:`~parquedb.errors.UnsupportedError` for a feature that this reader
    cannot carry right; both before anything derived from them is returned.
    """

    @property
    def format(self) -> Format:
        """The table's format."""
        ...

    @property
    def format_version(self) -> int | None:
        """Which version of its format a table is written in, None where formats have none."""
        ...

    @property
    def table_id(self) -> str:
        """The table's identity (see :class:`~parquedb.log.commit.Origin`)."""
        ...

    def latest(self) -> int:
        """Return the newest version."""
        ...

    def history(self) -> Sequence[Version]:
        """Return the versions that can be read, oldest first."""
        ...

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the table at a version; the newest by default.

        Raises:
            NotFoundError: There is no such version, or it can no longer be read.
        """
        ...

    def walk(self) -> Walk:
        """Return what goes from one version to the next at the cost of what changed."""
        ...

    def version_at(self, at_ms: int) -> int:
        """Return the newest version whose timestamp is not after ``at_ms``.

        Raises:
            NotFoundError: The table had no version then.
        """
        ...

    def current_since_ms(self) -> int:
        """Return when the newest version became that: later than it was made after a rollback."""
        ...

    def commits(self, after: int | None = None) -> Iterator[Commit]:
        """Yield the commits after a version, oldest first; all that can be read by default.

        A commit has the tags that its version has now.

        The first commit yielded without ``after`` makes the whole table: it is the table's first,
        or has ``base`` set. The first commit yielded, with or without ``after``, begins with
        ``SetSchema`` and ``SetPartitioning`` as they are at that commit, so that field ids in its
        files' statistics always have a schema to refer to. A metadata change that has no version
        of its own (Iceberg: newer than the newest snapshot) comes last, as a ``METADATA`` commit
        that repeats the newest version.

        Raises:
            NotFoundError: The version ``after`` is not part of the history (any more).
        """
        ...

    def has_promotions(self) -> bool:
        """Whether a column ever had another type, so that files may be narrower than the schema."""
        ...

    def unshown(self) -> Sequence[str]:
        """Return what the table holds that this log does not show, one line each (branches)."""
        ...

    def tags(self) -> Mapping[int, tuple[str, ...]]:
        """Return the names that the table gives to versions of its history, by version."""
        ...

    def lineage(self) -> Lineage | None:
        """Return what the table records of the newest migration into it, if anything."""
        ...

    def through(self, version: int | None = None) -> Through | None:
        """Return how much of the namespace's journal a version includes, by the newest flush.

        Args:
            version: The version, the newest by default.

        Raises:
            NotFoundError: There is no such version.
        """
        ...

    def referenced(self) -> frozenset[str]:
        """Return the keys of all files that any readable version references.

        Data files, delete files and metadata files, complete: used to decide what may be deleted.
        """
        ...


@dataclass(frozen=True, slots=True)
class Committed:
    """The commits were written.

    Args:
        version: The table's newest version now.
        bytes_written: Bytes of metadata (or, for native, data) written.
    """

    version: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written, or only the first part: somebody else committed. Re-read, decide.

    Args:
        version: The table's newest version as found.
        written: How many of the commits were written before the conflict.
    """

    version: int | None
    written: int = 0


class LogWriter(Protocol):
    """Appends neutral commits to a table of some format.

    A writer keeps what it needs of the table between calls, so that a history can be handed over
    in batches at O(changes). It is made for one table and one caller.
    """

    @property
    def format(self) -> Format:
        """The table's format."""
        ...

    def adopt(self, schema: Schema, spec: PartitionSpec, *, expect: int | None) -> Schema:
        """Return a schema as the table would hold it: its own types and field ids.

        Called for the schemas of coming commits in their order; nothing is written.

        Args:
            schema: The schema as commits will set it.
            spec: The partitioning that goes with it.
            expect: The table's newest version, None for a table that does not exist yet.

        Raises:
            UnsupportedError: The schema cannot be expressed.
        """
        ...

    def append(
        self,
        commits: Sequence[Commit],
        *,
        expect: int | None,
        completed_at_ms: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> Committed | Conflict:
        """Append commits as new versions, each with its own timestamp.

        Timestamps are kept, and made strictly increasing where they are not. A commit's
        ``origin`` is recorded with the version it becomes. The files that commits add must exist
        under the keys they name. Changes that change nothing (a schema equal to the current one)
        are dropped; a commit without changes still becomes a version.

        Args:
            commits: What to append; ids and specs are those of the commits' own schemas. The
                first commit for a table that does not exist must make the whole table.
            expect: The table's newest version, None for a table that does not exist yet.
            completed_at_ms: Recorded as the time at which the migration was complete.
            properties: Table properties to set when the table is created.

        Returns:
            ``Committed``; or ``Conflict`` where the table's newest version is not ``expect``.

        Raises:
            UnsupportedError: A change cannot be expressed; nothing was written.
            StorageError: The store failed; the table is whole and ends at some version.
        """
        ...

    def set_completed(self, completed_at_ms: int | None) -> None:
        """Record or withdraw the completion of the migration, without a new version if it can."""
        ...

    def settle(self) -> None:
        """Finish what a killed writer left undone after its last version was there."""
        ...


def operation_of(*, added: int, removed: int, same_rows: bool = False) -> Operation:
    """Name what a commit did by the files it added and removed."""
    from parquedb.log.commit import Operation  # noqa: PLC0415  (what asks has it)

    match (added > 0, removed > 0):
        case (False, False):
            return Operation.METADATA
        case (True, False):
            return Operation.APPEND
        case (False, True):
            return Operation.DELETE
        case _:
            return Operation.REPLACE if same_rows else Operation.OVERWRITE
