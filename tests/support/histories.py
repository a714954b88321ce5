"""Tables with a history, written by the reference writers delta-rs and pyiceberg.

Each builder writes the table ``users`` below a storage root, and returns what the reference reader
says of every version: that is what a migrated table must say too.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.types import LongType, StringType


@dataclass(frozen=True)
class Known:
    """What the reference reader says of a version."""

    version: int
    at_ms: int
    rows: list[dict[str, object]]


Builder = Callable[[Path], list[Known]]


def people(start: int, count: int, **extra: pa.Array) -> pa.Table:
    """Rows of many types."""
    ids = range(start, start + count)
    utc = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    columns = {
        "id": pa.array(ids, pa.int64()),
        "name": pa.array([None if i % 7 == 3 else f"name {i} ä€😀" for i in ids], pa.string()),
        "score": pa.array([float("nan") if i % 5 == 4 else i / 3 for i in ids], pa.float64()),
        "small": pa.array([i % 100 for i in ids], pa.int32()),
        "money": pa.array([decimal.Decimal(i) / 100 for i in ids], pa.decimal128(20, 2)),
        "ok": pa.array([i % 2 == 0 for i in ids], pa.bool_()),
        "day": pa.array([dt.date(1960, 1, 1) + dt.timedelta(days=i * 500) for i in ids]),
        "at": pa.array(
            [utc + dt.timedelta(seconds=i, microseconds=i) for i in ids], pa.timestamp("us", "UTC")
        ),
        "raw": pa.array([bytes([i % 256, 0, 255]) for i in ids], pa.binary()),
    }
    return pa.table({**columns, **extra})


def nested(start: int, count: int) -> pa.Table:
    """Rows of structs, lists and maps."""
    ids = range(start, start + count)
    kind = pa.struct([("city", pa.string()), ("geo", pa.struct([("lat", pa.float64())]))])
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "tags": pa.array(
                [[f"t{i}", None] if i % 3 else None for i in ids], pa.list_(pa.string())
            ),
            "address": pa.array(
                [{"city": f"c{i}", "geo": {"lat": i / 2}} if i % 4 else None for i in ids], kind
            ),
            "counts": pa.array(
                [[("a", i)] if i % 2 else [] for i in ids], pa.map_(pa.string(), pa.int64())
            ),
            "rows": pa.array(
                [[{"x": i}, {"x": None}] for i in ids], pa.list_(pa.struct([("x", pa.int64())]))
            ),
        }
    )


def known_delta(folder: Path, start: int = 0) -> list[Known]:
    """Read every version with delta-rs, from one on."""
    times = {entry["version"]: entry["timestamp"] for entry in DeltaTable(folder).history()}
    return [
        Known(v, times[v], DeltaTable(folder, version=v).to_pyarrow_table().to_pylist())
        for v in sorted(times)
        if v >= start
    ]


def delta_plain(root: Path) -> list[Known]:
    """Appends, an overwrite, a delete of everything, an append; a change of a property."""
    folder = root / "users"
    write_deltalake(folder, people(0, 20))
    write_deltalake(folder, people(20, 5), mode="append")
    write_deltalake(folder, people(100, 7), mode="overwrite")
    DeltaTable(folder).delete()
    write_deltalake(folder, people(200, 9), mode="append")
    DeltaTable(folder).alter.set_table_properties({"delta.appendOnly": "false"})
    write_deltalake(folder, people(300, 1), mode="append")
    return known_delta(folder)


def delta_compacted(root: Path) -> list[Known]:
    """Small appends, an optimize, a copy-on-write update and delete, a merge."""
    folder = root / "users"
    for i in range(4):
        write_deltalake(folder, people(i * 10, 10), mode="append")
    table = DeltaTable(folder)
    table.optimize.compact()
    table.update(updates={"name": "'changed'"}, predicate="id < 5")
    table.delete("id >= 35")
    table.merge(
        people(0, 3), "s.id = t.id", source_alias="s", target_alias="t"
    ).when_matched_update_all().when_not_matched_insert_all().execute()
    return known_delta(folder)


def delta_partitioned(root: Path) -> list[Known]:
    """Partitions of several types, with nulls, spaces and special characters."""
    folder = root / "users"
    for i in range(3):
        kinds = [None, "a b", "x=1/ü%", "plain"]
        extra = {
            "kind": pa.array([kinds[j % 4] for j in range(12)]),
            "year": pa.array([2020 + (j % 2) for j in range(12)], pa.int32()),
        }
        write_deltalake(
            folder, people(i * 12, 12, **extra), mode="append", partition_by=["kind", "year"]
        )
    DeltaTable(folder).delete("kind = 'plain' AND year = 2021")
    return known_delta(folder)


def delta_evolved(root: Path) -> list[Known]:
    """Columns added, one of them nested, and appended to again."""
    folder = root / "users"
    write_deltalake(folder, people(0, 5))
    write_deltalake(
        folder, people(5, 5, extra=pa.array(list("abcde"))), mode="append", schema_mode="merge"
    )
    write_deltalake(folder, people(10, 2), mode="append", schema_mode="merge")
    inner = pa.array([{"a": 1}, {"a": None}], pa.struct([("a", pa.int64())]))
    write_deltalake(folder, people(12, 2, inner=inner), mode="append", schema_mode="merge")
    return known_delta(folder)


def delta_nested(root: Path) -> list[Known]:
    """Structs, lists, maps."""
    folder = root / "users"
    write_deltalake(folder, nested(0, 9))
    write_deltalake(folder, nested(9, 4), mode="append")
    return known_delta(folder)


def delta_checkpointed(root: Path) -> list[Known]:
    """A log with a checkpoint in the middle and no missing file."""
    folder = root / "users"
    for i in range(6):
        write_deltalake(folder, people(i, 1), mode="append")
        if i == 3:
            DeltaTable(folder).create_checkpoint()
    return known_delta(folder)


def iceberg_catalog(root: Path) -> SqlCatalog:
    """Return a catalog that keeps its tables below the root."""
    (root.parent / "catalog").mkdir(exist_ok=True)
    catalog = SqlCatalog(
        "test", uri=f"sqlite:///{root.parent}/catalog/c.db", warehouse=root.as_uri()
    )
    catalog.create_namespace_if_not_exists("test")
    return catalog


def known_iceberg(table: Table) -> list[Known]:
    """Read every snapshot with pyiceberg."""
    table = table.refresh()
    return [
        Known(
            s.snapshot_id,
            s.timestamp_ms,
            table.scan(snapshot_id=s.snapshot_id).to_arrow().to_pylist(),
        )
        for s in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)
    ]


def iceberg_table(root: Path, schema: pa.Schema, **options: object) -> Table:
    """Create the table ``users``."""
    return iceberg_catalog(root).create_table(
        "test.users", schema=schema, location=(root / "users").as_uri(), **options
    )


def iceberg_plain(root: Path) -> list[Known]:
    """Appends, a delete of everything, an append, a copy-on-write delete and overwrite."""
    table = iceberg_table(root, people(0, 1).schema)
    table.append(people(0, 20))
    table.append(people(20, 5))
    table.delete("id >= 0")
    table.append(people(100, 9))
    table.delete("id < 103")
    table.overwrite(people(500, 4))
    return known_iceberg(table)


def iceberg_evolved(root: Path) -> list[Known]:
    """A column added, one promoted, the order changed."""
    table = iceberg_table(root, people(0, 1).schema)
    table.append(people(0, 5))
    with table.update_schema() as update:
        update.add_column("extra", StringType())
    table.append(people(5, 5, extra=pa.array(list("abcde"))))
    with table.update_schema() as update:
        update.update_column("small", LongType())
        update.move_first("extra")
    news = people(10, 2, extra=pa.array(["x", None]))
    table.append(news.set_column(3, "small", pa.array([2**40, 1], pa.int64())))
    return known_iceberg(table)


def iceberg_partitioned(root: Path) -> list[Known]:
    """Identity partitions with nulls and special characters."""
    extra = {"kind": pa.array([[None, "a b", "x=1/ü%"][j % 3] for j in range(12)])}
    first = people(0, 12, **extra)
    table = iceberg_table(root, first.schema)
    with table.update_spec() as update:
        update.add_identity("kind")
    table.append(first)
    table.append(people(12, 12, **extra))
    table.delete("kind == 'a b'")
    return known_iceberg(table)


def iceberg_nested(root: Path) -> list[Known]:
    """Structs, lists, maps."""
    table = iceberg_table(root, nested(0, 1).schema)
    table.append(nested(0, 9))
    table.append(nested(9, 4))
    return known_iceberg(table)


DELTA: dict[str, Builder] = {
    "plain": delta_plain,
    "compacted": delta_compacted,
    "partitioned": delta_partitioned,
    "evolved": delta_evolved,
    "nested": delta_nested,
    "checkpointed": delta_checkpointed,
}
ICEBERG: dict[str, Builder] = {
    "plain": iceberg_plain,
    "evolved": iceberg_evolved,
    "partitioned": iceberg_partitioned,
    "nested": iceberg_nested,
}
