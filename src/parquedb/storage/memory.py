"""A store in the memory of this process, for tests and for databases that need not last."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO, ClassVar

from parquedb.ambient import SYSTEM, Ambient
from parquedb.errors import AlreadyExistsError, NotFoundError
from parquedb.slotted import dataclass
from parquedb.storage.keys import check_key
from parquedb.storage.store import NewObject, ObjectInfo


@dataclass(frozen=True, slots=True)
class _Blob:
    data: bytes
    modified_at_us: int
    serial: int


class MemoryStore:
    """Objects in a dict.

    Args:
        name: Part of the root URI ``memory://name``.
        ambient: Where modification times come from.
    """

    sets_modified_at = True
    _named: ClassVar[dict[str, MemoryStore]] = {}
    _names_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "anonymous", *, ambient: Ambient = SYSTEM) -> None:
        self._name = name
        self._ambient = ambient
        self._blobs: dict[str, _Blob] = {}
        self._lock = threading.Lock()
        self._serial = 0

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return the store of a name, the same one for all callers; a new one for ``""``."""
        if not name:
            return cls()
        with cls._names_lock:
            return cls._named.setdefault(name, cls(name))

    def __repr__(self) -> str:
        return f"MemoryStore({self._name!r})"

    @property
    def root(self) -> str:
        """``memory://`` and the name."""
        return f"memory://{self._name}"

    def head(self, key: str) -> ObjectInfo | None:
        """Return size, modification time and etag of an object, or None."""
        blob = self._blobs.get(check_key(key))
        return None if blob is None else _info(key, blob)

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        try:
            return self._blobs[check_key(key)].data
        except KeyError:
            raise NotFoundError(f"'{self.root}/{key}' does not exist") from None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``."""
        return self.get(key)[start : start + length]

    def open_read(self, key: str) -> BinaryIO:
        """Open an object for reading."""
        return io.BytesIO(self.get(key))

    def create(self, item: NewObject) -> None:
        """Create an object if absent."""
        if self.create_many([item]) == 0:
            raise AlreadyExistsError(f"'{self.root}/{item.key}' exists already")

    def create_many(self, items: Sequence[NewObject]) -> int:
        """Create objects in order until one exists."""
        for index, item in enumerate(items):
            if not self._store(item, overwrite=False):
                return index
        return len(items)

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Write objects under unique keys."""
        for item in items:
            self._store(item, overwrite=True)

    def replace(self, key: str, data: bytes) -> None:
        """Create or overwrite an object."""
        self._store(NewObject(key, data), overwrite=True)

    @contextlib.contextmanager
    def open_create(self, key: str) -> Iterator[BinaryIO]:
        """Gather the bytes and create the object when the context ends well."""
        check_key(key)
        buffer = io.BytesIO()
        yield buffer
        self.create(NewObject(key, buffer.getvalue()))

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Give the same bytes further keys."""
        for source, target in pairs:
            self._store(NewObject(target, self.get(source)), overwrite=True)

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._lock:
            self._blobs.pop(check_key(key), None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix by key."""
        start = f"{check_key(prefix)}/" if prefix else ""
        with self._lock:
            found = [(k, b) for k, b in self._blobs.items() if k.startswith(start)]
        for key, blob in sorted(found, key=lambda item: item[0]):
            yield _info(key, blob)

    def list_dir(self, prefix: str) -> tuple[Sequence[ObjectInfo], Sequence[str]]:
        """List one level below a prefix."""
        start = f"{prefix}/" if prefix else ""
        objects: list[ObjectInfo] = []
        folders: set[str] = set()
        for info in self.list(prefix):
            head, slash, _ = info.key[len(start) :].partition("/")
            if slash:
                folders.add(head)
            else:
                objects.append(info)
        return objects, sorted(folders)

    def rename(self, source: str, target: str) -> None:
        """Give an object another key."""
        check_key(target)
        with self._lock:
            blob = self._blobs.get(check_key(source))
            if blob is None:
                raise NotFoundError(f"'{self.root}/{source}' does not exist")
            self._serial += 1
            del self._blobs[source]
            self._blobs[target] = replace(blob, serial=self._serial)

    def _store(self, item: NewObject, *, overwrite: bool) -> bool:
        check_key(item.key)
        at_us = (
            self._ambient.now_us() if item.modified_at_ms is None else item.modified_at_ms * 1000
        )
        with self._lock:
            if item.key in self._blobs and not overwrite:
                return False
            self._serial += 1
            self._blobs[item.key] = _Blob(bytes(item.data), at_us, self._serial)
        return True


def _info(key: str, blob: _Blob) -> ObjectInfo:
    return ObjectInfo(key, len(blob.data), blob.modified_at_us, f"{blob.serial:x}")
