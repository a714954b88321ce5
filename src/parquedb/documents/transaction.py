"""Transactions: several writes to one collection that become visible together, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from parquedb.errors import ConflictError, InvalidInputError, StateError
from parquedb.namespace.entry import Write
from parquedb.namespace.live import LiveNamespace

if TYPE_CHECKING:
    from parquedb.documents.writing import Writing
    from parquedb.namespace.past import ReadableNamespace

Document = dict[str, Any]


class Transaction:
    """Writes that are kept back until the end.

    Reads inside see them. At the end all documents that were read to be changed must still be as
    they were read; else nothing is written.
    """

    def __init__(self) -> None:
        self._collection: Writing | None = None
        self._seen: dict[str, tuple[object, ...] | None] = {}
        self.pending: dict[str, Document | None] = {}

    @property
    def space(self) -> LiveNamespace | None:
        """The namespace that is written; None before the first write."""
        return None if self._collection is None else self._collection.space

    def join(self, collection: Writing) -> None:
        """Take a collection into the transaction.

        Raises:
            InvalidInputError: It has another one already.
        """
        if self._collection is None:
            self._collection = collection
        elif self._collection.space is not collection.space:
            raise InvalidInputError(
                f"a transaction writes to one collection: this one has {self._collection.name!r} "
                f"already, so {collection.name!r} needs a transaction of its own"
            )

    def see(self, key: str, document: Document | None) -> None:
        """Remember a document that was read to be changed."""
        self._seen.setdefault(key, _state_of(document))

    def write(self, written: Mapping[str, Document | None]) -> None:
        """Keep the result of a write for the end."""
        self.pending.update(written)

    def commit(self) -> None:
        """Write everything.

        Raises:
            ConflictError: A document was changed by somebody else since it was read.
        """
        collection = self._collection
        if collection is None or not self.pending:
            return
        space = collection.space

        def build(_at_us: int) -> Write:
            for key, before in self._seen.items():
                if _state_of(space.get(key)) != before:
                    raise ConflictError(
                        f"{key!r} was changed by somebody else during the transaction, so none of "
                        "it was written; run the transaction again"
                    )
            return Write(collection.check_unique(self.pending))

        if space.write(build) is not None:
            collection.written()


def _state_of(document: Document | None) -> tuple[object, ...] | None:
    """Return what changes with every change; a version alone comes again with the same id."""
    if document is None:
        return None
    return document.get("version"), document.get("createdAt"), document.get("updatedAt")


class _OfThread(threading.local):
    """What each thread has for itself."""

    current: Transaction | None = None


class Transactions:
    """The transactions of a database: at most one at a time in each thread."""

    def __init__(self) -> None:
        self._local = _OfThread()

    @property
    def current(self) -> Transaction | None:
        """The transaction of this thread, None outside of one."""
        return self._local.current

    def joined(self, collection: Writing) -> Transaction | None:
        """Return this thread's transaction with a collection taken into it."""
        transaction = self.current
        if transaction is not None:
            transaction.join(collection)
        return transaction

    def pending(self, space: ReadableNamespace) -> Mapping[str, Document | None]:
        """Return what this thread's transaction has written to a namespace so far."""
        transaction = self.current
        if transaction is None or transaction.space is not space:
            return {}
        return transaction.pending

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Run a block as a transaction: committed at its end, dropped if it raises.

        Raises:
            StateError: There is one already.
        """
        if self.current is not None:
            raise StateError("a transaction is under way in this thread already; end it first")
        transaction = Transaction()
        try:
            self._local.current = transaction
            yield transaction
        finally:
            self._local.current = None
        transaction.commit()
