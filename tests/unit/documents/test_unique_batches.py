"""Unique fields of documents that are written in several batches."""

import pytest

from parquedb.db import DB
from parquedb.documents import bulk
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
