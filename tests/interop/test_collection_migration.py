"""Collections move between the formats while they are written, and lose nothing."""

import threading

import pytest
from deltalake import DeltaTable

from parquedb.backends import (
    backend_status,
    cleanup_backend,
    create_backend,
    detect_existing_format,
    migrate_backend,
)
from parquedb.db import DB
from parquedb.errors import ConflictError, ParqueDBError, StateError
from parquedb.migrate import cutover, execute, run
from parquedb.model.format import Format

FORMATS = ("native", "iceberg", "delta")
PAIRS = [(a, b) for a in FORMATS for b in FORMATS if a != b]


def contents(db):
    return {e.id: dict(e) for e in db.Users.find(include_deleted=True)}


def fill(db):
    users = db.Users
    for number in range(5):
        users.create({"name": f"user {number}", "age": number, "tags": ["a", f"t{number}"]})
    db.flush()
    ids = [user.id for user in users.find()]
    users.update(ids[0], {"$set": {"age": 100, "note": "x"}})
    users.delete(ids[1])
    users.delete(ids[2], hard=True)
    users.create({"name": "in the journal", "age": None, "price": 1.5})


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_collection_is_the_same_after_a_migration(tmp_path, source, target):
    with DB(tmp_path, backend=source) as db:
        fill(db)
        before = contents(db)
        report = migrate_backend(storage=tmp_path, to=target, allow_lossy=True, verify="content")
        assert report.namespaces["users"].action == "migrated"
        assert contents(db) == before  # the open database follows the cutover
        assert db.Users.space.format is Format(target)
        late = db.Users.create({"name": "after the cutover"})
        before[late.id] = dict(late)
        assert contents(db) == before
    assert detect_existing_format(tmp_path, "users").primary == target
    with DB(tmp_path) as db:
        assert contents(db) == before
        assert db.Users.space.format is Format(target)
    rows = create_backend(type=target, storage=tmp_path).to_arrow("users").num_rows
    assert rows == len(before)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_collection_goes_there_and_back(tmp_path, source, target):
    with DB(tmp_path, backend=source) as db:
        fill(db)
        before = contents(db)
        migrate_backend(storage=tmp_path, to=target, allow_lossy=True)
        extra = db.Users.create({"name": "meanwhile"})
        db.Users.update(next(iter(before)), {"$set": {"age": 7}})
        migrate_backend(storage=tmp_path, to=source, allow_lossy=True)
        assert db.Users.get(extra.id) == extra
        assert db.Users.space.format is Format(source)
        assert db.Users.get(next(iter(before))).age == 7
        assert len(contents(db)) == len(before) + 1
        again = migrate_backend(storage=tmp_path, to=source, allow_lossy=True)
        assert again.namespaces["users"].action == "skipped"


@pytest.mark.parametrize(
    ("source", "target"), [("iceberg", "delta"), ("delta", "iceberg"), ("native", "delta")]
)
def test_a_collection_goes_back_as_it_came(tmp_path, source, target):
    with DB(tmp_path, backend=source) as db:
        fill(db)
        before = contents(db)
        for one in (target, source, target):
            migrate_backend(storage=tmp_path, to=one, allow_lossy=True)
            assert contents(db) == before
            assert db.Users.space.format is Format(one)


def test_an_old_base_that_others_changed_is_not_made_the_base_again(tmp_path):
    with DB(tmp_path, backend="delta") as db:
        fill(db)
        migrate_backend(storage=tmp_path, to="iceberg")
        before = contents(db)
        DeltaTable(tmp_path / "users").delete("age = 3")
        with pytest.raises(ConflictError, match="written to by others"):
            migrate_backend(storage=tmp_path, to="delta")
        assert contents(db) == before
        assert db.Users.space.format is Format.ICEBERG
        migrate_backend(storage=tmp_path, to="delta", on_conflict="force")
        assert contents(db) == before
        assert db.Users.space.format is Format.DELTA


def test_opening_with_another_backend_migrates_or_says_how(tmp_path):
    with DB(tmp_path) as db:
        fill(db)
        before = contents(db)
    with DB(tmp_path, backend="iceberg") as db, pytest.raises(StateError, match="migrate-backend"):
        db.Users.count()
    with DB(tmp_path, backend={"type": "iceberg", "migrate_from": "auto"}) as db:
        assert contents(db) == before
        assert db.Users.space.format is Format.ICEBERG


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_writers_go_on_while_a_collection_moves(tmp_path, target):
    stop, written, failed = threading.Event(), [], []

    def write(number):
        with DB(tmp_path, durability="os") as own:
            try:
                while not stop.is_set():
                    made = own.Users.create({"name": f"writer {number}", "n": len(written)})
                    own.Users.update(made.id, {"$inc": {"n": 1}})
                    written.append((made.id, made.n + 1))
                    if len(written) % 50 == 0:
                        own.flush()
            except ParqueDBError as error:
                failed.append(error)

    with DB(tmp_path) as db:
        fill(db)
        before = contents(db)
    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        report = migrate_backend(storage=tmp_path, to=target)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert report.namespaces["users"].action == "migrated"
    with DB(tmp_path) as db:
        found = contents(db)
        assert db.Users.space.format is Format(target)
    assert {id_: found[id_]["n"] for id_, _ in written} == dict(written)
    assert found.keys() == before.keys() | {id_ for id_, _ in written}


