"""How much a namespace holds, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from parquedb.model.format import Format
from parquedb.namespace.base import Base
from parquedb.namespace.entry import Write
from parquedb.namespace.live import LiveNamespace
from parquedb.parquet.footer import read_footers
from parquedb.query.filter import EVERYTHING, And, At, Exists, Filter, Not
from parquedb.rows.columns import is_document_schema

_ALIVE: Filter = Not(At(("deletedAt",), Exists()))


@dataclass(frozen=True, slots=True)
class Stats:
    """What a namespace holds.

    Args:
        name: The namespace.
        format: The format of its table.
        version: The table's version, None while there is no table.
        through: Number of the last journal entry that the table includes.
        documents: Documents that are not deleted; of a table without ``$id``, its rows.
        deleted: Documents that are deleted but kept.
        columns: Columns of the table and of staged files together.
        files: Data files of the table.
        row_groups: Row groups in them.
        table_bytes: Bytes of these files.
        bytes_per_document: Bytes of the table for each of its rows, None for no rows.
        tail_entries: Writes in the journal that the table does not include yet.
        tail_documents: Documents that they write or remove.
        tail_bytes: Bytes of the journal and of the staged files that hold them, about: the journal
            as a whole is counted as long as one entry is not in the table.
        staged_files: Files of large writes that the table does not include yet.
        staged_bytes: Bytes of these.
        journal_bytes: Bytes of all segments of the journal.
        cache_bytes: Memory that decoded rows take in this process.
    """

    name: str
    format: Format
    version: int | None
    through: int
    documents: int
    deleted: int
    columns: int
    files: int
    row_groups: int
    table_bytes: int
    bytes_per_document: float | None
    tail_entries: int
    tail_documents: int
    tail_bytes: int
    staged_files: int
    staged_bytes: int
    journal_bytes: int
    cache_bytes: int

    def to_json(self) -> dict[str, object]:
        """Return it as JSON, without the name."""
        shape: dict[str, Any] = asdict(self)
        del shape["name"]
        return shape


def read_stats(space: LiveNamespace) -> Stats:
    """Count what a namespace holds. Reads footers and the columns that say what is deleted.

    Raises:
        FormatError: Metadata or a file cannot be read.
    """
    return space.retrying(lambda: _read(space))


def _read(space: LiveNamespace) -> Stats:
    with space.lock:
        now = space.now()
        view, base, tail = now.view, now.base, space.tail
        entries = sum(isinstance(entry.body, Write) for entry in tail.entries)
        staged = [written.staged for written in tail.staged]
        tail_documents = tail.documents + sum(each.rows for each in staged)
    everything = space.executor.count(view, EVERYTHING)
    has_documents = is_document_schema(view.schema) or bool(view.overlay)
    alive = space.executor.count(view, And((_ALIVE,))) if has_documents else everything
    staged_bytes = sum(each.size_bytes for each in staged)
    journal_bytes = space.journal.size_bytes()
    keys = _data_files(space, base)
    footers = read_footers(space.store, keys)
    table_bytes = sum(footer.size_bytes for footer in footers)
    rows = sum(footer.rows for footer in footers)
    return Stats(
        name=space.name,
        format=base.format,
        version=base.version,
        through=space.floor,
        documents=alive,
        deleted=everything - alive,
        columns=len(view.schema.fields),
        files=len(keys),
        row_groups=sum(footer.row_groups for footer in footers),
        table_bytes=table_bytes,
        bytes_per_document=round(table_bytes / rows, 1) if rows else None,
        tail_entries=entries,
        tail_documents=tail_documents,
        tail_bytes=(journal_bytes if entries else 0) + staged_bytes,
        staged_files=len(staged),
        staged_bytes=staged_bytes,
        journal_bytes=journal_bytes,
        cache_bytes=space.blocks.held_bytes(view.sources),
    )


def _data_files(space: LiveNamespace, base: Base) -> list[str]:
    """Return the keys of the table's data files."""
    if base.documents:  # they are read as a whole, so the base does not name the file
        return sorted(space.tables.reader(base.format).snapshot().files)
    return [source.file.path for source in base.sources]
