"""Aggregation pipelines over a view: the leading match by the engine, the rest over documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parquedb.ambient import Ambient
from parquedb.query.aggregate import leading_match, parse_pipeline, run_pipeline
from parquedb.query.filter import And, Filter
from parquedb.query.find import Executor, Query
from parquedb.query.view import Document, View


def run_over(
    executor: Executor,
    view: View,
    stages: Sequence[Mapping[str, Any]],
    alive: Filter,
    ambient: Ambient,
) -> list[Document]:
    """Run a pipeline.

    Args:
        executor: Searches.
        view: The documents.
        stages: The pipeline as a user wrote it.
        alive: Which documents there are.
        ambient: The clock, for ``$$NOW``.

    Raises:
        InvalidInputError: A stage is not acceptable.
    """
    first, rest = leading_match(parse_pipeline(stages))
    condition = alive if first is None else And((first, alive))
    return list(run_pipeline(rest, executor.documents(view, Query(condition))))
