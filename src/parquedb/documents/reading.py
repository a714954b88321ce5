"""How a collection is read: now, at a version or time, and inside a transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from parquedb.documents.transaction import Transactions
from parquedb.errors import InvalidInputError, NotFoundError
from parquedb.query.view import Document, View, owned

if TYPE_CHECKING:
    import pyarrow

    from parquedb.namespace.past import ReadableNamespace
    from parquedb.query.filter import Filter
    from parquedb.query.find import Query

AsOf = int | str | datetime | None
Projected = Callable[[Document], Document]

_ENDLESS = 1 << 60
"""More documents than there are."""
_VERSION = re.compile(r"-?[0-9]{1,40}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reading:
    """Reads one namespace.

    Args:
        space: The namespace.
        transactions: The transactions of the database.
    """

    def __init__(self, space: ReadableNamespace, transactions: Transactions) -> None:
        self._space = space
        self._transactions = transactions

    def parse(
        self,
        filter_: Mapping[str, Any],
        sort: Any = None,
        limit: int | None = None,
        skip: int = 0,
        project: Any = None,
        after: str | None = None,
        *,
        include_deleted: bool = False,
    ) -> tuple[Query, Projected | None]:
        """Parse what a user asks for.

        Raises:
            InvalidInputError: Something of it is not acceptable.
        """
        # here and below: a get does without these modules
        from parquedb.query.find import Query, alive  # noqa: PLC0415
        from parquedb.query.parse import parse_filter, parse_projection, parse_sort  # noqa: PLC0415

        _check_number("limit", limit)
        _check_number("skip", skip)
        condition = parse_filter(filter_)
        if not include_deleted:
            condition = alive(condition)
        if after is not None:
            after = self.key(after)
        skip = min(skip, _ENDLESS)
        limit = None if limit is None else min(limit, _ENDLESS)
        query = Query(condition, parse_sort(sort), skip, limit, after)
        if project is None:
            return query, None
        from parquedb.query.project import compile_projection  # noqa: PLC0415

        return query, compile_projection(parse_projection(project))

    def get(self, key: str, as_of: AsOf = None) -> Document | None:
        """Return a stored image, the taker's own."""
        if as_of is None:
            pending = self._transactions.pending(self._space)
            if key in pending:
                return owned(pending[key])
            return self._space.get(key)
        return self._space.retrying(lambda: self._space.executor.get(self.view(as_of), key))

    def key(self, id_: str) -> str:
        """Return an id with its namespace.

        Raises:
            InvalidInputError: It is no string.
        """
        name = self._space.name
        if not isinstance(id_, str):
            raise InvalidInputError(f"an id is a string such as '{name}/01J…', not {id_!r}")
        return id_ if id_.startswith(f"{name}/") else f"{name}/{id_}"

    def not_found(self, key: str) -> NotFoundError:
        """Return the error for a document that is not there."""
        return NotFoundError(f"there is no document {key!r} in {self._space.store.root!r}")

    def for_write(self, key: str) -> Document | None:
        """Return a stored image that a write depends on, the taker's own."""
        transaction = self._transactions.current
        if transaction is None:
            return self._space.get(key)
        if transaction.space is self._space and key in transaction.pending:
            return owned(transaction.pending[key])
        found = self._space.get(key)
        transaction.see(key, found)
        return found

    def first_for_write(self, condition: Filter) -> Document | None:
        """Return the first document that matches and is not deleted."""
        from parquedb.query.find import Query, alive  # noqa: PLC0415

        query = Query(alive(condition), limit=1)
        return next(self.documents_for_write(query), None)

    def documents_for_write(self, query: Query) -> Iterator[Document]:
        """Yield documents that a write depends on."""
        transaction = self._transactions.current
        for document in self.documents(query):
            if transaction is not None and document["$id"] not in transaction.pending:
                transaction.see(document["$id"], document)
            yield document

    def documents(self, query: Query, as_of: AsOf = None) -> Iterator[Document]:
        """Search; the documents are the taker's own."""
        space = self._space
        return space.retrying(lambda: space.executor.documents(self.view(as_of), query))

    def count(self, condition: Filter, as_of: AsOf = None) -> int:
        """Count the documents that match."""
        space = self._space
        return space.retrying(lambda: space.executor.count(self.view(as_of), condition))

    def table(self, query: Query, project: Any, as_of: AsOf = None) -> pyarrow.Table:
        """Search and return the documents as columns."""
        from parquedb.query.columns import find_table  # noqa: PLC0415
        from parquedb.query.parse import parse_projection  # noqa: PLC0415

        projection = None if project is None else parse_projection(project)
        space = self._space
        return space.retrying(
            lambda: find_table(space.executor, self.view(as_of), query, projection)
        )

    def distinct(self, field: str, query: Query, as_of: AsOf = None) -> list[Any]:
        """Return the different values of a field."""
        from parquedb.query.columns import distinct_values  # noqa: PLC0415

        space = self._space
        return space.retrying(
            lambda: distinct_values(space.executor, self.view(as_of), field, query)
        )

    def aggregate(
        self, pipeline: Sequence[Mapping[str, Any]], as_of: AsOf = None, *, include_deleted: bool
    ) -> list[Document]:
        """Run an aggregation pipeline."""
        from parquedb.query.filter import EVERYTHING  # noqa: PLC0415
        from parquedb.query.find import alive  # noqa: PLC0415
        from parquedb.query.pipelines import run_over  # noqa: PLC0415

        space = self._space
        existing = EVERYTHING if include_deleted else alive(EVERYTHING)
        return space.retrying(
            lambda: run_over(space.executor, self.view(as_of), pipeline, existing, space.ambient)
        )

    def explain(self, query: Query, as_of: AsOf = None) -> dict[str, Any]:
        """Say how a search is done."""
        from parquedb.query.explain import explain  # noqa: PLC0415

        space = self._space
        return space.retrying(lambda: explain(space.executor, self.view(as_of), query))

    def view(self, as_of: AsOf = None) -> View:
        """Return the namespace now, or at a version or time."""
        if as_of is not None:
            version, at_us = parse_as_of(as_of)
            return self._space.view_at(version=version, at_us=at_us)
        view = self._space.view()
        pending = self._transactions.pending(self._space)
        if pending:
            view = replace(view, overlay={**view.overlay, **pending})
        return view


def parse_as_of(as_of: int | str | datetime) -> tuple[int | None, int | None]:
    """Return the version, or the time in microseconds since the epoch, that is meant.

    Raises:
        InvalidInputError: It is neither.
    """
    if isinstance(as_of, bool):
        raise InvalidInputError(f"as_of is a version or a time, not {as_of!r}")
    if isinstance(as_of, int):
        return as_of, None
    if isinstance(as_of, str):
        if _VERSION.fullmatch(as_of):
            return int(as_of), None
        try:
            as_of = datetime.fromisoformat(as_of)
        except ValueError as error:
            raise InvalidInputError(
                f"as_of {as_of!r} is neither a version nor a time such as '2026-01-31T12:00:00Z'"
            ) from error
    if isinstance(as_of, datetime):
        aware = as_of if as_of.tzinfo is not None else as_of.replace(tzinfo=UTC)
        passed = aware - _EPOCH
        return None, (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    if isinstance(as_of, date):
        return parse_as_of(datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC))
    raise InvalidInputError(f"as_of is a version or a time, not {as_of!r}")


def _check_number(name: str, value: object) -> None:
    if value is None and name == "limit":
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"{name} is a number of documents, 0 or more, not {value!r}")
