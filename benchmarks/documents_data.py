"""The documents of the measurements: about 300 bytes of JSON, the same for every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

Document = dict[str, Any]

CHUNK = 8192
START = datetime(2025, 1, 1, tzinfo=UTC)
AGES = 100
"""Each age has 1 % of the documents, and so has each city."""
CITIES = tuple(f"Port {name}" for name in (f"{a}{b}" for a in "ABCDEFGHIJ" for b in "abcdefghij"))
TAGS = tuple(f"topic-{number:03}" for number in range(300))
"""Each has 1 % of the documents, since a document has three."""
_FIRST = ("Ada", "Alan", "Barbara", "Claude", "Edsger", "Grace", "John", "Katherine", "Niklaus")
_LAST = tuple(f"{a}{b}" for a in ("Ash", "Bel", "Car", "Dun", "Eld") for b in ("ford", "ley", "by"))
_NAMES = tuple(f"{first} {last}" for first in _FIRST for last in _LAST)
_BOXES = tuple(name.lower().replace(" ", ".") for name in _NAMES)
_STREETS = tuple(f"{name} {kind}" for name in _LAST for kind in ("Street", "Avenue", "Lane"))
_SPREAD, _PRIME = 7_654_321, 9_999_991  # numbers of mail boxes: each once, in no order
_COUNTRIES = ("Germany", "Portugal", "Uruguay", "Vietnam", "Zambia")


def documents(count: int, start: int = 0) -> Iterator[Document]:
    """Yield documents by their numbers; the same numbers give the same documents.

    A document has no id: each database is given one, or makes one.
    """
    for chunk in range(start // CHUNK, -(-(start + count) // CHUNK)):
        low, high = chunk * CHUNK, (chunk + 1) * CHUNK
        made = _chunk(chunk)
        yield from (
            made[max(0, start - low) : min(CHUNK, start + count - low)]
            if (start > low or start + count < high)
            else made
        )


def _chunk(number: int) -> list[Document]:
    random = np.random.default_rng(number)

    def below(limit: int) -> list[int]:
        drawn: list[int] = random.integers(0, limit, CHUNK).tolist()
        return drawn

    name, street, house = below(len(_NAMES)), below(len(_STREETS)), below(400)
    country, city, tag = below(len(_COUNTRIES)), below(len(CITIES)), below(100)
    age, seconds = below(AGES), below(30_000_000)
    scores: list[float] = np.round(random.random(CHUNK) * 1000, 2).tolist()
    return [
        {
            "name": _NAMES[n],
            "email": f"{_BOXES[n]}.{i * _SPREAD % _PRIME}@example.com",
            "age": years,
            "score": score,
            "tags": [TAGS[t], TAGS[t + 100], TAGS[t + 200]],
            "address": {
                "street": f"{h} {_STREETS[s]}",
                "city": CITIES[c],
                "country": _COUNTRIES[k],
            },
            "seenAt": START + timedelta(seconds=at),
        }
        for i, (n, years, score, t, h, s, c, k, at) in enumerate(
            zip(name, age, scores, tag, house, street, city, country, seconds, strict=True),
            number * CHUNK,
        )
    ]
