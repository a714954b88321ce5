"""Whether a namespace's journal is whole, and goes at least as far as its tables say."""

from __future__ import annotations

from dataclasses import field

from parquedb.errors import FormatError, NotFoundError, ParqueDBError
from parquedb.log.commit import Through
from parquedb.maintain.check_report import Findings
from parquedb.model.format import Format
from parquedb.namespace.entry import Cutover, Flush, State, Write
from parquedb.namespace.segments import Segment, Segments
from parquedb.namespace.wire import END, parse_entry
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_GO_ON = "restore the folder '_parquedb' from a backup"


@dataclass(slots=True)
class JournalCheck:
    """Reads the segments of a journal in order.

    Args:
        store: The store.
        namespace: The namespace.
        findings: Where findings go.
        id: The journal's id, None while there is none.
        head: Number of the last entry, 0 without one.
        state: The state at the last entry, None where it cannot be told.
        flushed: The newest flush of the base that the journal records, None without one.
        staged: Keys of the files that entries refer to.
        told: Whether every file that the journal refers to is known.
    """

    store: Store
    namespace: str
    findings: Findings
    id: str | None = None
    head: int = 0
    state: State | None = None
    flushed: Flush | None = None
    staged: set[str] = field(default_factory=set)
    told: bool = True

    def run(self) -> None:
        """Check all segments."""
        segments = Segments(self.store, self.namespace)
        try:
            firsts = segments.firsts()
        except ParqueDBError as error:
            self._lost(error, segments.folder)
            return
        reached: int | None = None
        for first in firsts:
            key = segments.key(first)
            segment = self._read(segments, first, is_newest=first == firsts[-1])
            if segment is None:
                reached = None
                continue
            if reached is not None and first > reached + 1:
                self.findings.add(
                    key,
                    f"the entries {reached + 1} to {first - 1} before it are missing",
                    _GO_ON,
                )
            if reached is not None and first <= reached:
                self._lost(segments.doubled(first, reached), key)
            reached = segment.last
            self.head = max(self.head, segment.last)
            self._entries(segments, first, segment)

    def check_mark(self, through: Through | None, format_: Format, folder: str) -> None:
        """Check that the journal goes as far as a table says that it includes, and is there."""
        if not self.told or through is None:
            return
        journal = f"_parquedb/{self.namespace}/journal"
        if self.id is None:
            self.findings.add(
                journal,
                f"it is not there, and the {format_.label} table {folder!r} includes a journal up "
                f"to entry {through.entry}: documents written after that are lost",
                f"{_GO_ON}, or go on with what the table holds if it was copied here without it",
            )
        elif through.journal == self.id and through.entry > self.head:
            self.findings.add(
                journal,
                f"it ends with entry {self.head}, and the {format_.label} table {folder!r} "
                f"includes it up to entry {through.entry}",
                f"{_GO_ON}, or remove it to go on with what the table holds",
            )

    def check_base(self, through: Through, format_: Format, folder: str) -> None:
        """Check that the base includes what the journal says that was flushed into it."""
        flushed = self.flushed
        if not self.told or flushed is None or flushed.format is not format_:
            return
        if through.journal == self.id and through.entry < flushed.through:
            self.findings.add(
                folder,
                f"it includes the journal up to entry {through.entry}, and was flushed up to entry "
                f"{flushed.through} (version {flushed.version}): its newest versions are lost",
                "restore the table from a backup",
            )

    def _read(self, segments: Segments, first: int, *, is_newest: bool) -> Segment | None:
        key = segments.key(first)
        try:
            segment = segments.read(first, self.id)
        except NotFoundError:
            return None
        except ParqueDBError as error:
            self._lost(error, key)
            return None
        self.id = segment.header.journal
        if segment.bad or (not is_newest and segment.rest not in (b"", END)):
            self._lost(segments.damaged(first, segment.end, segment.last + 1), key)
        return segment

    def _lost(self, error: ParqueDBError, key: str) -> None:
        self.told = False
        message = FormatError(str(error), location=key)
        self.findings.raised(message, key)

    def _entries(self, segments: Segments, first: int, segment: Segment) -> None:
        state = segment.header.state
        location = segments.location(first)
        for number, payload in enumerate(segment.payloads, first):
            try:
                entry = parse_entry(payload, number, location)
            except ParqueDBError as error:
                self._lost(error, segments.key(first))
                return
            state = state.after(entry.body)
            if isinstance(entry.body, Flush):
                self.flushed = entry.body
            if isinstance(entry.body, Cutover):
                self.flushed = None
            if isinstance(entry.body, Write):
                for staged in entry.body.staged:
                    self.staged.add(staged.path)
                    self._staged_now(number, staged.path, staged.size_bytes)
        self.state = state

    _waiting: dict[str, tuple[int, int]] = field(default_factory=dict)

    def _staged_now(self, number: int, path: str, size_bytes: int) -> None:
        self._waiting[path] = number, size_bytes

    def check_staged(self, included: int) -> None:
        """Check the files of writes that are not in the table yet.

        Args:
            included: Number of the last entry that the base's own mark says it includes. What was
                flushed, or in the table when it became the base, is included without a mark too.
        """
        if self.state is not None:
            included = max(included, self.state.through)
        if self.flushed is not None:
            included = max(included, self.flushed.through)
        for path, (number, size_bytes) in self._waiting.items():
            if number <= included:
                continue
            info = self.store.head(path)
            if info is None:
                self.findings.add(
                    path,
                    f"entry {number} of the journal refers to this file, which does not exist",
                    "restore the file from a backup: the documents in it are in no table yet",
                )
            elif info.size_bytes != size_bytes:
                self.findings.add(
                    path,
                    f"entry {number} of the journal records {size_bytes} bytes, the file has "
                    f"{info.size_bytes}",
                    "restore the file from a backup: the documents in it are in no table yet",
                )