def flushed_before(db, step, times):
    """A step before which somebody writes and flushes, so many times, and what was written."""
    flushes = []

    def run_step(*args):
        if len(flushes) < times:
            flushes.append(db.Users.create({"name": "meanwhile"}))
            flusher = threading.Thread(target=db.flush)
            flusher.start()
            flusher.join(0.3)  # flushes are held off in the end
        return step(*args)

    return run_step, flushes


@pytest.mark.parametrize("times", [1, 7])
def test_a_file_that_is_replaced_before_it_is_verified(tmp_path, monkeypatch, times):
    """Native files have no versions: what was carried is compared with what is there no more."""
    db = DB(tmp_path)
    fill(db)
    step, flushes = flushed_before(db, execute.verify_content, times)
    monkeypatch.setattr(execute, "verify_content", step)
    report = migrate_backend(storage=tmp_path, to="iceberg", verify="content")
    assert report.namespaces["users"].action == "migrated"
    assert flushes
    assert {each.id for each in flushes} <= contents(db).keys()
    assert db.Users.space.format is Format.ICEBERG
    db.close()


@pytest.mark.parametrize("times", [1, 7])
def test_a_file_that_is_replaced_while_it_is_surveyed(tmp_path, monkeypatch, times):
    db = DB(tmp_path)
    fill(db)
    step, flushes = flushed_before(db, run.carry_history, times)
    monkeypatch.setattr(run, "carry_history", step)
    report = migrate_backend(storage=tmp_path, to="iceberg")
    assert report.namespaces["users"].action == "migrated"
    assert {each.id for each in flushes} <= contents(db).keys()
    assert db.Users.space.format is Format.ICEBERG
    db.close()


def test_a_cutover_does_not_wait_for_a_writer_that_never_rests(monkeypatch, tmp_path):
    """Whoever writes while the tables are looked at again and again would win every time."""
    storage = f"memory://{tmp_path.name}-busy"
    db = DB(storage)
    fill(db)
    look, late = cutover._check_target, []

    def busy(*tables):
        look(*tables)
        late.append(db.Users.create({"name": "late"}).id)

    monkeypatch.setattr(cutover, "_check_target", busy)
    report = migrate_backend(storage=storage, to="iceberg")
    assert report.namespaces["users"].action == "migrated"
    assert len(late) == 1
    assert late[0] in contents(db)
    assert db.Users.space.format is Format.ICEBERG
    db.close()


def test_the_source_goes_only_after_the_cutover(tmp_path):
    with DB(tmp_path) as db:
        fill(db)
        before = contents(db)
    report = migrate_backend(storage=tmp_path, to="delta", delete_source=True)
    assert report.namespaces["users"].action == "migrated"
    assert not (tmp_path / "data" / "users" / "data.parquet").exists()
    with DB(tmp_path) as db:
        assert contents(db) == before


def test_a_base_is_never_cleaned_up(tmp_path):
    with DB(tmp_path) as db:
        fill(db)
    migrate_backend(storage=tmp_path, to="iceberg")
    with pytest.raises(StateError, match="kept as Iceberg"):
        cleanup_backend(tmp_path, "users", "iceberg")
    cleanup_backend(tmp_path, "users", "native")
    assert detect_existing_format(tmp_path, "users").formats == ("iceberg",)


def test_the_status_tells_of_the_journal(tmp_path):
    db = DB(tmp_path)
    db.Users.create({"name": "Alice"})
    status = backend_status(tmp_path).to_json()["namespaces"]["users"]
    assert status["formats"] == []
    assert status["journal"]["base"] == "native"
    assert (status["journal"]["head"], status["journal"]["through"]) == (1, 0)
    assert "parquedb flush" in status["notes"][0]
    db.flush()
    status = backend_status(tmp_path).to_json()["namespaces"]["users"]
    assert (status["formats"], status["primary"], status["rows"]) == (["native"], "native", 1)
    assert status["journal"]["head"] == status["journal"]["through"] == 1
    assert status["notes"] == []
    db.close()


def test_what_is_only_in_the_journal_migrates_too(tmp_path):
    db = DB(tmp_path)
    alice = db.Users.create({"name": "Alice"})
    planned = migrate_backend(storage=tmp_path, to="iceberg", dry_run=True)
    assert planned.namespaces["users"].action == "migrated"
    assert not (tmp_path / "users").exists()
    migrate_backend(storage=tmp_path, to="iceberg")
    assert db.Users.get(alice.id) == alice
    db.close()
    with DB(tmp_path) as db:
        assert db.Users.get(alice.id) == alice
