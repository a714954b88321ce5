"""Sort orders: parsed, and as keys of documents (MongoDB's manual, "Comparison/Sort Order")."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.compare import EMPTY_KEY, MISSING, NULL_KEY, NUMBERS, Key, compare_key
from parquedb.query.filter import Path
from parquedb.query.reach import index_of
from parquedb.slotted import dataclass

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One criterion of an order.

    Args:
        path: The field. Where it reaches several values, the least of them counts in ascending
            and the greatest in descending order; where it reaches none, null does, which is lower
            than everything but an empty list.
        descending: Whether greater values come first.
    """

    path: Path
    descending: bool = False


_EXAMPLE: Final = 'use "name", "-name", ["-age", "name"], {"age": -1} or [("age", -1)]'

SortSpec = str | Mapping[str, int] | Sequence[str | tuple[str, int]] | None


def parse_sort(spec: SortSpec) -> tuple[SortKey, ...]:
    """Parse an order.

    Args:
        spec: ``"name"``, ``"-name"`` (descending), ``["-age", "name"]``, ``{"age": -1}`` or
            ``[("age", 1)]``; None or nothing for no order.

    Returns:
        The criteria, the most important first.

    Raises:
        InvalidInputError: It is none of these, or names a field twice.
    """
    if spec is None:
        return ()
    entries: list[Any]
    if isinstance(spec, str):
        entries = [spec]
    elif isinstance(spec, Mapping):
        entries = list(spec.items())
    elif isinstance(spec, list | tuple):
        entries = list(spec)
    else:
        raise InvalidInputError(f"sort: {spec!r} is no order; {_EXAMPLE}")
    keys = tuple(map(_parse_key, entries))
    for at, key in enumerate(keys):
        if any(key.path == other.path for other in keys[:at]):
            raise InvalidInputError(f"sort: {'.'.join(key.path)!r} is named twice; name it once")
    return keys


def _parse_key(entry: Any) -> SortKey:
    if isinstance(entry, str):
        name, direction = (entry[1:], -1) if entry.startswith("-") else (entry, 1)
    elif isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str):
        name, direction = entry
    else:
        raise InvalidInputError(f"sort: {entry!r} is no field and direction; {_EXAMPLE}")
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidInputError(
            f"sort: {name}: the direction must be 1 (ascending) or -1 (descending), "
            f"not {direction!r}"
        )
    if not name:
        raise InvalidInputError(f"sort: a field's name is empty; {_EXAMPLE}")
    return SortKey(tuple(str.__str__(name).split(".")), direction == -1)


def sort_key(keys: Sequence[SortKey]) -> Callable[[Document], Any]:
    """Return a function whose results order documents.

    Args:
        keys: The criteria.

    Returns:
        The function; its results can be compared with each other, as ``sorted`` and ``heapq`` do.
    """
    places = [_place_of(key) for key in keys]
    if len(places) == 1:
        return places[0]
    return lambda document: tuple([place(document) for place in places])


def sort_documents(
    documents: Iterable[Document], keys: Sequence[SortKey], *, limit: int | None = None
) -> list[Document]:
    """Return documents in an order; those that are equal in it stay as they were.

    Args:
        documents: The documents.
        keys: The criteria.
        limit: How many of the first to return at most; None for all.
    """
    if limit is not None:
        if not keys:
            return list(islice(documents, limit))
        return heapq.nsmallest(limit, documents, key=sort_key(keys))
    ordered = list(documents)
    for key in reversed(keys):  # a stable sort for each, which needs no reversed keys
        ordered.sort(key=_extreme_of(key), reverse=key.descending)
    return ordered


class _Reversed:
    """A value whose order is turned round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value)


def _place_of(key: SortKey) -> Callable[[Document], Any]:
    extreme = _extreme_of(key)
    return (lambda document: _turned(extreme(document))) if key.descending else extreme


def _turned(key: Key) -> tuple[int, Any]:
    """Return a key that orders the other way round; numbers and times do so by their sign."""
    bracket, value = key
    kind = value.__class__
    if kind in NUMBERS:
        return -bracket, value.copy_negate() if kind is Decimal else -value
    if kind is timedelta:
        return -bracket, -value
    return -bracket, _Reversed(value)


def _extreme_of(key: SortKey) -> Callable[[Document], Key]:
    """Return a function for the key of a document's least or greatest value at a path."""
    choose = max if key.descending else min
    path = key.path
    name = path[0]

    def extreme(document: Document) -> Key:
        value = document.get(name)
        kind = value.__class__
        if len(path) == 1:
            if kind is not list:
                return compare_key(value)
        elif kind is not dict and kind is not list:
            return NULL_KEY
        return choose(_keys_at(document, path), default=NULL_KEY)

    return extreme


def _keys_at(value: Any, path: Path) -> Iterator[Key]:
    """Yield the key of every value that a path reaches from here."""
    if not path:
        yield from _keys_of(value)
    elif value.__class__ is dict:
        yield from _keys_at(value.get(path[0], MISSING), path[1:])
    elif value.__class__ is list:
        index = index_of(path[0])
        if index is not None and index < len(value):
            yield from _keys_at(value[index], path[1:])
            return
        for element in value:
            if element.__class__ is dict:
                yield from _keys_at(element, path)
            else:
                yield NULL_KEY
    else:
        yield NULL_KEY


def _keys_of(value: Any) -> Iterator[Key]:
    if value.__class__ is not list:
        yield compare_key(value)
    elif not value:
        yield EMPTY_KEY
    else:
        yield from map(compare_key, value)
