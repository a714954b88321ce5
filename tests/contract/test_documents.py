"""Collections over every backend and store: what is written is what is found."""

import itertools
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from parquedb.ambient import SYSTEM
from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from parquedb.namespace.live import LiveNamespace
from tests.support.databases import BACKENDS, STORES, fields_of, moment, place
from tests.support.stored import same


@pytest.fixture(params=[(b, s) for b in BACKENDS for s in STORES], ids="-".join)
def where(request, tmp_path):
    found = place(*request.param, tmp_path / "db")
    yield found
    found.close()


@pytest.fixture
def db(where):
    return where.open()


def names(found):
    return [each.name for each in found]


def people(count, start=0):
    return [
        {"$id": f"p{i:06}", "name": f"n{i}", "age": i, "tags": [f"t{i % 3}", "all"]}
        for i in range(start, start + count)
    ]


# creating


def test_create_returns_the_document(db):
    before = datetime.now(UTC)
    made = db.users.create({"name": "Ann", "age": 31}, actor="me")
    assert made.id.startswith("users/")
    assert made.type == "User"
    assert made.version == 1
    assert made.createdBy == made.updatedBy == "me"
    assert before <= made.createdAt == made.updatedAt <= datetime.now(UTC)
    assert "deletedAt" not in made
    assert fields_of(made) == {"name": "Ann", "age": 31}
    assert db.users.get(made.id) == made
    assert db.users[made.id] == made
    assert db.users.get(made.id.removeprefix("users/")) == made
    db.flush()
    assert db.users.get(made.id) == made


def test_create_with_an_id(db):
    made = db.users.create({"$id": "ann", "$type": "Admin", "title": "Dr. Ann"})
    assert (made.id, made.type, made.name) == ("users/ann", "Admin", "Dr. Ann")
    for _ in range(2):
        with pytest.raises(AlreadyExistsError, match="users/ann"):
            db.users.create({"$id": "users/ann"})
        with pytest.raises(AlreadyExistsError, match="users/ann"):
            db.users.create_many([{"$id": "bob"}, {"$id": "ann"}])
        assert db.users.get("bob") is None
        db.flush()
    db.users.delete("ann")
    for _ in range(2):
        with pytest.raises(AlreadyExistsError, match=r"deleted.*restore"):
            db.users.create({"$id": "ann"})
        db.flush()
    db.users.delete("ann", hard=True)
    assert db.users.create({"$id": "ann"}).version == 1


def test_create_many(db):
    ids = db.users.create_many(({"name": f"n{i}"} for i in range(50)), actor="me")
    assert len(set(ids)) == 50
    assert names(db.users.get(id_) for id_ in ids) == [f"n{i}" for i in range(50)]
    assert {each.createdBy for each in db.users.find()} == {"me"}
    assert db.users.create_many([]) == []
    with pytest.raises(AlreadyExistsError, match="two of the documents"):
        db.users.create_many([{"$id": "a"}, {"$id": "a"}])
    with pytest.raises(InvalidInputError, match="score"):
        db.users.create_many([{"$id": "b", "score": 1.0}, {"score": float("nan")}])
    assert db.users.count() == 50


def test_create_many_by_staged_files(db, where):
    db.users.create({"$id": "first", "name": "first", "age": -1})
    db.users.create_many(people(25_000))
    assert db.users.count() == 25_001
    assert db.users.get("p012345").age == 12_345
    assert db.users.count({"age": {"$gte": 24_990}}) == 10
    assert names(db.users.find({"age": {"$lt": 3}}, sort="-age")) == ["n2", "n1", "n0", "first"]
    for taken in ("first", "p000007"):
        with pytest.raises(AlreadyExistsError, match=taken):
            db.users.create_many([*people(25_000, 30_000), {"$id": taken}])
    with pytest.raises(AlreadyExistsError, match="two of the documents"):
        db.users.create_many([*people(25_000, 30_000), *people(1, 30_001)])
    assert db.users.count() == 25_001
    db.users.update("p000005", {"$set": {"age": 100_000}})
    db.users.delete("p000006", hard=True)
    other = where.open()
    assert other.users.find_one({"age": {"$gt": 90_000}}).id == "users/p000005"
    db.close()
    other.close()
    again = where.open()
    assert again.users.count() == 25_000
    assert again.users.get("p000005").version == 2
    assert not [key for key in where.files() if "staged" in key]


