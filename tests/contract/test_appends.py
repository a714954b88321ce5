"""Stores that can rename, and stores whose objects can grow under a lock."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from parquedb.errors import (
    CommitUnknownError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from parquedb.storage import Appends, NewObject, Renames, Store
from parquedb.storage import appends as module
from parquedb.storage.appends import FileLock
from parquedb.storage.counting import CountingStore, count
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

LOCAL: dict[str, Callable[[Path], Store]] = {
    "local": lambda path: LocalStore(path / "root"),
    "local, not durable": lambda path: LocalStore(path / "root", durable=False),
    "counted local": lambda path: count(LocalStore(path / "root")),
    "faulty local": lambda path: inject(LocalStore(path / "root"), None),
}
RENAMING: dict[str, Callable[[Path], Store]] = {
    **LOCAL,
    "memory": lambda _: MemoryStore(),
    "faulty memory": lambda _: inject(MemoryStore(), None),
}


@pytest.fixture(params=LOCAL)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    made = LOCAL[request.param](tmp_path)
    made.create(NewObject("log/a", b"begin;"))
    return made


def test_abilities_are_those_of_the_store_inside(tmp_path: Path) -> None:
    local, memory = LocalStore(tmp_path), MemoryStore()
    assert isinstance(memory, Renames)
    assert not isinstance(memory, Appends)
    for wrapped, inside in (
        (count(local), local),
        (inject(memory, None), memory),
        (count(inject(local, None)), local),
    ):
        for ability in (Renames, Appends):
            assert isinstance(wrapped, ability) is isinstance(inside, ability)


class TestRename:
    @pytest.fixture(params=RENAMING)
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
        return RENAMING[request.param](tmp_path)

    def test_replaces(self, store: Store) -> None:
        assert isinstance(store, Renames)
        store.put_many([NewObject("a/new", b"new"), NewObject("b/old", b"old")])
        before = store.head("b/old")
        store.rename("a/new", "b/old")
        assert store.get("b/old") == b"new"
        assert store.head("a/new") is None
        assert store.head("b/old") != before
        store.rename("b/old", "deep/er/c")
        assert [info.key for info in store.list("")] == ["deep/er/c"]

    def test_of_nothing(self, store: Store) -> None:
        assert isinstance(store, Renames)
        store.create(NewObject("b", b"stays"))
        with pytest.raises(NotFoundError, match="nothing"):
            store.rename("nothing", "b")
        assert store.get("b") == b"stays"
        for pair in (("b", "../c"), ("../b", "c")):
            with pytest.raises(InvalidInputError, match="not a key"):
                store.rename(*pair)

    def test_is_one_operation(self, tmp_path: Path) -> None:
        inner = LocalStore(tmp_path / "root")
        inner.put_many([NewObject("a", b"1")])
        store = inject(inner, Fault(0, FaultKind.CRASH_BEFORE))
        assert isinstance(store, Renames)
        with pytest.raises(SimulatedCrashError, match="before rename of 'b'"):
            store.rename("a", "b")
        assert inner.get("a") == b"1"


class TestAppend:
    def test_grows(self, store: Store) -> None:
        assert isinstance(store, Appends)
        file, other = store.open_append("log/a"), store.open_append("log/a")
        assert file.size() == 6
        file.append(b"one;")
        other.append(b"two;")
        file.sync()
        file.append(b"three;")
        file.sync()
        assert other.size() == 20
        assert other.read(6) == b"one;two;three;"
        assert other.read(20) == other.read(99) == b""
        assert other.read_at(10, 4) == b"two;"
        assert other.read_at(14, 400) == b"three;"
        assert store.get("log/a") == b"begin;one;two;three;"
        other.truncate(10)
        file.append(b"2;")
        assert file.read(0) == b"begin;one;2;"
        file.close()
        file.close()
        other.close()

    def test_a_deleted_object(self, store: Store) -> None:
        assert isinstance(store, Appends)
        file = store.open_append("log/a")
        store.delete("log/a")
        assert (file.size(), file.is_in_place()) == (None, False)
        store.create(NewObject("log/a", b"another"))
        assert (file.size(), file.is_in_place()) == (None, False)
        file.close()

    def test_an_object_that_was_moved_away(self, tmp_path: Path) -> None:
        """It is the same for who has it open, and another one for all others."""
        store = LocalStore(tmp_path)
        store.create(NewObject("log/a", b"1"))
        file, lock = store.open_append("log/a"), store.lock("log")
        with lock:
            assert file.is_in_place()
        (tmp_path / "log").rename(tmp_path / "gone")
        assert (file.size(), file.is_in_place()) == (1, False)
        lock.doubt()
        with lock:
            assert (tmp_path / "log" / ".pqdb-lock").exists()
        store.create(NewObject("log/a", b"1"))
        assert (file.size(), file.is_in_place()) == (1, False)

    def test_nothing_there(self, store: Store) -> None:
        assert isinstance(store, Appends)
        assert store.exists("log/a")
        assert store.exists("log")
        assert not store.exists("log/b")
        with pytest.raises(NotFoundError, match="log/b"):
            store.open_append("log/b")
        for call in (store.open_append, store.exists, store.lock):
            with pytest.raises(InvalidInputError, match="not a key"):
                call("../x")

    def test_bytes_are_counted(self, tmp_path: Path) -> None:
        store = count(LocalStore(tmp_path))
        assert isinstance(store, CountingStore)
        assert isinstance(store, Appends)
        store.create(NewObject("a", b"123"))
        file = store.open_append("a")
        file.append(b"4567")
        file.read(3)
        file.read_at(0, 2)
        assert (store.counts.written_bytes["a"], store.counts.read_bytes["a"]) == (7, 6)
        assert store.counts.calls["append"] == 1

    def test_a_file_that_may_only_be_read(self, public_path: Path) -> None:
        """It is read, and written once it may be. Root may write everything, and gives that up."""
        LocalStore(public_path / "db").create(NewObject("a", b"123"))
        path = public_path / "db" / "a"
        path.chmod(0o444)
        code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from parquedb.errors import StorageError
from parquedb.storage import open_store
if os.getuid() == 0:
    os.chown({str(path)!r}, 65534, 65534)
    os.setgid(65534); os.setuid(65534)
file = open_store({str(public_path / "db")!r}).open_append("a")
print(file.read(0))
for attempt in (lambda: file.append(b"4"), lambda: file.truncate(1)):
    try:
        attempt()
    except StorageError as error:
        print(error)
os.chmod({str(path)!r}, 0o644)
file.truncate(2)
file.append(b"4")
print(file.read(0))
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        before, append, truncate, after = run.stdout.splitlines()
        assert (before, after) == ("b'123'", "b'124'")
        assert append == truncate
        assert append.startswith(f"{str(path)!r}: Permission denied; make the folder writable, and")

    def test_a_full_disk(self, tmp_path: Path) -> None:
        """What fits of an append is taken back."""
        code = f"""
