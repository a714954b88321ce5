"""Attempts to write an entry of a journal: what tells them apart, and what became of one."""

from __future__ import annotations

import itertools
import os
import weakref

from parquedb.ambient import Ambient
from parquedb.errors import CommitUnknownError, ParqueDBError, StorageError
from parquedb.storage.store import AppendFile

_NOTHING = (b"", b"\0")
"""What follows the last line of a segment: its end, or a reserve."""


class Attempts:
    """Names of attempts (``tx`` in docs/spec/journal.md), each given once, also after a fork.

    Args:
        ambient: Where the randomness comes from.
    """

    __slots__ = ("__weakref__", "_ambient", "_numbers", "_session")

    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._begin()
        _ALL.add(self)

    def new(self) -> str:
        """Return the name of the next attempt."""
        return f"{self._session}-{next(self._numbers):x}"

    def _begin(self) -> None:
        self._session = f"{self._ambient.random_bits(48):012x}"
        self._numbers = itertools.count(1)


def look_for(line: bytes, file: AppendFile, offset: int, number: int, error: ParqueDBError) -> None:
    """Make sure that a line is there whose writing is said to have failed.

    Args:
        line: The line.
        file: The segment.
        offset: Where the line begins, in bytes.
        number: The entry that is written.
        error: What the store said.

    Raises:
        StorageError: It is not. What is there of it is removed by the next writer.
        CommitUnknownError: Nobody knows.
    """
    try:
        found = file.read_at(offset, len(line) + 1)
    except StorageError as unread:
        raise CommitUnknownError(
            f"nobody knows whether entry {number} was written: {error}; and {unread}"
        ) from error
    if found[: len(line)] == line and found[len(line) :] in _NOTHING:
        return
    if found[:1] in _NOTHING and isinstance(error, StorageError):
        raise error
    raise StorageError(f"entry {number} was not written whole: {error}") from error


_ALL: weakref.WeakSet[Attempts] = weakref.WeakSet()


def _after_fork() -> None:
    for attempts in list(_ALL):
        attempts._begin()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
