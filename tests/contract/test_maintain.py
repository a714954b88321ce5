"""Upkeep over every backend and store: counting, vacuum, and the past that is only read."""

import os
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.ambient import SYSTEM
from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.errors import (
    FormatError,
    InvalidInputError,
    NotFoundError,
    ParqueDBError,
    StateError,
    UnsupportedError,
)
from parquedb.migrate.options import MigrationOptions
from parquedb.migrate.run import run_migration
from parquedb.model.format import Format
from parquedb.namespace import flush as flushing
from parquedb.namespace.live import LiveNamespace
from parquedb.storage.store import NewObject
from tests.support.databases import BACKENDS, STORES, moment, place, states

NOW = {"older_than_s": 0, "nobody_writes": True}
WEEK_US = 7 * 86_400 * 1_000_000


@pytest.fixture(params=[(b, s) for b in BACKENDS for s in STORES], ids="-".join)
def where(request, tmp_path):
    found = place(*request.param, tmp_path / "db")
    yield found
    found.close()


def places(*, backends=BACKENDS, stores=STORES):
    """Run a test of ``where`` in some places only."""
    params = [(b, s) for b in backends for s in stores]
    return pytest.mark.parametrize("where", params, ids="-".join, indirect=True)


VERSIONED = places(backends=[b for b in BACKENDS if b != "native"])


@pytest.fixture
def db(where):
    return where.open()


@pytest.fixture
def local(tmp_path):
    """A place on the disk for each table format."""
    return lambda backend: place(backend, "local", tmp_path / "db")


def people(count, start=0):
    return [{"$id": f"p{i:04}", "name": f"n{i}", "age": i} for i in range(start, start + count)]


def put(db, key, data=b"PAR1 nothing"):
    db.store.create(NewObject(key, data))
    return key


def folder(db):
    return db.users.space.tables.folder(db.users.space.base.format)


def orphans(db):
    """Plant what killed writes leave behind; return the keys."""
    found = [put(db, f"_parquedb/users/staged/{uuid.uuid4().hex}.parquet")]
    found.append(put(db, f"_parquedb/users/staged/flush-{uuid.uuid4().hex}.parquet"))
    format_ = db.users.space.base.format
    if format_ is not Format.NATIVE:
        for below in ("data", f"_{format_.value}_data"):
            found.append(put(db, f"{folder(db)}/{below}/{uuid.uuid4()}.parquet"))
            found.append(put(db, f"{folder(db)}/{below}/merged-{uuid.uuid4()}.parquet"))
            found.append(put(db, f"{folder(db)}/{below}/{uuid.uuid4()}-3-deletes.puffin"))
            found.append(put(db, f"{folder(db)}/{below}/{uuid.uuid4()}-0-deletes.parquet"))
            found.append(put(db, f"{folder(db)}/{below}/city=Ulm/part-0123456789ab.parquet"))
    return sorted(found)


def everything(db):
    """Return the documents at every version that can be read."""
    users = db.users
    found = {
        info.version: [dict(each) for each in users.snapshot(info.version).find()]
        for info in users.list_snapshots()
        if info.version is not None
    }
    return found | {"now": [dict(each) for each in users.find(include_deleted=True)]}


def worked_on(where, **options):
    """Return a database with several versions and a tail."""
    db = where.open(**options)
    db.users.create_many(people(50))
    db.flush()
    db.users.update_many({"age": {"$lt": 10}}, {"$inc": {"age": 100}})
    db.users.delete("p0020")
    db.users.delete("p0021", hard=True)
    db.flush()
    db.users.create_many(people(5, 100))
    return db


# stats


def test_stats_count_what_is_there(db):
    db.users.create_many(people(30))
    db.users.delete("p0003")
    db.users.delete("p0004", hard=True)
    for state in states(db):
        found = db.stats()["users"]
        assert (found.documents, found.deleted) == (28, 1), state
        assert found.format.value == db.users.space.format.value
        if state == "in the tail":
            assert (found.files, found.version, found.table_bytes) == (0, None, 0)
            assert (found.tail_entries, found.tail_documents) == (3, 30)
            assert found.tail_bytes == found.journal_bytes > 0
            assert found.bytes_per_document is None
        else:
            assert (found.files, found.row_groups) == (1, 1)
            assert found.version == db.users.space.base.version
            assert (found.tail_entries, found.tail_documents, found.tail_bytes) == (0, 0, 0)
            assert found.bytes_per_document == round(found.table_bytes / 29, 1)
            assert found.columns == 12 + len({"age"}) - 1
            assert found.through >= 3


