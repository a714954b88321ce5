"""A journal cut short: a fault at every operation, a kill at any moment, a tail at every byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parquedb.errors import CommitUnknownError, FormatError, ParqueDBError, StorageError
from parquedb.model.format import Format
from parquedb.namespace import local_journal, object_journal, segment_end
from parquedb.namespace.entry import Body, Flush, Write
from parquedb.namespace.journal import Committed, Journal, open_journal
from parquedb.namespace.wire import encode_entry
from parquedb.storage import Store
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

STORES: dict[str, Callable[[Path], Store]] = {
    "local": lambda path: LocalStore(path, durable=False),
    "reserve": lambda path: LocalStore(path, durable=False),
    "memory": lambda _: MemoryStore(),
}
VERBS = {
    "local": {"append", "sync"},
    "reserve": {"append", "overwrite", "truncate", "sync"},
    "memory": set[str](),
}
STEPS = 12


def open_(store: Store, name: str = "local") -> Journal:
    return open_journal(store, "users", base=Format.NATIVE, is_durable=name == "reserve")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reserve holds few lines and is there from the first one on."""
    monkeypatch.setattr(segment_end, "RESERVE_BYTES", 450)
    monkeypatch.setattr(segment_end, "PATIENCE", 0)
    monkeypatch.setattr(segment_end, "_SHARE", 1)


def write(number: int) -> Write:
    id_ = f"users/{number}"
    return Write({id_: {"$id": id_, "text": "x" * 90}})


@dataclass
class Told:
    """What the user of a journal was told."""

    written: dict[int, Body] = field(default_factory=dict)
    maybe: dict[int, Body] = field(default_factory=dict)
    durable: int = 0
    collected: int = 0


def run(journal: Journal, told: Told, *, steps: int) -> None:
    """Append, sync, flush and collect; note what came back."""
    for step in range(steps):
        head = journal.head()
        body: Body = Flush(head, Format.NATIVE, head) if step % 5 == 4 else write(head + 1)
        try:
            # by the short way where there is one
            done = extend(journal, body, head) if step % 2 else None
            if done is None:
                done = journal.append(body, expect=head, at_us=head)
        except (CommitUnknownError, SimulatedCrashError):
            told.maybe[head + 1] = body
            raise
        assert done == Committed(head + 1)
        told.written[head + 1] = body
        journal.sync()
        told.durable = head + 1
        if isinstance(body, Flush):
            told.collected = max(told.collected, body.through)
            journal.collect(body.through)


def extend(journal: Journal, body: Body, head: int) -> Committed | None:
    """Append a write by the short way; None where there is none."""
    if not isinstance(body, Write):
        return None
    done = journal.extend(head, head, lambda _at_us: body)
    if done is None:
        return None
    assert done.at_us > head
    assert done.body == body
    return Committed(done.number)


def check(journal: Journal, told: Told) -> None:
    """Everything that was said to be written is there; nothing else but what may be."""
    after = max(journal.first() - 1, 0)
    assert after <= told.collected
    found = {entry.number: entry.body for entry in journal.read(after)}
    assert list(found) == list(range(after + 1, journal.head() + 1))
    kept = {number: body for number, body in told.written.items() if number > after}
    allowed = {**told.maybe, **kept}
    assert found.items() >= kept.items()
    assert found.items() <= allowed.items()


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize("name", STORES)
def test_a_fault_at_every_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: FaultKind
) -> None:
    monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 500)
    monkeypatch.setattr(local_journal, "WORTHWHILE_BYTES", 300)
    monkeypatch.setattr(object_journal, "_KEPT", 2)
    whole = inject(STORES[name](tmp_path / "whole"), None)
    told = Told()
    run(open_(whole, name), told, steps=STEPS)
    check(open_(whole, name), told)
    verbs = {verb for verb, _ in whole.log}
    assert verbs >= {"create", "delete"} | VERBS[name]
    for at in range(whole.operations):
        inner = STORES[name](tmp_path / f"{at}")
        store = inject(inner, Fault(at, kind))
        told = Told()
        journal = open_(store, name)
        try:
            run(journal, told, steps=STEPS)
        except SimulatedCrashError:
            pass
        except StorageError:
            check(open_(inner, name), told)  # the process lives and sees what others see
            head = journal.head()
            assert {**told.maybe, **told.written}.keys() >= set(range(told.collected + 1, head + 1))
        except CommitUnknownError:
            pass
        again = open_(inner, name)
        check(again, told)
        told.written.update({n: b for n, b in told.maybe.items() if n <= again.head()})
        told.maybe.clear()
        run(again, told, steps=STEPS)
        check(again, told)
        check(open_(inner, name), told)


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, FaultKind.NO_SPACE])
@pytest.mark.parametrize("name", STORES)
def test_a_process_that_lives_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: FaultKind
) -> None:
    """After an error the same object writes on, or refuses to because a sync has failed."""
    monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 500)
    for at in range(3 * STEPS):
        inner = STORES[name](tmp_path / f"{at}")
        store = inject(inner, Fault(at, kind))
        journal = open_(store, name)
        told = Told()
        try:
            run(journal, told, steps=STEPS)
        except (StorageError, CommitUnknownError) as error:
            failure: ParqueDBError | None = error
        else:
            failure = None
        store._fault = None  # space was freed
        known = journal.head()
        journal.read(known)
        told.written.update({n: b for n, b in told.maybe.items() if known < n <= journal.head()})
        told.maybe.clear()
        if isinstance(failure, CommitUnknownError) and store.log[at][0] == "sync":
            with pytest.raises(StorageError, match="open the database again"):
                run(journal, told, steps=3)
        else:
            run(journal, told, steps=3)
        check(open_(inner, name), told)


