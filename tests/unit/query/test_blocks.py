"""Rows found by id in a sorted column."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.query.blocks import find_row

IDS = st.lists(st.text(st.sampled_from("aä\0🙂\uffff/~b"), max_size=4), unique=True)


@given(IDS, st.text(st.sampled_from("aä\0🙂\uffff/~b"), max_size=4))
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_an_id_is_found_where_it_is(kind: pa.DataType, ids: list[str], wanted: str) -> None:
    ids.sort()
    column = pa.array(["", *ids, "🙂🙂🙂🙂🙂"], kind).slice(1, len(ids))

    expected = ids.index(wanted) if wanted in ids else None

    assert find_row(column, wanted, ordered=True) == expected
    if kind == pa.string():
        assert find_row(column, wanted, ordered=False) == expected


def test_half_of_a_surrogate_pair_is_nowhere() -> None:
    assert find_row(pa.array(["a", "é", "\uffff"]), "\ud800", ordered=True) is None
