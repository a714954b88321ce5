"""Source tables made by the reference writers: pyarrow, delta-rs and pyiceberg.

Small and the same in every run. Each function returns what a reader must see, so that a test
compares with data and not with another reader.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import DoubleType, LongType, StringType

COUNTRIES = ("CH", "DE", "FR")
START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Made:
    """A table as its reference writer left it.

    Args:
        folder: The table's folder.
        versions: Rows at each version, by the version's number or snapshot id, oldest first.
    """

    folder: Path
    versions: Mapping[int, pa.Table]

    @property
    def newest(self) -> pa.Table:
        """Rows at the newest version."""
        return next(reversed(self.versions.values()))


def people(start: int, count: int, **columns: Sequence[object] | pa.Array) -> pa.Table:
    """Return rows with ids from ``start``, of the plain types, and further columns as given."""
    ids = range(start, start + count)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": [f"name {i}" for i in ids],
            "country": [COUNTRIES[i % 3] for i in ids],
            "score": pa.array([None if i % 5 == 4 else i / 4 for i in ids], pa.float32()),
            "visits": pa.array([i % 7 for i in ids], pa.int32()),
            "active": [i % 2 == 0 for i in ids],
            "born": [date(1990, 1, 1) + timedelta(days=i) for i in ids],
            "seen": pa.array([START + timedelta(hours=i) for i in ids], pa.timestamp("us", "UTC")),
            "paid": pa.array([Decimal(i) / 100 for i in ids], pa.decimal128(10, 2)),
            **columns,
        }
    )


def nested(start: int, count: int) -> pa.Table:
    """Return rows with a struct, a list, a map and a list of structs; some null, some empty."""
    ids = range(start, start + count)
    line = pa.struct([("sku", pa.string()), ("n", pa.int64())])
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "address": pa.array(
                [None if i % 4 == 3 else {"city": f"city {i}", "zip": i} for i in ids],
                pa.struct([("city", pa.string()), ("zip", pa.int64())]),
            ),
            "tags": pa.array(
                [None if i % 5 == 4 else [f"t{k}" for k in range(i % 3)] for i in ids],
                pa.list_(pa.string()),
            ),
            "counts": pa.array(
                [[(f"k{k}", k) for k in range(i % 3)] for i in ids],
                pa.map_(pa.string(), pa.int64()),
            ),
            "lines": pa.array(
                [[{"sku": f"s{k}", "n": k} for k in range(i % 2 + 1)] for i in ids],
                pa.list_(line),
            ),
        }
    )


def make_native(
    path: Path, data: pa.Table | None = None, *, partition_by: Sequence[str] = ()
) -> pa.Table:
    """Write one Parquet file, or a hive-partitioned folder of them, by pyarrow.

    Args:
        path: The file (``….parquet``), or the folder if ``partition_by`` is given.
        data: Rows; ten people by default.
        partition_by: Columns that become folders ``country=CH``.

    Returns:
        The rows.
    """
    rows = people(0, 10) if data is None else data
    path.parent.mkdir(parents=True, exist_ok=True)
    if partition_by:
        pq.write_to_dataset(rows, path, partition_cols=list(partition_by))
    else:
        pq.write_table(rows, path)
    return rows


def make_delta(folder: Path, *, partition_by: Sequence[str] = ()) -> Made:
    """Write a Delta table by delta-rs: append, overwrite, add a column, drop a partition.

    Args:
        folder: The table's folder.
        partition_by: Partition columns; with ``("country",)`` the last version is a removal of
            whole files, otherwise a rewrite without the removed rows.
    """
    path, parts = str(folder), list(partition_by) or None
    write_deltalake(path, people(0, 6), partition_by=parts)
    write_deltalake(path, people(6, 4), mode="append")
    write_deltalake(path, people(100, 9), mode="overwrite")
    wide = people(109, 3, nick=["a", None, "c"])
    write_deltalake(path, wide, mode="append", schema_mode="merge")
    table = DeltaTable(path)
    table.delete("country = 'CH'")
    return Made(folder, {v: delta_rows(folder, v) for v in range(table.version() + 1)})


def delta_rows(folder: Path, version: int | None = None) -> pa.Table:
    """Read a Delta table at a version by delta-rs."""
    return DeltaTable(str(folder), version=version).to_pyarrow_table()


def make_iceberg(root: Path, name: str = "users") -> Made:
    """Write an Iceberg table by pyiceberg's SQL catalog, in ``{root}/{name}``.

    Append, append, overwrite, add a column, promote two, delete rows. The metadata files are
    named as catalogs do (``00003-<uuid>.metadata.json``), without a version hint.
    """
    folder = root / name
    with warnings.catch_warnings():
        # pyiceberg says that a delete without matches did nothing
        warnings.simplefilter("ignore", UserWarning)
        with sql_catalog(root) as catalog:
            table = catalog.create_table(
                f"db.{name}", people(0, 1).schema, location=f"file://{folder}"
            )
            _commit_to_iceberg(table)
            snapshots = sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)
            return Made(
                folder,
                {
                    s.snapshot_id: table.scan(snapshot_id=s.snapshot_id).to_arrow()
                    for s in snapshots
                },
            )


def sql_catalog(root: Path) -> SqlCatalog:
    """Return pyiceberg's SQL catalog over a SQLite file in a folder, with the namespace ``db``."""
    root.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("sql", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}")
    catalog.create_namespace_if_not_exists("db")
    return catalog


def _commit_to_iceberg(table: IcebergTable) -> None:
    """Add five snapshots and two schema changes."""
    table.append(people(0, 6))
    table.append(people(6, 4))
    table.overwrite(people(100, 9))
    with table.update_schema() as update:
        update.add_column("nick", StringType())
        update.update_column("visits", LongType())
        update.update_column("score", DoubleType())
    wide = people(109, 3, nick=["a", None, "c"])
    table.append(_cast(wide, {"visits": pa.int64(), "score": pa.float64()}))
    table.delete("country == 'CH'")


def _cast(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    change: Callable[[pa.Field], pa.Field] = lambda f: f.with_type(types.get(f.name, f.type))  # noqa: E731
    return table.cast(pa.schema([change(field) for field in table.schema]))
