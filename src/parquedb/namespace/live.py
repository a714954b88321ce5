"""A namespace that is read and written: its base, the journal and the tail (docs/spec/journal.md).

State is what the base holds plus the journal's entries after the base's own mark. Every method
brings this process up to date with what other processes wrote before it answers.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import ConflictError, ParqueDBError, StateError
from parquedb.model.format import Format
from parquedb.model.schema import Schema
from parquedb.namespace.base import Base, check_documents, load_base
from parquedb.namespace.entry import Body, Cutover, Entry, Flush, Write
from parquedb.namespace.joined import join_sources, open_staged
from parquedb.namespace.journal import CollectedError, Committed, Journal, open_journal
from parquedb.namespace.options import LiveOptions
from parquedb.namespace.places import Places
from parquedb.namespace.tables import Namespace
from parquedb.namespace.tail import Tail
from parquedb.namespace.unmarked import included_without_mark
from parquedb.query.blocks import Blocks
from parquedb.query.duck import Duck
from parquedb.query.view import Document, Source, StaleError, View
from parquedb.storage.store import Store

if TYPE_CHECKING:
    from parquedb.query.find import Executor

T = TypeVar("T")

_ATTEMPTS = 20
_BLIND_US = 10_000
"""For how long a write that depends on nothing does without a look at the base, microseconds."""


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


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The files of a view, kept as long as neither base nor staged files change."""

    schema: Schema
    sources: tuple[Source, ...]


