"""Native Parquet: a namespace that is a file or a folder of Parquet files, without metadata."""
