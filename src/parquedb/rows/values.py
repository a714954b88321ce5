"""Which values a document may hold, and their normal form.

The kinds are None, bool, int, float (not NaN), str, bytes, datetime, date, Decimal (finite),
UUID, list and dict with str keys. Tuples count as lists and instances of subclasses as their
base; everything else is refused, with the path of each value that is in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, cast
from uuid import UUID

from parquedb import compiled
from parquedb.errors import InvalidInputError

Document = dict[str, Any]
"""A document as it is stored: system fields and the user's, see :mod:`parquedb.rows.columns`."""

MAX_DEPTH = 100
"""How many lists and dicts may be inside each other below a document."""
MAX_SIZE_BYTES = 16 << 20
"""How long the JSON form of a document's own fields may be."""

STORED_BYTES = MAX_SIZE_BYTES + (64 << 10)
"""How long that of a stored image may be, which has system fields too."""

_SWELLS = 8
"""The JSON form is at most this many times as long as it is measured, and never shorter."""
_SHOWN = 20
"""How many problems one message lists."""
_BYTES_OF: dict[type, int] = {NoneType: 4, bool: 4, date: 21, UUID: 47}
"""The shortest JSON of kinds that have about one length."""
_TEXTS = frozenset({str})
_ATOMS = frozenset({NoneType, bool, int, float, str, bytes, date, Decimal, UUID})
_KINDS = (
    "None, bool, int, float, str, bytes, datetime, date, Decimal, UUID, list or dict with str keys"
)


class _TooLarge(Exception):  # noqa: N818  (a signal that stays in this module)
    """A value is so large that looking further is of no use, and may never end."""


class _Unclean(Exception):  # noqa: N818  (a signal that stays in this module)
    """Something that the fast walk does not decide."""


def check_document(document: Document, where: str) -> int:
    """Check every value of a document.

    Args:
        document: The document.
        where: How messages name it, ``users/01J…``.

    Returns:
        About how many bytes its JSON form has, rather too few.

    Raises:
        InvalidInputError: Some values are not acceptable; the message lists them by path.
    """
    if type(document) is not dict:
        require_dict(document, where)
        document = dict(document)
    try:
        size_bytes = _measure_dict(document, 0)
    except (_Unclean, UnicodeEncodeError, OverflowError):
        problems: list[str] = []
        size_bytes = find_problems(document, problems)
        raise_problems(where, problems)
    if size_bytes * _SWELLS > MAX_SIZE_BYTES:
        size_bytes = check_size(document, where)
    return size_bytes


def checked_copy(document: Document, where: str) -> tuple[Document, int]:
    """Check every value of a document and copy it in its normal form, in one walk.

    Args:
        document: The document.
        where: How messages name it, ``users/01J…``.

    Returns:
        What :func:`plain` makes of it, and what :func:`check_document` returns.

    Raises:
        InvalidInputError: Some values are not acceptable; the message lists them by path.
    """
    try:
        copy, size_bytes = compiled.copy_document(document) or _copy_dict(document, 0)
    except (_Unclean, UnicodeEncodeError, OverflowError):
        size_bytes = check_document(document, where)
        return plain(document), size_bytes
    if size_bytes * _SWELLS > MAX_SIZE_BYTES:
        size_bytes = check_size(copy, where)
    return copy, size_bytes


def require_dict(document: Any, where: str) -> None:
    """Refuse what is no dict as a document.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(document, dict):
        raise InvalidInputError(f"{where}: a document is a dict, not {_kind(document)}")


def check_size(document: Document, where: str, limit_bytes: int = MAX_SIZE_BYTES) -> int:
    """Return the exact number of bytes of a valid document's JSON form.

    Raises:
        InvalidInputError: It is longer than the limit.
    """
    from parquedb.rows.jsonform import encode_document  # noqa: PLC0415  (it builds on this module)

    size_bytes = len(encode_document(document))
    if size_bytes > limit_bytes:
        raise InvalidInputError(f"{where}: {too_large(size_bytes, limit_bytes)}")
    return size_bytes


def is_clean(value: Any, depth: int) -> bool:
    """Whether a value is surely acceptable, of exact kinds only, and not large.

    Args:
        value: Any value.
        depth: How many lists and dicts it is in, the document not counted.
    """
    try:
        return _measure(value, depth) * _SWELLS <= MAX_SIZE_BYTES
    except (_Unclean, UnicodeEncodeError, OverflowError):
        return False


def raise_problems(where: str, problems: list[str]) -> None:
    """Raise one error for all problems of a document, if there are any.

    Raises:
        InvalidInputError: There is at least one.
    """
    if problems:
        more = len(problems) - _SHOWN
        shown = problems[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise InvalidInputError(f"{where}: {'; '.join(shown)}")


def find_problems(value: Any, problems: list[str], path: str = "", depth: int = 0) -> int:
    """List what is not acceptable in a value, whatever it is.

    Args:
        value: The value.
        problems: Where each problem is added, with its path.
        path: The value's path, ``address.city`` or ``tags.2``.
        depth: How many lists and dicts it is in, the document not counted.

    Returns:
        About how many bytes its JSON form has.
    """
    try:
        return _walk(value, problems, path, depth)
    except _TooLarge:
        problems.append(_at(path, too_large(MAX_SIZE_BYTES)))
        return 0


def _walk(value: Any, problems: list[str], path: str, depth: int) -> int:
    if isinstance(value, dict | list | tuple):
        if depth > MAX_DEPTH:
            problems.append(_at(path, f"lists and dicts are nested deeper than {MAX_DEPTH} levels"))
            return 0
        if len(problems) > _SHOWN * 50:  # a cycle
            return 0
        if isinstance(value, dict):
            return _dict_problems(value, problems, path, depth)
        return _size_of_items(
            ((str(index), item) for index, item in enumerate(value)), problems, path, depth
        )
    problem = _problem(value)
    if problem:
        problems.append(_at(path, problem))
        return 0
    kind = type(value)
    return _measure(value, 0) if kind in _ATOMS or kind is datetime else 2


def plain(value: Any) -> Any:
    """Return a deep copy of a value in its normal form, as it is read back.

    Tuples become lists, instances of subclasses their base, aware datetimes UTC.

    Raises:
        InvalidInputError: It is of no kind that a document may hold.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {
            key if type(key) is str else _key(key): (item if type(item) in _ATOMS else plain(item))
            for key, item in value.items()
        }
    if kind is list:
        return [item if type(item) in _ATOMS else plain(item) for item in value]
    return _base(value)


