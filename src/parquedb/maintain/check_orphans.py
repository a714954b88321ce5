"""Files in a namespace's folders that nothing refers to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from parquedb.errors import ParqueDBError
from parquedb.maintain.check_report import Orphan
from parquedb.model.format import Format
from parquedb.namespace.tables import Namespace, discover_namespaces
from parquedb.storage.store import ObjectInfo, Store

_TABLE = re.compile(r"(.*?)/(?:_delta_log/|metadata/[^/]*\.metadata\.json)")
_TABLE_FORMATS = (Format.ICEBERG, Format.DELTA)
_MARKER = re.compile(r"_SUCCESS|_committed_.*|_started_.*|\.pqdb-.*")


def folders_of(space: Namespace, formats: Iterable[Format]) -> tuple[str, ...]:
    """Return the folders in which a namespace's tables keep their files, none inside another."""
    found = {space.folder(format_) for format_ in formats if format_ in _TABLE_FORMATS}
    found.add(f"_parquedb/{space.name}/staged")
    return tuple(
        sorted(f for f in found if not any(f != g and f.startswith(f"{g}/") for g in found))
    )


def list_files(store: Store, folders: Iterable[str]) -> dict[str, ObjectInfo]:
    """List all files below some folders, by key."""
    return {info.key: info for folder in folders for info in store.list(folder)}


def find_orphans(
    space: Namespace, listed: Mapping[str, ObjectInfo], referenced: set[str], formats: set[Format]
) -> tuple[Orphan, ...]:
    """Return the listed files that nothing refers to, by key.

    What another table owns, in a folder of its own below or from elsewhere, is none; nor are
    checksums that Hadoop keeps beside a file that is referred to.

    Args:
        space: The namespace.
        listed: The files in its folders.
        referenced: Keys that its tables and its journal refer to.
        formats: Its formats.
    """
    own = {space.folder(format_) for format_ in formats if format_ in _TABLE_FORMATS}
    tables = {match[1] for key in listed if (match := _TABLE.match(key))}
    foreign = tuple(f"{folder}/" for folder in sorted(tables - own))
    found = [
        info
        for key, info in listed.items()
        if key not in referenced
        and not (foreign and key.startswith(foreign))
        and not _is_companion(key, referenced)
    ]
    if found:
        owned = _owned_elsewhere(space)
        found = [info for info in found if info.key not in owned]
    return tuple(Orphan(i.key, i.size_bytes, i.modified_at_us) for i in sorted(found, key=_key))


def _key(info: ObjectInfo) -> str:
    return info.key


def _is_companion(key: str, referenced: set[str]) -> bool:
    folder, _, name = key.rpartition("/")
    if _MARKER.fullmatch(name):
        return True
    if name.startswith(".") and name.endswith(".crc"):
        return f"{folder}/{name[1:-4]}" in referenced
    return False


def _owned_elsewhere(space: Namespace) -> set[str]:
    """Return what the tables of other namespaces refer to; nothing of those that cannot be read."""
    found: set[str] = set()
    for name in discover_namespaces(space.store, space.places):
        if name == space.name:
            continue
        other = Namespace(space.store, name, space.places)
        for format_ in _TABLE_FORMATS:
            try:
                if other.exists(format_):
                    found |= other.reader(format_).referenced()
            except ParqueDBError:
                continue
    return found
