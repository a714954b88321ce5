"""The journal of a namespace: entries written one after another, each exactly once.

Two implementations of one port: :class:`~parquedb.namespace.local_journal.LocalJournal` appends to
its newest segment under a lock between processes, and
:class:`~parquedb.namespace.object_journal.ObjectJournal` creates an object for each entry. Both
read and write the segments of ``docs/spec/journal.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, TypeVarTuple

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import StateError
from parquedb.model.format import Format
from parquedb.namespace.entry import Body, Entry, State, Write
from parquedb.storage.store import Appends, Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Committed(NamedTuple):
    """The entry was written.

    Attributes:
        number: Its number.
    """

    number: int


class Conflict(NamedTuple):
    """Nothing was written: there are entries after the expected one. Read them, decide again.

    Attributes:
        head: Number of the last entry as found.
    """

    head: int


class CollectedError(StateError):
    """Entries after the one asked for were deleted: a base holds them. Load the base again.

    Args:
        message: Which entries of which journal.
        first: Number of the first entry that is still there.
    """

    def __init__(self, message: str, *, first: int) -> None:
        super().__init__(message)
        self.first = first


class Journal(Protocol):
    """The numbered entries of one namespace. Safe between threads.

    It does not exist in the store before its first entry. Every method may raise
    :class:`~parquedb.errors.StorageError`, and those that read
    :class:`~parquedb.errors.FormatError` for damage that cannot be the trace of a crash.
    """

    @property
    def id(self) -> str | None:
        """The journal's id; None while it does not exist."""
        ...

    def expect_base(self, base: Format | None) -> None:
        """Record another format in a journal that is begun by this object."""
        ...

    def read(self, after: int) -> Sequence[Entry]:
        """Return all entries after one that exist now, in order. Cheap where there are none.

        Raises:
            CollectedError: Some of them were deleted, because a base holds them.
            StateError: The journal ends before ``after``, or was deleted or replaced.
        """
        ...

    def check_place(self) -> None:
        """Make sure that what is open here is what others find.

        Raises:
            StateError: Somebody moved the folder away, or put another one in its place.
        """
        ...

    def state(self) -> State:
        """Return the state at the last entry known (see :meth:`head`). No I/O."""
        ...

    def head(self) -> int:
        """Return the number of the last entry that was read or written here, 0 before. No I/O."""
        ...

    def first(self) -> int:
        """Return the number of the first entry that is still there; 1 where there is none."""
        ...

    def size_bytes(self) -> int:
        """Return how many bytes all segments have, up to the entries known. Cheap."""
        ...

    def append(self, body: Body, *, expect: int, at_us: int) -> Committed | Conflict:
        """Write entry ``expect + 1``, visible to everybody on return. Not durable before `sync`.

        Args:
            body: What the entry says.
            expect: Number of the last entry that the caller knows, and decided by.
            at_us: The entry's time, microseconds since the epoch.

        Returns:
            ``Committed``; or ``Conflict`` where somebody else has written entry ``expect + 1``.

        Raises:
            InvalidInputError: A document holds what a document may not hold.
            StateError: The journal ends before ``expect``.
            StorageError: Nothing was written.
            CommitUnknownError: The store did not say whether it was written.
        """
        ...

    def extend(
        self,
        expect: int,
        after_us: int,
        build: Callable[[int, *Ts], Write | None],
        *args: *Ts,
    ) -> Entry | None:
        """Write entry ``expect + 1``, where that is all there is to do.

        Args:
            expect: Number of the last entry that the caller knows.
            after_us: The entry's time is later than this, microseconds since the epoch.
            build: Returns what the entry says, given its time and ``args``; None if nothing shall
                be written here. Nobody else can use the journal meanwhile.
            args: What ``build`` is given besides.

        Returns:
            What was written; None where something else must be done first: entries to be read, a
            segment to be begun. Nothing was written then: read, and :meth:`append`.

        Raises:
            InvalidInputError: A document holds what a document may not hold.
            StorageError: Nothing was written.
            CommitUnknownError: The store did not say whether it was written.
        """
        ...

    def exclusively(self, action: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something, with ``args``, while other writers are held off. Reentrant.

        What was read last stays last. On a local disk, from all processes; elsewhere only from
        the other threads that use this object. Readers are never held off. Do not sync meanwhile:
        others wait.
        """
        ...

    def sync(self) -> None:
        """Make every entry known here durable, one disk flush for all who wait for one.

        Raises:
            CommitUnknownError: Some may not be; nothing more is written through this object.
        """
        ...

    def rotate(self) -> None:
        """Let the next entry begin a new segment, so that those before it can be collected."""
        ...

    def collect(self, through: int) -> int:
        """Delete segments without entries after ``through``, but never the newest.

        Returns:
            How many were deleted.
        """
        ...

    def close(self) -> None:
        """Close what is open. Nothing may be called afterwards."""
        ...


def open_journal(
    store: Store,
    namespace: str,
    *,
    base: Format | None,
    format_version: int | None = None,
    is_durable: bool = False,
    ambient: Ambient = SYSTEM,
) -> Journal:
    """Open the journal of a namespace, which need not exist yet.

    Args:
        store: The store; one whose objects can grow gets a journal that appends.
        namespace: The namespace's name, checked.
        base: The format of the namespace's table, which a journal begun by this object records.
        format_version: Of which version a base that does not exist yet is to be made, which it
            records too.
        is_durable: Whether who writes entries here waits for each to be durable, with
            :meth:`Journal.sync`; that is made cheaper then.
        ambient: Where ids come from.

    Raises:
        FormatError: The newest segment is damaged.
        UnsupportedError: It was written by a newer program.
    """
    state = State(base, format_version=format_version)
    if isinstance(store, Appends):
        from parquedb.namespace.local_journal import LocalJournal  # noqa: PLC0415

        return LocalJournal(store, namespace, state, is_durable=is_durable, ambient=ambient)
    from parquedb.namespace.object_journal import ObjectJournal  # noqa: PLC0415

    return ObjectJournal(store, namespace, state, ambient=ambient)


def collected(namespace: str, after: int, first: int) -> CollectedError:
    """Return the error for entries that were deleted."""
    return CollectedError(
        f"the entries {after + 1} to {first - 1} of the journal of {namespace!r} were collected; "
        "read the table again, which holds them",
        first=first,
    )


def ends_before(namespace: str, number: int, head: int) -> StateError:
    """Return the error for an entry that should be there."""
    return StateError(
        f"the journal of {namespace!r} ends with entry {head}, but entry {number} is known to "
        "have existed; restore the folder '_parquedb' from a backup, or remove it to go on with "
        "what the table holds"
    )


def replaced(namespace: str) -> StateError:
    """Return the error for a journal that vanished under an open one."""
    return StateError(
        f"the journal of {namespace!r} was deleted or replaced while it was open; "
        "open the database again"
    )


def moved(location: str) -> StateError:
    """Return the error for a journal that is open and lies elsewhere by now."""
    return StateError(
        f"{location!r} was moved away while it was open, or another folder was put in its place; "
        "open the database again. What this process wrote in the last moments is where the folder "
        "went"
    )
