"""Plain tables and histories: what moves a table other than an append."""

from __future__ import annotations

from tests.golden.tables import Maker, golden

COLUMNS = "id BIGINT, name STRING, score DOUBLE"
INSERT = "INSERT INTO {table} SELECT id, concat('n', id % 3), id / 4 FROM range"

golden("histories-plain", "iceberg", [
    f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg",
    INSERT + "(0, 20, 1, 1)",
    INSERT + "(20, 30, 1, 1)",
    "DELETE FROM {table} WHERE id % 7 = 0",
    "UPDATE {table} SET name = 'changed' WHERE id < 5",
])  # fmt: skip
golden("histories-plain-delta", "delta", [
    f"CREATE TABLE {{table}} ({COLUMNS}) USING delta",
    INSERT + "(0, 20, 1, 1)",
    INSERT + "(20, 30, 1, 1)",
    "DELETE FROM {table} WHERE id % 7 = 0",
    "UPDATE {table} SET name = 'changed' WHERE id < 5",
])  # fmt: skip


def _rolled_back(maker: Maker) -> None:
    maker.sql(f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg")
    for start in (0, 10, 20):
        maker.sql(f"{INSERT}({start}, {start + 10}, 1, 1)")
    maker.sql("DELETE FROM {table} WHERE id < 5")
    first = maker.snapshot_id(1)
    maker.sql("CALL {catalog}.system.rollback_to_snapshot('users', {id})", id=first)
    maker.sql(INSERT + "(100, 105, 1, 1)")


golden("histories-rolled-back", "iceberg", _rolled_back)
