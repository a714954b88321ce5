"""Databases of every backend on every store, to be opened as often as a test likes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parquedb.db import DB
from parquedb.storage.memory import MemoryStore
from parquedb.storage.open import open_store

BACKENDS = ("native", "iceberg", "delta")
STORES = ("local", "memory")


@dataclass
class Place:
    """Where a database is.

    Args:
        backend: Its backend's name.
        storage: Its storage.
    """

    backend: str
    storage: str | MemoryStore
    _stack: ExitStack = field(default_factory=ExitStack)

    def open(self, **options: Any) -> DB:
        """Open the database; it is closed at the end of the test if not before."""
        db = DB(self.storage, **{"backend": self.backend, **options})
        self._stack.callback(db.close)
        return db

    def files(self) -> dict[str, bytes]:
        """Return what is stored, by key; lock files do not count."""
        store = open_store(self.storage)
        infos = {info.key for info in store.list("")} | _hidden(self.storage)
        return {key: store.get(key) for key in sorted(infos) if not key.endswith(".lock")}

    def close(self) -> None:
        self._stack.close()


def _hidden(storage: str | MemoryStore) -> set[str]:
    if not isinstance(storage, str) or storage.startswith("memory:"):
        return set()
    root = Path(storage)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def place(backend: str, store: str, folder: Path) -> Place:
    """Return a new place for a database."""
    if store == "memory":
        return Place(backend, f"memory://{uuid.uuid4().hex}")
    return Place(backend, str(folder))


def moment() -> datetime:
    """Return a time that nothing else happens in the milliseconds around."""
    time.sleep(0.003)
    now = datetime.now(UTC)
    time.sleep(0.003)
    return now


def fields_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what the database itself sets."""
    own = {"$id", "$type", "createdAt", "updatedAt", "deletedAt", "version"}
    own |= {"createdBy", "updatedBy", "deletedBy"}
    return {key: value for key, value in document.items() if key not in own}


def states(db: DB, name: str = "users") -> Iterator[str]:
    """Yield what the database is like: as it was written, flushed, and compacted."""
    yield "in the tail"
    db.flush(name)
    yield "flushed"
    db.compact(name)
    yield "compacted"


__all__ = ["BACKENDS", "STORES", "Place", "fields_of", "moment", "place", "states"]
