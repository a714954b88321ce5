"""Find the positions of rows that match a filter, by DuckDB over a view's files.

Only the columns that the filter names are read. What SQL cannot decide (see :mod:`.sql`) comes back
marked, to be checked in Python once the row is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.errors import FormatError
from parquedb.model.schema import Schema
from parquedb.query.blocks import Blocks, Positions, located
from parquedb.query.duck import Duck, literal, quote
from parquedb.query.filter import And, At, Expression, Filter, Not, Or
from parquedb.query.parts import Part, may_hold, parts_of
from parquedb.query.resident import ROW, SOURCE, Lease, Residents, file_relation
from parquedb.query.sifting import Sieve
from parquedb.query.sort import SortKey
from parquedb.query.sql import Condition, sort_expression
from parquedb.query.view import Source, StaleError, View
from parquedb.rows.columns import DATA
from parquedb.slotted import dataclass

if TYPE_CHECKING:
    import duckdb

    from parquedb.query.group_sql import SqlGroup

_INLINE_IDS = 64
_BY_ID = (SortKey(("$id",)),)


@dataclass(frozen=True, slots=True)
class Hits:
    """Positions of rows.

    Args:
        sources: For each hit the index of its source in the view.
        rows: For each hit its position in that source.
        unsure: For each hit whether the filter must still be evaluated on the document.
        ordered: Whether they come in the order that was asked for.
    """

    sources: npt.NDArray[np.int32]
    rows: Positions
    unsure: npt.NDArray[np.bool_]
    ordered: bool

    def __len__(self) -> int:
        return len(self.rows)


NO_HITS = Hits(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.bool_), ordered=True)


class Finder:
    """Searches views.

    Args:
        blocks: Where rows are fetched from.
        duck: Where SQL is run.
    """

    def __init__(self, blocks: Blocks, duck: Duck) -> None:
        self._blocks = blocks
        self._duck = duck
        self._residents = Residents(blocks, duck)
        self._sieve = Sieve(blocks)

    def count(self, view: View, filter_: Filter) -> int | None:
        """Count the rows that match and are not overlaid, None where SQL cannot decide."""
        parts, conditions = self._parts(view, filter_)
        if not all(condition.exact for condition in conditions):
            return None
        total = self._sieve.count(view, parts, conditions)
        if total is None:
            total = self._count_by_sql(view, filter_, parts, conditions)
        self._check(view)
        return total

    def _count_by_sql(
        self, view: View, filter_: Filter, parts: Sequence[Part], conditions: Sequence[Condition]
    ) -> int:
        total = 0
        with closing(self._duck.cursor()) as cursor, Lease(self._residents) as lease:
            hidden = self._hidden(cursor, view)
            for part, condition in zip(parts, conditions, strict=True):
                tables: dict[str, pa.Table] = {}
                relation = self._searched(part, _fields_of(filter_), tables, lease, hidden)
                for name, table in tables.items():
                    cursor.register(name, table)
                sql = f"SELECT count(*) FROM {relation} WHERE {condition.possible}{hidden}"
                row = self._run(cursor, sql, part.sources).fetchone()
                total += int(row[0]) if row else 0
        return total

    def find(
        self,
        view: View,
        filter_: Filter,
        *,
        sort: Sequence[SortKey] = (),
        limit: int | None = None,
    ) -> Hits:
        """Find the rows that match and are not overlaid.

        Args:
            view: Where to search.
            filter_: What to search for.
            sort: The order wanted; that of ``$id`` without one.
            limit: How many are needed at most. More come where the filter is not decided, or the
                order cannot be made, by SQL.

        Raises:
            StaleError: A file was replaced meanwhile.
        """
        if not any(may_hold(source, filter_) for source in view.sources):
            return NO_HITS
        if not self._blocks.in_order(view.sources):
            sort = (*sort, *_BY_ID)  # which is the order of rows elsewhere
        parts, conditions = self._parts(view, filter_)
        places = self._sieve.find(view, parts, conditions, sort, limit)
        if places is None:
            return self._find_by_sql(view, filter_, sort, limit, parts, conditions)
        self._check(view)
        return Hits(*places, np.zeros(len(places[1]), np.bool_), ordered=True)

    def _find_by_sql(
        self,
        view: View,
        filter_: Filter,
        sort: Sequence[SortKey],
        limit: int | None,
        parts: Sequence[Part],
        conditions: Sequence[Condition],
    ) -> Hits:
        with closing(self._duck.cursor()) as cursor, Lease(self._residents) as lease:
            hidden = self._hidden(cursor, view)
            statement, ordered, tables = self._statement(
                view, filter_, sort, limit, parts, conditions, hidden, lease
            )
            for name, table in tables.items():
                cursor.register(name, table)
            found = self._run(cursor, statement, view.sources).fetchnumpy()
            sources = np.asarray(found["s"], dtype=np.int32)
            rows = np.asarray(found["r"], dtype=np.int64)
            unsure = np.asarray(found["u"], dtype=np.bool_)
        self._check(view)
        return Hits(*self._places(view, sources, rows), unsure, ordered)

    def _places(
        self, view: View, sources: npt.NDArray[np.int32], rows: Positions
    ) -> tuple[npt.NDArray[np.int32], Positions]:
        """Return the file of each row and its position there, however they were counted."""
        if len(view.sources) == 1 or not len(rows):
            return sources, rows
        counts = [self._blocks.open(source).rows for source in view.sources]
        starts = np.cumsum(counts, dtype=np.int64) - counts
        return located(starts[sources] + rows, counts)

    def _parts(self, view: View, filter_: Filter) -> tuple[list[Part], list[Condition]]:
        """Return the files that can hold a match, and what is searched for in each part."""
        parts = parts_of(self._blocks, view, filter_)
        return parts, [part.condition(filter_) for part in parts]

    def _check(self, view: View) -> None:
        """Make sure that no file was replaced meanwhile."""
        for source in view.sources:
            self._blocks.check(source)

    def group(
        self, view: View, filter_: Filter, compile_: Callable[[Schema], SqlGroup | None]
    ) -> list[tuple[SqlGroup, list[tuple[Any, ...]]]] | None:
        """Group the rows that match and are not overlaid.

        Args:
            view: Where to search.
            filter_: What to search for.
            compile_: Makes the SQL for rows with some columns, None where it cannot.

        Returns:
            The SQL and its result rows; None where documents must be looked at.
        """
        parts, conditions = self._parts(view, filter_)
        compiled = [compile_(part.schema) for part in parts]
        if any(part.overflow or not c.exact for part, c in zip(parts, conditions, strict=True)):
            return None
        found: list[tuple[SqlGroup, list[tuple[Any, ...]]]] = []
        with closing(self._duck.cursor()) as cursor:
            hidden = self._hidden(cursor, view)
            for part, group, condition in zip(parts, compiled, conditions, strict=True):
                if group is None:
                    return None
                relation = self._relation(cursor, part, None)
                sql = f"SELECT {group.select} FROM {relation} WHERE {condition.possible}{hidden}"
                rows = self._run(cursor, f"{sql} {group.group_by}", part.sources).fetchall()
                found.append((group, rows))
        self._check(view)
        return found

    def define_view(
        self, cursor: duckdb.DuckDBPyConnection, name: str, view: View, newer: pa.Table
    ) -> None:
        """Make a view's documents that are not deleted a temporary SQL view.

        Args:
            cursor: Where.
            name: Its name.
            view: The documents.
            newer: Those of the overlay as rows.
        """
        selects = []
        hidden = self._hidden(cursor, view, name)
        for part in parts_of(self._blocks, view):
            relation = self._relation(cursor, part, None, name)
            names = part.columns if part.columns is not None else view.schema.names
            alive = '"deletedAt" IS NULL' if "deletedAt" in names else "TRUE"
            columns = f"* EXCLUDE ({SOURCE}, {ROW})"
            selects.append(f"SELECT {columns} FROM {relation} WHERE {alive}{hidden}")
        cursor.register(f"{name}_parquedb_newer", newer)
        selects.append(f"SELECT * FROM {quote(f'{name}_parquedb_newer')}")
        union = " UNION ALL BY NAME ".join(selects)
        cursor.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS {union}")

    def statement(self, view: View, filter_: Filter, sort: Sequence[SortKey] = ()) -> str:
        """Return the SQL that :meth:`find` runs, for people to read."""
        parts, conditions = self._parts(view, filter_)
        return self._statement(view, filter_, sort, None, parts, conditions)[0]

    def decides(
        self, view: View, filter_: Filter, sort: Sequence[SortKey] = ()
    ) -> tuple[bool, bool]:
        """Return whether SQL alone decides which rows match, and whether it can sort them."""
        exact = ordered = True
        for part in parts_of(self._blocks, view, filter_):
            exact = exact and part.condition(filter_).exact
            ordered = ordered and _sort_keys(part, view.schema, sort) is not None
        return exact, ordered

    def _statement(
        self,
        view: View,
        filter_: Filter,
        sort: Sequence[SortKey],
        limit: int | None,
        parts: Sequence[Part],
        conditions: Sequence[Condition],
        hidden: str = "",
        lease: Lease | None = None,
    ) -> tuple[str, bool, dict[str, pa.Table]]:
        by_part = [_sort_keys(part, view.schema, sort) for part in parts]
        selects, exact, ordered = [], True, None not in by_part
        tables: dict[str, pa.Table] = {}
        for part, keys, condition in zip(parts, by_part, conditions, strict=True):
            exact = exact and condition.exact
            needed = _fields_of(filter_, sort)
            relation = self._searched(part, needed, tables, lease, hidden)
            unsure = "FALSE" if condition.exact else f"NOT ({condition.sure})"
            select = f"{SOURCE} AS s, {ROW} AS r, {unsure} AS u"
            for number, (expression, _) in enumerate(keys if ordered and keys else ()):
                select += f", {expression} AS k{number}"
            selects.append(f"SELECT {select} FROM {relation} WHERE {condition.possible}{hidden}")
        # rows come in the order of files, but not out of a join with what hides some
        by_place = bool(hidden) and not sort
        order = " ORDER BY s, r" if by_place else ""
        if sort and ordered:
            keys = by_part[0] or []
            order = " ORDER BY " + ", ".join(
                [
                    *(f"k{number} {direction}" for number, (_, direction) in enumerate(keys)),
                    "s",
                    "r",
                ]
            )
        cut = f" LIMIT {limit}" if limit is not None and exact and ordered else ""
        inner = " UNION ALL ".join(selects)
        return f"SELECT s, r, u FROM ({inner}){order}{cut}", ordered, tables

    def _run(
        self, cursor: duckdb.DuckDBPyConnection, sql: str, sources: Sequence[Source]
    ) -> duckdb.DuckDBPyConnection:
        import duckdb  # noqa: PLC0415

        try:
            return cursor.execute(sql)
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # how DuckDB says that Ctrl-C was pressed
                raise KeyboardInterrupt from error
            raise
        except duckdb.Error as error:
            for source in sources:
                self._blocks.check(source)
                if self._blocks.store.head(source.file.path) is None:
                    raise StaleError(f"{source.file.path!r} is gone") from error
            if not _is_about_files(error):
                raise
            names = ", ".join(repr(source.file.path) for source in sources[:3])
            raise FormatError(
                f"{names}{', …' if len(sources) > 3 else ''} cannot be searched ({error}); if a "
                "file is damaged, restore it from a good copy"
            ) from error

    def _relation(
        self,
        cursor: duckdb.DuckDBPyConnection,
        part: Part,
        needed: frozenset[str] | None,
        prefix: str = "",
    ) -> str:
        tables: dict[str, pa.Table] = {}
        relation = self._named_relation(part, needed, tables, prefix)
        for name, table in tables.items():
            cursor.register(name, table)
        return relation

    def _named_relation(
        self,
        part: Part,
        needed: frozenset[str] | None,
        tables: dict[str, pa.Table],
        prefix: str = "",
    ) -> str:
        """Return what follows FROM; Arrow tables that it names are added to ``tables``."""
        if part.columns is None:
            name = f"{prefix}_parquedb_part_{part.first}"
            tables[name] = self._arrow(part, needed)
            return quote(name)
        columns = {
            name: own
            for name, own in part.columns.items()
            if needed is None or name in needed or name in ("$id", DATA)
        }
        return file_relation(self._blocks, part.sources, columns, part.first)

    def _searched(
        self,
        part: Part,
        needed: frozenset[str] | None,
        tables: dict[str, pa.Table],
        lease: Lease | None,
        hidden: str,
    ) -> str:
        """Return what follows FROM for columns that a filter or an order needs.

        Args:
            part: The sources.
            needed: The columns, None for all.
            tables: Arrow tables that it names are added.
            lease: The use of columns kept in memory, None to use none.
            hidden: The condition that tells some rows apart by id, if any.
        """
        if lease and needed is not None and part.columns is not None and not part.overflow:
            needed = needed | {"$id"} if hidden else needed
            columns = {name: own for name, own in part.columns.items() if name in needed}
            kept = lease.relation(part.sources, columns, part.first)
            if kept is not None:
                return kept
        return self._named_relation(part, needed, tables)

    def _arrow(self, part: Part, needed: frozenset[str] | None) -> pa.Table:
        """Return sources as one Arrow table with their positions."""
        pieces = []
        for offset, source in enumerate(part.sources):
            file = self._blocks.open(source)
            keep = self._blocks.worth_keeping([source])
            for number, group in enumerate(file.groups):
                batch = self._blocks.group(source, number, keep=keep)
                names = [
                    name
                    for name in batch.schema.names
                    if needed is None or name in needed or name in ("$id", DATA)
                ]
                rows = np.arange(group.start, group.start + group.rows, dtype=np.int64)
                place = np.full(group.rows, part.first + offset, dtype=np.int32)
                pieces.append(
                    pa.table(
                        [batch.column(name) for name in names] + [pa.array(place), pa.array(rows)],
                        names=[*names, SOURCE, ROW],
                    )
                )
        return pa.concat_tables(pieces) if pieces else self._no_rows(part)

    def _no_rows(self, part: Part) -> pa.Table:
        """Return what :meth:`_arrow` does, for files without row groups."""
        fields = [*self._blocks.open(part.sources[0]).arrow_schema]
        places = [pa.field(SOURCE, pa.int32()), pa.field(ROW, pa.int64())]
        return pa.schema([*fields, *places]).empty_table()

    def _hidden(self, cursor: duckdb.DuckDBPyConnection, view: View, prefix: str = "") -> str:
        """Return the condition that leaves out rows of overlaid ids."""
        ids = list(view.overlay)
        if not ids:
            return ""
        if len(ids) <= _INLINE_IDS and not any("\0" in id_ for id_ in ids):
            return f' AND "$id" NOT IN ({", ".join(map(literal, ids))})'
        name = f"{prefix}_parquedb_overlay"
        cursor.register(name, pa.table({"id": pa.array(ids, pa.string())}))
        return f' AND "$id" NOT IN (SELECT id FROM {quote(name)})'


def _is_about_files(error: Exception) -> bool:
    """Whether an error of DuckDB can come from what a file holds; damage is just an ``Error``."""
    import duckdb  # noqa: PLC0415

    files = (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException)
    return type(error) is duckdb.Error or isinstance(error, files)


def _sort_keys(part: Part, schema: Schema, sort: Sequence[SortKey]) -> list[tuple[str, str]] | None:
    """Return expressions and directions to sort by, None where SQL cannot sort so."""
    keys = []
    for key in sort:
        direction = "DESC NULLS LAST" if key.descending else "ASC NULLS FIRST"
        column = schema.find(key.path[0])
        missing = column is None or (part.columns is not None and key.path[0] not in part.columns)
        if missing and not part.overflow:
            keys.append(("NULL", direction))
            continue
        expression = sort_expression(key.path, schema, overflow=part.overflow)
        if missing or expression is None:
            return None
        keys.append((expression, direction))
    return keys


def _fields_of(filter_: Filter, sort: Sequence[SortKey] = ()) -> frozenset[str] | None:
    """Return the top-level fields that are looked at, None for all."""
    found = {key.path[0] for key in sort}

    def visit(part: Filter) -> bool:
        match part:
            case At(path, _):
                found.add(path[0])
                return True
            case And(parts) | Or(parts):
                return all(map(visit, parts))
            case Not(inner):
                return visit(inner)
            case Expression():
                return False

    return frozenset(found) if visit(filter_) else None
