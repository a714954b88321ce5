"""What a journal on a local disk keeps in reserve: zero bytes behind its last line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from parquedb import DB
from parquedb.errors import FormatError, StorageError
from parquedb.model.format import Format
from parquedb.namespace import local_journal, segment_end
from parquedb.namespace.entry import Flush, Write
from parquedb.namespace.journal import Committed
from parquedb.namespace.local_journal import LocalJournal
from parquedb.namespace.segment_end import PATIENCE, RESERVE_BYTES
from parquedb.namespace.wire import encode_entry
from parquedb.storage import appends as appends_module
from parquedb.storage.counting import CountingStore, count
from parquedb.storage.local import LocalStore
from tests.support import journals
from tests.support.journals import FOLDER, name, numbers

open_ = partial(journals.open_, is_durable=True)


def fill(journal: LocalJournal, count: int = 1, size: int = 0) -> None:
    """Write entries, every other one by the short way."""
    for _ in range(count):
        head = journal.head()
        journal.read(head)
        head = journal.head()
        id_ = f"users/{head + 1}"
        body = Write({id_: {"$id": id_, "text": "x" * size}})
        done = journal.extend(head, head, lambda _, body=body: body) if head % 2 else None
        if done is None:
            assert journal.append(body, expect=head, at_us=head) == Committed(head + 1)
        journal.sync()


def newest(root: Path) -> Path:
    return max((root / FOLDER).glob("*.jsonl"))


def reserve_of(root: Path) -> int:
    """Return how many zero bytes the newest segment ends with; there are no others."""
    data = newest(root).read_bytes()
    lines = data.rstrip(b"\0")
    assert b"\0" not in lines
    assert lines.endswith(b"\n")
    return len(data) - len(lines)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(segment_end, "RESERVE_BYTES", 1000)
    monkeypatch.setattr(segment_end, "_SHARE", 2)
    monkeypatch.setattr(segment_end, "PATIENCE", 0)
    return


class TestKeeping:
    def test_who_waits_for_the_disk_has_one(self, tmp_path: Path) -> None:
        """Not at once: who writes little does not need it. A close gives it back."""
        journal = open_(tmp_path)
        fill(journal, 1 + PATIENCE)
        assert reserve_of(tmp_path) == 0
        size = newest(tmp_path).stat().st_size
        fill(journal)
        written = newest(tmp_path).stat().st_size - size
        assert written == RESERVE_BYTES
        assert 0 < written - reserve_of(tmp_path) < 200
        fill(journal, 9)
        assert journal.size_bytes() == newest(tmp_path).stat().st_size - reserve_of(tmp_path)
        assert numbers(journal) == numbers(open_(tmp_path)) == list(range(1, PATIENCE + 12))
        journal.close()
        assert reserve_of(tmp_path) == 0
        journal.close()
        assert numbers(open_(tmp_path)) == list(range(1, PATIENCE + 12))

    @pytest.mark.parametrize("durability", ["fsync", "os"])
    def test_databases(self, tmp_path: Path, durability: str) -> None:
        with DB(tmp_path, durability="os" if durability == "os" else "fsync") as db:
            for n in range(2 * PATIENCE):
                db.users.create({"n": n})
            assert (reserve_of(tmp_path) > 0) is (durability == "fsync")
            assert db.users.count() == 2 * PATIENCE
        assert reserve_of(tmp_path) == 0

    @pytest.mark.usefixtures("_small")
    def test_it_is_made_longer_and_lines_that_do_not_fit_are_appended(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        sizes = [0, 300, 399, 100, 0, 450, 2000, 0, 350, 350, 350, 350, 1, 5000, 5000, 0]
        for size in sizes * 3:
            fill(journal, 1, size)
            assert numbers(open_(tmp_path)) == list(range(1, journal.head() + 1))
        assert reserve_of(tmp_path) > 0

    @pytest.mark.usefixtures("_small")
    def test_every_length_of_a_line(self, tmp_path: Path) -> None:
        """Also those that end at the reserve's last byte, or one before or behind."""
        journal = open_(tmp_path)
        fill(journal, 2)
        for size in range(300):
            fill(journal, 1, size)
            assert newest(tmp_path).read_bytes()[-1] == 0
        assert len(numbers(open_(tmp_path))) == 302

    @pytest.mark.usefixtures("_small")
    def test_the_end_of_a_segment_gives_it_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 700)
        journal, reader = open_(tmp_path), open_(tmp_path)
        for number in range(1, 30):
            fill(journal)
            assert numbers(reader, number - 1) == [number]
        *older, last = sorted((tmp_path / FOLDER).glob("*.jsonl"))
        assert len(older) > 3
        for path in older:
            assert path.read_bytes().endswith(b"}\n\n")
        assert last.read_bytes().endswith(b"\0")
        journal.append(Flush(29, Format.NATIVE, 1), expect=29, at_us=0)
        assert numbers(open_(tmp_path)) == list(range(1, 31))

    @pytest.mark.usefixtures("_small")
    def test_lines_say_what_was_synced_before(self, tmp_path: Path) -> None:
        journal = open_(tmp_path)
        fill(journal, 3)
        for number in (3, 4):
            journal.append(Write({}), expect=number, at_us=0)
        lines = newest(tmp_path).read_bytes().rstrip(b"\0").splitlines()
        synced = [json.loads(line[9:])["synced"] for line in lines[1:]]
        assert synced == [0, 1, 2, 3, 3]
        again = open_(tmp_path)
        fill(again)
        os_writer = open_(tmp_path, is_durable=False)
        fill(os_writer)
        lines = newest(tmp_path).read_bytes().splitlines()
        assert [json.loads(line[9:]).get("synced") for line in lines[-2:]] == [0, None]

    def test_a_look_costs_one_call(self, tmp_path: Path) -> None:
        """And reads none of the reserve; what is new is read alone."""
        store = count(LocalStore(tmp_path))
        assert isinstance(store, CountingStore)
        writer, reader = open_(tmp_path), open_(store)
        fill(writer, PATIENCE + 3)
        assert numbers(reader)[-1] == PATIENCE + 3
        store.counts.calls.clear()
        store.counts.read_bytes.clear()
        for _ in range(3):
            assert reader.read(PATIENCE + 3) == ()
        assert store.counts.calls == {"is_blank": 3}
        assert store.counts.total_read_bytes() == 0
        fill(writer)
        assert numbers(reader, PATIENCE + 3) == [PATIENCE + 4]
        assert store.counts.total_read_bytes() <= 16 << 10

    def test_its_times_are_not_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Linux gives a file new times at the next write then, and these must reach the disk."""
        journal = open_(tmp_path)
        fill(journal, PATIENCE + 3)
        assert journal.tail is not None
        file = journal.tail.file
        assert isinstance(file, appends_module.LocalAppendFile)
        fstat = os.fstat

        def asked(fd: int) -> os.stat_result:
            assert fd not in (file._fd, file._over)
            return fstat(fd)

        monkeypatch.setattr(os, "fstat", asked)
        fill(journal, 3)


class TestSharing:
    @pytest.mark.usefixtures("_small")
    def test_what_a_killed_process_left_is_used(self, tmp_path: Path) -> None:
        fill(open_(tmp_path), 3)
        before = newest(tmp_path).stat().st_size
        left = reserve_of(tmp_path)
        assert left > 0
        journal = open_(tmp_path)
        assert numbers(journal) == [1, 2, 3]
        fill(journal, 2)
        assert newest(tmp_path).stat().st_size == before
        assert 0 < reserve_of(tmp_path) < left

    @pytest.mark.usefixtures("_small")
    def test_who_only_reads_leaves_it(self, tmp_path: Path) -> None:
        fill(open_(tmp_path), 3)
        data = newest(tmp_path).read_bytes()
        reader = open_(tmp_path)
        assert numbers(reader) == [1, 2, 3]
        reader.close()
        assert newest(tmp_path).read_bytes() == data

    @pytest.mark.usefixtures("_small")
    def test_who_does_not_wait_gives_it_back(self, tmp_path: Path) -> None:
        """The lines of such a writer do not say what was synced: a hole must not be before them."""
        durable, other = open_(tmp_path), open_(tmp_path, is_durable=False)
        fill(durable, 3)
        assert reserve_of(tmp_path) > 0
        fill(other, 2)
        assert reserve_of(tmp_path) == 0
        fill(durable, 2)
        assert reserve_of(tmp_path) > 0
        assert numbers(durable) == numbers(other) == numbers(open_(tmp_path)) == list(range(1, 8))

    def test_none_is_begun_while_others_write_in_turns(self, tmp_path: Path) -> None:
        journal, other = open_(tmp_path), open_(tmp_path, is_durable=False)
        for _ in range(3 * PATIENCE):
            fill(journal)
            fill(other)
            assert reserve_of(tmp_path) == 0

    @pytest.mark.usefixtures("_small")
    def test_two_that_wait_share_it(self, tmp_path: Path) -> None:
        journals = [open_(tmp_path), open_(tmp_path)]
        for turn in range(40):
            fill(journals[turn % 2], 1 + turn % 3)
            assert reserve_of(tmp_path) > 0 or turn == 0
        journals[0].close()  # the other one wrote last, and goes on
        assert reserve_of(tmp_path) > 0
        journals[1].close()
        assert reserve_of(tmp_path) == 0
        assert numbers(open_(tmp_path)) == list(range(1, journals[1].head() + 1))

    @pytest.mark.usefixtures("_small")
    def test_a_program_that_knows_none(self, tmp_path: Path) -> None:
        """It takes the zero bytes for a torn line, cuts them off, and appends."""
        journal, reader = open_(tmp_path), open_(tmp_path)
        fill(journal, 2)
        for turn in range(12):
            path = newest(tmp_path)
            lines = path.read_bytes().rstrip(b"\0")
            number = lines.count(b"\n")
            sizes = (path.stat().st_size - len(lines), 70, 0)  # the first fills the reserve
            for size in sizes if turn % 2 else sizes[1:]:
                line = encode_entry(number, number, "", Write({"users/x": None}))
                id_ = "x" * max(size - len(line) + len("users/x"), 1)
                line = encode_entry(number, number, "", Write({id_: None}))
                with open(path, "r+b") as file:
                    file.truncate(len(lines))
                with open(path, "ab") as file:
                    file.write(line)
                if size and len(line) == size:
                    assert path.stat().st_size == len(lines) + size
                assert numbers(reader, number - 1) == [number]
                lines, number = lines + line, number + 1
            fill(journal, 2)
            assert reserve_of(tmp_path) > 0
            assert numbers(reader, number - 1) == [number, number + 1]
        assert numbers(open_(tmp_path)) == list(range(1, journal.head() + 1))

    @pytest.mark.usefixtures("_small")
    def test_processes(self, tmp_path: Path) -> None:
        """Two that wait and one that does not, at the same time: nothing is lost."""
        code = f"""
