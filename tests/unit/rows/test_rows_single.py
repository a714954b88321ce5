"""A row read alone is the same document as a row read among many."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.rows.assemble import assemble
from parquedb.rows.columns import evolve
from parquedb.rows.shred import shred
from parquedb.rows.single import RowReader
from tests.support.core import both_ways  # noqa: F401  (a fixture)
from tests.support.stored import assert_same, documents


@settings(deadline=None, max_examples=200)
@given(documents(min_size=1, max_size=4), st.data())
def test_a_row_alone_is_the_same_as_among_others(given_documents, data):
    known = data.draw(st.integers(0, len(given_documents)))
    schema = evolve(None, given_documents[:known])
    batch = shred(given_documents, schema)
    start = data.draw(st.integers(0, len(given_documents) - 1))
    batch = batch.slice(start)
    reader = RowReader(batch, schema)
    together = assemble(batch, schema)
    for row, wanted in enumerate(together):
        found = reader.read(row)
        assert_same([found], [wanted])
        assert list(found) == list(wanted)
