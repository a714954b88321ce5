"""Random histories: steps that hypothesis draws, and what pyiceberg and delta-rs make of them.

A step is a word and small numbers. One that cannot be done now (there is nothing to roll back to)
does nothing, so that every list of steps is a history and shrinks well.
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from hypothesis import strategies as st
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan
from pyiceberg.io.pyarrow import _ConvertToIceberg, visit_pyarrow
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, TimestamptzType

from tests.support.histories import iceberg_catalog

Step = tuple[Any, ...]

UTC = dt.UTC
IDS = 24
"""Ids are below this, so that a range often meets rows."""

_POOLS: dict[pa.DataType, Sequence[object]] = {
    pa.int64(): (0, -1, 2**40, -(2**63), 2**63 - 1, None),
    pa.int32(): (0, -5, 7, 2**31 - 1, -(2**31), None),
    pa.string(): ("", "a", "b" * 40, "ä€😀" * 8, "\U0010ffff" * 33, None, "x=1/ü%"),
    pa.large_string(): ("", "a", "b" * 40, "ä€😀" * 8, None),
    pa.float64(): (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, None, 1e300),
    pa.float32(): (0.5, -2.25, math.nan, None),
    pa.bool_(): (True, False, None),
    pa.date32(): (dt.date(1960, 2, 29), dt.date(2024, 12, 31), None),
    pa.timestamp("us", "UTC"): (
        dt.datetime(1960, 1, 1, 0, 0, 0, 1, UTC),
        dt.datetime(2024, 1, 1, 12, 0, 0, 999_999, UTC),
        dt.datetime(2024, 1, 1, 12, 0, 0, 999_000, UTC),
        None,
    ),
    pa.decimal128(20, 2): (Decimal("0.01"), Decimal("-123456789012345678.90"), None),
}

BASE = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("score", pa.float64()),
        ("n", pa.int32()),
        ("ok", pa.bool_()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("money", pa.decimal128(20, 2)),
        ("kind", pa.string()),
    ]
)
_KINDS = (None, "a b", "x=1/ü%", "plain")


def rows(schema: pa.Schema, seed: int, count: int, *, first: int = 0) -> pa.Table:
    """Return rows of a schema that depend on the seed only.

    Args:
        schema: Column ``id`` gets numbers from ``first`` on, below :data:`IDS`.
        seed: Chooses the values of the others.
        count: How many.
        first: The first id.
    """
    columns = []
    for at, column in enumerate(schema):
        if column.name == "id":
            values: list[object] = [(first + i) % IDS for i in range(count)]
        elif column.name == "kind":
            values = [_KINDS[(seed + i) % len(_KINDS)] for i in range(count)]
        elif pa.types.is_struct(column.type):
            inner = pa.schema(list(column.type))
            values = list(rows(inner, seed + at, count).to_pylist())
        else:
            pool = _POOLS[column.type]
            values = [pool[(seed * 7 + at + i * (1 + seed % 3)) % len(pool)] for i in range(count)]
        columns.append(pa.array(values, column.type))
    return pa.Table.from_arrays(columns, schema=schema)


_seed = st.integers(0, 30)
_id = st.integers(0, IDS - 1)
_span = st.integers(1, 8)
_count = st.integers(1, 6)


def _step(word: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(word), *parts)


_APPEND = _step("append", _seed, _count, _id)
_COMMON = (
    _APPEND,
    _APPEND,
    _step("delete", _id, _span),
    _step("delete", _id, _span),
    _step("overwrite", _seed, _count, _id),
    _step("replace", _seed, _id, _span),
    _step("delete all"),
    _step("add column", st.integers(0, 3)),
    _step("nothing"),
    _step("property", _seed),
    _step("go back", st.integers(1, 3)),
)
ICEBERG_STEPS = st.one_of(
    *_COMMON,
    _step("widen", st.sampled_from(["n"])),
    _step("move", st.sampled_from(["n", "name", "at"])),
    _step("transaction", _seed, _id, _span),
    _step("rename", st.sampled_from(["name", "n", "city"])),
    _step("drop", st.sampled_from(["n", "score", "size", "city"])),
)
DELTA_STEPS = st.one_of(
    *_COMMON,
    _step("update", _id, _span, _seed),
    _step("merge", _seed, _id, _span),
    _step("compact"),
    _step("checkpoint"),
    _step("vacuum"),
    _step("new columns", _seed, st.sampled_from(["n", "score", "size", "city"])),
)


# pyiceberg

_ADDED = (
    ("city", StringType()),
    ("size", LongType()),
    ("w", DoubleType()),
    ("t", TimestamptzType()),
)


def create_iceberg(root: Path, *, partitioned: bool) -> Table:
    """Create the table ``users`` by pyiceberg's SQL catalog."""
    numbered = Schema(
        *(
            NestedField(at, field.name, visit_pyarrow(field.type, _ConvertToIceberg()))
            for at, field in enumerate(BASE, 1)
        )
    )
    by_kind = PartitionSpec(PartitionField(len(BASE), 1000, IdentityTransform(), "kind"))
    return iceberg_catalog(root).create_table(
        "test.users",
        schema=numbered,
        location=(root / "users").as_uri(),
        partition_spec=by_kind if partitioned else UNPARTITIONED_PARTITION_SPEC,
    )


