import random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from parquedb.db import DB
from parquedb.namespace import flush
from parquedb.namespace.runs import merge_rows

ROWS = 300


def files(folder, monkeypatch, sets):
    """Write one file for each set of numbers, sorted, in row groups of ten."""
    monkeypatch.setattr(flush, "GROUP_ROWS", 10)
    db = DB(folder, backend="iceberg")
    for numbers in sets:
        db.users.create_many([{"$id": f"{n:05}", "n": n} for n in numbers])
        db.flush()
    return db


def shuffle(path):
    """Write a file anew in disorder, as another program may."""
    table = pq.read_table(path)
    rows = list(range(table.num_rows))
    random.Random(1).shuffle(rows)
    pq.write_table(table.take(rows), path, row_group_size=10)


def merged(space, overlay):
    base = space.base
    return merge_rows(space.blocks, base.sources, overlay, base.schema)


@pytest.mark.parametrize(
    "sets",
    [
        [range(ROWS)],
        [range(100), range(100, 200)],
        [range(n, ROWS, 3) for n in range(3)],
        [range(100), [500, *range(100, 150)], range(150, 300), [501, 502]],
        [[0, ROWS], range(1, 50), range(60, ROWS)],
        [random.Random(n).sample(range(n * 1000, n * 1000 + 900), 50) for n in range(4)],
    ],
)
def test_rows_come_in_the_order_of_their_ids(tmp_path, monkeypatch, sets):
    db = files(tmp_path, monkeypatch, sets)
    space = db.users.space
    wanted = sorted(n for numbers in sets for n in numbers)
    batches = list(merged(space, {}))
    assert [n for batch in batches for n in batch.column("n").to_pylist()] == wanted
    gone = {f"users/{n:05}": None for n in wanted[::4]}
    kept = [n for n in wanted if f"users/{n:05}" not in gone]
    found = pa.Table.from_batches(merged(space, gone))
    assert found.column("n").to_pylist() == kept
    assert pc.is_in(found["$id"], pa.array(list(gone))).to_pylist().count(True) == 0
    db.close(flush=False)


def test_files_in_disorder_are_sorted(tmp_path, monkeypatch):
    db = files(tmp_path, monkeypatch, [range(n, 100, 2) for n in range(2)])
    db.close()
    for path in (tmp_path / "users/data").glob("*.parquet"):
        shuffle(path)
        break
    with DB(tmp_path) as again:
        rows = [n for batch in merged(again.users.space, {}) for n in batch.column("n").to_pylist()]
        assert rows == list(range(100))


def test_files_that_overlap_are_not_read_as_a_whole(tmp_path, monkeypatch):
    """One row group of each is in memory, and none of those that come later."""
    db = files(tmp_path, monkeypatch, [range(n, ROWS, 3) for n in range(3)] + [range(900, 990)])
    space = db.users.space
    read = []
    group = type(space.blocks).group

    def counted(self, source, index, **options):
        read.append(index)
        return group(self, source, index, **options)

    monkeypatch.setattr(type(space.blocks), "group", counted)
    rows = merged(space, {})
    assert next(rows).num_rows
    assert len(read) <= 9  # of 39: one is read ahead
    db.close(flush=False)
