"""Applying parsed updates to documents, without touching the documents themselves.

Numbers keep their kinds: int and int is int (of any size, also beyond 64 bits), with a float it is
a float, with a Decimal a Decimal (a float counts by its shortest text, as ``Decimal("0.1")``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Context, Decimal, DecimalException
from functools import reduce
from typing import Any, assert_never

from parquedb.documents.update_steps import (
    AddToSet,
    Bit,
    Bound,
    Compute,
    CurrentDate,
    Link,
    Order,
    Path,
    Pop,
    Pull,
    Push,
    Rename,
    Set,
    Step,
    Unlink,
    Unset,
    Update,
)
from parquedb.errors import InvalidInputError
from parquedb.query.compare import compare_key
from parquedb.query.operand import describe

Document = dict[str, Any]

MAX_PADDING = 1_500_000
"""How many nulls an index beyond a list's end may put before its element, as in MongoDB."""

_MISSING: Any = object()
_SIMPLE = (str, int, bytes, type(None))
_DIGITS = 40
"""Digits that arithmetic with decimals keeps at least: more than any column of them has."""


def apply_update(
    update: Update, document: Document, *, now: datetime, inserting: bool = False
) -> Document:
    """Return a document as an update makes it.

    Args:
        update: The update.
        document: The document; it is not changed, and what the update does not reach is shared.
        now: The time of the write.
        inserting: Whether the document is new, so that ``$setOnInsert`` counts.

    Returns:
        The new document; the very same one if no step changes anything.

    Raises:
        InvalidInputError: A step does not go with the document's values (``$inc`` of a string).
    """
    draft = _Draft(document)
    for step in update.steps:
        try:
            _apply(draft, step, now, inserting=inserting)
        except _Refused as refused:
            where = document.get("$id") or "A new document"
            name = _operator(step)
            raise InvalidInputError(
                f"{where}: {name} at {'.'.join(step.path)!r}: {refused}"
            ) from None
    return draft.root


class _Refused(Exception):  # noqa: N818 - becomes an InvalidInputError that names the document
    """A step cannot be done."""


def _operator(step: Step) -> str:
    match step:
        case Set(only_inserting=only):
            return "$setOnInsert" if only else "$set"
        case Compute(operator=operator) | Bound(operator=operator) | Pull(operator=operator):
            return operator
        case _:
            name = type(step).__name__
            return f"${name[0].lower()}{name[1:]}"


class _Draft:
    """A document of which parts are copied before they are changed."""

    __slots__ = ("_owned", "root")

    def __init__(self, document: Document) -> None:
        self.root = document
        self._owned: dict[int, Any] = {}

    def get(self, path: Path) -> Any:
        """Return the value at a path, or ``_MISSING``."""
        node: Any = self.root
        for part in path:
            node = _child(node, part)
            if node is _MISSING:
                return _MISSING
        return node

    def set(self, path: Path, value: Any) -> None:
        """Put a value at a path, making sub-documents on the way."""
        self.root = self._own(self.root)
        node: Any = self.root
        for depth, part in enumerate(path[:-1]):
            child = _child(node, part)
            if child is not _MISSING and not isinstance(child, dict | list):
                raise _Refused(f"{'.'.join(path[: depth + 1])!r} is {describe(child)}, no document")
            child = self._own({} if child is _MISSING else child)
            _put(node, part, child, path[:depth])
            node = child
        _put(node, path[-1], value, path[:-1])

    def remove(self, path: Path) -> None:
        """Remove what is at a path; an element of a list becomes null."""
        if self.get(path) is _MISSING:
            return
        parent = self.get(path[:-1])
        if isinstance(parent, list):
            self.set(path, None)
            return
        kept = {key: value for key, value in parent.items() if key != path[-1]}
        if len(path) == 1:
            self.root = kept
        else:
            self.set(path[:-1], kept)
        self._owned[id(kept)] = kept

    def _own(self, container: Any) -> Any:
        """Return a copy that may be changed; the container itself if it is one already."""
        if id(container) in self._owned:
            return container
        copied = container.copy()
        self._owned[id(copied)] = copied
        return copied