def test_stats_count_staged_files(db, monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 10)
    monkeypatch.setattr(LiveNamespace, "needs_flush", lambda self: False)
    db.users.create_many(people(25))
    found = db.stats("users")["users"]
    assert (found.staged_files, found.tail_entries, found.tail_documents) == (1, 1, 25)
    assert found.staged_bytes > 0
    assert found.tail_bytes == found.journal_bytes + found.staged_bytes
    assert found.documents == 25


def test_stats_of_what_is_not_there(db):
    assert db.stats() == {}
    with pytest.raises(NotFoundError, match="No data found for namespace 'users'"):
        db.stats("users")
    with pytest.raises(NotFoundError, match="No data found"):
        db.vacuum("users")
    assert db.vacuum() == {}


def test_stats_tell_of_memory(db):
    db.users.create_many(people(30))
    db.flush()
    assert db.users.get("p0003") is not None
    assert db.stats()["users"].cache_bytes > 0


# vacuum


def test_vacuum_leaves_what_is_used(where):
    db = worked_on(where)
    before = everything(db)
    files = where.files()
    assert db.vacuum(**NOW)["users"].files == ()
    assert where.files() == files
    assert everything(db) == before
    db.close(flush=False)
    assert everything(where.open()) == before


def test_vacuum_deletes_what_killed_writes_left(where):
    db = worked_on(where)
    before, files = everything(db), where.files()
    planted = orphans(db)
    found = db.vacuum("users", dry_run=True, **NOW)["users"]
    assert [file.key for file in found.files] == planted
    assert found.dry_run
    assert found.segments == 0
    assert where.files().keys() == files.keys() | set(planted)
    found = db.vacuum("users", **NOW)["users"]
    assert [file.key for file in found.files] == planted
    assert found.size_bytes == len(planted) * len(b"PAR1 nothing")
    assert where.files() == files
    assert everything(db) == before
    assert db.vacuum("users", **NOW)["users"].files == ()


def test_vacuum_leaves_what_is_young(where):
    db = worked_on(where)
    planted = orphans(db)
    assert db.vacuum()["users"].files == ()
    assert db.vacuum(older_than_s=3600)["users"].files == ()
    db.close()
    later = replace(SYSTEM, now_us=lambda: SYSTEM.now_us() + WEEK_US + 1_000_000)
    late = where.open(ambient=later)
    assert [file.key for file in late.vacuum()["users"].files] == planted
    assert late.vacuum(older_than_s=8 * 86_400)["users"].files == ()


@pytest.mark.parametrize("age", [0, 60, 3599.9])
def test_vacuum_of_young_files_needs_a_promise(db, age):
    db.users.create({"name": "Ann"})
    with pytest.raises(InvalidInputError, match="nobody_writes=True"):
        db.vacuum(older_than_s=age)


@pytest.mark.parametrize("age", [-1, float("inf"), float("nan"), "7d", True, None])
def test_vacuum_needs_a_time(db, age):
    db.users.create({"name": "Ann"})
    with pytest.raises(InvalidInputError, match="older_than_s is a number of seconds"):
        db.vacuum(older_than_s=age, nobody_writes=True)


def test_vacuum_leaves_what_is_not_ours(where):
    db = worked_on(where)
    own, name = folder(db), f"{uuid.uuid4()}"
    kept = [
        put(db, f"{own}/data/00000-0-{name}.parquet"),  # another writer's, maybe about to commit
        put(db, f"{own}/data/part-00000-{name}.c000.snappy.parquet"),
        put(db, f"{own}/data/notes.txt"),
        put(db, f"_parquedb/users/notes/{name}.parquet"),
        put(db, f"_parquedb/users2/staged/{name}.parquet"),
        put(db, f"_parquedb/users/staged/deeper/{name}.parquet"),
        put(db, f"users2/data/{name}.parquet"),
        put(db, f"elsewhere/{name}.parquet"),
    ]
    assert db.vacuum("users", **NOW)["users"].files == ()
    assert all(db.store.head(key) is not None for key in kept)


