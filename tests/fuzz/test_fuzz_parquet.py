"""Damaged Parquet files: footers, their rewriting, pages; and deletion vectors' bitmaps."""

from __future__ import annotations

import contextlib
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap64

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.files import DataFile, InlineVector
from parquedb.model.partition import UNPARTITIONED
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, IntType, VariantType
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.deletes import deleted_positions, frame, inline_vector, parse_bitmap, unframe
from parquedb.parquet.footer import read_footers
from parquedb.parquet.groups import GroupFile
from parquedb.parquet.rewrite import copy_with_ids
from parquedb.parquet.scan import read_batches
from parquedb.parquet.write import write_parquet
from parquedb.storage.local import LocalStore
from parquedb.storage.store import NewObject
from tests.support import corpus
from tests.support.mutate import damaged, fuzz, within_bounds

FILE = corpus.parquet(corpus.rows(0, 10), compression="none")


def footer_of(data):
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


FOOTER = footer_of(FILE)


def with_footer(footer):
    """Return the file with another footer, whose length is right."""
    return FILE[: -8 - len(FOOTER)] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def stored(data):
    store = corpus.store()
    store.create(NewObject("x.parquet", data))
    return store


def read_footer_of(data):
    (footer,) = read_footers(stored(data), ["x.parquet"])
    assert type(footer.rows) is int
    assert footer.rows >= 0


def copy(data):
    store = stored(data)
    copy_with_ids(store, [("x.parquet", "y.parquet")], corpus.SCHEMA)
    assert store.head("y.parquet") is not None


def test_footers():
    fuzz(read_footer_of, damaged([FOOTER]).map(with_footer), 100)


def test_trailers():
    fuzz(read_footer_of, damaged([FILE[-300:]]), 50)


def test_copies_with_other_footers():
    fuzz(copy, damaged([FOOTER]).map(with_footer), 60)


def with_variants():
    """Return a file with an annotated variant beside an integer."""
    store = corpus.store()
    schema = Schema((Field(1, "i", IntType(64)), Field(2, "v", VariantType())), Identity.BY_ID)
    rows = [{"i": i, "v": {"metadata": b"\1\0\0", "value": b"\0"}} for i in range(10)]
    batch = pa.RecordBatch.from_pylist(rows, arrow_schema_of(schema))
    write_parquet(store, "v.parquet", [batch], schema, annotated=True)
    return store.get("v.parquet"), schema


VARIANTS, WITH_VARIANTS = with_variants()


def with_variants_footer(footer):
    length = len(footer).to_bytes(4, "little")
    return VARIANTS[: -8 - len(footer_of(VARIANTS))] + footer + length + b"PAR1"


def copy_of_variants(data):
    store = stored(data)
    read_footers(store, ["x.parquet"])
    copy_with_ids(store, [("x.parquet", "y.parquet")], WITH_VARIANTS)
    file = DataFile("y.parquet", store.head("y.parquet").size_bytes, 10)
    with contextlib.suppress(UnsupportedError):  # it is of another type then, or shredded
        list(read_batches(store, file, WITH_VARIANTS, UNPARTITIONED))


def test_files_with_variants():
    fuzz(copy_of_variants, damaged([footer_of(VARIANTS)]).map(with_variants_footer), 60)


def rows_of(data):
    store = stored(data)
    file = DataFile("x.parquet", len(data), 10)
    batches = list(read_batches(store, file, corpus.SCHEMA, UNPARTITIONED))
    return pa.Table.from_batches(batches, arrow_schema_of(corpus.SCHEMA))


SUMMED = corpus.parquet(corpus.rows(0, 10), compression="snappy", write_page_checksum=True)
RIGHT = rows_of(SUMMED)


def test_pages_with_checksums():
    """Damage is found by the checksum: never other rows."""
    pages = SUMMED[4 : -8 - len(footer_of(SUMMED))]

    def check(data):
        assert rows_of(b"PAR1" + data + SUMMED[4 + len(pages) :]) == RIGHT

    sized = damaged([pages]).filter(lambda data: len(data) == len(pages))
    fuzz(check, sized, 30)


def test_footers_of_files_that_are_read():
    fuzz(rows_of, damaged([FOOTER]).map(with_footer), 40)


PAGED = corpus.parquet(
    corpus.rows(0, 40),
    compression="snappy",
    store_schema=False,
    write_page_index=True,
    max_rows_per_page=5,
    write_page_checksum=True,
)
PAGED_FOOTER = footer_of(PAGED)
SOME = np.array([3, 4, 22])


def few_of(data):
    """Return some rows by their pages, None where these are not relied upon."""
    with TemporaryDirectory() as folder:
        store = LocalStore(folder)
        store.create(NewObject("x.parquet", data))
        file = DataFile("x.parquet", len(data), 40)
        with GroupFile(store, file, corpus.SCHEMA, UNPARTITIONED, key="name") as opened:
            about = opened.rows_about(0, "name 7")
            assert about is None or len(about) <= 40
            assert opened.page_share(0, SOME) >= 0
            return opened.read_rows([(0, SOME)])


FEW = few_of(PAGED)


def test_pages_and_their_indexes():
    """Damage is found by the checksum, or by counting: never other rows."""
    assert FEW is not None
    before = PAGED[4 : -8 - len(PAGED_FOOTER)]

    def check(data):
        assert few_of(b"PAR1" + data + PAGED[4 + len(before) :]) in (None, FEW)

    sized = damaged([before]).filter(lambda data: len(data) == len(before))
    fuzz(check, sized, 60)


def test_footers_of_files_that_are_read_by_pages():
    def with_paged_footer(footer):
        length = len(footer).to_bytes(4, "little")
        return PAGED[: -8 - len(PAGED_FOOTER)] + footer + length + b"PAR1"

    def check(data):
        read_footer_of(data)  # which comes first everywhere
        few_of(data)

    fuzz(check, damaged([PAGED_FOOTER]).map(with_paged_footer), 60)


def parse(data):
    found = parse_bitmap(data, "x")
    assert len(found) >= 0


BITMAPS = [
    inline_vector([1, 3, 5, 1 << 33, (1 << 40) + 7]).bitmap,
    inline_vector(range(100_000)).bitmap,
    inline_vector(range(0, 20_000, 2)).bitmap,
]


def test_bitmaps():
    fuzz(parse, damaged(BITMAPS), 100)


def test_frames():
    """Damage is found by the checksum: never other positions."""
    framed = frame(BITMAPS[0])

    def check(data):
        assert unframe(data, len(framed), "x") == BITMAPS[0]

    fuzz(check, damaged([framed]), 100)


def everything(groups):
    """Return a bitmap of so many times 65536 positions, in twelve bytes each."""
    one = BitMap64(range(1 << 16))
    one.run_optimize()
    body = one.serialize()[12:]
    parts = [key.to_bytes(4, "little") + body for key in range(groups)]
    return groups.to_bytes(8, "little") + b"".join(parts)


HUGE = {
    "more maps than bytes": b"\xff" * 7 + b"\x7f" + bytes(20),
    "many positions": everything(1000),
    "empty": b"",
}


@pytest.mark.parametrize("name", list(HUGE))
def test_huge_bitmaps(name):
    """Few bytes that stand for many positions are not spread out."""
    vector = InlineVector(HUGE[name], 1000 << 16)

    def check(_):
        deleted_positions(corpus.store(), DataFile("x", 1, 10, deletes=(vector,)), 10)

    with pytest.raises(FormatError):
        within_bounds(check, HUGE[name])
