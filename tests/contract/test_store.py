"""What every store must do. A new store joins by a line in ``STORES``."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from parquedb.storage import HardLinks, LocalPaths, NewObject, SettableTimes, Store
from parquedb.storage.counting import count
from parquedb.storage.faults import inject
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

STORES: dict[str, Callable[[Path], Store]] = {
    "local": lambda path: LocalStore(path / "root"),
    "local, not durable": lambda path: LocalStore(path / "root", durable=False),
    "memory": lambda _: MemoryStore(),
    "counted local": lambda path: count(LocalStore(path / "root")),
    "counted memory": lambda _: count(MemoryStore()),
    "faulty local": lambda path: inject(LocalStore(path / "root"), None),
    "faulty memory": lambda _: inject(MemoryStore(), None),
}
STRANGE = [
    "a b",
    "50%",
    "a%20b",
    "#1",
    "k=v",
    "x:y",
    "naïve",
    "日本",
    "q?",
    "'",
    '"',
    "~",
    "+",
    "-",
]
BAD = ["", "/", "/abs", "a//b", "a/", "/a/", ".", "..", "a/..", "../a", "a/./b"]
BAD += ["a\0", "a\nb", "a\\b"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return STORES[request.param](tmp_path)


def put(store: Store, **objects: bytes) -> None:
    store.put_many([NewObject(key.replace("__", "/"), data) for key, data in objects.items()])


def keys(store: Store, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


class TestCreate:
    def test_creates_once(self, store: Store) -> None:
        store.create(NewObject("a/b", b"one"))
        with pytest.raises(AlreadyExistsError, match="a/b"):
            store.create(NewObject("a/b", b"two"))
        assert store.get("a/b") == b"one"

    def test_one_of_many_threads_wins(self, store: Store) -> None:
        winners: dict[str, list[int]] = {f"log/{n:020}": [] for n in range(20)}
        start = threading.Barrier(8)

        def compete(who: int) -> None:
            start.wait()
            for key, won in winners.items():
                try:
                    store.create(NewObject(key, str(who).encode() * 1000))
                except AlreadyExistsError:
                    continue
                won.append(who)

        threads = [threading.Thread(target=compete, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for key, won in winners.items():
            assert len(won) == 1
            assert store.get(key) == str(won[0]).encode() * 1000

    def test_many_in_order(self, store: Store) -> None:
        items = [NewObject(f"log/{n:020}", b"%d" % n) for n in range(1100)]
        assert store.create_many(items) == 1100
        assert keys(store, "log") == [item.key for item in items]

    @pytest.mark.parametrize("taken", [0, 3, 511, 512, 700])
    def test_many_stop_at_the_first_that_exists(self, store: Store, taken: int) -> None:
        items = [NewObject(f"log/{n:020}", b"mine") for n in range(800)]
        store.create(NewObject(items[taken].key, b"theirs"))
        assert store.create_many(items) == taken
        assert keys(store, "log") == [item.key for item in items[: taken + 1]]
        assert store.get(items[taken].key) == b"theirs"

    def test_none(self, store: Store) -> None:
        assert store.create_many([]) == 0
        store.put_many([])
        store.copy_many([])
        assert keys(store) == []

    def test_empty_object(self, store: Store) -> None:
        store.create(NewObject("empty", b""))
        assert store.get("empty") == b""
        info = store.head("empty")
        assert info is not None
        assert info.size_bytes == 0


class TestWrite:
    def test_put_replaces(self, store: Store) -> None:
        put(store, a=b"one", b=b"two")
        put(store, a=b"three")
        assert (store.get("a"), store.get("b")) == (b"three", b"two")

    def test_replace(self, store: Store) -> None:
        store.replace("hint", b"1")
        before = store.head("hint")
        store.replace("hint", b"2")
        assert store.get("hint") == b"2"
        assert before != store.head("hint")

    def test_readers_see_old_or_new(self, store: Store) -> None:
        stop = threading.Event()
        seen: set[bytes] = set()
        store.replace("hint", b"a" * 10_000)

        def read() -> None:
            while not stop.is_set():
                seen.add(store.get("hint"))

        reader = threading.Thread(target=read)
        reader.start()
        for letter in (b"b", b"c") * 20:
            store.replace("hint", letter * 10_000)
        stop.set()
        reader.join()
        assert seen <= {letter * 10_000 for letter in (b"a", b"b", b"c")}

    def test_stream(self, store: Store) -> None:
        with store.open_create("big") as file:
            file.write(b"x" * 3_000_000)
            assert store.head("big") is None
            file.write(b"y")
        assert store.get_range("big", 2_999_999, 10) == b"xy"

    def test_stream_by_pyarrow(self, store: Store) -> None:
        rows = pa.table({"a": range(1000)})
        with store.open_create("t.parquet") as file:
            pq.write_table(rows, file)
        assert pq.read_table(io.BytesIO(store.get("t.parquet"))).equals(rows)

    def test_stream_over_an_existing_object(self, store: Store) -> None:
        put(store, a=b"one")
        with pytest.raises(AlreadyExistsError, match="a"), store.open_create("a") as file:
            file.write(b"two")
        assert store.get("a") == b"one"
        assert keys(store) == ["a"]

    @pytest.mark.parametrize(
        "error", [ValueError("mine"), FileExistsError("mine"), FileNotFoundError(2, "mine")]
    )
    def test_stream_cut_short_by_its_writer(self, store: Store, error: Exception) -> None:
        def write_half() -> None:
            with store.open_create("a") as file:
                file.write(b"half")
                raise error

        with pytest.raises(type(error), match="mine"):
            write_half()
        assert store.head("a") is None
        assert keys(store) == []
        store.create(NewObject("a", b"whole"))

    def test_copy(self, store: Store) -> None:
        put(store, a=b"one", b=b"two" * 100_000, x=b"old")
        store.copy_many([("a", "d/a"), ("b", "b2"), ("a", "x")])
        assert (store.get("d/a"), store.get("b2"), store.get("x")) == (
            b"one",
            b"two" * 100_000,
            b"one",
        )
        store.replace("a", b"changed")
        assert store.get("d/a") == b"one"

    def test_copy_of_nothing(self, store: Store) -> None:
        with pytest.raises(NotFoundError, match="nothing"):
            store.copy_many([("nothing", "a")])
        assert keys(store) == []

    def test_delete(self, store: Store) -> None:
        put(store, a__b__c=b"", a__d=b"")
        store.delete("a/b/c")
        store.delete("a/b/c")
        store.delete("never/was")
        store.delete("a/d/below a file")
        assert keys(store) == ["a/d"]
        assert store.list_dir("a")[1] == []
        store.delete("a/d")
        assert store.list_dir("") == ([], [])

    def test_writers_and_deleters_of_one_folder(self, store: Store) -> None:
        """The last delete removes the folder; a writer in it must not notice."""
        failures: list[BaseException] = []

        def churn(who: int) -> None:
            try:
                for n in range(150):
                    store.create(NewObject(f"deep/folder/{who}-{n}", b"x"))
                    store.delete(f"deep/folder/{who}-{n}")
            except BaseException as error:  # noqa: BLE001  (handed to the main thread)
                failures.append(error)

        threads = [threading.Thread(target=churn, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert keys(store) == []


class TestRead:
    def test_ranges(self, store: Store) -> None:
        put(store, a=bytes(range(100)))
        assert store.get_range("a", 10, 5) == bytes(range(10, 15))
        assert store.get_range("a", 95, 50) == bytes(range(95, 100))
        assert store.get_range("a", 100, 1) == b""
        assert store.get_range("a", 3, 0) == b""

    def test_file(self, store: Store) -> None:
        put(store, a=b"0123456789")
        with store.open_read("a") as file:
            assert file.read(3) == b"012"
            file.seek(-2, io.SEEK_END)
            assert file.tell() == 8
            assert file.read() == b"89"
            assert file.read() == b""
            assert file.seekable()

    def test_file_by_pyarrow(self, store: Store) -> None:
        rows = pa.table({"a": range(1000), "b": ["x"] * 1000})
        with store.open_create("t.parquet") as file:
            pq.write_table(rows, file)
        with store.open_read("t.parquet") as file:
            assert pq.ParquetFile(file).read(columns=["a"]).num_rows == 1000

    @pytest.mark.parametrize("key", ["nothing", "folder", "folder/file/below", "no/folder"])
    def test_missing(self, store: Store, key: str) -> None:
        put(store, folder__file=b"")
        assert store.head(key) is None
        for read in (store.get, store.open_read, lambda k: store.get_range(k, 0, 1)):
            with pytest.raises(NotFoundError, match=key):
                read(key)

    def test_head(self, store: Store) -> None:
        put(store, a__b=b"12345")
        info = store.head("a/b")
        assert info is not None
        assert (info.key, info.size_bytes) == ("a/b", 5)
        assert abs(info.modified_at_us / 1e6 - time.time()) < 60
        assert list(store.list("a")) == [info]
        assert store.list_dir("a") == ([info], [])

    def test_root(self, store: Store) -> None:
        assert "://" in store.root
        assert not store.root.endswith("/")


class TestList:
    def test_by_key(self, store: Store) -> None:
        names = ["a.x", "a/b", "a0", "b/c/d", "b/c.d", "b/c/a", "b-"]
        store.put_many([NewObject(name, b"") for name in names])
        assert keys(store) == sorted(names)
        assert keys(store, "b") == ["b/c.d", "b/c/a", "b/c/d"]
        assert keys(store, "b/c") == ["b/c/a", "b/c/d"]

    def test_nothing(self, store: Store) -> None:
        put(store, a__b=b"")
        for prefix in ("x", "a/b", "a/b/c", "a/x"):
            assert keys(store, prefix) == []
            assert store.list_dir(prefix) == ([], [])

    def test_a_prefix_is_a_folder(self, store: Store) -> None:
        put(store, users__a=b"", users2__a=b"")
        assert keys(store, "users") == ["users/a"]

    def test_one_level(self, store: Store) -> None:
        put(store, a__b=b"1", a__c__d=b"", a__c__e=b"", a__0__x=b"", top=b"")
        objects, folders = store.list_dir("a")
        assert [info.key for info in objects] == ["a/b"]
        assert list(folders) == ["0", "c"]
        objects, folders = store.list_dir("")
        assert ([info.key for info in objects], list(folders)) == (["top"], ["a"])

    def test_an_empty_store(self, store: Store) -> None:
        assert keys(store) == []
        assert store.list_dir("") == ([], [])


class TestKeys:
    @pytest.mark.parametrize("name", STRANGE)
    def test_are_literal(self, store: Store, name: str) -> None:
        key = f"{name}/{name}.parquet"
        store.create(NewObject(key, b"x"))
        assert store.get(key) == b"x"
        assert keys(store) == [key]
        assert store.list_dir("")[1] == [name]
        store.delete(key)
        assert keys(store) == []

    @pytest.mark.parametrize("key", BAD)
    def test_stay_in_the_root(self, store: Store, key: str, tmp_path: Path) -> None:
        put(store, a=b"")
        item = NewObject(key, b"")
        attempts: list[Callable[[], object]] = [
            lambda: store.head(key),
            lambda: store.get(key),
            lambda: store.get_range(key, 0, 1),
            lambda: store.open_read(key),
            lambda: store.create(item),
            lambda: store.create_many([item]),
            lambda: store.put_many([item]),
            lambda: store.replace(key, b""),
            lambda: store.open_create(key).__enter__(),
            lambda: store.copy_many([("a", key)]),
            lambda: store.copy_many([(key, "b")]),
            lambda: store.delete(key),
        ]
        if key:  # "" lists all
            attempts += [lambda: list(store.list(key)), lambda: store.list_dir(key)]
        if isinstance(store, HardLinks):
            attempts += [lambda: store.link_many([("a", key)])]
        for attempt in attempts:
            with pytest.raises(InvalidInputError, match="not a key"):
                attempt()
        assert keys(store) == ["a"]
        assert {path.name for path in tmp_path.iterdir()} <= {"root"}


class TestTimes:
    @pytest.mark.parametrize("at_ms", [0, 1, 1_500_000_000_123, -1_000])
    def test_are_set(self, store: Store, at_ms: int) -> None:
        if not isinstance(store, SettableTimes):
            assert type(store).__name__ not in ("LocalStore", "MemoryStore")
            return
        store.create(NewObject("a", b"", modified_at_ms=at_ms))
        assert store.create_many([NewObject("b", b"", modified_at_ms=at_ms)]) == 1
        store.put_many([NewObject("c", b"", modified_at_ms=at_ms)])
        assert {info.modified_at_us for info in store.list("")} == {at_ms * 1000}


class TestLinks:
    def test_two_names_of_the_same_bytes(self, store: Store) -> None:
        if not isinstance(store, HardLinks):
            assert "local" not in store.root  # every local store links
            return
        put(store, a=b"one", b=b"two")
        assert store.link_many([("a", "d/a"), ("b", "b2")])
        assert store.link_many([("a", "d/a")])
        assert store.same_object("a", "d/a")
        assert not store.same_object("a", "b")
        assert not store.same_object("a", "nothing")
        store.delete("a")
        assert store.get("d/a") == b"one"
        assert store.get("b2") == b"two"

    def test_a_taken_name(self, store: Store) -> None:
        if not isinstance(store, HardLinks):
            return
        put(store, a=b"one", b=b"one")
        with pytest.raises(AlreadyExistsError, match="other bytes"):
            store.link_many([("a", "b")])
        with pytest.raises(NotFoundError, match="nothing"):
            store.link_many([("nothing", "c")])


def test_abilities_are_those_of_the_store_inside(tmp_path: Path) -> None:
    local, memory = LocalStore(tmp_path), MemoryStore()
    for wrapped, inside in (
        (count(local), local),
        (count(memory), memory),
        (inject(local, None), local),
        (inject(memory, None), memory),
        (count(inject(local, None)), local),
        (inject(count(memory), None), memory),
    ):
        for ability in (HardLinks, SettableTimes, LocalPaths):
            assert isinstance(wrapped, ability) is isinstance(inside, ability)