def test_vacuum_leaves_tables_inside(where):
    db = worked_on(where)
    name = f"{folder(db)}/data/inner"
    kept = [
        put(db, f"{name}/_delta_log/{0:020}.json"),
        put(db, f"{name}/{uuid.uuid4()}.parquet"),
        put(db, f"{name}/data/{uuid.uuid4()}.parquet"),
        put(db, f"{name}2/metadata/v1.metadata.json"),
        put(db, f"{name}2/data/{uuid.uuid4()}.parquet"),
    ]
    assert db.vacuum("users", **NOW)["users"].files == ()
    assert all(db.store.head(key) is not None for key in kept)


def test_vacuum_leaves_staged_files_of_the_tail(where, monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 10)
    monkeypatch.setattr(LiveNamespace, "needs_flush", lambda self: False)
    db = where.open()
    db.users.create_many(people(25))
    orphan = put(db, f"_parquedb/users/staged/{uuid.uuid4().hex}.parquet")
    assert [file.key for file in db.vacuum(**NOW)["users"].files] == [orphan]
    assert db.users.count() == 25
    db.flush()
    assert db.users.count() == 25


class Killed(BaseException):
    pass


@VERSIONED  # of native, only a kill of the process leaves something behind: see below
def test_vacuum_after_killed_flushes(where, monkeypatch):
    db = worked_on(where)
    before = everything(db)

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(flushing, "_discard", lambda *_: None)
        patch.setattr(flushing, "_changes", die)
        with pytest.raises(Killed):
            db.flush()
    db = where.open()
    (orphan,) = db.vacuum(**NOW)["users"].files
    assert orphan.key.startswith(f"{folder(db)}/data/")
    assert everything(db)["now"] == before["now"]
    db.flush()
    assert everything(db)["now"] == before["now"]
    files = where.files()
    assert db.vacuum(**NOW)["users"].files == ()
    assert where.files().keys() == files.keys()


KILLED = """
import os, sys
from parquedb.db import DB
from parquedb.namespace import flush

def die(*_, **__):
    os._exit(9)

db = DB(sys.argv[1])
db.users.create({"name": "Ann"})
flush.merge_rows = lambda *_: (die() for _ in range(1))
db.flush()
"""


def test_vacuum_after_a_kill(local):
    where = local("native")
    worked_on(where).close()
    done = subprocess.run([sys.executable, "-c", KILLED, where.storage], capture_output=True)
    assert done.returncode == 9, done.stderr
    with where.open() as db:
        (left,) = Path(where.storage).glob("_parquedb/users/staged/.pqdb-tmp-*")
        assert [Path(f.key).name for f in db.vacuum(**NOW)["users"].files] == [left.name]
        assert db.users.count({"name": "Ann"}) == 1


@places(stores=["local"])  # a store that cannot append keeps its newest 128 segments
def test_vacuum_deletes_segments_that_are_in_the_table(where, monkeypatch):
    db = where.open()
    monkeypatch.setattr(flushing, "_collect", lambda *_: None)
    for number in range(3):
        db.users.create({"age": number})
        db.flush()
        db.users.space.journal.rotate()
    assert db.users.space.journal.first() == 1
    found = db.vacuum(dry_run=True)["users"]
    assert (found.segments, db.users.space.journal.first()) == (0, 1)
    found = db.vacuum()["users"]
    assert found.segments > 0
    assert db.users.space.journal.first() > 1
    assert db.users.count() == 3
    assert where.open().users.count() == 3


def damaged(db, keys):
    for key in keys:
        db.store.replace(key, b"{ not this")


@pytest.mark.parametrize("what", ["newest", "oldest", "journal"])
def test_vacuum_stops_at_metadata_that_cannot_be_read(where, what):
    db = worked_on(where)
    planted = orphans(db)
    format_ = db.users.space.base.format
    if what == "journal":
        db.store.create(NewObject("_parquedb/users/journal/x.jsonl", b"what"))
    elif format_ is Format.NATIVE:
        db.store.create(NewObject("_parquedb/users/native-origin.json", b"what"))
    elif format_ is Format.DELTA:
        logs = [i.key for i in db.store.list("users/_delta_log") if i.key.endswith("0.json")]
        damaged(db, logs[-1:] if what == "newest" else logs[:1])
    else:
        lists = [i.key for i in db.store.list("users/metadata") if "snap-" in i.key]
        damaged(db, lists[-1:] if what == "newest" else lists[:1])
    with pytest.raises(FormatError):
        db.vacuum("users", **NOW)
    assert all(db.store.head(key) is not None for key in planted)
    db.close(flush=False)


