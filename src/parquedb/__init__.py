"""ParqueDB: tables that move between native Parquet, Apache Iceberg and Delta Lake."""

__version__ = "0.1.0"
