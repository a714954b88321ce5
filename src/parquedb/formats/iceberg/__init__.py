"""Apache Iceberg: tables in a file-system layout, format versions 1 to 3 read, 2 and 3 written."""
