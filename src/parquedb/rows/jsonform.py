"""Documents as JSON: the form they have in the journal and in the column ``$data``.

What JSON has is written as it is. The rest is an object with one key that begins with ``$``:
``{"$date": "2020-01-01T00:00:00Z"}`` an instant, ``$local`` a naive datetime, ``$day`` a date,
``$decimal``, ``$bytes`` (base64), ``$uuid``, ``$int`` beyond 64 bit, ``$double`` an infinity. A
document's own key that begins with ``$`` gets one more ``$`` in front, at every level, except
``$id`` and ``$type`` at the top of a stored document.
"""

from __future__ import annotations

import re
import reprlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import UUID

import orjson

from parquedb import compiled
from parquedb.errors import FormatError, InvalidInputError
from parquedb.rows.values import Document, in_utc, plain

HINTS = "$int"
"""The reserved key at the top of ``$data``: fields whose float column reads back as int."""

_SYSTEM = frozenset({"$id", "$type"})
_NESTED = frozenset({dict, list})
_PASS = (
    orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_FAST = _PASS | orjson.OPT_STRICT_INTEGER
"""Refuses ints beyond 53 bit, so none beyond 63 goes out untagged."""
_UTC_AS_Z = orjson.OPT_UTC_Z
_UUID = re.compile(rb'"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"')
_INFINITY = float("inf")
_MAX_INT = 2**63 - 1
_MIN_INT = -(2**63)
_STR_DIGITS = 4000
"""Python refuses to turn longer ints into text; ``Decimal`` does it."""


def encode_document(document: Document) -> bytes:
    """Return a stored document's JSON.

    Args:
        document: A document that :func:`~parquedb.rows.values.check_document` accepts.

    Raises:
        InvalidInputError: It holds a value of no such kind.
    """
    text = compiled.encode_document(document) or _encode(
        document, ("$id" in document) + ("$type" in document)
    )
    if text is None:
        text = orjson.dumps(
            {
                key if key in _SYSTEM else _escape(key): _tag(value)
                for key, value in plain(document).items()
            }
        )
    return text


def decode_document(text: bytes | str) -> Document:
    """Return the document of its JSON.

    Raises:
        FormatError: The text is not a document's JSON form.
    """
    document = _parse(text)
    if not isinstance(document, dict):
        raise _malformed(text, "it is no JSON object")
    dollars = text.count('"$') if isinstance(text, str) else text.count(b'"$')
    if dollars == ("$id" in document) + ("$type" in document):
        return document
    return _guarded(text, lambda: _restored(document))  # type: ignore[no-any-return]


def restore_document(parsed: Document) -> Document:
    """Return the document of its JSON that was parsed already, as part of something larger.

    Args:
        parsed: A document's JSON as Python has it; used up.

    Raises:
        FormatError: It is not a document's JSON form.
    """
    try:
        return _restored(parsed)
    except (ValueError, OverflowError, RecursionError, InvalidOperation) as error:
        raise _malformed(reprlib.repr(parsed), str(error)) from error


def _restored(parsed: Document) -> Document:
    return compiled.restore_document(parsed) or _untag_top(parsed, _SYSTEM)


def encode_value(value: Any) -> bytes:
    """Return any value's JSON.

    Raises:
        InvalidInputError: It holds a value of no kind that a document may hold.
    """
    text = _encode(value, 0)
    return orjson.dumps(_tag(plain(value))) if text is None else text


def decode_value(text: bytes | str) -> Any:
    """Return the value of its JSON.

    Raises:
        FormatError: The text is not a value's JSON form.
    """
    value = _parse(text)
    if ('"$' if isinstance(text, str) else b'"$') not in text:  # type: ignore[operator]
        return value
    return _guarded(text, lambda: _untag(value))


def encode_overflow(extras: Document, hints: Sequence[str]) -> bytes:
    """Return the text of ``$data``.

    Args:
        extras: The fields whose value is not, or not only, in a column.
        hints: The fields whose float column is to be read back as int.

    Raises:
        InvalidInputError: It holds a value of no kind that a document may hold.
    """
    if not hints:
        return encode_value(extras)
    return orjson.dumps({**_tag(plain(extras)), HINTS: list(hints)})


def decode_overflow(text: str) -> tuple[Document, Sequence[str]]:
    """Return the fields and the hints of a text of ``$data``.

    Raises:
        FormatError: The text is not what :func:`encode_overflow` writes.
    """
    extras = _parse(text)
    if not isinstance(extras, dict):
        raise _malformed(text, "it is no JSON object")
    if '"$' not in text:
        return extras, ()
    hints = extras.pop(HINTS, ())
    if not isinstance(hints, list | tuple) or not all(isinstance(name, str) for name in hints):
        raise _malformed(text, f"{HINTS!r} is no list of names")
    return _guarded(text, lambda: _untag_top(extras, frozenset())), hints


def _encode(value: Any, dollars: int) -> bytes | None:
    """Encode without a copy, or return None where tags or escapes could be missing.

    Args:
        value: The value.
        dollars: How many keys at its top begin with ``$`` and stay as they are.
    """
    tags = dates = 0
    last = form = None  # a document's times are often one

    def tagged(item: Any) -> Any:
        nonlocal tags, dates, last, form
        kind = type(item)
        if kind is datetime:
            tags += 1
            dates += 1
            if item is last:
                return form
            if item.tzinfo is not UTC:
                return _tag_datetime(item)
            last, form = (
                item,
                orjson.Fragment(b'{"$date":%b}' % orjson.dumps(item, None, _UTC_AS_Z)),
            )
            return form
        if kind in _TAGS:
            tags += 1
            return _TAGS[kind](item)
        return plain(item)

    try:
        text = orjson.dumps(value, tagged, _FAST)
    except TypeError:
        return None
    if text.count(b'"$') != dollars + tags:
        return None
    # Infinities are written as null, and UUIDs as text, without a word.
    if b"null" in text and _holds_odd_float(value):
        return None
    if text.count(b"-") - 2 * dates >= 4 and _UUID.search(text):
        return None
    return text


def _holds_odd_float(value: Any) -> bool:
    if isinstance(value, float):
        return not -_INFINITY < value < _INFINITY
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return any(
        _holds_odd_float(item) for item in value if isinstance(item, float | dict | list | tuple)
    )


def _tag(value: Any) -> Any:
    """Return a value in its normal form as what JSON can say."""
    kind = type(value)
    if kind is dict:
        return {_escape(key): _tag(item) for key, item in value.items()}
    if kind is list:
        return [_tag(item) for item in value]
    if kind is float:
        return value if -_INFINITY < value < _INFINITY else {"$double": _double_text(value)}
    if kind is int:
        return value if _MIN_INT <= value <= _MAX_INT else {"$int": _int_text(value)}
    if kind is datetime:
        return _tag_datetime(value)
    return _TAGS[kind](value) if kind in _TAGS else value


def _escape(key: str) -> str:
    return "$" + key if key[:1] == "$" else key


def _tag_datetime(value: datetime) -> dict[str, str]:
    value = in_utc(value)
    if value.tzinfo is None:
        return {"$local": value.isoformat()}
    return {"$date": value.isoformat()[:-6] + "Z"}


_TAGS: dict[type, Callable[[Any], dict[str, str]]] = {
    date: lambda value: {"$day": value.isoformat()},
    Decimal: lambda value: {"$decimal": str(value)},
    bytes: lambda value: {"$bytes": b64encode(value).decode()},
    UUID: lambda value: {"$uuid": str(value)},
}


def _double_text(value: float) -> str:
    if value != value:  # NaN
        raise InvalidInputError("NaN is not a value; leave the field out or use None")
    return "inf" if value > 0 else "-inf"


def _int_text(value: int) -> str:
    return str(value) if value.bit_length() < 3 * _STR_DIGITS else format(Decimal(value), "f")


def _untag(value: Any) -> Any:
    """Undo :func:`_tag`, in place where that is possible."""
    kind = type(value)
    if kind is dict:
        if len(value) == 1:
            ((key, item),) = value.items()
            if key[:1] == "$" and key[:2] != "$$":
                return _untag_one(key, item)
        return _untag_top(value, frozenset())
    if kind is list and not _NESTED.isdisjoint(map(type, value)):
        for index, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                value[index] = _untag(item)
    return value


def _untag_top(value: Document, kept: frozenset[str]) -> Document:
    """Undo tags inside a dict that is none itself; ``kept`` are keys that were not escaped."""
    if not _NESTED.isdisjoint(map(type, value.values())):
        for key, item in value.items():
            if type(item) is dict:
                if len(item) == 1 and "$date" in item:
                    value[key] = _untag_one("$date", item["$date"])
                else:
                    value[key] = _untag(item)
            elif type(item) is list:
                _untag(item)
    if "".join(value).count("$") == len(kept) and kept.issubset(value):
        return value  # as most: no other key has a dollar
    marked = [key for key in value if key[:1] == "$" and key not in kept]
    for key in marked:
        if key[:2] != "$$":
            raise ValueError(f"the key {key!r} is not known")
    if not marked:
        return value
    return {key[1:] if key[:2] == "$$" else key: item for key, item in value.items()}


def _untag_one(key: str, text: Any) -> Any:
    parse = _PARSERS.get(key)
    if parse is None or not isinstance(text, str):
        raise ValueError(f"the tag {key!r} is not known or does not hold a text")
    return parse(text)


def _parse_instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is UTC else _aware(value)


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("an instant without a zone")
    return value.astimezone(UTC)


def _parse_local(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is not None:
        raise ValueError("a local time with a zone")
    return value


def _parse_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("a decimal that is not finite")
    return value


def _parse_double(text: str) -> float:
    if text not in {"inf", "-inf"}:
        raise ValueError("no infinity")
    return float(text)


def _parse_int(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise ValueError("no int")
    return int(text) if len(text) < _STR_DIGITS else int(Decimal(text))


_PARSERS: dict[str, Callable[[str], Any]] = {
    "$date": _parse_instant,
    "$local": _parse_local,
    "$day": date.fromisoformat,
    "$decimal": _parse_decimal,
    "$bytes": lambda text: b64decode(text, validate=True),
    "$uuid": UUID,
    "$int": _parse_int,
    "$double": _parse_double,
}


def _parse(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise _malformed(text, str(error)) from error


def _guarded(text: bytes | str, undo: Callable[[], Any]) -> Any:
    try:
        return undo()
    except (ValueError, OverflowError, RecursionError, InvalidOperation) as error:
        raise _malformed(text, str(error)) from error


def _malformed(text: bytes | str, reason: str) -> FormatError:
    shown = cast("Any", text[:80])
    return FormatError(
        f"the text {shown!r} is not a document's JSON: {reason}; restore it from a copy"
    )
