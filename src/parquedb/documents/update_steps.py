"""Updates as a tree: what each of MongoDB's operators does to one field."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from parquedb.slotted import dataclass

Path = tuple[str, ...]
"""The parts of a dotted path; a numeric one is an index where it meets a list."""


@dataclass(frozen=True, slots=True)
class Set:
    """``$set`` and ``$setOnInsert``: the field has this value.

    Args:
        path: The field.
        value: The value.
        only_inserting: Whether this is done for new documents only.
    """

    path: Path
    value: Any
    only_inserting: bool = False


@dataclass(frozen=True, slots=True)
class Unset:
    """``$unset``: the field is gone; an element of a list becomes null."""

    path: Path


@dataclass(frozen=True, slots=True)
class Rename:
    """``$rename``: the field is at another path, and what was there is gone."""

    path: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Compute:
    """``$inc`` and ``$mul``: a number is added, or multiplied with. A missing field counts as 0."""

    path: Path
    operator: Literal["$inc", "$mul"]
    number: int | float | Decimal


@dataclass(frozen=True, slots=True)
class Bound:
    """``$min`` and ``$max``: the value, if it is less (greater) or the field is missing."""

    path: Path
    operator: Literal["$min", "$max"]
    value: Any


@dataclass(frozen=True, slots=True)
class CurrentDate:
    """``$currentDate``: the time of the write."""

    path: Path


@dataclass(frozen=True, slots=True)
class Order:
    """``$sort`` of ``$push``.

    Args:
        keys: Paths in the elements, and whether each is descending; none: the elements themselves.
        descending: Whether elements themselves are sorted descending.
    """

    keys: tuple[tuple[Path, bool], ...] = ()
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """``$push``: values are put into a list, which is then sorted and cut.

    Args:
        path: The list.
        values: What is added.
        position: The index before which it is put; None: at the end.
        order: How the list is sorted then, or None.
        slice: How many elements stay: the first, or the last if negative; None: all.
    """

    path: Path
    values: tuple[Any, ...]
    position: int | None = None
    order: Order | None = None
    slice: int | None = None


@dataclass(frozen=True, slots=True)
class Pull:
    """``$pull`` and ``$pullAll``: elements that pass a test leave the list."""

    path: Path
    operator: Literal["$pull", "$pullAll"]
    is_unwanted: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class AddToSet:
    """``$addToSet``: values that equal no element are put at the end of the list."""

    path: Path
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Pop:
    """``$pop``: the list's first or last element is gone."""

    path: Path
    first: bool


@dataclass(frozen=True, slots=True)
class Bit:
    """``$bit``: an integer and another are combined bit by bit, in this order."""

    path: Path
    operations: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Link:
    """``$link``: a relation is set, or ids are added to a list of them.

    Args:
        path: The relation.
        ids: Whole ids.
        many: Whether the relation is a list; None if no schema says: then a list that is there or
            was given decides.
    """

    path: Path
    ids: tuple[str, ...]
    many: bool | None


@dataclass(frozen=True, slots=True)
class Unlink:
    """``$unlink``: ids are removed from a relation; all of them if ``ids`` is None."""

    path: Path
    ids: tuple[str, ...] | None


Step = (
    Set
    | Unset
    | Rename
    | Compute
    | Bound
    | CurrentDate
    | Push
    | Pull
    | AddToSet
    | Pop
    | Bit
    | Link
    | Unlink
)


@dataclass(frozen=True, slots=True)
class Update:
    """Steps that do not overlap, so that their order is of no account.

    Args:
        steps: What is done.
        touched: The top-level fields that may change.
    """

    steps: tuple[Step, ...]
    touched: frozenset[str]
