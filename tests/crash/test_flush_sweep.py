"""Collections whose process dies, or whose disk fails, at every single operation of the store.

Whatever was acknowledged is there afterwards, once, and nothing else; another flush works.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.errors import CommitUnknownError, StorageError
from parquedb.namespace import local_journal
from parquedb.storage.faults import Fault, FaultKind, FaultStore, inject
from parquedb.storage.local import LocalStore
from tests.support.databases import BACKENDS
from tests.support.deaths import LIVES, deaths

State = dict[str, tuple[int, bool, int]]
"""For each id its version, whether it is deleted, and its number."""


def steps() -> list[tuple[Callable[[DB], Any], Callable[[State], None]]]:
    """Return what is done to a database, and to a dict."""

    def create(key: str) -> tuple[Callable[[DB], Any], Callable[[State], None]]:
        return (
            lambda db: db.users.create({"$id": key, "n": 0}),
            lambda state: state.update({f"users/{key}": (1, False, 0)}),
        )

    def many(*keys: str) -> tuple[Callable[[DB], Any], Callable[[State], None]]:
        return (
            lambda db: db.users.create_many([{"$id": key, "n": 0, "x": "y"} for key in keys]),
            lambda state: state.update({f"users/{key}": (1, False, 0) for key in keys}),
        )

    def update(key: str) -> tuple[Callable[[DB], Any], Callable[[State], None]]:
        def model(state: State) -> None:
            version, deleted, n = state[f"users/{key}"]
            state[f"users/{key}"] = (version + 1, deleted, n + 1)

        return lambda db: db.users.update(key, {"$inc": {"n": 1}}), model

    def delete(key: str, *, hard: bool) -> tuple[Callable[[DB], Any], Callable[[State], None]]:
        def model(state: State) -> None:
            version, _, n = state.pop(f"users/{key}")
            if not hard:
                state[f"users/{key}"] = (version + 1, True, n)

        return lambda db: db.users.delete(key, hard=hard), model

    def nothing(state: State) -> None:
        pass

    flush = (lambda db: db.flush(), nothing)
    return [
        create("a"),
        many("b", "c"),
        flush,
        update("a"),
        delete("b", hard=False),
        delete("c", hard=True),
        many("s1", "s2", "s3", "s4"),  # staged, and flushed at once
        create("c"),
        update("s2"),
        flush,
        update("a"),
        (lambda db: db.compact(), nothing),
        create("z"),
    ]


def stored(db: DB) -> State:
    found = db.users.find(include_deleted=True).to_list()
    ids = [each.id for each in found]
    assert ids == sorted(set(ids))
    assert db.users.count(include_deleted=True) == len(ids)
    state = {each.id: (each.version, "deletedAt" in each, each.n) for each in found}
    for key, wanted in state.items():
        got = db.users.get(key, include_deleted=True)
        assert (got.version, "deletedAt" in got, got.n) == wanted
    return state


@dataclass
class Told:
    """What the process was told."""

    state: State = field(default_factory=dict)
    maybe: State | None = None

    def run(self, store: FaultStore, backend: str) -> None:
        """Do all steps; a step that is refused is tried once more."""
        with DB(store, backend=backend, flush_bytes=900) as db:
            for do, model in steps():
                for attempt in range(2):
                    self.maybe = copy.deepcopy(self.state)
                    model(self.maybe)
                    try:
                        do(db)
                    except CommitUnknownError:
                        raise
                    except StorageError:
                        assert stored(db) == self.state
                        if attempt:
                            raise
                        continue
                    self.state = self.maybe
                    break
                self.maybe = None


@pytest.fixture(autouse=True)
def _early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "STAGED_FROM", 3)
    monkeypatch.setattr(local_journal, "WORTHWHILE_BYTES", 600)
    monkeypatch.setattr(local_journal, "SEGMENT_BYTES", 1000)


def operations(folder: Path, backend: str) -> int:
    whole = inject(LocalStore(folder, durable=False), None)
    Told().run(whole, backend)
    return whole.operations


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_dies(backend: str, tmp_path: Path) -> None:
    folder, told = tmp_path / "lake", Told()
    folder.mkdir()
    moments = deaths(folder, lambda store: told.run(store, backend), lambda: vars(told))
    for death in moments:
        check(folder, backend, Told(**death.told), death.how)
    assert death.told == {"state": told.state, "maybe": None}


@pytest.mark.parametrize("kind", LIVES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_disk_fails(backend: str, kind: FaultKind, tmp_path: Path) -> None:
    count = operations(tmp_path / "whole", backend)
    assert count > 30
    for at in range(count):
        folder = tmp_path / str(at)
        store = inject(LocalStore(folder, durable=False), Fault(at, kind))
        told = Told()
        try:
            told.run(store, backend)
        except (StorageError, CommitUnknownError) as error:
            how = f"{kind} {at} {store.log[at]}: {error!r}"
        else:
            how = f"{kind} {at} {store.log[at]}"
        check(folder, backend, told, how)


def check(folder: Path, backend: str, told: Told, how: str) -> None:
    """Open what is left as another process would."""
    db = DB(LocalStore(folder, durable=False), backend=backend)
    found = stored(db)
    assert found in (told.state, told.maybe), how
    db.users.create({"$id": "after", "n": 0})
    found["users/after"] = (1, False, 0)
    if "users/a" in found:
        db.users.update("a", {"$inc": {"n": 1}})
        version, deleted, n = found["users/a"]
        found["users/a"] = (version + 1, deleted, n + 1)
    db.flush()
    assert stored(db) == found, how
    db.close()
    with DB(LocalStore(folder, durable=False), backend=backend) as again:
        assert stored(again) == found, how
        assert again.compact()
        assert stored(again) == found, how
