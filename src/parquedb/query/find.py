"""Run queries over a view: rows by position from its files, the overlay by Python, merged."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parquedb.errors import InvalidInputError
from parquedb.parquet.groups import GroupFile
from parquedb.query.blocks import Blocks
from parquedb.query.duck import Duck
from parquedb.query.filter import (
    EVERYTHING,
    And,
    At,
    Bound,
    Compares,
    Equals,
    Exists,
    Filter,
    In,
    Not,
)
from parquedb.query.match import compile_match
from parquedb.query.positions import Finder, Hits
from parquedb.query.sort import SortKey, sort_key
from parquedb.query.view import Document, View, own_copy, owned
from parquedb.rows.assemble import assemble
from parquedb.slotted import dataclass

_FIRST_CHUNK = 128
_CHUNK = 4096
_BY_ID = (SortKey(("$id",)),)
_MAX_DIRECT_IDS = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """What to find.

    Args:
        filter: Which documents.
        sort: In which order; by ``$id`` without one.
        skip: How many to leave out at the beginning.
        limit: How many at most, None for all.
        after: Only those that come after the document of this id in the order.
    """

    filter: Filter = EVERYTHING
    sort: tuple[SortKey, ...] = ()
    skip: int = 0
    limit: int | None = None
    after: str | None = None


class Executor:
    """Runs queries.

    Args:
        blocks: Where rows are fetched from.
        duck: Where SQL is run.
    """

    def __init__(self, blocks: Blocks, duck: Duck) -> None:
        self.blocks = blocks
        self.finder = Finder(blocks, duck)

    def get(self, view: View, id_: str) -> Document | None:
        """Return the document of an id, None if there is none."""
        if id_ in view.overlay:
            return owned(view.overlay[id_])
        for source in view.holders(id_):
            found = self.blocks.get(source, id_)
            if found is not None:
                return found
        return None

    def documents(self, view: View, query: Query) -> Iterator[Document]:
        """Yield the documents that a query finds, in its order and bounded memory.

        They are the taker's own. What must be consistent is read before this returns.

        Memory is that of the positions (a few bytes a hit) and a chunk of documents; where SQL
        cannot sort, of all documents found or, with a limit, of as many as that.
        """
        if query.after is not None and not query.sort:
            later = At(("$id",), Compares(Bound.GREATER, query.after))
            query = replace(query, filter=And((query.filter, later)), sort=_BY_ID, after=None)
        direct = direct_ids(query.filter)
        if direct is not None:
            found = self._direct(view, direct, query.filter)
            merged = self._sorted(found, query)
        else:
            merged = self._searched(view, query)
        if query.after is not None:
            merged = self._after(view, merged, query)
        stop = None if query.limit is None else query.skip + query.limit
        return itertools.islice(merged, query.skip, stop)

    def count(self, view: View, filter_: Filter) -> int:
        """Count the documents that match."""
        matches = compile_match(filter_)
        newer = sum(1 for d in view.overlay.values() if d is not None and matches(d))
        if not view.sources:
            return newer
        direct = direct_ids(filter_)
        if direct is not None:
            return sum(1 for _ in self._direct(view, direct, filter_))
        exact = self.finder.count(view, filter_)
        if exact is not None:
            return newer + exact
        hits = self.finder.find(view, filter_)
        certain = int((~hits.unsure).sum())
        doubtful = Hits(
            hits.sources[hits.unsure],
            hits.rows[hits.unsure],
            hits.unsure[hits.unsure],
            ordered=True,
        )
        return newer + certain + sum(1 for _ in self.fetch(view, doubtful, matches))

    def exists(self, view: View, filter_: Filter) -> bool:
        """Whether a document matches."""
        return next(self.documents(view, Query(filter_, limit=1)), None) is not None

    def fetch(
        self, view: View, hits: Hits, matches: Callable[[Document], bool]
    ) -> Iterator[Document]:
        """Yield the documents at positions, in their order, without those found not to match.

        The files are held from now on, also if they are replaced before the end.
        """
        held = self.blocks.hold([view.sources[int(n)] for n in np.unique(hits.sources)])
        return self._fetched(view, hits, matches, held)

    def _fetched(
        self,
        view: View,
        hits: Hits,
        matches: Callable[[Document], bool],
        held: Sequence[GroupFile],  # noqa: ARG002  (kept until the end)
    ) -> Iterator[Document]:
        keep = self.blocks.worth_keeping(view.sources)
        start, size = 0, _FIRST_CHUNK
        while start < len(hits):
            end = start + size
            part = slice(start, end)
            documents = self._fetch_chunk(view, hits, part, keep=keep)
            for document, unsure in zip(documents, hits.unsure[part], strict=True):
                if not unsure or matches(document):
                    yield document
            start, size = end, _CHUNK

    def _fetch_chunk(self, view: View, hits: Hits, part: slice, *, keep: bool) -> list[Document]:
        sources, rows = hits.sources[part], hits.rows[part]
        numbers = np.unique(sources)
        if len(numbers) == 1:
            source = view.sources[int(numbers[0])]
            return assemble(self.blocks.take(source, rows, keep=keep), source.schema)
        found: list[Document | None] = [None] * len(rows)
        for number in numbers:
            places = np.flatnonzero(sources == number)
            source = view.sources[int(number)]
            taken = assemble(self.blocks.take(source, rows[places], keep=keep), source.schema)
            for place, document in zip(places.tolist(), taken, strict=True):
                found[place] = document
        return [document for document in found if document is not None]

    def _searched(self, view: View, query: Query) -> Iterator[Document]:
        matches = compile_match(query.filter)
        newer = [own_copy(d) for d in view.overlay.values() if d is not None and matches(d)]
        if not view.sources:
            return self._sorted(newer, query)
        needed = None
        if query.limit is not None and query.after is None:
            needed = query.skip + query.limit
        hits = self.finder.find(view, query.filter, sort=query.sort, limit=needed)
        stored = self.fetch(view, hits, matches)
        if not hits.ordered:
            return self._sorted(itertools.chain(stored, newer), query)
        if not newer:
            return stored
        key = order_key(query.sort)
        return heapq.merge(stored, sorted(newer, key=key), key=key)

    def _direct(self, view: View, ids: Iterable[str], filter_: Filter) -> list[Document]:
        matches = compile_match(filter_)
        found = (self.get(view, id_) for id_ in ids)
        return [document for document in found if document is not None and matches(document)]

    def _sorted(self, documents: Iterable[Document], query: Query) -> Iterator[Document]:
        key = order_key(query.sort)
        if query.limit is not None and query.after is None:
            return iter(heapq.nsmallest(query.skip + query.limit, documents, key=key))
        return iter(sorted(documents, key=key))

    def _after(self, view: View, merged: Iterator[Document], query: Query) -> Iterator[Document]:
        assert query.after is not None  # as the caller says
        last = self.get(view, query.after)
        if last is None:
            raise InvalidInputError(
                f"the page after {query.after!r} cannot be found: there is no such document any "
                "more; begin at the first page, or page in the order of '$id'"
            )
        key = order_key(query.sort)
        reached = key(last)
        return itertools.dropwhile(lambda document: not reached < key(document), merged)


def order_key(sort: tuple[SortKey, ...]) -> Callable[[Document], Any]:
    """Return the key of an order; documents that are equal in it are ordered by ``$id``.

    Rows of a table that holds no documents have none, and stay as they come.
    """
    if not sort:
        return _id_of
    inner = sort_key(sort)
    return lambda document: (inner(document), _id_of(document))


def _id_of(document: Document) -> Any:
    return document.get("$id", "")


def direct_ids(filter_: Filter) -> list[str] | None:
    """Return the ids that a filter confines its matches to, None if it does not name them."""
    match filter_:
        case At(("$id",), Equals(value)):
            return [value] if isinstance(value, str) else None
        case At(("$id",), In(values, ())) if len(values) <= _MAX_DIRECT_IDS:
            texts = [value for value in values if isinstance(value, str)]
            return sorted(set(texts)) if len(texts) == len(values) else None
        case And(parts):
            found = (direct_ids(part) for part in parts)
            return next((ids for ids in found if ids is not None), None)
        case _:
            return None


def alive(filter_: Filter) -> Filter:
    """Return a filter that leaves out deleted documents too."""
    return And((filter_, Not(At(("deletedAt",), Exists()))))