def test_staged_files_are_read_before_they_are_flushed(where, monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 10)
    db = where.open()
    monkeypatch.setattr(LiveNamespace, "needs_flush", lambda self: False)
    db.users.create_many(people(30))
    early = moment()
    db.users.update("p000003", {"$set": {"age": 1000}})
    db.users.delete("p000004")
    db.users.delete("p000005", hard=True)
    db.users.create_many([{"$id": f"p{i:06}x", "other": i} for i in range(12)])
    other = where.open()
    for each in (db, other):
        assert each.users.count() == 28 + 12
        assert each.users.count(as_of=early) == 30
        assert each.users.get("p000003", as_of=early).age == 3
        ids = [found.id for found in each.users.find()]
        assert ids == sorted(ids)
        assert each.users.get("p000003").age == 1000
        assert each.users.get("p000004") is None
        assert each.users.count(include_deleted=True) == 29 + 12
    before = [dict(found) for found in db.users.find(include_deleted=True)]
    db.flush()
    for each in (db, other):
        assert [dict(found) for found in each.users.find(include_deleted=True)] == before
        assert each.users.get("p000005", include_deleted=True) is None
    assert db.users.get("p000004", include_deleted=True).version == 2


# changing


def test_update(db):
    db.users.create({"$id": "a", "name": "Ann", "age": 1, "tags": ["x"]}, actor="me")
    made = db.users.update("a", {"$inc": {"age": 2}, "$push": {"tags": "y"}}, actor="you")
    assert made == db.users.get("a")
    assert fields_of(made) == {"name": "Ann", "age": 3, "tags": ["x", "y"]}
    assert (made.version, made.createdBy, made.updatedBy) == (2, "me", "you")
    assert made.updatedAt >= made.createdAt
    db.flush()
    made = db.users.update("users/a", {"$unset": {"age": ""}})
    assert fields_of(made) == {"name": "Ann", "tags": ["x", "y"]}
    assert made.version == 3
    assert db.users.get("a") == made
    for missing in ("nobody", "users/nobody"):
        with pytest.raises(NotFoundError, match="users/nobody"):
            db.users.update(missing, {"$set": {"x": 1}})
    db.users.delete("a")
    with pytest.raises(NotFoundError, match="deleted"):
        db.users.update("a", {"$set": {"x": 1}})


def test_expected_version(db):
    db.users.create({"$id": "a", "n": 0})
    for version in (1, 2):
        for change in (
            lambda wrong: db.users.update("a", {"$inc": {"n": 1}}, expected_version=wrong),
            lambda wrong: db.users.replace("a", {}, expected_version=wrong),
            lambda wrong: db.users.delete("a", expected_version=wrong),
        ):
            with pytest.raises(ConflictError, match=f"has version {version}, not 7"):
                change(7)
        assert db.users.update("a", {"$inc": {"n": 1}}, expected_version=version).n == version
        db.flush()
    assert db.users.replace("a", {"m": 1}, expected_version=3).version == 4
    assert db.users.delete("a", expected_version=4)


def test_update_many(db):
    db.users.create_many(people(20))
    db.flush()
    db.users.create_many(people(20, 20))
    assert db.users.update_many({"tags": "t0"}, {"$set": {"seen": True}}, actor="x") == 14
    assert db.users.count({"seen": True, "version": 2, "updatedBy": "x"}) == 14
    db.flush()
    assert db.users.count({"seen": True}) == 14
    assert db.users.update_many({"age": {"$gt": 1000}}, {"$set": {"a": 1}}) == 0
    with pytest.raises(InvalidInputError):
        db.users.update_many({}, {"$inc": {"name": 1}})
    assert db.users.count({"version": 2}) == 14


def test_replace(db):
    made = db.users.create({"$id": "a", "name": "Ann", "age": 1}, actor="me")
    db.flush()
    made["age"] = 2
    del made["name"]
    new = db.users.replace("a", made, actor="you")
    assert fields_of(new) == {"age": 2}
    assert (new.version, new.createdAt, new.createdBy) == (2, made.createdAt, "me")
    assert db.users.get("a") == new
    db.flush()
    assert db.users.get("a") == new
    with pytest.raises(InvalidInputError, match="keeps its id"):
        db.users.replace("a", {"$id": "b"})
    with pytest.raises(NotFoundError):
        db.users.replace("b", {})


