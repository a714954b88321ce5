"""How a path walks through a document (see :mod:`.filter` for the rule)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parquedb.query.compare import MISSING

Single = Callable[[Any], bool]


def index_of(part: str) -> int | None:
    """Return the list index that a part of a path names, None if it is none."""
    if part.isascii() and part.isdigit() and (part == "0" or part[0] != "0"):
        return int(part)
    return None


def reach(path: tuple[str, ...], single: Single, leaf: Single) -> Single:
    """Return a function that says whether a test holds for any value that a path reaches.

    Args:
        path: The path.
        single: The test of one value, or of :data:`~.compare.MISSING`.
        leaf: The test of what stands at the path's end, which may look into a list.

    Returns:
        The function; it takes a document.
    """
    if len(path) == 1:
        name = path[0]
        return lambda document: leaf(document.get(name, MISSING))
    in_document, _ = _step(path, single, leaf)
    return in_document


def _step(path: tuple[str, ...], single: Single, leaf: Single) -> tuple[Single, Single]:
    """Return how a path goes on in a document, and in a list."""
    name, nothing = path[0], single(MISSING)
    if len(path) == 1:

        def in_document(document: Any) -> bool:
            return leaf(document.get(name, MISSING))

        return in_document, _in_list(name, in_document, single)

    next_in_document, next_in_list = _step(path[1:], single, leaf)

    def through_document(document: Any) -> bool:
        value = document.get(name)
        if value.__class__ is dict:
            return next_in_document(value)
        if value.__class__ is list:
            return next_in_list(value)
        return nothing

    def at_index(element: Any) -> bool:
        if element.__class__ is dict:
            return next_in_document(element)
        return element.__class__ is list and next_in_list(element)

    return through_document, _in_list(name, through_document, at_index)


def _in_list(name: str, in_document: Single, at_index: Single) -> Single:
    """Return how a path whose next part is this goes on in a list: everywhere, and by index."""
    index = index_of(name)

    def everywhere(elements: Any) -> bool:
        for element in elements:
            if element.__class__ is dict and in_document(element):
                return True
        return index is not None and index < len(elements) and at_index(elements[index])

    return everywhere
