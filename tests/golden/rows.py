"""Row-level deletes: Iceberg's position and equality deletes, Delta's deletion vectors."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from tests.golden.tables import Maker, golden

COLUMNS = "id BIGINT, name STRING, score DOUBLE"
INSERT = "INSERT INTO {table} SELECT /*+ COALESCE(1) */ id, concat('n', id % 3), id / 4 FROM range"
MERGE = (
    "MERGE INTO {table} t USING (SELECT 3 AS id UNION ALL SELECT 9000) s ON t.id = s.id "
    "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'm')"
)


def _merge_on_read(granularity: str, partitioning: str = "") -> list[str]:
    return [
        f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg {partitioning} TBLPROPERTIES ("
        "'format-version' = '2', 'write.delete.mode' = 'merge-on-read', "
        "'write.update.mode' = 'merge-on-read', 'write.merge.mode' = 'merge-on-read', "
        f"'write.delete.granularity' = '{granularity}')",
        INSERT + "(0, 30, 1, 1)",
        INSERT + "(30, 60, 1, 1)",
        "DELETE FROM {table} WHERE id % 7 = 0",  # positions in both files
        "UPDATE {table} SET name = 'changed' WHERE id IN (1, 40)",
        MERGE,
        "DELETE FROM {table} WHERE id % 11 = 0",
    ]


golden("rows-positions", "iceberg", [
    *_merge_on_read("partition"),
    "CALL {catalog}.system.rewrite_position_delete_files('users', map('rewrite-all', 'true'))",
    "CALL {catalog}.system.rewrite_data_files(table => 'users', "
    "options => map('rewrite-all', 'true'))",
    "DELETE FROM {table} WHERE id = 20",
])  # fmt: skip
golden("rows-positions-partitioned", "iceberg", _merge_on_read("file", "PARTITIONED BY (name)"))


def _undone(maker: Maker) -> None:
    for statement in _merge_on_read("partition"):
        maker.sql(statement)
    maker.sql("CALL {catalog}.system.rollback_to_snapshot('users', {id})", id=maker.snapshot_id(1))
    maker.sql("DELETE FROM {table} WHERE id < 3")


golden("rows-positions-rolled-back", "iceberg", _undone)


def _equality(maker: Maker) -> None:
    """Spark cannot write equality deletes; Iceberg's own library commits these files."""
    maker.sql(
        f"CREATE TABLE {{table}} ({COLUMNS}) USING iceberg TBLPROPERTIES ('format-version' = '2')"
    )
    maker.sql(INSERT + "(0, 20, 1, 1)")
    _delete_equal(maker, "a", [1], pa.table({"id": pa.array([3, 4, 99], pa.int64())}))
    maker.sql(INSERT + "(3, 6, 1, 1)")  # not reached by the deletes before it
    _delete_equal(
        maker,
        "b",
        [1, 2],
        pa.table({"id": pa.array([7, 8, 9], pa.int64()), "name": ["n1", "n1", None]}),
    )
    maker.sql("DELETE FROM {table} WHERE id = 19")
    _delete_equal(maker, "c", [1], pa.table({"id": pa.array([5, 0], pa.int64())}))


def _delete_equal(maker: Maker, name: str, ids: list[int], rows: pa.Table) -> None:
    numbered = [
        field.with_metadata({"PARQUET:field_id": str(id_)})
        for id_, field in zip(ids, rows.schema, strict=True)
    ]
    path = maker.folder / "data" / f"equal-{name}.parquet"
    pq.write_table(rows.cast(pa.schema(numbered)), path)
    jvm = maker.spark._jvm
    gateway = maker.spark.sparkContext._gateway
    assert jvm is not None
    assert gateway is not None
    columns = gateway.new_array(jvm.int, len(ids))
    for at, id_ in enumerate(ids):
        columns[at] = id_
    table = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(
        maker.spark._jsparkSession, maker.table
    )
    deletes = (
        jvm.org.apache.iceberg.FileMetadata.deleteFileBuilder(table.spec())
        .ofEqualityDeletes(columns)
        .withPath(f"file://{path}")
        .withFormat("parquet")
        .withFileSizeInBytes(path.stat().st_size)
        .withRecordCount(rows.num_rows)
        .build()
    )
    table.newRowDelta().addDeletes(deletes).commit()


golden("rows-equality", "iceberg", _equality)


def _vectors(partitioning: str = "") -> list[str]:
    return [
        f"CREATE TABLE {{table}} ({COLUMNS}) USING delta {partitioning} "
        "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')",
        INSERT + "(0, 30, 1, 1)",
        INSERT + "(30, 60, 1, 1)",
        "DELETE FROM {table} WHERE id % 7 = 0",
        "UPDATE {table} SET name = 'changed' WHERE id IN (1, 40)",
        "DELETE FROM {table} WHERE id % 11 = 0",  # more of the same files
        MERGE,
    ]


golden("rows-vectors", "delta", [
    *_vectors(),
    "RESTORE TABLE {table} TO VERSION AS OF 3",
    "DELETE FROM {table} WHERE id BETWEEN 10 AND 20",
    "OPTIMIZE {table}",
    "RESTORE TABLE {table} TO VERSION AS OF 5",
    "REORG TABLE {table} APPLY (PURGE)",
    "DELETE FROM {table} WHERE id = 20",
])  # fmt: skip
golden("rows-vectors-partitioned", "delta", _vectors("PARTITIONED BY (name)"), format_version=3)