def test_upsert(db):
    made = db.users.upsert(
        {"email": "a@x", "address.city": "Bern"}, {"$set": {"n": 1}, "$setOnInsert": {"new": True}}
    )
    assert fields_of(made) == {"email": "a@x", "address": {"city": "Bern"}, "n": 1, "new": True}
    for n in (2, 3):
        changed = db.users.upsert({"email": "a@x"}, {"$set": {"n": n}, "$setOnInsert": {"b": 1}})
        assert (changed.id, changed.n, changed.version) == (made.id, n, n)
        assert "b" not in changed
        db.flush()
    assert db.users.upsert({"$id": "users/z"}, {"$set": {"n": 1}}).id == "users/z"
    assert db.users.count() == 2


@pytest.mark.parametrize(
    ("filter_", "made"),
    [
        ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
        ({"$and": [{"a.c.d": 1}, {"a.b": {"$eq": None}}, {"x": {"$gt": 1}}]}, None),
        ({"a": {"$in": [1]}, "b": {"$all": [2]}, "$or": [{"c": 3}]}, {"a": 1, "b": 2, "c": 3}),
        ({"a": {"$in": [1, 2]}, "b": {"$ne": 1}}, {}),
    ],
)
def test_upsert_takes_all_equalities(tmp_path, filter_, made):
    with DB(tmp_path) as db:
        made = {"a": {"c": {"d": 1}, "b": None}} if made is None else made
        assert fields_of(db.users.upsert(filter_, {"$set": {"n": 1}})) == {**made, "n": 1}


def test_upsert_by_equalities_that_exclude_each_other(tmp_path):
    with DB(tmp_path) as db:
        for filter_ in ({"$and": [{"a": 1}, {"a": 2}]}, {"a": {"b": 1}, "a.c": 2}):
            with pytest.raises(InvalidInputError, match="twice what 'a' is"):
                db.users.upsert(filter_, {"$set": {"n": 1}})
        assert db.users.count() == 0


@pytest.mark.parametrize("staged_from", [3, 100])
def test_a_generator_may_change_what_it_gave(tmp_path, monkeypatch, staged_from):
    monkeypatch.setattr(bulk, "STAGED_FROM", staged_from)

    def same_dict():
        document = {"name": "", "tags": [], "deep": {"n": [0]}}
        for number in range(5):
            document["name"] = str(number)
            document["tags"].append(number)
            document["deep"]["n"][0] = number
            yield document

    with DB(tmp_path) as db:
        db.users.create_many(same_dict())
        assert [(each.name, each.tags, each.deep) for each in db.users.find()] == [
            (str(n), list(range(n + 1)), {"n": [n]}) for n in range(5)
        ]


def test_delete_and_restore(db):
    db.users.create_many(people(4))
    for state in range(2):
        key = f"p{state:06}"
        assert db.users.delete(key, actor="me")
        assert not db.users.delete(key)
        assert db.users.get(key) is None
        assert key not in db.users
        with pytest.raises(NotFoundError):
            db.users[key]
        gone = db.users.get(key, include_deleted=True)
        assert (gone.version, gone.deletedBy) == (2, "me")
        assert gone.deletedAt == gone.updatedAt
        assert db.users.count() == 3
        assert db.users.count(include_deleted=True) == 4
        db.flush()
        assert db.users.get(key) is None
        assert db.users.count() == 3
        back = db.users.restore(key)
        assert back == db.users.get(key)
        assert back.version == 3
        assert "deletedAt" not in back
        assert "deletedBy" not in back
        assert db.users.restore(key) == back
        assert db.users.count() == 4
    assert db.users.delete("p000003", hard=True)
    for _ in range(2):
        assert db.users.get("p000003", include_deleted=True) is None
        with pytest.raises(NotFoundError):
            db.users.restore("p000003")
        assert not db.users.delete("p000003", hard=True)
        assert db.users.count(include_deleted=True) == 3
        db.flush()
    assert not db.users.delete("nobody")


def test_delete_many(db):
    db.users.create_many(people(10))
    db.flush()
    db.users.create_many(people(10, 10))
    assert db.users.delete_many({"age": {"$lt": 3}}) == 3
    assert db.users.delete_many({"age": {"$lt": 3}}) == 0
    assert db.users.delete_many({"age": {"$gte": 18}}, hard=True) == 2
    assert db.users.count() == 15
    db.flush()
    assert db.users.count() == 15
    assert db.users.count(include_deleted=True) == 18
    assert db.users.delete_many({}, hard=True) == 15
    db.flush()
    assert db.users.count() == 0


