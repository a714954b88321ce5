"""Columns that come later than a file: what its statistics must say of them.

PROTOCOL.md, "Per-file Statistics". pyarrow datasets of delta-rs lose rows under ``is null`` where
a file has bounds for older columns and no null count for a newer one. So the commit that adds a
column adds the live files again, with a null count for it and no change of data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parquedb.formats.delta.stats_encode import bounded_columns
from parquedb.formats.delta.stats_text import decode_stats, encode_stats
from parquedb.formats.delta.wire import Add
from parquedb.model.schema import Identity, Path, Schema, ids_by_path


def late_columns(
    schema: Schema, known_ids: Mapping[int, Path], before: Schema | None
) -> list[Path]:
    """Return the columns of a schema that no file has which was written before.

    Only ids tell: a name may be in older files from before it was dropped. But a column that the
    table has now is in its files, whatever id it gets: ids may come from another table.

    Args:
        schema: The schema that a commit sets.
        known_ids: Every id that the table's columns had before.
        before: The table's columns before the commit.
    """
    if schema.identity is not Identity.BY_ID or not known_ids:
        return []
    held = {} if before is None else ids_by_path(before)
    columns = bounded_columns(schema)
    return [path for id_, path in columns if id_ not in known_ids and path not in held]


def with_null_counts(add: Add, columns: Sequence[Path]) -> Add:
    """Return a file with null counts for columns that it does not have, if it has bounds."""
    if not columns or add.stats is None or '"minValues"' not in add.stats:
        return add
    body = decode_stats(add.stats)
    rows = body.get("numRecords")
    if rows is None:
        return add
    counts = body.setdefault("nullCount", {})
    for path in columns:
        _put(counts, path, rows)
    return add._replace(stats=encode_stats(body))


def again(adds: Iterable[Add], columns: Sequence[Path]) -> list[Add]:
    """Return the files whose statistics change, to be added once more."""
    noted = ((add, with_null_counts(add, columns)) for add in adds)
    return [new._replace(data_change=False) for old, new in noted if new is not old]


def _put(counts: dict[str, Any], path: Path, rows: int) -> None:
    for name in path[:-1]:
        counts = counts.setdefault(name, {})
    counts[path[-1]] = rows
