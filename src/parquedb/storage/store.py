"""What every store does, and what some can do besides.

A store is a flat map from keys to immutable bytes. A *key* is a relative POSIX path
(``users/_delta_log/00000000000000000000.json``), literal, never percent-encoded, never with
``..``. The one operation on which all commits rest is :meth:`Store.create`: the creation of an
object succeeds for exactly one of any number of callers, in any number of processes.

Optional abilities (hard links, renames, appends, settable modification times, paths that other
programs can open) are protocols of their own: ask with ``isinstance``. Nothing above this package
may assume them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol, TypeVar, TypeVarTuple, runtime_checkable

from parquedb.slotted import dataclass

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ObjectInfo(NamedTuple):
    """What a store knows of an object without reading it.

    Attributes:
        key: The object's key.
        size_bytes: Exact length.
        modified_at_us: Time of last modification, microseconds since the epoch.
        etag: Changes whenever the content may have changed.
    """

    key: str
    size_bytes: int
    modified_at_us: int
    etag: str


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object about to be created.

    Args:
        key: Where.
        data: All its bytes.
        modified_at_ms: The modification time it shall carry, milliseconds since the epoch, where
            the store can set one (:class:`SettableTimes`); ignored elsewhere.
    """

    key: str
    data: bytes
    modified_at_ms: int | None = None


