"""Statistics as text that is changed in one place and else stays as it is written."""

from __future__ import annotations

import json
from typing import Any

import orjson

_INT64_DIGITS = 18


def decode_stats(text: str) -> dict[str, Any]:
    """Return statistics that are to be changed and encoded again; ``null`` has none.

    Numbers keep their digits: a decimal that becomes a double on its way is another one, and a
    bound that may exclude its own row.

    Raises:
        ValueError: The text is no JSON.
    """
    body: dict[str, Any] | None = json.loads(text, parse_float=_as_written, parse_int=_whole)
    return {} if body is None else body


def encode_stats(body: dict[str, Any]) -> str:
    """Undo :func:`decode_stats`."""
    return orjson.dumps(body).decode()


def _as_written(number: str) -> orjson.Fragment:
    return orjson.Fragment(number)


def _whole(number: str) -> int | orjson.Fragment:
    return int(number) if len(number) <= _INT64_DIGITS else orjson.Fragment(number)
