"""A namespace brought up to date: its base, its journal, and the tail between the two.

What is known here is read anew where something moved: the base by its mark, the tail by the
journal's end (docs/spec/journal.md).
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import ConflictError, ParqueDBError, StateError
from parquedb.model.format import Format
from parquedb.model.schema import Schema
from parquedb.namespace.base import Base, load_base
from parquedb.namespace.entry import Body, Cutover, Entry, Flush, Write
from parquedb.namespace.joined import join_sources, open_staged
from parquedb.namespace.journal import CollectedError, Journal, open_journal
from parquedb.namespace.options import LiveOptions
from parquedb.namespace.places import Places
from parquedb.namespace.tables import Namespace
from parquedb.namespace.tail import Tail
from parquedb.namespace.unmarked import included_without_mark
from parquedb.query.blocks import Blocks
from parquedb.query.duck import Duck
from parquedb.query.view import Holders, Source
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

if TYPE_CHECKING:
    from parquedb.query.find import Executor

ATTEMPTS = 20
"""How often something is read again that was replaced meanwhile."""


@dataclass(frozen=True, slots=True)
class FilesOf:
    """The files of a view, kept as long as neither base nor staged files change."""

    schema: Schema
    sources: tuple[Source, ...]
    holders: Holders


class Current:
    """What a process knows of a namespace, and how it comes to know more.

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
            is_durable=options.is_durable,
            ambient=ambient,
        )
        self._base: Base | None = None
        self._fit: Base | None = None  # the base that is known to hold documents
        self._mark: object = None
        self._looked_us = 0  # when a write compared it last, microseconds since the epoch
        self._placed_us = 0  # when one looked last whether the journal is where it was
        self._tail = Tail()
        self._head = 0
        self._floor = 0  # the tail holds all entries after this one
        self._last_at_us = 0
        self._settled_bytes = 0
        self._missing: object = None
        self._files: FilesOf | None = None
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
        self._check_open()
        if not self._is_whole:  # an exception, or an interrupt, cut a change of it short
            self._start_over()
        self._is_whole = False
        for _ in range(ATTEMPTS):
            if self._base is None or self._mark != self.tables.mark(self.format):
                self._load()
            self._read_entries()
            if self._base is not None:
                self._is_whole = True
                return
        raise ConflictError(f"the base of namespace {self.name!r} changes all the time; try again")

    def _check_open(self) -> None:
        if self._closed:
            raise StateError(
                f"the database of {self.name!r}, {self.store.root!r}, was closed; open it again"
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
        self.journal.check_place()  # another table may be that of another folder
        if self.journal.id is None:
            self.journal.read(0)  # somebody may have begun it, whose marks count then
            if self._mark is not None:
                self._detect()
        for attempt in range(ATTEMPTS):
            self.tables.refresh()
            format_ = self.format
            self._mark = self.tables.mark(format_)
            try:
                base = load_base(self.tables, format_)
                break
            except ParqueDBError:
                if attempt == ATTEMPTS - 1 or self._mark == self.tables.mark(format_):
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

    def _sources(self) -> FilesOf:
        if self._files is None:
            assert self._base is not None  # refreshed
            self._files = self._sources_of(self._base, self._tail)
        return self._files

    def _sources_of(self, base: Base, tail: Tail) -> FilesOf:
        """Return the base's files and the staged ones, and the columns of both together."""
        staged = [open_staged(self.store, written.staged) for written in tail.staged]
        schema, sources = join_sources(base, staged)
        return FilesOf(schema, sources, Holders(sources))
