"""Stores around other stores, with exactly the abilities of the one inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, TypeVar, cast

from parquedb.storage.store import (
    AppendFile,
    Appends,
    HardLinks,
    Leftovers,
    LocalPaths,
    NewObject,
    ObjectInfo,
    Renames,
    SettableTimes,
    Store,
    StoreLock,
)


class Wrapper:
    """A store that hands everything on to another one.

    Args:
        store: The store inside.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store!r})"

    @property
    def root(self) -> str:
        """The root of the store inside."""
        return self._store.root

    def head(self, key: str) -> ObjectInfo | None:
        """Hand on."""
        self._asked("head")
        return self._store.head(key)

    def get(self, key: str) -> bytes:
        """Hand on."""
        self._asked("get")
        return self._store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Hand on."""
        self._asked("get_range")
        return self._store.get_range(key, start, length)

    def open_read(self, key: str) -> BinaryIO:
        """Hand on."""
        self._asked("open_read")
        return self._store.open_read(key)

    def create(self, item: NewObject) -> None:
        """Hand on."""
        self._asked("create")
        self._store.create(item)

    def create_many(self, items: Sequence[NewObject]) -> int:
        """Hand on."""
        self._asked("create_many")
        return self._store.create_many(items)

    def put_many(self, items: Sequence[NewObject]) -> None:
        """Hand on."""
        self._asked("put_many")
        self._store.put_many(items)

    def replace(self, key: str, data: bytes) -> None:
        """Hand on."""
        self._asked("replace")
        self._store.replace(key, data)

    def open_create(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Hand on."""
        self._asked("open_create")
        return self._store.open_create(key)

    def copy_many(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Hand on."""
        self._asked("copy_many")
        self._store.copy_many(pairs)

    def delete(self, key: str) -> None:
        """Hand on."""
        self._asked("delete")
        self._store.delete(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Hand on."""
        self._asked("list")
        return self._store.list(prefix)

    def list_dir(self, prefix: str) -> tuple[Sequence[ObjectInfo], Sequence[str]]:
        """Hand on."""
        self._asked("list_dir")
        return self._store.list_dir(prefix)

    def _asked(self, method: str) -> None:
        """See every call before it is handed on."""

    def _link_many(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Hand on; what :class:`_Links` calls, so that a wrapper can take part."""
        self._asked("link_many")
        return cast("HardLinks", self._store).link_many(pairs)

    def _rename(self, source: str, target: str) -> None:
        """Hand on; what :class:`_Renaming` calls."""
        self._asked("rename")
        cast("Renames", self._store).rename(source, target)

    def _open_append(self, key: str) -> AppendFile:
        """Hand on; what :class:`_Appending` calls."""
        self._asked("open_append")
        return cast("Appends", self._store).open_append(key)


class _Links(Wrapper):
    def link_many(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Hand on."""
        return self._link_many(pairs)

    def same_object(self, a: str, b: str) -> bool:
        """Hand on."""
        self._asked("same_object")
        return cast("HardLinks", self._store).same_object(a, b)


class _Times(Wrapper):
    sets_modified_at = True


class _Paths(Wrapper):
    def local_path(self, key: str) -> str:
        """Hand on."""
        self._asked("local_path")
        return cast("LocalPaths", self._store).local_path(key)


class _Renaming(Wrapper):
    def rename(self, source: str, target: str) -> None:
        """Hand on."""
        self._rename(source, target)


class _Leaving(Wrapper):
    def list_leftovers(self, prefix: str) -> Iterator[ObjectInfo]:
        """Hand on."""
        self._asked("list_leftovers")
        return cast("Leftovers", self._store).list_leftovers(prefix)

    def touched_at_us(self, key: str) -> int | None:
        """Hand on."""
        self._asked("touched_at_us")
        return cast("Leftovers", self._store).touched_at_us(key)


class _Appending(Wrapper):
    def open_append(self, key: str) -> AppendFile:
        """Hand on."""
        return self._open_append(key)

    def exists(self, key: str) -> bool:
        """Hand on."""
        self._asked("exists")
        return cast("Appends", self._store).exists(key)

    def lock(self, prefix: str) -> StoreLock:
        """Hand on."""
        self._asked("lock")
        return cast("Appends", self._store).lock(prefix)


class WrappedFile:
    """A file that hands everything on to another one.

    Args:
        file: The file inside.
        asked: Called with the method's name before it is handed on.
    """

    def __init__(self, file: AppendFile, asked: Callable[[str], None]) -> None:
        self._file = file
        self._asked = asked

    def size(self) -> int | None:
        """Hand on."""
        self._asked("size")
        return self._file.size()

    def is_in_place(self) -> bool:
        """Hand on."""
        self._asked("is_in_place")
        return self._file.is_in_place()

    def read(self, start: int) -> bytes:
        """Hand on."""
        self._asked("read")
        return self._file.read(start)

    def read_at(self, start: int, length: int) -> bytes:
        """Hand on."""
        self._asked("read_at")
        return self._file.read_at(start, length)

    def append(self, data: bytes) -> None:
        """Hand on."""
        self._asked("append")
        self._file.append(data)

    def is_blank(self, start: int, end: int) -> bool:
        """Hand on."""
        self._asked("is_blank")
        return self._file.is_blank(start, end)

    def overwrite(self, start: int, data: bytes) -> bool:
        """Hand on."""
        self._asked("overwrite")
        return self._file.overwrite(start, data)

    def truncate(self, size_bytes: int) -> None:
        """Hand on."""
        self._asked("truncate")
        self._file.truncate(size_bytes)

    def sync(self) -> None:
        """Hand on."""
        self._asked("sync")
        self._file.sync()

    def close(self) -> None:
        """Hand on."""
        self._file.close()


WrapperT = TypeVar("WrapperT", bound=Wrapper)


def wrap(kind: type[WrapperT], store: Store, *arguments: Any) -> WrapperT:
    """Make a wrapper that has exactly the optional abilities of the store inside.

    Args:
        kind: The wrapper's class.
        store: The store inside.
        arguments: What the class takes besides.
    """
    abilities: tuple[type[Wrapper], ...] = ()
    if isinstance(store, HardLinks):
        abilities += (_Links,)
    if isinstance(store, SettableTimes) and store.sets_modified_at:
        abilities += (_Times,)
    if isinstance(store, LocalPaths):
        abilities += (_Paths,)
    if isinstance(store, Renames):
        abilities += (_Renaming,)
    if isinstance(store, Leftovers):
        abilities += (_Leaving,)
    if isinstance(store, Appends):
        abilities += (_Appending,)
    return cast("WrapperT", type(kind.__name__, (kind, *abilities), {})(store, *arguments))
