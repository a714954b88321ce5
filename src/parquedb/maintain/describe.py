"""The columns of a namespace, and how many of its documents have values outside of them."""

from __future__ import annotations

from collections.abc import Sequence

from parquedb.model.format import Format
from parquedb.model.types import describe_type
from parquedb.namespace.live import LiveNamespace
from parquedb.query.view import Source
from parquedb.rows.columns import DATA, SYSTEM_TYPES
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Args:
        name: Its name.
        type: Its type in words, ``list<string>``.
        nullable: Whether a row need not have a value.
        system: Whether ParqueDB itself keeps it.
    """

    name: str
    type: str
    nullable: bool
    system: bool


@dataclass(frozen=True, slots=True)
class Description:
    """How a namespace is kept.

    Args:
        name: The namespace.
        format: The format of its table.
        version: The table's version, None while there is no table.
        columns: The columns of the table and of staged files together.
        rows: Rows of these files.
        rows_with_data: Rows that have values in ``$data``, which has no typed columns.
        tail_documents: Documents of the journal, which have no columns before a flush.
    """

    name: str
    format: Format
    version: int | None
    columns: tuple[Column, ...]
    rows: int
    rows_with_data: int
    tail_documents: int

    @property
    def data_share(self) -> float:
        """Share of the rows that have values in ``$data``, from 0 to 1."""
        return self.rows_with_data / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, object]:
        """Return the documented JSON shape."""
        return {
            "namespace": self.name,
            "format": self.format,
            "version": self.version,
            "columns": [
                {
                    "name": column.name,
                    "type": column.type,
                    "nullable": column.nullable,
                    "system": column.system,
                }
                for column in self.columns
            ],
            "rows": self.rows,
            "rows_with_data": self.rows_with_data,
            "data_share": round(self.data_share, 4),
            "tail_documents": self.tail_documents,
        }


def describe(space: LiveNamespace) -> Description:
    """Describe how a namespace is kept.

    Raises:
        FormatError: Metadata or a file cannot be read.
    """
    return space.retrying(lambda: _describe(space))


def _describe(space: LiveNamespace) -> Description:
    with space.lock:
        now = space.now()
        view, base, documents = now.view, now.base, space.tail.documents
    schema = view.schema
    counts = [_count_data(space, source) for source in view.sources]
    if base.documents:  # of the TypeScript ParqueDB: all that is not a system field is in `$data`
        schema = space.tables.reader(base.format).snapshot().schema
        counts.append((len(base.documents), len(base.documents)))
    columns = tuple(
        Column(
            field.name,
            describe_type(field.type),
            not field.required,
            field.name == DATA or (field.name in SYSTEM_TYPES and field.name != "name"),
        )
        for field in schema.fields
    )
    return Description(
        space.name,
        base.format,
        base.version,
        columns,
        sum(rows for rows, _ in counts),
        sum(with_data for _, with_data in counts),
        documents,
    )


def _count_data(space: LiveNamespace, source: Source) -> tuple[int, int]:
    """Return how many rows a file has, and how many of them have values in ``$data``."""
    file = space.blocks.open(source)
    column = source.schema.find(DATA)
    if column is None:
        return file.rows, 0
    stats = source.file.stats
    if stats is not None and column.id in stats.nulls and not source.file.deletes:
        return file.rows, file.rows - stats.nulls[column.id]
    batches: Sequence[int] = [
        file.read(index, [DATA]).column(0).null_count for index in range(len(file.groups))
    ]
    return file.rows, file.rows - sum(batches)
