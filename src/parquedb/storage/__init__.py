"""Stores: where the bytes are."""

from parquedb.storage.open import open_store
from parquedb.storage.store import (
    HardLinks,
    LocalPaths,
    NewObject,
    ObjectInfo,
    SettableTimes,
    Store,
)

__all__ = [
    "HardLinks",
    "LocalPaths",
    "NewObject",
    "ObjectInfo",
    "SettableTimes",
    "Store",
    "open_store",
]
