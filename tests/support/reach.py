"""The rule of paths (:mod:`parquedb.query.filter`) once more, as a list of what is reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parquedb.query.compare import MISSING


def reached(value: Any, path: tuple[str, ...], *, fans: bool) -> Iterator[Any]:
    for at, part in enumerate(path):
        if isinstance(value, list):
            yield from reached_in_list(value, path[at:], fans=fans)
            return
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    if fans and isinstance(value, list):
        yield from value
    yield value


def reached_in_list(items: list[Any], path: tuple[str, ...], *, fans: bool) -> Iterator[Any]:
    for at, item in enumerate(items):
        if isinstance(item, dict):
            yield from reached(item, path, fans=fans)
        if path[0] != str(at):
            continue
        if len(path) == 1:
            yield item
        elif isinstance(item, dict):
            yield from reached(item, path[1:], fans=fans)
        elif isinstance(item, list):
            yield from reached_in_list(item, path[1:], fans=fans)