def test_vacuum_stops_where_a_table_lost_its_metadata(where):
    db = worked_on(where)
    planted = orphans(db)
    other = "users/_delta_log" if where.backend != "delta" else "users/metadata"
    put(db, f"{other}/00000000000000000007.checkpoint.bak.avro")
    with pytest.raises(FormatError, match="metadata is gone"):
        db.vacuum("users", **NOW)
    assert all(db.store.head(key) is not None for key in planted)


def test_vacuum_stops_where_a_clean_up_was_cut_short(where):
    db = worked_on(where)
    planted = orphans(db)
    other = Format.DELTA if where.backend != "delta" else Format.ICEBERG
    put(db, db.users.space.tables.cleanup_record(other), b"{}")
    with pytest.raises(StateError, match="finish it with cleanup-backend"):
        db.vacuum("users", **NOW)
    assert all(db.store.head(key) is not None for key in planted)


@pytest.mark.parametrize("backend", ["iceberg", "delta"])
def test_vacuum_of_two_formats_in_one_folder(local, backend):
    where = local(backend)
    db = worked_on(where)
    db.flush()
    before = everything(db)
    db.close()
    other = "delta" if backend == "iceberg" else "iceberg"
    where.backend = other
    options = MigrationOptions(target=Format(other))
    run_migration(db.store, ["users"], options).raise_for_errors()
    db = where.open()
    assert list(everything(db).values()) == list(before.values())
    db.users.update("p0001", {"$set": {"age": -1}})
    db.flush()
    files, there = where.files(), everything(db)
    planted = [
        put(db, f"users/_{other}_data/{uuid.uuid4()}.parquet"),
        put(db, f"users/data/{uuid.uuid4()}.parquet"),
    ]
    assert [f.key for f in db.vacuum(**NOW)["users"].files] == sorted(planted)
    assert where.files().keys() == files.keys()
    assert everything(db) == there
    db.close()
    where.backend = None
    for format_ in (backend, other):
        space = where.open().users.space
        for version in space.tables.reader(Format(format_)).history():
            assert space.tables.reader(Format(format_)).snapshot(version.version).files
    where.close()


def test_vacuum_leaves_native_folders_of_any_names(tmp_path):
    folder = tmp_path / "data" / "events"
    folder.mkdir(parents=True)
    for _ in range(3):
        pq.write_table(pa.table({"a": [1, 2]}), folder / f"{uuid.uuid4()}.parquet")
    below = tmp_path / "lake" / "data"  # the native folder of a namespace called lake/data
    below.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), below / f"{uuid.uuid4()}.parquet")
    (tmp_path / "_parquedb" / "lake").mkdir(parents=True)
    with DB(tmp_path) as db:
        assert {n: f.files for n, f in db.vacuum(**NOW).items()} == {"events": (), "lake/data": ()}
        assert db["events"].count() == 6
        assert db.stats()["events"].documents == 6


def test_vacuum_deletes_temporary_files(local):
    where = local("delta")
    db = worked_on(where)
    root = Path(where.storage)
    kept = [root / "users" / "_delta_log" / ".pqdb-tmp-1", root / ".pqdb-tmp-2"]
    gone = [
        root / "users" / "data" / ".pqdb-tmp-3",
        root / "users" / "data" / "city=Ulm" / ".pqdb-tmp-4",
        root / "_parquedb" / "users" / "staged" / ".pqdb-tmp-5",
        root / "data" / "users" / ".pqdb-tmp-6",
    ]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert db.vacuum()["users"].files == ()
    found = db.vacuum(**NOW)["users"].files
    assert [file.key for file in found] == sorted(str(p.relative_to(root)) for p in gone)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)
    where.close()


