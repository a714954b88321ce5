from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parquedb.errors import CommitUnknownError, StorageError
from parquedb.storage import HardLinks, NewObject, Store
from parquedb.storage.faults import Fault, FaultKind, FaultStore, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

ITEMS = [NewObject(key, key.encode()) for key in "abcd"]
EVERY = ["a", "b", "c", "d"]
BATCHES: list[Callable[[Store], object]] = [
    lambda store: store.create_many(ITEMS),
    lambda store: store.put_many(ITEMS),
    lambda store: [store.create(item) for item in ITEMS],
    lambda store: [store.replace(item.key, item.data) for item in ITEMS],
]


def keys(store: Store) -> list[str]:
    return [info.key for info in store.list("")]


def test_without_a_fault_operations_are_counted() -> None:
    store = inject(MemoryStore(), None)
    store.create_many(ITEMS)
    store.copy_many([("a", "e"), ("b", "f")])
    store.delete("a")
    store.get("b")
    with store.open_create("g") as file:
        file.write(b"")
    assert store.operations == 8
    assert store.log[4:] == [("copy", "e"), ("copy", "f"), ("delete", "a"), ("open_create", "g")]


@pytest.mark.parametrize("write", BATCHES)
@pytest.mark.parametrize("at", range(4))
def test_crashes_at_every_object_of_a_batch(write: Callable[[Store], object], at: int) -> None:
    for kind, left in ((FaultKind.CRASH_BEFORE, at), (FaultKind.CRASH_AFTER, at + 1)):
        inner = MemoryStore()
        store = inject(inner, Fault(at, kind))
        with pytest.raises(SimulatedCrashError, match=f"of '{EVERY[at]}'"):
            write(store)
        assert keys(inner) == EVERY[:left]


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER])
def test_nothing_happens_after_a_crash(kind: FaultKind, tmp_path: Path) -> None:
    inner = LocalStore(tmp_path)
    store = inject(inner, Fault(0, kind))
    with pytest.raises(SimulatedCrashError):
        store.replace("a", b"")
    before = keys(inner)
    assert isinstance(store, HardLinks)
    for call in (
        lambda: store.delete("a"),
        lambda: store.get("a"),
        lambda: store.list(""),
        lambda: store.create_many(ITEMS),
        lambda: store.link_many([("a", "b")]),
        lambda: store.open_create("x").__enter__(),
    ):
        with pytest.raises(SimulatedCrashError):
            call()
    assert keys(inner) == before
    assert not issubclass(SimulatedCrashError, Exception)


def test_a_crash_at_the_end_of_a_stream() -> None:
    for kind, left in ((FaultKind.CRASH_BEFORE, []), (FaultKind.CRASH_AFTER, ["a"])):
        inner = MemoryStore()
        store = inject(inner, Fault(0, kind))
        with pytest.raises(SimulatedCrashError), store.open_create("a") as file:
            file.write(b"x")
        assert keys(inner) == left


def test_lost_replies() -> None:
    inner = MemoryStore()
    store = inject(inner, Fault(1, FaultKind.LOST_REPLY))
    store.create(ITEMS[0])
    with pytest.raises(CommitUnknownError, match="before the reply"):
        store.create(ITEMS[1])
    store.create(ITEMS[2])  # the process lives
    assert keys(inner) == ["a", "b", "c"]
    store = inject(inner, Fault(0, FaultKind.LOST_REPLY))
    with pytest.raises(StorageError, match="before the reply"):
        store.delete("a")
    assert keys(inner) == ["b", "c"]


def test_no_space_stays_until_something_is_deleted_by_the_test() -> None:
    inner = MemoryStore()
    store = inject(inner, Fault(2, FaultKind.NO_SPACE))
    with pytest.raises(StorageError, match="No space left"):
        store.put_many(ITEMS)
    with pytest.raises(StorageError, match="No space left"):
        store.replace("a", b"")
    store.delete("a")
    assert store.get("b") == b"b"
    assert keys(inner) == ["b"]


class _LinksOnce(LocalStore):
    """A disk on which the second name of ``b`` cannot be made."""

    def link_many(self, pairs):  # type: ignore[no-untyped-def]
        return pairs[0][0] != "b" and super().link_many(pairs)


def test_links_that_cannot_be_made_leave_nothing(tmp_path: Path) -> None:
    inner = _LinksOnce(tmp_path)
    inner.put_many(ITEMS[:2])
    store = inject(inner, None)
    assert isinstance(store, FaultStore)
    assert isinstance(store, HardLinks)
    assert store.link_many([("a", "x")])
    assert not store.link_many([("a", "x"), ("a", "y"), ("b", "z")])
    assert keys(inner) == ["a", "b", "x"]
