"""Parquet files: types, footers, statistics, rows. Knows nothing of tables or logs."""
