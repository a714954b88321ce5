"""The columns of a table and of staged files together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parquedb.errors import NotFoundError
from parquedb.formats.native.merge import rekey_stats
from parquedb.model.files import DataFile
from parquedb.model.schema import EMPTY, Schema, assign_ids, ids_by_path, max_id
from parquedb.model.types import Field, ListType, StructType, Type
from parquedb.namespace.base import Base, staged_source, token_of
from parquedb.namespace.entry import Staged
from parquedb.parquet.footer import read_footer
from parquedb.query.view import Source, StaleError
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of a large write.

    Args:
        file: The file, with the statistics of its own footer.
        schema: Its own columns.
    """

    file: DataFile
    schema: Schema


def open_staged(store: Store, staged: Staged) -> StagedFile:
    """Return a staged file with what its footer says.

    Raises:
        StaleError: It was flushed since.
    """
    try:
        footer = read_footer(store, staged.path)
    except NotFoundError as error:  # flushed since the journal was read
        raise StaleError(f"the staged file {staged.path!r} is gone") from error
    file = DataFile(staged.path, staged.size_bytes, staged.rows, stats=footer.stats)
    return StagedFile(file, footer.schema)


def join_sources(base: Base, staged: Sequence[StagedFile]) -> tuple[Schema, tuple[Source, ...]]:
    """Return the columns of a table and staged files together, and all files read with them."""
    if not staged:
        return base.schema, base.sources
    schema = base.schema
    for each in staged:
        schema = join_schemas(schema, each.schema)
    sources = [*base.sources]
    if schema != base.schema:
        sources = [
            replace(source, schema=schema, token=token_of(source.file, schema))
            for source in base.sources
        ]
    for each in staged:
        stats = each.file.stats
        if stats is not None:
            stats = rekey_stats(stats, each.schema, schema)
        sources.append(staged_source(replace(each.file, stats=stats), schema))
    sources.sort(key=lambda source: source.id_bounds()[0] or "")
    return schema, tuple(sources)


def join_schemas(schema: Schema, other: Schema) -> Schema:
    """Return the columns of both, with the ids and types of the first; structs have both's parts.

    Types that do not go together (:func:`goes_with`) stay as the first one's.
    """
    if schema is EMPTY or not schema.fields:
        return other
    fields = _join_fields(schema.fields, other.fields)
    if fields == schema.fields:
        return schema
    grown = replace(schema, fields=fields)
    return assign_ids(grown, ids_by_path(schema), max_id(schema))[0]


def goes_with(one: Type, other: Type) -> bool:
    """Whether a column can hold the values of both types."""
    match one, other:
        case StructType(a), StructType(b):
            known = {field.name: field.type for field in a}
            return all(
                field.name not in known or goes_with(known[field.name], field.type) for field in b
            )
        case ListType(a_element), ListType(b_element):
            return goes_with(a_element.type, b_element.type)
        case _:
            return one == other


def _join_fields(one: Sequence[Field], other: Sequence[Field]) -> tuple[Field, ...]:
    others = {field.name: field for field in other}
    joined = []
    for field in one:
        match = others.pop(field.name, None)
        joined.append(field if match is None else _join_field(field, match))
    return (*joined, *others.values())


def _join_field(one: Field, other: Field) -> Field:
    match one.type, other.type:
        case StructType(a), StructType(b):
            joined = _join_fields(a, b)
            return one if joined == a else replace(one, type=StructType(joined))
        case ListType(a), ListType(b):
            element = _join_field(a, b)
            return one if element == a else replace(one, type=ListType(element))
        case _:
            return one
