"""Say how a query is run: what is read, what statistics leave out, what SQL is asked."""

from __future__ import annotations

from typing import Any

from parquedb.query.find import Executor, Query, direct_ids
from parquedb.query.positions import Finder
from parquedb.query.prune import may_match
from parquedb.query.view import Source, View


def explain(executor: Executor, view: View, query: Query) -> dict[str, Any]:
    """Return how a query is run over a view.

    ``files`` and ``row_groups`` say how many there are and how many can hold a match by their
    statistics; bloom filters leave out more row groups for equality on ``$id`` and indexed fields.
    ``decided_by`` is ``"sql"`` where SQL decides about every row, ``"sql and Python"`` where some
    rows must be looked at as documents too, ``"ids"`` where the filter names the documents.

    Args:
        executor: Searches.
        view: Where to search.
        query: What to find.
    """
    ids = direct_ids(query.filter)
    groups_read = groups = files_read = 0
    for source in view.sources:
        file = executor.blocks.open(source)
        groups += len(file.groups)
        if not _file_may_match(source, query):
            continue
        read = sum(_group_may_match(executor, source, query, i) for i in range(len(file.groups)))
        groups_read += read
        files_read += read > 0
    exact, ordered = executor.finder.decides(view, query.filter, query.sort)
    return {
        "files": {"total": len(view.sources), "read": files_read},
        "row_groups": {"total": groups, "read": groups_read},
        "tail": {"documents": len(view.overlay)},
        "decided_by": "ids" if ids is not None else "sql" if exact else "sql and Python",
        "sorted_by": None if not query.sort else "sql" if ordered else "Python",
        "sql": None if ids is not None or not files_read else _sql(executor.finder, view, query),
    }


def _sql(finder: Finder, view: View, query: Query) -> str:
    return finder.statement(view, query.filter, query.sort)


def _file_may_match(source: Source, query: Query) -> bool:
    stats = source.file.stats
    if stats is None or source.file.rows is None:
        return True
    return may_match(
        query.filter,
        source.schema,
        stats.lower,
        stats.upper,
        stats.nulls,
        source.file.rows,
        overflow=source.overflows,
    )


def _group_may_match(executor: Executor, source: Source, query: Query, index: int) -> bool:
    file = executor.blocks.open(source)
    stats = file.group_stats(index)
    return may_match(
        query.filter,
        source.schema,
        stats.lower,
        stats.upper,
        stats.nulls,
        file.groups[index].rows,
        overflow=source.overflows,
    )