def test_everything_removed(db, where):
    db.users.create_many(people(3))
    db.users.delete_many({}, hard=True)
    assert len(db.users) == 0
    db.flush()
    assert len(db.users) == 0
    db.users.create({"$id": "a"})
    db.close()
    assert where.open().users.get("a").version == 1


# transactions


def test_transaction(db, where):
    other = where.open()
    db.users.create_many(people(3))
    with db.transaction():
        db.users.create({"$id": "new", "name": "new"})
        db.users.update("p000000", {"$inc": {"age": 10}})
        db.users.update("p000000", {"$inc": {"age": 10}})
        db.users.delete("p000001", hard=True)
        db.users.create_many([{"$id": "x1"}, {"$id": "x2"}])
        assert db.users.get("p000000").age == 20
        assert db.users.get("p000001") is None
        assert db.users.count() == 5
        assert names(db.users.find({"name": "new"})) == ["new"]
        assert other.users.count() == 3
        assert other.users.get("p000000").age == 0
    assert db.users.count() == other.users.count() == 5
    assert db.users.get("p000000").version == 3
    assert db.users.space.journal.head() == 2


def test_transaction_that_fails(db):
    db.users.create_many(people(2))
    before = [dict(each) for each in db.users.find()]
    head = db.users.space.journal.head()
    with pytest.raises(RuntimeError, match="no"), db.transaction():  # noqa: PT012
        db.users.create({"$id": "new"})
        db.users.update("p000000", {"$inc": {"age": 10}})
        raise RuntimeError("no")
    assert [dict(each) for each in db.users.find()] == before
    with pytest.raises(ConflictError), db.transaction():  # noqa: PT012
        db.users.update("p000000", {"$inc": {"age": 10}})
        thread = threading.Thread(target=db.users.update, args=("p000000", {"$inc": {"age": 1}}))
        thread.start()
        thread.join()
        db.users.update("p000001", {"$inc": {"age": 10}})
    assert [each.age for each in db.users.find()] == [1, 1]
    assert db.users.space.journal.head() == head + 1
    with pytest.raises(InvalidInputError, match="one collection"), db.transaction():  # noqa: PT012
        db.users.create({"$id": "new"})
        db.posts.create({"title": "x"})
    assert db.users.get("new") is None
    assert db.posts.count() == 0
    with pytest.raises(StateError, match="already"), db.transaction(), db.transaction():
        pass


# the caller's own copies


def test_results_are_the_callers_own(db, where):
    given = {"$id": "a", "list": [1, {"deep": [2]}], "sub": {"x": [3]}}
    kept = {"list": [1, {"deep": [2]}], "sub": {"x": [3]}}

    def spoil(document):
        document["list"][1]["deep"].append("spoilt")
        document["list"].append("spoilt")
        document["sub"]["x"].append("spoilt")
        document["sub"]["spoilt"] = 1
        document["spoilt"] = 1

    made = db.users.create(given)
    spoil(made)
    spoil(given)
    many = {"$id": "b", "list": [1, {"deep": [2]}], "sub": {"x": [3]}}
    db.users.create_many([many])
    spoil(many)
    change = {"$set": {"sub": {"x": [3]}}}
    db.users.update("b", change)
    change["$set"]["sub"]["x"].append("spoilt")
    for _ in range(2):
        spoil(db.users.get("a"))
        spoil(db.users["a"])
        for each in db.users.find():
            spoil(each)
        spoil(db.users.find_one({"$id": "users/a"}))
        spoil(db.users.find_one({"list": 1}, sort="-sub.x"))
        spoil(db.users.update("a", {"$set": {"n": 1}}))
        spoil(db.users.restore("a"))
        with db.transaction():
            spoil(db.users.update("a", {"$set": {"n": 2}}))
            spoil(db.users.get("a"))
        for value in db.users.distinct("sub"):
            value["x"].append("spoilt")
        for row in db.users.aggregate([{"$match": {}}]):
            spoil(row)
        for id_ in ("a", "b"):
            own = fields_of(db.users.get(id_))
            own.pop("n", None)
            assert own == kept
        db.flush()


