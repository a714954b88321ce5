"""Rows under a filter, by readers that are not ours: wrong bounds and partition values lose some.

Each filter is written for each reader in its own words; what it must return is computed from the
rows themselves.
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from polars.exceptions import PerformanceWarning
from pyiceberg import expressions as ice

from tests.support import duck
from tests.support.targets import metadata_file, open_iceberg

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Row = dict[str, Any]
_SIGNS = {"=": "__eq__", "<=": "__le__", ">": "__gt__"}


@dataclass(frozen=True, slots=True)
class Filter:
    """``column op value``, with ``op`` one of ``=``, ``<=``, ``>``, ``null``."""

    column: str
    op: str
    value: Any = None

    def keeps(self, row: Row) -> bool:
        """Whether a row passes."""
        found = row[self.column]
        if self.op == "null":
            return found is None
        if found is None:
            return False
        return bool(getattr(found, _SIGNS[self.op])(self.value))


def filters_of(column: str, rows: list[Row]) -> Iterator[Filter]:
    """Yield filters that each value of a column, and none, decides."""
    yield Filter(column, "null")
    seen: list[Any] = []
    nan = any(isinstance(row[column], float) and math.isnan(row[column]) for row in rows)
    for row in rows:
        value = row[column]
        if value is None or value in seen or (isinstance(value, float) and math.isnan(value)):
            continue
        seen.append(value)
        yield Filter(column, "=", value)
    if any(isinstance(value, bool | bytes) for value in seen):
        return
    for value in seen[len(seen) // 2 :][:1]:
        yield Filter(column, "<=", value)
        if not nan:  # above all numbers in some readers, unordered in others
            yield Filter(column, ">", value)


Found = Callable[[Filter, pa.DataType], Iterator[tuple[str, list[int]]]]
"""Yields who reads a table, and the ids that it finds under a filter of a column of a type."""


def found_in_delta(folder: Path, version: int) -> Found:
    """Open a Delta table for each reader, once for all filters."""
    table = DeltaTable(folder, version=version)
    dataset = table.to_pyarrow_dataset()
    queries = QueryBuilder().register("t", table)
    frame = pl.scan_delta(str(folder), version=version)
    scan = f"delta_scan('{folder}', version={version})"

    def found(wanted: Filter, kind: pa.DataType) -> Iterator[tuple[str, list[int]]]:
        yield "pyarrow", dataset.to_table(filter=_arrow(wanted, kind))["id"].to_pylist()
        sql = f'SELECT id FROM t WHERE "{wanted.column}" {_sql(wanted, kind)}'
        yield "delta-rs", pa.table(queries.execute(sql).read_all())["id"].to_pylist()
        yield "polars", _polars(frame, wanted, kind)
        yield "duckdb", _duck(scan, wanted, kind)

    return found


def found_in_iceberg(folder: Path, snapshot_id: int) -> Found:
    """Open an Iceberg table for each reader, once for all filters."""
    table = open_iceberg(folder)
    metadata = metadata_file(folder)
    frame = pl.scan_iceberg(str(metadata), snapshot_id=snapshot_id, reader_override="native")
    duck_scan = f"iceberg_scan('{metadata}', snapshot_from_id={snapshot_id})"

    def found(wanted: Filter, kind: pa.DataType) -> Iterator[tuple[str, list[int]]]:
        scan = table.scan(row_filter=_ice(wanted), snapshot_id=snapshot_id)
        yield "pyiceberg", scan.to_arrow()["id"].to_pylist()
        with warnings.catch_warnings():  # it plans by pyiceberg and says that this is slow
            warnings.simplefilter("ignore", PerformanceWarning)
            yield "polars", _polars(frame, wanted, kind)
        yield "duckdb", _duck(duck_scan, wanted, kind)

    return found


def found_by_spark(frame: DataFrame, wanted: Filter) -> list[int]:
    """Return the ids that Spark finds in a frame under a filter."""
    from pyspark.sql import functions as f

    column = f.col(wanted.column)
    if wanted.op == "null":
        kept = frame.filter(column.isNull())
    else:
        value = f.lit(wanted.value)
        compared = {"=": column == value, "<=": column <= value, ">": column > value}
        kept = frame.filter(compared[wanted.op])
    return [row["id"] for row in kept.select("id").collect()]


def _ice(wanted: Filter) -> ice.BooleanExpression:
    if wanted.op == "null":
        return ice.IsNull(wanted.column)
    kinds = {"=": ice.EqualTo, "<=": ice.LessThanOrEqual, ">": ice.GreaterThan}
    return kinds[wanted.op](wanted.column, wanted.value)


def _arrow(wanted: Filter, kind: pa.DataType) -> pc.Expression:
    field = pc.field(wanted.column)
    if wanted.op == "null":
        return field.is_null()
    value = pa.scalar(wanted.value, kind)
    match wanted.op:
        case "=":
            return field == value
        case "<=":
            return field <= value
        case _:
            return field > value


def _polars(frame: pl.LazyFrame, wanted: Filter, kind: pa.DataType) -> list[int]:
    column = pl.col(wanted.column)
    if wanted.op == "null":
        kept = frame.filter(column.is_null())
    else:
        series = pl.from_arrow(pa.array([wanted.value], kind))
        value = pl.lit(wanted.value, dtype=series.dtype)
        compared = {"=": column == value, "<=": column <= value, ">": column > value}
        kept = frame.filter(compared[wanted.op])
    found: list[int] = kept.select("id").collect()["id"].to_list()
    return found


def _duck(scan: str, wanted: Filter, kind: pa.DataType) -> list[int]:
    sql = f'SELECT id FROM {scan} WHERE "{wanted.column}" {_sql(wanted, kind, duck_db=True)}'
    return [row["id"] for row in duck.query(sql)]


def _sql(wanted: Filter, kind: pa.DataType, *, duck_db: bool = False) -> str:
    if wanted.op == "null":
        return "IS NULL"
    return f"{wanted.op} {_literal(wanted.value, kind, duck_db=duck_db)}"


def _literal(value: Any, kind: pa.DataType, *, duck_db: bool) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Decimal():
            return f"CAST('{value}' AS DECIMAL({kind.precision},{kind.scale}))"
        case dt.datetime():
            zoned = value.tzinfo is not None
            name = "TIMESTAMPTZ" if zoned and duck_db else "TIMESTAMP"
            text = value.isoformat(sep=" ")
            if duck_db:
                return f"CAST('{text}' AS {name})"
            zone = 'Some("UTC")' if zoned else "None"
            return f"arrow_cast('{text}', 'Timestamp(Microsecond, {zone})')"
        case dt.date():
            return f"CAST('{value}' AS DATE)"
        case bytes():
            return f"from_hex('{value.hex()}')" if duck_db else f"X'{value.hex()}'"
        case float():
            return f"CAST('{value}' AS {'REAL' if kind == pa.float32() else 'DOUBLE'})"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return str(value)
