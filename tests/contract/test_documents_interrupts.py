"""Calls that an interrupt (Ctrl-C) or a failure cuts short at any moment: nothing is lost by it."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.backends import migrate_backend
from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.errors import ConflictError, StorageError
from parquedb.maintain import vacuum
from parquedb.model.format import Format
from parquedb.namespace import local_journal, segment_end
from parquedb.namespace.live import LiveNamespace
from parquedb.namespace.tail import Tail
from parquedb.storage.local import LocalStore
from tests.support.databases import moment

PACKAGE = str(Path(local_journal.__file__).parents[1])


class Interrupt:
    """Raises ``KeyboardInterrupt`` at one of the moments at which Python looks for a signal.

    Args:
        at: Which: the beginnings of functions and the returns from C, in ours alone.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.where = ""

    def __enter__(self) -> "Interrupt":
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        self.left -= 1
        if self.left < 0 and not is_finalizing(frame):
            code = frame.f_code
            self.where = f"{event} in {code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
            raise KeyboardInterrupt


def is_finalizing(frame: FrameType | None) -> bool:
    """Whether something is being deleted, where Python reports exceptions and goes on."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def is_free(folder: Path) -> bool:
    """Whether nobody holds the journal's lock."""
    fd = os.open(folder / "_parquedb/users/journal/.pqdb-lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def contents(db: DB) -> dict[str, tuple[int, int]]:
    return {each.id: (each.n, each.version) for each in db.users.find()}


@pytest.mark.parametrize("reserve", [False, True])
def test_an_interrupt_at_every_moment_of_a_write(tmp_path, monkeypatch, reserve):
    monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(segment_end, "RESERVE_BYTES", 900)
    monkeypatch.setattr(segment_end, "PATIENCE", 0 if reserve else 1000)
    monkeypatch.setattr(segment_end, "_SHARE", 1)
    durability = "fsync" if reserve else "os"
    other = DB(LocalStore(tmp_path, durable=False), durability=durability)
    other.users.create({"$id": "c", "n": 0})
    db = DB(LocalStore(tmp_path, durable=False), durability=durability)
    n, at, done = 0, 0, False
    while not done:
        made = other.users.create({"n": -1})  # the call reads it before it writes
        before = {**contents(other), made.id: (-1, 1)}
        interrupt = Interrupt(at)
        try:
            with interrupt:
                db.users.update("c", {"$inc": {"n": 1}})
            done = True
        except KeyboardInterrupt:
            pass
        assert is_free(tmp_path), interrupt.where
        found = contents(db)
        n = found["users/c"][0]
        assert found in (before, {**before, "users/c": (n, n + 1)}), interrupt.where
        assert db.users.update("c", {"$inc": {"n": 1}}).n == n + 1, interrupt.where
        assert contents(other) == contents(db), interrupt.where
        at += 1
    assert at > 30
    whole = contents(other)
    db.flush()
    assert contents(DB(tmp_path)) == whole


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_while_the_writes_of_others_are_read(tmp_path, monkeypatch, late):
    """What is known of them is half then; it is not flushed like that."""
    reader, writer = DB(tmp_path, durability="os"), DB(tmp_path, durability="os")
    assert reader.users.count() == 0
    for number in range(5):
        writer.users.create({"n": number})
    whole = contents(writer)
    append, calls = Tail.append, []

    def interrupted(self, entry):
        calls.append(entry.number)
        if late or len(calls) != 3:
            append(self, entry)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tail, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reader.users.count()
    reader.close()
    writer.close()
    assert contents(DB(tmp_path)) == whole


def test_a_staged_file_that_a_vacuum_took_away(tmp_path, monkeypatch):
    """A writer that is slower than the vacuum is told, and refers to nothing that is gone."""
    monkeypatch.setattr(bulk, "STAGED_FROM", 5)
    monkeypatch.setattr(bulk, "_CHUNK", 5)
    monkeypatch.setattr(bulk, "_IDS", 5)
    monkeypatch.setattr(bulk, "_FILE_ROWS", 5)
    db, other = DB(tmp_path), DB(tmp_path)
    db.users.create({"$id": "a", "n": 0})
    took = []

    def slowly():
        for number in range(20):
            if number == 17:  # as a vacuum does with those of which no entry speaks
                took.extend((tmp_path / "_parquedb/users/staged").glob("*.parquet"))
                for path in took:
                    path.unlink()
            yield {"n": number}

    with pytest.raises(ConflictError, match=r"was removed meanwhile.*write the documents again"):
        db.users.create_many(slowly())
    assert took
    assert contents(other) == contents(db) == {"users/a": (0, 1)}
    db.flush()
    assert contents(DB(tmp_path)) == {"users/a": (0, 1)}


def test_a_vacuum_leaves_what_was_referred_to_since_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 5)
    db, other = DB(tmp_path), DB(tmp_path)
    db.users.create({"$id": "a", "n": 0})
    write, real_paths = LiveNamespace.write, vacuum._real_paths

    def write_during_a_vacuum(space, build):
        entries = []

        def meanwhile(store, keys):
            entries.append(write(space, build))
            return real_paths(store, keys)

        monkeypatch.setattr(LiveNamespace, "write", write)
        monkeypatch.setattr(vacuum, "_real_paths", meanwhile)
        assert not db.vacuum(older_than_s=0, nobody_writes=True)["users"].files
        return entries[0]

    monkeypatch.setattr(LiveNamespace, "write", write_during_a_vacuum)
    other.users.create_many([{"n": number} for number in range(5)])
    assert len(contents(other)) == 6
    assert contents(DB(tmp_path)) == contents(db) == contents(other)


