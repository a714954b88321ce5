"""A namespace's table in its current format, as queries and flushes see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from parquedb.errors import StateError, UnsupportedError
from parquedb.log.commit import Through
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import UNPARTITIONED, PartitionSpec
from parquedb.model.schema import EMPTY, Identity, Schema
from parquedb.model.types import describe_type
from parquedb.namespace.tables import Namespace
from parquedb.parquet.scan import read_batches
from parquedb.query.view import Document, Source
from parquedb.rows.columns import find_variant, is_document_schema, unfit_column
from parquedb.rows.typescript import decode_batch, is_typescript_layout
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class Base:
    """A table at one version.

    Args:
        format: Its format.
        version: Its version, None for a table that does not exist yet.
        at_ms: When that was made, milliseconds since the epoch.
        schema: Its columns.
        sources: Its files, by the lower bound of ``$id``.
        documents: Documents that cannot be read column by column, by id (the files of the
            TypeScript ParqueDB); they are instead of ``sources``.
        through: How much of a journal it includes, if it says so.
        decoded: Keys of the files that ``documents`` come from.
        table: The table's identity, None where it does not exist yet.
    """

    format: Format
    version: int | None = None
    at_ms: int = 0
    schema: Schema = EMPTY
    sources: tuple[Source, ...] = ()
    documents: tuple[Document, ...] = ()
    through: Through | None = None
    decoded: tuple[str, ...] = ()
    table: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Keys of its files."""
        return (*(source.file.path for source in self.sources), *self.decoded)

    @property
    def rows(self) -> int | None:
        """Number of rows, None where the metadata does not say."""
        counts = [source.file.live_rows for source in self.sources]
        known = [count for count in counts if count is not None]
        return sum(known) + len(self.documents) if len(known) == len(counts) else None

    def overlaid(self, newer: Mapping[str, Document | None]) -> Mapping[str, Document | None]:
        """Return newer documents by id over those that are not read from ``sources``."""
        if not self.documents:
            return newer
        stored: dict[str, Document | None] = {each["$id"]: each for each in self.documents}
        return stored | {**newer}

    def included(self, journal: str | None) -> int:
        """Return the number of the last entry of a journal that is included, 0 if none is."""
        through = self.through
        return through.entry if through is not None and through.journal == journal else 0


def load_base(tables: Namespace, format_: Format, version: int | None = None) -> Base:
    """Read a table's metadata.

    Args:
        tables: The namespace; its readers are used as they are.
        format_: Which of its tables.
        version: At which version, the newest by default.

    Returns:
        The table, or an empty one if there is none.

    Raises:
        NotFoundError: There is no such version.
        FormatError: The metadata cannot be read.
    """
    if version is None and not tables.exists(format_):
        return Base(format_)
    reader = tables.reader(format_)
    snapshot = reader.snapshot(version)
    through = reader.through(version)
    if format_ is Format.NATIVE and is_typescript_layout(snapshot.schema):
        documents = decode_files(
            tables.store, snapshot.files.values(), snapshot.schema, snapshot.specs
        )
        return Base(
            format_,
            snapshot.version,
            snapshot.at_ms,
            documents=documents,
            decoded=tuple(snapshot.files),
            table=reader.table_id,
        )
    sources = [source_of(file, snapshot.schema, snapshot) for file in snapshot.files.values()]
    sources.sort(key=lambda source: (source.id_bounds()[0] or "", source.file.path))
    return Base(
        format_,
        snapshot.version,
        snapshot.at_ms,
        snapshot.schema,
        tuple(sources),
        through=through,
        table=reader.table_id,
    )


def source_of(file: DataFile, schema: Schema, snapshot: Snapshot) -> Source:
    """Return a file of a snapshot as a source."""
    spec = snapshot.specs[file.spec_id]
    return Source(file, schema, spec, token_of(file, schema))


def staged_source(file: DataFile, schema: Schema) -> Source:
    """Return a file that is in no table yet as a source; its columns go by name."""
    named = replace(schema, identity=Identity.BY_NAME, aliases=())
    return Source(file, named, UNPARTITIONED, token_of(file, named))


def token_of(file: DataFile, schema: Schema) -> str:
    """Return what identifies a file as read with a schema."""
    token = f"{file.path}\0{file.size_bytes}\0{file.fingerprint}\0{hash(schema)}"
    return f"{token}\0{hash(file.deletes)}" if file.deletes else token


def holds_documents(base: Base) -> bool:
    """Whether a table holds documents, or can."""
    if base.version is None or base.documents or not base.schema.fields:
        return True
    return is_document_schema(base.schema)


def check_documents(namespace: str, base: Base) -> None:
    """Make sure that a table holds documents.

    Raises:
        UnsupportedError: It has no ``$id``, or rows without one, or a column of the system has
            another type.
    """
    if not holds_documents(base):
        raise UnsupportedError(
            f"namespace {namespace!r} is kept in {base.format.label} without a string column "
            "'$id', so it holds no documents: it can be queried and migrated, not written by "
            "document; write it with the program that made it"
        )
    if base.documents:
        return
    where = f"namespace {namespace!r}: the {base.format.label} table"
    if (unfit := unfit_column(base.schema)) is not None:
        raise UnsupportedError(
            f"{where} has a column {unfit.name!r} of the type {describe_type(unfit.type)}, which "
            "cannot hold what documents have there; rename it, then write documents"
        )
    if (variant := find_variant(base.schema)) is not None:
        raise UnsupportedError(
            f"{where} has a column {variant!r} of the type variant, which documents cannot hold: "
            "it can be queried and migrated, not written by document; write it with the program "
            "that made it",
            feature="variant",
        )
    if (nameless := _rows_without_id(base)) > 0:
        raise UnsupportedError(
            f"{where} has {nameless} rows without '$id', so that documents cannot be written "
            "beside them: give them one, or remove them, with the program that wrote the table"
        )


def _rows_without_id(base: Base) -> int:
    """Count the rows whose ``$id`` is null, as far as the metadata says."""
    column = base.schema.find("$id")
    if column is None or column.required:
        return 0
    known = [source.file.stats for source in base.sources if source.file.stats is not None]
    return sum(stats.nulls.get(column.id, 0) for stats in known)


def decode_files(
    store: Store,
    files: Iterable[DataFile],
    schema: Schema,
    specs: Mapping[int, PartitionSpec],
) -> tuple[Document, ...]:
    """Return the entities in files of ParqueDB for TypeScript as documents.

    Args:
        store: The store.
        files: The files.
        schema: Their four columns.
        specs: The partition specs that they refer to.

    Raises:
        FormatError: An entity is damaged.
        StateError: Two have the same id.
    """
    found: dict[str, Document] = {}
    for file in files:
        for batch in read_batches(store, file, schema, specs[file.spec_id]):
            for document in decode_batch(batch):
                if document["$id"] in found:
                    raise StateError(
                        f"{file.path!r} holds {document['$id']!r} twice; remove one of the rows"
                    )
                found[document["$id"]] = document
    return tuple(found.values())
