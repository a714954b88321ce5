"""Row groups kept in memory as Arrow, and rows fetched from them by position or id.

A get needs the one row group that can hold the id; a find fetches only the rows that a search for
positions found. Both are fast because row groups stay decoded, least recently used ones going
first once they take more than the budget. A row group of which little is wanted is not decoded: the
pages that hold the rows are read each time, until that has cost a good part of decoding it all.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.errors import NotFoundError
from parquedb.parquet.dynamic import AnyArray
from parquedb.parquet.groups import GroupFile
from parquedb.parquet.pages import pick_rows
from parquedb.query.seek import Find, find_row, finder_of
from parquedb.query.view import Document, Source, StaleError
from parquedb.rows.single import RowReader
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

Positions = npt.NDArray[np.int64]

DEFAULT_BUDGET_BYTES = 512 << 20
_OPEN_FILES = 128
_REPLACED = 3
_FEW_ROWS = 256
"""Who wants more rows of a row group will soon want others."""
_AT_ONCE = 1 / 8
"""The part of a row group's pages, at most, that is read for a few rows."""
_IN_ALL = 3 / 4
"""The part that is read so, again and again, before the row group is decoded to be kept.

Of gets the less, the more row groups beside it they came to need: they will need this one, too.
"""
_START = 1 / 16
"""What it costs to begin, whatever is read, as a part of decoding a row group."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reads rows of a decoded row group by their ids.

    Args:
        find: Finds an id.
        rows: Reads a row.
    """

    find: Find
    rows: RowReader


