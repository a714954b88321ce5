"""Documents as plain JSON that people and other programs read, and filters as they type them.

Dates are ISO 8601 text, decimals and UUIDs text, bytes base64. What is exact is the extended form
(:mod:`parquedb.rows.jsonform`); its tags can be used in filters too.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from parquedb.errors import FormatError, InvalidInputError
from parquedb.rows.jsonform import decode_value, encode_value

Document = dict[str, Any]

_TAGS = frozenset(
    {"$date", "$local", "$day", "$decimal", "$bytes", "$uuid", "$int", "$double"}
)  # fmt: skip
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_STRICT_INTEGER


def readable_json(document: Mapping[str, Any]) -> bytes:
    """Return a document, or another value, as plain JSON in one line."""
    return json_text(readable_value(document))


def json_text(value: Any) -> bytes:
    """Return what JSON can hold as text; ints may be of any size."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except TypeError:  # an int beyond 53 bit
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return text.encode()


def readable_value(value: Any) -> Any:
    """Return a value as what plain JSON can hold."""
    match value:
        case dict():
            return {key: readable_value(item) for key, item in value.items()}
        case list() | tuple():
            return [readable_value(item) for item in value]
        case float() if value != value:  # NaN, which only SQL brings forth
            return None
        case float() if value in (float("inf"), float("-inf")):
            return "inf" if value > 0 else "-inf"
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case bytes():
            return b64encode(value).decode()
        case Decimal() | UUID():
            return str(value)
        case _:
            return value


def tagged_value(value: Any) -> Any:
    """Return a value as the extended JSON that keeps its kind."""
    return orjson.loads(encode_value(value))


def parse_json(text: str, what: str) -> Any:
    """Parse JSON in which tags may stand for what JSON has no kind for.

    Args:
        text: The JSON.
        what: What messages call it.

    Raises:
        InvalidInputError: It is no JSON, or a tag has no such value.
    """
    try:
        return _untagged(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{what} is not valid JSON ({error}): {_shortened(text)}; write it like "
            """'{"age": {"$gt": 30}}', in single quotes for the shell"""
        ) from error


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key in _TAGS and isinstance(item, str):
            try:
                return decode_value(orjson.dumps(value))
            except FormatError as error:
                raise InvalidInputError(f"{item!r} is no value of {key!r}: {error}") from error
    return {key: _untagged(item) for key, item in value.items()}


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