class LiveNamespace:
    """One namespace, opened for reading and writing. Safe between threads and processes.

    Args:
        store: The storage.
        name: The namespace.
        places: Where its tables are.
        blocks: Decoded row groups, shared with other namespaces.
        duck: The DuckDB that searches, shared too.
        options: How it is written.
        ambient: Clock, identities, randomness.

    Raises:
        InvalidInputError: The name cannot be a namespace's.
        FormatError: Its journal or a table's metadata cannot be read.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        places: Places,
        blocks: Blocks,
        duck: Duck,
        options: LiveOptions,
        *,
        ambient: Ambient = SYSTEM,
    ) -> None:
        self.store = store
        self.tables = Namespace(store, name, places)
        self.name = self.tables.name
        self.blocks = blocks
        self._duck = duck
        self.options = options
        self.ambient = ambient
        self.has_written = False
        self.lock = threading.RLock()
        self._first_format = self.tables.base_format() or options.format
        self.journal: Journal = open_journal(
            store,
            self.name,
            base=self._first_format,
            format_version=options.format_version,
            ambient=ambient,
        )
        self._base: Base | None = None
        self._fit: Base | None = None  # the base that is known to hold documents
        self._mark: object = None
        self._looked_us = -_BLIND_US  # when it was looked at last
        self._tail = Tail()
        self._head = 0
        self._floor = 0  # the tail holds all entries after this one
        self._last_at_us = 0
        self._settled_bytes = 0
        self._missing: object = None
        self._files: _Snapshot | None = None
        self._is_whole = True  # base and tail go together
        self._is_deciding = False  # what a write depends on is being read: it stays as it is
        self._closed = False

    @functools.cached_property
    def executor(self) -> Executor:
        """What runs queries; imported with the first one, because a get does without."""
        from parquedb.query.find import Executor  # noqa: PLC0415

        return Executor(self.blocks, self._duck)

    @property
    def format(self) -> Format:
        """The format of the base."""
        return self.journal.state().base or self._first_format

    @property
    def base(self) -> Base:
        """The base as this process knows it."""
        with self.lock:
            self.refresh()
            assert self._base is not None  # refreshed
            return self._base

    @property
    def floor(self) -> int:
        """Number of the last entry that the base includes."""
        return self._floor

    @property
    def tail(self) -> Tail:
        """The tail as this process knows it."""
        return self._tail

    def refresh(self) -> None:
        """Read what other processes wrote since.

        Raises:
            StateError: The base is older than the journal's oldest entry, so that writes are
                missing between the two.
            ConflictError: The base is replaced faster than it can be read.
            StateError: The namespace was closed.
        """
        with self.lock:
            if not self._is_deciding or self._base is None:
                self._refresh()

    def _refresh(self) -> None:
        if self._closed:
            raise StateError(
                f"the database of {self.name!r}, {self.store.root!r}, was closed; open it again"
            )
        if not self._is_whole:  # an exception, or an interrupt, cut a change of it short
            self._start_over()
        self._is_whole = False
        for _ in range(_ATTEMPTS):
            if self._base is None or self._mark != self.tables.mark(self.format):
                self._load()
            self._read_entries()
            if self._base is not None:
                self._is_whole = True
                return
        raise ConflictError(f"the base of namespace {self.name!r} changes all the time; try again")

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
            return View(files.schema, files.sources, self._base.overlaid({}))

    def view_at(self, *, version: int | None = None, at_us: int | None = None) -> View:
        """Return the namespace as it was.

        Args:
            version: A version of the base's table, without the tail.
            at_us: A time, microseconds since the epoch; exact inside the tail too.

        Raises:
            NotFoundError: There is no such version, or none at that time any more.
        """
        return self.retrying(lambda: self._view_at(version, at_us))

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
            files = self._sources_of(base, past)
            return View(files.schema, files.sources, base.overlaid(past.overlay()))

    def get(self, id_: str) -> Document | None:
        """Return the document of an id, soft-deleted or not, None if there is none."""
        return self.retrying(lambda: self._get(id_))

    def retrying(self, read: Callable[[], T]) -> T:
        """Run something that reads, again if files were replaced under it."""
        for attempt in range(_ATTEMPTS):
            try:
                return read()
            except StaleError as error:
                if attempt == _ATTEMPTS - 1:
                    raise self.unreadable(error) from error
                with self.lock:
                    self._forget()
        raise AssertionError("unreachable")

    def write(self, build: Callable[[int], Write], *, is_blind: bool = False) -> Entry | None:
        """Append one write to the journal.

        Args:
            build: Makes the write from the newest state, which :meth:`get` and :meth:`view` show;
                called again if somebody else wrote meanwhile. Its argument is the write's time,
                microseconds since the epoch, that of ``as_of`` too: documents shall carry it.
            is_blind: Whether it looks at no state. Then that somebody else replaced the table may
                be noticed :data:`_BLIND_US` later, by the next write or whatever reads.

        Returns:
            The entry; None if ``build`` found nothing to write.

        Raises:
            ConflictError: Others kept coming first.
            CommitUnknownError: It was written but may not be on the disk.
            StorageError: It could not be written.
        """
        with self.lock:
            entry = self.journal.exclusively(self._append, build, is_blind)
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

    def needs_flush(self) -> bool:
        """Whether the journal holds more of the tail than it should. Staged files may wait."""
        size_bytes = self.journal.size_bytes()
        if size_bytes < self._settled_bytes:  # some of it was collected
            self._settled_bytes = size_bytes
        return size_bytes - self._settled_bytes > self.options.flush_bytes and len(self._tail) > 0

    def put_off_flush(self) -> None:
        """Let the tail grow by as much again before :meth:`needs_flush` says so."""
        self._settled_bytes = self.journal.size_bytes()

    def close(self) -> None:
        """Let go of the journal's files."""
        with self.lock:
            self._closed, self._fit = True, None
            self.journal.close()

    def invalidate(self) -> None:
        """Read the base anew at the next use."""
        with self.lock:
            self._forget()

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
        for _ in range(_ATTEMPTS * 5):
            self.refresh()
            entry = self._appended(body, self._head, self.ambient.now_us())
            if entry is not None:
                return entry
        raise self._overrun()

    def _append(self, build: Callable[[int], Write], is_blind: bool) -> Entry | None:  # noqa: FBT001
        stale: StaleError | None = None
        for _ in range(_ATTEMPTS * 5):
            at_us = self._look(is_blind)
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

    def _look(self, is_blind: bool) -> int:  # noqa: FBT001
        """Bring everything up to date before a write; return the time of the write."""
        now_us = self.ambient.now_us()
        if (
            is_blind
            and 0 <= now_us - self._looked_us < _BLIND_US
            and self._fit is self._base is not None
            and self._is_whole
            and self.journal.is_at(self._head)
        ):
            return max(now_us, self._last_at_us + 1)
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
                return self._tail.get(id_)
            sources = self._sources().sources
            assert self._base is not None  # refreshed
            if self._base.documents:
                return self._base.overlaid({}).get(id_)
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
            files = self._sources()
            view = View(files.schema, files.sources, base.overlaid(tail.overlay()))
            paths = {written.staged.path for written in tail.staged}
            staged = tuple(source for source in files.sources if source.file.path in paths)
            return Now(base, view, staged, self._head, len(tail), tail.last_at_us, self._mark)

    def _detect(self) -> bool:
        """Look where the table is while no journal says it; return whether it has moved."""
        found = self.tables.base_format() or self.options.format
        if self.journal.id is not None or found is self._first_format:
            return False
        self._first_format = found
        self.journal.expect_base(found)
        self._forget()
        return True

    def _forget(self) -> None:
        self._base = None

    def _start_over(self) -> None:
        """Forget everything that was read."""
        self._base, self._files = None, None
        self._tail, self._head, self._floor = Tail(), 0, 0

    def _load(self) -> None:
        """Read the base, and forget what of the tail it includes."""
        if self.journal.id is None:
            self.journal.read(0)  # somebody may have begun it, whose marks count then
            if self._mark is not None:
                self._detect()
        for attempt in range(_ATTEMPTS):
            self.tables.refresh()
            format_ = self.format
            self._mark = self.tables.mark(format_)
            try:
                base = load_base(self.tables, format_)
                break
            except ParqueDBError:
                if attempt == _ATTEMPTS - 1 or self._mark == self.tables.mark(format_):
                    raise  # nobody replaced it meanwhile
        self._files = None
        marks = base.included(self.journal.id), self.journal.state().through
        included = max(*marks, included_without_mark(base, self.journal))
        if included < self._floor:  # an older table took its place: begin anew
            self._tail, self._head = Tail(), included
        self._base, self._floor = base, included
        self._tail.drop(included)
        self._head = max(self._head, included)

    def _read_entries(self) -> None:
        """Read the entries that are new; the base is forgotten where it must be read anew."""
        try:
            found = self.journal.read(self._head)
        except CollectedError as error:
            missing = self._mark, self._head
            if self._missing != missing:  # the base was flushed since it was read
                self._missing = missing
                self._forget()
                return
            raise StateError(
                f"the {self.format.label} table of namespace {self.name!r} holds the journal's "
                f"writes up to {self._head}, and those before {error.first} are gone from the "
                "journal: the table was replaced by an older one; put the newer one back, or "
                f"move '_parquedb/{self.name}/journal' away to go on from the older one"
            ) from error
        for entry in found:
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        self._head = entry.number
        self._last_at_us = max(self._last_at_us, entry.at_us)
        body = entry.body
        if type(body) is Write:
            self._tail.append(entry)
            if body.staged:
                self._files = None
            return
        if self._is_outdated(body):
            self._forget()
        if isinstance(body, Flush | Cutover):
            self.put_off_flush()

    def _is_outdated(self, body: Body) -> bool:
        """Whether there is a newer base than the one known, by an entry that is no write."""
        if isinstance(body, Flush) and self._base is not None:
            return self._floor < body.through
        return isinstance(body, Cutover)

    def _sources(self) -> _Snapshot:
        if self._files is None:
            assert self._base is not None  # refreshed
            self._files = self._sources_of(self._base, self._tail)
        return self._files

    def _sources_of(self, base: Base, tail: Tail) -> _Snapshot:
        """Return the base's files and the staged ones, and the columns of both together."""
        staged = [open_staged(self.store, written.staged) for written in tail.staged]
        return _Snapshot(*join_sources(base, staged))
