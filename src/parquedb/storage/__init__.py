"""Stores: where the bytes are."""

from parquedb.storage.open import open_store
from parquedb.storage.store import (
    AppendFile,
    Appends,
    HardLinks,
    LocalPaths,
    NewObject,
    ObjectInfo,
    Renames,
    SettableTimes,
    Store,
    StoreLock,
)

__all__ = [
    "AppendFile",
    "Appends",
    "HardLinks",
    "LocalPaths",
    "NewObject",
    "ObjectInfo",
    "Renames",
    "SettableTimes",
    "Store",
    "StoreLock",
    "open_store",
]
