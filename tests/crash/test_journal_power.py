"""Power failures: what was synced is on the disk, of the rest any sectors, in any order.

A file is as it was at one of the moments since its last sync, each sector of 512 bytes at its own,
and so is its size. What was acknowledged must be there, and what is written afterwards too.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import FormatError
from parquedb.model.format import Format
from parquedb.namespace import local_journal, segment_end
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import Committed, open_journal
from parquedb.namespace.local_journal import LocalJournal
from parquedb.storage.local import LocalStore
from parquedb.storage.store import AppendFile, NewObject
from parquedb.storage.wrapping import WrappedFile, Wrapper, wrap

SECTOR = 512
JOURNAL = "_parquedb/users/journal"


class Disk(Wrapper):
    """A store that remembers how its journal's files were since they were synced."""

    moments: dict[str, list[bytes]]

    def create(self, item: NewObject) -> None:
        super().create(item)
        self.moments[item.key] = [bytes(item.data)]

    def _open_append(self, key: str) -> AppendFile:
        return _File(self, super()._open_append(key), key)

    def fail(self, chance: random.Random) -> None:
        """Lose power."""
        for key, moments in self.moments.items():
            data = bytearray(len(chance.choice(moments)))
            for start in range(0, len(data), SECTOR):
                there = chance.choice(moments)[start : start + SECTOR]
                data[start : start + len(there)] = there
            del data[max(map(len, moments)) :]
            self._store.replace(key, bytes(data))
            self.moments[key] = [bytes(data)]


class _File(WrappedFile):
    def __init__(self, disk: Disk, file: AppendFile, key: str) -> None:
        super().__init__(file, lambda _: None)
        self._disk = disk
        self._key = key

    def _now(self) -> bytes:
        return self._disk._store.get(self._key)

    def append(self, data: bytes) -> None:
        super().append(data)
        self._disk.moments[self._key].append(self._now())

    def overwrite(self, start: int, data: bytes) -> bool:
        done = super().overwrite(start, data)
        self._disk.moments[self._key].append(self._now())
        return done

    def truncate(self, size_bytes: int) -> None:
        super().truncate(size_bytes)
        self._disk.moments[self._key].append(self._now())

    def sync(self) -> None:
        super().sync()
        self._disk.moments[self._key] = [self._now()]


def open_(disk: Disk) -> LocalJournal:
    journal = open_journal(disk, "users", base=Format.NATIVE, is_durable=True)
    assert isinstance(journal, LocalJournal)
    return journal


def body(number: int, chance: random.Random) -> Write:
    id_ = f"users/{number}"
    text = chance.choice("abc") * chance.choice((0, 0, 1, 150, 400, 700))
    return Write({id_: {"$id": id_, "text": text}})


def live(disk: Disk, written: list[Write], chance: random.Random) -> int:
    """Open the journal, check it, and write; return how many entries were acknowledged."""
    journal = open_(disk)
    found = [entry.body for entry in journal.read(0)]
    assert found == written[: len(found)]
    del written[len(found) :]
    acknowledged = 0
    for _ in range(chance.randrange(6)):
        for _ in range(chance.choice((1, 1, 1, 2, 5))):  # so many threads wait for one sync
            head = journal.head()
            written.append(body(head + 1, chance))
            assert journal.append(written[-1], expect=head, at_us=head) == Committed(head + 1)
        if chance.randrange(9) == 0:
            journal = open_(disk)  # the process was killed before it synced, or the power fails
            journal.read(0)
            continue
        if chance.randrange(4) == 0:
            break
        journal.sync()
        acknowledged = journal.head()
    if chance.randrange(4) == 0:
        journal.close()
    return acknowledged


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_power_failures(chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_end, "RESERVE_BYTES", chance.choice((600, 1500, 4000)))
        patch.setattr(segment_end, "PATIENCE", chance.choice((0, 2)))
        patch.setattr(segment_end, "_SHARE", 1)
        patch.setattr(local_journal, "SEGMENT_BYTES", chance.choice((2000, 1 << 20)))
        disk = wrap(Disk, LocalStore(folder, durable=False))
        disk.moments = {}
        written: list[Write] = []
        for _ in range(chance.randrange(1, 5)):
            acknowledged = live(disk, written, chance)
            disk.fail(chance)
            found = [entry.body for entry in open_(disk).read(0)]
            assert len(found) >= acknowledged
            assert found == written[: len(found)]
        head = len(found)
        journal = open_(disk)
        for number in range(head, head + 3):
            found.append(body(number + 1, chance))
            assert journal.append(found[-1], expect=number, at_us=0) == Committed(number + 1)
        assert [entry.body for entry in open_(disk).read(0)] == found


def test_a_disk_that_loses_what_was_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sector that is zero, of lines each of which was synced: an error, if anything is behind."""
    monkeypatch.setattr(segment_end, "PATIENCE", 0)
    chance = random.Random(1)
    journal = open_journal(
        LocalStore(tmp_path, durable=False), "users", base=Format.NATIVE, is_durable=True
    )
    for number in range(20):
        journal.append(body(number + 1, chance), expect=number, at_us=0)
        journal.sync()
    entries = list(journal.read(0))
    (path,) = (tmp_path / JOURNAL).glob("*.jsonl")
    whole = path.read_bytes()
    lines = whole.rstrip(b"\0")
    ends = [at + 1 for at, byte in enumerate(lines) if byte == ord("\n")]
    silent = 0
    for start in range(0, len(lines), SECTOR):
        data = bytearray(whole)
        data[start : start + SECTOR] = bytes(len(data[start : start + SECTOR]))
        path.write_bytes(data)
        store = LocalStore(tmp_path, durable=False)
        if start + SECTOR <= ends[-2]:
            with pytest.raises(FormatError, match=r"damaged at byte|begin with a header"):
                open_journal(store, "users", base=None)
        else:
            silent += 1
            kept = sum(end <= start for end in ends) - 1
            assert list(open_journal(store, "users", base=None).read(0)) == entries[:kept]
    assert 1 <= silent < 5
