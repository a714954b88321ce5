"""Documents for property tests: few names and values, so that filters meet them."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "c", "0", "1")

SCALARS = (
    None,
    True,
    False,
    0,
    1,
    2,
    -3,
    2**40,
    0.0,
    1.0,
    1.5,
    float("inf"),
    "",
    "a",
    "b",
    "ab",
    "1",
)
RARE = (
    Decimal("1.5"),
    Decimal(1),
    2**70,
    b"",
    b"ab",
    uuid.UUID(int=7),
    date(2020, 1, 1),
    datetime(2020, 1, 1),
    datetime(2020, 1, 1, tzinfo=UTC),
    datetime(2021, 1, 1, tzinfo=UTC),
)


def values(
    scalars: tuple[Any, ...] = (*SCALARS, *RARE), *, leaves: int = 6
) -> st.SearchStrategy[Any]:
    """Values that documents can hold.

    Args:
        scalars: What stands at the leaves.
        leaves: About how many leaves a value has at most.
    """
    return st.recursive(
        st.sampled_from(scalars),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
        ),
        max_leaves=leaves,
    )


def documents(
    scalars: tuple[Any, ...] = (*SCALARS, *RARE), *, names: tuple[str, ...] = ("a", "b")
) -> st.SearchStrategy[dict[str, Any]]:
    """Documents with some of a few fields."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, values(scalars)))
