"""Which files of a table a flush writes anew, and what goes where.

A file is written anew if it holds a row of a changed document. New documents go into a file of
their own, together with the small files once there are many of these.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from parquedb.query.blocks import Blocks
from parquedb.query.view import Document, Source
from parquedb.slotted import dataclass

SMALL_BYTES = 8 << 20
"""A file below this is small."""
MANY_SMALL = 8
"""So many small files are merged by the flush that would make another."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What is written together.

    Args:
        sources: Files to be written anew.
        overlay: Documents that replace their rows or are new.
    """

    sources: tuple[Source, ...]
    overlay: Mapping[str, Document | None]


def plan_pieces(
    blocks: Blocks,
    base: Sequence[Source],
    staged: Sequence[Source],
    overlay: Mapping[str, Document | None],
    rewrite: bool,  # noqa: FBT001
) -> tuple[list[Piece], list[Source]]:
    """Decide what a flush writes.

    Args:
        blocks: Where ids are looked up.
        base: The table's files.
        staged: Files of large writes, which become the table's.
        overlay: Newer documents, None for those that go.
        rewrite: Whether all files are written anew.

    Returns:
        What is to be written, and the files that stay as they are.
    """
    if rewrite:
        return [Piece((*base, *staged), overlay)], []
    ids = sorted(overlay)
    held = {source.file.path: held_ids(blocks, source, ids) for source in (*base, *staged)}
    taken: set[str] = set().union(*held.values()) if held else set()
    fresh = [id_ for id_ in ids if id_ not in taken and overlay[id_] is not None]
    small = [source for source in base if source.file.size_bytes < SMALL_BYTES]
    grows = bool(fresh or staged)
    merged = small if grows and len(small) + 1 >= MANY_SMALL else []
    touched_small = [s for s in small if held[s.file.path]]
    together = [s for s in base if s in merged or s in touched_small]
    pieces, kept = [], []
    for source in base:
        if source in together:
            continue
        if held[source.file.path]:
            own = {id_: overlay[id_] for id_ in held[source.file.path]}
            pieces.append(Piece((source,), own))
        else:
            kept.append(source)
    rest = {id_: overlay[id_] for source in (*together, *staged) for id_ in held[source.file.path]}
    rest |= {id_: overlay[id_] for id_ in fresh}
    if together or staged or rest:
        pieces.append(Piece((*together, *staged), rest))
    return pieces, kept


def held_ids(blocks: Blocks, source: Source, ids: Sequence[str]) -> set[str]:
    """Return which of some sorted ids have a row in a file."""
    lower, upper = source.id_bounds()
    start = 0 if lower is None else bisect_left(ids, lower)
    end = len(ids) if upper is None else bisect_right(ids, upper)
    if start >= end:
        return set()
    import pyarrow as pa  # noqa: PLC0415  (a flush of new ids only does without)
    import pyarrow.compute as pc  # noqa: PLC0415

    file = blocks.open(source)
    found: set[str] = set()
    for number, group in enumerate(file.groups):
        first = start if group.lowest is None else bisect_left(ids, group.lowest)
        last = end if group.highest is None else bisect_right(ids, group.highest)
        if first >= last:
            continue
        column = file.read(number, ["$id"]).column("$id")
        wanted = pa.array(ids[first:last], column.type)
        present = pc.filter(wanted, pc.is_in(wanted, value_set=column))
        found.update(present.to_pylist())
    return found
