"""How a namespace is described: its columns, and what has none."""

import pytest

from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.maintain.describe import describe
from parquedb.namespace.live import LiveNamespace


def columns(found):
    return {column.name: column.type for column in found.columns if not column.system}


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_columns_and_the_share_of_the_rest(backend):
    with DB("memory://", backend=backend) as db:
        db.users.create_many([{"name": f"n{i}", "age": i} for i in range(8)])
        found = describe(db.users.space)
        assert (found.columns, found.rows, found.tail_documents) == ((), 0, 8)
        assert (found.version, found.data_share) == (None, 0.0)
        db.flush()
        db.users.create({"age": "unknown", "odd": [1, "x"]})
        found = describe(db.users.space)
        assert columns(found) == {"name": "string", "age": "int64"}
        assert (found.rows, found.rows_with_data, found.tail_documents) == (8, 0, 1)
        db.flush()
        found = describe(db.users.space)
        assert (found.rows, found.rows_with_data, found.tail_documents) == (9, 1, 0)
        assert found.data_share == pytest.approx(1 / 9)
        assert found.format == backend
        required = [column.name for column in found.columns if not column.nullable]
        assert required == ["$id"]
        shape = found.to_json()
        assert shape["data_share"] == 0.1111
        assert {"name": "age", "type": "int64", "nullable": True, "system": False} in shape[
            "columns"
        ]


def test_staged_files_count(monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 2)
    monkeypatch.setattr(LiveNamespace, "needs_flush", lambda self: False)
    with DB("memory://") as db:
        db.users.create_many([{"age": 1}, {"age": 2}, {"age": [1, "x"]}])
        found = describe(db.users.space)
        assert (found.rows, found.version, found.tail_documents) == (3, None, 0)
        assert found.rows_with_data >= 1


def test_files_of_the_typescript_version():
    with DB("tests/data/typescript-native") as db:
        found = describe(db.users.space)
        assert [column.name for column in found.columns] == ["$id", "$type", "$name", "$data"]
        assert (found.rows, found.rows_with_data, found.data_share) == (301, 301, 1.0)
        stats = db.stats("users")["users"]
        assert (stats.documents, stats.deleted, stats.files) == (291, 10, 1)
        db.close(flush=False)
