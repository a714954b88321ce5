"""The registry of golden tables: small tables with a history, written by Spark, always the same.

A module of this package that is not named below registers its tables when it is imported::

    from tests.golden.tables import golden

    golden("rows-merge-on-read", "iceberg", [
        "CREATE TABLE {table} (id BIGINT, name STRING) USING iceberg "
        "TBLPROPERTIES ('format-version' = '2', 'write.delete.mode' = 'merge-on-read')",
        "INSERT INTO {table} SELECT id, concat('n', id) FROM range(0, 50, 1, 1)",
        "DELETE FROM {table} WHERE id % 7 = 0",
    ])

or, where statements are not enough::

    def build(maker: Maker) -> None:
        maker.sql("CREATE TABLE …")
        (maker.folder / "…").unlink()

    golden("rows-vacuumed", "delta", build, first=2)

``tests/interop/test_golden.py`` builds each once and migrates it to the other format, from there
back into a second folder, and to a native file. Keep tables small: every version is read by three
programs or more, and all tables share one Spark and three minutes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.histories import Known
from tests.support.spark import iceberg_catalog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FRAMEWORK = ("tables", "compare")
ICEBERG_READERS = ("pyiceberg", "duckdb")
DELTA_READERS = ("delta-rs", "duckdb")

Row = dict[str, Any]


@dataclass(slots=True)
class Maker:
    """Where a golden table is made, and by whom.

    Args:
        spark: The session; its time zone is UTC.
        root: The storage: the table is the namespace ``users`` in it.
        format: ``"iceberg"`` or ``"delta"``.
    """

    spark: SparkSession
    root: Path
    format: str
    catalog: str = field(init=False)

    def __post_init__(self) -> None:
        self.catalog = iceberg_catalog(self.spark, self.root)

    @property
    def folder(self) -> Path:
        """The table's folder."""
        return self.root / "users"

    @property
    def table(self) -> str:
        """The table's name in Spark's SQL."""
        return f"{self.catalog}.users" if self.format == "iceberg" else f"delta.`{self.folder}`"

    def sql(self, statement: str, **values: object) -> list[Any]:
        """Run a statement and return its rows.

        Args:
            statement: In it, ``{table}``, ``{catalog}``, ``{folder}`` and names given as keywords
                are replaced; other braces stay.
            values: Further names.
        """
        known = {"table": self.table, "catalog": self.catalog, "folder": self.folder, **values}
        for name, value in known.items():
            statement = statement.replace(f"{{{name}}}", str(value))
        return list(self.spark.sql(statement).collect())

    def snapshot_id(self, position: int) -> int:
        """Return the id of the Iceberg snapshot that was committed as the nth, from 0."""
        rows = self.sql("SELECT snapshot_id FROM {table}.snapshots ORDER BY committed_at")
        return int(rows[position]["snapshot_id"])


Build = Callable[[Maker], "list[Known] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One table, and what must become of it.

    Args:
        name: ``part-what``; the id of its test.
        format: ``"iceberg"`` or ``"delta"``.
        build: Writes it. May return what its versions hold; else Spark says it.
        refused: What the refusal to migrate it to the other format says (a regular expression);
            None if it is carried.
        refused_natively: The same for native files.
        allow_lossy: Whether the migration to the other format needs ``allow_lossy``; a run
            without it must then be refused.
        lost: What a line of the report's losses says (a regular expression).
        first: How many of the oldest versions cannot be carried, because their files are gone.
        iceberg_readers: Who reads it as an Iceberg table (:data:`tests.golden.compare.ICEBERG`).
        delta_readers: Who reads it as a Delta table (:data:`tests.golden.compare.DELTA`).
        spark_reads: Whether Spark reads what was migrated, at the newest and at a middle version.
        becomes: What a row of the source is in the other format, where it differs.
        returns: What it is after the way back; the same as ``becomes`` by default.
        refused_back: What the refusal of the way back says; None if it is carried.
        format_version: The format version of Iceberg tables that migrations make; None for the
            usual one.
    """

    name: str
    format: str
    build: Build
    refused: str | None = None
    refused_natively: str | None = None
    refused_back: str | None = None
    allow_lossy: bool = False
    lost: str | None = None
    first: int = 0
    iceberg_readers: Sequence[str] = ICEBERG_READERS
    delta_readers: Sequence[str] = DELTA_READERS
    spark_reads: bool = True
    becomes: Callable[[Row], Row] = lambda row: row
    returns: Callable[[Row], Row] | None = None
    format_version: int | None = None

    def __post_init__(self) -> None:
        assert self.format in ("iceberg", "delta")
        assert len(set(self.iceberg_readers)) >= 2, "at least two readers that are not ours"
        assert len(set(self.delta_readers)) >= 2, "at least two readers that are not ours"

    @property
    def other(self) -> str:
        """The format that it is migrated to."""
        return "delta" if self.format == "iceberg" else "iceberg"

    def readers(self, format_: str) -> Sequence[str]:
        """Return who reads it in a format."""
        return self.iceberg_readers if format_ == "iceberg" else self.delta_readers


_TABLES: dict[str, Golden] = {}


def golden(name: str, format_: str, build: Build | Sequence[str], **options: Any) -> None:
    """Register a table.

    Args:
        name: ``part-what``; must be new.
        format_: ``"iceberg"`` or ``"delta"``.
        build: A function, or statements in Spark's SQL (:meth:`Maker.sql`).
        options: The other arguments of :class:`Golden`.
    """
    assert name not in _TABLES, f"two golden tables are named {name}"
    made = build if callable(build) else _running(tuple(build))
    _TABLES[name] = Golden(name=name, format=format_, build=made, **options)


def _running(statements: tuple[str, ...]) -> Build:
    def run(maker: Maker) -> None:
        for statement in statements:
            maker.sql(statement)

    return run


def all_tables() -> list[Golden]:
    """Import every module of this package and return what they registered, by name."""
    package = importlib.import_module(__package__)
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        if module not in FRAMEWORK:
            importlib.import_module(f"{__package__}.{module}")
    return [_TABLES[name] for name in sorted(_TABLES)]
