"""The row of an id in a column of ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from parquedb.parquet.dynamic import AnyArray

_BETWEEN = 32
"""Rows from one id that is kept as Python has it to the next."""

Find = Callable[[str], int | None]


def finder_of(ids: AnyArray, *, ordered: bool) -> Find:
    """Return what finds ids in a column, for who looks for many.

    Args:
        ids: The column.
        ordered: Whether it is ascending.
    """
    if not ordered or not _is_plain(ids):
        return lambda id_: find_row(ids, id_, ordered=ordered)
    starts, text = _texts(ids)
    count = len(ids)
    fences = [bytes(text[starts[row] : starts[row + 1]]) for row in range(0, count, _BETWEEN)]

    def find(id_: str) -> int | None:
        wanted = id_.encode(errors="surrogatepass")
        fence = bisect_right(fences, wanted) - 1
        if fence < 0:
            return None
        low = fence * _BETWEEN
        if fences[fence] == wanted:
            return low
        high = min(low + _BETWEEN, count)
        first, size = starts[low], len(wanted)
        between = bytes(text[first : starts[high]])
        place = between.find(wanted)
        while place >= 0:
            row = bisect_right(starts, first + place, low, high) - 1
            if starts[row] == first + place and starts[row + 1] - first == place + size:
                return row
            place = between.find(wanted, place + 1)  # that was a part of longer ids
        return None

    return find


def find_row(ids: AnyArray, id_: str, *, ordered: bool) -> int | None:
    """Return the position of an id in a column of ids, None if it is not there."""
    if not ordered:
        import pyarrow.compute as pc  # noqa: PLC0415  (a get of a sorted file does without)

        found = pc.index(ids, pa.scalar(id_, ids.type)).as_py()
        return None if found < 0 else int(found)
    row = rows_through(ids, id_) - 1
    return row if row >= 0 and ids[row].as_py() == id_ else None


def rows_through(ids: AnyArray, id_: str) -> int:
    """Return how many of the ids in an ascending column are not after one."""
    if not _is_plain(ids):
        return bisect_right(range(len(ids)), id_, key=lambda row: ids[row].as_py())
    starts, text = _texts(ids)
    return _through(starts, text, id_.encode(errors="surrogatepass"), 0, len(ids))


def _is_plain(ids: AnyArray) -> bool:
    return bool(ids.type == pa.string() and not ids.null_count)


def _texts(ids: AnyArray) -> tuple[Any, memoryview]:
    """Return where the texts of a plain column begin, and their bytes.

    UTF-8 sorts as the text does, and to look at its bytes is four times faster.
    """
    _, offsets, data = ids.buffers()
    return memoryview(offsets).cast("i")[ids.offset :], memoryview(data or b"")


def _through(starts: Any, text: memoryview, wanted: bytes, low: int, high: int) -> int:
    """Return the row, of some, before which no text is after a wanted one."""
    while low < high:
        middle = (low + high) >> 1
        if bytes(text[starts[middle] : starts[middle + 1]]) <= wanted:
            low = middle + 1
        else:
            high = middle
    return low
