"""Which files can hold an id, by the bounds in their metadata."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parquedb.model.files import DataFile, Stats
from parquedb.model.partition import UNPARTITIONED
from parquedb.model.schema import Schema
from parquedb.model.types import Field, IntType, StringType
from parquedb.query.view import Holders, Source, View

DOCUMENTS = Schema((Field(1, "$id", StringType()),))
IDS = st.text("abc\uffff🙂", max_size=2)
BOUNDS = st.tuples(st.none() | IDS, st.none() | IDS)


def _source(number: int, lower: object, upper: object, schema: Schema = DOCUMENTS) -> Source:
    stats = Stats(
        lower={} if lower is None else {1: lower},  # type: ignore[dict-item]
        upper={} if upper is None else {1: upper},  # type: ignore[dict-item]
    )
    file = DataFile(f"{number}.parquet", 1, 1, stats=stats)
    return Source(file, schema, UNPARTITIONED, str(number))


@given(st.lists(BOUNDS, max_size=12), IDS)
def test_no_file_is_left_out_that_can_hold_an_id(
    bounds: list[tuple[str | None, str | None]], wanted: str
) -> None:
    sources = tuple(_source(number, *pair) for number, pair in enumerate(bounds))
    can = {
        source.token
        for source, (lower, upper) in zip(sources, bounds, strict=True)
        if (lower is None or lower <= wanted) and (upper is None or wanted <= upper)
    }

    found = Holders(sources).of(wanted)
    tokens = [source.token for source in found]

    assert len(tokens) == len(set(tokens))
    assert can.issubset(tokens)
    bounded = {token for token in tokens if None not in bounds[int(token)]}
    assert bounded <= can  # of those with both bounds no other is asked
    assert [source.token for source in View(sources=sources).holders(wanted)] == tokens


def test_rows_without_a_text_as_their_id_are_no_documents() -> None:
    numbers = Schema((Field(1, "$id", IntType(64)),))
    others = Schema((Field(1, "id", StringType()),))

    sources = (_source(0, 1, 2, numbers), _source(1, "a", "z", others), _source(2, "a", "z"))

    assert [source.token for source in Holders(sources).of("b")] == ["2"]
