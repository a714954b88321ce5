"""Ways in which documents were lost, or found wrongly, once."""

import pytest

from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.documents.exchange import imports
from parquedb.errors import AlreadyExistsError, ConflictError

UNIQUE = {"User": {"email": "string##", "n": "int?"}}


@pytest.fixture
def few(monkeypatch):
    """Let ten documents at once be many."""
    monkeypatch.setattr(bulk, "STAGED_FROM", 10)
    monkeypatch.setattr(imports, "STAGED_FROM", 10)
    monkeypatch.setattr(bulk, "_CHUNK", 10)


def people(count):
    return [{"$id": f"users/{i:03}", "email": f"e{i}", "name": "n"} for i in range(count)]


def values(found, name):
    return [each[name] for each in found]


# ids that come again


@pytest.mark.parametrize("flushed", [True, False])
def test_a_removed_id_comes_again_in_a_staged_file(tmp_path, few, flushed):
    db = DB(tmp_path)
    db.users.create({"$id": "users/005", "email": "old"})
    if flushed:
        db.flush()
    db.users.delete("005", hard=True)
    db.users.create_many(people(25))
    assert db.users["005"].email == "e5"
    assert db.users.count() == 25
    db.flush()
    assert db.users["005"].email == "e5"
    assert values(db.users.find(), "email") == [f"e{i}" for i in range(25)]


def test_an_id_that_was_staged_removed_and_staged_again(tmp_path, few):
    db = DB(tmp_path, backend="iceberg")
    for _ in range(2):
        db.users.create_many(people(25))
        assert db.users.count() == 25
        db.users.delete_many({"email": {"$in": ["e3", "e24"]}}, hard=True)
        assert db.users.count() == 23
        db.users.delete_many({}, hard=True)
    db.users.create_many(people(12))
    db.flush()
    assert values(db.users.find(), "email") == [f"e{i}" for i in range(12)]


def test_a_removed_id_comes_again_by_an_import(tmp_path, few):
    db = DB(tmp_path / "db")
    db.users.create({"$id": "users/005", "email": "old"})
    db.flush()
    db.users.delete("005", hard=True)
    file = tmp_path / "users.ndjson"
    file.write_text("".join(f'{{"$id":"{i:03}","email":"e{i}"}}\n' for i in range(25)))
    db.import_file("users", file)
    assert db.users["005"].email == "e5"
    assert db.users.count() == 25


# unique values


def test_values_are_unique_among_batches(tmp_path, few):
    db = DB(tmp_path, schema=UNIQUE)
    items = people(35)
    items[33]["email"] = "e1"
    with pytest.raises(AlreadyExistsError, match="'e1'"):
        db.users.create_many(items)
    assert db.users.count() == 0
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_unique_value_that_is_taken_while_documents_are_staged(tmp_path, few):
    db, other = DB(tmp_path, schema=UNIQUE), DB(tmp_path, schema=UNIQUE)

    def items():
        for number, item in enumerate(people(35)):
            if number == 32:
                other.users.create({"email": "e7"})
            yield item

    with pytest.raises(AlreadyExistsError, match="'e7'"):
        db.users.create_many(items())
    assert values(db.users.find(), "email") == ["e7"]


def test_unique_values_are_exchanged_in_a_transaction(tmp_path):
    db = DB(tmp_path, schema=UNIQUE)
    one, other = db.users.create({"email": "a"}), db.users.create({"email": "b"})
    with db.transaction():
        db.users.update(one.id, {"$set": {"email": "c"}})
        db.users.update(other.id, {"$set": {"email": "a"}})
        db.users.update(one.id, {"$set": {"email": "b"}})
    assert values(db.users.find(), "email") == ["b", "a"]
    with pytest.raises(AlreadyExistsError), db.transaction():
        db.users.update(one.id, {"$set": {"email": "a"}})
    assert values(db.users.find(), "email") == ["b", "a"]


# transactions


def test_a_document_that_was_made_anew_is_another_one(tmp_path):
    db, other = DB(tmp_path), DB(tmp_path)
    db.users.create({"$id": "users/a", "n": 1})

    def exchange():
        with db.transaction():
            db.users.update("a", {"$inc": {"n": 1}})
            other.users.delete("a", hard=True)
            other.users.create({"$id": "users/a", "n": 5})

    with pytest.raises(ConflictError):
        exchange()
    assert db.users["a"].n == 5


def test_transactions_let_the_journal_be_flushed(tmp_path):
    db = DB(tmp_path, flush_bytes=1000)
    for number in range(20):
        with db.transaction():
            db.users.create({"n": number, "text": "x" * 100})
    assert (tmp_path / "data/users/data.parquet").exists()
    assert values(db.users.find(), "n") == list(range(20))


# where a database is


def test_folders_with_equal_signs_above_the_data_are_no_columns(tmp_path):
    db = DB(tmp_path / "env=prod" / "n=5")
    db.users.create({"env": "dev", "n": 1})
    db.flush()
    assert db.users.count({"env": "dev"}) == db.users.count({"n": {"$lt": 2}}) == 1
    assert db.users.count({"env": "prod"}) == 0
    assert db.sql("SELECT env, n FROM users").to_pylist() == [{"env": "dev", "n": 1}]


def test_folders_that_look_like_patterns(tmp_path):
    for name in ("ab", "axb", "a*b", "a?b", "a[b]"):
        db = DB(tmp_path / name)
        db.users.create({"of": name, "n": 1})
        db.flush()
        assert values(db.users.find({"n": {"$gt": 0}}), "of") == [name]
        assert db.users.count({"n": 1}) == 1
        db.close()
