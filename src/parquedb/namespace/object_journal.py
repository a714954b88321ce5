"""A journal in a store that can only create objects: each entry is a segment of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar, TypeVarTuple

from parquedb.ambient import Ambient
from parquedb.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    NotFoundError,
    UnsupportedError,
)
from parquedb.model.format import Format
from parquedb.namespace.entry import Body, Entry, State, Write
from parquedb.namespace.journal import (
    Committed,
    Conflict,
    collected,
    ends_before,
    replaced,
)
from parquedb.namespace.segments import Collected, Segment, Segments
from parquedb.namespace.wire import Header, encode_entry, encode_header, parse_entry
from parquedb.slotted import dataclass
from parquedb.storage.store import NewObject, Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_KEPT = 128
"""So many of the newest segments are never collected, for writers that fell behind."""
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Tail:
    """Where the known entries end.

    Args:
        journal: The journal's id.
        first: The newest segment known.
        number: The last entry known.
        state: The state after it.
    """

    journal: str
    first: int
    number: int
    state: State


class ObjectJournal:
    """A journal with one object per entry.

    What :meth:`append` wrote is durable, as far as the store's objects are; ``sync`` does nothing.

    Args:
        store: The store.
        namespace: The namespace's name, checked.
        state: What a journal begun here records.
        ambient: Where ids come from.

    Raises:
        FormatError: The newest segment is damaged.
    """

    def __init__(self, store: Store, namespace: str, state: State, *, ambient: Ambient) -> None:
        self._store = store
        self._namespace = namespace
        self._segments = Segments(store, namespace)
        self._ambient = ambient
        self._base = state
        self._lock = threading.RLock()
        self._size_bytes: int | None = None
        self._tail = self._load()

    @property
    def id(self) -> str | None:
        """The journal's id; None while it does not exist."""
        return None if self._tail is None else self._tail.journal

    def expect_base(self, base: Format | None) -> None:
        """Record another format in a journal that is begun here."""
        self._base = replace(self._base, base=base)

    def check_place(self) -> None:
        """Do nothing: nothing is open here, each object is asked for by its key."""

    def state(self) -> State:
        """Return the state at the last entry known."""
        return self._base if self._tail is None else self._tail.state

    def head(self) -> int:
        """Return the number of the last entry known."""
        return 0 if self._tail is None else self._tail.number

    def first(self) -> int:
        """Return the number of the first entry that is still there."""
        return next(iter(self._segments.firsts()), 1)

    def size_bytes(self) -> int:
        """Return how many bytes all segments have. They are listed only after others wrote."""
        with self._lock:
            if self._size_bytes is None:
                self._size_bytes = sum(self._segments.sizes().values())
            return self._size_bytes

    def extend(
        self,
        expect: int,  # noqa: ARG002
        after_us: int,  # noqa: ARG002
        build: Callable[[int, *Ts], Write | None],  # noqa: ARG002
        *args: *Ts,  # noqa: ARG002
    ) -> None:
        """Return None: an entry is never all there is to do."""
        return

    def exclusively(self, action: Callable[[*Ts], T], *args: *Ts) -> T:
        """Hold off the other threads that use this object."""
        with self._lock:
            return action(*args)

    def sync(self) -> None:
        """Do nothing: what was created is durable."""

    def rotate(self) -> None:
        """Do nothing: every entry begins a segment."""

    def close(self) -> None:
        """Do nothing."""

    def read(self, after: int) -> Sequence[Entry]:
        """Return all entries after one: as many requests as there are, and two."""
        with self._lock:
            tail, new = self._look(self._tail)
            if tail is not self._tail:
                self._tail, self._size_bytes = tail, None
            if tail is None or after > tail.number:
                if after:
                    raise ends_before(self._namespace, after, 0 if tail is None else tail.number)
                return ()
            known = tail.number - len(new)
            if after >= known:
                return new[after - known :]
            return self._history(after, tail)

    def append(self, body: Body, *, expect: int, at_us: int) -> Committed | Conflict:
        """Create the segment ``expect + 1`` if it is absent."""
        with self._lock:
            tail = self._tail
            if tail is None:
                self._tail = tail = self._load()
            elif expect > tail.number:
                tail, _ = self._look(tail)
                self._size_bytes = None
            head = 0 if tail is None else tail.number
            if expect > head:
                raise ends_before(self._namespace, expect, head)
            if expect < head:
                return Conflict(head)
            journal = str(self._ambient.new_uuid()) if tail is None else tail.journal
            state = self._base if tail is None else tail.state
            if tail is not None and tail.first > tail.number:
                raise UnsupportedError(
                    f"journal segment '{self._segments.location(tail.first)}' has no entry and "
                    "cannot get one in this store; remove it"
                )
            number = expect + 1
            tx = f"{self._ambient.random_bits(64):016x}"
            data = encode_header(Header(journal, number, state))
            data += encode_entry(number, at_us, tx, body)
            if not self._create(number, data) or not self._follows(tail, number, journal):
                newer, _ = self._look(tail)
                return Conflict(max(number, 0 if newer is None else newer.number))
            self._tail = _Tail(journal, number, number, state.after(body))
            if self._size_bytes is not None:
                self._size_bytes += len(data)
            return Committed(number)

    def collect(self, through: int) -> int:
        """Delete segments without entries after ``through``, but not the newest 128."""
        with self._lock:
            firsts = self._segments.firsts()
            deleted = 0
            for first, following in list(pairwise(firsts))[: max(0, len(firsts) - _KEPT)]:
                if following - 1 > through:
                    break
                self._store.delete(self._segments.key(first))
                deleted += 1
            self._size_bytes = None
            return deleted

    def _load(self) -> _Tail | None:
        while True:
            firsts = self._segments.firsts()
            if not firsts:
                return None
            try:
                segment = self._read(firsts[-1], None)
            except NotFoundError:
                continue  # collected meanwhile: there is a newer one
            state = self._segments.state_after(segment)
            return _Tail(segment.header.journal, firsts[-1], segment.last, state)

    def _read(self, first: int, journal: str | None) -> Segment:
        segment = self._segments.read(first, journal)
        if segment.bad:
            raise self._segments.damaged(first, segment.end, segment.last + 1)
        return segment

    def _look(self, tail: _Tail | None) -> tuple[_Tail | None, list[Entry]]:
        """Return the tail as it is now, and the last entries before it that are new."""
        if tail is None:
            return self._load(), []
        new: list[Entry] = []
        while True:
            first = tail.number + 1
            try:
                if first == tail.first:  # a segment that was left without entries
                    raise NotFoundError
                segment = self._read(first, tail.journal)
            except NotFoundError:
                if self._store.head(self._segments.key(tail.first)) is not None:
                    return tail, new
                return self._reload(tail), []
            location = self._segments.location(first)
            entries = [
                parse_entry(payload, number, location)
                for number, payload in enumerate(segment.payloads, first)
            ]
            state = segment.header.state
            for entry in entries:
                state = state.after(entry.body)
            new += entries
            tail = _Tail(tail.journal, first, segment.last, state)

    def _reload(self, tail: _Tail) -> _Tail:
        """Return the end of the journal after the segment where this object was was deleted."""
        newer = self._load()
        if newer is None or newer.journal != tail.journal or newer.number < tail.number:
            raise replaced(self._namespace)
        return newer

    def _history(self, after: int, tail: _Tail) -> list[Entry]:
        found = self._segments.history(after, tail.number, tail.journal)
        if isinstance(found, Collected):
            raise collected(self._namespace, after, found.first)
        return found

    def _create(self, number: int, data: bytes) -> bool:
        """Create a segment; False where another one is there."""
        key = self._segments.key(number)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._store.create(NewObject(key, data))
            except AlreadyExistsError:
                return attempt > 1 and self._holds(key, data)
            except CommitUnknownError:
                if self._holds(key, data):
                    return True
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        return True

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self._store.get(key) == data  # the tx is in it
        except NotFoundError:
            return False

    def _follows(self, tail: _Tail | None, number: int, journal: str) -> bool:
        """Whether a segment that was created follows the last one.

        It does not where this process fell so far behind that a segment of its number had been
        written by somebody else, and collected, long before.
        """
        if tail is not None and self._store.head(self._segments.key(tail.first)) is not None:
            return True
        firsts = self._segments.firsts()
        if firsts[-1] == number:
            return True
        if tail is None and self._read(firsts[-1], None).header.journal == journal:
            return True
        if tail is not None and number + 1 in firsts:
            raise CommitUnknownError(
                f"journal of {self._namespace!r}: this process was held up for so long that "
                f"nobody knows whether entry {number} is its own; open the database again"
            )
        self._store.delete(self._segments.key(number))
        return False
