"""Results as columns: whole tables, and the different values of one field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from parquedb.model.schema import Schema
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.query.blocks import indices
from parquedb.query.compare import MISSING, compare_key
from parquedb.query.filter import Filter
from parquedb.query.find import Executor, Query
from parquedb.query.match import compile_match
from parquedb.query.project import Projection, compile_projection
from parquedb.query.reach import reach
from parquedb.query.view import Document, View, own_copy
from parquedb.rows.columns import DATA, evolve
from parquedb.rows.shred import shred

_CHUNK = 65_536


def find_table(
    executor: Executor, view: View, query: Query, projection: Projection | None = None
) -> pa.Table:
    """Return what a query finds as a table.

    Rows go from file to table as columns where the order is that of the files and nothing must be
    evaluated on documents; else through documents.

    Args:
        executor: Searches.
        view: Where to search.
        query: What to find.
        projection: Which fields to return, all by default.
    """
    table = _by_columns(executor, view, query)
    if table is None:
        documents = list(executor.documents(view, query))
        table = table_of(documents, view.schema)
    names = [name for name in table.column_names if name != DATA or _holds(table.column(name))]
    if projection is not None:
        table = _projected(table, projection, view.schema)
        names = [name for name in table.column_names if name != DATA or _holds(table.column(name))]
    return table.select(names).replace_schema_metadata(None)


def table_of(documents: list[Document], schema: Schema | None) -> pa.Table:
    """Return documents as a table with at least the columns of a schema."""
    known = schema if schema is not None and schema.fields else None
    grown = evolve(known, documents)
    parts = [
        shred(documents[start : start + _CHUNK], grown)
        for start in range(0, len(documents), _CHUNK)
    ]
    return pa.Table.from_batches(parts, arrow_schema_of(grown, with_ids=False))


def distinct_values(executor: Executor, view: View, field: str, query: Query) -> list[Any]:
    """Return the different values of a field among the documents that a query finds.

    Values inside lists count each; missing fields do not count. They come in MongoDB's order.
    """
    found: dict[Any, Any] = {}

    def collect(value: Any) -> bool:
        for item in value if isinstance(value, list) else [value]:
            if item is not MISSING:
                found.setdefault(compare_key(item), item)
        return False

    visit = reach(tuple(field.split(".")), collect, collect)
    grouped = _values_by_sql(executor, view, field, query.filter)
    if grouped is None:
        for document in executor.documents(view, query):
            visit(document)
    else:
        matches = compile_match(query.filter)
        for value in grouped:
            collect(value)
        for newer in view.overlay.values():
            if newer is not None and matches(newer):
                visit(own_copy(newer))
    return [found[key] for key in sorted(found)]


def _values_by_sql(executor: Executor, view: View, field: str, filter_: Filter) -> list[Any] | None:
    """Return the values of a scalar column in the files, None where SQL cannot tell them."""
    from parquedb.query.group import Group, Groups  # noqa: PLC0415  (large)
    from parquedb.query.group_sql import compile_group  # noqa: PLC0415
    from parquedb.query.stages import parse_pipeline  # noqa: PLC0415

    pipeline = parse_pipeline([{"$group": {"_id": f"${field}"}}])
    stage = pipeline.stages[0]
    found = executor.finder.group(view, filter_, lambda schema: compile_group(pipeline, schema))
    if found is None or not isinstance(stage, Group):
        return None
    groups = Groups(stage)
    if not all(sql.feed(groups, rows) for sql, rows in found):
        return None
    values = [group["_id"] for group in groups.documents()]
    return [value for value in values if value is not None]  # null in a column is missing


def _by_columns(executor: Executor, view: View, query: Query) -> pa.Table | None:
    """Return rows as the files have them, None where documents must be looked at."""
    if query.after is not None or not view.sources:
        return None
    matches = compile_match(query.filter)
    if any(document is not None and matches(document) for document in view.overlay.values()):
        return None
    needed = None if query.limit is None else query.skip + query.limit
    hits = executor.finder.find(view, query.filter, sort=query.sort, limit=needed)
    if not hits.ordered or bool(hits.unsure.any()):
        return None
    stop = len(hits) if query.limit is None else min(len(hits), query.skip + query.limit)
    sources, rows = hits.sources[query.skip : stop], hits.rows[query.skip : stop]
    target = arrow_schema_of(view.schema, with_ids=False)
    keep = executor.blocks.worth_keeping(view.sources)
    pieces: list[pa.Table] = []
    places: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    for number in np.unique(sources):
        chosen = np.flatnonzero(sources == number)
        taken = executor.blocks.take(view.sources[int(number)], rows[chosen], keep=keep)
        pieces.append(_widened(taken, target))
        places.append(chosen)
    if not pieces:
        return target.empty_table()
    table = pa.concat_tables(pieces)
    order = np.concatenate(places)
    if bool((order[1:] < order[:-1]).any()):
        table = table.take(indices(np.argsort(order, kind="stable")))
    return table


def _widened(table: pa.Table, target: pa.Schema) -> pa.Table:
    """Give a table all columns of a schema."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in target
    ]
    return pa.table(columns, schema=target)


def _projected(table: pa.Table, projection: Projection, schema: Schema) -> pa.Table:
    """Keep the fields of a projection; whole columns stay as they are."""
    wanted = projection.columns
    if wanted is not None:
        keep = [name for name in table.column_names if name in wanted or name == DATA]
        if not _holds(table.column(DATA)) if DATA in table.column_names else True:
            return table.select([name for name in keep if name != DATA])
    from parquedb.rows.assemble import assemble  # noqa: PLC0415  (rarely needed)

    apply = compile_projection(projection)
    documents = [apply(document) for document in assemble(table, schema)]
    names = {name for document in documents for name in document}
    made = table_of(documents, schema)
    return made.select([name for name in made.column_names if name in names or name == DATA])


def _holds(column: Any) -> bool:
    return bool(column.null_count < len(column))