import sys
from parquedb.namespace import local_journal, segment_end
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import Committed, open_journal
from parquedb.storage.local import LocalStore
segment_end.RESERVE_BYTES, segment_end.PATIENCE, segment_end._SHARE = 5000, 2, 1
local_journal.SEGMENT_BYTES = 30_000
is_durable = sys.argv[1] == "fsync"
journal = open_journal(LocalStore({str(tmp_path)!r}, durable=is_durable), "users", base=None,
                       is_durable=is_durable)
done = 0
while done < 200:
    journal.read(journal.head())
    body = Write({{sys.argv[2] + str(done): None}})
    result = journal.append(body, expect=journal.head(), at_us=0)
    if isinstance(result, Committed):
        done += 1
        journal.sync()
journal.close()
"""
        runs = [
            subprocess.Popen([sys.executable, "-c", code, *arguments])
            for arguments in (("fsync", "a"), ("os", "b"), ("fsync", "c"))
        ]
        assert [run.wait() for run in runs] == [0, 0, 0]
        entries = open_(tmp_path).read(0)
        assert [entry.number for entry in entries] == list(range(1, 601))
        written = [next(iter(e.body.documents)) for e in entries if isinstance(e.body, Write)]
        for who in "abc":
            assert [id_ for id_ in written if id_[0] == who] == [f"{who}{n}" for n in range(200)]

    def test_a_child_of_fork(self, tmp_path: Path) -> None:
        code = f"""
