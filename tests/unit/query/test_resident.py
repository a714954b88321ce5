"""Columns kept in memory give what the files give, and no more memory than allowed is taken."""

import random
import threading

import pytest

from parquedb import DB
from parquedb.query import resident
from parquedb.query.resident import Lease

ROWS = 5_000
SOME = {"$mod": [5, 1]}
"""What is not asked of numbers without DuckDB."""


def fill(path, **options):
    made = random.Random(5)
    db = DB(path, **options)
    db.users.create_many(
        {
            "$id": f"users/{number:06}",
            "n": made.randrange(100),
            "address": {"city": f"c{made.randrange(9)}"},
            **({"text": f"t{made.randrange(50)}"} if made.random() < 0.9 else {}),
        }
        for number in range(ROWS)
    )
    db.flush()
    return db


def kept(db):
    return db.users.space.executor.finder._residents


def asks(db):
    return [
        db.users.count({"n": {"$lt": 20}}),
        db.users.count({"n": SOME}),
        [each.id for each in db.users.find({"n": 7, "text": {"$gt": "t2"}})],
        [each.id for each in db.users.find({"n": {"$gte": 50}}, sort="-text", limit=10)],
        db.users.count({"address.city": "c3"}),
        db.users.count({"text": "t4", "n": {"$ne": 4}}),
    ]


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_every_search_finds_the_same(tmp_path, backend):
    with fill(tmp_path, backend=backend) as db:
        first = asks(db)
        for _ in range(4):
            assert asks(db) == first
        assert len(kept(db)._tables) == 1
        (table,) = kept(db)._tables.values()
        assert table.columns == {"n", "text"}, "deletedAt is null everywhere"


@pytest.mark.parametrize(("most", "first"), [(ROWS, {"n"}), (ROWS - 1, None)])
def test_numbers_are_kept_sooner_than_texts(tmp_path, monkeypatch, most, first):
    monkeypatch.setattr(resident, "_SOON_ROWS", most)

    def columns():
        tables = kept(db)._tables.values()
        return next((set(table.columns) for table in tables), None)

    with fill(tmp_path) as db:
        db.users.count({"n": SOME})
        assert columns() == first
        db.users.count({"text": "t4"})
        assert columns() == first
        db.users.count({"text": "t4"})
        assert columns() == (first or set()) | {"text"}


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_what_changes_is_seen(tmp_path, backend):
    with fill(tmp_path, backend=backend) as db:
        for step in range(4):
            before, *_ = [asks(db)[0] for _ in range(3)]
            chosen = db.users.find_one({"n": {"$lt": 20}})
            db.users.update(chosen.id, {"$set": {"n": 500 + step}})
            assert [asks(db)[0] for _ in range(3)] == [before - 1] * 3
            db.flush()
            assert [asks(db)[0] for _ in range(3)] == [before - 1] * 3


def test_the_budget_is_kept(tmp_path):
    fill(tmp_path).close()
    one = ROWS * 8 + 1000
    with DB(tmp_path, cache_bytes=4 * one) as db:
        for name in ("n", "version"):
            for _ in range(3):
                db.users.count({name: SOME})
        assert [table.columns for table in kept(db)._tables.values()] == [{"version"}]
        assert kept(db)._size_bytes <= one
    with DB(tmp_path, cache_bytes=1000) as db:
        wanted = asks(db)
        assert [asks(db) for _ in range(3)] == [wanted] * 3
        assert not kept(db)._tables


def test_tables_that_are_not_needed_any_more_are_dropped(tmp_path):
    one = ROWS * 8 + 1000
    with fill(tmp_path, cache_bytes=4 * one) as db:
        for _ in range(5):
            for _ in range(3):
                db.users.count({"n": SOME})
            db.users.update("000001", {"$inc": {"n": 1}})
            db.flush()
        with db.users.space.executor.finder._duck.cursor() as cursor:
            found = cursor.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
        assert found == (1,)


def test_many_threads(tmp_path):
    with fill(tmp_path) as db:
        wanted = asks(db)
        db.users.update("000001", {"$set": {"n": 3, "text": "t1"}})
        db.flush()
        wanted = asks(db)
        wrong = []

        def work():
            wrong.extend(found for found in (asks(db) for _ in range(5)) if found != wanted)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_rows_of_many_files_lie_where_they_did(tmp_path, backend):
    with DB(tmp_path, backend=backend) as db:
        for start in (0, 300, 310, 1000):
            db.users.create_many(
                {"$id": f"users/{n:05}", "n": n * 37 % 2000, "m": n}
                for n in range(start, start + 10)
            )
            db.flush()
        db.users.delete("users/00305", hard=True)
        db.flush()
        wanted = sorted((each["n"], each["m"]) for each in db.users.find())
        for _ in range(4):
            found = db.users.find({"n": {"$gte": 0}}, sort=["n", "$id"])
            assert [(each["n"], each["m"]) for each in found] == wanted
            found = db.users.find({"n": {"$gte": 0}}, sort=["-n", "$id"], limit=3)
            assert [(each["n"], each["m"]) for each in found] == wanted[:-4:-1]
        assert len(kept(db)._tables) >= 1


def test_what_is_in_use_stays(tmp_path):
    one = ROWS * 8 + 1000
    with fill(tmp_path, cache_bytes=4 * one) as db:
        residents, sources = kept(db), db.users.space.view().sources
        duck = db.users.space.executor.finder._duck

        def tables():
            with duck.cursor() as cursor:
                return cursor.execute("SELECT count(*) FROM duckdb_tables()").fetchone()[0]

        with Lease(residents) as lease:
            relation = lease.relation(sources, {"n": "n"}, 0)
            for _ in range(3):
                db.users.count({"version": SOME})
            assert tables() == 2
            with duck.cursor() as cursor:
                found = cursor.execute(f"SELECT count(n) FROM {relation}").fetchone()
            assert found == (ROWS,)
        assert tables() == 1
