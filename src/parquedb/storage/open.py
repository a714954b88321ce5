"""From a storage URI or path to its store."""

from __future__ import annotations

import os

from parquedb.errors import UnsupportedError
from parquedb.storage.keys import has_scheme
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import Store


def open_store(storage: str | os.PathLike[str] | Store) -> Store:
    """Open the store that a URI, a local path or a store itself names.

    Args:
        storage: ``./lake``, ``/srv/lake``, ``file:///srv/lake``, ``memory://name``, or a store.

    Raises:
        UnsupportedError: The URI's scheme is not known.
        StorageError: The path exists and is no folder.
    """
    if not isinstance(storage, str | os.PathLike):
        return storage
    text = os.fspath(storage)
    if text.startswith("memory:"):
        return MemoryStore.named(text.removeprefix("memory:").strip("/"))
    if text.startswith("file:"):
        return LocalStore("/" + text.removeprefix("file:").lstrip("/"))
    if has_scheme(text) and "://" in text:
        scheme = text.split(":", 1)[0]
        raise UnsupportedError(
            f"storage {text!r}: the scheme {scheme!r} is not supported; "
            "use a local path, file:// or memory://"
        )
    return LocalStore(text)
