"""SQL over collections: DuckDB sees each as a view of its files with the tail laid over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from parquedb.errors import InvalidInputError
from parquedb.query.blocks import Blocks
from parquedb.query.columns import table_of
from parquedb.query.duck import Duck, gather
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


def named_in(query: str, names: Iterable[str]) -> list[str]:
    """Return the collections that a query may name, in whatever case.

    Raises:
        InvalidInputError: Two of them differ only by case, which DuckDB takes for one name.
    """
    folded = query.casefold()
    alike: dict[bytes, list[str]] = {}
    for name in names:
        if _occurs(name.casefold(), folded):
            alike.setdefault(name.encode().lower(), []).append(name)
    found: list[str] = []
    for same in alike.values():
        exact = same if len(same) == 1 else [name for name in same if _occurs(name, query)]
        if len(exact) != 1:
            raise InvalidInputError(
                f"the collections {', '.join(map(repr, same))} differ only by case, and SQL takes "
                "their names as one; name one of them, exactly, or use find and aggregate"
            )
        found += exact
    return found


def _occurs(name: str, text: str) -> bool:
    """Whether a name is in a text, and not only inside of a longer word."""
    at = text.find(name)
    while at >= 0:
        end = at + len(name)
        begins = not (at and _is_word(text[at - 1]) and _is_word(name[0]))
        if begins and not (_is_word(text[end : end + 1]) and _is_word(name[-1])):
            return True
        at = text.find(name, at + 1)
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


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
                table = gather(cursor, query, params)
                if table is None:
                    raise InvalidInputError("the SQL holds no statement; write a SELECT")
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
