"""Rows found by id in a sorted column, and fetched from files by their pages or whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb import DB
from parquedb.errors import FormatError
from parquedb.query.seek import find_row, finder_of

IDS = st.lists(st.text(st.sampled_from("aä\0🙂\uffff/~b"), max_size=4), unique=True)


@given(IDS, st.text(st.sampled_from("aä\0🙂\uffff/~b"), max_size=4))
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_an_id_is_found_where_it_is(kind: pa.DataType, ids: list[str], wanted: str) -> None:
    ids.sort()
    column = pa.array(["", *ids, "🙂🙂🙂🙂🙂"], kind).slice(1, len(ids))

    expected = ids.index(wanted) if wanted in ids else None

    assert find_row(column, wanted, ordered=True) == expected
    assert finder_of(column, ordered=True)(wanted) == expected
    if kind == pa.string():
        assert finder_of(column, ordered=False)(wanted) == expected
        assert find_row(column, wanted, ordered=False) == expected


def test_an_id_is_found_among_many() -> None:
    ids = [f"{number:05}" for number in range(0, 2000, 2)]
    find = finder_of(pa.array(ids), ordered=True)

    assert [find(id_) for id_ in ids] == list(range(len(ids)))
    assert {find(f"{number:05}x") for number in range(-1, 2001)} == {None}
    assert finder_of(pa.array([], pa.string()), ordered=True)("a") is None


@given(st.data())
def test_an_id_is_found_among_others_that_hold_it(data: st.DataObject) -> None:
    ids = sorted(data.draw(st.sets(st.text("ab", max_size=6), min_size=33, max_size=127)))
    find = finder_of(pa.array(["", *ids], pa.string()).slice(1), ordered=True)

    assert [find(id_) for id_ in ids] == list(range(len(ids)))
    wanted = data.draw(st.text("ab", max_size=7))
    assert find(wanted) == (ids.index(wanted) if wanted in ids else None)


def test_half_of_a_surrogate_pair_is_nowhere() -> None:
    column = pa.array(["a", "é", "\uffff"])

    assert find_row(column, "\ud800", ordered=True) is None
    assert finder_of(column, ordered=True)("\ud800") is None


ROWS = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blocks")
    with DB(path) as db:
        db.users.create_many(
            {"$id": f"users/{n:05}", "n": n, "tags": [f"t{n}"] * (n % 3), "name": f"name {n % 5}"}
            for n in range(ROWS)
        )
        db.users.delete(f"users/{ROWS - 1:05}", hard=True)
    return path


def decoded(db: DB) -> int:
    return len(db.users.space.blocks._groups)


def test_a_get_reads_pages_until_that_costs_as_much(folder: Path) -> None:
    with DB(folder) as db:
        assert db.users.get("users/00004")["tags"] == ["t4"]
        assert db.users.get("users/07000")["n"] == 7000
        assert db.users.get("users/07000x") is None
        assert db.users.get("users/19999") is None
        assert decoded(db) == 0
        for number in range(0, ROWS - 1, 1997):
            found = db.users[f"users/{number:05}"]
            assert (found["n"], found["name"]) == (number, f"name {number % 5}")
        assert decoded(db) == 1
        assert db.users.get("users/19999") is None


@pytest.mark.parametrize("chosen", [[7], [11_000, 3], [5, 2_500, 4]])
def test_a_find_of_few_reads_their_pages(folder: Path, chosen: list[int]) -> None:
    with DB(folder) as db:
        wanted = {"n": {"$in": chosen}}
        found = [each["n"] for each in db.users.find(wanted, sort="-n")]
        assert found == sorted(chosen, reverse=True)
        assert decoded(db) == (len(chosen) > 1)
        for _ in range(10):
            assert [each["n"] for each in db.users.find(wanted)] == sorted(chosen)
        assert decoded(db) == 1


def test_many_rows_are_taken_from_the_whole(folder: Path) -> None:
    with DB(folder) as db:
        assert [each["n"] for each in db.users.find({}, sort="-n", limit=ROWS)] == list(
            range(ROWS - 2, -1, -1)
        )
        assert decoded(db) == 1


GROUP = 65_536
MANY = [{"$id": f"users/{n:06}", "n": n * 7919 % 140_000} for n in range(140_000)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three row groups."""
    path = tmp_path_factory.mktemp("large")
    with DB(path) as db:
        db.users.create_many(MANY)
        db.flush()
    return path


def gets_until_decoded(db: DB, group: int) -> int:
    """Get documents of a row group, one of each page, until it is decoded; return how many."""
    for count, number in enumerate(range(group * GROUP, (group + 1) * GROUP, 2048), 1):
        assert db.users[f"users/{number:06}"]["n"] == MANY[number]["n"]
        if any(index == group for _, index in db.users.space.blocks._groups):
            return count
    raise AssertionError("it was not decoded")


def test_after_one_row_group_gets_come_to_need_the_others_sooner(large: Path) -> None:
    with DB(large) as db:
        assert [gets_until_decoded(db, group) for group in (0, 1)] == [9, 5]
        assert decoded(db) == 2


def test_gets_go_by_pages_again_where_there_is_no_room_for_what_was_decoded(large: Path) -> None:
    with DB(large) as db:
        gets_until_decoded(db, 0)
        budget = db.users.space.blocks.held_bytes(db.users.space.view().sources) * 3 // 2
    with DB(large, cache_bytes=budget) as db:
        for expected in ([9, 5], [9, 9], [9, 9]):
            assert [gets_until_decoded(db, group) for group in (0, 1)] == expected
            assert decoded(db) == 1


def test_gets_go_by_pages_where_a_row_group_has_no_room_at_all(large: Path) -> None:
    with DB(large, cache_bytes=1000) as db:
        reads = count_decoding(db)
        for number in range(0, 60_000, 1000):
            assert db.users[f"users/{number:06}"]["n"] == MANY[number]["n"]
        assert len(reads) == 60 // 9


def count_decoding(db: DB) -> list[int]:
    """Return a list to which the number of each row group is added that is decoded."""
    blocks, found = db.users.space.blocks, []
    for source in db.users.space.view().sources:
        file = blocks.open(source)
        read = file.read

        def counting(index: int, read: Any = read) -> pa.RecordBatch:
            found.append(index)
            return read(index)

        file.read = counting  # type: ignore[method-assign]
    return found


def test_rows_come_in_the_order_asked_for_wherever_they_are_from(large: Path) -> None:
    with DB(large) as db:
        by_n = sorted((each["n"], each["$id"]) for each in MANY)
        list(db.users.find({"$id": {"$gte": "users/070000", "$lt": "users/070900"}}))
        assert decoded(db) == 1
        for first in range(0, 60_000, 6000):
            found = db.users.find({"n": {"$gte": first}}, sort="n", limit=20)
            assert [(each["n"], each["$id"]) for each in found] == by_n[first : first + 20]


def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    with DB(tmp_path) as db:
        db.users.create_many({"$id": f"users/{n:05}", "n": n} for n in range(20_000))
    path = tmp_path / "data" / "users" / "data.parquet"
    column = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    with DB(tmp_path) as db, pytest.raises(FormatError, match=r"data\.parquet"):
        list(map(db.users.get, (f"users/{number:05}" for number in range(0, 20_000, 500))))
