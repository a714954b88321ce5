"""Searches that are made of comparisons of numbers only, without DuckDB.

Most pages of a sorted list and most counts are such: a range of a number or a time, documents that
are not deleted, ten of them in the order of a column. Everything else is left to DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from parquedb.model.types import Field
from parquedb.query import literals
from parquedb.query.blocks import Blocks, Positions, located
from parquedb.query.hidden import Hidden
from parquedb.query.parts import Part
from parquedb.query.sort import SortKey
from parquedb.query.sql import Condition, sort_expression
from parquedb.query.vectors import Vectors, is_number
from parquedb.query.view import View
from parquedb.query.zones import Sifted, compared, count_rows, first_rows, rows_of
from parquedb.slotted import dataclass

_MOST = 10_000
"""DuckDB sorts more in less time, with all processors."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a part is searched.

    Args:
        part: The part.
        condition: What its rows must pass.
        columns: The columns that are compared, by the SQL that names them.
        key: The column to sort by, if any.
    """

    part: Part
    condition: Condition
    columns: dict[str, Field]
    key: Field | None


class Sieve:
    """Searches columns that are kept in memory.

    Args:
        blocks: Where they are read from.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self.vectors = Vectors(blocks)
        self._hidden = Hidden(blocks)

    def count(
        self, view: View, parts: Sequence[Part], conditions: Sequence[Condition]
    ) -> int | None:
        """Count the rows that match and are not overlaid, None where it takes more than this.

        Args:
            view: Where to search.
            parts: The files that can hold a match.
            conditions: What is searched for in each.
        """
        plans = self._plans(view, parts, conditions, None)
        files = None if plans is None else self._files(view, plans)
        return None if files is None else count_rows(files)

    def find(
        self,
        view: View,
        parts: Sequence[Part],
        conditions: Sequence[Condition],
        sort: Sequence[SortKey],
        limit: int | None,
    ) -> tuple[npt.NDArray[np.int32], Positions] | None:
        """Find the rows that match and are not overlaid.

        Args:
            view: Where to search.
            parts: The files that can hold a match.
            conditions: What is searched for in each.
            sort: The order wanted; that of the files without one.
            limit: How many are needed at most.

        Returns:
            Indexes of their sources in the view and positions there, in that order; None where it
            takes more than this.
        """
        keys = [
            key
            for key in sort
            if any(part.overflow or part.schema.find(key.path[0]) for part in parts)
        ]
        if len(keys) > 1 or (keys and (limit is None or limit > _MOST)):
            return None
        key = keys[0] if keys else None
        plans = self._plans(view, parts, conditions, key)
        files = None if plans is None else self._files(view, plans)
        if files is None:
            return None
        if key is None:
            rows = rows_of(files, limit)
        else:
            rows = first_rows(files, limit or 0, descending=key.descending)
        return _places(parts, files, rows)

    def _plans(
        self,
        view: View,
        parts: Sequence[Part],
        conditions: Sequence[Condition],
        key: SortKey | None,
    ) -> list[_Plan] | None:
        plans = []
        for part, condition in zip(parts, conditions, strict=True):
            plan = _plan(view, part, condition, key)
            if plan is None:
                return None
            plans.append(plan)
        return plans

    def _files(self, view: View, plans: Sequence[_Plan]) -> list[Sifted] | None:
        hidden = self._hidden.rows_in(view)
        if hidden is None:
            return None
        files = []
        for plan in plans:
            fields = [*plan.columns.values(), *([] if plan.key is None else [plan.key])]
            names = list(dict.fromkeys(field.name for field in fields))
            predicate = plan.condition.predicate
            found = self.vectors.of(plan.part.sources, names)
            if found is None or predicate is None:
                return None
            for index, (source, vectors) in enumerate(
                zip(plan.part.sources, found, strict=True), plan.part.first
            ):
                by_name = dict(zip(names, vectors, strict=True))
                columns = {sql: by_name[field.name] for sql, field in plan.columns.items()}
                key = None if plan.key is None else by_name[plan.key.name]
                rows = self._blocks.open(source).rows
                files.append(Sifted(rows, predicate, columns, key, hidden.get(index)))
        return files


def _plan(view: View, part: Part, condition: Condition, key: SortKey | None) -> _Plan | None:
    """Return how a part is searched, None if it takes more than comparisons of numbers."""
    if not condition.exact or condition.predicate is None:
        return None
    wanted = compared(condition.predicate)
    if wanted is None:
        return None
    by_sql = {literals.identifier(field.name): field for field in part.schema.fields}
    columns = {sql: by_sql[sql] for sql in wanted if sql in by_sql}
    if len(columns) < len(wanted):
        return None
    column = None
    if key is not None:
        column = part.schema.find(key.path[0])
        sql = sort_expression(key.path, view.schema, overflow=part.overflow)
        if sql is None or len(key.path) > 1 or (column is None and part.overflow):
            return None
    fields = [*columns.values(), *([] if column is None else [column])]
    if not all(is_number(field.type) for field in fields):
        return None
    return _Plan(part, condition, columns, column)


def _places(
    parts: Sequence[Part], files: Sequence[Sifted], rows: Positions
) -> tuple[npt.NDArray[np.int32], Positions]:
    """Return the file of each row and its position there."""
    numbers = [part.first + at for part in parts for at in range(len(part.sources))]
    found, places = located(rows, [file.rows for file in files])
    return np.array(numbers, np.int32)[found], places
