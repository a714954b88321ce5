"""A store that fails at a chosen operation, to prove what is left behind.

Every object that is created, replaced, copied, linked or deleted is one operation, also inside a
batch, so that a sweep over ``at`` cuts a run short at every point at which it can be cut:

    whole = inject(MemoryStore(), None)
    run(whole)
    for at in range(whole.operations):
        run_and_resume(inject(store, Fault(at, FaultKind.CRASH_AFTER)))
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import BinaryIO, TypeVar, cast

from parquedb.errors import AlreadyExistsError, CommitUnknownError, StorageError
from parquedb.storage.store import HardLinks, NewObject, Store
from parquedb.storage.wrapping import Wrapper, wrap

T = TypeVar("T")


class SimulatedCrashError(BaseException):
    """The process is dead. Not an ``Exception``: nothing in the program may handle it."""


class FaultKind(StrEnum):
    """How an operation fails."""

    CRASH_BEFORE = "crash before"
    """The process dies before the operation takes effect; every later call fails too."""
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

    def _asked(self, method: str) -> None:
        if self._dead:
            raise SimulatedCrashError(f"{method} after the end of the process")

    def _operate(self, method: str, key: str, take_effect: Callable[[], T]) -> T:
        struck = self._begin(method, key)
        result = take_effect()
        self._end(struck, method, key)
        return result

    def _begin(self, method: str, key: str) -> FaultKind | None:
        """Number an operation; return the fault that strikes it after its effect, if one does."""
        self._asked(method)
        number = len(self.log)
        self.log.append((method, key))
        fault = self._fault
        if fault is None:
            return None
        if fault.kind is FaultKind.NO_SPACE and number >= fault.at and method != "delete":
            raise StorageError(f"{key!r}: No space left on device (simulated)")
        if number != fault.at:
            return None
        if fault.kind is FaultKind.CRASH_BEFORE:
            self._dead = True
            raise SimulatedCrashError(f"before {method} of {key!r}")
        return fault.kind

    def _end(self, struck: FaultKind | None, method: str, key: str) -> None:
        if struck is FaultKind.CRASH_AFTER:
            self._dead = True
            raise SimulatedCrashError(f"after {method} of {key!r}")
        if struck is FaultKind.LOST_REPLY:
            message = f"{method} of {key!r}: the connection was lost before the reply (simulated)"
            raise CommitUnknownError(message) if method == "create" else StorageError(message)


def inject(store: Store, fault: Fault | None) -> FaultStore:
    """Wrap a store in one with a fault, with the same abilities."""
    return wrap(FaultStore, store, fault)
