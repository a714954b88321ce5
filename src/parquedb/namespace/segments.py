"""The segments of a journal: which there are, and what a whole one says."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from parquedb.errors import FormatError, NotFoundError
from parquedb.namespace.entry import Entry, State
from parquedb.namespace.wire import (
    SECTION,
    Header,
    parse_entry,
    parse_header,
    scan,
    shapes_state,
)
from parquedb.slotted import dataclass
from parquedb.storage.keys import uri_of
from parquedb.storage.store import Store

_NAME = re.compile(r"[0-9]{20}\.jsonl")
_SUFFIX = ".jsonl"
LOOKS = 3
"""How often what looks damaged is read, where nobody can be held off meanwhile."""


class DamagedError(Exception):
    """A right line follows one that is not, unless the file was read while it was rewritten.

    Args:
        error: What to tell the user if it stays so.
    """

    def __init__(self, error: FormatError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's lines.

    Args:
        header: Its header.
        payloads: Its entries, not parsed, in order.
        end: Length of the lines that are whole and right, in bytes.
        rest: What follows them; nothing also where that is a reserve, zero bytes alone.
        bad: Whether right lines follow that cannot be what a crash has left.
        shapes: Whether any entry may be other than a write. False is certain.
    """

    header: Header
    payloads: Sequence[bytes]
    end: int
    rest: bytes
    bad: bool
    shapes: bool

    @property
    def last(self) -> int:
        """Number of the last entry; one less than the first where there is none."""
        return self.header.first + len(self.payloads) - 1


@dataclass(frozen=True, slots=True)
class Collected:
    """The entries asked for were deleted, because the base holds them.

    Args:
        first: Number of the first entry that is still there.
    """

    first: int


class Segments:
    """Where a namespace's segments are.

    Args:
        store: The store.
        namespace: The namespace's name.
    """

    def __init__(self, store: Store, namespace: str) -> None:
        self.store = store
        self.namespace = namespace
        self.folder = f"_parquedb/{namespace}/journal"

    def name(self, first: int) -> str:
        """Return the name of the segment that begins with an entry."""
        return f"{first:020}{_SUFFIX}"

    def key(self, first: int) -> str:
        """Return the key of the segment that begins with an entry."""
        return f"{self.folder}/{first:020}{_SUFFIX}"

    def location(self, first: int) -> str:
        """Return where that segment is, for messages."""
        return uri_of(self.store.root, self.key(first))

    def sizes(self) -> dict[int, int]:
        """Return the segments by their first entry, in order, with their sizes in bytes.

        Raises:
            FormatError: A file looks like a segment and is none.
        """
        found: dict[int, int] = {}
        for info in self.store.list_dir(self.folder)[0]:
            name = info.key.rpartition("/")[2]
            if _NAME.fullmatch(name):
                found[int(name.removesuffix(_SUFFIX))] = info.size_bytes
            elif name.endswith(_SUFFIX) and not name.startswith((".", "_")):
                raise FormatError(
                    f"'{uri_of(self.store.root, info.key)}' is no segment of a journal: segments "
                    "are named by 20 digits; move the file away",
                    location=info.key,
                    section=SECTION,
                )
        return found

    def firsts(self) -> list[int]:
        """Return the segments by their first entry, in order."""
        return list(self.sizes())

    def read(self, first: int, journal: str | None) -> Segment:
        """Return a segment, read again where it may have been written while it was read.

        Raises:
            NotFoundError: There is no such segment (any more).
            FormatError: It is none, or belongs to another journal.
        """
        for _ in range(LOOKS):
            segment = self.parse(first, self.store.get(self.key(first)), journal)
            if not segment.bad:
                break
        return segment

    def parse(self, first: int, data: bytes, journal: str | None) -> Segment:
        """Return the segment of its bytes.

        Args:
            first: The number by which it is named.
            data: Its bytes.
            journal: The id of the journal that it must belong to, if that is known.

        Raises:
            FormatError: The header is none, or belongs elsewhere.
        """
        location = self.location(first)
        found = scan(data)
        payloads = found.payloads
        if not payloads:
            raise FormatError(
                f"journal segment '{location}' does not begin with a header; restore the file "
                "from a backup, or move it away if it is not ParqueDB's",
                location=location,
                section=SECTION,
            )
        header = parse_header(payloads[0], location)
        if header.first != first or first < 1:
            raise FormatError(
                f"journal segment '{location}' begins with entry {header.first} by its header; "
                "give the file that name again",
                location=location,
                section=SECTION,
            )
        if journal is not None and header.journal != journal:
            raise FormatError(
                f"journal segment '{location}' belongs to the journal {header.journal}, the "
                f"others to {journal}; move the segments of one of them away",
                location=location,
                section=SECTION,
            )
        bad = found.is_damaged(first + len(payloads) - 1)
        return Segment(header, payloads[1:], found.length, found.rest, bad, shapes_state(data))

    def damaged(self, first: int, end: int, number: int) -> FormatError:
        """Return the error for a line that is not right, in the middle of a segment.

        Args:
            first: The segment.
            end: Offset of the line in bytes.
            number: The entry that should be there.
        """
        location = self.location(first)
        return FormatError(
            f"journal segment '{location}' is damaged at byte {end}: entry {number} is not "
            "readable and right lines follow it; restore the file from a backup, or cut it there "
            f"(truncate -s {end}) to give up entry {number} and all after it",
            location=location,
            section=SECTION,
        )

    def doubled(self, first: int, end: int) -> FormatError:
        """Return the error for entries that two segments hold.

        Args:
            first: The later segment.
            end: The last entry of the one before.
        """
        location = self.location(first)
        return FormatError(
            f"journal segment '{location}' begins with entry {first}, and the one before it goes "
            f"on to entry {end}: two writers wrote without seeing each other's lock. Keep copies "
            "of both, then move away the one whose documents you give up",
            location=location,
            section=SECTION,
        )

    def state_after(self, segment: Segment) -> State:
        """Return the state after a segment's last entry, parsing as few as possible."""
        state, first = segment.header.state, segment.header.first
        for number, payload in enumerate(segment.payloads if segment.shapes else (), first):
            if shapes_state(payload):
                state = state.after(parse_entry(payload, number, self.location(first)).body)
        return state

    def history(self, after: int, through: int, journal: str) -> list[Entry] | Collected:
        """Return the entries after one up to another that is known to exist.

        Raises:
            FormatError: Some are missing or damaged.
        """
        firsts = self.firsts()
        at = bisect_right(firsts, after + 1) - 1
        if at < 0:
            return Collected(firsts[0] if firsts else through + 1)
        entries: list[Entry] = []
        reached, end = after, 0
        for first in firsts[at:]:
            if first <= end:
                raise self.doubled(first, end)
            if first > reached + 1:
                break
            try:
                segment = self.read(first, journal)
            except NotFoundError:  # collected since they were listed
                return Collected(next(iter(self.firsts()), through + 1))
            location = self.location(first)
            for number, payload in enumerate(segment.payloads, first):
                if reached < number <= through:
                    entries.append(parse_entry(payload, number, location))
            reached, end = max(reached, segment.last), segment.last
            if segment.bad and reached < through:
                raise self.damaged(first, segment.end, reached + 1)
            if reached >= through:
                return entries
        following = [first for first in firsts if first > reached + 1]
        last = following[0] - 1 if following else through
        raise FormatError(
            f"journal '{uri_of(self.store.root, self.folder)}': the entries {reached + 1} to "
            f"{last} are missing; restore the segments that held them from a backup",
            location=self.folder,
            section=SECTION,
        )
