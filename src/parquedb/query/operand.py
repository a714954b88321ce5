"""What filters are parsed with: places in a filter, values checked and copied, nearest names."""

from __future__ import annotations

import difflib
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.slotted import dataclass

MOST_LEVELS: Final = 100
"""How deep filters and the values in them may be nested."""

_MOST = 1 << 63


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a filter something stands.

    Args:
        text: The operators and fields from the outside in.
        level: How deep that is.
    """

    text: str = "filter"
    level: int = 0

    def at(self, key: object) -> Place:
        """Return the place of a key of the mapping that stands here."""
        return self._inner(f"{self.text}: {key}" if self.level == 0 else f"{self.text}.{key}")

    def item(self, index: int) -> Place:
        """Return the place of an element of the list that stands here."""
        return self._inner(f"{self.text}[{index}]")

    def _inner(self, text: str) -> Place:
        if self.level >= MOST_LEVELS:
            raise InvalidInputError(
                f"{self.text[:200]}…: nested deeper than {MOST_LEVELS} levels; simplify the filter"
            )
        return Place(text, self.level + 1)

    def refuse(self, problem: str) -> InvalidInputError:
        """Return the error that says what is wrong here."""
        return InvalidInputError(f"{self.text}: {problem}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most like one that is not known, to be named in an error."""
    names = sorted(known)
    folded = name.casefold()
    return max(names, key=lambda one: difflib.SequenceMatcher(None, folded, one.casefold()).ratio())


def describe(value: object) -> str:
    """Return a value's type in an error's words."""
    if value is None:
        return "None"
    try:
        text = str(value)
    except ValueError:  # Python writes no int of that many digits
        text = hex(value) if isinstance(value, int) else object.__repr__(value)
    return f"{type(value).__name__} {text[:40]!r}"


def mapping_of(value: object, place: Place, what: str) -> Mapping[str, Any]:
    """Return a value that must be a mapping with string keys."""
    if not isinstance(value, Mapping):
        raise place.refuse(f"{what} must be a mapping, not {describe(value)}")
    for key in value:
        if not isinstance(key, str):
            raise place.refuse(f"keys must be strings, not {describe(key)}")
    return value


def list_of(value: object, place: Place) -> list[Any]:
    """Return a value that must be a list; sets are taken too."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise place.refuse(f"needs a list, not {describe(value)}")
    return list(value)


def text_of(value: object, place: Place) -> str:
    """Return a value that must be a string that can be stored."""
    if not isinstance(value, str):
        raise place.refuse(f"needs a string, not {describe(value)}")
    return literal(str.__str__(value), place)  # type: ignore[no-any-return]


def whole_of(value: object, place: Place, what: str) -> int:
    """Return a number that is taken for an integer, with its fraction cut off."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise place.refuse(f"{what} must be a number, not {describe(value)}")
    if not _is_number(value) or not -_MOST <= value < _MOST:
        raise place.refuse(f"{what} must be a number of 64 bits, not {value}")
    return int(value)


def is_plain(value: object) -> bool:
    """Return whether there is nothing to be checked in a value; long lists mostly hold such."""
    kind = value.__class__
    return kind is int or (kind is str and value.isascii())  # type: ignore[attr-defined]


def literal(value: Any, place: Place) -> Any:
    """Return a copy of a value that documents can hold, without subclasses and tuples.

    Raises:
        InvalidInputError: Documents cannot hold it.
    """
    kind = value.__class__
    if kind is str:
        return _text(value, place)
    if value is None or kind in (bool, int, bytes, uuid.UUID):
        return value
    if isinstance(value, float | Decimal):
        return _number(value, place)
    if isinstance(value, date):
        return _moment(value, place)
    if isinstance(value, list | tuple):
        return [
            element if is_plain(element) else literal(element, place.item(at))
            for at, element in enumerate(value)
        ]
    if isinstance(value, Mapping):
        fields = mapping_of(value, place, "a value")
        return {
            _text(str.__str__(key), place): literal(inner, place.at(key))
            for key, inner in fields.items()
        }
    return _based(value, place)


def _text(value: str, place: Place) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise place.refuse("a string has half of a surrogate pair; no document can") from error
    return value


def _number(value: float | Decimal, place: Place) -> float | Decimal:
    if not _is_number(value):
        raise place.refuse(f"{value} is not a number that documents can hold")
    if isinstance(value, float):
        return float(value)
    return value if value.__class__ is Decimal else Decimal(value)


def _is_number(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else not math.isnan(value)


def _moment(value: date, place: Place) -> date:
    if value.__class__ in (date, datetime):
        return value
    try:
        if not isinstance(value, datetime):
            return date(value.year, value.month, value.day)
        return datetime.combine(value.date(), value.timetz()).replace(fold=value.fold)
    except (TypeError, ValueError) as error:  # such as pandas.NaT
        raise place.refuse(f"{value} is not a time that documents can hold") from error


def _based(value: Any, place: Place) -> Any:
    """Return the base value of a subclass's."""
    if isinstance(value, str):
        return _text(str.__str__(value), place)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, uuid.UUID):
        return uuid.UUID(int=value.int)
    if isinstance(value, re.Pattern):
        raise place.refuse("a regular expression cannot stand here; use $regex, $in or $not")
    raise place.refuse(
        f"documents hold no {type(value).__name__}, so that nothing equals {str(value)[:40]!r}"
    )