class Store(Protocol):
    """Objects under one root.

    All methods raise :class:`~parquedb.errors.StorageError` when the store fails (permission,
    space, connection) and :class:`~parquedb.errors.InvalidInputError` for a key that is not a
    relative path below the root.
    """

    @property
    def root(self) -> str:
        """URI of the root without a trailing slash: ``file:///srv/lake``, ``memory://x``."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, or None if there is none. Read-after-write."""
        ...

    def get(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer only at the object's end.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def open_read(self, key: str) -> BinaryIO:
        """Open an object as a seekable binary file.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def create(self, item: NewObject) -> None:
        """Create an object if absent. Atomic against every other creator; durable on return.

        Not idempotent: a second call, also by the same caller, raises.

        Raises:
            AlreadyExistsError: The object exists; it was left as it is.
            CommitUnknownError: The store did not say whether it was created.
        """
        ...

    def create_many(self, items: Sequence[NewObject]) -> int:
        """Create objects in order; stop at the first that exists.

        Each creation is atomic; the sequence is not. No object becomes visible before all its
        predecessors are visible and durable. Cheaper than a loop over :meth:`create`, because
        one durability barrier serves all.

        Returns:
            How many were created: ``len(items)``, or the index of the first that existed.
        """
        ...

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write objects whose keys are unique by construction; durable on return.

        Idempotent: an existing object of that key is replaced. In no particular order, not
        atomic as a whole; each object is visible whole or not at all.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Create or overwrite an object. Atomic; the last writer wins. For hints only."""
        ...

    def open_create(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Stream a new object of any size.

        The object appears, whole and durable, when the context ends without an exception, and
        not at all otherwise. An existing object of that key is left and
        :class:`~parquedb.errors.AlreadyExistsError` raised at the end.
        """
        ...

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy objects ``(source, target)`` inside the store, not through Python if it can.

        Durable on return. Each target appears whole or not at all; an existing target of that
        key is replaced, so a repetition is harmless. Target keys are unique by construction.

        Raises:
            NotFoundError: A source does not exist; earlier pairs may have been copied.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object. Idempotent: deleting what is not there is no error."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object whose key begins with ``prefix + "/"`` (all for ``""``), by key."""
        ...

    def list_dir(self, prefix: str) -> tuple[Sequence[ObjectInfo], Sequence[str]]:
        """List one level: the objects right under ``prefix`` and the names of the folders."""
        ...


@runtime_checkable
class HardLinks(Protocol):
    """A store in which two keys can name the same bytes, independently deletable."""

    def link_many(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Make each ``(source, target)`` pair's target another name of the source's bytes.

        Durable on return. A target that already names the same bytes is left (so a repetition is
        harmless).

        Returns:
            False, with nothing linked, where the file system cannot link these.

        Raises:
            NotFoundError: A source does not exist.
            AlreadyExistsError: A target exists with other bytes.
        """
        ...

    def same_object(self, a: str, b: str) -> bool:
        """Whether both keys exist and name the same bytes by a hard link."""
        ...


@runtime_checkable
class SettableTimes(Protocol):
    """A store that honours :attr:`NewObject.modified_at_ms`."""

    sets_modified_at: bool


@runtime_checkable
class LocalPaths(Protocol):
    """A store whose objects other programs can open by a path of this machine."""

    def local_path(self, key: str) -> str:
        """Return the absolute path of a key, whether or not it exists."""
        ...


@runtime_checkable
class Renames(Protocol):
    """A store that can give an object another key in place of the object there."""

    def rename(self, source: str, target: str) -> None:
        """Make ``target`` name what ``source`` named, which names nothing then.

        Atomic: a reader of ``target`` sees the old object or the new one. Durable on return, if
        the source's bytes are.

        Raises:
            NotFoundError: The source does not exist.
        """
        ...


@runtime_checkable
class Leftovers(Protocol):
    """A store that can say what interrupted writes left behind, which listings do not show."""

    def list_leftovers(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield what unfinished writes left at any depth below a folder.

        Some of it may be under way still: its modification time tells. Links are not followed.
        """
        ...

    def touched_at_us(self, key: str) -> int | None:
        """Return when an object got its name or its bytes, whichever was later.

        Microseconds since the epoch; None if there is no such object, or if it is reached only
        through a link. Unlike its modification time this is new for a new hard link.
        """
        ...


class AppendFile(Protocol):
    """An object, open, that grows at its end. Safe between threads.

    All methods raise :class:`~parquedb.errors.StorageError` when the store fails.
    """

    def size(self) -> int | None:
        """Return the size in bytes as it is now, or None once the object was deleted."""
        ...

    def is_in_place(self) -> bool:
        """Whether the object of its key is this one: neither deleted nor moved away."""
        ...

    def read(self, start: int) -> bytes:
        """Return what is there from an offset to the end."""
        ...

    def read_at(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``; fewer only at the end."""
        ...

    def append(self, data: bytes) -> None:
        """Write ``data`` at the end. Not durable before :meth:`sync`; not atomic for readers.

        A process that dies meanwhile may leave any part of ``data`` behind.

        Raises:
            StorageError: No space, no permission; the object is as it was.
            CommitUnknownError: Any part of ``data`` may have been appended.
        """
        ...

    def is_blank(self, start: int, end: int) -> bool:
        """Whether the object still ends at ``end``, has a zero byte at ``start``, and exists.

        After :meth:`size` the next write may cost more, after this it does not.
        """
        ...

    def overwrite(self, start: int, data: bytes) -> bool:
        """Write ``data`` in place of zero bytes, behind which there is another one at least.

        Nobody else may write meanwhile. Otherwise this is like :meth:`append`.

        Returns:
            Whether that is what was there. Nothing was written where it was not.

        Raises:
            StorageError: It cannot be written; nothing of it is there, and the object may end at
                ``start`` now.
            CommitUnknownError: Any part of ``data`` may have been written.
        """
        ...

    def truncate(self, size_bytes: int) -> None:
        """Cut the object at ``size_bytes``."""
        ...

    def sync(self) -> None:
        """Make everything written so far, by whomever, durable.

        Raises:
            CommitUnknownError: It may not be.
        """
        ...

    def close(self) -> None:
        """Close it. Idempotent; nothing may be called afterwards."""
        ...


class StoreLock(AbstractContextManager[object], Protocol):
    """A lock between processes, and between threads; reentrant for the thread that holds it.

    It is let go when its process ends.
    """

    def hold(self, action: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something, with ``args``, while the lock is held, and let go of it whatever happens.

        A ``with`` block does not promise that: an interrupt (``KeyboardInterrupt``) can come when
        the block has ended and nothing of its end is done yet.
        """
        ...

    def doubt(self) -> None:
        """Have the next use make sure that what is locked was not deleted in the meantime."""
        ...


@runtime_checkable
class Appends(Protocol):
    """A store whose objects can grow, with locks that let one process at a time do so."""

    def open_append(self, key: str) -> AppendFile:
        """Open an existing object for reading and appending.

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether there is something at a key; cheaper than :meth:`Store.head`."""
        ...

    def lock(self, prefix: str) -> StoreLock:
        """Return a lock that holds off every other lock on the same prefix.

        Nothing is done before its first use. No listing shows a trace of it.

        Raises:
            UnsupportedError: There are no such locks here.
        """
        ...
