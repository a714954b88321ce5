"""Which metadata file of a folder is the table's current one, and its content."""

from __future__ import annotations

from parquedb.errors import NotFoundError, StateError
from parquedb.formats.iceberg.paths import MetadataName, list_metadata, metadata_folder
from parquedb.formats.iceberg.wire import TableMetadata, parse_metadata
from parquedb.slotted import dataclass
from parquedb.storage.keys import uri_of
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class Loaded:
    """A table's current metadata file.

    Args:
        name: The file.
        location: Its full URI.
        table: Its content.
        size_bytes: Its length.
        others: All metadata files of the folder, the current one among them.
    """

    name: MetadataName
    location: str
    table: TableMetadata
    size_bytes: int
    others: tuple[MetadataName, ...]


def load(store: Store, folder: str) -> Loaded | None:
    """Read a table's current metadata, None if the folder holds no table.

    The highest number wins in each style; where both styles are present, the file that was
    written later. The version hint is not trusted: it may be stale.

    Raises:
        StateError: Only a catalog can tell which file is current.
        FormatError: The current file does not follow the specification.
        UnsupportedError: It is of a format version that cannot be read.
    """
    names = list_metadata(store, folder)
    candidates = []
    for catalog in (False, True):
        style = [name for name in names if name.catalog is catalog]
        if style:
            candidates.append(_read(store, _highest(style, folder), tuple(names)))
    if not candidates:
        return None
    if len(candidates) == 1:
        return candidates[0]
    return _later(*candidates, folder=folder)


def load_existing(store: Store, folder: str) -> Loaded:
    """Read a table's current metadata.

    Raises:
        NotFoundError: The folder holds no Iceberg table.
        StateError: Only a catalog can tell which file is current.
        FormatError: The current file does not follow the specification.
        UnsupportedError: It is of a format version that cannot be read.
    """
    loaded = load(store, folder)
    if loaded is None:
        raise NotFoundError(
            f"there is no Iceberg table in {uri_of(store.root, folder)!r}: no metadata file in "
            f"{metadata_folder(folder)!r}"
        )
    return loaded


def _read(store: Store, name: MetadataName, others: tuple[MetadataName, ...]) -> Loaded:
    data = store.get(name.key)
    location = uri_of(store.root, name.key)
    return Loaded(name, location, parse_metadata(data, location), len(data), others)


def _highest(names: list[MetadataName], folder: str) -> MetadataName:
    number = max(name.number for name in names)
    highest = sorted(name.key for name in names if name.number == number)
    if len(highest) > 1:
        raise _ambiguous(folder, highest)
    return next(name for name in names if name.number == number)


def _later(numbered: Loaded, named: Loaded, *, folder: str) -> Loaded:
    """Choose between a file of either style."""
    for one, other in ((numbered, named), (named, numbered)):
        if any(file.endswith(other.name.key) for _, file in one.table.metadata_log):
            return one
    if numbered.table.last_updated_ms == named.table.last_updated_ms:
        raise _ambiguous(folder, [numbered.name.key, named.name.key])
    return max(numbered, named, key=lambda loaded: loaded.table.last_updated_ms)


def _ambiguous(folder: str, keys: list[str]) -> StateError:
    return StateError(
        f"the Iceberg table {folder!r} has more than one newest metadata file: "
        f"{' and '.join(keys)}; only the table's catalog knows which one is current: move the "
        "other one out of the folder"
    )