def test_collecting_garbage_is_as_usual_after_large_writes(tmp_path):
    usual = gc.get_threshold()
    one, other = bulk.rare_collections(), bulk.rare_collections()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold()[0] > usual[0]
    other.__exit__(None, None, None)
    assert gc.get_threshold() == usual


def test_documents_are_taken_in_the_thread_of_the_caller(tmp_path, monkeypatch):
    """Some can be read there alone: sqlite3's cursors."""
    monkeypatch.setattr(bulk, "STAGED_FROM", 5)
    monkeypatch.setattr(bulk, "_CHUNK", 5)
    monkeypatch.setattr(bulk, "_IDS", 5)
    threads = set()

    def items():
        for number in range(40):
            threads.add(threading.get_ident())
            yield {"n": number}

    db = DB(tmp_path)
    db.users.create_many(items())
    assert threads == {threading.get_ident()}
    assert sorted(each.n for each in db.users.find()) == list(range(40))


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 4, 5, 12, 39])
def test_items_that_raise(tmp_path, monkeypatch, error, at):
    monkeypatch.setattr(bulk, "STAGED_FROM", 5)
    monkeypatch.setattr(bulk, "_CHUNK", 5)
    monkeypatch.setattr(bulk, "_IDS", 5)
    db = DB(tmp_path)

    def items():
        for number in range(40):
            if number == at:
                raise error
            yield {"n": number}

    before = set(threading.enumerate())  # other tests' libraries may keep some
    with pytest.raises(type(error)):
        db.users.create_many(items())
    assert db.users.count() == 0
    assert not list(tmp_path.rglob("*.parquet"))
    assert not [t for t in threading.enumerate() if t not in before and "Pool" in t.name]


def test_a_disk_that_is_full_while_documents_are_staged(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "STAGED_FROM", 5)
    monkeypatch.setattr(bulk, "_CHUNK", 5)
    monkeypatch.setattr(bulk, "_IDS", 5)

    def full(*_args, **_options):
        raise StorageError("no space")

    monkeypatch.setattr(bulk, "write_parquet", full)
    db = DB(tmp_path)
    with pytest.raises(StorageError, match="no space"):
        db.users.create_many({"n": number} for number in range(1000))
    assert db.users.count() == 0


def test_a_flush_in_the_background_that_fails_is_logged(tmp_path, monkeypatch, caplog):
    """Once for each reason, whatever it is; the next one is tried nevertheless."""
    from parquedb.namespace import flush

    reasons = [OSError("odd")] * 3
    reasons += [StorageError(f"'{uuid.uuid4().hex}.parquet': no space") for _ in range(3)]
    last = str(reasons[3])
    really = flush.flush

    def fail(space):
        if reasons:
            raise reasons.pop(0)
        return really(space)

    monkeypatch.setattr(flush, "flush", fail)
    with DB(tmp_path, flush_interval=0.01) as db:
        db.users.create({"n": 1})
        deadline = time.monotonic() + 20
        while db.users.space.base.version is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert db.users.space.base.rows == 1
    told = [each.getMessage() for each in caplog.records if each.name == "parquedb"]
    assert told == [
        f"'users' could not be flushed; its writes stay in the journal: {reason}"
        for reason in ("odd", last)
    ]