def apply_iceberg(table: Table, steps: Sequence[Step]) -> None:
    """Let pyiceberg do the steps."""
    for word, *parts in steps:
        table.refresh()
        with warnings.catch_warnings():
            # "Delete operation did not match any records"
            warnings.simplefilter("ignore", UserWarning)
            _ICEBERG[word](table, *parts)


def _within(first: int, span: int) -> And:
    return And(GreaterThanOrEqual("id", first), LessThan("id", first + span))  # type: ignore[return-value]


def _arrow(table: Table) -> pa.Schema:
    return pa.schema(
        [pa.field(f.name, _plain(f.type)) for f in table.schema().as_arrow()]
    )  # without field ids, plain strings


def _plain(type_: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(type_) else type_


def _append(table: Table, seed: int, count: int, first: int) -> None:
    table.append(rows(_arrow(table), seed, count, first=first))


def _add_column(table: Table, which: int) -> None:
    name, kind = _ADDED[which]
    if name not in table.schema().column_names:
        with table.update_schema() as update:
            update.add_column(name, kind)


def _rename(table: Table, name: str) -> None:
    """Rename a column, or back."""
    old, new = (name, f"{name} 2") if name in table.schema().column_names else (f"{name} 2", name)
    if old in table.schema().column_names:
        with table.update_schema() as update:
            update.rename_column(old, new)


def _drop(table: Table, name: str) -> None:
    if name in table.schema().column_names:
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column(name)


def _widen(table: Table, name: str) -> None:
    if name not in table.schema().column_names:
        return
    with table.update_schema() as update:
        update.update_column(name, LongType())


def _move(table: Table, name: str) -> None:
    if name not in table.schema().column_names:
        return
    with table.update_schema() as update:
        update.move_first(name)


def _go_back(table: Table, by: int) -> None:
    snapshot = table.current_snapshot()
    for _ in range(by):
        if snapshot is not None and snapshot.parent_snapshot_id is not None:
            snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id)
    if snapshot is not None and snapshot != table.current_snapshot():
        table.manage_snapshots().rollback_to_snapshot(snapshot.snapshot_id).commit()


def _transaction(table: Table, seed: int, first: int, span: int) -> None:
    with table.transaction() as both:
        both.delete(_within(first, span))
        both.append(rows(_arrow(table), seed, 2, first=first))


def _set_property(table: Table, seed: int) -> None:
    with table.transaction() as change:
        change.set_properties({"owner": str(seed)})


_ICEBERG: dict[str, Callable[..., object]] = {
    "append": _append,
    "delete": lambda table, first, span: table.delete(_within(first, span)),
    "delete all": lambda table: table.delete(GreaterThanOrEqual("id", 0)),
    "overwrite": lambda table, seed, count, first: table.overwrite(
        rows(_arrow(table), seed, count, first=first)
    ),
    "replace": lambda table, seed, first, span: table.overwrite(
        rows(_arrow(table), seed, span, first=first), _within(first, span)
    ),
    "add column": _add_column,
    "rename": _rename,
    "drop": _drop,
    "widen": _widen,
    "move": _move,
    "nothing": lambda table: table.append(rows(_arrow(table), 0, 0)),
    "property": _set_property,
    "go back": _go_back,
    "transaction": _transaction,
}


