"""Entities of ParqueDB for TypeScript as a source: decoded into typed columns on the way.

Its files have four string columns, one of them a binary form of its own. Carried as they are, no
other engine could read a field of theirs. So a migration sees them as the table of documents that
they become when they are flushed: the same rows, deleted ones included, in typed columns and
``$data``. The files themselves stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

import pyarrow as pa

from parquedb.formats.contents import Read
from parquedb.log.change import AddFile, Change, SetSchema
from parquedb.log.commit import Commit, Through
from parquedb.log.ports import Lineage, LogReader, Version
from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import SnapshotWalk, Walk
from parquedb.migrate.options import Files, MigrationOptions
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, StringType
from parquedb.namespace.base import decode_files
from parquedb.namespace.flush import GROUP_ROWS
from parquedb.parquet.scan import read_batches
from parquedb.parquet.write import PLAIN, Arrangement
from parquedb.rows.columns import DATA, evolve, is_document_schema
from parquedb.rows.shred import shred
from parquedb.rows.typescript import COLUMNS, is_typescript_layout
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_RAW = Schema(tuple(Field(number, name, StringType()) for number, name in enumerate(COLUMNS, 1)))
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Rows:
    """How the rows of a table's files are read, and laid out where they are written again.

    Args:
        read: Yields a file's rows in the columns of a schema.
        arrangement: How the rows lie in a new file.
    """

    read: Read
    arrangement: Arrangement = PLAIN


def _read_entities(
    store: Store, file: DataFile, schema: Schema, spec: PartitionSpec
) -> Iterator[pa.RecordBatch]:
    """Yield a file's entities as rows sorted by ``$id``. Memory is that of all of its entities."""
    documents = sorted(decode_files(store, [file], _RAW, {spec.spec_id: spec}), key=_ID)
    for start in range(0, len(documents), _CHUNK):
        yield shred(documents[start : start + _CHUNK], schema)


_ID = itemgetter("$id")
STORED = Rows(read_batches)
"""Rows as they are stored."""
ENTITIES = Rows(_read_entities, Arrangement(GROUP_ROWS, "$id", ("$id",)))
"""Rows that are decoded."""


class EntityReader:
    """A native table of entities, seen as the table of documents that it becomes.

    Args:
        reader: The table as it is.
        store: The store.
        known: Columns that the documents had before, which stay as they are; None for none.

    Raises:
        FormatError: An entity is damaged.
        StateError: Two entities have the same id.
    """

    def __init__(self, reader: LogReader, store: Store, known: Schema | None) -> None:
        self._reader = reader
        raw = reader.snapshot()
        documents = decode_files(store, raw.files.values(), raw.schema, raw.specs)
        # by name: what another version of the files calls for may be numbered otherwise
        self._schema = replace(evolve(known, documents), identity=Identity.BY_NAME)

    @property
    def format(self) -> Format:
        """Native."""
        return self._reader.format

    @property
    def format_version(self) -> int | None:
        """That of the table as it is."""
        return self._reader.format_version

    @property
    def table_id(self) -> str:
        """That of the table as it is."""
        return self._reader.table_id

    def latest(self) -> int:
        """Return the one version."""
        return self._reader.latest()

    def history(self) -> Sequence[Version]:
        """Return the one version; each entity is a row."""
        return self._reader.history()

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the table with the columns of its documents."""
        raw = self._reader.snapshot(version)
        files = {key: replace(file, stats=None) for key, file in raw.files.items()}
        return replace(raw, schema=self._schema, files=files)

    def walk(self) -> Walk:
        """Return what goes from version to version."""
        return SnapshotWalk(self)

    def version_at(self, at_ms: int) -> int:
        """Return the version if it is old enough."""
        return self._reader.version_at(at_ms)

    def current_since_ms(self) -> int:
        """Return when the files were modified last."""
        return self._reader.current_since_ms()

    def commits(self, after: int | None = None) -> Iterator[Commit]:
        """Yield the one commit, with the columns of the documents."""
        for commit in self._reader.commits(after):
            yield replace(commit, changes=tuple(map(self._seen, commit.changes)))

    def has_promotions(self) -> bool:
        """Return False: there is one version."""
        return self._reader.has_promotions()

    def unshown(self) -> Sequence[str]:
        """Return what the log does not show."""
        return self._reader.unshown()

    def tags(self) -> Mapping[int, tuple[str, ...]]:
        """Return the names of versions."""
        return self._reader.tags()

    def lineage(self) -> Lineage | None:
        """Return the migration that wrote the files, if one did."""
        return self._reader.lineage()

    def through(self, version: int | None = None) -> Through | None:
        """Return what the files include of a journal: the other ParqueDB knows of none."""
        return self._reader.through(version)

    def referenced(self) -> frozenset[str]:
        """Return the keys of the files."""
        return self._reader.referenced()

    def _seen(self, change: Change) -> Change:
        match change:
            case SetSchema():
                return SetSchema(self._schema)
            case AddFile(file):
                return AddFile(replace(file, stats=None))
            case other:
                return other


def decoding(store: Store, reader: LogReader, other: LogReader | None) -> LogReader:
    """Return a table of entities as the table of documents that it becomes, others as they are.

    Args:
        store: The store.
        reader: The table.
        other: The table on the other side of the migration, if there is one. Its columns stay as
            they are: what does not fit them goes to ``$data``.
    """
    if not is_entities(reader):
        return reader
    known = None if other is None else other.snapshot().schema
    return EntityReader(reader, store, known if known and _takes_documents(known) else None)


def is_entities(reader: LogReader) -> bool:
    """Whether a table holds entities as ParqueDB for TypeScript writes them."""
    return reader.format is Format.NATIVE and is_typescript_layout(reader.snapshot().schema)


def reopened(store: Store, reader: LogReader, before: LogReader) -> LogReader:
    """Return a reader that was opened anew as it was seen before."""
    return decoding(store, reader, before if isinstance(before, EntityReader) else None)


def rows_of(reader: LogReader) -> Rows:
    """Say how the rows of a table's files are read."""
    return ENTITIES if isinstance(reader, EntityReader) else STORED


def planned_with(reader: LogReader, options: MigrationOptions) -> MigrationOptions:
    """Return the options to plan with: files of entities are always written again."""
    return replace(options, files=Files.REWRITE) if isinstance(reader, EntityReader) else options


def _takes_documents(schema: Schema) -> bool:
    column = schema.find(DATA)
    return is_document_schema(schema) and column is not None and column.type == StringType()
