"""Whether the version that two tables are said to have in common still is that of both.

A table that was restored from a backup and written to again has other files under the same version
numbers, and the same identity. To go on from such a version would mix two histories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from parquedb.errors import ConflictError
from parquedb.migrate.place import Addresses, first_generation
from parquedb.model.files import DataFile


def find_stranger(
    source: Mapping[str, DataFile],
    target: Iterable[str],
    addresses: Addresses,
    way_back: Callable[[], Mapping[str, str]],
) -> str | None:
    """Return a file of the one table that the other does not have; None if both have the same.

    Args:
        source: The source's files at the common version, by key.
        target: Keys of the target's files at it.
        addresses: Where a source's file may be in the target.
        way_back: Returns keys of the target's files, by the key that the way back gave them in
            the source; called if it is needed.
    """
    names = {_name(key): key for key in target}
    for key in target:
        if (first := first_generation(key)) is not None:
            names.setdefault(first, key)
    unseen, others = set(names.values()), list[str]()
    for file in source.values():
        found = (names.get(_name(one)) for one in addresses.candidates(file))
        mine = next((one for one in found if one is not None), None)
        others += [file.path] if mine is None else []
        unseen.discard(mine or "")
    back = way_back() if others else {}
    ways = {_name(there): here for there, here in back.items()}
    for path in others:
        mine = back.get(path) or ways.get(first_generation(path) or _name(path))
        if mine is None:
            return path
        unseen.discard(mine)
    return min(unseen, default=None)


def other_history(label: str, folder: str, version: int, stranger: str) -> ConflictError:
    """Make the error for a version that is not what it was when it was carried."""
    return ConflictError(
        f"Conflict with existing data: version {version} of the {label} table {folder!r} is not "
        f"the one that was carried: only one side has {stranger!r}. One of the tables was restored "
        "from a backup or made anew since; use --force to replace the target's rows by the "
        "source's newest version, or migrate into another place"
    )


def _name(key: str) -> str:
    return PurePosixPath(key).name
