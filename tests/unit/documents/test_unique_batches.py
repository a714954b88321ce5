"""Unique fields of documents that are written in several batches."""

import threading

import pytest

from parquedb.db import DB
from parquedb.documents import bulk, unique
from parquedb.errors import AlreadyExistsError


def test_batches_are_checked_against_each_other(monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 2)
    monkeypatch.setattr(bulk, "_CHUNK", 2)
    with DB("memory://", schema={"User": {"email": "string##"}}) as db:
        with pytest.raises(AlreadyExistsError, match=r"'1@x'"):
            db.users.create_many([{"email": f"{i}@x"} for i in [*range(6), 1]])
        assert db.users.count() == 0
        assert list(db.store.list("_parquedb/users/staged")) == []
        db.users.create_many([{"email": f"{i}@x"} for i in range(7)])
        assert db.users.count() == 7


def test_a_write_while_a_transaction_looks(monkeypatch):
    """The index of the tail misses nothing that comes while somebody else adds to it."""
    with DB("memory://", schema={"User": {"email": "string##"}}) as db:
        db.users.create({"email": "a"})
        value_at, mine = unique._value_at, threading.get_ident()
        other = threading.Thread(target=lambda: db.users.create({"email": "late"}))

        def meanwhile(document, path):
            if threading.get_ident() == mine and document["email"] == "a" and not other.ident:
                other.start()
                other.join(0.2)
            return value_at(document, path)

        monkeypatch.setattr(unique, "_value_at", meanwhile)
        with db.transaction():
            db.users._writing._unique._first = None  # it is indexed anew
            db.users.create({"email": "b"})
        other.join()
        assert db.users.count({"email": "late"}) == 1
        with pytest.raises(AlreadyExistsError, match="'late'"):
            db.users.create({"email": "late"})
