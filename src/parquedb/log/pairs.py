"""Which versions two tables have in common."""

from __future__ import annotations

from parquedb.log.ports import LogReader, Version


def common_versions(left: LogReader, right: LogReader) -> list[tuple[Version, Version]]:
    """Pair the versions that one of two tables records as carried from the other, oldest first."""
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
    return [pairs[key] for key in sorted(pairs, key=lambda key: (order[key[0]], later[key[1]]))]
