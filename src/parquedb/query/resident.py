"""Columns that are searched again and again, kept in DuckDB's memory instead of read from files.

A plain column is kept from its second search on, one of numbers in a table that is not large from
its first, which costs little more than to search it. To unpack nested columns costs more than it
saves. Files never change under their token, so what is kept is right for as long as a view refers
to them. The least recently used go first.

Where a row lies is not kept with it: DuckDB numbers the rows of a table in the order in which they
came, which is that of the files. To write two columns of positions took longer than the others.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from types import TracebackType

from parquedb.model.schema import children
from parquedb.model.types import BinaryType, Field, StringType
from parquedb.query.blocks import Blocks
from parquedb.query.duck import Duck, literal, quote
from parquedb.query.view import Source
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths

SOURCE, ROW = "_parquedb_source", "_parquedb_row"
"""The columns with which every relation says where a row lies: file and position.

The position can count on from one file to the next, without a gap.
"""
_SCHEMA = "_parquedb_resident"
_SEARCHES = 2
_SOON_ROWS = 2_000_000
"""In tables of no more rows, columns of numbers are kept from the first search on."""
_SHARE = 4
_KNOWN = 256
_NUMBER_BYTES = 8
_TEXT_BYTES = 16
_EXPANSION = 5

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns of some files.

    Args:
        name: The table's name in SQL.
        columns: Names of the columns, as the table of the view has them.
        size_bytes: Memory that they take, by a guess.
    """

    name: str
    columns: frozenset[str]
    size_bytes: int


def file_relation(
    blocks: Blocks, sources: Sequence[Source], columns: Mapping[str, str], first: int | None
) -> str:
    """Return what follows FROM to read columns of files on the local disk.

    Args:
        blocks: The files' store.
        sources: The files.
        columns: Their own names of columns by those of the view.
        first: Index of the first of the files in the view, None to leave out where rows lie.
    """
    store = blocks.store
    assert isinstance(store, LocalPaths)
    paths = ", ".join(literal(store.local_path(source.file.path)) for source in sources)
    names = [
        quote(own) if own == name else f"{quote(own)} AS {quote(name)}"
        for name, own in columns.items()
    ]
    if first is not None:
        names += [f"file_index + {first} AS {SOURCE}", f"file_row_number AS {ROW}"]
    select = ", ".join(names)
    # a folder named "env=prod" above the data is no column of it
    return f"(SELECT {select} FROM read_parquet([{paths}], hive_partitioning = false))"


class Lease:
    """The use of kept columns by one query; none of them goes before its end.

    Args:
        residents: What is kept.
    """

    def __init__(self, residents: Residents) -> None:
        self._residents = residents
        self._held: list[_Table] = []

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._residents.release(self._held)

    def relation(
        self, sources: Sequence[Source], columns: Mapping[str, str], first: int
    ) -> str | None:
        """Return what follows FROM for columns that are kept, None where they are not.

        Args:
            sources: The files.
            columns: Their own names of the columns that are searched, by those of the view.
            first: Index of the first of the files in the view.

        Raises:
            StaleError: A file was replaced meanwhile.
        """
        table = self._residents.hold(sources, columns)
        if table is None:
            return None
        self._held.append(table)
        return _from(table, columns, first)