def test_a_write_that_could_not_be_flushed_was_done(tmp_path, monkeypatch, caplog):
    from parquedb.namespace import flush

    def fail(space):
        raise MemoryError

    monkeypatch.setattr(flush, "flush", fail)
    db = DB(tmp_path, flush_bytes=100)
    for number in range(5):
        db.users.create({"n": number, "text": "x" * 100})
    assert "MemoryError" in caplog.text
    assert len(contents(DB(tmp_path))) == 5
    db.close(flush=False)


def test_no_file_stays_open_after_a_database(tmp_path):
    def open_files() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def use(number: int) -> None:
        with DB(tmp_path / str(number), flush_interval=60) as db:
            db.users.create({"n": 1})
            db.flush()
            assert db.users.count({"n": 1}) == 1

    use(0)
    before = open_files(), threading.active_count()
    for number in range(1, 5):
        use(number)
    assert (open_files(), threading.active_count()) == before


def test_a_child_does_not_keep_the_lock_of_a_parent_that_was_killed(tmp_path):
    code = f"""
import os, signal, time
from parquedb.storage.local import LocalStore
lock = LocalStore({str(tmp_path)!r}).lock("log")
def fork_and_die():
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
lock.hold(fork_and_die)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        parent.wait()
        taken = threading.Event()
        lock = LocalStore(tmp_path).lock("log")
        threading.Thread(target=lambda: lock.hold(taken.set), daemon=True).start()
        assert taken.wait(20)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("backend", ["native", "iceberg"])
def test_an_iterator_outlives_many_flushes(tmp_path, backend):
    db, other = DB(tmp_path, backend=backend), DB(tmp_path)
    db.users.create_many([{"n": 0} for _ in range(5000)])
    db.flush()
    seen = 0
    for number, each in enumerate(db.users.find()):
        assert (each.n, each.version) == (0, 1)
        seen += 1
        if number % 1000 == 0:
            for writer in (db, other):
                writer.users.update(each.id, {"$inc": {"n": 1}})
                writer.users.create({"n": 1})
                writer.flush()
            assert db.users.get(each.id).n == 2
            assert db.users.count({"n": 2}) == number // 1000 + 1
    assert seen == 5000


def test_a_transaction_does_not_change_the_past(tmp_path):
    with DB(tmp_path) as db:
        with db.transaction():
            made = db.users.create({"n": 1})
            between = moment()
            assert db.users.count(as_of=between) == 0
        assert db.users.count(as_of=between) == 0
        assert db.users.count(as_of=moment()) == 1
        alone = db.users.create({"n": 2})
        assert db.users.count(as_of=alone.updatedAt) == 2
        assert db.users.get(made.id) == made


def test_a_database_snapshot_is_of_one_moment(tmp_path, monkeypatch):
    """What was written to one collection after another is not seen without what was before."""
    from parquedb.documents import past

    db, writer = DB(tmp_path), DB(tmp_path)
    for name in ("a", "b"):
        db[name].create({"n": 0})
    take = past.CollectionSnapshot.__init__
    left = [3]

    def taking(self, live, *rest):
        take(self, live, *rest)
        if live.name == "a" and left[0]:
            left[0] -= 1
            writer.a.create({"n": left[0]})
            writer.b.create({"n": left[0]})

    monkeypatch.setattr(past.CollectionSnapshot, "__init__", taking)
    snapshot = db.snapshot()
    assert snapshot.a.count() == snapshot.b.count() == 4


def test_who_may_only_read_closes_without_an_error(tmp_path, monkeypatch):
    from parquedb.namespace import flush

    DB(tmp_path).users.create({"n": 1})

    def refuse(*_):
        raise StorageError("permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(flush, "flush_lock", refuse)
        with DB(tmp_path) as db:
            assert db.users.count() == 1
        writer = DB(tmp_path)
        writer.users.create({"n": 2})
        with pytest.raises(StorageError, match="permission"):
            writer.close()


@pytest.mark.parametrize("delete_source", [True, False])
def test_a_table_that_was_migrated_before_the_first_write(tmp_path, delete_source):
    """It has no journal yet: a database that was open finds it where it is now."""
    folder = tmp_path / "data/users"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"$id": ["users/a"], "n": [1]}), folder / "data.parquet")
    db = DB(tmp_path)
    assert db.users.count() == 1
    migrate_backend(storage=tmp_path, to="iceberg", delete_source=delete_source)
    assert db.users.count() == 1
    db.users.create({"$id": "b", "n": 2})
    for each in (db, DB(tmp_path)):
        assert each.users.space.format is Format.ICEBERG
        assert [found.n for found in each.users.find()] == [1, 2]
    db.close()
