"""Documents out of files and into files: JSON, NDJSON, CSV, Parquet."""
