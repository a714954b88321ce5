"""A namespace that is read and written: its base, the journal and the tail (docs/spec/journal.md).

State is what the base holds plus the journal's entries after the base's own mark. Every method
brings this process up to date with what other processes wrote before it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from parquedb.errors import ConflictError, StateError
from parquedb.namespace.base import Base, check_documents, holds_documents, load_base
from parquedb.namespace.current import ATTEMPTS, Current
from parquedb.namespace.entry import Body, Entry, Flush, Write
from parquedb.namespace.journal import Committed
from parquedb.namespace.tail import Tail
from parquedb.query.view import Document, Source, StaleError, View, owned
from parquedb.slotted import dataclass

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BLIND_US = 10_000
"""For how long a write does without a look at whether the journal is where it was, and one that
depends on nothing without a look at the base; microseconds."""


@dataclass(frozen=True, slots=True)
class Now:
    """A namespace at one moment; its parts belong together.

    Args:
        base: The base.
        view: The base and the tail.
        staged: The sources of the view that are not the base's.
        head: Number of the newest entry that the view includes.
        entries: How many entries the tail has.
        last_at_us: When the newest of them was written, microseconds since the epoch.
        mark: Token of the base's table (see :meth:`.tables.Namespace.mark`).
    """

    base: Base
    view: View
    staged: tuple[Source, ...]
    head: int
    entries: int
    last_at_us: int | None
    mark: object


class LiveNamespace(Current):
    """One namespace, opened for reading and writing. Safe between threads and processes."""

    def view(self) -> View:
        """Return the namespace as it is now."""
        return self.now().view

    def now(self) -> Now:
        """Return the namespace as it is now, with what a flush must know."""
        return self.retrying(self._now)

    def files(self) -> View:
        """Return what is in files, as it is now: the namespace without the tail's documents."""
        with self.lock:
            self.refresh()
            assert self._base is not None  # refreshed
            files = self._sources()
            return View(files.schema, files.sources, self._base.overlaid({}), files.holders)

    def view_at(self, *, version: int | None = None, at_us: int | None = None) -> View:
        """Return the namespace as it was.

        Args:
            version: A version of the base's table, without the tail.
            at_us: A time, microseconds since the epoch; exact inside the tail too.

        Raises:
            NotFoundError: There is no such version, or none at that time any more.
        """
        return self.retrying(self._view_at, version, at_us)

    def _view_at(self, version: int | None, at_us: int | None) -> View:
        with self.lock:
            base = self.base
            past = Tail()
            if version is not None:
                base = load_base(self.tables, base.format, version)
            elif at_us is not None and base.version is not None and base.at_ms > at_us // 1000:
                version = self.tables.reader(base.format).version_at(at_us // 1000)
                base = load_base(self.tables, base.format, version)
                if base.included(self.journal.id) == self._floor:  # others committed since
                    past = self._tail.until(at_us)
            elif at_us is not None:
                past = self._tail.until(at_us)
            if past.documents and not holds_documents(base):
                raise self._severed(base, past)
            files = self._sources_of(base, past)
            return View(files.schema, files.sources, base.overlaid(past.overlay()), files.holders)

    def get(self, id_: str) -> Document | None:
        """Return the document of an id, soft-deleted or not, None if there is none.

        It is the taker's own.
        """
        return self.retrying(self._get, id_)

    def retrying(self, read: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run something that reads, with ``args``, again if files were replaced under it."""
        for attempt in range(ATTEMPTS):
            try:
                return read(*args)
            except StaleError as error:
                if attempt == ATTEMPTS - 1:
                    raise self.unreadable(error) from error
                with self.lock:
                    self._forget()
        raise AssertionError("unreachable")

    def write(
        self, build: Callable[[int], Write], *, is_brief: bool = False, is_blind: bool = False
    ) -> Entry | None:
        """Append one write to the journal.

        Args:
            build: Makes the write from the newest state, which :meth:`get` and :meth:`view` show;
                called again if somebody else wrote meanwhile. Its argument is the write's time,
                microseconds since the epoch, that of ``as_of`` too: documents shall carry it.
            is_brief: Whether that is soon done, and without staged files. Then it goes a short way
                where there is nothing else to do, on which nobody else can use the journal.
            is_blind: Whether it looks at nothing that is there. That somebody else replaced the
                table may be noticed :data:`_BLIND_US` later then, by the next write or whatever
                reads.

        Returns:
            The entry; None if ``build`` found nothing to write.

        Raises:
            ConflictError: Others kept coming first.
            CommitUnknownError: It was written but may not be on the disk.
            StorageError: It could not be written.
        """
        with self.lock:
            entry = self._write_shortly(build, is_blind) if is_brief else None
            if entry is None:
                entry = self.journal.exclusively(self._append, build)
        if entry is not None and self.options.is_durable:
            self.journal.sync()
        return entry

    def unreadable(self, error: StaleError) -> StateError:
        """Make the error for a file that stays away however often the table is read."""
        return StateError(
            f"namespace {self.name!r} cannot be read, however often tried: {error}. If nobody "
            f"writes it now, restore that file of the {self.format.label} table from a backup, or "
            "go back to a version without it"
        )

    def _severed(self, base: Base, tail: Tail) -> StateError:
        """Make the error for documents whose table is none of documents any more."""
        return StateError(
            f"the {base.format.label} table of namespace {self.name!r} has no string column '$id', "
            f"but the journal holds {tail.documents} documents that belong to it: the table was "
            "replaced by another one; put it back, or move "
            f"'_parquedb/{self.name}/journal' away to go on without these documents"
        )

    def note(self, body: Body) -> Entry:
        """Append an entry that is no write: a flush, a cutover.

        Raises:
            ConflictError: Others kept coming first.
        """
        with self.lock:
            entry = self.journal.exclusively(self._note, body)
        if self.options.is_durable:
            self.journal.sync()
        return entry

    def _note(self, body: Body) -> Entry:
        for _ in range(ATTEMPTS * 5):
            self.refresh()
            at_us = max(self.ambient.now_us(), self._after_version_us(body))
            entry = self._appended(body, self._head, at_us)
            if entry is not None:
                return entry
        raise self._overrun()

    def _after_version_us(self, body: Body) -> int:
        """Return the time of the version that a flush made, 0 where writes need not come after it.

        A version comes a millisecond after the one before, also where the last write in it does
        not: what is written next shall be later than both. A version that is later by more follows
        somebody else's, whose clock is not ours.
        """
        base = self._base
        if not isinstance(body, Flush) or base is None or base.version != body.version:
            return 0
        made_us = base.at_ms * 1000
        return made_us if made_us - self._last_at_us <= 1000 else 0

    def _write_shortly(self, build: Callable[[int], Write], is_blind: bool) -> Entry | None:  # noqa: FBT001
        """Write where that is all there is to do; None where it is not, and nothing was written."""
        if not self._is_whole or self._base is None or self._fit is not self._base:
            return None
        try:
            entry = self.journal.extend(self._head, self._last_at_us, self._decide, build, is_blind)
        except StaleError:
            self._forget()
            return None
        if entry is not None:
            self.has_written = True
            self._apply(entry)
            self._is_whole = True
        return entry

    def _decide(
        self,
        at_us: int,
        build: Callable[[int], Write],
        is_blind: bool,  # noqa: FBT001
    ) -> Write | None:
        """Return what is to be written; None if nothing is, or the base must be read anew first."""
        if not 0 <= at_us - self._placed_us < _BLIND_US:
            self._check_place(at_us)
        if not is_blind or not 0 <= at_us - self._looked_us < _BLIND_US:
            if self._mark != self.tables.mark(self.format):
                return None
            self._looked_us = at_us
        self._is_deciding = True
        try:
            write = build(at_us)
        finally:
            self._is_deciding = False
        if not write.documents:
            return None
        self._is_whole = False  # until it is written and known here
        return write

    def _check_place(self, now_us: int) -> None:
        """Make sure that no other folder was put in the place of the one that is written."""
        self.journal.check_place()
        self._placed_us = now_us

    def _append(self, build: Callable[[int], Write]) -> Entry | None:
        stale: StaleError | None = None
        for _ in range(ATTEMPTS * 5):
            at_us = self._look()
            known = self._head  # what is read meanwhile may not be what the decision rests on
            self._is_deciding = True
            try:
                write = build(at_us)
            except StaleError as error:
                stale = error
                self._forget()
                continue
            finally:
                self._is_deciding = False
            stale = None
            if not write.documents and not write.staged:
                return None
            if write.staged:  # nobody was told of these documents at the time that they carry
                at_us = max(at_us, self.ambient.now_us())
            entry = self._appended(write, known, at_us)
            if entry is not None:
                return entry
        if stale is not None:
            raise self.unreadable(stale) from stale
        raise self._overrun()

    def _look(self) -> int:
        """Bring everything up to date before a write; return the time of the write."""
        self._check_open()
        now_us = self.ambient.now_us()
        self._check_place(now_us)
        self._looked_us = now_us
        self._refresh()
        if self.journal.id is None and self._detect():
            self._refresh()
        assert self._base is not None  # refreshed
        if self._fit is not self._base:
            check_documents(self.name, self._base)
            self._fit = self._base
        return max(now_us, self._last_at_us + 1)

    def _appended(self, body: Body, expect: int, at_us: int) -> Entry | None:
        """Write the next entry, None where somebody else has."""
        at_us = max(at_us, self._last_at_us + 1)
        self._is_whole = False
        result = self.journal.append(body, expect=expect, at_us=at_us)
        entry = None
        if isinstance(result, Committed):
            entry = Entry(result.number, at_us, "", body)
            self.has_written = True
            self._apply(entry)
        self._is_whole = True
        return entry

    def _overrun(self) -> ConflictError:
        return ConflictError(
            f"namespace {self.name!r} is being written by others all the time; try again"
        )

    def _get(self, id_: str) -> Document | None:
        with self.lock:
            self.refresh()
            if self._tail.holds(id_):
                return self._tail.own(id_)
            sources = self._sources().holders.of(id_)
            assert self._base is not None  # refreshed
            if self._base.documents:
                return owned(self._base.overlaid({}).get(id_))
        for source in sources:
            found = self.blocks.get(source, id_)
            if found is not None:
                return found
        return None

    def _now(self) -> Now:
        with self.lock:
            self.refresh()
            base, tail = self._base, self._tail
            assert base is not None  # refreshed
            if tail.documents and self._fit is not base and not holds_documents(base):
                raise self._severed(base, tail)
            files = self._sources()
            overlay = base.overlaid(tail.overlay())
            view = View(files.schema, files.sources, overlay, files.holders)
            paths = {written.staged.path for written in tail.staged}
            staged = tuple(source for source in files.sources if source.file.path in paths)
            return Now(base, view, staged, self._head, len(tail), tail.last_at_us, self._mark)
