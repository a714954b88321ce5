"""Spark itself works here: what it writes, it reads, at a version and at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.rows import assert_same_rows
from tests.support.spark import iceberg_catalog, read_delta_at, read_iceberg_at, rows_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

A, B = {"id": 1, "name": "a"}, {"id": 2, "name": "b"}


def test_iceberg(spark: SparkSession, tmp_path: Path) -> None:
    catalog = iceberg_catalog(spark, tmp_path)
    spark.sql(f"CREATE TABLE {catalog}.users (id BIGINT, name STRING) USING iceberg")
    spark.sql(f"INSERT INTO {catalog}.users VALUES (1, 'a')")
    spark.sql(f"INSERT INTO {catalog}.users VALUES (2, 'b')")
    history = spark.sql(
        f"SELECT snapshot_id, committed_at FROM {catalog}.users.snapshots ORDER BY committed_at"
    )
    first, _ = rows_of(history)
    assert isinstance(first["snapshot_id"], int)
    assert isinstance(first["committed_at"], datetime)
    at_ms = int(first["committed_at"].timestamp() * 1000)

    folder = tmp_path / "users"
    assert_same_rows(read_iceberg_at(spark, folder), [A, B])
    assert_same_rows(read_iceberg_at(spark, folder, snapshot_id=first["snapshot_id"]), [A])
    assert_same_rows(read_iceberg_at(spark, folder, timestamp_ms=at_ms), [A])


def test_delta(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "users"
    spark.sql(f"CREATE TABLE delta.`{folder}` (id BIGINT, name STRING) USING delta")
    spark.sql(f"INSERT INTO delta.`{folder}` VALUES (1, 'a')")
    spark.sql(f"INSERT INTO delta.`{folder}` VALUES (2, 'b')")
    log = folder / "_delta_log" / f"{1:020d}.json"
    at_ms = log.stat().st_mtime_ns // 1_000_000

    assert_same_rows(read_delta_at(spark, folder), [A, B])
    assert_same_rows(read_delta_at(spark, folder, version=1), [A])
    assert_same_rows(read_delta_at(spark, folder, timestamp_ms=at_ms), [A])


def test_points_in_time_are_in_utc(spark: SparkSession) -> None:
    frame = spark.sql(
        "SELECT TIMESTAMP '2024-07-01 12:00:00Z' AS at, array(named_struct('at', "
        "TIMESTAMP '2024-01-01 00:00:00Z')) AS list, map('k', 1.5D) AS map"
    )
    assert rows_of(frame) == [
        {
            "at": datetime(2024, 7, 1, 12, tzinfo=UTC),
            "list": [{"at": datetime(2024, 1, 1, tzinfo=UTC)}],
            "map": {"k": 1.5},
        }
    ]