# delta-rs


def create_delta(folder: Path, *, partitioned: bool) -> None:
    """Create the table by delta-rs."""
    DeltaTable.create(folder, schema=BASE, partition_by=["kind"] if partitioned else None)


def apply_delta(folder: Path, steps: Sequence[Step]) -> None:
    """Let delta-rs do the steps."""
    for word, *parts in steps:
        _DELTA[word](DeltaTable(folder), *parts)


def _delta_schema(table: DeltaTable) -> pa.Schema:
    schema = pa.schema(table.schema().to_arrow())
    return pa.schema([pa.field(f.name, _POOLED.get(f.type, f.type)) for f in schema])


_POOLED = {pa.string_view(): pa.string(), pa.large_string(): pa.string()}


def _delta_where(first: int, span: int) -> str:
    return f"id >= {first} AND id < {first + span}"


def _delta_append(table: DeltaTable, seed: int, count: int, first: int) -> None:
    write_deltalake(table, rows(_delta_schema(table), seed, count, first=first), mode="append")


def _delta_overwrite(table: DeltaTable, seed: int, count: int, first: int) -> None:
    write_deltalake(table, rows(_delta_schema(table), seed, count, first=first), mode="overwrite")


def _delta_replace(table: DeltaTable, seed: int, first: int, span: int) -> None:
    span = min(span, IDS - first)
    data = rows(_delta_schema(table), seed, span, first=first)
    write_deltalake(table, data, mode="overwrite", predicate=_delta_where(first, span))


def _delta_add_column(table: DeltaTable, which: int) -> None:
    schema = _delta_schema(table)
    kinds = (pa.string(), pa.int64(), pa.struct([("x", pa.int64()), ("y", pa.string())]), None)
    name = ("city", "size", "inner", "")[which]
    kind = kinds[which]
    if kind is not None and name not in schema.names:
        schema = schema.append(pa.field(name, kind))
    write_deltalake(table, rows(schema, which, 2), mode="append", schema_mode="merge")


def _delta_new_columns(table: DeltaTable, seed: int, name: str) -> None:
    """Overwrite everything, without a column or with it again."""
    schema = _delta_schema(table)
    if name in schema.names:
        schema = schema.remove(schema.get_field_index(name))
    else:
        schema = schema.append(pa.field(name, pa.string()))  # of another type than before
    write_deltalake(table, rows(schema, seed, 3), mode="overwrite", schema_mode="overwrite")


def _delta_merge(table: DeltaTable, seed: int, first: int, span: int) -> None:
    source = rows(_delta_schema(table), seed, min(span, IDS - first), first=first)
    (
        table.merge(source, "s.id = t.id", source_alias="s", target_alias="t")
        .when_matched_delete(f"s.id % 3 = {seed % 3}")
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )


def _delta_go_back(table: DeltaTable, by: int) -> None:
    if table.version() >= by:
        table.restore(table.version() - by)


_DELTA: dict[str, Callable[..., object]] = {
    "append": _delta_append,
    "delete": lambda table, first, span: table.delete(_delta_where(first, span)),
    "delete all": lambda table: table.delete(),
    "overwrite": _delta_overwrite,
    "replace": _delta_replace,
    "add column": _delta_add_column,
    "nothing": lambda table: _delta_append(table, 0, 0, 0),
    "property": lambda table, seed: table.alter.set_table_properties(
        {"delta.logRetentionDuration": f"interval {seed + 30} days"}
    ),
    "go back": _delta_go_back,
    "update": lambda table, first, span, seed: table.update(
        updates={"ok": "NOT ok", "name": f"'n{seed}'"}, predicate=_delta_where(first, span)
    ),
    "merge": _delta_merge,
    "compact": lambda table: table.optimize.compact(),
    "checkpoint": lambda table: table.create_checkpoint(),
    "vacuum": lambda table: table.vacuum(dry_run=False),
    "new columns": _delta_new_columns,
}