# history


def test_a_document_carries_the_time_of_its_write(tmp_path):
    stopped = replace(SYSTEM, now_us=lambda: 1_700_000_000_000_000)
    db = DB(tmp_path, ambient=stopped)
    made = [db.users.create({"n": n}) for n in range(3)]
    made.append(db.users.update(made[0].id, {"$set": {"n": 9}}))
    times = [each.updatedAt for each in made]
    assert times == sorted(set(times))  # one after another, though the clock stands still
    for before, at in enumerate(times, 1):
        assert db.users.count(as_of=at) == min(before, 3)
        assert db.users.count(as_of=at - timedelta(microseconds=1)) == min(before - 1, 3)
    assert db.users.get(made[0].id, as_of=times[2]).n == 0
    assert db.users.get(made[0].id, as_of=times[3]).n == 9


@pytest.mark.parametrize("backend", ["iceberg", "delta"])
@pytest.mark.parametrize("step_us", [0, -250_000])
def test_a_time_shows_its_write_after_flushes_too(tmp_path, backend, step_us):
    """Versions are a millisecond apart even where a clock stands still, and writes come after."""
    clock = itertools.count(1_700_000_000_000_000, step_us)
    ambient = replace(SYSTEM, now_us=lambda: next(clock))
    before = 0
    for _ in range(3):
        with DB(tmp_path, backend=backend, ambient=ambient, durability="os") as db:
            for _ in range(2):
                made = db.users.create({"n": 1})
                assert db.users.count(as_of=made.updatedAt) == before + 1
                if before % 2:  # inside of the tail a microsecond is told apart
                    earlier = made.updatedAt - timedelta(microseconds=1)
                    assert db.users.count(as_of=earlier) == before
                before += 1
                if before % 3:
                    db.flush()


def test_what_create_returns_is_the_callers(db):
    given = {"name": "Ann", "tags": ["a"], "address": {"city": "Bonn", "lines": [{"x": 1}]}}
    made = db.users.create(given)
    kept = db.users.get(made.id)
    given["tags"].append("b")
    given["address"]["lines"][0]["x"] = 2
    made.tags.append("c")
    made.address["lines"][0]["x"] = 3
    found = db.users.get(made.id)
    assert found == kept
    found.tags.append("d")
    assert [each.tags for each in db.users.find()] == [["a"]]
    assert db.users.get(made.id) == kept


@pytest.mark.parametrize("place_", ["tail", "read tail", "flushed"])
def test_what_writes_and_gets_return_is_the_callers(db, place_):
    nested = {"tags": ["a", ["b"]], "address": {"city": "Bonn", "lines": [{"x": 1}]}}

    def spoil(found):
        found.tags[1].append("c")
        found.tags.append("d")
        found.address["lines"][0]["x"] = 2
        found.address["new"] = {}

    def check(at, **more):
        found = db.users.get("a", as_of=at)
        assert {key: found[key] for key in nested} == nested
        assert all(found[key] == value for key, value in more.items())

    spoil(db.users.create({"$id": "a", **nested}))
    made = moment()
    if place_ == "read tail":
        assert db.users.find_one({"address.city": "Bonn"}).id == "users/a"
    elif place_ == "flushed":
        db.flush()
    for n in range(3):
        spoil(db.users.get("a"))
        spoil(db.users.update("a", {"$set": {"n": n}}))
        check(None, n=n, version=2 + n)
    with db.transaction():
        spoil(db.users.update("a", {"$set": {"n": 3}}))
        spoil(db.users.get("a"))
        spoil(db.users.create({"$id": "b", **nested}))
        spoil(db.users.get("b"))
        spoil(db.users.update("a", {"$inc": {"n": 1}}))
    spoil(db.users.get("b"))
    check(None, n=4, version=6)
    spoil(db.users.upsert({"$id": "a"}, {"$set": {"n": 5}}))
    db.users.delete("a")
    spoil(db.users.restore("a"))
    check(None, n=5, version=9)
    assert db.users["b"].tags == nested["tags"]
    if place_ != "flushed":
        check(made, version=1)


