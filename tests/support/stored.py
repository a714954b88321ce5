"""Random documents, and an equality that tells apart everything a document tells apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from typing import Any

from hypothesis import strategies as st


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


def same(a: Any, b: Any) -> bool:
    """Whether two values are of the same kinds and equal, at every level.

    Decimals are compared as numbers, and the order of keys does not matter.
    """
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        if set(map(type, a)) != set(map(type, b)):  # a member of an enum equals its text
            return False
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, datetime):
        zones = a.utcoffset() == b.utcoffset() and (a.tzinfo is UTC) is (b.tzinfo is UTC)
        return a == b and a.fold == b.fold and zones
    return bool(a == b)


def assert_same(got: list[Any], want: list[Any]) -> None:
    assert type(got) is not dict, "its keys alone would be compared"
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert same(one, other), f"{one!r} is not {other!r}"


zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]
)
instants = st.datetimes(
    min_value=datetime.min + timedelta(days=1),  # noqa: DTZ901
    max_value=datetime.max - timedelta(days=1),  # noqa: DTZ901
    timezones=zones,
)
integers = st.integers(-5, 5) | st.integers(-(2**70), 2**70) | st.sampled_from(
    [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]
)  # fmt: skip
floats = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e300])
decimals = st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(
    min_value=-1000, max_value=1000, places=2
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["$x", '"$id":', "null", "00000000-0000-0000-0000-000000000000", "\0", "😀"]
)
scalars = (
    st.none()
    | st.booleans()
    | integers
    | floats
    | texts
    | st.binary(max_size=4)
    | instants
    | st.datetimes()
    | st.dates()
    | decimals
    | st.uuids()
)
keys = st.sampled_from(
    ["a", "b", "A", "city", "x.y", "$date", "$$", "$int", "", "é", "a b", '"']
) | (texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


def _deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"d": value}
    return value


def _homogeneous(name: str) -> st.SearchStrategy[Any]:
    """Mostly one kind of value, as real fields have, so that columns come about."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "flag": st.booleans(),
        "count": st.integers(-(2**63), 2**63 - 1),
        "price": st.floats(allow_nan=False) | st.integers(-5, 5),
        "email": texts,
        "blob": st.binary(max_size=4),
        "day": st.dates(),
        "at": instants,
        "wall": st.datetimes(),
        "cost": st.decimals(min_value=-1000, max_value=1000, places=2),
        "tags": st.lists(texts, max_size=3) | st.lists(texts | st.none(), max_size=3),
        "rows": st.lists(st.lists(st.integers(-5, 5), max_size=2), max_size=2),
        "address": st.fixed_dictionaries(
            {"city": texts},
            optional={
                "zip": texts,
                "geo": st.fixed_dictionaries({"lat": floats}, optional={"lon": floats}),
            },
        ),
        "items": st.lists(
            st.fixed_dictionaries({"sku": texts}, optional={"n": st.integers(0, 9)}), max_size=3
        ),
        "color": st.sampled_from([Color.RED, Level.LOW, (1, 2), ("a", (None,))]),
        "deep": st.integers(1, 99).map(_deep),
    }
    return kinds[name]


FIELDS = (
    "flag", "count", "price", "email", "blob", "day", "at", "wall", "cost", "tags", "rows",
    "address", "items", "color", "deep",
)  # fmt: skip

_system = {
    "$type": st.just("User"),
    "name": texts,
    "createdAt": instants,
    "updatedAt": instants,
    "deletedAt": instants,
    "createdBy": texts,
    "version": st.integers(1, 9),
}


@st.composite
def documents(draw: st.DrawFn, *, min_size: int = 0, max_size: int = 6) -> list[dict[str, Any]]:
    """Lists of stored documents: some fields of one kind, some that hold anything."""
    names = draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=5))
    wild = draw(st.integers(0, 10))
    made = []
    for number in range(draw(st.integers(min_size, max_size))):
        document: dict[str, Any] = {"$id": f"users/{number}"}
        document |= {key: draw(v) for key, v in _system.items() if draw(st.booleans())}
        for name in names:
            odd = draw(st.integers(0, 10))
            if odd > 1:
                document[name] = draw(values if odd - 2 < wild // 4 else _homogeneous(name))
        if wild > 5:
            extra = draw(st.dictionaries(keys, values, max_size=3))
            document |= {
                key: value
                for key, value in extra.items()
                if key not in {"$id", "$type"} and key not in _system
            }
        made.append(document)
    return made