import os
from parquedb.namespace import segment_end
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import Committed, open_journal
from parquedb.storage.local import LocalStore
segment_end.RESERVE_BYTES, segment_end.PATIENCE, segment_end._SHARE = 5000, 1, 1
journal = open_journal(LocalStore({str(tmp_path)!r}, durable=False), "users", base=None,
                       is_durable=True)
def append():
    journal.read(journal.head())
    head = journal.head()
    assert journal.append(Write({{}}), expect=head, at_us=0) == Committed(head + 1)
for _ in range(5):
    append()
pid = os.fork()
for _ in range(200):
    journal.exclusively(append)
journal.close()
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        assert numbers(open_(tmp_path)) == list(range(1, 406))


class TestClosing:
    @pytest.mark.usefixtures("_small")
    def test_what_others_wrote_behind_stays(self, tmp_path: Path) -> None:
        journal, other = open_(tmp_path), open_(tmp_path)
        fill(journal, 3)
        fill(other)
        journal.close()
        assert reserve_of(tmp_path) > 0
        assert numbers(open_(tmp_path)) == [1, 2, 3, 4]

    @pytest.mark.usefixtures("_small")
    @pytest.mark.parametrize("becomes", ["removed", "moved", "another", "read only"])
    def test_a_folder_that_is_not_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
    ) -> None:
        """Nothing is made there, and no error said."""
        root = tmp_path / "a"
        journal = open_(root)
        fill(journal, 3)
        if becomes == "removed":
            shutil.rmtree(root)
        elif becomes in ("moved", "another"):
            root.rename(tmp_path / "b")
        if becomes == "another":
            fill(open_(root), 2)
        if becomes == "read only":

            def refuse(*_: object) -> None:
                raise StorageError("make the folder writable")

            monkeypatch.setattr(appends_module.FileLock, "_take", refuse)
        journal.close()
        assert root.exists() is (becomes in ("another", "read only"))
        if root.exists():
            assert reserve_of(root) > 0


