"""Iceberg columns renamed, dropped and added again, by Spark: Delta has them by name."""

from __future__ import annotations

from tests.golden.tables import golden

_READERS = ("delta-rs", "pyarrow", "duckdb", "polars", "spark")
_DEEP = (
    "SELECT id, named_struct('x', id, 'y', concat('y', id)), "
    "array(named_struct('x', id, 'y', 'p'), named_struct('x', id + 1, 'y', NULL)), "
    "map('k', named_struct('x', id, 'y', concat('v', id))) FROM range"
)

golden("names-flat", "iceberg", [
    "CREATE TABLE {table} (id BIGINT, a STRING, b STRING, n INT) USING iceberg TBLPROPERTIES "
    "('format-version' = '2', 'write.delete.mode' = 'merge-on-read', "
    "'write.parquet.bloom-filter-enabled.column.a' = 'true')",
    "INSERT INTO {table} SELECT id, concat('a', id), concat('b', id), id FROM range(0, 20, 1, 1)",
    "DELETE FROM {table} WHERE id = 3",
    "ALTER TABLE {table} RENAME COLUMN a TO t",
    "ALTER TABLE {table} RENAME COLUMN b TO a",
    "ALTER TABLE {table} RENAME COLUMN t TO b",
    "DELETE FROM {table} WHERE id IN (4, 5)",
    "INSERT INTO {table} SELECT id, concat('b', id), concat('a', id), id FROM range(20, 30, 1, 1)",
    "ALTER TABLE {table} RENAME COLUMN n TO number",
    "ALTER TABLE {table} ALTER COLUMN number TYPE BIGINT",
    "INSERT INTO {table} VALUES (100, 'x', 'y', 5000000000)",
    "ALTER TABLE {table} DROP COLUMN b",
    "ALTER TABLE {table} ADD COLUMN B DOUBLE",
    "DELETE FROM {table} WHERE id = 21",
    "INSERT INTO {table} VALUES (101, 'z', 7, 0.5)",
    "CALL {catalog}.system.rewrite_data_files(table => 'users', "
    "options => map('rewrite-all', 'true'))",
], delta_readers=("delta-rs", "duckdb", "polars"))  # fmt: skip

golden("names-nested", "iceberg", [
    "CREATE TABLE {table} (id BIGINT, at STRUCT<x: BIGINT, y: STRING>, "
    "many ARRAY<STRUCT<x: BIGINT, y: STRING>>, by MAP<STRING, STRUCT<x: BIGINT, y: STRING>>) "
    "USING iceberg",
    f"INSERT INTO {{table}} {_DEEP}(0, 5, 1, 1)",
    "ALTER TABLE {table} RENAME COLUMN at.x TO left",
    "ALTER TABLE {table} RENAME COLUMN many.element.y TO word",
    "ALTER TABLE {table} RENAME COLUMN by.value.x TO z",
    "ALTER TABLE {table} RENAME COLUMN many TO lots",
    f"INSERT INTO {{table}} {_DEEP}(5, 8, 1, 1)",
    "ALTER TABLE {table} DROP COLUMN at.y",
    "ALTER TABLE {table} ADD COLUMN at.y BIGINT",
    "ALTER TABLE {table} DROP COLUMN lots.element.x",
    "ALTER TABLE {table} ADD COLUMN lots.element.x STRING",
    "ALTER TABLE {table} DROP COLUMN by.value.y",
    "DELETE FROM {table} WHERE id = 6",
], delta_readers=_READERS)  # fmt: skip

golden("names-rolled-back", "iceberg", [
    "CREATE TABLE {table} (id BIGINT, `a b` STRING, k STRING) USING iceberg PARTITIONED BY (k)",
    "INSERT INTO {table} SELECT id, concat('a', id), concat('k', id % 2) FROM range(0, 8, 1, 1)",
    "ALTER TABLE {table} RENAME COLUMN `a b` TO `c-d`",
    "INSERT INTO {table} SELECT id, concat('c', id), 'k1' FROM range(8, 12, 1, 1)",
    "DELETE FROM {table} WHERE k = 'k0'",
    "ALTER TABLE {table} RENAME COLUMN `c-d` TO e",
    "INSERT INTO {table} SELECT id, concat('e', id), 'k2' FROM range(12, 14, 1, 1)",
], delta_readers=_READERS)  # fmt: skip
