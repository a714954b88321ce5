"""The journal on a local disk: segments, strangers in the folder, damage, failing disks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parquedb.errors import (
    CommitUnknownError,
    FormatError,
    StateError,
    StorageError,
    UnsupportedError,
)
from parquedb.model.format import Format
from parquedb.namespace import local_journal, segment_end
from parquedb.namespace.entry import Flush, State, Write
from parquedb.namespace.journal import Committed, Conflict, open_journal
from parquedb.namespace.local_journal import LocalJournal
from parquedb.namespace.wire import Header, encode_entry, encode_header, encode_line
from parquedb.storage import NewObject
from parquedb.storage import appends as appends_module
from parquedb.storage.counting import CountingStore, count
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore
from tests.support.journals import FOLDER, name, numbers, open_


def fill(journal: LocalJournal, count: int, size: int = 0) -> None:
    for _ in range(count):
        head = journal.head()
        id_ = f"users/{head + 1}"
        body = Write({id_: {"$id": id_, "text": "x" * size}})
        assert journal.append(body, expect=head, at_us=head) == Committed(head + 1)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 500)
    monkeypatch.setattr(local_journal, "WORTHWHILE_BYTES", 300)
    return


class TestSegments:
    def test_end_at_8_mebibytes(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 9, 1 << 20)
        names = sorted(path.name for path in (tmp_path / FOLDER).glob("*.jsonl"))
        assert names == [name(1), name(9)]
        assert numbers(journal) == numbers(open_(tmp_path)) == list(range(1, 10))

    def test_a_flush_begins_one(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 3, 50_000)
        journal.append(Flush(3, Format.NATIVE, 1), expect=3, at_us=0)
        fill(journal, 2)
        journal.append(Flush(6, Format.NATIVE, 2), expect=6, at_us=0)  # not worth another one
        assert journal.collect(3) == 1
        assert sorted(os.listdir(tmp_path / FOLDER)) == [".pqdb-lock", name(4)]
        assert numbers(open_(tmp_path), 3) == [4, 5, 6, 7]

    @pytest.mark.usefixtures("_small")
    def test_carry_the_state_before_them(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 30, 50)
        firsts = sorted(int(path.stem) for path in (tmp_path / FOLDER).glob("*.jsonl"))
        assert len(firsts) > 5
        for first in firsts:
            line = (tmp_path / FOLDER / name(first)).read_bytes().splitlines(keepends=True)[0]
            assert journal.id is not None
            assert line == encode_header(Header(journal.id, first, State(Format.NATIVE)))
        for first in firsts[:-1]:  # an empty line says that another one follows
            assert (tmp_path / FOLDER / name(first)).read_bytes().endswith(b"\n\n")

    def test_reading_costs_one_call_where_nothing_is_new(self, tmp_path: Path) -> None:
        store = count(LocalStore(tmp_path))
        assert isinstance(store, CountingStore)
        journal = open_journal(store, "users", base=None)
        journal.append(Write({}), expect=0, at_us=0)
        store.counts.calls.clear()
        for _ in range(3):
            assert journal.read(1) == ()
        assert store.counts.calls == {"size": 3}
        store.counts.calls.clear()

        def twice() -> None:
            journal.read(1)
            journal.append(Write({}), expect=1, at_us=0)
            journal.append(Write({}), expect=2, at_us=0)

        journal.exclusively(twice)
        assert store.counts.calls == {"size": 1, "append": 2}

    def test_syncs_are_shared(self, tmp_path: Path) -> None:
        store = count(LocalStore(tmp_path))
        journal = open_journal(store, "users", base=None)
        journal.append(Write({}), expect=0, at_us=0)
        journal.sync()  # what was created is durable
        assert store.counts.calls["sync"] == 0
        for number in range(1, 5):
            journal.append(Write({}), expect=number, at_us=0)
        journal.sync()
        journal.sync()
        assert store.counts.calls["sync"] == 1
        other = open_journal(store, "users", base=None)
        other.sync()  # who wrote it may not have waited for the disk
        assert store.counts.calls["sync"] == 2


class TestStrangers:
    def test_hidden_and_other_files_are_ignored(self, tmp_path: Path) -> None:
        folder = tmp_path / FOLDER
        folder.mkdir(parents=True)
        for stray in (".DS_Store", ".x.jsonl", "_x.jsonl", "notes.txt", f"{name(1)}.bak"):
            (folder / stray).write_bytes(b"junk")
        (folder / name(5)).with_suffix("").mkdir()
        journal = open_(tmp_path)
        assert journal.id is None
        fill(journal, 2)
        assert numbers(open_(tmp_path)) == [1, 2]

    @pytest.mark.parametrize("stray", ["1.jsonl", "x.jsonl", "0000000000000000000a.jsonl"])
    def test_what_looks_like_a_segment_is_not(self, tmp_path: Path, stray: str) -> None:
        fill(open_(tmp_path), 1)
        (tmp_path / FOLDER / stray).write_bytes(b"junk")
        with pytest.raises(FormatError, match=rf"{stray}' is no segment .* move the file away"):
            open_(tmp_path)

    @pytest.mark.parametrize(
        "junk", [b"", b"junk", b"junk\n", b"\0" * 100, encode_header(Header("j", 1, State()))[:-1]]
    )
    def test_a_segment_that_is_none(self, tmp_path: Path, junk: bytes) -> None:
        (tmp_path / FOLDER).mkdir(parents=True)
        (tmp_path / FOLDER / name(1)).write_bytes(junk)
        with pytest.raises(FormatError, match="does not begin with a header"):
            open_(tmp_path)

    def test_a_segment_under_another_name(self, tmp_path: Path) -> None:
        fill(open_(tmp_path), 3)
        os.rename(tmp_path / FOLDER / name(1), tmp_path / FOLDER / name(2))
        with pytest.raises(FormatError, match="begins with entry 1 by its header"):
            open_(tmp_path)

    @pytest.mark.usefixtures("_small")
    def test_a_segment_of_another_journal(self, tmp_path: Path) -> None:
        fill(open_(tmp_path / "a"), 10, 50)
        fill(open_(tmp_path / "b"), 10, 50)
        shutil.copy(tmp_path / "a" / FOLDER / name(1), tmp_path / "b" / FOLDER / name(1))
        journal = open_(tmp_path / "b")
        with pytest.raises(FormatError, match="belongs to the journal"):
            journal.read(0)

    @pytest.mark.usefixtures("_small")
    def test_a_gap(self, tmp_path: Path) -> None:
        fill(open_(tmp_path), 20, 50)
        firsts = sorted(int(path.stem) for path in (tmp_path / FOLDER).glob("*.jsonl"))
        (tmp_path / FOLDER / name(firsts[2])).unlink()
        missing = f"entries {firsts[2]} to {firsts[3] - 1} are missing"
        journal = open_(tmp_path)
        for after in (0, firsts[2] - 1, firsts[2]):
            with pytest.raises(FormatError, match=missing if after < firsts[2] else "missing"):
                journal.read(after)
        assert numbers(journal, firsts[3] - 1) == list(range(firsts[3], 21))

    def test_two_that_hold_the_same_entry(self, tmp_path: Path) -> None:
        """Each was written by somebody who did not see the other: nobody knows which one counts."""
        journal = open_(tmp_path)
        assert journal.append(Write({"a": None}), expect=0, at_us=0) == Committed(1)
        assert journal.id is not None
        header = encode_header(Header(journal.id, 2, State(Format.NATIVE)))
        body = encode_entry(2, 0, "x", Write({"x": None})) + encode_entry(3, 0, "y", Write({}))
        (tmp_path / FOLDER / name(2)).write_bytes(header + body)
        assert journal.append(Write({"b": None}), expect=1, at_us=0) == Committed(2)
        later = open_(tmp_path)
        with pytest.raises(FormatError, match="begins with entry 2, and the one before it goes on"):
            later.read(0)

    def test_a_newer_program(self, tmp_path: Path) -> None:
        (tmp_path / FOLDER).mkdir(parents=True)
        header = encode_line(b'{"format":2,"journal":"j","first":1,"state":{}}')
        (tmp_path / FOLDER / name(1)).write_bytes(header)
        with pytest.raises(UnsupportedError, match="version 2"):
            open_(tmp_path)

    def test_a_segment_cut_back_to_its_header(self, tmp_path: Path) -> None:
        """Cutting a file before an entry is what the error messages advise."""
        journal = open_(tmp_path)
        fill(journal, 1)
        assert journal.id is not None
        header = encode_header(Header(journal.id, 1, State(Format.NATIVE)))
        os.truncate(tmp_path / FOLDER / name(1), len(header))
        journal = open_(tmp_path)
        assert (journal.head(), numbers(journal)) == (0, [])
        fill(journal, 2)
        assert numbers(open_(tmp_path)) == [1, 2]

    def test_a_header_alone_in_an_object_store(self) -> None:
        store = MemoryStore()
        header = encode_header(Header("j", 1, State(Format.NATIVE)))
        store.create(NewObject(f"{FOLDER}/{name(1)}", header))
        journal = open_journal(store, "users", base=None)
        assert list(journal.read(0)) == []
        with pytest.raises(UnsupportedError, match="has no entry"):
            journal.append(Write({}), expect=0, at_us=0)


class TestDamage:
    def test_in_the_middle(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 5)
        path = tmp_path / FOLDER / name(1)
        lines = path.read_bytes().splitlines(keepends=True)
        at = sum(map(len, lines[:3]))
        path.write_bytes(b"".join([*lines[:3], b"x" + lines[3][1:], *lines[4:]]))
        match = rf"{name(1)}' is damaged at byte {at}: entry 3 .*truncate -s {at}\)"
        with pytest.raises(FormatError, match=match):
            open_(tmp_path)
        os.truncate(path, at)
        assert numbers(open_(tmp_path)) == [1, 2]

    def test_that_a_reader_meets(self, tmp_path: Path) -> None:
        reader = open_(tmp_path)
        writer = open_(tmp_path)
        fill(writer, 2)
        assert numbers(reader) == [1, 2]
        with open(tmp_path / FOLDER / name(1), "ab") as file:
            file.write(b"junk\n" + encode_entry(3, 0, "t", Write({})))
        for journal in (reader, writer):
            with pytest.raises(FormatError, match="entry 3 is not readable"):
                journal.read(2)
            with pytest.raises(FormatError, match="entry 3 is not readable"):
                journal.append(Write({}), expect=2, at_us=0)

    @pytest.mark.usefixtures("_small")
    def test_in_an_older_segment(self, tmp_path: Path) -> None:
        fill(open_(tmp_path), 12, 50)
        path = tmp_path / FOLDER / name(1)
        data = bytearray(path.read_bytes())
        data[-40] ^= 1  # in the last entry of its segment
        path.write_bytes(data)
        journal = open_(tmp_path)
        with pytest.raises(FormatError, match=r"the entries \d+ to \d+ are missing"):
            journal.read(0)
        assert numbers(journal, 8)[-1] == 12

    def test_wrong_numbers(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 2)
        with open(tmp_path / FOLDER / name(1), "ab") as file:
            file.write(encode_entry(4, 0, "t", Write({})))
        with pytest.raises(FormatError, match="entry 3: its number is 4"):
            journal.read(2)

    def test_what_a_writer_is_rewriting_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader that sees a torn line before the end of newer ones looks again."""
        writer, reader = open_(tmp_path), open_(tmp_path)
        fill(writer, 2)
        assert numbers(reader) == [1, 2]
        fill(writer, 2)
        assert reader.tail is not None
        read = reader.tail.file.read
        mixed = [b"torn" + read(reader.tail.offset)[4:]]

        class Mixing:
            def __getattr__(self, attribute: str) -> object:
                return getattr(file, attribute)

            def read(self, start: int) -> bytes:
                return mixed.pop() if mixed else read(start)

        file = reader.tail.file
        monkeypatch.setattr(reader.tail, "file", Mixing())
        assert numbers(reader, 2) == [3, 4]
        assert mixed == []

    def test_a_file_that_became_shorter(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 3)
        path = tmp_path / FOLDER / name(1)
        os.truncate(path, path.stat().st_size - 60)
        for _ in range(2):
            with pytest.raises(StateError, match="deleted or replaced"):
                journal.read(3)
            with pytest.raises(StateError, match="deleted or replaced"):
                journal.append(Write({}), expect=3, at_us=0)

    @pytest.mark.parametrize("reserve", [False, True])
    @pytest.mark.parametrize("again", [False, True])
    def test_a_folder_that_was_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool, reserve: bool
    ) -> None:
        monkeypatch.setattr(segment_end, "PATIENCE", 0)
        journal = open_(tmp_path, is_durable=reserve)
        fill(journal, 3)
        assert (tmp_path / FOLDER / name(1)).read_bytes().endswith(b"\0") is reserve
        shutil.rmtree(tmp_path / "_parquedb")
        if again:
            fill(open_(tmp_path), 5)
        for _ in range(2):
            with pytest.raises(StateError, match="deleted or replaced"):
                journal.read(3)
            with pytest.raises(StateError, match="deleted or replaced"):
                journal.append(Write({}), expect=3, at_us=0)
        assert open_(tmp_path).head() == (5 if again else 0)

    def test_a_folder_removed_before_the_first_entry(self, tmp_path: Path) -> None:
        """Whoever had the lock of the old folder takes that of the new one."""
        journal, other = open_(tmp_path), open_(tmp_path)
        journal.exclusively(lambda: None)
        shutil.rmtree(tmp_path / "_parquedb")
        fill(other, 1)
        assert numbers(journal) == [1]
        started, done = threading.Event(), threading.Event()

        def append() -> None:
            started.set()
            journal.append(Write({}), expect=1, at_us=0)
            done.set()

        thread = threading.Thread(target=append)

        def wait() -> None:
            thread.start()
            started.wait()
            assert not done.wait(0.05)

        other.exclusively(wait)
        thread.join()
        assert numbers(other) == [1, 2]


