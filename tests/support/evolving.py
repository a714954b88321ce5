"""A table whose columns change while others write to it, and what every version must look like."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from parquedb.backends import Backend, create_backend, migrate_backend
from parquedb.catalog import FilesystemCatalog
from tests.support import duck
from tests.support.rows import assert_same_rows
from tests.support.targets import metadata_file, open_iceberg

Row = dict[str, Any]
Reader = Callable[[Path, int], Any]

ICEBERG: dict[str, Reader] = {
    "pyiceberg": lambda folder, id_: open_iceberg(folder).scan(snapshot_id=id_).to_arrow(),
    "duckdb": lambda folder, id_: duck.rows_iceberg(metadata_file(folder), id_),
    "polars": lambda folder, id_: (
        pl.scan_iceberg(str(metadata_file(folder)), snapshot_id=id_, reader_override="native")
        .collect()
        .to_arrow()
    ),
}
DELTA: dict[str, Reader] = {
    "delta-rs": lambda folder, v: pa.table(DeltaTable(folder, version=v).scan().read_all()),
    "pyarrow": lambda folder, v: DeltaTable(folder, version=v).to_pyarrow_table(),
    "duckdb": duck.rows_delta,
    "polars": lambda folder, v: pl.scan_delta(str(folder), version=v).collect().to_arrow(),
}
READERS: dict[str, dict[str, Reader]] = {"native": {}, "iceberg": ICEBERG, "delta": DELTA}
"""Readers that are not ours, by format."""

SOURCES = ("native", "pyiceberg", "native to iceberg", "delta-rs", "iceberg to delta")
"""How a table comes about: by whom it is written, or from what it was migrated."""
COLUMNS = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("visits", pa.int32()),
        ("score", pa.float32()),
        ("paid", pa.decimal128(9, 2)),
        ("address", pa.struct([("city", pa.string()), ("zip", pa.int32())])),
        ("lines", pa.list_(pa.struct([("sku", pa.string()), ("n", pa.int32())]))),
    ]
)


def some(start: int, count: int) -> list[Row]:
    """Return rows of the first columns."""
    return [
        {
            "id": i,
            "name": f"name {i}",
            "visits": i * 1000,
            "score": None if i % 3 == 0 else i / 4,
            "paid": Decimal(i) / 100,
            "address": None if i % 4 == 3 else {"city": f"city {i}", "zip": i},
            "lines": [{"sku": f"s{k}", "n": k} for k in range(i % 3)],
        }
        for i in range(start, start + count)
    ]


@dataclass
class Evolving:
    """A table in a folder.

    Args:
        root: The storage.
        source: See :data:`SOURCES`.
        versions: The rows of every version, oldest first.
        columns: The columns now.
        reused: The name that a column gets after another one had it.
    """

    root: Path
    source: str
    versions: list[list[Row]] = field(default_factory=list)
    columns: pa.Schema = COLUMNS
    reused: str = "name"

    @property
    def format(self) -> str:
        """The table's format."""
        return {"pyiceberg": "iceberg", "delta-rs": "delta"}.get(
            self.source, self.source.split()[-1]
        )

    @property
    def folder(self) -> Path:
        """The table's folder."""
        return self.root / "users"

    @property
    def backend(self) -> Backend:
        """The backend under test."""
        return create_backend(type=self.format, storage=self.root)

    @property
    def rows(self) -> list[Row]:
        """The rows now."""
        return self.versions[-1]

    def make(self) -> None:
        """Make the table, with two files where its format has several."""
        first, second = some(0, 5), some(5, 4)
        if self.source.startswith("native"):
            path = self.root / "data" / "users" / "data.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(self._table([*first, *second]), path)
            self.versions.append([*first, *second])
        if self.source in ("pyiceberg", "iceberg to delta"):
            self._catalog().create_table("users", COLUMNS)
            for rows in (first, second):
                self.append(rows, format_="iceberg")
        if self.source == "delta-rs":
            for rows in (first, second):
                self.append(rows)
        if " to " in self.source:
            self.migrate(self.format)

    def append(self, rows: list[Row], *, format_: str = "") -> None:
        """Append rows by another program; a native file is written again as a whole."""
        known = self.versions[-1] if self.versions else []
        match format_ or self.format:
            case "iceberg":
                self._catalog().load_table("users").append(self._table(rows))
            case "delta":
                write_deltalake(str(self.folder), self._table(rows), mode="append")
            case _:
                path = self.root / "data" / "users" / "data.parquet"
                pq.write_table(self._table([*known, *rows]), path)
                self.versions.clear()
        self.versions.append([*known, *rows])

    def changed(self, columns: list[tuple[str, Any]], change: Callable[[Row], None]) -> None:
        """Note a version with other columns."""
        rows = copy.deepcopy(self.rows)
        for row in rows:
            change(row)
        if self.format == "native":
            self.versions.clear()
        self.versions.append(rows)
        self.columns = pa.schema(columns)

    def migrate(self, to: str) -> None:
        """Migrate the table, with its history."""
        report = migrate_backend(
            storage=self.root, to=to, namespaces=["users"], verify="content", files="copy"
        )
        assert report.namespaces["users"].action == "migrated"

    def check(self, format_: str = "") -> None:
        """Compare all versions, read by us and by others."""
        format_ = format_ or self.format
        backend = create_backend(type=format_, storage=self.root)
        history = [version.version for version in backend.history("users")]
        if format_ == "iceberg" and self.source == "pyiceberg":
            history = history[-len(self.versions) :]
        assert len(history) == len(self.versions)
        for version, rows in zip(history, self.versions, strict=True):
            compare("ours", version, backend.to_arrow("users", version=version), rows)
            for name, read in READERS[format_].items():
                compare(name, version, read(self.folder, version), rows)
        if format_ == "native":
            path = self.root / "data" / "users" / "data.parquet"
            compare("pyarrow", 0, pq.read_table(path), self.rows)
            compare("duckdb", 0, duck.rows_parquet([path]), self.rows)

    def _table(self, rows: list[Row]) -> pa.Table:
        return pa.Table.from_pylist(rows, self.columns)

    def _catalog(self) -> FilesystemCatalog:
        return FilesystemCatalog("lake", warehouse=str(self.root))


def compare(reader: str, version: int, found: Any, wanted: list[Row]) -> None:
    try:
        assert_same_rows(found, wanted)
    except AssertionError as error:
        error.add_note(f"{reader} at {version}")
        raise
