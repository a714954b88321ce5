"""Filters as a tree with one meaning and two interpreters (:mod:`.match` and :mod:`.sql`).

A filter is a predicate over a document. A *path* names a field by keys from the top down; where it
meets a list, it goes on in every element, and a numeric part also names the element of that index
(MongoDB manual, "Query on Embedded/Nested Documents", "Query an Array"). A test at a path holds if
it holds for any value that the path reaches. Where the path's end is a list, most tests hold if
they hold for any of its elements or for the list as a whole; :class:`Exists`, :class:`HasSize`,
:class:`ElementMatches` and :class:`ElementPasses` look at the list as a whole only, and so does
every test at a list that was named by its index in another list (``{"a.0": 1}`` is not true of
``{"a": [[1]]}``, as in MongoDB's server).

A path reaches *nothing* (which null equals) where a document lacks the key, or where the value is
neither document nor list. It reaches not even that in an empty list and in list elements that are
not documents: ``{"a.b": None}`` is true of ``{"a": [{}]}``, not of ``{"a": []}`` or ``{"a": [1]}``.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from parquedb.slotted import dataclass

Path = tuple[str, ...]
"""The parts of a dotted path."""

Value = Any
"""A document's value, see :mod:`parquedb.rows.values`."""


class Bound(Enum):
    """The four ordering comparisons."""

    LESS = "$lt"
    AT_MOST = "$lte"
    GREATER = "$gt"
    AT_LEAST = "$gte"


@dataclass(frozen=True, slots=True)
class Equals:
    """The value equals this one. None also matches where the path reaches nothing."""

    value: Value


@dataclass(frozen=True, slots=True)
class Compares:
    """The value is of the same type bracket as this one and stands in this order to it."""

    bound: Bound
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """The value equals one of these or matches one of these patterns."""

    values: tuple[Value, ...]
    patterns: tuple[Matches, ...] = ()


@dataclass(frozen=True, slots=True)
class Exists:
    """The path reaches something, null included."""


@dataclass(frozen=True, slots=True)
class HasType:
    """The value is of one of these BSON types, named by MongoDB's aliases (``"string"``).

    ``"number"`` is not among them; the parser spells it out.
    """

    aliases: frozenset[str]


@dataclass(frozen=True, slots=True)
class Matches:
    """The value is a string in which the pattern is found.

    Args:
        pattern: The regular expression.
        flags: Letters of ``imsx``, sorted.
    """

    pattern: str
    flags: str = ""


class TextOperator(Enum):
    """The three plain text searches."""

    STARTS_WITH = "$startsWith"
    ENDS_WITH = "$endsWith"
    CONTAINS = "$contains"


@dataclass(frozen=True, slots=True)
class Text:
    """The value is a string that begins with, ends with or contains a text (case matters)."""

    operator: TextOperator
    text: str


@dataclass(frozen=True, slots=True)
class Modulo:
    """The value is a number whose remainder after truncation to an integer is this."""

    divisor: int
    remainder: int


@dataclass(frozen=True, slots=True)
class HasSize:
    """The value is a list of this many elements."""

    size: int


@dataclass(frozen=True, slots=True)
class ContainsAll:
    """Every one of these tests holds for the field (``$all``); without any it never does."""

    tests: tuple[Equals | Matches | ElementMatches | ElementPasses, ...]


@dataclass(frozen=True, slots=True)
class ElementMatches:
    """The value is a list with an element that is a document (or list) matching a filter."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class ElementPasses:
    """The value is a list with one element that passes all these tests itself.

    Args:
        tests: Tests, and whether each is negated (``$not``, ``$ne``, ``$nin``).
    """

    tests: tuple[tuple[Test, bool], ...]


@dataclass(frozen=True, slots=True)
class Passes:
    """One value itself passes all these tests; only inside :class:`ElementPasses`.

    Args:
        tests: Tests, and whether each is negated.
    """

    tests: tuple[tuple[Test, bool], ...]


Test = (
    Equals
    | Compares
    | In
    | Exists
    | HasType
    | Matches
    | Text
    | Modulo
    | HasSize
    | ContainsAll
    | ElementMatches
    | ElementPasses
    | Passes
)


@dataclass(frozen=True, slots=True)
class At:
    """A test holds for a field."""

    path: Path
    test: Test


@dataclass(frozen=True, slots=True)
class And:
    """All hold; an empty one always does."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    part: Filter


@dataclass(frozen=True, slots=True)
class Expression:
    """``$expr``: an aggregation expression is true of the document.

    Args:
        source: The expression as it was given (parsed by :mod:`.expression`).
    """

    source: Any


Filter = At | And | Or | Not | Expression

EVERYTHING: Filter = And(())
"""The empty filter."""
