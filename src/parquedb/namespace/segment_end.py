"""Where a journal that appends ends: its newest segment, and what is kept in reserve behind it.

To make a line durable costs less where it was written over zero bytes that are on the disk already:
the file does not grow, so the file system has nothing else to write. So who waits for the disk has
some in reserve, see ``docs/spec/journal.md``. Nothing here takes a lock: whoever writes holds it.
"""

from __future__ import annotations

from parquedb.errors import CommitUnknownError, StorageError
from parquedb.namespace.entry import State
from parquedb.namespace.wire import Scan, scan
from parquedb.storage.store import AppendFile

RESERVE_BYTES = 128 << 10
"""So many zero bytes are written at once."""
PATIENCE = 8
"""So many lines are written here, with nobody else's between them, before a reserve is begun."""
_DISCOURAGED = 1000
"""So many are, once one could not be had."""
_SHARE = 32
"""A line that is more than this part of a reserve is not worth one."""
_PIECE_BYTES = 16 << 10


class SegmentEnd:
    """Where the known entries end.

    Args:
        journal: The journal's id.
        first: The newest segment known.
        file: That segment, open.
        offset: Where its last known line ends, in bytes.
        number: The last entry known.
        state: The state after it.

    Attributes:
        end: The segment's size when nothing but zero bytes, if any, was behind ``offset``; -1 while
            something else is there, or may be: a line cut short, or the segment's end.
    """

    __slots__ = ("_patience", "end", "file", "first", "journal", "number", "offset", "state")

    def __init__(
        self, journal: str, first: int, file: AppendFile, offset: int, number: int, state: State
    ) -> None:
        self.journal = journal
        self.first = first
        self.file = file
        self.offset = offset
        self.number = number
        self.state = state
        self.end = offset
        self._patience = PATIENCE

    def is_last(self) -> bool:
        """Whether nothing follows what is known: one system call where there is no reserve."""
        if self.end > self.offset:
            return self.file.is_blank(self.offset, self.end)
        return self.file.size() == self.end

    def scan(self, size_bytes: int) -> tuple[Scan, int]:
        """Read on, no more of a reserve than is new.

        Args:
            size_bytes: The segment's size.

        Returns:
            The lines that follow, and what shall be :attr:`end` behind them.
        """
        if size_bytes == self.end:  # what was zero is so still, behind what was written since
            data = self.file.read_at(self.offset, _PIECE_BYTES)
            found = scan(data.partition(b"\0")[0])
            if not found.rest and found.length < len(data):
                return found, size_bytes
        data = self.file.read(self.offset)
        found = scan(data)
        return found, -1 if found.rest else self.offset + len(data)

    def write(self, line: bytes) -> None:
        """Write a line that will be waited for, into the reserve where there is one.

        Raises:
            StorageError: Nothing, or a part of it is there.
            CommitUnknownError: Any part of it may be.
        """
        if self._has_room(len(line)):
            try:
                if self.file.overwrite(self.offset, line):
                    return
            except StorageError:  # it may need space all the same, or one more open file
                self._patience = _DISCOURAGED
                self.end = -1
            else:
                raise StorageError(
                    f"entry {self.number + 1} was not written: what journal segment "
                    f"'{self.first:020}.jsonl' keeps in reserve is not empty; try again"
                )
        if self.end != self.offset:
            self.cut()
        self.file.append(line)

    def cut(self) -> None:
        """Remove what follows the last known line."""
        self.file.truncate(self.offset)
        self.end = self.offset
        self._patience = max(self._patience, PATIENCE)

    def _has_room(self, length: int) -> bool:
        """Whether a line and a byte more fit into the reserve, which is made longer if not."""
        room = self.end - self.offset
        if length < room:
            return True
        if length > RESERVE_BYTES // _SHARE:
            return False
        if room == 0 and self._patience > 0:
            self._patience -= 1
            return False
        return self._reserve()

    def _reserve(self) -> bool:
        start = self.end
        self.end = -1
        try:
            self.file.append(bytes(RESERVE_BYTES))
        except (StorageError, CommitUnknownError):  # the line itself needs less, or tells the error
            self._patience = _DISCOURAGED
            return False
        self.end = start + RESERVE_BYTES
        return True
