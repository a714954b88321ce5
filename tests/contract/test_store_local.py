"""What a folder does besides: processes, permissions, full disks, links, temporary files."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from parquedb.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from parquedb.storage import NewObject, local, open_store
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


def compete(root: str, who: int) -> None:
    """Create a hundred objects, in a process of its own; note what was won."""
    store = LocalStore(root, durable=False)
    for number in range(100):
        try:
            store.create(NewObject(f"log/{number:020}", f"{who}".encode() * 5000))
        except AlreadyExistsError:
            continue
        store.create(NewObject(f"won/{number:020}-{who}", b""))


def test_one_of_many_processes_wins(store: LocalStore, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=compete, args=(str(tmp_path / "root"), who)) for who in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    won = [info.key.removeprefix("won/").split("-") for info in store.list("won")]
    assert [number for number, _ in won] == [f"{n:020}" for n in range(100)]
    for number, who in won:
        assert store.get(f"log/{number}") == who.encode() * 5000


class TestTemporaryFiles:
    def test_are_not_listed(self, store: LocalStore, tmp_path: Path) -> None:
        with store.open_create("d/a") as file:
            file.write(b"x")
            assert len(os.listdir(tmp_path / "root" / "d")) == 1
            assert list(store.list("")) == []
            assert store.list_dir("d") == ([], [])

    def test_are_removed(self, store: LocalStore, tmp_path: Path) -> None:
        store.create(NewObject("d/a", b""))
        with pytest.raises(AlreadyExistsError):
            store.create(NewObject("d/a", b""))
        store.create_many([NewObject(f"d/{n}", b"") for n in ("b", "a", "c")])
        with pytest.raises(NotFoundError):
            store.copy_many([("d/a", "d/x"), ("nothing", "d/y")])
        store.replace("d/a", b"")
        assert sorted(os.listdir(tmp_path / "root" / "d")) == ["a", "b"]

    def test_files_have_the_usual_mode(self, store: LocalStore, tmp_path: Path) -> None:
        before = os.umask(0o002)
        try:
            store.create(NewObject("a", b""))
            with store.open_create("b"):
                pass
        finally:
            os.umask(before)
        assert [(tmp_path / "root" / n).stat().st_mode & 0o777 for n in "ab"] == [0o664, 0o664]


class TestNames:
    def test_a_file_where_a_folder_must_be(self, store: LocalStore) -> None:
        store.create(NewObject("a", b""))
        with pytest.raises(StorageError, match="is a file where a folder is needed"):
            store.create(NewObject("a/b", b""))
        with pytest.raises(StorageError, match="is a file where a folder is needed"):
            store.put_many([NewObject("a/b/c", b"")])

    def test_a_folder_where_a_file_must_be(self, store: LocalStore) -> None:
        store.create(NewObject("a/b", b""))
        for attempt in (
            lambda: store.create(NewObject("a", b"")),
            lambda: store.replace("a", b""),
            lambda: store.copy_many([("a/b", "a")]),
            lambda: store.delete("a"),
        ):
            with pytest.raises(StorageError, match=r"move one away|Operation not permitted"):
                attempt()
        assert [info.key for info in store.list("")] == ["a/b"]

    def test_a_root_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="name a folder instead"):
            LocalStore(tmp_path / "file")

    def test_the_root_is_made_by_the_first_write(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path / "not" / "yet")
        assert list(store.list("")) == []
        assert not (tmp_path / "not").exists()
        store.create(NewObject("a", b""))
        assert (tmp_path / "not" / "yet" / "a").is_file()

    def test_links_to_folders_are_not_followed_by_list(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        store.create(NewObject("a/b", b"x"))
        (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
        (tmp_path / "root" / "file").symlink_to(tmp_path / "root" / "a" / "b")
        (tmp_path / "root" / "broken").symlink_to(tmp_path / "nothing")
        assert [info.key for info in store.list("")] == ["a/b", "broken", "file"]
        assert store.list_dir("")[1] == ["a"]
        assert store.get("file") == b"x"
        assert store.get("loop/a/b") == b"x"
        assert store.head("broken") is None

    def test_what_is_no_file_is_not_listed(self, store: LocalStore, tmp_path: Path) -> None:
        store.create(NewObject("a/b", b"x"))
        os.mkfifo(tmp_path / "root" / "a" / "pipe")
        assert [info.key for info in store.list("")] == ["a/b"]
        assert store.head("a/pipe") is None

    def test_a_long_name(self, store: LocalStore) -> None:
        with pytest.raises(StorageError, match="File name too long"):
            store.create(NewObject("x" * 300, b""))


class TestRefusedByTheSystem:
    def test_a_full_disk(self, tmp_path: Path) -> None:
        """A process that may write no file over 4 KB stands in for a full disk."""
        code = f"""
import resource
from parquedb.errors import StorageError
from parquedb.storage import NewObject, open_store
store = open_store({str(tmp_path / "root")!r})
store.create(NewObject("small", b"x" * 100))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
big = NewObject("big", b"x" * 10_000)
def stream():
    with store.open_create("streamed") as file:
        file.write(b"x" * 10_000)
def stream_much():
    with store.open_create("streamed") as file:
        for _ in range(100):
            file.write(b"x" * 100_000)
for attempt in (
    lambda: store.create(big),
    lambda: store.create_many([NewObject("fits", b""), big]),
    lambda: store.put_many([big]),
    lambda: store.replace("small", big.data),
    stream,
    stream_much,
):
    try:
        attempt()
    except StorageError as error:
        print(error)