class Residents:
    """The columns kept in memory. Safe between threads.

    Args:
        blocks: The files' store, and the budget: a quarter of it at most.
        duck: Where they are kept.
    """

    def __init__(self, blocks: Blocks, duck: Duck) -> None:
        self._blocks = blocks
        self._duck = duck
        self._budget_bytes = blocks.budget_bytes // _SHARE
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._numbers = itertools.count(1)
        self._searches: OrderedDict[_Key, Counter[str]] = OrderedDict()
        self._tables: OrderedDict[_Key, _Table] = OrderedDict()
        self._holders: Counter[str] = Counter()
        self._condemned: set[str] = set()

    def hold(self, sources: Sequence[Source], columns: Mapping[str, str]) -> _Table | None:
        """Return the table that has these columns, if any; it stays until it is released."""
        if not columns or not all(_is_plain(sources[0], name) for name in columns):
            return None
        key = tuple(source.token for source in sources)
        wanted = frozenset(columns)
        with self._lock:
            searches = self._searches.setdefault(key, Counter())
            self._searches.move_to_end(key)
            if len(self._searches) > _KNOWN:
                self._searches.popitem(last=False)
            searches.update(wanted)
            often = all(searches[name] >= least for name, least in _least(sources, columns).items())
            known = self._tables.get(key)
            if known is not None and wanted <= known.columns:
                self._tables.move_to_end(key)
                self._holders[known.name] += 1
                return known
        if not often or not self._building.acquire(blocking=False):
            return None
        try:
            return self._build(key, sources, columns, known)
        finally:
            self._building.release()

    def release(self, tables: Sequence[_Table]) -> None:
        """Let go of tables that were held."""
        with self._lock:
            self._holders.subtract(table.name for table in tables)
            gone = self._unheld()
        self._drop(gone)

    def _build(
        self,
        key: _Key,
        sources: Sequence[Source],
        columns: Mapping[str, str],
        known: _Table | None,
    ) -> _Table | None:
        every = dict(columns)
        if known is not None:
            plain = self._blocks.open(sources[0]).plain_columns() or {}
            every |= {name: plain[name] for name in known.columns}
        size_bytes = _size_of(sources, every)
        if size_bytes > self._budget_bytes:
            every = dict(columns)
            size_bytes = _size_of(sources, every)
        if size_bytes > self._budget_bytes:
            return None
        import duckdb  # noqa: PLC0415  (a get does without)

        table = _Table(f"{_SCHEMA}.t{next(self._numbers)}", frozenset(every), size_bytes)
        with self._duck.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
            relation = file_relation(self._blocks, sources, every, None)
            try:
                cursor.execute(f"CREATE TABLE {table.name} AS SELECT * FROM {relation}")
            except duckdb.Error:
                return None  # the search itself meets the same, and says what is wrong
            try:
                for source in sources:
                    self._blocks.check(source)
            except BaseException:
                cursor.execute(f"DROP TABLE {table.name}")
                raise
        with self._lock:
            self._holders[table.name] += 1
            self._condemned |= self._keep(key, table)
            gone = self._unheld()
        self._drop(gone)
        return table

    def _keep(self, key: _Key, table: _Table) -> set[str]:
        """Note a table; return the names of those that have to go."""
        gone = [self._tables.pop(key)] if key in self._tables else []
        self._tables[key] = table
        self._size_bytes += table.size_bytes - sum(each.size_bytes for each in gone)
        while self._size_bytes > self._budget_bytes:
            _, oldest = self._tables.popitem(last=False)
            self._size_bytes -= oldest.size_bytes
            gone.append(oldest)
        return {each.name for each in gone}

    def _unheld(self) -> list[str]:
        """Take the tables out that have to go and that nobody uses."""
        gone = [name for name in self._condemned if self._holders[name] <= 0]
        self._condemned.difference_update(gone)
        for name in gone:
            del self._holders[name]
        return gone

    def _drop(self, names: Sequence[str]) -> None:
        if names:
            with self._duck.cursor() as cursor:
                for name in names:
                    cursor.execute(f"DROP TABLE {name}")


def _from(table: _Table, columns: Mapping[str, str], first: int) -> str:
    names = ", ".join(quote(name) for name in columns)
    places = f"{first} AS {SOURCE}, rowid AS {ROW}"
    return f"(SELECT {names + ', ' if names else ''}{places} FROM {table.name})"


def _size_of(sources: Sequence[Source], columns: Mapping[str, str]) -> int:
    """Return the memory that columns take, by a guess."""
    total = 0
    for source in sources:
        rows = source.file.rows or source.file.size_bytes
        for name in columns:
            field = source.schema.find(name)
            if field is not None:
                total += _column_bytes(source, field, rows)
    return total


def _least(sources: Sequence[Source], columns: Mapping[str, str]) -> dict[str, int]:
    """Return after how many searches of it each column is worth to be kept."""
    rows = sum(source.file.rows or source.file.size_bytes for source in sources)
    return {
        name: 1 if rows <= _SOON_ROWS and _is_number(sources[0], name) else _SEARCHES
        for name in columns
    }


def _is_number(source: Source, name: str) -> bool:
    field = source.schema.find(name)
    return field is not None and not isinstance(field.type, StringType | BinaryType)


def _is_plain(source: Source, name: str) -> bool:
    field = source.schema.find(name)
    return field is not None and not children(field.type)


def _column_bytes(source: Source, field: Field, rows: int) -> int:
    if not isinstance(field.type, StringType | BinaryType):
        return rows * _NUMBER_BYTES
    sizes = {} if source.file.stats is None else source.file.stats.sizes
    return rows * _TEXT_BYTES + sizes.get(field.id, source.file.size_bytes // 4) * _EXPANSION
