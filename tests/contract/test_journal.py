"""What every journal must do, whatever store it is in. A new one joins by a line in ``STORES``."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parquedb.ambient import SYSTEM
from parquedb.errors import InvalidInputError, StateError
from parquedb.model.format import Format
from parquedb.namespace import local_journal, object_journal
from parquedb.namespace.entry import Cutover, Flush, Migrate, Retire, Staged, State, Write
from parquedb.namespace.journal import (
    CollectedError,
    Committed,
    Conflict,
    Journal,
    open_journal,
)
from parquedb.namespace.local_journal import LocalJournal
from parquedb.namespace.object_journal import ObjectJournal
from parquedb.rows.jsonform import encode_document
from parquedb.rows.values import STORED_BYTES
from parquedb.storage import Appends, Store
from parquedb.storage.counting import count
from parquedb.storage.faults import inject
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

STORES: dict[str, Callable[[Path], Store]] = {
    "local": lambda path: LocalStore(path / "root", durable=False),
    "memory": lambda _: MemoryStore(),
    "counted local": lambda path: count(LocalStore(path / "root", durable=False)),
    "faulty memory": lambda _: inject(MemoryStore(), None),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param](tmp_path)


@pytest.fixture(params=["large segments", "small segments"])
def _sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small segments":
        monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 700)
        monkeypatch.setattr(local_journal, "WORTHWHILE_BYTES", 300)
        monkeypatch.setattr(object_journal, "_KEPT", 2)


pytestmark = pytest.mark.usefixtures("_sizes")


def open_(store: Store, namespace: str = "users") -> Journal:
    return open_journal(store, namespace, base=Format.NATIVE)


def write(number: int, size: int = 0) -> Write:
    id_ = f"users/{number}"
    return Write({id_: {"$id": id_, "version": number, "text": "x" * size}})


def fill(journal: Journal, count: int) -> None:
    journal.read(journal.head())
    for _ in range(count):
        head = journal.head()
        assert journal.append(write(head + 1), expect=head, at_us=head) == Committed(head + 1)


def numbers(journal: Journal, after: int = 0) -> list[int]:
    return [entry.number for entry in journal.read(after)]


def fails(journal: Journal) -> None:
    """Extend by something that raises, also where that is not asked for."""

    def build(_at_us: int) -> None:
        raise ZeroDivisionError

    journal.extend(journal.head(), 0, build)
    build(0)


class TestBeforeTheFirstEntry:
    def test_nothing_is_there(self, store: Store) -> None:
        journal = open_(store)
        assert journal.id is None
        assert numbers(journal) == []
        assert (journal.head(), journal.first(), journal.size_bytes()) == (0, 1, 0)
        assert journal.state() == State(Format.NATIVE)
        assert journal.collect(10) == 0
        journal.sync()
        assert journal.exclusively(lambda: numbers(journal)) == []
        assert list(store.list("")) == []
        journal.close()

    def test_nothing_is_expected(self, store: Store) -> None:
        journal = open_(store)
        with pytest.raises(StateError, match="ends with entry 0, but entry 5"):
            journal.read(5)
        with pytest.raises(StateError, match="entry 5 is known to have existed"):
            journal.append(write(6), expect=5, at_us=0)
        assert list(store.list("")) == []

    def test_the_first_of_two_wins(self, store: Store) -> None:
        one, two = open_(store), open_(store)
        assert one.append(write(1), expect=0, at_us=7) == Committed(1)
        assert two.append(write(9), expect=0, at_us=8) == Conflict(1)
        assert two.read(0) == one.read(0)
        assert two.id == one.id is not None
        assert two.append(write(2), expect=1, at_us=8) == Committed(2)

    def test_namespaces_are_apart(self, store: Store) -> None:
        for name in ("users", "users/a", "a/users"):
            fill(open_(store, name), 2)
        ids = {open_(store, name).id for name in ("users", "users/a", "a/users")}
        assert len(ids) == 3
        assert all(info.key.startswith("_parquedb/") for info in store.list(""))


class TestEntries:
    def test_read_back_equal(self, store: Store) -> None:
        now = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
        document = {"$id": "users/ü", "$type": "User", "at": now, "$$x": {"$y": [1, 1.0, None]}}
        bodies = [
            Write({"users/ü": document, "users/2": None}),
            Write({}),
            Write({"users/3": None}, (Staged("_parquedb/users/staged/a.parquet", 5, 6, True),)),
            Flush(2, Format.NATIVE, -(2**62)),
            Migrate("m1", Format.NATIVE, Format.ICEBERG),
            Cutover(Format.ICEBERG, 3, 2**62, 5),
            Retire(Format.NATIVE),
        ]
        journal = open_(store)
        for number, body in enumerate(bodies):
            assert journal.append(body, expect=number, at_us=number * 10) == Committed(number + 1)
        for reader in (journal, open_(store)):
            entries = reader.read(0)
            assert [entry.body for entry in entries] == bodies
            assert [entry.number for entry in entries] == list(range(1, 8))
            assert [entry.at_us for entry in entries] == list(range(0, 70, 10))
            assert len({entry.tx for entry in entries}) == 7

    def test_a_bad_document_writes_nothing(self, store: Store) -> None:
        journal = open_(store)
        for bad in (
            {"users/1": {"$id": "users/1", "a": float("nan")}},
            {"users/1": {"$id": "users/1", "a": object()}},
            {"users/1": {"$id": "users/2"}},
        ):
            with pytest.raises(InvalidInputError):
                journal.append(Write(bad), expect=0, at_us=0)
        assert journal.id is None
        assert list(store.list("")) == []

    def test_one_document_by_the_short_way(self, store: Store) -> None:
        journal, other = open_(store), open_(store)
        asked: list[int] = []

        def build(at_us: int, n: int) -> Write | None:
            asked.append(at_us)
            text = encode_document({"$id": f"users/{n}", "n": n})
            return Write({f"users/{n}": text}) if n else None

        assert journal.extend(0, 0, build, 1) is None  # there is no segment yet
        assert not asked
        fill(journal, 1)
        other.read(0)
        late = SYSTEM.now_us() + 10**9
        written = {1: write(1)}
        for head in range(1, 30):
            writer, reader = (journal, other) if head % 3 else (other, journal)
            asked.clear()
            document = {"$id": f"users/{head}", "n": head}
            done = writer.extend(head, late, build, head)
            if done is None:  # a segment is begun, or this store has no short way
                assert not asked
                writer.read(head)
                body = Write({f"users/{head}": document})
                assert writer.append(body, expect=head, at_us=late) == Committed(head + 1)
            else:
                assert asked == [done.at_us] == [late + 1]
                assert done.number == head + 1
                assert done.body == Write({f"users/{head}": encode_document(document)})
            written[head + 1] = Write({f"users/{head}": document})
            assert writer.head() == head + 1
            assert reader.extend(head, 0, build, 9) is None  # somebody else wrote
            assert len(asked) <= 1
            assert {entry.number: entry.body for entry in reader.read(0)} == written
        assert journal.extend(30, 0, build, 0) is None  # it says another way
        with pytest.raises(ZeroDivisionError):
            fails(journal)
        assert numbers(open_(store)) == numbers(other) == list(range(1, 31))
        fill(other, 2)
        assert numbers(journal, 30) == [31, 32]

    def test_one_document_that_is_too_large(self, store: Store) -> None:
        journal = open_(store)
        fill(journal, 1)
        big = Write({"users/2": b"x" * (STORED_BYTES + 1)})
        if isinstance(store, Appends):
            with pytest.raises(InvalidInputError, match="users/2: the document's JSON form has"):
                journal.extend(1, 0, lambda _at_us: big)
        fill(journal, 1)
        assert numbers(open_(store)) == [1, 2]

    def test_the_size_is_that_of_all_segments(self, store: Store) -> None:
        journal, other = open_(store), open_(store)
        for step in range(12):
            fill(journal if step % 2 else other, 3)
            for each in (journal, other):
                each.read(each.head())
                total = sum(info.size_bytes for info in store.list("_parquedb"))
                ends = len(list(store.list("_parquedb"))) - 1  # a newline ends a segment
                assert total - ends <= each.size_bytes() <= total
            if step == 7:
                journal.rotate()
                journal.append(write(25), expect=24, at_us=0)
                journal.collect(24)
                assert journal.size_bytes() == open_(store).size_bytes()
                other.read(24)

    def test_large(self, store: Store) -> None:
        journal = open_(store)
        sizes = (16_000_000, 10, 3_000_000, 0)
        for number, size in enumerate(sizes):
            journal.append(write(number + 1, size), expect=number, at_us=0)
        bodies = [entry.body for entry in open_(store).read(0)]
        assert bodies == [write(number + 1, size) for number, size in enumerate(sizes)]


class TestReading:
    def test_from_any_place(self, store: Store) -> None:
        journal = open_(store)
        fill(journal, 25)
        for reader in (journal, open_(store)):
            for after in (0, 1, 7, 24, 25, 0, 13):
                assert numbers(reader, after) == list(range(after + 1, 26))
            with pytest.raises(StateError, match="ends with entry 25, but entry 26"):
                reader.read(26)

    def test_follows_a_writer(self, store: Store) -> None:
        writer, reader = open_(store), open_(store)
        seen: list[int] = []
        for step in range(40):
            fill(writer, step % 3)
            seen += numbers(reader, len(seen))
            assert len(seen) == writer.head()
        assert seen == list(range(1, writer.head() + 1))

    def test_several_places_at_once(self, store: Store) -> None:
        """Two users of one object read from where they are."""
        writer, reader = open_(store), open_(store)
        fill(writer, 3)
        assert numbers(reader, 0) == [1, 2, 3]
        fill(writer, 3)
        assert numbers(reader, 2) == [3, 4, 5, 6]
        fill(writer, 3)
        assert numbers(reader, 7) == [8, 9]
        assert numbers(reader, 6) == [7, 8, 9]

    def test_is_cheap_where_nothing_is_new(self, tmp_path: Path) -> None:
        for inner in (LocalStore(tmp_path), MemoryStore()):
            store = count(inner)
            journal = open_(store)
            fill(journal, 5)
            store.counts.calls.clear()
            assert numbers(journal, 5) == []
            assert sum(store.counts.calls.values()) <= 2


class TestAppending:
    def test_a_conflict_is_a_value(self, store: Store) -> None:
        one, two = open_(store), open_(store)
        fill(one, 3)
        assert numbers(two) == [1, 2, 3]
        fill(one, 4)
        assert two.append(write(4), expect=3, at_us=0) == Conflict(7)
        assert numbers(two, 3) == [4, 5, 6, 7]
        assert two.append(write(5), expect=4, at_us=0) == Conflict(7)
        with pytest.raises(StateError, match="ends with entry 7, but entry 8"):
            two.append(write(9), expect=8, at_us=0)
        assert two.append(write(8), expect=7, at_us=0) == Committed(8)
        assert numbers(one, 7) == [8]

    def test_after_opening_without_reading(self, store: Store) -> None:
        fill(open_(store), 3)
        journal = open_(store)
        assert journal.head() == 3
        assert journal.append(write(4), expect=3, at_us=0) == Committed(4)
        assert numbers(journal) == [1, 2, 3, 4]

    def test_what_another_object_has_read(self, store: Store) -> None:
        one, two = open_(store), open_(store)
        fill(one, 3)
        assert two.append(write(4), expect=3, at_us=0) == Committed(4)
        assert numbers(two) == [1, 2, 3, 4]

    def test_in_exclusion(self, store: Store) -> None:
        one, two = open_(store), open_(store)
        fill(one, 2)
        for turn in range(1, 30):
            journal = (one, two)[turn % 2]

            def twice(journal: Journal = journal) -> None:
                known = journal.head()
                new = journal.read(known)
                head = known + len(new)
                assert numbers(journal, head) == []
                for _ in range(2):
                    done = journal.append(write(head + 1), expect=head, at_us=0)
                    assert done == Committed(head + 1)
                    head += 1

            journal.exclusively(partial(journal.exclusively, twice))
        assert numbers(one) == numbers(two) == list(range(1, 61))

    def test_exclusion_ends_with_an_exception(self, store: Store) -> None:
        one, two = open_(store), open_(store)

        def fail() -> None:
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            one.exclusively(fail)
        fill(two, 1)
        assert two.exclusively(lambda: numbers(two)) == [1]

    def test_threads_share_one_object(self, store: Store) -> None:
        journal = open_(store)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                done = 0
                known = 0
                while done < 50:
                    known += len(journal.read(known))
                    if isinstance(
                        journal.append(write(known + 1), expect=known, at_us=0), Committed
                    ):
                        known, done = known + 1, done + 1
                        journal.sync()
            except BaseException as error:  # noqa: BLE001  (handed to the main thread)
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert numbers(open_(store)) == numbers(journal) == list(range(1, 201))


class TestState:
    def test_is_that_of_the_last_entry_known(self, store: Store) -> None:
        writer, reader = open_(store), open_(store)
        migrate = Migrate("m", Format.NATIVE, Format.DELTA)
        steps = [
            (write(1), State(Format.NATIVE)),
            (migrate, State(Format.NATIVE, migrate)),
            (write(2, 1000), State(Format.NATIVE, migrate)),
            (Flush(2, Format.NATIVE, 1), State(Format.NATIVE, migrate)),
            (Cutover(Format.DELTA, 1, 1, 2), State(Format.DELTA, None, 2)),
            (Retire(Format.NATIVE), State(Format.DELTA, None, 2)),
            (write(3, 1000), State(Format.DELTA, None, 2)),
        ]
        for number, (body, state) in enumerate(steps):
            before = reader.state()
            writer.append(body, expect=number, at_us=0)
            assert writer.state() == state
            assert reader.state() == before
            reader.read(number)
            assert reader.state() == state
            assert open_journal(store, "users", base=None).state() == state

    def test_the_journal_knows_better_than_its_opener(self, store: Store) -> None:
        fill(open_journal(store, "users", base=Format.ICEBERG), 1)
        other = open_journal(store, "users", base=Format.DELTA)
        assert other.state() == State(Format.ICEBERG)

    def test_of_which_version_a_table_is_to_be_made(self, store: Store) -> None:
        journal = open_journal(store, "users", base=Format.ICEBERG, format_version=3)
        fill(journal, 2)
        other = open_journal(store, "users", base=None)
        assert other.state() == State(Format.ICEBERG, format_version=3)
        journal.append(Flush(2, Format.ICEBERG, 1), expect=2, at_us=0)
        assert open_(store).state() == State(Format.ICEBERG, format_version=3)
        journal.append(Cutover(Format.DELTA, 1, 1, 2), expect=3, at_us=0)
        assert open_(store).state() == State(Format.DELTA, None, 2)

    def test_a_namespace_without_a_table(self, store: Store) -> None:
        journal = open_journal(store, "users", base=None)
        fill(journal, 1)
        journal.append(Flush(1, Format.NATIVE, 1), expect=1, at_us=0)
        assert journal.state() == open_(store).state() == State(Format.NATIVE)

    def test_texts_that_look_like_operations(self, store: Store) -> None:
        journal = open_(store)
        text = '"op":"cutover"'
        documents: dict[str, Any] = {"a": {"$id": "a", "op": "cutover", "to": "delta", "x": text}}
        journal.append(Write(documents), expect=0, at_us=0)
        assert open_(store).state() == State(Format.NATIVE)


class TestCollecting:
    def fill(self, journal: Journal) -> None:
        for _ in range(20):
            fill(journal, 20)
            through = journal.head()
            journal.rotate()
            journal.append(Flush(through, Format.NATIVE, through), expect=through, at_us=0)

    def test_what_a_flush_made_needless(self, store: Store) -> None:
        journal, other = open_(store), open_(store)
        self.fill(journal)
        assert numbers(other) == list(range(1, 421))
        size_bytes = journal.size_bytes()
        assert journal.first() == 1
        assert journal.collect(419) > 0
        first = journal.first()
        assert 1 < first <= 420
        assert journal.size_bytes() < size_bytes
        for reader in (journal, other, open_(store)):
            assert numbers(reader, 419) == [420]
            assert numbers(reader, first - 1) == list(range(first, 421))
            with pytest.raises(CollectedError, match=f"1 to {first - 1} .* collected") as found:
                reader.read(0)
            assert found.value.first == first
        fill(other, 5)
        assert numbers(journal, 420) == [421, 422, 423, 424, 425]

    def test_never_what_is_still_needed(self, store: Store) -> None:
        journal = open_(store)
        self.fill(journal)
        for through in (0, 1, 20, 21, 22, 150):
            journal.collect(through)
            assert journal.first() <= through + 1
            assert numbers(journal, through) == list(range(through + 1, 421))
            assert numbers(open_(store), through) == list(range(through + 1, 421))

    def test_never_the_newest(self, store: Store) -> None:
        journal = open_(store)
        fill(journal, 50)
        journal.collect(50)
        journal.collect(1000)
        assert open_(store).head() == 50
        fill(journal, 1)
        assert numbers(open_(store), 50) == [51]
        journal.collect(1000)
        assert journal.first() <= 51

    def test_a_reader_that_fell_behind(self, store: Store) -> None:
        writer, reader = open_(store), open_(store)
        fill(writer, 5)
        assert len(reader.read(0)) == 5
        for _ in range(3):
            self.fill(writer)
            writer.collect(writer.head() - 1)
        assert writer.first() > 6
        with pytest.raises(CollectedError, match="the entries 6 to"):
            reader.read(5)
        after = writer.first() - 1
        assert numbers(reader, after) == list(range(after + 1, writer.head() + 1))

    def test_a_writer_that_fell_behind(self, store: Store) -> None:
        writer, late = open_(store), open_(store)
        fill(writer, 5)
        assert len(late.read(0)) == 5
        for _ in range(3):
            self.fill(writer)
            writer.collect(writer.head() - 1)
        head = writer.head()
        assert late.append(write(6), expect=5, at_us=0) == Conflict(head)
        with pytest.raises(CollectedError, match="the entries 6 to"):
            late.read(5)
        assert open_(store).head() == head
        assert numbers(open_(store), head - 1) == [head]


def test_which_journal_for_which_store(tmp_path: Path) -> None:
    assert isinstance(open_(LocalStore(tmp_path)), LocalJournal)
    assert isinstance(open_(inject(LocalStore(tmp_path), None)), LocalJournal)
    assert isinstance(open_(MemoryStore()), ObjectJournal)


def test_each_reads_what_the_other_wrote(tmp_path: Path) -> None:
    local, memory = LocalStore(tmp_path), MemoryStore()
    for source, target in ((local, memory), (memory, local)):
        namespace = source.root[:4]
        journal = open_(source, namespace)
        fill(journal, 12)
        journal.append(Flush(12, Format.NATIVE, 1), expect=12, at_us=0)
        for info in source.list(f"_parquedb/{namespace}"):
            target.replace(info.key, source.get(info.key))
        copy = open_(target, namespace)
        assert copy.id == journal.id
        assert copy.read(0) == journal.read(0)
        fill(copy, 12)
        assert numbers(open_(target, namespace)) == list(range(1, 26))


def test_an_object_journal_on_a_disk(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    journal = ObjectJournal(store, "users", State(Format.NATIVE), ambient=SYSTEM)
    fill(journal, 12)
    assert len(open_(store).read(0)) == 12


def append_many(root: str, who: int, count: int) -> None:
    """Append to a journal in a process of its own, in turn with others."""
    journal = open_(LocalStore(root, durable=False))
    known = done = 0

    def append() -> None:
        nonlocal known, done
        known += len(journal.read(known))
        body = Write({f"{who}/{done}": None})
        if isinstance(journal.append(body, expect=known, at_us=done), Committed):
            known, done = known + 1, done + 1

    while done < count:
        if done % 2:
            journal.exclusively(append)
        else:
            append()


def test_two_processes_and_a_reader(tmp_path: Path) -> None:
    root = str(tmp_path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(root, who, 2000)) for who in range(2)]
    for worker in workers:
        worker.start()
    reader = open_(LocalStore(root))
    seen = []
    deadline = time.monotonic() + 120
    while len(seen) < 4000 and time.monotonic() < deadline:
        seen += reader.read(len(seen))
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [entry.number for entry in seen] == list(range(1, 4001))
    assert open_(LocalStore(root)).read(0) == seen
    ids = [next(iter(entry.body.documents)) for entry in seen if isinstance(entry.body, Write)]
    for who in range(2):
        assert [id_ for id_ in ids if id_.startswith(f"{who}/")] == [
            f"{who}/{n}" for n in range(2000)
        ]
