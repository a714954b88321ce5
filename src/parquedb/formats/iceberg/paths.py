"""Names and places of an Iceberg table's metadata files.

Two styles exist. A *file system table* has ``vN.metadata.json`` and ``version-hint.text``
("File System Tables"); a table of a catalog has ``NNNNN-<uuid>.metadata.json`` ("Metastore
Tables"), and only the catalog knows which of them is current.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from parquedb.errors import UnsupportedError
from parquedb.slotted import dataclass
from parquedb.storage.keys import join, key_of
from parquedb.storage.store import Store

VERSION_HINT = "version-hint.text"

_NUMBERED = re.compile(r"v(0|[1-9]\d*)(\.gz)?\.metadata\.json(\.gz)?")
_CATALOG = re.compile(r"(\d{5,})-[0-9A-Za-z-]+(\.gz)?\.metadata\.json(\.gz)?")
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class MetadataName:
    """What the name of a metadata file says.

    Args:
        key: Key of the file.
        number: The version in its name.
        catalog: Whether it is named the way catalogs do.
        suffix: What follows the number in a file system table: ``.metadata.json``, or one of the
            names of compressed files ("Naming for GZIP compressed Metadata JSON files").
    """

    key: str
    number: int
    catalog: bool
    suffix: str

    @property
    def compressed(self) -> bool:
        """Whether the file is compressed by gzip."""
        return ".gz" in self.suffix


def metadata_folder(folder: str) -> str:
    """Return the key of the folder that holds a table's metadata."""
    return join(folder, "metadata")


def parse_metadata_name(folder: str, name: str) -> MetadataName | None:
    """Return what a file name in the metadata folder says, None if it is no metadata file."""
    key = join(metadata_folder(folder), name)
    if match := _NUMBERED.fullmatch(name):
        return MetadataName(key, int(match[1]), catalog=False, suffix=name[1 + len(match[1]) :])
    if match := _CATALOG.fullmatch(name):
        suffix = ".metadata.json"
        if match[2] or match[3]:
            suffix = ".gz.metadata.json" if match[2] else ".metadata.json.gz"
        return MetadataName(key, int(match[1]), catalog=True, suffix=suffix)
    return None


def metadata_names(folder: str, names: Iterable[str]) -> list[MetadataName]:
    """Return the metadata files among names in the metadata folder."""
    parsed = (parse_metadata_name(folder, name) for name in names)
    return [name for name in parsed if name is not None]


def list_metadata(store: Store, folder: str) -> list[MetadataName]:
    """Return the metadata files in a table's folder."""
    objects, _ = store.list_dir(metadata_folder(folder))
    return metadata_names(folder, (item.key.rsplit("/", 1)[-1] for item in objects))


def exists(store: Store, folder: str) -> bool:
    """Whether a folder holds an Iceberg table."""
    return bool(list_metadata(store, folder))


def metadata_key(folder: str, number: int, suffix: str = ".metadata.json") -> str:
    """Return the key of version ``number`` of a file system table's metadata."""
    return join(metadata_folder(folder), f"v{number}{suffix}")


def hint_key(folder: str) -> str:
    """Return the key of the version hint."""
    return join(metadata_folder(folder), VERSION_HINT)


class Locations:
    """Turns locations in one table's metadata into keys.

    Iceberg locations are literal; nothing is percent-encoded.

    Args:
        root: URI of the storage root.
        folder: Key of the table's root, for messages.
    """

    def __init__(self, root: str, folder: str) -> None:
        self._root = root
        self._prefix = root + "/"
        self._skip = len(root) + 1
        self._folder = folder

    def key(self, location: str) -> str:
        """Return the key of a location.

        Raises:
            UnsupportedError: It lies outside the storage root.
        """
        key = self.key_or_none(location)
        if key is None:
            raise UnsupportedError(
                f"the Iceberg table {self._folder!r} refers to {location!r}, which lies outside "
                f"the storage root {self._root!r}; open a storage whose root holds both the "
                "table and its files, at the place where they were when the table was written",
                feature="location",
            )
        return key

    def key_or_none(self, location: str) -> str | None:
        """Return the key of a location, None if it lies outside the storage root."""
        if location.startswith(self._prefix):
            key = location[self._skip :]
            if _UNSAFE.search(key) is None:
                return key
        return key_of(self._root, location)
