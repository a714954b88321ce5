"""Searches by numbers only give what the documents say, whatever the files, the tail, the kind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb import DB
from parquedb.query import hidden, sifting, vectors
from parquedb.query.match import matches
from parquedb.query.parse import parse_filter
from parquedb.query.sort import parse_sort, sort_documents

START = datetime(2024, 1, 1, tzinfo=UTC)
FILTERS: list[dict[str, Any]] = [
    {},
    {"n": {"$gt": 1}},
    {"n": {"$gte": 0, "$lt": 2.5}, "f": {"$ne": 0}},
    {"f": {"$lte": 0}},
    {"at": {"$gt": START}},
    {"$or": [{"n": None}, {"f": {"$in": [1, -0.0, 2.5]}}]},
    {"n": 2},
]
SORTS = ["n", "-n", "f", "-f", "at", "-at", None]
WORDS = st.sampled_from(["create", "create", "update", "soft", "hard", "flush"])
NUMBERS = st.lists(st.integers(-2, 3), min_size=1, max_size=5)


def document(number: int, n: int) -> dict[str, Any]:
    made: dict[str, Any] = {"$id": f"users/{number:03}", "f": [-0.0, 0.0, 2.5][n % 3], "n": n}
    if n != 1:
        made["at"] = START + timedelta(microseconds=n)
    if n < 0:
        del made["n"]
    return made


def run(db: DB, steps: list[tuple[str, list[int]]]) -> None:
    used = 0
    for word, numbers in steps:
        match word:
            case "create":
                db.users.create_many(
                    document(number * 7 % 100, n) for number, n in enumerate(numbers, used)
                )
                used += len(numbers)
            case "flush":
                db.flush()
            case _ if used:
                for at in {abs(number) % used for number in numbers}:
                    id_ = f"users/{at * 7 % 100:03}"
                    if db.users.get(id_) is None:
                        continue
                    if word == "update":
                        db.users.update(id_, {"$set": {"n": numbers[0]}})
                    else:
                        db.users.delete(id_, hard=word == "hard")


def searches() -> Iterator[tuple[dict[str, Any], str | None, int, int | None, bool]]:
    pages = itertools.cycle([(0, 3), (2, 4), (0, None), (1, 50), (0, 0)])
    deleted = itertools.cycle([False, False, True])
    for spec, sort in itertools.product(FILTERS, SORTS):
        yield spec, sort, *next(pages), next(deleted)


def check(db: DB) -> None:
    got = [db.users.get(f"users/{number:03}", include_deleted=True) for number in range(100)]
    everything = [dict(each) for each in got if each is not None]
    for spec, sort, skip, limit, deleted in searches():
        found = [
            each
            for each in everything
            if matches(parse_filter(spec), each) and (deleted or "deletedAt" not in each)
        ]
        about = (spec, sort, skip, limit, deleted)
        assert db.users.count(spec, include_deleted=deleted) == len(found), about
        wanted = sort_documents(found, parse_sort(sort))[skip:][:limit]
        page = db.users.find(spec, sort=sort, skip=skip, limit=limit, include_deleted=deleted)
        assert [dict(each) for each in page] == wanted, about
        rows = page.to_arrow()
        ids = rows.column("$id").to_pylist() if wanted else []
        assert ids == [each["$id"] for each in wanted], about


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(WORDS, NUMBERS), min_size=2, max_size=8))
def test_documents_of_any_history(backend: str, steps: list[tuple[str, list[int]]]) -> None:
    with DB("memory://", backend=backend) as db:
        db.users.create(document(99, 2))
        run(db, steps)
        check(db)
        db.flush()
        check(db)


def filled(folder: Path, **options: Any) -> DB:
    db = DB(folder, **options)
    db.users.create_many(
        {"$id": f"users/{number:06}", "n": number * 37 % 1000, "text": f"t{number % 7}"}
        for number in range(5_000)
    )
    db.users.delete("users/004999")
    db.flush()
    return db


def asks_duckdb(db: DB) -> bool:
    return db.users.space.executor.finder._duck._connection is not None


def kept(db: DB) -> list[str]:
    return [name for _, name in db.users.space.executor.finder._sieve.vectors._vectors]


def test_numbers_need_no_duckdb(tmp_path: Path) -> None:
    with filled(tmp_path) as db:
        assert db.users.count({"n": {"$gte": 500}}) == 2499
        assert [each["n"] for each in db.users.find({"n": {"$gt": 3}}, sort="n", limit=6)] == [
            4, 4, 4, 4, 4, 5,
        ]  # fmt: skip
        assert [each["n"] for each in db.users.find(sort="-n", limit=3)] == [999] * 3
        assert db.users.count() == 4999
        assert db.users.count({"n": {"$in": [1, 2, 3.5]}}) == 10
        assert not asks_duckdb(db)
        assert sorted(kept(db)) == ["deletedAt", "n"]
        assert db.users.count({"text": "t1", "n": {"$lt": 100}}) == 72
        assert asks_duckdb(db)


def test_a_tail_needs_no_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path) as db:
        for number in (0, 27, 2_500, 4_998):
            db.users.update(f"users/{number:06}", {"$set": {"n": 5_000 + number}})
        db.users.delete("users/000028", hard=True)
        db.users.create({"$id": "users/zz", "n": 999})
        assert [each["n"] for each in db.users.find(sort="-n", limit=6)] == [
            9_998, 7_500, 5_027, 5_000, 999, 999,
        ]  # fmt: skip
        assert db.users.count({"n": {"$lt": 1_000}}) == 4_995
        assert db.users.count({"n": 999}) == 5 + 1 - 1
        assert not asks_duckdb(db)
        monkeypatch.setattr(hidden, "_MOST", 4)
        assert db.users.count({"n": {"$lt": 1_000}}) == 4_995
        assert asks_duckdb(db)


@pytest.mark.parametrize("most", [5_000, 4_999])
def test_columns_of_large_tables_are_kept_from_the_second_search_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(vectors, "SOON_ROWS", most)
    with filled(tmp_path) as db:
        for step in range(3):
            assert db.users.count({"n": {"$lt": 100}}) == 500
            assert bool(kept(db)) == (most == 5_000 or step > 0)


def test_the_budget_is_kept(tmp_path: Path) -> None:
    filled(tmp_path).close()
    with DB(tmp_path, cache_bytes=4 * 2 * 5_000 * 8) as db:
        for name in ("n", "version", "createdAt", "updatedAt", "n"):
            found = db.users.find(sort=name, limit=2)
            assert next(iter(found)).id == "users/000000"
            assert db.users.space.executor.finder._sieve.vectors._size_bytes <= 2 * 5_000 * 8
        assert kept(db)[-1] == "n"
        assert not asks_duckdb(db)
    with DB(tmp_path, cache_bytes=1000) as db:
        assert db.users.count({"n": {"$lt": 100}}) == 500
        assert not kept(db)


def test_many_rows_are_sorted_by_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sifting, "_MOST", 10)
    with filled(tmp_path) as db:
        assert len(list(db.users.find(sort="n", limit=10))) == 10
        assert not asks_duckdb(db)
        assert len(list(db.users.find(sort="n", limit=11))) == 11
        assert asks_duckdb(db)
