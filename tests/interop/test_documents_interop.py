"""Flushed collections, read by other engines: what they see is what ``find`` returns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.table.update import RemoveSnapshotRefUpdate, RemoveSnapshotsUpdate

from parquedb.catalog import FilesystemCatalog
from parquedb.db import DB
from tests.support import duck
from tests.support.rows import assert_same_rows
from tests.support.spark import read_delta_at, read_iceberg_at
from tests.support.targets import metadata_file, open_iceberg

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.filterwarnings(
    "ignore:Iceberg scan planning:polars.exceptions.PerformanceWarning"
)

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
Rows = list[dict[str, Any]]


def person(i: int, **more: Any) -> dict[str, Any]:
    return {"$id": f"p{(i * 7) % 50:02}", "name": f"name {i}", "age": i, **more}


def history(db: DB) -> Iterator[Any]:
    """Write for some rounds, each flushed: new columns, wider structs, updates, deletes."""
    users = db.users
    users.create_many([person(i) for i in range(10)])
    yield db.flush()["users"]
    users.create_many(
        [
            person(
                i, tags=[f"t{i}", "x"], address={"city": f"c{i}"}, score=i / 4, active=i % 2 == 0
            )
            for i in range(10, 20)
        ]
    )
    users.update("p07", {"$set": {"address": {"city": "moved"}, "tags": []}, "$inc": {"age": 100}})
    yield db.flush()["users"]
    users.update_many({"age": {"$gte": 15}}, {"$set": {"address.zip": "8000", "active": True}})
    users.delete("p14", actor="me")
    users.delete("p00", hard=True)
    users.update("p21", {"$unset": {"name": ""}})
    yield db.flush()["users"]
    users.create_many(
        [
            person(
                i,
                born=date(2000, 1, i),
                seen=START + timedelta(seconds=i),
                wall=datetime(2024, 5, i, 8, 30),
                paid=Decimal(i) / 100,
                raw=bytes([i]),
                lines=[{"sku": f"s{k}", "n": k} for k in range(i % 3)],
                rows=[[i], []],
                address={"city": "x", "geo": {"lat": i / 8}},
            )
            for i in range(20, 30)
        ]
    )
    users.restore("p14")
    users.replace("p28", {"name": "replaced"})
    yield db.flush()["users"]
    users.update_many({}, {"$inc": {"age": 1}})
    yield db.flush()["users"]
    users.delete_many({"lines.sku": "s1"}, hard=True)
    yield db.compact()["users"]


def without_nulls(value: Any) -> Any:
    """Return a row as a document: null is missing."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def as_pyiceberg(rows: Rows, reader: str = "pyiceberg") -> Rows:
    """Return documents as pyiceberg shows them: it takes a null list of structs for an empty one.

    (``ArrowProjectionVisitor.list``, pyiceberg 0.12: made of the offsets alone, without validity.)
    """
    if reader not in ("pyiceberg", "catalog"):
        return rows
    return [{key: item for key, item in row.items() if key != "lines" or item} for row in rows]


