"""The DuckDB that searches: in memory, opened when it is first needed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "enable_progress_bar": "false",
    "parquet_metadata_cache": "true",
}


class Duck:
    """A DuckDB instance of our own, with a cursor for each use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new connection to the instance; the caller closes it."""
        with self._lock:
            if self._connection is None:
                import duckdb  # noqa: PLC0415  (a get does without it)

                self._connection = duckdb.connect()
                with contextlib.suppress(duckdb.CatalogException):
                    # without ICU there is no such setting, and all times are UTC
                    self._connection.execute("SET TimeZone = 'UTC'")
                for name, value in _SETTINGS.items():
                    self._connection.execute(f"SET {name} = {value}")
            return self._connection.cursor()

    def close(self) -> None:
        """Close the instance."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def gather(cursor: duckdb.DuckDBPyConnection, query: str, params: object = None) -> pa.Table | None:
    """Run SQL and return the rows of its last statement, None if there is no statement.

    DuckDB 2 warns that what a cursor holds is copied once more on its way to Arrow, and DuckDB 1
    gathers a relation's rows on one thread and has none for ``COPY``: each is asked its own way.
    """
    import duckdb  # noqa: PLC0415  (a get does without it)

    if int(duckdb.__version__.partition(".")[0]) < 2:
        held = cursor.execute(query) if params is None else cursor.execute(query, params)
        return None if held is None else held.to_arrow_table()
    relation = cursor.sql(query, params=params)
    return None if relation is None else relation.to_arrow_table()


def quote(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL string literal; NUL cannot be in one (see :mod:`.sql`)."""
    return "'" + text.replace("'", "''") + "'"