def last_line(path: Path) -> tuple[bytes, bytes]:
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(lines[:-1]), lines[-1]


@pytest.mark.parametrize(("name", "behind_it"), [("local", b""), ("reserve", bytes(300))])
def test_a_tail_torn_at_every_byte(tmp_path: Path, name: str, behind_it: bytes) -> None:
    store = LocalStore(tmp_path, durable=False)
    journal = open_(store, "local")
    for number in range(3):
        journal.append(write(number + 1), expect=number, at_us=0)
    path = tmp_path / "_parquedb/users/journal/00000000000000000001.jsonl"
    whole, torn = last_line(path)
    behind = open_(store)
    for length in range(len(torn)):
        path.write_bytes(whole + torn[:length] + behind_it)
        reader, writer = open_(store), open_(store, name)
        assert [entry.number for entry in reader.read(0)] == [1, 2]
        assert reader.head() == writer.head() == 2
        done = writer.append(Write({"new": None}), expect=2, at_us=length)
        assert done == Committed(3)
        (new,) = reader.read(2)
        assert new.body == Write({"new": None})
        assert len(open_(store).read(0)) == 3
        assert path.read_bytes().startswith(whole)
        assert path.read_bytes().count(b"\n") == 4
    assert behind.head() == 3


@pytest.mark.parametrize("reserve", [0, 300])
def test_a_reader_sees_no_half_of_a_line(tmp_path: Path, reserve: int) -> None:
    store = LocalStore(tmp_path, durable=False)
    journal = open_(store)
    journal.append(write(1), expect=0, at_us=0)
    reader = open_(store)
    line = encode_entry(2, 0, "tx", write(2))
    file = store.open_append("_parquedb/users/journal/00000000000000000001.jsonl")
    start = file.size()
    assert start is not None
    if reserve:
        file.append(bytes(reserve))
        assert list(reader.read(1)) == []

    def put(byte: int, at: int) -> None:
        if not reserve:
            file.append(bytes([byte]))
        else:
            assert file.overwrite(at, bytes([byte]))

    for at, byte in enumerate(line[:-1], start):
        put(byte, at)
        assert list(reader.read(1)) == []
    put(line[-1], start + len(line) - 1)
    assert [entry.body for entry in reader.read(1)] == [write(2)]


def test_bits_that_flip(tmp_path: Path) -> None:
    """Any bit: an error, or the last entry is as if it had never been written."""
    store = LocalStore(tmp_path, durable=False)
    journal = open_(store)
    for number in range(3):
        journal.append(Write({f"{number}": None}), expect=number, at_us=0)
    path = tmp_path / "_parquedb/users/journal/00000000000000000001.jsonl"
    good = path.read_bytes()
    entries = list(journal.read(0))
    tail = len(last_line(path)[1])
    for at in range(len(good)):
        for bit in (0, 4, 6):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            path.write_bytes(bad)
            if at < len(good) - tail:
                with pytest.raises(FormatError, match=r"users/journal/0{19}1\.jsonl") as error:
                    open_(store).read(0)
                assert error.value.location is not None
            else:
                assert list(open_(store).read(0)) == entries[:2]


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_writer_that_is_killed(tmp_path: Path, is_durable: bool) -> None:
    """What was said to be written is there; the next writer goes on."""
    code = f"""
import sys
from parquedb.model.format import Format
from parquedb.namespace import local_journal, segment_end
from parquedb.namespace.entry import Write
from parquedb.namespace.journal import open_journal
from parquedb.storage.local import LocalStore
local_journal.SEGMENT_BYTES = 100_000
segment_end.RESERVE_BYTES, segment_end.PATIENCE, segment_end._SHARE = 20_000, 0, 2
journal = open_journal(LocalStore({str(tmp_path)!r}), "users", base=Format.NATIVE,
                       is_durable={is_durable})
head = journal.head()
while True:
    id_ = str(head + 1)
    document = {{"$id": id_, "text": id_ * 2000}}
    head = journal.append(Write({{id_: document}}), expect=head, at_us=0).number
    if {is_durable}:
        journal.sync()
    sys.stdout.write(f"{{head}}\\n")
    sys.stdout.flush()
"""
    chance = random.Random(7)
    acknowledged = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline()
        time.sleep(chance.random() * 0.05)
        os.kill(child.pid, signal.SIGKILL)
        told = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        acknowledged = int(told[-1]) if told else acknowledged + 1
        journal = open_(LocalStore(tmp_path))
        entries = journal.read(0)
        assert acknowledged <= len(entries) <= acknowledged + 1
        for number, entry in enumerate(entries, 1):
            id_ = str(number)
            assert entry.number == number
            assert entry.body == Write({id_: {"$id": id_, "text": id_ * 2000}})
        acknowledged = len(entries)
