"""Threads of several databases on one storage: no update is lost, no reader sees halves."""

import threading
from collections.abc import Callable

import pytest

from parquedb.errors import ConflictError
from tests.support.databases import BACKENDS, STORES, place

THREADS = 6
ROUNDS = 15


@pytest.fixture(params=[(b, s) for b in BACKENDS for s in STORES], ids="-".join)
def where(request, tmp_path):
    found = place(*request.param, tmp_path / "db")
    yield found
    found.close()


def run(*targets: Callable[[], None]) -> None:
    """Run in threads; the first error of one is raised."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001  (raised below)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_increments(where):
    dbs = [where.open(), where.open()]
    dbs[0].users.create({"$id": "c", "n": 0})

    def count(db):
        for number in range(ROUNDS):
            db.users.update("c", {"$inc": {"n": 1}})
            if number % 6 == 5:
                db.flush()

    run(*(lambda db=dbs[number % 2]: count(db) for number in range(THREADS)))
    for db in dbs:
        made = db.users["c"]
        assert (made.n, made.version) == (THREADS * ROUNDS, THREADS * ROUNDS + 1)
    assert dbs[0].users.space.journal.head() >= THREADS * ROUNDS + 1


def test_ids_are_created_once(where):
    dbs = [where.open(), where.open()]
    won: list[int] = []

    def create(db, who):
        from parquedb.errors import AlreadyExistsError

        for number in range(ROUNDS):
            try:
                db.users.create({"$id": f"k{number}", "by": who})
                won.append(number)
            except AlreadyExistsError:
                assert db.users.get(f"k{number}") is not None
            if number % 5 == who % 5:
                db.flush()

    run(*(lambda who=who: create(dbs[who % 2], who) for who in range(THREADS)))
    assert sorted(won) == list(range(ROUNDS))
    assert dbs[0].users.count() == ROUNDS


def test_transfers_between_documents(where):
    """Money moves by transactions; whoever reads sees all of it."""
    dbs = [where.open(), where.open()]
    accounts = [f"a{number}" for number in range(4)]
    dbs[0].users.create_many([{"$id": key, "money": 100} for key in accounts])
    done = threading.Event()
    conflicts: list[int] = []

    def move(db, seed):
        for number in range(ROUNDS):
            source, target = accounts[(seed + number) % 4], accounts[(seed + 2 * number + 1) % 4]
            while True:
                try:
                    with db.transaction():
                        db.users.update(source, {"$inc": {"money": -1}})
                        db.users.update(target, {"$inc": {"money": 1}})
                    break
                except ConflictError:
                    conflicts.append(seed)
            if number % 7 == 6:
                db.flush()

    def watch(db):
        while not done.is_set():
            assert sum(each.money for each in db.users.find()) == 400
            total = db.users.aggregate([{"$group": {"_id": None, "n": {"$sum": "$money"}}}])
            assert total[0]["n"] == 400
            assert db.sql("SELECT sum(money) n FROM users").to_pylist() == [{"n": 400}]
            assert db.users.count() == 4

    def work():
        try:
            run(*(lambda seed=seed: move(dbs[seed % 2], seed) for seed in range(4)))
        finally:
            done.set()

    run(work, lambda: watch(dbs[0]), lambda: watch(dbs[1]))
    versions = [each.version for each in dbs[1].users.find()]
    assert sum(versions) - 4 == 2 * 4 * ROUNDS


def test_writing_while_closing(where):
    """A thread that still writes when the database is closed is told so; the rest is kept."""
    from parquedb.errors import ParqueDBError

    db = where.open()
    db.users.create({"$id": "c", "n": 0})
    told: list[int] = []

    def count():
        try:
            for _ in range(10_000):
                told.append(db.users.update("c", {"$inc": {"n": 1}}).n)  # noqa: PERF401
        except ParqueDBError:
            return

    def close():
        while len(told) < 5:
            pass
        db.close()

    run(count, close)
    assert where.open().users["c"].n in (told[-1], told[-1] + 1)