print(sorted(info.key for info in store.list("")), len(store.get("small")))
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        *messages, end = run.stdout.splitlines()
        assert len(messages) == 6
        for message in messages:
            assert "File too large; free space and run the same command again" in message
            assert ".pqdb-tmp" not in message
        assert end == "['small'] 100"
        assert os.listdir(tmp_path / "root") == ["small"]

    def test_a_folder_that_may_not_be_written(self, public_path: Path) -> None:
        """Root may write everywhere, so a root process gives up its rights first."""
        root = public_path / "root"
        LocalStore(root).create(NewObject("a", b"x"))
        secret = root / "secret"
        secret.write_bytes(b"")
        secret.chmod(0)
        root.chmod(0o555)
        code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from parquedb.errors import StorageError
from parquedb.storage import NewObject, open_store
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
store = open_store({str(root)!r})
def stream():
    with store.open_create("b"):
        pass
for attempt in (
    lambda: store.create(NewObject("b", b"")),
    lambda: store.create(NewObject("c/b", b"")),
    lambda: store.put_many([NewObject("b", b"")]),
    lambda: store.replace("a", b""),
    stream,
    lambda: store.copy_many([("a", "b")]),
    lambda: store.delete("a"),
    lambda: store.get("secret"),
):
    try:
        attempt()
    except StorageError as error:
        print(error)
print(store.get("a"))
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        root.chmod(0o755)
        assert run.returncode == 0, run.stderr
        *messages, end = run.stdout.splitlines()
        assert len(messages) == 8
        assert all("Permission denied; make the folder" in message for message in messages)
        assert end == "b'x'"

    def test_a_disk_without_hard_links(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(NewObject("a", b""))

        def refuse(*_: object) -> NoReturn:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        assert store.link_many([("a", "b")]) is False
        with pytest.raises(StorageError, match="no hard links"):
            store.create(NewObject("b", b""))
        assert [info.key for info in store.list("")] == ["a"]

    def test_links_are_undone_where_one_cannot_be_made(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put_many([NewObject("a", b""), NewObject("b", b"")])
        link = os.link

        def refuse_second(source: str, target: str) -> None:
            if target.endswith("b2"):
                raise OSError(errno.EMLINK, "Too many links")
            link(source, target)

        monkeypatch.setattr(os, "link", refuse_second)
        assert store.link_many([("a", "a2"), ("b", "b2")]) is False
        assert [info.key for info in store.list("")] == ["a", "b"]

    def test_a_link_whose_reply_was_lost(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A network file system repeats a request and reports its own first success."""
        link = os.link

        def repeat(source: str, target: str) -> None:
            link(source, target)
            link(source, target)

        monkeypatch.setattr(os, "link", repeat)
        store.create(NewObject("a", b"mine"))
        assert store.get("a") == b"mine"

    def test_a_name_that_may_not_be_durable(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(NewObject("a", b""))
        sync = local.fsync_all
        calls: list[object] = []

        def fail_second(paths: list[str], **options: bool) -> None:
            calls.append(paths)
            if len(calls) == 2:
                raise StorageError("Input/output error")
            sync(paths, **options)

        monkeypatch.setattr(local, "fsync_all", fail_second)
        with pytest.raises(CommitUnknownError, match="read the table again"):
            store.create(NewObject("b", b""))
        assert store.get("b") == b""


class TestOpen:
    def test_ways_to_name_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for storage in (
            "a b",
            "./a b/",
            "~/a b",
            tmp_path / "a b",
            f"file://{tmp_path}/a b",
            f"file:{tmp_path}/a b/",
            f"file://localhost{tmp_path}/a b",
        ):
            assert open_store(storage).root == f"file://{tmp_path}/a b"
        assert open_store("x:y").root == f"file://{tmp_path}/x:y"

    def test_a_root_opens_itself(self, tmp_path: Path) -> None:
        for name in ("50%", "a%20b", "#", "a b"):
            root = LocalStore(tmp_path / name).root
            assert open_store(root).root == root
        assert LocalStore("/").root == "file://"

    def test_memory(self) -> None:
        first = open_store("memory://some-name")
        assert open_store("memory://some-name") is first
        assert open_store(first) is first
        assert open_store("memory://") is not open_store("memory://")
        assert isinstance(first, MemoryStore)

    @pytest.mark.parametrize("storage", ["file:relative", "file://host/x", "file:"])
    def test_no_path_of_this_machine(self, storage: str) -> None:
        with pytest.raises(InvalidInputError, match="file:///srv/lake"):
            open_store(storage)

    def test_unknown(self) -> None:
        with pytest.raises(UnsupportedError, match="gopher"):
            open_store("gopher://x/y")

    def test_the_root_behind_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert LocalStore(tmp_path / "link").root == f"file://{tmp_path}/real"


def test_a_folder_that_another_process_made_gets_a_durable_name(tmp_path, monkeypatch):
    """That process may have died before it saw to it."""
    (tmp_path / "a/b").mkdir(parents=True)
    synced: list[str] = []
    really = local.fsync_path

    def noted(path: str) -> None:
        synced.append(path)
        really(path)

    monkeypatch.setattr(local, "fsync_path", noted)
    store = LocalStore(tmp_path)
    store.create(NewObject("a/b/c", b""))
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    store.create(NewObject("a/b/d", b""))
    assert len(synced) == 2
    store.delete("a/b/c")
    store.delete("a/b/d")
    store.create(NewObject("a/b/e", b""))
    assert synced[2:] == [str(tmp_path), str(tmp_path / "a")]
