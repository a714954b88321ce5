"""Aggregation pipelines over documents (MongoDB's manual, "Aggregation Stages")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Any, assert_never

from parquedb.errors import InvalidInputError
from parquedb.query.compare import MISSING
from parquedb.query.expression import Compiled, Document, fields_of_expression
from parquedb.query.filter import And, At, Expression, Filter, Not, Or, Path
from parquedb.query.group import Group, Groups
from parquedb.query.match import compile_match
from parquedb.query.operators.base import shown
from parquedb.query.reshape import compile_shape
from parquedb.query.sort import sort_documents
from parquedb.query.stages import (
    Count,
    Limit,
    Match,
    Pipeline,
    ReplaceRoot,
    Reshape,
    Skip,
    Sort,
    Stage,
    Unwind,
    parse_pipeline,
)

__all__ = ["Pipeline", "leading_match", "needs", "parse_pipeline", "run_pipeline"]


def run_pipeline(pipeline: Pipeline, documents: Iterable[Document]) -> Iterator[Document]:
    """Yield what a pipeline makes of documents.

    Documents flow through one by one; ``$group`` and ``$sort`` wait for the last one, ``$sort``
    with a ``$limit`` behind it keeps only as many as that.

    Args:
        pipeline: The pipeline.
        documents: The documents; they are not changed. Results may share values with them.

    Raises:
        InvalidInputError: An expression cannot take the values of a document; the message names
            the document and the expression.
    """
    stages, flow = pipeline.stages, iter(documents)
    at = 0
    while at < len(stages):
        stage = stages[at]
        if isinstance(stage, Sort):
            flow = iter(sort_documents(flow, stage.keys, limit=_limit_of(stages[at + 1 :])))
        else:
            flow = _run(stage, flow)
        at += 1
    return flow


def _limit_of(following: tuple[Stage, ...]) -> int | None:
    """Return how many of the first documents of an order are needed."""
    match following:
        case [Limit(count), *_]:
            return count
        case [Skip(skipped), Limit(count), *_]:
            return skipped + count
        case _:
            return None


def _run(stage: Stage, flow: Iterator[Document]) -> Iterator[Document]:
    match stage:
        case Match(filter_):
            return filter(compile_match(filter_), flow)
        case Group():
            return _grouped(stage, flow)
        case Sort(keys):
            return iter(sort_documents(flow, keys))
        case Limit(count):
            return islice(flow, count)
        case Skip(count):
            return islice(flow, count, None)
        case Reshape(shape):
            return map(compile_shape(shape), flow)
        case Unwind():
            return _unwound(stage, flow)
        case Count(name):
            return _counted(name, flow)
        case ReplaceRoot():
            return _replaced(stage, flow)
        case _:
            assert_never(stage)


def _grouped(stage: Group, flow: Iterator[Document]) -> Iterator[Document]:
    groups = Groups(stage)
    for document in flow:
        groups.add(document)
    yield from groups.documents()


def _counted(name: str, flow: Iterator[Document]) -> Iterator[Document]:
    count = sum(1 for _ in flow)
    if count:
        yield {name: count}


def _replaced(stage: ReplaceRoot, flow: Iterator[Document]) -> Iterator[Document]:
    evaluate = stage.root.evaluate
    for document in flow:
        root = evaluate(document)
        if root.__class__ is not dict:
            where = document.get("$id", "a document")
            raise InvalidInputError(
                f"{where}: {stage.place}: must come to a document, not {shown(root)}"
            )
        yield root


def _unwound(stage: Unwind, flow: Iterator[Document]) -> Iterator[Document]:
    for document in flow:
        found = _value_at(document, stage.path)
        if found.__class__ is list and found:
            for index, element in enumerate(found):
                yield _indexed(_with(document, stage.path, element), stage, index)
        elif found is not MISSING and found is not None and found.__class__ is not list:
            yield _indexed(document, stage, None)
        elif stage.preserve:
            kept = _with(document, stage.path, MISSING) if found.__class__ is list else document
            yield _indexed(kept, stage, None)


def _indexed(document: Document, stage: Unwind, index: int | None) -> Document:
    return document if stage.index is None else _with(document, stage.index, index)


def _value_at(document: Document, path: Path) -> Any:
    """Return the value at a path that goes through documents only."""
    value: Any = document
    for name in path:
        if value.__class__ is not dict:
            return MISSING
        value = value.get(name, MISSING)
    return value


def _with(document: Document, path: Path, value: Any) -> Document:
    """Return a document with another value at a path, or with none."""
    name = path[0]
    made = dict(document)
    if len(path) > 1:
        inner = made.get(name)
        made[name] = _with(inner if inner.__class__ is dict else {}, path[1:], value)
    elif value is MISSING:
        made.pop(name, None)
    else:
        made[name] = value
    return made


def leading_match(pipeline: Pipeline) -> tuple[Filter | None, Pipeline]:
    """Split off the ``$match`` stages that a pipeline begins with.

    Args:
        pipeline: The pipeline.

    Returns:
        What documents must match, None if there is no such stage; and the other stages.
    """
    leading = takewhile(lambda stage: isinstance(stage, Match), pipeline.stages)
    filters = tuple(stage.filter for stage in leading if isinstance(stage, Match))
    if not filters:
        return None, pipeline
    rest = Pipeline(pipeline.stages[len(filters) :])
    return filters[0] if len(filters) == 1 else And(filters), rest


def needs(pipeline: Pipeline) -> frozenset[str] | None:
    """Return the top-level fields that a pipeline looks at; without others it yields the same.

    Args:
        pipeline: The pipeline.

    Returns:
        The fields, maybe none at all; None for all.
    """
    found: set[str] = set()
    for stage in pipeline.stages:
        looked_at, is_last = _looked_at(stage)
        if looked_at is None:
            return None
        found |= looked_at
        if is_last:
            return frozenset(found)
    return None


def _looked_at(stage: Stage) -> tuple[frozenset[str] | None, bool]:
    """Return the fields that a stage looks at, and whether those are all that come out of it."""
    match stage:
        case Match(filter_):
            return fields_of_filter(filter_), False
        case Sort(keys):
            return frozenset(key.path[0] for key in keys), False
        case Limit() | Skip():
            return frozenset(), False
        case Group():
            return _union(stage.expressions()), True
        case Count():
            return frozenset(), True
        case ReplaceRoot(root):
            return root.fields, True
        case Unwind(path, index, _):
            return frozenset((path[0],) if index is None else (path[0], index[0])), False
        case Reshape(shape):
            looked_at = _union(shape.expressions())
            if looked_at is None or shape.keeps_others:
                below = frozenset(shape.inner)
                return None if looked_at is None else looked_at | below, False
            return looked_at | shape.kept_fields(), True
        case _:
            assert_never(stage)


def _union(expressions: Iterable[Compiled]) -> frozenset[str] | None:
    found: frozenset[str] = frozenset()
    for expression in expressions:
        if expression.fields is None:
            return None
        found |= expression.fields
    return found


def fields_of_filter(filter_: Filter) -> frozenset[str] | None:
    """Return the top-level fields that a filter looks at, None for the whole document.

    Args:
        filter_: The filter.
    """
    match filter_:
        case At(path, _):
            return frozenset((path[0],))
        case And(parts) | Or(parts):
            found = [fields_of_filter(part) for part in parts]
            known = [fields for fields in found if fields is not None]
            return frozenset().union(*known) if len(known) == len(found) else None
        case Not(part):
            return fields_of_filter(part)
        case Expression(source):
            return fields_of_expression(source)
        case _:
            assert_never(filter_)
