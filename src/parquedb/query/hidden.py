"""Which rows of files are hidden by newer documents: where their ids are, each looked for once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np

from parquedb.query.blocks import Blocks, Positions
from parquedb.query.view import Source, View

_MOST = 256
"""DuckDB tells more of them apart in less time than it takes to look for them at first."""
_KNOWN = 16_384


class Hidden:
    """Where ids are in files. Safe between threads.

    Args:
        blocks: Where the files are read.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[str, str], int | None] = OrderedDict()

    def rows_in(self, view: View) -> dict[int, Positions] | None:
        """Return the positions, ascending, of rows that are hidden, by indexes of sources.

        None where too many may be.

        Raises:
            StaleError: A file was replaced meanwhile.
        """
        if not view.overlay or not view.sources:
            return {}
        bounds = [self._bounds(source) for source in view.sources]
        ids = _between(view.overlay, min(low for low, _ in bounds), _highest(bounds))
        if len(ids) > _MOST:
            return None
        found = {}
        for index, (source, (low, high)) in enumerate(zip(view.sources, bounds, strict=True)):
            places = [self._place(source, id_) for id_ in _between(ids, low, high)]
            rows = sorted(place for place in places if place is not None)
            if rows:
                found[index] = np.array(rows, np.int64)
        return found

    def _bounds(self, source: Source) -> tuple[str, str | None]:
        """Return bounds of all ids in a file; no upper one where it does not say."""
        groups = self._blocks.open(source).groups
        lows = [group.lowest for group in groups if group.lowest is not None]
        highs = [group.highest for group in groups if group.highest is not None]
        if len(lows) < len(groups) or len(highs) < len(groups):
            return "", None
        return min(lows, default=""), max(highs, default="")

    def _place(self, source: Source, id_: str) -> int | None:
        key = (source.token, id_)
        with self._lock:
            if key in self._places:
                self._places.move_to_end(key)
                return self._places[key]
        place = self._blocks.place_of(source, id_)
        with self._lock:
            self._places[key] = place
            if len(self._places) > _KNOWN:
                self._places.popitem(last=False)
        return place


def _highest(bounds: Iterable[tuple[str, str | None]]) -> str | None:
    known = [high for _, high in bounds]
    return None if None in known else max(high for high in known if high is not None)


def _between(ids: Iterable[str], low: str, high: str | None) -> list[str]:
    if high is None:
        return list(ids)
    return [id_ for id_ in ids if low <= id_ <= high]