def in_utc(value: datetime) -> datetime:
    """Return an aware datetime in UTC and a naive one as it is, without a fold.

    Raises:
        OverflowError: In UTC it is before year 1 or after year 9999.
    """
    zone = value.tzinfo
    if zone is UTC:
        return value.replace(fold=0) if value.fold else value
    if zone is None or value.utcoffset() is None:
        return value.replace(tzinfo=None, fold=0)
    return value.astimezone(UTC)


def _measure(value: Any, depth: int) -> int:
    kind = type(value)
    if kind is str:
        return (len(value) if value.isascii() else len(value.encode())) + 2
    if kind is dict:
        return _measure_dict(value, depth)
    if kind is list:
        return _measure_list(value, depth)
    return _measure_rest(value, kind)


def _measure_dict(document: Document, depth: int) -> int:
    """Return the approximate size of a clean dict; raise whatever otherwise."""
    if type(document) is not dict or depth > MAX_DEPTH:
        raise _Unclean
    size = 1
    for key, value in document.items():
        if type(key) is not str:
            raise _Unclean
        if not key.isascii():
            key.encode()
        kind = type(value)
        if kind is str:
            size += len(key) + (len(value) if value.isascii() else len(value.encode())) + 6
        elif kind is int:
            size += len(key) + (value.bit_length() >> 2) + 5
        elif kind is dict:
            size += len(key) + 4 + _measure_dict(value, depth + 1)
        elif kind is list:
            size += len(key) + 4 + _measure_list(value, depth + 1)
        else:
            size += len(key) + 4 + _measure_rest(value, kind)
    if size > MAX_SIZE_BYTES:
        raise _Unclean
    return size


def _copy_dict(document: Document, depth: int) -> tuple[Document, int]:
    """Return a copy of a clean dict and its approximate size; raise whatever otherwise."""
    if type(document) is not dict or depth > MAX_DEPTH:
        raise _Unclean
    copy = document.copy()
    size = 1
    for key, value in copy.items():
        if type(key) is not str or not (key.isascii() or key.encode()):
            raise _Unclean
        kind = type(value)
        if kind is str:
            size += len(key) + (len(value) if value.isascii() else len(value.encode())) + 6
        elif kind is int:
            size += len(key) + (value.bit_length() >> 2) + 5
        elif kind is dict:
            copy[key], inner = _copy_dict(value, depth + 1)
            size += len(key) + 4 + inner
        elif kind is list:
            copy[key], inner = _copy_list(value, depth + 1)
            size += len(key) + 4 + inner
        elif kind is float:
            if value != value:  # NaN
                raise _Unclean
            size += len(key) + 7
        elif kind is datetime:
            copy[key] = in_utc(value)
            size += len(key) + 36
        else:
            size += len(key) + 4 + _measure_rest(value, kind)
    if size > MAX_SIZE_BYTES:
        raise _Unclean
    return copy, size


def _copy_list(items: list[Any], depth: int) -> tuple[list[Any], int]:
    """Return a copy of a clean list and its approximate size; raise whatever otherwise."""
    if depth > MAX_DEPTH:
        raise _Unclean
    copy = items.copy()
    kinds = set(map(type, copy))
    if kinds == _TEXTS:
        text = "".join(copy)
        return copy, (len(text) if text.isascii() else len(text.encode())) + 3 * len(copy) + 1
    if _ATOMS.issuperset(kinds):
        return copy, _measure_list(copy, depth)
    size = 1
    for index, item in enumerate(copy):
        kind = type(item)
        if kind is dict:
            copy[index], inner = _copy_dict(item, depth + 1)
        elif kind is list:
            copy[index], inner = _copy_list(item, depth + 1)
        elif kind is datetime:
            copy[index], inner = in_utc(item), 32
        else:
            inner = _measure(item, depth + 1)
        size += inner + 1
        if size > MAX_SIZE_BYTES:
            raise _Unclean
    return copy, size


