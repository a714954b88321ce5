"""Aggregation pipelines over a view: what can be by the engine, the rest over documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from parquedb.ambient import Ambient
from parquedb.query.aggregate import leading_match, run_pipeline
from parquedb.query.expression import NOW
from parquedb.query.filter import And, Filter
from parquedb.query.find import Executor, Query
from parquedb.query.group import Group, Groups
from parquedb.query.group_sql import compile_group
from parquedb.query.match import compile_match
from parquedb.query.stages import Count, Pipeline, parse_pipeline
from parquedb.query.view import Document, View, own_copy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run_over(
    executor: Executor,
    view: View,
    stages: Sequence[Mapping[str, Any]],
    alive: Filter,
    ambient: Ambient,
) -> list[Document]:
    """Run a pipeline.

    A ``$match`` at the beginning is searched for like a filter, and a ``$group`` after it is left
    to DuckDB where its result is exactly the same.

    Args:
        executor: Searches.
        view: The documents.
        stages: The pipeline as a user wrote it.
        alive: Which documents there are.
        ambient: The clock, for ``$$NOW``.

    Raises:
        InvalidInputError: A stage is not acceptable.
    """
    now = _EPOCH + timedelta(microseconds=ambient.now_us())
    first, rest = leading_match(parse_pipeline(stages, variables={NOW: now}))
    condition = alive if first is None else And((first, alive))
    if rest.stages and isinstance(rest.stages[0], Count):
        total = executor.count(view, condition)
        counted = [{rest.stages[0].name: total}] if total else []
        return list(run_pipeline(Pipeline(rest.stages[1:]), counted))
    grouped = _grouped(executor, view, condition, rest)
    if grouped is not None:
        return list(run_pipeline(Pipeline(rest.stages[1:]), grouped))
    return list(run_pipeline(rest, executor.documents(view, Query(condition))))


def _grouped(
    executor: Executor, view: View, condition: Filter, pipeline: Pipeline
) -> Iterator[Document] | None:
    """Return what a leading ``$group`` yields, None where all documents must be looked at."""
    stage = pipeline.stages[0] if pipeline.stages else None
    if not isinstance(stage, Group) or not view.sources:
        return None
    found = executor.finder.group(view, condition, lambda schema: compile_group(pipeline, schema))
    if found is None:
        return None
    groups = Groups(stage)
    for sql, rows in found:
        if not sql.feed(groups, rows):
            return None
    matches = compile_match(condition)
    for document in view.overlay.values():
        if document is not None and matches(document):
            groups.add(own_copy(document))
    return groups.documents()
