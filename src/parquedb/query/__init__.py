"""Queries: filters, sorting, projections and aggregation, in Python and as DuckDB SQL."""
