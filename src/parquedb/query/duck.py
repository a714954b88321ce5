"""The DuckDB that searches: in memory, opened when it is first needed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

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


def quote(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL string literal; NUL cannot be in one (see :mod:`.sql`)."""
    return "'" + text.replace("'", "''") + "'"
