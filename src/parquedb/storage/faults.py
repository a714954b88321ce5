"""A store that fails at a chosen operation, to prove what is left behind.

Every object that is created, replaced, renamed, copied, linked or deleted is one operation, also
inside a batch, and so is every append, overwriting, truncation and sync of an open file. So a sweep
over ``at`` cuts a run short at every point at which it can be cut:

    whole = inject(MemoryStore(), None)
    run(whole)
    for at in range(whole.operations):
        run_and_resume(inject(store, Fault(at, FaultKind.CRASH_AFTER)))
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from typing import BinaryIO, TypeVar, cast

from parquedb.errors import AlreadyExistsError, CommitUnknownError, StorageError
from parquedb.slotted import dataclass
from parquedb.storage.store import AppendFile, HardLinks, NewObject, Renames, Store
from parquedb.storage.wrapping import WrappedFile, Wrapper, wrap

T = TypeVar("T")
_FREE = frozenset({"delete", "truncate"})
"""What needs no space."""
_COMMITS = frozenset({"create", "append", "overwrite", "sync"})
"""What says that nobody knows, when its reply is lost."""


class SimulatedCrashError(BaseException):
    """The process is dead. Not an ``Exception``: nothing in the program may handle it."""


class FaultKind(StrEnum):
    """How an operation fails."""

    CRASH_BEFORE = "crash before"
    """The process dies before the operation takes effect; every later call fails too.

    An append or an overwriting has written the first half of its bytes by then: the worst that a
    dying process does.
    """
    CRASH_AFTER = "crash after"
    """The operation takes effect, then the process dies."""
    LOST_REPLY = "lost reply"
    """The operation takes effect and its caller is told that nobody knows; the process lives."""
    NO_SPACE = "no space"
    """The operation fails without effect, as do all later ones that need space."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Which operation fails, and how.

    Args:
        at: The operation's number, from 0.
        kind: How it fails.
    """

    at: int
    kind: FaultKind


class FaultStore(Wrapper):
    """A store with one fault; :func:`inject` makes one.

    Args:
        store: The store inside.
        fault: The fault, or None to count operations only.

    Attributes:
        log: The operations begun, as verb and key.
    """

    def __init__(self, store: Store, fault: Fault | None) -> None:
        super().__init__(store)
        self._fault = fault
        self._dead = False
        self.log: list[tuple[str, str]] = []

    @property
    def operations(self) -> int:
        """How many operations were begun."""
        return len(self.log)

    def create(self, item: NewObject) -> None:
        """Create, as one operation."""
        self._operate("create", item.key, lambda: self._store.create(item))

    def create_many(self, items: Sequence[NewObject]) -> int:
        """Create one after another, each as an operation."""
        for index, item in enumerate(items):
            try:
                self.create(item)
            except AlreadyExistsError:
                return index
        return len(items)

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write one after another, each as an operation."""
        for item in items:
            self._operate("put", item.key, partial(self._store.put_many, [item]))

    def replace(self, key: str, data: bytes) -> None:
        """Replace, as one operation."""
        self._operate("replace", key, lambda: self._store.replace(key, data))

    @contextlib.contextmanager
    def open_create(self, key: str) -> Iterator[BinaryIO]:
        """Stream; the operation is the end, when the object appears."""
        self._asked("open_create")
        with self._store.open_create(key) as file:
            yield file
            struck = self._begin("open_create", key)
        self._end(struck, "open_create", key)

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy one after another, each as an operation."""
        for pair in pairs:
            self._operate("copy", pair[1], partial(self._store.copy_many, [pair]))

    def delete(self, key: str) -> None:
        """Delete, as one operation."""
        self._operate("delete", key, lambda: self._store.delete(key))

    def _link_many(self, pairs: Sequence[tuple[str, str]]) -> bool:
        links = cast("HardLinks", self._store)
        made: list[str] = []
        for source, target in pairs:
            new = not links.same_object(source, target)
            linked = self._operate("link", target, partial(links.link_many, [(source, target)]))
            if not linked:
                for done in made:
                    self._store.delete(done)
                return False
            if new:
                made.append(target)
        return True

    def _rename(self, source: str, target: str) -> None:
        renames = cast("Renames", self._store)
        self._operate("rename", target, lambda: renames.rename(source, target))

    def _open_append(self, key: str) -> AppendFile:
        return _FaultFile(self, super()._open_append(key), key)

    def _asked(self, method: str) -> None:
        if self._dead:
            raise SimulatedCrashError(f"{method} after the end of the process")

    def _operate(self, method: str, key: str, take_effect: Callable[[], T]) -> T:
        struck = self._begin(method, key)
        result = take_effect()
        self._end(struck, method, key)
        return result

    def _begin(
        self, method: str, key: str, dying: Callable[[], object] | None = None
    ) -> FaultKind | None:
        """Number an operation; return the fault that strikes it after its effect, if one does.

        ``dying`` is what a process that dies in the middle still does.
        """
        self._asked(method)
        number = len(self.log)
        self.log.append((method, key))
        fault = self._fault
        if fault is None:
            return None
        if fault.kind is FaultKind.NO_SPACE and number >= fault.at and method not in _FREE:
            raise StorageError(f"{key!r}: No space left on device (simulated)")
        if number != fault.at:
            return None
        if fault.kind is FaultKind.CRASH_BEFORE:
            if dying is not None:
                dying()
            self._dead = True
            raise SimulatedCrashError(f"before {method} of {key!r}")
        return fault.kind

    def _end(self, struck: FaultKind | None, method: str, key: str) -> None:
        if struck is FaultKind.CRASH_AFTER:
            self._dead = True
            raise SimulatedCrashError(f"after {method} of {key!r}")
        if struck is FaultKind.LOST_REPLY:
            message = f"{method} of {key!r}: the connection was lost before the reply (simulated)"
            raise CommitUnknownError(message) if method in _COMMITS else StorageError(message)


class _FaultFile(WrappedFile):
    """An open file whose writes, truncations and syncs are operations of its store."""

    def __init__(self, store: FaultStore, file: AppendFile, key: str) -> None:
        super().__init__(file, store._asked)
        self._store = store
        self._key = key

    def append(self, data: bytes) -> None:
        torn = partial(self._file.append, data[: len(data) // 2])
        struck = self._store._begin("append", self._key, torn)
        self._file.append(data)
        self._store._end(struck, "append", self._key)

    def overwrite(self, start: int, data: bytes) -> bool:
        torn = partial(self._file.overwrite, start, data[: len(data) // 2])
        struck = self._store._begin("overwrite", self._key, torn)
        done = self._file.overwrite(start, data)
        self._store._end(struck, "overwrite", self._key)
        return done

    def truncate(self, size_bytes: int) -> None:
        cut = partial(self._file.truncate, size_bytes)
        self._store._operate("truncate", self._key, cut)

    def sync(self) -> None:
        self._store._operate("sync", self._key, self._file.sync)


def inject(store: Store, fault: Fault | None) -> FaultStore:
    """Wrap a store in one with a fault, with the same abilities."""
    return wrap(FaultStore, store, fault)