class Blocks:
    """A cache of row groups. Safe between threads.

    Args:
        store: Where the files are.
        budget_bytes: Memory for decoded row groups.

    Attributes:
        store: Where the files are.
        budget_bytes: Memory for decoded row groups.
    """

    def __init__(self, store: Store, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.store = store
        self.budget_bytes = budget_bytes
        self._size_bytes = 0
        self._lock = threading.RLock()
        self._files: OrderedDict[str, GroupFile] = OrderedDict()
        self._in_use: WeakValueDictionary[str, GroupFile] = WeakValueDictionary()
        self._readers: dict[tuple[str, int], _Reader] = {}
        self._groups: OrderedDict[tuple[str, int], pa.RecordBatch] = OrderedDict()
        self._read_so_far: dict[tuple[str, int], float] = {}
        self._needed: Counter[str] = Counter()

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
            self._in_use.clear()
            self._groups.clear()
            self._readers.clear()
            self._read_so_far.clear()
            self._needed.clear()
            self._size_bytes = 0

    def open(self, source: Source) -> GroupFile:
        """Open a source's file, or return it as it was opened before.

        Raises:
            StaleError: The file is not the one that the source refers to any more.
        """
        with self._lock:
            known = self._files.get(source.token)
            if known is not None:
                self._files.move_to_end(source.token)
                return known
            known = self._in_use.get(source.token)
            if known is not None:  # somebody reads on in a file that was replaced or removed
                return known
        try:
            opened = GroupFile(self.store, source.file, source.schema, source.spec, key="$id")
        except NotFoundError as error:
            raise StaleError(str(error)) from error
        self.check(source)
        with self._lock:
            self._files[source.token] = self._in_use[source.token] = opened
            self._forget_replaced(source)
            while len(self._files) > _OPEN_FILES:
                self._forget_file(next(iter(self._files)))
        return opened

    def hold(self, sources: Sequence[Source]) -> Sequence[GroupFile]:
        """Return the open files of sources, at most 128.

        They can be read for as long as the result is kept, whoever replaces or removes them.
        """
        return [self.open(source) for source in sources[:_OPEN_FILES]]

    def _forget_replaced(self, source: Source) -> None:
        """Let go of files that were replaced under the name of a source's, but for the last few.

        These are for those who are still reading them.
        """
        if source.file.fingerprint is None:
            return
        same = [
            token
            for token, file in self._files.items()
            if file.file.path == source.file.path
            and file.file.fingerprint != source.file.fingerprint
        ]
        for token in same[:-_REPLACED]:
            self._forget_file(token)
            for key in [key for key in self._groups if key[0] == token]:
                self._forget(key)

    def _forget_file(self, token: str) -> None:
        del self._files[token]
        for key in [key for key in self._read_so_far if key[0] == token]:
            del self._read_so_far[key]

    def check(self, source: Source) -> None:
        """Make sure that a file that can be overwritten has not been.

        Raises:
            StaleError: It has.
        """
        wanted = source.file.fingerprint
        if wanted is None:
            return
        info = self.store.head(source.file.path)
        if info is None or info.etag != wanted:
            raise StaleError(f"{source.file.path!r} was replaced while it was read")

    def group(self, source: Source, index: int, *, keep: bool = True) -> pa.RecordBatch:
        """Return a row group.

        Args:
            source: The file.
            index: The row group's number.
            keep: Whether it shall stay in memory.
        """
        key = (source.token, index)
        with self._lock:
            known = self._groups.get(key)
            if known is not None:
                self._groups.move_to_end(key)
                return known
        batch = self.open(source).read(index)
        if keep:
            self._keep(key, batch)
        return batch

    def get(self, source: Source, id_: str) -> Document | None:
        """Return the document of an id, None if the file, one of documents, does not hold it."""
        file = self.open(source)
        for index in file.groups_about(id_):
            found = self._get_from(source, file, index, id_)
            if found is not None:
                return found
        return None

    def place_of(self, source: Source, id_: str) -> int | None:
        """Return the position of an id in a file, None if the file does not hold it."""
        file = self.open(source)
        for index in file.groups_about(id_):
            batch, rows = self._groups.get((source.token, index)), None
            if batch is None:
                rows = file.rows_about(index, id_)
                if rows is not None and not len(rows):
                    continue
                if rows is not None:
                    batch = file.read_rows([(index, rows)], ["$id"])
            if batch is None:
                batch, rows = file.read(index, ["$id"]), None
            row = find_row(batch.column("$id"), id_, ordered=file.is_sorted)
            if row is not None:
                return file.groups[index].start + (row if rows is None else int(rows[row]))
        return None

    def _get_from(self, source: Source, file: GroupFile, index: int, id_: str) -> Document | None:
        key = (source.token, index)
        with self._lock:
            reader = self._readers.get(key)
            if reader is not None:
                self._groups.move_to_end(key)
        if reader is None:
            few = self._few_about(source, file, index, id_)
            if few is not None:
                row = find_row(few.column("$id"), id_, ordered=file.is_sorted)
                return None if row is None else RowReader(few, source.schema).read(row)
            reader = self._reader(source, file, index)
        row = reader.find(id_)
        return None if row is None else reader.rows.read(row)

    def _few_about(
        self, source: Source, file: GroupFile, index: int, id_: str
    ) -> pa.RecordBatch | None:
        """Return some rows among which an id is, if it is in a row group; None to read all of it.

        A row group that is decoded is not asked for its pages.
        """
        if (source.token, index) in self._groups:
            return None
        rows = file.rows_about(index, id_)
        most = _IN_ALL / (1 + self._needed[_folder_of(source)])
        if rows is None or not self._by_pages(source, file, index, rows, 1, most):
            return None
        return file.read_rows([(index, rows)])

    def _by_pages(
        self,
        source: Source,
        file: GroupFile,
        index: int,
        rows: Positions,
        together: int,
        most: float | None,
    ) -> bool:
        """Whether rows of a row group are to be read by their pages; what that costs is noted.

        Args:
            source: The file.
            file: The same, open.
            index: The row group's number.
            rows: Positions in it, ascending.
            together: How many row groups are read at once.
            most: Which part of it may be read so in all; None where it would not be kept if it
                were decoded.
        """
        key = (source.token, index)
        with self._lock:
            if key in self._groups:
                return False
        share = file.page_share(index, rows)
        if share > _AT_ONCE:
            return False
        with self._lock:
            so_far = self._read_so_far.get(key, 0.0) + share + _START / together
            if most is not None and so_far > most:
                return False
            self._read_so_far[key] = so_far
        return True

    def _reader(self, source: Source, file: GroupFile, index: int) -> _Reader:
        """Decode a row group and return what reads rows of it; both are kept as long."""
        key = (source.token, index)
        with self._lock:
            self._needed[_folder_of(source)] += 1
        batch = self.group(source, index)
        find = finder_of(batch.column("$id"), ordered=file.is_sorted)
        reader = _Reader(find, RowReader(batch, source.schema))
        with self._lock:
            if self._groups.get(key) is batch:
                self._readers[key] = reader
        return reader

    def groups(self, source: Source) -> Iterator[pa.RecordBatch]:
        """Yield all row groups in order, without keeping them."""
        for index in range(len(self.open(source).groups)):
            yield self.group(source, index, keep=False)

    def column(self, source: Source, name: str) -> list[AnyArray]:
        """Return a column of a file, a part for each row group, without keeping it."""
        file = self.open(source)
        parts = []
        for index in range(len(file.groups)):
            known = self._groups.get((source.token, index))
            batch = file.read(index, [name]) if known is None else known
            parts.append(batch.column(name))
        return parts

    def take(self, source: Source, rows: Positions, *, keep: bool = True) -> pa.Table:
        """Return rows by their positions, in the order of these."""
        file = self.open(source)
        starts = np.array([group.start for group in file.groups], dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        numbers = np.searchsorted(starts, rows[order], side="right") - 1
        places = {number: order[numbers == number] for number in np.unique(numbers).tolist()}
        local = {number: rows[where] - starts[number] for number, where in places.items()}
        few = [
            number
            for number, some in local.items()
            if len(some) <= _FEW_ROWS
            and self._by_pages(source, file, number, some, len(places), _IN_ALL if keep else None)
        ]
        batch = file.read_rows([(number, local[number]) for number in few])
        if batch is None:
            few = []
        rest = [number for number in places if number not in few]
        pieces = [] if batch is None else [batch]
        pieces += [pick_rows(self.group(source, n, keep=keep), local[n]) for n in rest]
        table = pa.Table.from_batches(pieces, file.arrow_schema)
        taken = np.concatenate([order[:0], *(places[number] for number in (*few, *rest))])
        if not (taken[1:] < taken[:-1]).any():
            return table
        back = np.empty(len(rows), dtype=np.int64)
        back[taken] = np.arange(len(rows))
        if len(pieces) == 1:
            return pa.Table.from_batches([pick_rows(pieces[0], back)])
        return table.take(indices(back))

    def held_bytes(self, sources: Sequence[Source]) -> int:
        """Return the memory that decoded row groups of some files take."""
        tokens = {source.token for source in sources}
        with self._lock:
            return sum(batch.nbytes for (t, _), batch in self._groups.items() if t in tokens)

    def in_order(self, sources: Sequence[Source]) -> bool:
        """Whether files are sorted by ``$id`` and each begins after the one before it ends."""
        files = [self.open(source) for source in sources]
        if not all(file.is_sorted for file in files):
            return False
        groups = [group for file in files for group in file.groups]
        return all(
            one.highest is not None and other.lowest is not None and one.highest < other.lowest
            for one, other in itertools.pairwise(groups)
        )

    def worth_keeping(self, sources: Sequence[Source]) -> bool:
        """Whether all rows of some files would fit in the budget, by a rough guess."""
        return sum(source.file.size_bytes for source in sources) * 6 < self.budget_bytes

    def _keep(self, key: tuple[str, int], batch: pa.RecordBatch) -> None:
        size = batch.nbytes
        with self._lock:
            if key in self._groups:
                return
            self._read_so_far.pop(key, None)  # else it would be decoded each time, once forgotten
            if self._size_bytes + size > self.budget_bytes:
                self._needed.clear()  # more of them are of no use where there is no room
            if size > self.budget_bytes:
                return
            self._groups[key] = batch
            self._size_bytes += size
            while self._size_bytes > self.budget_bytes:
                self._forget(next(iter(self._groups)))

    def _forget(self, key: tuple[str, int]) -> None:
        self._size_bytes -= self._groups.pop(key).nbytes
        self._readers.pop(key, None)


def located(rows: Positions, counts: Sequence[int]) -> tuple[npt.NDArray[np.int32], Positions]:
    """Return in which file each row is, and its position there.

    Args:
        rows: Rows, counted on from file to file.
        counts: How many each file has.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    found = np.searchsorted(ends, rows, side="right")
    starts = np.concatenate([[0], ends])
    return found.astype(np.int32), rows - starts[found]


def indices(rows: Positions) -> Any:
    """Return positions as ``take`` wants them."""
    return pa.array(rows, pa.int64())


def _folder_of(source: Source) -> str:
    return source.file.path.rpartition("/")[0]
