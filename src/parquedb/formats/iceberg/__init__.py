"""The iceberg dialect."""
