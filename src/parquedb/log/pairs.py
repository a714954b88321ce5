"""Which versions two tables have in common."""

from __future__ import annotations

from parquedb.log.ports import LogReader, Version


def common_versions(left: LogReader, right: LogReader) -> list[tuple[Version, Version]]:
    """Pair the versions that one of two tables records as carried from the other, oldest first.

    A version that is repeated (a metadata change without a version of its own, or a table that was
    partitioned anew) comes once, but for the newest: what it was then is only known while it is.
    """
    ours = {version.version: version for version in left.history()}
    theirs = {version.version: version for version in right.history()}
    pairs: dict[tuple[int, int], tuple[Version, Version]] = {}
    for version in theirs.values():
        origin = version.origin
        if origin is not None and origin.table_id == left.table_id and origin.version in ours:
            pairs[origin.version, version.version] = (ours[origin.version], version)
    for version in ours.values():
        origin = version.origin
        if origin is not None and origin.table_id == right.table_id and origin.version in theirs:
            pairs[version.version, origin.version] = (version, theirs[origin.version])
    order = {version: place for place, version in enumerate(ours)}
    later = {version: place for place, version in enumerate(theirs)}
    keys = sorted(pairs, key=lambda key: (order[key[0]], later[key[1]]))
    kept = []
    seen: tuple[set[int], set[int]] = (set(), set())
    for place, key in enumerate(keys):
        if place == len(keys) - 1 or (key[0] not in seen[0] and key[1] not in seen[1]):
            kept.append(pairs[key])
        seen[0].add(key[0])
        seen[1].add(key[1])
    return kept
