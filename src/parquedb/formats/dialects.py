"""The three dialects, side by side: how to open a namespace's table in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parquedb.ambient import Ambient
from parquedb.formats.delta import features as delta_features
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.reader import exists as delta_exists
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.formats.iceberg import features as iceberg_features
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.reader import exists as iceberg_exists
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.formats.native import features as native_features
from parquedb.formats.native.paths import find_layout
from parquedb.formats.native.reader import NativeReader
from parquedb.formats.native.writer import NativeWriter
from parquedb.log.feature import Feature, TypeFit
from parquedb.log.ports import LogReader, LogWriter
from parquedb.model.format import Format
from parquedb.model.types import Type
from parquedb.storage.store import Store

Owned = frozenset[str] | None
"""Keys in a native folder that other formats' tables refer to; None if all of it is theirs."""

NOTHING_OWNED: Owned = frozenset()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one format's tables are found, read and written.

    Args:
        exists: Whether a folder holds a table: ``(store, folder, owned)``. ``owned`` are the keys
            that other formats' tables in the same folder reference; only native asks.
        open_reader: Open the table in a folder: ``(store, folder, owned)``.
        open_writer: Make a writer for a folder.
        fit_type: How a type is stored in this format.
        features: Its features.
    """

    exists: Callable[[Store, str, Owned], bool]
    open_reader: Callable[[Store, str, Owned], LogReader]
    open_writer: Callable[[Store, str, Ambient], LogWriter]
    fit_type: Callable[[Type], TypeFit]
    features: tuple[Feature, ...]


DIALECTS: Mapping[Format, Dialect] = {
    Format.NATIVE: Dialect(
        lambda store, folder, owned: find_layout(store, folder, owned=owned) is not None,
        lambda store, folder, owned: NativeReader(store, folder, owned=owned),
        lambda store, folder, ambient: NativeWriter(store, folder, ambient=ambient),
        native_features.fit_type,
        native_features.FEATURES,
    ),
    Format.ICEBERG: Dialect(
        lambda store, folder, _: iceberg_exists(store, folder),
        lambda store, folder, _: IcebergReader(store, folder),
        lambda store, folder, ambient: IcebergWriter(store, folder, ambient=ambient),
        iceberg_features.fit_type,
        iceberg_features.FEATURES,
    ),
    Format.DELTA: Dialect(
        lambda store, folder, _: delta_exists(store, folder),
        lambda store, folder, _: DeltaReader(store, folder),
        lambda store, folder, ambient: DeltaWriter(store, folder, ambient=ambient),
        delta_features.fit_type,
        delta_features.FEATURES,
    ),
}