def document_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a row by the rules of ``$data``, for plain JSON in it."""
    data = json.loads(row.get("$data") or "{}")
    document = without_nulls({key: value for key, value in row.items() if key != "$data"})
    for name in data.pop("$int", ()):
        document[name] = int(document[name])
    return document | data


def stored(db: DB, as_of: Any = None) -> Rows:
    return [dict(each) for each in db.users.find(include_deleted=True, as_of=as_of)]


def readers(backend: str, root: Path) -> dict[str, Callable[[], Rows]]:
    """Return what reads the newest version of a table."""
    folder = root / "users"
    if backend == "native":
        file = root / "data" / "users" / "data.parquet"
        return {
            "duckdb": lambda: duck.rows_parquet([file]),
            "polars": lambda: pl.read_parquet(file).to_dicts(),
            "pyarrow": lambda: pq.read_table(file).to_pylist(),
        }
    if backend == "delta":
        return {
            "duckdb": lambda: duck.rows_delta(folder),
            "delta-rs": lambda: DeltaTable(folder).to_pyarrow_table().to_pylist(),
            "polars": lambda: pl.read_delta(str(folder)).to_dicts(),
        }
    catalog = FilesystemCatalog("it", warehouse=str(root))
    return {
        "duckdb": lambda: duck.rows_iceberg(metadata_file(folder)),
        "pyiceberg": lambda: open_iceberg(folder).scan().to_arrow().to_pylist(),
        "catalog": lambda: catalog.load_table("users").scan().to_arrow().to_pylist(),
        "polars": lambda: pl.scan_iceberg(str(metadata_file(folder))).collect().to_dicts(),
    }


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_readers_see_what_find_returns(backend: str, tmp_path: Path) -> None:
    with DB(tmp_path, backend=backend) as db:
        for _ in history(db):
            wanted = stored(db)
            for name, read in readers(backend, tmp_path).items():
                rows = read()
                assert all(row.get("$data") is None for row in rows), name
                found = [without_nulls(row) for row in rows]
                assert_same_rows(as_pyiceberg(found, name), as_pyiceberg(wanted, name))


@pytest.mark.parametrize("backend", ["iceberg", "delta"])
def test_every_version(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "users"
    with DB(tmp_path, backend=backend) as db:
        known = [(flushed.version, stored(db)) for flushed in history(db)]
        for version, wanted in known:
            assert_same_rows(stored(db, as_of=version), wanted)
    for version, wanted in known:
        if backend == "iceberg":
            rows = open_iceberg(folder).scan(snapshot_id=version).to_arrow().to_pylist()
            found = as_pyiceberg([without_nulls(row) for row in rows])
            assert_same_rows(found, as_pyiceberg(wanted))
            rows = duck.rows_iceberg(metadata_file(folder), version)
        else:
            rows = DeltaTable(folder, version=version).to_pyarrow_table().to_pylist()
            assert_same_rows([without_nulls(row) for row in rows], wanted)
            rows = duck.rows_delta(folder, version)
        assert_same_rows([without_nulls(row) for row in rows], wanted)


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_what_does_not_fit_is_in_data(backend: str, tmp_path: Path) -> None:
    """Mixed types, explicit nulls, odd names and undeclared parts, by the rules of ``$data``."""
    with DB(tmp_path, backend=backend) as db:
        for start in (0, 10, 20):
            db.users.create_many(
                [
                    {
                        "$id": f"{i:02}",
                        "name": None if i % 5 == 0 else f"n{i}",
                        "mixed": [i, str(i), None, [i], {"x": i}, 0.5][i % 6],
                        "price": i if i % 2 else i / 2 + 0.25,
                        "address": {"city": "x", **({"zip": None} if i % 3 else {})},
                        f"free{i}": i,
                        "a.b": {"c.d": i},
                    }
                    for i in range(start, start + 10)
                ]
            )
            db.users.update_many({"mixed": {"$gte": 5}}, {"$set": {"seen": True, "mixed": "text"}})
            db.flush()
            wanted = stored(db)
            for read in readers(backend, tmp_path).values():
                rows = read()
                assert_same_rows([document_of(row) for row in rows], wanted)
                assert sum(row["price"] for row in rows) == sum(e["price"] for e in wanted)


def test_rows_from_outside_are_documents(tmp_path: Path) -> None:
    """What DuckDB or Polars add to a table without knowing of documents is found as such."""
    with DB(tmp_path, backend="delta") as db:
        db.users.create_many([person(i) for i in range(5)])
        db.flush()
        frame = pl.DataFrame(
            {
                "$id": ["users/x", "users/y"],
                "$type": ["User", None],
                "age": [1, None],
                "new": ["a", "b"],
            },
        )
        frame.write_delta(
            str(tmp_path / "users"), mode="append", delta_write_options={"schema_mode": "merge"}
        )
        found = db.users.find({"new": {"$exists": True}}).to_list()
        assert [dict(each) for each in found] == [
            {"$id": "users/x", "$type": "User", "age": 1, "new": "a"},
            {"$id": "users/y", "new": "b"},
        ]
        assert db.users.count() == 7
        made = db.users.update("x", {"$inc": {"age": 1}})
        assert (made.age, made.version, made.new) == (2, 1, "a")
        db.users.delete("y")
        db.flush()
        assert db.users.count() == 6
        rows = {
            row["$id"]: row for row in DeltaTable(tmp_path / "users").to_pyarrow_table().to_pylist()
        }
        assert rows["users/x"]["age"] == 2
        assert rows["users/y"]["deletedAt"] is not None


@pytest.mark.spark
@pytest.mark.parametrize("backend", ["iceberg", "delta"])
def test_spark(spark: SparkSession, backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "users"
    read = read_iceberg_at if backend == "iceberg" else read_delta_at
    with DB(tmp_path, backend=backend) as db:
        known = [(flushed.version, stored(db)) for flushed in history(db)]
    for version, wanted in known:
        if backend == "iceberg":
            rows = read_iceberg_at(spark, folder, snapshot_id=version)
        else:
            rows = read_delta_at(spark, folder, version=version)
        assert_same_rows([without_nulls(row) for row in rows], wanted)
    assert_same_rows([without_nulls(row) for row in read(spark, folder)], known[-1][1])


def numbers(db: DB) -> dict[str, int]:
    return {each.id.removeprefix("users/"): each.n for each in db.users.find()}


def filled(root: Path, backend: str) -> DB:
    """Return a collection of three, one of them deleted by others, and one in the journal."""
    db = DB(root, backend=backend)
    for number in range(3):
        db.users.create({"$id": f"u{number}", "n": number})
    db.flush()
    db.users.create({"$id": "tail", "n": 3})
    if backend == "delta":
        DeltaTable(root / "users").delete("n = 0")
    else:
        catalog = FilesystemCatalog("test", warehouse=root.as_uri())
        catalog.load_table(("default", "users")).delete("n == 0")
    assert numbers(db) == {"u1": 1, "u2": 2, "tail": 3}
    return db


@pytest.mark.parametrize("backend", ["iceberg", "delta"])
def test_a_table_that_others_dropped_and_made_anew(tmp_path: Path, backend: str) -> None:
    """What was flushed into the old one does not come back; what waits in the journal stays."""
    db = filled(tmp_path, backend)
    folder = tmp_path / "users"
    if backend == "delta":
        rows = DeltaTable(folder).to_pyarrow_table()
        shutil.rmtree(folder)
        write_deltalake(folder, rows.slice(0, 1))
    else:
        catalog = FilesystemCatalog("test", warehouse=tmp_path.as_uri())
        rows = open_iceberg(folder).scan().to_arrow()
        catalog.purge_table(("default", "users"))
        catalog.create_table(("default", "users"), rows.schema).append(rows.slice(0, 1))
    kept = rows["$id"][0].as_py().removeprefix("users/")
    for each in (db, DB(tmp_path)):
        assert numbers(each).keys() == {kept, "tail"}
    db.users.update(kept, {"$inc": {"n": 10}})
    assert db.flush()["users"].rows == 2
    assert numbers(DB(tmp_path)) == numbers(db)
    assert numbers(db).keys() == {kept, "tail"}
    db.close()


@pytest.mark.parametrize("how", ["expired", "replaced"])
def test_the_mark_outlives_the_snapshots_that_had_it(tmp_path: Path, how: str) -> None:
    db = filled(tmp_path, "iceberg")
    catalog = FilesystemCatalog("test", warehouse=tmp_path.as_uri())
    table = catalog.load_table(("default", "users"))
    if how == "expired":
        old = [each.snapshot_id for each in table.snapshots()[:-1]]
        update: Any = RemoveSnapshotsUpdate(snapshot_ids=old)
    else:  # as CREATE OR REPLACE does
        update = RemoveSnapshotRefUpdate(ref_name="main")
    rows = table.scan().to_arrow()
    with table.transaction() as transaction:
        transaction._apply((update,))
    if how == "replaced":
        catalog.load_table(("default", "users")).append(rows)
    for each in (db, DB(tmp_path)):
        assert numbers(each) == {"u1": 1, "u2": 2, "tail": 3}
    db.flush()
    assert numbers(DB(tmp_path)) == {"u1": 1, "u2": 2, "tail": 3}
    db.close()