def test_as_of_inside_the_tail(db):
    db.users.create({"$id": "a", "n": 1})
    t1 = moment()
    db.users.update("a", {"$set": {"n": 2}})
    db.users.create({"$id": "b", "n": 5})
    t2 = moment()
    db.users.delete("a")
    t3 = moment()
    db.users.delete("b", hard=True)
    assert [each.n for each in db.users.find(as_of=t1)] == [1]
    assert [each.n for each in db.users.find(as_of=t2, sort="-n")] == [5, 2]
    assert [each.n for each in db.users.find(as_of=t3)] == [5]
    assert db.users.get("a", as_of=t2.isoformat()).version == 2
    assert db.users.get("a", as_of=t3) is None
    assert db.users.get("a", as_of=t3, include_deleted=True).version == 3
    assert db.users.count(as_of=t2) == 2
    assert db.users.distinct("n", as_of=t2) == [2, 5]
    assert db.users.find_one({"n": 2}, as_of=t2).id == "users/a"
    assert db.users.count() == 0


def test_as_of_over_flushes(db, where):
    known = []
    for round_ in range(4):
        db.users.create_many(people(3, 3 * round_))
        db.users.update("p000000", {"$set": {"round": round_, f"field{round_}": [round_]}})
        if round_ == 2:
            db.users.delete("p000001")
        flushed = db.flush()["users"]
        known.append((flushed.version, moment(), [dict(each) for each in db.users.find()]))
    db.users.update("p000002", {"$set": {"in": "tail"}})
    later = moment()
    db.users.update("p000002", {"$set": {"in": "tail again"}})
    for each in (db, where.open()):
        for version, at, rows in known[-1:] if where.backend == "native" else known:
            assert [dict(found) for found in each.users.find(as_of=version)] == rows
            assert [dict(found) for found in each.users.find(as_of=at)] == rows
            assert each.users.count(as_of=version) == len(rows)
            assert each.users.get("p000000", as_of=at)["round"] == rows[0]["round"]
        assert each.users.get("p000002", as_of=later)["in"] == "tail"
        assert each.users.get("p000002")["in"] == "tail again"
        with pytest.raises(NotFoundError):
            each.users.count(as_of=datetime(2001, 1, 1, tzinfo=UTC))
        with pytest.raises(NotFoundError):
            each.users.count(as_of=12345)
    with pytest.raises(InvalidInputError, match="as_of"):
        db.users.count(as_of="yesterday")


# opening


def test_reopen(where):
    with where.open() as db:
        db.users.create_many(people(3))
        db.flush()
        db.users.update("p000001", {"$inc": {"age": 1}})
        wanted = [dict(each) for each in db.users.find()]
        assert db.collections() == ("users",)
        assert "users" in db
        assert "posts" not in db
    with pytest.raises(StateError, match="closed"):
        db.users  # noqa: B018
    db.close()
    with where.open() as db:
        assert [dict(each) for each in db.users.find()] == wanted
        assert [dict(each) for each in db.Users.find()] == wanted
        assert [dict(each) for each in db["User"].find()] == wanted


def test_reading_and_closing_write_nothing(where):
    with where.open() as db:
        db.users.create_many(people(3))
    before = where.files()
    with where.open() as db:
        assert db.users.count() == 3
        assert db.users.get("p000001").age == 1
        assert db.nobody.count() == 0
        assert db.nobody.get("x") is None
        assert db.flush() == {}
    assert where.files() == before


def test_another_instance_sees_everything_at_once(db, where):
    other = where.open()
    for round_ in range(4):
        writer, reader = (db, other) if round_ % 2 else (other, db)
        made = writer.users.create({"n": round_})
        assert reader.users.get(made.id).n == round_
        reader.users.update(made.id, {"$inc": {"n": 100}})
        assert writer.users.get(made.id).n == round_ + 100
        if round_ != 1:
            writer.flush()
        assert reader.users.get(made.id).version == 2
        assert reader.users.count({"n": {"$gte": 100}}) == round_ + 1
        assert reader.users.update(made.id, {"$inc": {"n": 100}}).version == 3
    assert [each.n for each in db.users.find(sort="n")] == [200, 201, 202, 203]


def test_flush_says_what_it_did(db):
    assert db.flush("users") == {}
    db.users.create_many(people(10))
    db.posts.create({"title": "x"})
    done = db.flush("users")
    assert list(done) == ["users"]
    assert (done["users"].rows, done["users"].files, done["users"].through) == (10, 1, 1)
    assert done["users"].bytes_written > 0
    assert list(db.flush()) == ["posts"]
    assert db.flush() == {}
    assert set(db.compact()) == {"users", "posts"}


