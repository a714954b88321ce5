"""What interrupted writes leave behind, and when a file got its name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from parquedb.storage import NewObject
from parquedb.storage.counting import count
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import Leftovers


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_temporary_files_are_left_over(store: LocalStore, tmp_path: Path) -> None:
    store.create(NewObject("a/b/kept", b"x"))
    assert list(store.list_leftovers("a")) == []
    (tmp_path / "a" / ".pqdb-tmp-1").write_bytes(b"123")
    (tmp_path / "a" / "b" / ".pqdb-tmp-2").write_bytes(b"1")
    (tmp_path / ".pqdb-tmp-3").write_bytes(b"")
    found = {info.key: info.size_bytes for info in store.list_leftovers("a")}
    assert found == {"a/.pqdb-tmp-1": 3, "a/b/.pqdb-tmp-2": 1}
    assert {info.key for info in store.list_leftovers("")} == {*found, ".pqdb-tmp-3"}
    assert list(store.list_leftovers("nothing")) == []
    assert [info.key for info in store.list("")] == ["a/b/kept"]
    store.delete("a/b/.pqdb-tmp-2")
    assert {info.key for info in store.list_leftovers("a")} == {"a/.pqdb-tmp-1"}


def test_an_unfinished_stream_is_left_over(store: LocalStore) -> None:
    with store.open_create("a/x") as file:
        file.write(b"some")
        assert len(list(store.list_leftovers("a"))) == 1
    assert list(store.list_leftovers("a")) == []


def test_when_a_file_was_touched(store: LocalStore, tmp_path: Path) -> None:
    before = time.time_ns() // 1000 - 2_000_000
    (tmp_path / "old").write_bytes(b"x")
    os.utime(tmp_path / "old", (1, 1))
    os.link(tmp_path / "old", tmp_path / "linked")
    (tmp_path / "pointer").symlink_to(tmp_path / "old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "x").write_bytes(b"x")
    for key in ("old", "linked", "folder/x"):
        touched = store.touched_at_us(key)
        assert touched is not None
        assert touched > before
    for key in ("pointer", "there/x", "nothing", "old/nothing"):
        assert store.touched_at_us(key) is None


def test_wrappers_hand_it_on(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / ".pqdb-tmp-1").write_bytes(b"")
    wrapped = count(store)
    assert isinstance(wrapped, Leftovers)
    assert len(list(wrapped.list_leftovers(""))) == 1
    assert wrapped.touched_at_us("nothing") is None
    assert wrapped.counts.calls == {"list_leftovers": 1, "touched_at_us": 1}
    assert not isinstance(count(MemoryStore()), Leftovers)
