"""Apache Spark with its Iceberg and Delta packages as an independent reader and writer.

One session serves the whole run (``spark`` fixture). Spark's own package resolver fetches the
pinned packages into ``.ivy/``; the second run needs no network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.java import ADVICE, find_java

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

PACKAGES = (
    "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.0",
    "io.delta:delta-spark_2.12:3.3.2",
)
_PROJECT = Path(__file__).parents[2]
_TRUSTED = Path("/etc/ssl/certs/java/cacerts")


@contextmanager
def spark_session(scratch: Path) -> Iterator[SparkSession]:
    """Start Spark in this process; stop it and its Java process at the end.

    Args:
        scratch: An empty folder for Spark's own files.

    Raises:
        RuntimeError: There is no suitable Java.
    """
    home = find_java()
    if home is None:
        raise RuntimeError(ADVICE)
    os.environ["JAVA_HOME"] = str(home)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("parquedb-tests")
    for key, value in _settings(scratch).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    gateway = session.sparkContext._gateway
    try:
        yield session
    finally:
        session.stop()
        _end(gateway)


def iceberg_catalog(spark: SparkSession, warehouse: Path) -> str:
    """Return the name of an Iceberg catalog of type ``hadoop`` over a folder.

    A table is then ``{name}.{namespace}.{table}``, or ``{name}.{table}`` right in the folder.
    """
    name = f"at_{abs(hash(warehouse)):x}"
    spark.conf.set(f"spark.sql.catalog.{name}", "org.apache.iceberg.spark.SparkCatalog")
    spark.conf.set(f"spark.sql.catalog.{name}.type", "hadoop")
    spark.conf.set(f"spark.sql.catalog.{name}.warehouse", f"file://{warehouse}")
    spark.conf.set(f"spark.sql.catalog.{name}.cache-enabled", "false")
    return name


def read_iceberg_at(
    spark: SparkSession,
    folder: str | Path,
    *,
    snapshot_id: int | None = None,
    timestamp_ms: int | None = None,
) -> list[dict[str, object]]:
    """Read the Iceberg table in a folder; the newest snapshot by default.

    Args:
        spark: The session.
        folder: The table's folder, with ``metadata/version-hint.text``.
        snapshot_id: Which snapshot.
        timestamp_ms: Or the snapshot as of a time, milliseconds since the epoch.
    """
    reader = spark.read.format("iceberg")
    if snapshot_id is not None:
        reader = reader.option("snapshot-id", str(snapshot_id))
    if timestamp_ms is not None:
        reader = reader.option("as-of-timestamp", str(timestamp_ms))
    return rows_of(reader.load(f"file://{Path(folder).absolute()}"))


def read_delta_at(
    spark: SparkSession,
    folder: str | Path,
    *,
    version: int | None = None,
    timestamp_ms: int | None = None,
) -> list[dict[str, object]]:
    """Read the Delta table in a folder; the newest version by default.

    Args:
        spark: The session.
        folder: The table's folder.
        version: Which version.
        timestamp_ms: Or the version as of a time, milliseconds since the epoch; not after the
            newest version's own, which Spark refuses.
    """
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", str(version))
    if timestamp_ms is not None:
        at = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
        reader = reader.option("timestampAsOf", at.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return rows_of(reader.load(f"file://{Path(folder).absolute()}"))


def rows_of(frame: DataFrame) -> list[dict[str, object]]:
    """Collect a frame as dicts; points in time get the zone that Spark leaves out."""
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    return [
        {name: _zoned(kinds[name], value) for name, value in row.asDict().items()}
        for row in frame.collect()
    ]


def _zoned(kind: DataType, value: object) -> object:
    from pyspark.sql import Row
    from pyspark.sql.types import ArrayType, MapType, StructType, TimestampType

    match kind, value:
        case _, None:
            return None
        case TimestampType(), datetime():
            return value.astimezone(UTC)  # collected as local time without a zone
        case StructType(fields=fields), Row():
            return {field.name: _zoned(field.dataType, value[field.name]) for field in fields}
        case ArrayType(elementType=element), list():
            return [_zoned(element, item) for item in value]
        case MapType(keyType=key, valueType=inner), dict():
            return {_zoned(key, k): _zoned(inner, v) for k, v in value.items()}
        case _:
            return value


def _settings(scratch: Path) -> dict[str, str]:
    quiet = Path(__file__).with_name("log4j2.properties")
    java = f"-Dlog4j2.configurationFile=file:{quiet} -Dderby.system.home={scratch}"
    # short queries: start fast, and keep what was compiled once; by default there is room for less
    java += " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=400m"
    # much short-lived garbage and some ten thousand classes: no room of either is outgrown often
    java += " -Xms1g -Xmn512m -XX:MetaspaceSize=512m"
    if _TRUSTED.is_file():  # what this machine trusts, also for a Java that was not packaged by it
        java += f" -Djavax.net.ssl.trustStore={_TRUSTED}"
    return {
        "spark.jars.ivy": str(_PROJECT / ".ivy"),
        "spark.jars.packages": ",".join(PACKAGES),
        "spark.driver.extraJavaOptions": java,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "3g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(scratch / "local"),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension,"
        "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # moments before 1582 and 1900 as they are, also in files that Spark did not write
        "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
        "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
        # small tables: one task each, instead of 200 and 50
        "spark.sql.shuffle.partitions": "1",
        "spark.default.parallelism": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
        "spark.sql.adaptive.enabled": "false",
        # for a few rows: expressions interpreted, not written as Java and compiled
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.subexpressionElimination.enabled": "false",
        "spark.sql.ui.explainMode": "simple",
        # what is compiled all the same comes again in other tests; by default 100 are kept
        "spark.sql.codegen.cache.maxEntries": "5000",
    }


def _end(gateway: object) -> None:
    """End the Java process, which Spark would leave to the end of this one."""
    from py4j.java_gateway import JavaGateway
    from pyspark import SparkContext

    assert isinstance(gateway, JavaGateway)
    process = getattr(gateway, "proc", None)
    gateway.shutdown()
    SparkContext._gateway = None
    SparkContext._jvm = None
    if process is not None:
        process.stdin.close()  # Java ends when its input does
        process.wait(timeout=60)
