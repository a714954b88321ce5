"""What ``find`` returns: documents that are fetched as they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from parquedb.documents.entity import Entity
from parquedb.errors import InvalidInputError
from parquedb.slotted import dataclass

if TYPE_CHECKING:
    import polars
    import pyarrow

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where results come from.

    Args:
        documents: Search and yield the documents, each the caller's own.
        table: Search and return them as columns.
        explain: Say how the search is done.
    """

    documents: Callable[[], Iterator[Document]]
    table: Callable[[], pyarrow.Table]
    explain: Callable[[], dict[str, Any]]


class Found:
    """The result of a query. Nothing is read before it is asked for, and each use reads anew.

    Iterating takes the memory of a few thousand documents, however many there are.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[Entity]:
        return map(Entity, self._sources.documents())

    def __repr__(self) -> str:
        some = list(itertools.islice(self, 4))
        more = ", …" if len(some) > 3 else ""
        return f"<Found {', '.join(map(repr, some[:3]))}{more}>"

    def first(self) -> Entity | None:
        """Return the first document, None if there is none."""
        return next(iter(self), None)

    def to_list(self) -> list[Entity]:
        """Return all documents."""
        return list(self)

    def to_arrow(self) -> pyarrow.Table:
        """Return all documents as an Arrow table.

        Its columns are those of the collection's table: what has no typed column is JSON in
        ``$data``, a column that is left out where it would be empty.
        """
        return self._sources.table()

    def to_pandas(self) -> Any:
        """Return all documents as a pandas frame; pandas must be installed."""
        try:
            return self.to_arrow().to_pandas()
        except ModuleNotFoundError as error:
            raise InvalidInputError("to_pandas() needs pandas: pip install pandas") from error

    def to_polars(self) -> polars.DataFrame:
        """Return all documents as a Polars frame; Polars must be installed."""
        try:
            import polars  # noqa: PLC0415  (optional)
        except ImportError as error:
            raise InvalidInputError("to_polars() needs Polars: pip install polars") from error
        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)  # a table never is a series
        return frame

    def explain(self) -> dict[str, Any]:
        """Say how the search is done: files and row groups read and left out, SQL, the tail."""
        return self._sources.explain()