def _index(part: str) -> int | None:
    """Return the index a part of a path is; ``01`` is none."""
    if part.isascii() and part.isdigit() and (part == "0" or part[0] != "0"):
        return int(part) if len(part) < 12 else MAX_PADDING**2
    return None


def _child(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return node.get(part, _MISSING)
    if isinstance(node, list):
        index = _index(part)
        return node[index] if index is not None and index < len(node) else _MISSING
    return _MISSING


def _put(node: Any, part: str, value: Any, above: Path) -> None:
    if isinstance(node, dict):
        node[part] = value
        return
    index = _index(part)
    if index is None:
        raise _Refused(f"{'.'.join(above)!r} is a list; {part!r} is no index of it")
    missing = index - len(node) + 1
    if missing > MAX_PADDING:
        raise _Refused(f"the list has {len(node)} elements; {index} is too far beyond its end")
    node.extend([None] * missing)
    node[index] = value


def _fresh(value: Any) -> Any:
    """Copy lists and dicts, so that documents share nothing of an update."""
    if type(value) is dict:
        return {key: _fresh(item) for key, item in value.items()}
    if type(value) is list:
        return [_fresh(item) for item in value]
    return value


def _apply(draft: _Draft, step: Step, now: datetime, *, inserting: bool) -> None:
    match step:
        case Set(path, value, only_inserting):
            if inserting or not only_inserting:
                _set(draft, path, value)
        case Unset(path):
            draft.remove(path)
        case Rename(path, target):
            _rename(draft, path, target)
        case CurrentDate(path):
            draft.set(path, now)
        case Compute(path, operator, number):
            _compute(draft, path, operator, number)
        case Bound(path, operator, value):
            _bound(draft, path, operator, value)
        case Bit(path, operations):
            _bit(draft, path, operations)
        case Link() | Unlink():
            _relate(draft, step)
        case Push() | Pull() | AddToSet() | Pop():
            _change_list(draft, step)
        case _:
            assert_never(step)


def _set(draft: _Draft, path: Path, value: Any) -> None:
    old = draft.get(path)
    if type(old) is not type(value) or not isinstance(value, _SIMPLE) or old != value:
        draft.set(path, _fresh(value))


def _rename(draft: _Draft, path: Path, target: Path) -> None:
    value = draft.get(path)
    if value is _MISSING:
        return
    for end, of in (("source", path), ("destination", target)):
        for depth in range(1, len(of)):
            if isinstance(draft.get(of[:depth]), list):
                raise _Refused(f"the {end} {'.'.join(of)!r} is inside a list; $set and $unset it")
    draft.remove(path)
    draft.set(target, value)


def _compute(draft: _Draft, path: Path, operator: str, number: Any) -> None:
    old = draft.get(path)
    if old is _MISSING:
        draft.set(path, number if operator == "$inc" else type(number)(0))
        return
    if isinstance(old, bool) or not isinstance(old, int | float | Decimal):
        raise _Refused(f"{describe(old)} is no number")
    draft.set(path, _combine(old, number, operator))


def _combine(one: Any, other: Any, operator: str) -> Any:
    """Add or multiply two numbers."""
    try:
        if isinstance(one, Decimal) or isinstance(other, Decimal):
            left, right = _decimal(one), _decimal(other)
            digits = len(left.as_tuple().digits) + len(right.as_tuple().digits) + 1
            context = Context(prec=max(_DIGITS, digits))
            result: Any = (
                context.add(left, right) if operator == "$inc" else context.multiply(left, right)
            )
            is_number = result.is_finite()
        else:
            result = one + other if operator == "$inc" else one * other
            is_number = result == result  # not NaN
    except (OverflowError, DecimalException):
        is_number = False
        result = None
    if not is_number:
        raise _Refused(f"{describe(one)} and {describe(other)} have no number as their result")
    return result


def _decimal(number: Any) -> Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def _bound(draft: _Draft, path: Path, operator: str, value: Any) -> None:
    old = draft.get(path)
    if old is not _MISSING:
        mine, theirs = compare_key(value), compare_key(old)
        if mine >= theirs if operator == "$min" else mine <= theirs:
            return
    draft.set(path, _fresh(value))


_BITWISE: dict[str, Callable[[int, int], int]] = {
    "and": int.__and__,
    "or": int.__or__,
    "xor": int.__xor__,
}


def _bit(draft: _Draft, path: Path, operations: tuple[tuple[str, int], ...]) -> None:
    old = draft.get(path)
    if old is _MISSING:
        old = 0
    if isinstance(old, bool) or not isinstance(old, int):
        raise _Refused(f"{describe(old)} is no integer")
    new = reduce(lambda value, step: _BITWISE[step[0]](value, step[1]), operations, old)
    draft.set(path, new)


def _change_list(draft: _Draft, step: Push | Pull | AddToSet | Pop) -> None:
    old = draft.get(step.path)
    if old is _MISSING:
        if isinstance(step, Pull | Pop):
            return
        old = []
        draft.set(step.path, old)
    if not isinstance(old, list):
        raise _Refused(f"{describe(old)} is no list")
    new = _changed_list(old, step)
    if len(new) != len(old) or not isinstance(step, Pull | Pop | AddToSet):
        draft.set(step.path, new)


def _changed_list(old: list[Any], step: Push | Pull | AddToSet | Pop) -> list[Any]:
    match step:
        case Push():
            return _pushed(old, step)
        case Pull(is_unwanted=is_unwanted):
            return [element for element in old if not is_unwanted(element)]
        case Pop(first=first):
            return old[1:] if first else old[:-1]
        case AddToSet(values=values):
            return _united(old, values)


def _united(old: list[Any], values: tuple[Any, ...]) -> list[Any]:
    keys = {compare_key(element) for element in old}
    new = list(old)
    for value in values:
        key = compare_key(value)
        if key not in keys:
            keys.add(key)
            new.append(_fresh(value))
    return new


def _pushed(old: list[Any], step: Push) -> list[Any]:
    new = list(old)
    at = len(new) if step.position is None else step.position
    new[at:at] = [_fresh(value) for value in step.values]
    if step.order is not None:
        _sort(new, step.order)
    if step.slice is not None:
        new = new[: step.slice] if step.slice >= 0 else new[step.slice :]
    return new


def _sort(elements: list[Any], order: Order) -> None:
    if not order.keys:
        elements.sort(key=compare_key, reverse=order.descending)
    for path, descending in reversed(order.keys):
        elements.sort(key=lambda element: _key_at(element, path), reverse=descending)


def _key_at(element: Any, path: Path) -> Any:
    """Return the key of a field of an element; what is no document has none of them."""
    node = element if isinstance(element, dict) else _MISSING
    for part in path:
        node = _child(node, part)
    return compare_key(None if node is _MISSING else node)


def _relate(draft: _Draft, step: Link | Unlink) -> None:
    old = draft.get(step.path)
    if old is not _MISSING and old is not None and not isinstance(old, str | list):
        raise _Refused(f"{describe(old)} is no relation: neither an id nor a list of ids")
    match step:
        case Link():
            _link(draft, step, old)
        case Unlink(path, ids) if isinstance(old, list):
            kept = [] if ids is None else [item for item in old if item not in ids]
            if len(kept) != len(old):
                draft.set(path, kept)
        case Unlink(path, ids) if ids is None or old in ids:
            draft.remove(path)


def _link(draft: _Draft, step: Link, old: Any) -> None:
    many = isinstance(old, list) if step.many is None else step.many
    if not many:
        _set(draft, step.path, step.ids[0])
        return
    known = old if isinstance(old, list) else [old] if isinstance(old, str) else []
    new = [*known, *(item for item in dict.fromkeys(step.ids) if item not in known)]
    if new != old:
        draft.set(step.path, new)
