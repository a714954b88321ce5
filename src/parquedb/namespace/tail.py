"""The tail: what the journal has accepted and the base does not hold yet."""

from __future__ import annotations

from collections.abc import Sequence

from parquedb.namespace.entry import Entry, Kept, Staged, Write
from parquedb.query.view import owned
from parquedb.rows.jsonform import decode_document
from parquedb.rows.values import Document
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class StagedWrite:
    """Rows of a large write.

    Args:
        entry: Number of the entry that wrote them.
        staged: The file.
    """

    entry: int
    staged: Staged


class Tail:
    """Entries after the base, and the documents that they leave.

    The rows of staged files are new when they are written, so a document here is always newer than
    a row of the same id in a file.

    What comes as JSON is parsed when it is asked for, once: most of what is written is flushed
    without being read before, and text is a fifth of the objects that it stands for.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._parsed = 0  # so many entries have no document as JSON
        self._overlay: dict[str, Kept] = {}
        self._staged: list[StagedWrite] = []
        self._is_shared = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def documents(self) -> int:
        """How many documents are written or removed, those in staged files not counted."""
        return len(self._overlay)

    @property
    def staged(self) -> Sequence[StagedWrite]:
        """The staged files, oldest first."""
        return self._staged

    @property
    def entries(self) -> Sequence[Entry]:
        """The entries, oldest first; none has a document as JSON."""
        self._parse()
        return self._entries

    @property
    def last_at_us(self) -> int | None:
        """When the newest entry was written, microseconds since the epoch."""
        return self._entries[-1].at_us if self._entries else None

    def holds(self, id_: str) -> bool:
        """Whether a document of this id was written or removed."""
        return id_ in self._overlay

    def get(self, id_: str) -> Document | None:
        """Return a document that was written; None if it was removed or not touched.

        It must not be changed.
        """
        kept = self._overlay.get(id_)
        if isinstance(kept, bytes):
            self._overlay[id_] = kept = decode_document(kept)
        return kept

    def own(self, id_: str) -> Document | None:
        """Return what :meth:`get` does, as the taker's own."""
        kept = self._overlay.get(id_)
        if isinstance(kept, bytes):
            return decode_document(kept)
        return owned(kept)

    def overlay(self) -> dict[str, Document | None]:
        """Return the documents by id, None for removed ones. The result never changes."""
        self._parse()
        self._is_shared = True
        return self._overlay  # type: ignore[return-value]

    def append(self, entry: Entry) -> None:
        """Add the next entry."""
        self._entries.append(entry)
        body = entry.body
        if type(body) is Write:
            if body.documents:
                if self._is_shared:
                    self._own()
                self._overlay.update(body.documents)
            if body.staged:
                self._staged += [StagedWrite(entry.number, staged) for staged in body.staged]

    def drop(self, through: int) -> None:
        """Forget the entries up to and including a number."""
        if not self._entries or self._entries[0].number > through:
            return
        kept = [entry for entry in self._entries if entry.number > through]
        self._entries, self._overlay, self._staged = [], {}, []
        self._parsed = 0
        self._is_shared = False
        for entry in kept:
            self.append(entry)

    def until(self, at_us: int) -> Tail:
        """Return the tail as it was at a time, microseconds since the epoch."""
        self._parse()
        past = Tail()
        for entry in self._entries:
            if entry.at_us > at_us:
                break
            past.append(entry)
        past._parsed = len(past._entries)
        return past

    def _parse(self) -> None:
        """Turn all JSON into documents, in the entries too."""
        for at in range(self._parsed, len(self._entries)):
            entry = self._entries[at]
            if type(entry.body) is Write and bytes in map(type, entry.body.documents.values()):
                documents = dict(entry.body.documents)
                for id_, kept in entry.body.documents.items():
                    if isinstance(kept, bytes):
                        documents[id_] = document = decode_document(kept)
                        if self._overlay.get(id_) is kept:
                            self._overlay[id_] = document
                body = Write(documents, entry.body.staged)
                self._entries[at] = Entry(entry.number, entry.at_us, entry.tx, body)
            self._parsed = at + 1

    def _own(self) -> None:
        """Make the overlay ours alone before it is changed."""
        self._overlay = dict(self._overlay)
        self._is_shared = False
