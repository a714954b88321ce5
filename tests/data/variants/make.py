"""Make the tables in this folder: variants, as Spark 4.0 writes them.

The tests run with Spark 3.5, which has no variants, so these tables are kept. To make them again,
in an environment of its own::

    pip install pyspark==4.0.1
    python tests/data/variants/make.py tests/data/variants

``rows.json`` says what each version holds: variants as the JSON that they are (``"null"`` is the
variant null, and null is none at all).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import SparkSession

PACKAGES = "io.delta:delta-spark_2.13:4.0.0"
EXTENSIONS = "io.delta.sql.DeltaSparkSessionExtension"
COLUMNS = (
    "id BIGINT, v VARIANT, one STRUCT<x: BIGINT, inner: VARIANT>, many ARRAY<VARIANT>, "
    "pairs MAP<STRING, VARIANT>"
)
FIRST = ('{"a": 1, "b": ["x", null, 2.5]}', "null", None, '"text"')
NUMBER = "12345678901234567890.5"
SETTINGS = "'delta.enableDeletionVectors' = 'true'"


def row(number: int, text: str | None) -> str:
    """Return a row with a variant in every place where one can be."""
    variant = "CAST(NULL AS VARIANT)" if text is None else f"parse_json('{text}')"
    return (
        f"SELECT {number}L, {variant}, named_struct('x', {number}L, 'inner', {variant}), "
        f"array({variant}, CAST(NULL AS VARIANT)), map('k', {variant})"
    )


def statements() -> list[str]:
    """Return the history."""
    nothing = "SELECT 6L, CAST(DATE'2024-02-29' AS VARIANT), NULL, NULL, NULL"
    inner = "named_struct('x', 7L, 'inner', CAST(NULL AS VARIANT))"
    empty = f"SELECT 7L, CAST(X'00ff' AS VARIANT), {inner}, array(), map()"
    groups = (
        [row(number, text) for number, text in enumerate(FIRST, 1)],
        [row(5, NUMBER), nothing, empty],
    )
    inserts = [
        f"INSERT INTO TABLE_NAME SELECT /*+ COALESCE(1) */ * FROM ({' UNION ALL '.join(group)})"
        for group in groups
    ]
    return [
        f"CREATE TABLE TABLE_NAME ({COLUMNS}) USING delta TBLPROPERTIES ({SETTINGS})",
        *inserts,
        "DELETE FROM TABLE_NAME WHERE id = 2",
        "ALTER TABLE TABLE_NAME ADD COLUMN late VARIANT",
        "INSERT INTO TABLE_NAME SELECT 8L, parse_json('[1,2]'), NULL, NULL, NULL, "
        "parse_json('{\"late\": true}')",
    ]


def main(folder: Path) -> None:
    """Make the tables."""
    shutil.rmtree(folder / "delta", ignore_errors=True)
    spark = session()
    table = f"delta.`{folder}/delta/users`"
    for statement in statements():
        spark.sql(statement.replace("TABLE_NAME", table))
    rows = {"delta": dict(versions(spark, folder, table))}
    (folder / "rows.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    for crc in folder.rglob("*.crc"):
        crc.unlink()


def versions(spark: SparkSession, folder: Path, table: str) -> Iterator[tuple[str, list[object]]]:
    """Yield each version with its rows."""
    history = spark.sql(f"DESCRIBE HISTORY {table}").collect()
    for version in sorted(item.version for item in history):
        frame = spark.read.format("delta").option("versionAsOf", str(version))
        frame = frame.load(f"{folder}/delta/users")
        late = ["to_json(late) late"] if "late" in frame.columns else []
        frame = frame.selectExpr(
            "id",
            "to_json(v) v",
            "one.x x",
            "to_json(one.inner) inner",
            "transform(many, item -> to_json(item)) many",
            "transform_values(pairs, (key, item) -> to_json(item)) pairs",
            *late,
        )
        yield str(version), [item.asDict() for item in frame.orderBy("id").collect()]


def session() -> SparkSession:
    """Start Spark."""
    builder = SparkSession.builder.master("local[1]").appName("variants")
    for key, value in {
        "spark.jars.packages": PACKAGES,
        "spark.sql.extensions": EXTENSIONS,
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        # Spark's own readers of columns in batches do not have all of variants yet
        "spark.sql.parquet.enableVectorizedReader": "false",
        "spark.ui.enabled": "false",
    }.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
