"""Open ParqueDB's Iceberg tables with pyiceberg: a catalog that is nothing but the folders.

A table is a folder of the warehouse that holds ``metadata/vN.metadata.json`` (specification of
Iceberg, "File System Tables"), the layout of Java's Hadoop tables, so Spark, DuckDB and others
open the same folders. A commit creates the next ``vN`` if it is absent; the loser gets
pyiceberg's ``CommitFailedException``, on which pyiceberg tries again by itself.

    from parquedb.catalog import FilesystemCatalog

    table = FilesystemCatalog("lake", warehouse="./lake").load_table("users")

or, from pyiceberg's own configuration, ``py-catalog-impl: parquedb.catalog.FilesystemCatalog``.
"""

from __future__ import annotations

try:
    from parquedb.catalog.filesystem import FilesystemCatalog
    from parquedb.catalog.namespaces import LiteralFileIO
except ModuleNotFoundError as error:
    raise ImportError(
        f"parquedb.catalog needs pyiceberg ({error}): pip install 'parquedb[pyiceberg]'"
    ) from error

__all__ = ["FilesystemCatalog", "LiteralFileIO"]
