"""Tags of a table that is written ("Snapshot References")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parquedb.formats.iceberg.origin import ORIGIN
from parquedb.formats.iceberg.wire import TableMetadata


def with_tags(table: TableMetadata, tags: Mapping[str, int]) -> TableMetadata:
    """Return a table with further tags ("Snapshot References").

    A tag of the same name moves if it is on a snapshot that a migration made; somebody's own tag,
    or a branch, stays where it is.

    Args:
        table: The table.
        tags: Snapshot ids by the names of tags.
    """
    if not tags:
        return table
    refs: dict[str, Any] = dict(table.kept.get("refs", {}))
    ours = {one.snapshot_id for one in table.snapshots if ORIGIN in one.summary}
    for name, snapshot_id in tags.items():
        old = refs.get(name)
        if old is None or (old.get("type") == "tag" and old.get("snapshot-id") in ours):
            refs[name] = {"snapshot-id": snapshot_id, "type": "tag"}
    return replace(table, kept={**table.kept, "refs": refs})