class TestFailures:
    @pytest.mark.usefixtures("_small")
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
    @pytest.mark.parametrize("arrives", [0, 500])
    def test_zero_bytes_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, arrives: int
    ) -> None:
        """The line needs less. It is not tried again for each."""
        journal = open_(tmp_path)
        write = os.write
        refused = []

        def fail(fd: int, data: bytes) -> int:
            if bytes(data).strip(b"\0"):
                return write(fd, data)
            refused.append(data)
            write(fd, data[:arrives])
            if arrives and error != errno.EIO:
                return arrives
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(os, "write", fail)
        fill(journal, 20)
        assert len(refused) == 1
        assert reserve_of(tmp_path) == 0
        assert numbers(journal) == numbers(open_(tmp_path)) == list(range(1, 21))

    @pytest.mark.usefixtures("_small")
    def test_zero_bytes_that_cannot_be_taken_away(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is appended behind them."""
        journal = open_(tmp_path)
        fill(journal)
        write = os.write

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: write(fd, data[:500]))
            patch.setattr(os, "ftruncate", fail)
            with pytest.raises(StorageError, match="Input/output error"):
                journal.append(Write({}), expect=1, at_us=0)
        assert reserve_of(tmp_path) == 500
        fill(journal, 3)
        assert numbers(open_(tmp_path)) == [1, 2, 3, 4]

    def test_a_full_disk(self, tmp_path: Path) -> None:
        """A process that may write no file over 4 KB stands in for one."""
        code = f"""
import resource
from parquedb.errors import StorageError
from parquedb.namespace import segment_end
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import open_journal
from parquedb.storage.local import LocalStore
segment_end.PATIENCE = 0
journal = open_journal(LocalStore({str(tmp_path)!r}), "users", base=None, is_durable=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for size in (1000, 1000, 1000, 3000, 1000, 5):
    head = journal.head()
    try:
        body = Write({{"a": {{"$id": "a", "text": "x" * size}}}})
        print(journal.append(body, expect=head, at_us=0).number)
        journal.sync()
    except StorageError as error:
        print(type(error).__name__, "free space" in str(error))
"""
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        failed = "StorageError True"
        assert run.stdout.splitlines() == ["1", "2", "3", failed, failed, "4"]
        assert numbers(open_(tmp_path)) == [1, 2, 3, 4]

    @pytest.mark.usefixtures("_small")
    @pytest.mark.parametrize("is_short", [False, True])
    @pytest.mark.parametrize("error", [0, errno.EIO, errno.ENOSPC, errno.EMFILE])
    @pytest.mark.parametrize("arrives", [0, 7, None])
    def test_a_line_whose_writing_fails(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arrives: int | None,
        error: int,
        is_short: bool,
    ) -> None:
        """What counts is what is there; what needs no reserve is appended without."""
        journal = open_(tmp_path)
        fill(journal, 3)
        write, opened = os.pwrite, os.open

        def fail(fd: int, data: bytes, start: int) -> int:
            written = write(fd, data[:arrives], start) if arrives != 0 else 0
            if error:
                raise OSError(error, os.strerror(error))
            return written

        def refuse(path: str, *arguments: int) -> int:
            if path.endswith(".jsonl"):
                raise OSError(error, os.strerror(error))
            return opened(path, *arguments)

        body = Write({"users/4": None})

        def append() -> object:
            if is_short:
                return journal.extend(3, 0, lambda _: body)
            return journal.append(body, expect=3, at_us=0)

        with monkeypatch.context() as patch:
            if error == errno.EMFILE:
                journal = open_(tmp_path)
                patch.setattr(os, "open", refuse)
            else:
                patch.setattr(os, "pwrite", fail)
            if error != errno.EIO or arrives is None:
                assert append()
            else:
                with pytest.raises(StorageError, match="entry 4 was not written whole"):
                    append()
        known = [1, 2, 3] + [4] * (error != errno.EIO or arrives is None)
        assert numbers(journal) == numbers(open_(tmp_path)) == known
        fill(journal, 3)
        assert numbers(open_(tmp_path)) == list(range(1, len(known) + 4))

    @pytest.mark.usefixtures("_small")
    def test_something_in_the_reserve(self, tmp_path: Path) -> None:
        """Who wrote there had no lock. It is not written over, and nothing is written behind it."""
        journal = open_(tmp_path)
        fill(journal, 3)
        path = newest(tmp_path)
        offset = len(path.read_bytes().rstrip(b"\0"))
        with open(path, "r+b") as file:
            file.seek(offset + 9)
            file.write(b"x")
        with pytest.raises(StorageError, match=r"entry 4 was not written: .*1\.jsonl' keeps"):
            fill(journal)
        assert path.read_bytes()[offset:].strip(b"\0") == b"x"
        fill(journal, 2)
        assert reserve_of(tmp_path) > 0
        assert numbers(open_(tmp_path)) == [1, 2, 3, 4, 5]


def line(number: int, synced: int | None, size: int = 0) -> bytes:
    body = Write({f"users/{number}": {"$id": f"users/{number}", "text": "y" * size}})
    return encode_entry(number, 0, "t", body, synced)


class TestPowerFailures:
    """Lines that were not synced reached the disk in part: sectors of them, in any order."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        fill(open_(tmp_path), 2)
        path = newest(tmp_path)
        with open(path, "r+b") as file:
            file.truncate(len(path.read_bytes().rstrip(b"\0")))
        return path

    RESTS: tuple[tuple[str, bytes], ...] = (
        ("nothing", bytes(900)),
        ("a part of a line", line(3, 2)[:30] + bytes(900)),
        ("its end", bytes(30) + line(3, 2)[30:] + bytes(900)),
        ("one of two", bytes(len(line(3, 2))) + line(4, 2) + bytes(900)),
        ("a part and one", line(3, 2)[:30] + bytes(len(line(3, 2)) - 30) + line(4, 2)),
        ("more", bytes(len(line(3, 2))) + line(4, 2) + bytes(600) + line(9, 2) + bytes(9)),
        ("garbage", bytes(50) + b"x" + bytes(900)),
    )

    @pytest.mark.parametrize("rest", [rest for _, rest in RESTS], ids=[each for each, _ in RESTS])
    @pytest.mark.parametrize("is_durable", [False, True])
    def test_what_nobody_was_told_of(
        self, tmp_path: Path, path: Path, rest: bytes, is_durable: bool
    ) -> None:
        """Readers ignore it; the next writer removes it, for good, before it writes."""
        reader = open_(tmp_path)
        with open(path, "ab") as file:
            file.write(rest)
        whole = path.read_bytes()
        for journal in (reader, open_(tmp_path)):
            for _ in range(2):
                assert numbers(journal) == [1, 2]
        reader.close()
        assert path.read_bytes() == whole
        journal = open_(tmp_path, is_durable=is_durable)
        assert journal.append(Write({"users/n": None}), expect=2, at_us=0) == Committed(3)
        data = path.read_bytes()
        (entry,) = open_(tmp_path).read(2)
        assert entry.body == Write({"users/n": None})
        if rest.strip(b"\0"):
            assert not data.endswith(b"\0")
        fill(journal, 3)
        assert numbers(open_(tmp_path)) == [1, 2, 3, 4, 5, 6]

    def test_a_line_that_would_fit_in_front_of_an_old_one(self, tmp_path: Path, path: Path) -> None:
        """Entry 4 of then must not follow an entry 3 of the same length that is written now."""
        lost, kept = line(3, 2), line(4, 2)
        with open(path, "ab") as file:
            file.write(bytes(len(lost)) + kept + bytes(900))
        journal = open_(tmp_path)
        body = Write({"users/3": {"$id": "users/3", "text": ""}})
        spare = len(lost) - len(encode_entry(3, 0, journal._attempts.new(), body, 0))
        body = Write({"users/3": {"$id": "users/3", "text": "z" * spare}})
        assert journal.append(body, expect=2, at_us=0) == Committed(3)
        assert path.read_bytes().count(b"\n") == 4
        assert numbers(open_(tmp_path)) == [1, 2, 3]

    def test_removing_it_is_durable_before_the_next_line(
        self, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open(path, "ab") as file:
            file.write(bytes(len(line(3, 2))) + line(4, 2))
        calls = []
        for each in ("truncate", "append", "overwrite", "sync"):
            really = getattr(appends_module.LocalAppendFile, each)

            def noted(
                *arguments: object, each: str = each, really: Callable[..., object] = really
            ) -> object:
                calls.append(each)
                return really(*arguments)

            monkeypatch.setattr(appends_module.LocalAppendFile, each, noted)
        fill(open_(tmp_path))
        assert calls == ["truncate", "sync", "append", "sync"]

    @pytest.mark.parametrize("synced", [None, 3, 4])
    def test_what_somebody_was_told_of(
        self, tmp_path: Path, path: Path, synced: int | None
    ) -> None:
        """A line behind the hole says that what was there had been synced: the disk has lost it."""
        reader = open_(tmp_path)
        with open(path, "ab") as file:
            file.write(bytes(len(line(3, 2))) + line(4, 2) + line(5, synced) + bytes(99))
        whole = path.read_bytes()
        at = whole.index(b"\0")
        match = rf"{name(1)}' is damaged at byte {at}: entry 3 .*truncate -s {at}\)"
        for attempt in (
            lambda: open_(tmp_path),
            lambda: reader.read(2),
            lambda: reader.append(Write({}), expect=2, at_us=0),
        ):
            with pytest.raises(FormatError, match=match):
                attempt()
        assert path.read_bytes() == whole
        os.truncate(path, at)
        assert numbers(open_(tmp_path)) == [1, 2]

    def test_a_reader_that_may_not_lock(
        self, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may see lines that are written while it reads, but not those before them."""
        writer = open_(tmp_path)
        reader = open_(tmp_path)
        fill(writer, 2)
        assert reader.tail is not None
        file = reader.tail.file
        holes = [b"\0" * 40 + file.read(reader.tail.offset)[40:]]

        class Racing:
            def __getattr__(self, attribute: str) -> object:
                return getattr(file, attribute)

            def read(self, start: int) -> bytes:
                return holes.pop() if holes else file.read(start)

        def refuse(*_: object) -> None:
            raise StorageError("make the folder writable")

        monkeypatch.setattr(appends_module.FileLock, "_take", refuse)
        monkeypatch.setattr(reader.tail, "file", Racing())
        assert numbers(reader, 2) == [3, 4]
        assert holes == []


@pytest.mark.usefixtures("_small")
def test_a_second_reader(tmp_path: Path) -> None:
    """One that knows no reserve finds the same entries: zero bytes are a line that is not right."""
    journal = open_(tmp_path)
    fill(journal, 5)
    found = 0
    for text in newest(tmp_path).read_bytes().splitlines(keepends=True):
        checksum, _, payload = text.removesuffix(b"\n").partition(b" ")
        if not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(payload):
            break
        found += 1
    assert found == 6
