"""How far a journal that appends is on the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

from parquedb.errors import CommitUnknownError, StorageError
from parquedb.storage.store import AppendFile


class Syncs:
    """Makes what was written durable, once for all threads that wait for it.

    Args:
        namespace: The namespace's name, for messages.

    Attributes:
        synced: Up to which entry all are known to be on the disk.
        failed: What is wrong with the disk; None while nothing is.
        turn: Held by who makes anything durable.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.synced = 0
        self.failed: str | None = None
        self.turn = threading.Lock()

    def settle(self, end: Callable[[], tuple[int, AppendFile | None]]) -> None:
        """Make every entry durable that is known now.

        Args:
            end: Returns the last entry known, and the segment that holds it.
        """
        target, _ = end()
        if self.synced >= target:
            return
        with self.turn:
            if self.synced >= target:
                return
            covered, file = end()
            if file is not None:
                self.sync(file)
            self.synced = covered

    def sync(self, file: AppendFile) -> None:
        """Make a segment durable as it is now.

        Raises:
            CommitUnknownError: It may not be; nothing more may be written then.
        """
        if self.failed is not None:
            raise CommitUnknownError(self.failed)
        try:
            file.sync()
        except (StorageError, CommitUnknownError) as error:
            self.failed = (
                f"journal of {self._namespace!r}: writing to the disk has failed ({error}); what "
                "was written last may be lost with the next power failure: open the database again"
            )
            raise CommitUnknownError(self.failed) from error
