"""Members of decoded JSON, checked for what they must be.

Each function returns its argument if it is of the kind, and raises ``TypeError`` or ``ValueError``
else, which the parser of the file turns into its own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_DEPTH = 100
"""How deep types and values may be nested."""
_INT64 = 1 << 63


def whole(value: Any) -> int:
    """Return an integer of 64 bits; a boolean is none."""
    if type(value) is not int or not -_INT64 <= value < _INT64:
        raise TypeError(f"{value!r:.80} is no whole number of 64 bits")
    return value


def optional_whole(value: Any) -> int | None:
    """Return an integer of 64 bits, or None."""
    return None if value is None else whole(value)


def count(value: Any) -> int:
    """Return an integer that is not negative."""
    if whole(value) < 0:
        raise ValueError(f"{value} is no count")
    return int(value)


def optional_count(value: Any) -> int | None:
    """Return an integer that is not negative, or None."""
    return None if value is None else count(value)


def digits(value: str) -> int | None:
    """Return the number that ASCII digits are, at most 18 of them; None for any other text."""
    return int(value) if len(value) <= 18 and value.isascii() and value.isdigit() else None


def text(value: Any) -> str:
    """Return a text."""
    if type(value) is not str:
        raise TypeError(f"{value!r:.80} is no text")
    return value


def optional_text(value: Any) -> str | None:
    """Return a text, or None."""
    return None if value is None else text(value)


def flag(value: Any) -> bool:
    """Return a boolean."""
    if type(value) is not bool:
        raise TypeError(f"{value!r:.80} is neither true nor false")
    return value


def items(value: Any) -> Sequence[Any]:
    """Return a list; None is an empty one."""
    if value is None:
        return ()
    if type(value) is not list:
        raise TypeError(f"{value!r:.80} is no list")
    return value


def members(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; None is an empty one."""
    if value is None:
        return {}
    if type(value) is not dict:
        raise TypeError(f"{value!r:.80} is no object")
    return value


def texts(value: Any) -> dict[str, str]:
    """Return a JSON object of texts; None is an empty one."""
    found = members(value)
    for item in found.values():
        text(item)
    return dict(found)


def numbers(value: Any) -> tuple[tuple[str, int], ...]:
    """Return the whole numbers among members of any kind; some writers tell them as text."""
    if not isinstance(value, dict):
        return ()
    told = {str(k): digits(v) if isinstance(v, str) else v for k, v in value.items()}
    return tuple((name, number) for name, number in told.items() if type(number) is int)


def optional_texts(value: Any) -> dict[str, str | None]:
    """Return a JSON object of texts and nulls; None is an empty one."""
    found = members(value)
    for item in found.values():
        optional_text(item)
    return dict(found)