class TestFailingDisks:
    def test_a_sync_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = LocalStore(tmp_path)
        journal = open_journal(store, "users", base=None)
        journal.append(Write({}), expect=0, at_us=0)
        journal.append(Write({}), expect=1, at_us=0)
        journal.sync()
        journal.append(Write({}), expect=2, at_us=0)

        def fail(_: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(appends_module, "_sync_data", fail)
            with pytest.raises(CommitUnknownError, match=r"'users': .*Input/output error"):
                journal.sync()
        with pytest.raises(CommitUnknownError, match="open the database again"):
            journal.sync()
        with pytest.raises(StorageError, match="open the database again"):
            journal.append(Write({}), expect=3, at_us=0)
        assert [entry.number for entry in journal.read(0)] == [1, 2, 3]
        again = open_journal(store, "users", base=None)
        assert again.append(Write({}), expect=3, at_us=0) == Committed(4)
        again.sync()

    def test_a_full_disk(self, tmp_path: Path) -> None:
        """A process that may write no file over 4 KB stands in for a full disk."""
        code = f"""
import resource
from parquedb.errors import StorageError
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import open_journal
from parquedb.storage.local import LocalStore
journal = open_journal(LocalStore({str(tmp_path)!r}), "users", base=None)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def write(size):
    head = journal.head()
    try:
        body = Write({{"a": {{"$id": "a", "text": "x" * size}}}})
        print(journal.append(body, expect=head, at_us=0).number)
        journal.sync()
    except StorageError as error:
        print(type(error).__name__, "free space" in str(error))
for size in (9000, 1000, 1000, 3000, 1000, 1000, 5, 5):
    write(size)
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        failed = "StorageError True"
        assert run.stdout.splitlines() == [failed, "1", "2", failed, "3", failed, "4", "5"]
        assert numbers(open_(tmp_path)) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("short", [False, True])
    @pytest.mark.parametrize("arrives", [0, 7, None])
    def test_a_write_that_says_that_it_failed(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arrives: int | None,
        short: bool,
    ) -> None:
        """What counts is what is there."""
        journal = open_(tmp_path)
        fill(journal, 2)
        write = os.write

        def fail(fd: int, data: bytes) -> int:
            if arrives != 0:
                write(fd, data[:arrives])
            raise OSError(errno.EIO, "Input/output error")

        def append() -> object:
            if short:
                return journal.extend(2, 0, lambda _: Write({"users/3": None}))
            return journal.append(Write({"users/3": None}), expect=2, at_us=0)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            if arrives is None:
                assert append()
            else:
                with pytest.raises(StorageError, match="entry 3 was not written whole"):
                    append()
        assert numbers(journal) == numbers(open_(tmp_path)) == [1, 2, *([3] * (arrives is None))]
        fill(journal, 1)
        assert numbers(open_(tmp_path)) == list(range(1, 5 if arrives is None else 4))

    def test_a_write_of_which_nobody_knows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = open_(tmp_path)
        fill(journal, 2)

        write = os.write

        def fail(fd: int, data: bytes, _: int = 0) -> int:
            if isinstance(data, bytes):
                write(fd, data)
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            patch.setattr(os, "pread", fail)
            with pytest.raises(CommitUnknownError, match="nobody knows whether entry 3"):
                journal.append(Write({}), expect=2, at_us=0)
        assert numbers(journal) == [1, 2, 3]

    def test_a_folder_that_cannot_be_locked_can_be_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(open_(tmp_path), 2)

        def refuse(*_: object) -> None:
            raise StorageError("make the folder writable")

        monkeypatch.setattr(appends_module.FileLock, "_lock", refuse)
        journal = open_(tmp_path)
        assert numbers(journal) == [1, 2]
        with pytest.raises(StorageError, match="writable"):
            journal.append(Write({}), expect=2, at_us=0)
        with open(tmp_path / FOLDER / name(1), "ab") as file:
            file.write(b"junk\n" + encode_entry(3, 0, "t", Write({})))
        with pytest.raises(FormatError, match="entry 3"):
            journal.read(2)


class TestSharing:
    def test_a_child_of_fork_writes_too(self, tmp_path: Path) -> None:
        code = f"""
import os
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import Committed, open_journal
from parquedb.storage.local import LocalStore
journal = open_journal(LocalStore({str(tmp_path)!r}, durable=False), "users", base=None)
journal.append(Write({{}}), expect=0, at_us=0)
pid = os.fork()
known = 1
def append():
    global known
    known += len(journal.read(known))
    done = journal.append(Write({{str(pid == 0): None}}), expect=known, at_us=0)
    assert done == Committed(known + 1)
    known += 1
for _ in range(300):
    journal.exclusively(append)
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        entries = open_(tmp_path).read(0)
        assert [entry.number for entry in entries] == list(range(1, 602))
        assert len({entry.tx for entry in entries}) == 601

    def test_a_conflict_with_a_segment_made_without_the_lock(self, tmp_path: Path) -> None:
        """A file system whose locks do nothing still has one creator for each segment."""
        journal = open_(tmp_path)
        fill(journal, 2)
        assert journal.id is not None
        other = encode_header(Header(journal.id, 3, State(Format.NATIVE)))
        (tmp_path / FOLDER / name(3)).write_bytes(other + encode_entry(3, 0, "t", Write({})))
        journal.rotate()
        assert journal.append(Write({"x": None}), expect=2, at_us=0) == Conflict(3)
        assert [entry.tx for entry in journal.read(2)] == ["t"]
        assert journal.append(Write({"x": None}), expect=3, at_us=0) == Committed(4)


def second_reader(folder: Path) -> list[dict[str, Any]]:
    """Read a journal as docs/spec/journal.md says, with nothing of ParqueDB's."""
    entries: list[dict[str, Any]] = []
    for path in sorted(folder.glob("[0-9]*.jsonl")):
        for index, line in enumerate(path.read_bytes().splitlines(keepends=True)):
            checksum, _, payload = line.removesuffix(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(payload):
                break
            found = json.loads(payload)
            assert found["first" if index == 0 else "n"] == len(entries) + 1
            entries += [found] if index else []
    return entries


@pytest.mark.usefixtures("_small")
def test_a_second_reader(tmp_path: Path) -> None:
    journal = open_(tmp_path)
    fill(journal, 40, 50)
    journal.append(Flush(40, Format.NATIVE, 1), expect=40, at_us=5)
    with open(max((tmp_path / FOLDER).glob("*.jsonl")), "ab") as file:
        file.write(b"0123abcd {torn")
    *writes, flush = second_reader(tmp_path / FOLDER)
    assert [entry["docs"][0]["$id"] for entry in writes] == [f"users/{n}" for n in range(1, 41)]
    assert flush["op"] == "flush"
    assert len(second_reader(tmp_path / FOLDER)) == len(numbers(open_(tmp_path))) == 41