def test_vacuum_leaves_what_lies_behind_links(local, tmp_path):
    where = local("delta")
    db = worked_on(where)
    outside = tmp_path / "outside"
    outside.mkdir()
    kept = [outside / f"{uuid.uuid4()}.parquet", outside / ".pqdb-tmp-1"]
    for path in kept:
        path.write_bytes(b"mine")
    (Path(where.storage) / "users" / "data" / "linked").symlink_to(outside)
    (Path(where.storage) / "users" / "_delta_data").symlink_to(outside)
    assert db.vacuum(**NOW)["users"].files == ()
    assert all(path.exists() for path in kept)
    where.close()


def test_a_new_link_to_an_old_file_is_young(local, tmp_path):
    where = local("iceberg")
    db = worked_on(where)
    old = tmp_path / "old.parquet"
    old.write_bytes(b"PAR1")
    os.utime(old, (1, 1))
    linked = Path(where.storage) / "users" / "data" / f"{uuid.uuid4()}.parquet"
    os.link(old, linked)
    assert db.vacuum()["users"].files == ()
    assert len(db.vacuum(**NOW)["users"].files) == 1
    where.close()


# the past


def test_snapshots_are_listed(where):
    db = where.open()
    assert db.users.list_snapshots() == []
    db.users.create_many(people(3))
    (tail,) = db.users.list_snapshots()
    assert (tail.version, tail.operation, tail.rows) == (None, "unflushed", 3)
    db.flush()
    db.users.delete("p0001")
    db.flush()
    db.users.create_many(people(2, 10))
    *versions, tail = db.users.list_snapshots()
    if where.backend == "native":
        assert [info.rows for info in versions] == [3]
    else:
        assert [info.rows for info in versions if info.rows] == [3, 3]
    assert (tail.version, tail.rows) == (None, 5)
    assert versions[-1].version == db.users.space.base.version
    times = [info.timestamp for info in (*versions, tail)]
    assert times == sorted(times)
    assert all(abs((datetime.now(UTC) - time).total_seconds()) < 600 for time in times)
    db.flush()
    assert db.users.list_snapshots()[-1].operation != "unflushed"


def test_a_snapshot_reads_like_a_collection(where):
    db = worked_on(where)
    past = db.users.snapshot()
    wanted = [dict(each) for each in db.users.find()]
    db.users.update_many({}, {"$set": {"age": 0}})
    db.users.delete_many({"name": {"$in": ["n1", "n2"]}}, hard=True)
    assert [dict(each) for each in past.find()] == wanted
    assert past.count() == len(past) == 53
    assert past.count(include_deleted=True) == 54
    assert past.get("p0001").age == 101
    assert past["users/p0001"] == past.find_one({"name": "n1"})
    assert past.exists({"name": "n2"})
    assert "p0002" in past
    assert past.get("p0021") is None
    assert past.distinct("age", {"age": {"$lt": 12}}) == [10, 11]
    total = past.aggregate([{"$group": {"_id": None, "sum": {"$sum": "$age"}}}])
    assert total[0]["sum"] == sum(each["age"] for each in wanted)
    assert past.find({"age": {"$gt": 100}}, sort="-age", limit=2).to_arrow().num_rows == 2
    assert "snapshot" in repr(past).lower()


WRITES = {
    "create": ({},),
    "create_many": ([],),
    "update": ("x", {}),
    "update_many": ({}, {}),
    "replace": ("x", {}),
    "upsert": ({}, {}),
    "delete": ("x",),
    "delete_many": ({},),
    "restore": ("x",),
}


@pytest.mark.parametrize("method", WRITES)
def test_a_snapshot_is_not_written(db, method):
    db.users.create({"name": "Ann"})
    for past in (db.users.snapshot(), db.snapshot().users, db.as_of("2100-01-01")["users"]):
        with pytest.raises(StateError, match=rf"snapshot, which is only read: {method}\(\)"):
            getattr(past, method)(*WRITES[method])
    assert db.users.count() == 1


@pytest.mark.parametrize("method", ["transaction", "flush", "compact", "vacuum", "import_file"])
def test_a_database_snapshot_is_not_written(db, method):
    with pytest.raises(StateError, match=rf"only read: {method}\(\)"):
        getattr(db.snapshot(), method)()


def test_collections_cover_the_writes_of_a_snapshot(db):
    reads = {"get", "find", "find_one", "count", "exists", "distinct", "aggregate"}
    public = {name for name in dir(db.users) if not name.startswith("_")}
    more = {"check_unique", "list_snapshots", "snapshot", "name", "rules", "space"}
    assert public - reads - more == set(WRITES)
    assert {name for name in dir(db.users.snapshot()) if not name.startswith("_")} >= reads


