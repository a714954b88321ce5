"""From a storage URI or path to its store."""

from __future__ import annotations

import os

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.storage.keys import has_scheme, local_path_of
from parquedb.storage.local import LocalStore
from parquedb.storage.store import Store


def open_store(storage: str | os.PathLike[str] | Store) -> Store:
    """Open the store that a URI, a local path or a store itself names.

    Args:
        storage: ``./lake``, ``/srv/lake``, ``file:///srv/lake``, ``memory://name``, or a store.
            Taken literally: ``%20`` is three characters, not a space.

    Raises:
        InvalidInputError: A ``file:`` URI names another host or no absolute path.
        UnsupportedError: The URI's scheme is not known.
        StorageError: The path exists and is no folder.
    """
    if not isinstance(storage, str | os.PathLike):
        if not hasattr(storage, "get_range"):
            raise InvalidInputError(
                f"storage is a folder, a URI such as 'memory://name' or a store, not {storage!r}"
            )
        return storage
    text = os.fspath(storage)
    if text.startswith("memory:"):
        from parquedb.storage.memory import MemoryStore  # noqa: PLC0415

        return MemoryStore.named(text.removeprefix("memory:").strip("/"))
    if text.startswith("file:"):
        path = local_path_of(text)
        if path is None:
            raise InvalidInputError(
                f"storage {text!r} is not an absolute path of this machine; write it as "
                "file:///srv/lake, or as a plain path"
            )
        return LocalStore(path)
    if has_scheme(text) and "://" in text:
        scheme = text.split(":", 1)[0]
        raise UnsupportedError(
            f"storage {text!r}: the scheme {scheme!r} is not supported; "
            "use a local path, file:// or memory://"
        )
    return LocalStore(text)
