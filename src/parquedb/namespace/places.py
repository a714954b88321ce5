"""Namespaces: their names, and where each format keeps their tables."""

from __future__ import annotations

import re

from parquedb.errors import InvalidInputError
from parquedb.model.format import Format
from parquedb.slotted import dataclass
from parquedb.storage.keys import join

RESERVED = frozenset({"data", "metadata"})
_INSIDE = frozenset({"data", "metadata", "journal", "staged", "data.parquet"})
"""What the folders and the file of a namespace are called, in its own folder."""
_BAD = re.compile(r"[\x00-\x1f\x7f\\]|^\s|\s$")


def check_namespace(name: str) -> str:
    """Return a namespace's name if it can be one.

    Raises:
        InvalidInputError: It is no text, empty, absolute, leaves the storage root, begins a part
            with ``_`` or ``.``, holds ``=`` or control characters, or is reserved.
    """
    given: object = name
    if not isinstance(given, str):
        raise InvalidInputError(
            f"{given!r} is not a namespace name: it is no text; name a namespace, such as 'users'"
        )
    parts = name.split("/")
    reason = None
    if any(part in ("", ".", "..") for part in parts):
        reason = "it is empty, absolute or leaves the storage root"
    elif any(part.startswith(("_", ".")) for part in parts):
        reason = "names that begin with '_' or '.' are ParqueDB's own"
    elif any(_BAD.search(part) for part in parts):
        reason = "it has control characters, a backslash or outer spaces"
    elif any("=" in part for part in parts):
        reason = "'=' marks a partition folder"
    elif name in RESERVED:
        reason = "the name is reserved"
    if reason is not None:
        raise InvalidInputError(
            f"{name!r} is not a namespace name: {reason}; use letters, digits, '-', '_' and '.', "
            "with '/' between levels, such as 'users' or 'sales/orders'"
        )
    return name


def is_inside_another(name: str) -> bool:
    """Whether a namespace's folder is one that the files of another may be in: ``users/data``."""
    first, *below = name.split("/")
    return first in RESERVED or not _INSIDE.isdisjoint(below)


@dataclass(frozen=True, slots=True)
class Places:
    """Prefixes that the formats' tables are kept under.

    Args:
        warehouse: Prefix of Iceberg tables: ``{warehouse}/{namespace}``.
        location: Prefix of Delta tables: ``{location}/{namespace}``.
    """

    warehouse: str = ""
    location: str = ""

    def folder(self, format_: Format, namespace: str) -> str:
        """Return the key under which a format keeps a namespace's table.

        For native it is the namespace itself: the native dialect knows its own layouts.
        """
        match format_:
            case Format.ICEBERG:
                return join(self.warehouse.strip("/"), namespace)
            case Format.DELTA:
                return join(self.location.strip("/"), namespace)
            case Format.NATIVE:
                return namespace

    def namespace(self, format_: Format, folder: str) -> str | None:
        """Return the namespace whose table of a format a folder holds, None if there is none."""
        match format_:
            case Format.ICEBERG:
                above = self.warehouse.strip("/")
            case Format.DELTA:
                above = self.location.strip("/")
            case Format.NATIVE:
                return folder.removeprefix("data/")
        if not above:
            return folder
        return folder.removeprefix(f"{above}/") if folder.startswith(f"{above}/") else None


DEFAULT_PLACES = Places()
"""No prefixes."""
