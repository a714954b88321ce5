"""A journal in a store whose objects can grow: entries are appended to the newest segment.

Writers hold an exclusive lock between processes. Readers hold none: they read what lies behind the
last line they know, and leave a last line alone that is not whole yet. A line that a crash cut
short was never acknowledged; the next writer removes it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from threading import get_ident
from typing import Protocol, TypeVar, TypeVarTuple

from parquedb.ambient import Ambient
from parquedb.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    NotFoundError,
    ParqueDBError,
    StorageError,
)
from parquedb.model.format import Format
from parquedb.namespace.attempts import Attempts, look_for
from parquedb.namespace.entry import Body, Entry, Flush, State, Write
from parquedb.namespace.journal import (
    Committed,
    Conflict,
    collected,
    ends_before,
    moved,
    replaced,
)
from parquedb.namespace.segment_end import SegmentEnd
from parquedb.namespace.segments import LOOKS, Collected, DamagedError, Segment, Segments
from parquedb.namespace.syncs import Syncs
from parquedb.namespace.wire import END, Header, encode_entry, encode_header, parse_entry
from parquedb.storage.store import AppendFile, Appends, NewObject, Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
SEGMENT_BYTES = 8 << 20
"""A segment of this size gets no further entry."""
WORTHWHILE_BYTES = 64 << 10
"""A segment of this size is worth beginning another one, so that it can be collected."""


class AppendingStore(Store, Appends, Protocol):
    """A store whose objects can grow."""


class LocalJournal:
    """A journal whose newest segment grows.

    Args:
        store: The store.
        namespace: The namespace's name, checked.
        state: What a journal begun here records.
        is_durable: Whether what is written here is waited for, entry by entry.
        ambient: Where ids come from.

    Raises:
        FormatError: The newest segment is damaged.

    Attributes:
        tail: Where the known entries end; None while there is no journal.
    """

    def __init__(
        self,
        store: AppendingStore,
        namespace: str,
        state: State,
        *,
        is_durable: bool,
        ambient: Ambient,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._segments = Segments(store, namespace)
        self._ambient = ambient
        self._base = state
        self._is_durable = is_durable
        self._attempts = Attempts(ambient)
        self._rotate = False
        self._older = (-1, 0)
        self._disk = Syncs(namespace)
        self._has_reserved = False
        self._lock = store.lock(self._segments.folder)  # between writers; taken before the guard
        self._guard = threading.RLock()  # held while the tail is read or changed
        self._owner = 0  # the thread that holds the lock
        self._current = False  # the end was looked at under the lock: nothing can follow it
        self.tail: SegmentEnd | None = None
        self.tail = self._surely(self._load)

    @property
    def id(self) -> str | None:
        """The journal's id; None while it does not exist."""
        tail = self.tail
        return None if tail is None else tail.journal

    def expect_base(self, base: Format | None) -> None:
        """Record another format in a journal that is begun here."""
        self._base = replace(self._base, base=base)

    def state(self) -> State:
        """Return the state at the last entry known."""
        tail = self.tail
        return self._base if tail is None else tail.state

    def head(self) -> int:
        """Return the number of the last entry known."""
        tail = self.tail
        return 0 if tail is None else tail.number

    def first(self) -> int:
        """Return the number of the first entry that is still there."""
        return next(iter(self._segments.firsts()), 1)

    def size_bytes(self) -> int:
        """Return how many bytes all segments have. They are listed only when another begins."""
        tail, (newest, older_bytes) = self.tail, self._older
        if tail is not None and newest == tail.first:
            return older_bytes + tail.offset
        with self._guard:
            tail = self.tail
            if tail is None:
                return 0
            if self._older[0] != tail.first:
                older = [s for n, s in self._segments.sizes().items() if n < tail.first]
                self._older = tail.first, sum(older)
            return self._older[1] + tail.offset

    def exclusively(self, action: Callable[[*Ts], T], *args: *Ts) -> T:
        """Hold off the writers of all processes."""
        if self._owner == get_ident():
            return action(*args)
        if self.tail is None:
            self._lock.doubt()
        return self._lock.hold(self._held, action, args)

    def _held(self, action: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        self._current = False
        self._owner = get_ident()
        try:
            return action(*args)
        finally:
            self._current = False
            self._owner = 0

    def read(self, after: int) -> Sequence[Entry]:
        """Return all entries after one: one system call where there are none."""
        if self._is_at(after):
            return ()
        return self._surely(lambda: self._read(after))

    def check_place(self) -> None:
        """Make sure that the newest segment is the one of its name, unless it was collected."""
        with self._guard:
            tail = self.tail
            if tail is None or tail.file.is_in_place():
                return
            newer, _ = self._look(tail)
            if newer is not None and newer.first == tail.first:
                raise moved(self._segments.location(tail.first).rpartition("/")[0])

    def append(self, body: Body, *, expect: int, at_us: int) -> Committed | Conflict:
        """Append a line to the newest segment, or begin another with it."""
        number = expect + 1
        line = self._line(number, at_us, body)
        if self._owner == get_ident():
            return self._append(line, number, body)
        return self.exclusively(self._append, line, number, body)

    def extend(
        self,
        expect: int,
        after_us: int,
        build: Callable[[int, *Ts], Write | None],
        *args: *Ts,
    ) -> Entry | None:
        """Append a line to the newest segment, if that is all there is to do."""
        return self._lock.hold(self._extend_shortly, expect, after_us, build, args)

    def _extend_shortly(
        self,
        expect: int,
        after_us: int,
        build: Callable[[int, *Ts], Write | None],
        args: tuple[*Ts],
    ) -> Entry | None:
        with self._guard:
            tail = self.tail
            if (
                tail is None
                or tail.number != expect
                or tail.offset >= SEGMENT_BYTES
                or self._rotate
                or self._disk.failed is not None
                or not tail.is_last()
            ):
                return None
            at_us = max(self._ambient.now_us(), after_us + 1)
            body = build(at_us, *args)
            if body is None:
                return None
            number = expect + 1
            self._extend(tail, number, self._line(number, at_us, body), None)
            return Entry(number, at_us, "", body)

    def _line(self, number: int, at_us: int, body: Body) -> bytes:
        synced = self._disk.synced if self._is_durable else None
        return encode_entry(number, at_us, self._attempts.new(), body, synced)

    def sync(self) -> None:
        """Make every entry known durable: one ``fdatasync`` for all threads that wait for it."""
        self._disk.settle(self._end)

    def rotate(self) -> None:
        """Let the next entry begin a new segment."""
        self._rotate = True

    def collect(self, through: int) -> int:
        """Delete segments without entries after ``through``, but never the newest."""
        return self.exclusively(self._collect, through)

    def close(self) -> None:
        """Close the newest segment, without what was kept in reserve behind it."""
        tail = self.tail
        if self._has_reserved and tail is not None and tail.end > tail.offset:
            with contextlib.suppress(ParqueDBError):  # it stays, as where a process was killed
                if tail.file.is_in_place():
                    self.exclusively(self._give_back)
        with self._disk.turn, self._guard:  # nobody's number may be another file's by then
            if self.tail is not None:
                self.tail.file.close()

    def _give_back(self) -> None:
        with self._guard:
            tail = self.tail
            if tail is not None and tail.end > tail.offset and tail.is_last():
                tail.cut()

    def _is_at(self, number: int) -> bool:
        """Whether an entry is the last one: at most one look at its segment."""
        with self._guard:
            tail = self.tail
            if tail is None or tail.number != number:
                return False
            if not self._current:
                if not tail.is_last():
                    return False
                self._current = self._owner == get_ident()
            return True

    def _collect(self, through: int) -> int:
        with self._guard:
            tail = self.tail
            if tail and tail.number <= through and tail.offset >= WORTHWHILE_BYTES:
                self._rotate = True
        deleted = 0
        for first, following in pairwise(self._segments.firsts()):
            if following - 1 > through:
                break
            self._store.delete(self._segments.key(first))
            deleted += 1
        self._older = (-1, 0)
        return deleted

    def _read(self, after: int) -> Sequence[Entry]:
        with self._guard:
            tail, new = self._look(self.tail)
            self.tail = tail
            self._current = self._owner == get_ident()
            head = 0 if tail is None else tail.number
            if after > head:
                raise ends_before(self._namespace, after, head)
            if tail is None:
                return ()
            known = tail.number - len(new)
            return new[after - known :] if after >= known else self._history(after, tail)

    def _append(self, line: bytes, number: int, body: Body) -> Committed | Conflict:
        """Write an entry, while the lock is held."""
        with self._guard:
            tail = self.tail
            if not self._current and (tail is None or not tail.is_last()):
                newer, _ = self._surely(lambda: self._look(self.tail))
                if tail and newer and newer.number not in (tail.number, number - 1):
                    return Conflict(newer.number)  # the tail stays: read() shall give what is new
                self.tail = tail = newer
            head = 0 if tail is None else tail.number
            if number <= head:
                return Conflict(head)
            if number > head + 1:
                raise ends_before(self._namespace, number - 1, head)
            if self._disk.failed is not None:
                raise StorageError(self._disk.failed)
            self._current = False  # until the new end is known
            if tail is None or self._is_full(tail, body):
                if not self._begin(tail, number, line, body):
                    return Conflict(number)
            else:
                self._extend(tail, number, line, None if type(body) is Write else body)
            self._current = True
            return Committed(number)

    def _extend(self, tail: SegmentEnd, number: int, line: bytes, body: Body | None) -> None:
        if tail.end != tail.offset and not (self._is_durable and tail.end > 0):
            self._clean(tail)
        end = tail.offset + len(line)
        state = tail.state if body is None else tail.state.after(body)
        try:
            if self._is_durable:
                self._has_reserved = True
                tail.write(line)
            else:
                tail.file.append(line)
        except (StorageError, CommitUnknownError) as error:
            tail.end = -1
            look_for(line, tail.file, tail.offset, number, error)
        # no call between these: an interrupt comes before all of them or after
        if tail.end < end:
            tail.end = end
        tail.offset, tail.number, tail.state = end, number, state

    def _clean(self, tail: SegmentEnd) -> None:
        """Remove what follows the last whole line: what a crash left there, or a reserve.

        A power failure can leave right lines behind a hole. The next one must not bring them back
        behind what is written now, nor leave a hole before a line that does not say what was
        synced.
        """
        tail.cut()
        self._disk.sync(tail.file)

    def _begin(self, tail: SegmentEnd | None, number: int, line: bytes, body: Body) -> bool:
        """Create a segment with its first entry; False where somebody else has."""
        if tail is None:
            journal, state = str(self._ambient.new_uuid()), self._base
        else:
            journal, state = tail.journal, tail.state
            if tail.end != tail.offset:
                tail.cut()
            tail.end = -1
            try:
                tail.file.append(END)
            except CommitUnknownError as error:  # it is torn in any case
                look_for(END, tail.file, tail.offset, number, error)
            self._disk.sync(tail.file)  # what follows must not outlive it
        key = self._segments.key(number)
        data = encode_header(Header(journal, number, state)) + line
        durable = True
        try:
            self._store.create(NewObject(key, data))
        except AlreadyExistsError:
            return False
        except CommitUnknownError:
            if self._store.head(key) is None or self._store.get(key) != data:
                raise
            durable = False
        try:
            file = self._store.open_append(key)
        except ParqueDBError as error:
            raise CommitUnknownError(
                f"entry {number} was written to '{self._segments.location(number)}', which "
                f"cannot be opened ({error}); open the database again"
            ) from error
        self.tail = SegmentEnd(journal, number, file, len(data), number, state.after(body))
        self._rotate = False
        if durable:
            self._disk.synced = number
        return True

    def _is_full(self, tail: SegmentEnd, body: Body) -> bool:
        """Whether an entry begins a new segment. A flush does, so that all before it can go."""
        return (
            tail.offset >= SEGMENT_BYTES
            or (type(body) is Flush and tail.offset >= WORTHWHILE_BYTES)
            or (self._rotate and tail.number >= tail.first)
        )

    def _end(self) -> tuple[int, AppendFile | None]:
        with self._guard:
            tail = self.tail
            return (0, None) if tail is None else (tail.number, tail.file)

    def _surely(self, step: Callable[[], T]) -> T:
        """Do something, and again while no writer can be at work if it finds damage."""
        try:
            return step()
        except DamagedError as damage:
            found = damage
        with contextlib.suppress(StorageError):  # a folder that may not be written has no lock
            try:
                return self.exclusively(step)
            except DamagedError as damage:
                raise damage.error from damage
        for _ in range(LOOKS):
            try:
                return step()
            except DamagedError as damage:
                found = damage
        raise found.error from found

    def _look(self, tail: SegmentEnd | None) -> tuple[SegmentEnd | None, list[Entry]]:
        """Return the tail as it is now, and the last entries before it that are new."""
        if tail is None:
            return self._load(), []
        new: list[Entry] = []
        while True:
            size_bytes = tail.file.size()
            if size_bytes is None:
                return self._reload(tail), []
            if size_bytes != tail.end or tail.end > tail.offset:
                tail = self._advance(tail, size_bytes, new)
            if tail.end >= 0 or not self._store.exists(self._segments.key(tail.number + 1)):
                return tail, new
            try:
                following, segment = self._open(tail.number + 1, tail.journal)
            except NotFoundError:  # collected meanwhile
                return self._reload(tail), []
            following.state = segment.header.state
            self._add(following, segment.header.first, segment.payloads, new)
            tail = following

    def _advance(self, tail: SegmentEnd, size_bytes: int, new: list[Entry]) -> SegmentEnd:
        """Return the tail after what was appended to its segment."""
        if size_bytes < tail.offset:
            raise replaced(self._namespace)
        found, end = tail.scan(size_bytes)
        number = tail.number + len(found.payloads)
        offset = tail.offset + found.length
        if found.is_damaged(number + 1):
            raise DamagedError(self._segments.damaged(tail.first, offset, number + 1))
        moved = SegmentEnd(tail.journal, tail.first, tail.file, offset, number, tail.state)
        moved.end = end
        self._add(moved, tail.number + 1, found.payloads, new)
        return moved

    def _add(
        self, tail: SegmentEnd, first: int, payloads: Sequence[bytes], new: list[Entry]
    ) -> None:
        location = self._segments.location(tail.first)
        for number, payload in enumerate(payloads, first):
            entry = parse_entry(payload, number, location)
            if type(entry.body) is not Write:
                tail.state = tail.state.after(entry.body)
            new.append(entry)

    def _load(self) -> SegmentEnd | None:
        """Return the end of the newest segment."""
        if not self._store.exists(self._segments.folder):
            return None
        while True:
            firsts = self._segments.firsts()
            if not firsts:
                return None
            try:
                return self._open(firsts[-1], None)[0]
            except NotFoundError:
                continue  # collected meanwhile: there is a newer one

    def _open(self, first: int, journal: str | None) -> tuple[SegmentEnd, Segment]:
        """Return the end of a segment, and the segment."""
        self._lock.doubt()
        file = self._store.open_append(self._segments.key(first))
        data = file.read(0)
        segment = self._segments.parse(first, data, journal)
        if segment.bad:
            raise DamagedError(self._segments.damaged(first, segment.end, segment.last + 1))
        state = self._segments.state_after(segment)
        tail = SegmentEnd(segment.header.journal, first, file, segment.end, segment.last, state)
        tail.end = -1 if segment.rest else len(data)
        return tail, segment

    def _reload(self, tail: SegmentEnd) -> SegmentEnd:
        """Return the end of the journal after the segment where this object was was deleted."""
        newer = self._load()
        if newer is None or newer.journal != tail.journal or newer.number < tail.number:
            raise replaced(self._namespace)
        return newer

    def _history(self, after: int, tail: SegmentEnd) -> list[Entry]:
        found = self._segments.history(after, tail.number, tail.journal)
        if isinstance(found, Collected):
            raise collected(self._namespace, after, found.first)
        return found