def _measure_list(items: list[Any], depth: int) -> int:
    if depth > MAX_DEPTH:
        raise _Unclean
    kinds = set(map(type, items))
    if len(kinds) == 1:
        kind = next(iter(kinds))
        if kind is str:
            text = "".join(items)
            size = len(text) if text.isascii() else len(text.encode())
            return size + 3 * len(items) + 1
        if kind is int:
            return len(items) + (sum(map(int.bit_length, items)) - len(items)) * 3 // 10 + 1
        if kind is float:
            total = sum(items)
            if total == total:  # not NaN, so none of them is
                return 4 * len(items) + 1
    size = 1
    for item in items:
        size += _measure(item, depth + 1) + 1
        if size > MAX_SIZE_BYTES:
            raise _Unclean
    return size


def _measure_rest(value: Any, kind: type) -> int:
    """Return the size of what is neither text nor a container."""
    if kind is datetime:
        if value.tzinfo is not None and value.tzinfo is not UTC:
            in_utc(value)
        return 32
    if kind is float:
        if value != value:  # NaN
            raise _Unclean
        return 3
    if (size := _BYTES_OF.get(kind)) is not None:
        return size
    if kind is int:
        return cast("int", value.bit_length() >> 2) + 1
    if kind is bytes:
        return len(value) * 4 // 3 + 12
    if kind is Decimal and value.is_finite():
        return 14 + len(value.as_tuple().digits)
    raise _Unclean


def _dict_problems(value: dict[Any, Any], problems: list[str], path: str, depth: int) -> int:
    for key in value:
        if not isinstance(key, str):
            problems.append(_at(path, f"the key {key!r} is no str but {_kind(key)}"))
        elif not _encodes(key):
            problems.append(_at(path, f"the key {key!r} holds half of a surrogate pair"))
    items = ((str.__str__(k), v) for k, v in value.items() if isinstance(k, str))
    return sum(len(key) + 3 for key in value if isinstance(key, str)) + _size_of_items(
        items, problems, path, depth
    )


def _size_of_items(
    items: Iterable[tuple[str, Any]], problems: list[str], path: str, depth: int
) -> int:
    size = 1
    for key, item in items:
        inner = f"{path}.{key}" if path else key
        size += _walk(item, problems, inner, depth + 1) + 1
        if size > MAX_SIZE_BYTES:
            raise _TooLarge
    return size


def _problem(value: Any) -> str | None:
    """Say why a value that is no container is not acceptable, or return None."""
    match value:
        case float():
            if value != value:  # NaN
                return "NaN is not a value; leave the field out or use None"
        case str():
            return None if _encodes(value) else "the text holds half of a surrogate pair"
        case Decimal():
            return None if value.is_finite() else f"{value!r} is not finite"
        case datetime():
            return _datetime_problem(value)
        case None | int() | bytes() | date() | UUID():
            return None
        case _:
            return f"{_kind(value)} is no kind of value that a document holds; use {_KINDS}"
    return None


def _datetime_problem(value: datetime) -> str | None:
    if getattr(value, "nanosecond", 0):
        return f"{value!r} has nanoseconds; round it to microseconds"
    try:
        _base_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return f"{value!r} is not between the years 1 and 9999 in UTC"
    return None


def _base(value: Any) -> Any:
    for kind, convert in _BASES:
        if isinstance(value, kind):
            return convert(value)
    raise InvalidInputError(
        f"{_kind(value)} is no kind of value that a document holds; use {_KINDS}"
    )


def _base_datetime(value: datetime) -> datetime:
    if type(value) is not datetime:
        value = datetime(
            value.year, value.month, value.day, value.hour, value.minute, value.second,
            value.microsecond, value.tzinfo, fold=value.fold,
        )  # fmt: skip
    return in_utc(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise InvalidInputError(f"the key {key!r} is no str but {_kind(key)}; keys are text")


_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, lambda value: plain(dict(value.items()))),
    (list, lambda value: [plain(item) for item in value]),
    (tuple, lambda value: [plain(item) for item in value]),
    (datetime, _base_datetime),
    (date, lambda value: date(value.year, value.month, value.day)),
    (bytes, lambda value: bytes(memoryview(value))),
    (Decimal, Decimal),
    (UUID, lambda value: UUID(int=value.int)),
)


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _at(path: str, problem: str) -> str:
    return f"{path}: {problem}" if path else problem


def too_large(size_bytes: int, limit_bytes: int = MAX_SIZE_BYTES) -> str:
    """Say that a document is too large; ``size_bytes`` is the limit where more is not known."""
    has = f"{size_bytes} bytes, " if size_bytes > limit_bytes else ""
    return (
        f"the document's JSON form has {has}more than {limit_bytes} bytes; keep large content in "
        "files of its own"
    )