def test_flush_while_iterating(db):
    db.users.create_many(people(1000))
    db.flush()
    db.users.create_many(people(10, 1000))
    seen = []
    for number, each in enumerate(db.users.find()):
        seen.append(each.name)
        if number in (10, 500):
            db.users.update_many({}, {"$set": {"name": "changed"}})
            db.flush()
            db.compact()
    assert seen == [f"n{i}" for i in range(1010)]


def test_journal_flushes_itself(where):
    db = where.open(flush_bytes=10_000)
    for number in range(100):
        db.users.create({"text": "x" * 300, "n": number})
    assert db.users.space.base.rows >= 50
    assert db.users.count() == 100
    assert db.users.distinct("n") == list(range(100))


def test_flushing_in_the_background(where):
    db = where.open(flush_interval=0.02)
    db.users.create({"n": 1})
    deadline = time.monotonic() + 20
    while db.users.space.base.version is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert db.users.space.base.rows == 1
    db.close()


def test_names_of_collections(db):
    db.collection("BlogPost").create({"title": "x"})
    assert db.collection("BlogPost") is db["BlogPost"]
    for bad in ("../up", "_hidden", "a\0b", ""):
        with pytest.raises(InvalidInputError):
            db.collection(bad)
    for inside in ("data/x", "users/data", "users/metadata", "x/journal", "x/staged/y"):
        with pytest.raises(InvalidInputError, match="cannot be a new collection"):
            db.collection(inside)
    with pytest.raises(InvalidInputError, match="name is a string"):
        db.collection(5)
    assert isinstance(db, DB)


@pytest.mark.parametrize("name", ["journal", "staged", "journal/users"])
def test_a_collection_with_the_name_of_a_folder(where, name):
    """Before a flush too: whoever lists collections would leave it out of all that is done."""
    db = where.open()
    db[name].create({"$id": "a"})
    assert db.collections() == (name,)
    assert db.sql(f'SELECT "$id" FROM "{name}"').num_rows == 1
    assert list(db.flush()) == [name]
    assert db.collections() == (name,)


def test_staged_files_with_other_columns(where, monkeypatch):
    """Before they are flushed, and after: structs that grow, columns that only some files have."""
    monkeypatch.setattr(bulk, "STAGED_FROM", 3)
    rounds = [
        [{"$id": f"a{i}", "address": {"city": f"c{i}"}, "n": i} for i in range(5)],
        [{"$id": f"b{i}", "address": {"zip": i, "city": "x"}, "m": [i]} for i in range(5)],
        [{"$id": f"c{i}", "address": {"geo": {"lat": 0.5}}, "n": i, "o": "o"} for i in range(5)],
        [{"$id": f"d{i}", "address": {"geo": {"lon": i, "lat": i}}, "n": "text"} for i in range(5)],
    ]
    queries = [
        ({"address.city": "x"}, 5),
        ({"address.zip": {"$gte": 3}}, 2),
        ({"m": 4}, 1),
        ({"n": 4}, 2),
        ({"n": "text"}, 5),
        ({"o": "o"}, 5),
        ({"o": None}, 15),
        ({"address.geo.lat": 0.5}, 5),
        ({"address.geo.lon": 3}, 1),
        ({"address.geo": None}, 10),
    ]
    for flushed in (0, 1, 2):
        db = where.open()
        monkeypatch.setattr(LiveNamespace, "needs_flush", lambda self: False)
        docs = db.collection(f"docs{flushed}")
        for number, batch in enumerate(rounds):
            docs.create_many(batch)
            if number < flushed:
                docs.update("a1", {"$set": {f"new{number}": number}})
                db.flush()
        if flushed == 0:
            docs.update("b0", {"$set": {"late": True}})  # a column of the tail's own
        for _ in range(2):
            for query, count in queries:
                assert docs.count(query) == count, query
                assert len(docs.find(query, sort="-n").to_list()) == count, query
            for given in (each for batch in rounds for each in batch):
                own = fields_of(docs.get(given["$id"]))
                own = {key: value for key, value in own.items() if key in given}
                assert same(own, {key: given[key] for key in given if key != "$id"})
            db.flush()
        columns = docs.find().to_arrow().schema.field("address").type
        assert {field.name for field in columns} == {"city", "zip", "geo"}
