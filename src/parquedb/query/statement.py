"""SQL over collections: DuckDB sees each as a view of its files with the tail laid over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from parquedb.errors import InvalidInputError
from parquedb.query.blocks import Blocks
from parquedb.query.columns import table_of
from parquedb.query.duck import Duck
from parquedb.query.positions import Finder
from parquedb.query.view import StaleError, View

if TYPE_CHECKING:
    import duckdb


class Searchable(Protocol):
    """A namespace as far as SQL needs it."""

    blocks: Blocks

    def view(self) -> View:
        """Return it as it is now."""
        ...

    def retrying(self, read: Callable[[], Any]) -> Any:
        """Run something that reads, again if files were replaced under it."""
        ...


def run_sql(
    duck: Duck, spaces: Mapping[str, Searchable], query: str, params: object = None
) -> pa.Table:
    """Run a query over namespaces by their names.

    Args:
        duck: Where it runs.
        spaces: The namespaces that it may name.
        query: The SQL.
        params: Values of its placeholders, a list or a mapping, or None.

    Raises:
        InvalidInputError: The query is not valid.
    """

    def run() -> pa.Table:
        import duckdb  # noqa: PLC0415

        with closing(duck.cursor()) as cursor:
            views = {name: _define(cursor, duck, name, space) for name, space in spaces.items()}
            try:
                result = (
                    cursor.execute(query, params) if params is not None else (cursor.execute(query))
                )
                if result is None:
                    raise InvalidInputError("the SQL holds no statement; write a SELECT")
                table = result.to_arrow_table()
                _check(spaces, views)
                return table
            except duckdb.Error as error:
                _check(spaces, views)
                names = ", ".join(map(repr, spaces)) or "none that it names"
                raise InvalidInputError(
                    f"the SQL cannot be run ({error}); the collections in it are {names}"
                ) from error

    if not spaces:
        return run()
    first = next(iter(spaces.values()))
    table: pa.Table = first.retrying(run)
    return table


def _check(spaces: Mapping[str, Searchable], views: Mapping[str, View]) -> None:
    """Make sure that no file was replaced while it was read."""
    for name, view in views.items():
        blocks = spaces[name].blocks
        for source in view.sources:
            blocks.check(source)
            if blocks.store.head(source.file.path) is None:
                raise StaleError(f"{source.file.path!r} is gone")


def _define(cursor: duckdb.DuckDBPyConnection, duck: Duck, name: str, space: Searchable) -> View:
    view = space.view()
    newer = [d for d in view.overlay.values() if d is not None and "deletedAt" not in d]
    Finder(space.blocks, duck).define_view(cursor, name, view, table_of(newer, view.schema))
    return view
