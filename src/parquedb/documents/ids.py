"""Identities of documents: ``users/01JZ…``, a namespace and a local part.

The local part is a ULID unless the user gives one: 48 bits of time in milliseconds and 80 random
bits in 26 characters of Crockford's base 32, so that new documents sort after older ones
(https://github.com/ulid/spec).
"""

from __future__ import annotations

import os
import threading
import unicodedata
import weakref

from parquedb.ambient import Ambient
from parquedb.errors import InvalidInputError

MAX_LOCAL_BYTES = 512
"""The longest local part of an id, in bytes of UTF-8."""

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
_LOW_BITS = 20
_LOW_MASK = (1 << _LOW_BITS) - 1
_HIGH_MASK = (1 << 60) - 1


class Ulids:
    """ULIDs of one process, each greater than all before it.

    Ids of one millisecond count up from a random start; where the clock goes back, the last time
    stays until the clock has caught up. Safe to use from several threads and after a fork.

    Args:
        ambient: Where the time and the randomness come from.
    """

    __slots__ = ("__weakref__", "_ambient", "_high", "_lock", "_low", "_ms", "_prefix")

    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._lock = threading.Lock()
        self._ms = -1
        self._high = 0
        self._low = _LOW_MASK
        self._prefix = ""
        _ALL.add(self)

    def new(self) -> str:
        """Return the next ULID."""
        with self._lock:
            ms = self._ambient.now_us() // 1000
            if ms > self._ms:
                self._begin(ms)
            else:
                self._low += 1
                if self._low > _LOW_MASK:
                    self._carry()
            low = self._low
            return self._prefix + _PAIRS[low >> 10] + _PAIRS[low & 1023]

    def many(self, count: int) -> list[str]:
        """Return the next ``count`` ULIDs, ascending."""
        pairs = _PAIRS
        found: list[str] = []
        with self._lock:
            ms = self._ambient.now_us() // 1000
            if ms > self._ms:
                self._begin(ms)
                self._low -= 1
            while len(found) < count:
                if self._low >= _LOW_MASK:
                    self._carry()
                    self._low -= 1
                start = self._low + 1
                stop = min(start + count - len(found), _LOW_MASK + 1)
                prefix = self._prefix
                found += [prefix + pairs[n >> 10] + pairs[n & 1023] for n in range(start, stop)]
                self._low = stop - 1
        return found

    def _begin(self, ms: int) -> None:
        """Start a millisecond at a random point."""
        bits = self._ambient.random_bits(80)
        self._ms = ms
        self._high = bits >> _LOW_BITS
        self._low = bits & _LOW_MASK
        self._set_prefix()

    def _carry(self) -> None:
        """Step over the end of the low bits; over the end of all bits into the next time."""
        if self._ms < 0:  # the very first id, of a clock before 1970
            self._begin(0)
        elif self._high == _HIGH_MASK:
            self._begin(self._ms + 1)
        else:
            self._high += 1
            self._low = 0
            self._set_prefix()

    def _set_prefix(self) -> None:
        """Encode all but the last four characters."""
        value = (self._ms << 60) | self._high
        self._prefix = "".join([_PAIRS[(value >> shift) & 1023] for shift in range(100, -1, -10)])

    def _forget(self) -> None:
        """Start anew in a forked child, which must not repeat its parent's ids."""
        self._lock = threading.Lock()
        self._ms = -1
        self._low = _LOW_MASK


_ALL: weakref.WeakSet[Ulids] = weakref.WeakSet()


def _after_fork() -> None:
    for ulids in list(_ALL):
        ulids._forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def check_document_id(namespace: str, given: object) -> str:
    """Return the whole id of a document to be created, ``users/abc``.

    Args:
        namespace: The namespace the document goes to.
        given: ``"users/abc"`` or ``"abc"``.

    Raises:
        InvalidInputError: It is not a string, or its local part is empty, longer than
            :data:`MAX_LOCAL_BYTES`, or holds a slash, control characters or lone surrogates.
    """
    if not isinstance(given, str):
        raise InvalidInputError(
            f"{namespace}: $id must be a string, not {type(given).__name__}. "
            f'Give "{namespace}/abc" or "abc", or leave it out to have one made.'
        )
    text = str.__str__(given)
    local = text.removeprefix(f"{namespace}/")
    problem = _local_problem(local)
    if problem is not None:
        raise InvalidInputError(
            f"{namespace}: {_shown(text)} cannot be a document's $id: {problem}. "
            f'Give "{namespace}/abc" or "abc", or leave it out to have one made.'
        )
    return f"{namespace}/{local}"


def _local_problem(local: str) -> str | None:
    if local.isascii() and local.isalnum() and len(local) <= MAX_LOCAL_BYTES:
        return None
    if not local:
        return "its local part is empty"
    if "/" in local:
        return "its local part holds a slash, or it names another namespace"
    if any(unicodedata.category(character) == "Cc" for character in local):
        return "it holds a control character"
    try:
        size_bytes = len(local.encode())
    except UnicodeEncodeError:
        return "it holds a lone surrogate, which is no character"
    if size_bytes > MAX_LOCAL_BYTES:
        return f"its local part has {size_bytes} bytes, at most {MAX_LOCAL_BYTES} are allowed"
    return None


def _shown(text: str) -> str:
    shown = ascii(text) if not text.isprintable() else repr(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"