import resource
from parquedb.errors import StorageError
from parquedb.storage import NewObject, open_store
store = open_store({str(tmp_path)!r})
store.create(NewObject("a", b"x" * 100))
file = store.open_append("a")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for size in (5000, 3996, 1):
    try:
        file.append(b"y" * size)
    except StorageError as error:
        print(error)
    print(file.size())
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        short, before, fits, full, after = run.stdout.splitlines()
        assert "only 3996 of 5000 bytes were written; free space" in short
        assert "File too large; free space" in full
        assert (before, fits, after) == ("100", "4096", "4096")

    def test_what_cannot_be_taken_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = LocalStore(tmp_path)
        store.create(NewObject("a", b"1"))
        file = store.open_append("a")
        write = os.write

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
        monkeypatch.setattr(os, "ftruncate", fail)
        with pytest.raises(CommitUnknownError, match="cannot be removed"):
            file.append(b"2345")
        assert file.read(0) == b"123"

    def test_a_write_that_says_that_it_failed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever is there: it may be some of it, or all."""
        store = LocalStore(tmp_path)
        store.create(NewObject("a", b"1"))
        file = store.open_append("a")
        write = os.write

        def fail(fd: int, data: bytes) -> int:
            write(fd, data)
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "write", fail)
        with pytest.raises(CommitUnknownError, match=r"a': Input/output error.* read again"):
            file.append(b"23")
        assert file.read(0) == b"123"

    def test_a_sync_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = LocalStore(tmp_path)
        store.create(NewObject("a", b"1"))
        file = store.open_append("a")
        file.sync()

        def fail(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(module, "_sync_data", fail)
        with pytest.raises(CommitUnknownError, match="may not outlive a power failure"):
            file.sync()


class TestOverwrite:
    """Zero bytes are written over, and nothing else ever is."""

    @pytest.fixture(params=LOCAL)
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
        made = LOCAL[request.param](tmp_path)
        made.create(NewObject("log/a", b"begin;" + bytes(10)))
        return made

    def test_zero_bytes(self, store: Store) -> None:
        assert isinstance(store, Appends)
        file, other = store.open_append("log/a"), store.open_append("log/a")
        assert file.is_blank(6, 16)
        assert file.overwrite(6, b"one;")
        assert not other.is_blank(6, 16)
        assert other.is_blank(10, 16)
        assert other.overwrite(10, b"two;")
        file.sync()
        assert store.get("log/a") == b"begin;one;two;\0\0"
        file.append(b"three")
        assert other.read(10) == b"two;\0\0three"
        file.close()
        file.close()
        other.close()

    @pytest.mark.parametrize("at", range(5))
    def test_what_is_not_zero_stays(self, store: Store, at: int) -> None:
        assert isinstance(store, Appends)
        data = b"begin;" + bytes(at) + b"x" + bytes(9 - at)
        store.replace("log/a", data)
        file = store.open_append("log/a")
        assert not file.overwrite(6, b"one;")
        assert store.get("log/a") == data

    def test_the_end_is_not_zero(self, store: Store) -> None:
        """A byte is left, so that what follows is never taken for the same line."""
        assert isinstance(store, Appends)
        file = store.open_append("log/a")
        for start in (13, 16, 99):
            assert not file.overwrite(start, b"one")
        assert file.overwrite(12, b"one")
        assert store.get("log/a") == b"begin;" + bytes(6) + b"one\0"

    def test_what_is_blank(self, store: Store) -> None:
        assert isinstance(store, Appends)
        file = store.open_append("log/a")
        assert file.is_blank(6, 16)
        assert not file.is_blank(5, 16)
        assert not file.is_blank(6, 15)
        assert not file.is_blank(6, 17)
        assert not file.is_blank(16, 16)
        file.truncate(9)
        assert file.is_blank(6, 9)
        assert not file.is_blank(6, 16)
        store.delete("log/a")
        assert not file.is_blank(6, 9)
        store.create(NewObject("log/a", b"begin;" + bytes(3)))
        assert not file.is_blank(6, 9)
        assert store.open_append("log/a").is_blank(6, 9)

    def test_what_is_blank_on_other_systems(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: str) -> str:
            raise FileNotFoundError(path)

        monkeypatch.setattr(os, "readlink", refuse)
        self.test_what_is_blank(store)

    def test_bytes_are_counted(self, tmp_path: Path) -> None:
        store = count(LocalStore(tmp_path))
        assert isinstance(store, CountingStore)
        assert isinstance(store, Appends)
        store.create(NewObject("a", bytes(9)))
        file = store.open_append("a")
        assert [file.overwrite(0, b"123"), file.overwrite(2, b"456")] == [True, False]
        assert store.counts.written_bytes["a"] == 12
        assert store.counts.calls["overwrite"] == 2

    @pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
    def test_a_write_that_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
    ) -> None:
        store = LocalStore(tmp_path)
        store.create(NewObject("a", b"1" + bytes(9)))
        file = store.open_append("a")

        def fail(*_: object) -> int:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", fail)
            with pytest.raises(StorageError if error == errno.ENOSPC else CommitUnknownError):
                file.overwrite(1, b"234")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fail)
            with pytest.raises(StorageError, match=os.strerror(error)):
                file.overwrite(1, b"234")
            with pytest.raises(StorageError, match=os.strerror(error)):
                file.is_blank(1, 10)
        assert file.read(0) == b"1" + bytes(9)

    @pytest.mark.parametrize("stuck", [False, True])
    def test_a_write_that_is_cut_short(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: bool
    ) -> None:
        store = LocalStore(tmp_path)
        store.create(NewObject("a", b"1" + bytes(9)))
        file = store.open_append("a")
        write = os.pwrite

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "pwrite", lambda fd, data, start: write(fd, data[:2], start))
        if stuck:
            monkeypatch.setattr(os, "ftruncate", fail)
            with pytest.raises(CommitUnknownError, match="cannot be removed"):
                file.overwrite(1, b"234")
            assert file.read(0) == b"123" + bytes(7)
        else:
            with pytest.raises(StorageError, match=r"only 2 of 3 bytes .* free space"):
                file.overwrite(1, b"234")
            assert file.read(0) == b"1"

    def test_a_file_that_was_moved_away(self, tmp_path: Path) -> None:
        """Its name is needed the first time: what has it now is left alone."""
        store = LocalStore(tmp_path)
        store.create(NewObject("log/a", bytes(9)))
        file, late = store.open_append("log/a"), store.open_append("log/a")
        assert file.overwrite(0, b"1")
        (tmp_path / "log").rename(tmp_path / "gone")
        with pytest.raises(StorageError, match="folder was deleted"):
            late.overwrite(1, b"2")
        store.create(NewObject("log/a", bytes(9)))
        with pytest.raises(StorageError, match="another file has its name"):
            late.overwrite(1, b"2")
        assert file.overwrite(1, b"2")
        assert file.read(0) == b"12" + bytes(7)
        assert store.get("log/a") == bytes(9)

    @pytest.mark.parametrize(
        ("kind", "error", "left"),
        [
            (FaultKind.CRASH_BEFORE, SimulatedCrashError, b"0abc\0\0\0\0"),
            (FaultKind.CRASH_AFTER, SimulatedCrashError, b"0abcdef\0"),
            (FaultKind.LOST_REPLY, CommitUnknownError, b"0abcdef\0"),
            (FaultKind.NO_SPACE, StorageError, b"0" + bytes(7)),
        ],
    )
    def test_a_fault(
        self, tmp_path: Path, kind: FaultKind, error: type[BaseException], left: bytes
    ) -> None:
        inner = LocalStore(tmp_path)
        inner.create(NewObject("a", b"0" + bytes(7)))
        store = inject(inner, Fault(0, kind))
        assert isinstance(store, Appends)
        file = store.open_append("a")
        with pytest.raises(error):
            file.overwrite(1, b"abcdef")
        assert inner.get("a") == left
        assert store.log == [("overwrite", "a")]


class TestFaults:
    @pytest.mark.parametrize(
        ("kind", "error", "left"),
        [
            (FaultKind.CRASH_BEFORE, SimulatedCrashError, b"0abc"),
            (FaultKind.CRASH_AFTER, SimulatedCrashError, b"0abcdef"),
            (FaultKind.LOST_REPLY, CommitUnknownError, b"0abcdef"),
            (FaultKind.NO_SPACE, StorageError, b"0"),
        ],
    )
    def test_of_an_append(
        self, tmp_path: Path, kind: FaultKind, error: type[BaseException], left: bytes
    ) -> None:
        inner = LocalStore(tmp_path)
        inner.create(NewObject("a", b"0"))
        store = inject(inner, Fault(0, kind))
        assert isinstance(store, Appends)
        file = store.open_append("a")
        with pytest.raises(error):
            file.append(b"abcdef")
        assert inner.get("a") == left
        if error is SimulatedCrashError:
            for call in (file.size, file.sync, lambda: file.read(0), lambda: file.truncate(0)):
                with pytest.raises(SimulatedCrashError):
                    call()

    def test_of_a_sync(self, tmp_path: Path) -> None:
        inner = LocalStore(tmp_path)
        inner.create(NewObject("a", b"0"))
        store = inject(inner, Fault(1, FaultKind.LOST_REPLY))
        assert isinstance(store, Appends)
        file = store.open_append("a")
        file.append(b"1")
        with pytest.raises(CommitUnknownError):
            file.sync()
        file.truncate(1)
        assert store.log == [("append", "a"), ("sync", "a"), ("truncate", "a")]


def count_up(root: str, times: int) -> None:
    """Read, add one and write back, in a process of its own."""
    store = LocalStore(root, durable=False)
    lock = store.lock("log")
    for _ in range(times):
        with lock, lock:
            store.replace("number", b"%d" % (int(store.get("number")) + 1))


class TestLock:
    def test_holds_off_processes_and_threads(self, tmp_path: Path) -> None:
        root = str(tmp_path)
        store = LocalStore(root)
        store.replace("number", b"0")
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=count_up, args=(root, 200)) for _ in range(2)]
        threads = [threading.Thread(target=count_up, args=(root, 100)) for _ in range(2)]
        for worker in (*workers, *threads):
            worker.start()
        for worker in (*workers, *threads):
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
        assert store.get("number") == b"600"

    def test_holds_off_threads_that_share_it(self, tmp_path: Path) -> None:
        lock = LocalStore(tmp_path).lock("log")
        number = 0

        def count_slowly() -> None:
            nonlocal number
            for _ in range(200):
                with lock:
                    seen = number
                    os.sched_yield()
                    number = seen + 1

        threads = [threading.Thread(target=count_slowly) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert number == 800

    def test_is_not_listed(self, store: Store) -> None:
        assert isinstance(store, Appends)
        with store.lock("log"):
            pass
        assert [info.key for info in store.list("")] == ["log/a"]
        assert len(store.list_dir("log")[0]) == 1

    def test_nothing_is_made_before_the_first_use(self, tmp_path: Path) -> None:
        LocalStore(tmp_path).lock("log")
        assert os.listdir(tmp_path) == []

    def test_a_deleted_lock_file(self, tmp_path: Path) -> None:
        """Somebody removed the folder: the lock is that of the new one."""
        lock = LocalStore(tmp_path).lock("log")
        with lock:
            pass
        (tmp_path / "log" / ".pqdb-lock").unlink()
        lock.doubt()
        with lock:
            assert (tmp_path / "log" / ".pqdb-lock").exists()

    def test_a_child_does_not_share_it(self, tmp_path: Path) -> None:
        code = f"""
import os, sys, warnings
from parquedb.storage.local import LocalStore
lock = LocalStore({str(tmp_path)!r}).lock("log")
with lock:
    pass
held, done = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    with lock:
        os.write(held[1], b"x")
        os.read(done[0], 1)
        print("child", flush=True)
    os._exit(0)
os.read(held[0], 1)
os.write(done[1], b"x")
with lock:
    print("parent", flush=True)
os.waitpid(pid, 0)
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (run.stdout, run.stderr) == ("child\nparent\n", "")

    def test_a_folder_that_may_not_be_written(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write everything")
        tmp_path.chmod(0o555)
        lock = LocalStore(tmp_path).lock("log")
        for _ in range(2):
            with pytest.raises(StorageError, match="writable"), lock:
                pass

    def test_systems_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_fcntl", None)
        with pytest.raises(UnsupportedError, match="no flock"):
            LocalStore(tmp_path).lock("log")

    def test_file_systems_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(module._fcntl, "flock", fail)
        lock = FileLock(str(tmp_path / "x"), lambda path, make: make(path))
        with pytest.raises(UnsupportedError, match="another disk"), lock:
            pass
