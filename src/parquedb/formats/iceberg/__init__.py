"""Apache Iceberg: tables in a file-system layout, format versions 1 and 2 read, 2 written."""