def test_the_database_as_it_was(where):
    db = where.open()
    db.users.create_many(people(3))
    db.posts.create({"title": "One", "author": "users/p0001"})
    then = moment()
    db.users.update("p0001", {"$set": {"age": -1}})
    db.users.delete("p0002")
    db.posts.create({"title": "Two"})
    for at in (then, then.isoformat()):
        past = db.as_of(at)
        assert past.users.count() == past["users"].count() == past.collection("User").count() == 3
        assert past.Users.get("p0001").age == 1
        assert [post.title for post in past.posts.find()] == ["One"]
        assert past.collections() == ("posts", "users")
        assert "users" in past
        assert "nobody" not in past
        assert past.sql("SELECT max(age) AS a FROM users").to_pylist() == [{"a": 2}]
    assert db.as_of(datetime.now(UTC)).users.get("p0001").age == -1


def test_a_database_snapshot_is_taken_at_once(db):
    db.users.create_many(people(3))
    db.posts.create({"title": "One"})
    past = db.snapshot()
    db.users.update_many({}, {"$set": {"age": -1}})
    db.posts.delete_many({}, hard=True)
    db.tags.create({"name": "new"})
    assert past.users.distinct("age") == [0, 1, 2]
    assert past.posts.count() == 1
    assert past.tags.count() == 0
    assert past.sql("SELECT count(*) AS n FROM posts").to_pylist() == [{"n": 1}]
    assert repr(past) == "<DatabaseSnapshot as of its opening>"


@VERSIONED
def test_the_database_at_a_version(where):
    db = worked_on(where)
    versions = [info.version for info in db.users.list_snapshots() if info.rows]
    first = versions[0]
    for past in (db.snapshot(first).users, db.users.snapshot(first), db.as_of(first).users):
        assert past.count() == 50
        assert past.get("p0001").age == 1
    assert past.as_of == first
    assert db.users.snapshot(versions[1]).get("p0001").age == 101


def test_a_snapshot_outlives_flushes_where_there_is_history(where):
    db = worked_on(where)
    db.flush()
    past = db.snapshot()
    assert past.users.count() == 53
    db.users.update_many({}, {"$set": {"age": 7}})
    db.compact()
    other = where.open()  # nothing of the old files is in memory
    old = other.users.snapshot()
    other.users.update_many({}, {"$set": {"age": 8}})
    other.flush()
    if where.backend == "native":
        with pytest.raises(StateError, match="can no longer be read as it was"):
            old.find().to_list()
    else:
        assert old.distinct("age") == [7]
        assert past.users.get("p0030").age == 30


def test_the_past_that_is_not_there(db):
    db.users.create_many(people(3))
    db.flush()
    with pytest.raises(NotFoundError):
        db.users.snapshot(123456)
    with pytest.raises(NotFoundError):
        db.as_of("2001-01-01").collection("users")
    for bad in ("yesterday", 1.5, True, [1]):
        with pytest.raises(InvalidInputError, match="as_of"):
            db.as_of(bad)
        with pytest.raises(InvalidInputError, match="as_of"):
            db.users.snapshot(bad)
    with pytest.raises(InvalidInputError, match="cannot be read at version 1"):
        db.users.snapshot().get("p0001", as_of=1)


def test_compaction_leaves_other_tables(tmp_path):
    folder = tmp_path / "data" / "plain"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2]}), folder / "data.parquet")
    before = (folder / "data.parquet").read_bytes()
    with DB(tmp_path) as db:
        db.users.create({"name": "Ann"})
        assert set(db.compact()) == {"users"}
        with pytest.raises(UnsupportedError, match="holds no documents"):
            db.compact("plain")
        assert [info.rows for info in db.plain.list_snapshots()] == [2]
        assert db.snapshot().plain.count() == 2
    assert (folder / "data.parquet").read_bytes() == before


def test_closing_without_a_flush(where):
    db = where.open()
    db.users.create({"name": "Ann"})
    db.close(flush=False)
    again = where.open()
    assert again.stats()["users"].tail_documents == 1
    again.close()
    with pytest.raises(ParqueDBError):
        again.users.count()
