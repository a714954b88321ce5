"""A store that counts what is asked of another one."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, BinaryIO, cast

from parquedb.slotted import dataclass
from parquedb.storage.store import AppendFile, NewObject, Store
from parquedb.storage.wrapping import WrappedFile, Wrapper, wrap

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class Counts:
    """What was asked of a store so far.

    Args:
        calls: Calls by the method's name.
        read_bytes: Bytes read, by key.
        written_bytes: Bytes written, by key; copies and links inside the store write none.
    """

    calls: Counter[str] = field(default_factory=Counter)
    read_bytes: Counter[str] = field(default_factory=Counter)
    written_bytes: Counter[str] = field(default_factory=Counter)

    def total_read_bytes(self, suffix: str = "") -> int:
        """Return the bytes read from objects whose key ends so; from all by default."""
        return sum(size for key, size in self.read_bytes.items() if key.endswith(suffix))

    def total_written_bytes(self, suffix: str = "") -> int:
        """Return the bytes written to objects whose key ends so; to all by default."""
        return sum(size for key, size in self.written_bytes.items() if key.endswith(suffix))


class CountingStore(Wrapper):
    """A store that counts calls and bytes; :func:`count` makes one.

    Bytes read through a file of ``open_read`` are counted when they are read. ``local_path`` is
    counted as a call; what other programs read by the path is not seen.

    Args:
        store: The store inside.
        counts: Where to count.
    """

    def __init__(self, store: Store, counts: Counts) -> None:
        super().__init__(store)
        self.counts = counts

    def get(self, key: str) -> bytes:
        """Count the object's bytes."""
        data = super().get(key)
        self.counts.read_bytes[key] += len(data)
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Count the range's bytes."""
        data = super().get_range(key, start, length)
        self.counts.read_bytes[key] += len(data)
        return data

    def open_read(self, key: str) -> BinaryIO:
        """Count what will be read."""
        file = _CountingReader(super().open_read(key), key, self.counts.read_bytes)
        return cast("BinaryIO", file)

    def create(self, item: NewObject) -> None:
        """Count the bytes of an object that was created."""
        super().create(item)
        self._written([item])

    def create_many(self, items: Sequence[NewObject]) -> int:
        """Count the bytes of the objects that were created."""
        created = super().create_many(items)
        self._written(items[:created])
        return created

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Count the objects' bytes."""
        super().put_many(items)
        self._written(items)

    def replace(self, key: str, data: bytes) -> None:
        """Count the object's bytes."""
        super().replace(key, data)
        self.counts.written_bytes[key] += len(data)

    @contextlib.contextmanager
    def open_create(self, key: str) -> Iterator[BinaryIO]:
        """Count the object's bytes at the end."""
        with super().open_create(key) as file:
            yield file
            size_bytes = file.tell()
        self.counts.written_bytes[key] += size_bytes

    def _open_append(self, key: str) -> AppendFile:
        return _CountingFile(self, super()._open_append(key), key)

    def _asked(self, method: str) -> None:
        self.counts.calls[method] += 1

    def _written(self, items: Sequence[NewObject]) -> None:
        for item in items:
            self.counts.written_bytes[item.key] += len(item.data)


class _CountingFile(WrappedFile):
    """An open file whose bytes are counted for its store."""

    def __init__(self, store: CountingStore, file: AppendFile, key: str) -> None:
        super().__init__(file, store._asked)
        self._counts = store.counts
        self._key = key

    def read(self, start: int) -> bytes:
        data = super().read(start)
        self._counts.read_bytes[self._key] += len(data)
        return data

    def read_at(self, start: int, length: int) -> bytes:
        data = super().read_at(start, length)
        self._counts.read_bytes[self._key] += len(data)
        return data

    def append(self, data: bytes) -> None:
        super().append(data)
        self._counts.written_bytes[self._key] += len(data)

    def overwrite(self, start: int, data: bytes) -> bool:
        done = super().overwrite(start, data)
        self._counts.written_bytes[self._key] += len(data) if done else 0
        return done


class _CountingReader(io.RawIOBase):
    """A file that counts the bytes taken from it; unbuffered, so that no more are taken."""

    def __init__(self, file: BinaryIO, key: str, counter: Counter[str]) -> None:
        super().__init__()
        self._file = file
        self._key = key
        self._counter = counter

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        self._counter[self._key] += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def count(store: Store) -> CountingStore:
    """Wrap a store in one that counts, with the same abilities."""
    return wrap(CountingStore, store, Counts())
