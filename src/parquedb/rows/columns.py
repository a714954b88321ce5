"""The columns of a document table, and how they grow with the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from parquedb.model.schema import (
    Identity,
    Schema,
    assign_ids,
    ids_by_path,
    map_fields,
    max_id,
    walk,
)
from parquedb.model.types import (
    Field,
    IntType,
    ListType,
    StringType,
    StructType,
    TimestampType,
    Type,
    VariantType,
)
from parquedb.rows.infer import Infer, is_column_name, values_of
from parquedb.rows.values import Document

DATA = "$data"
"""The column that holds, as JSON, what no typed column does."""

SYSTEM_TYPES: Mapping[str, Type] = {
    "$id": StringType(),
    "$type": StringType(),
    "name": StringType(),
    "createdAt": TimestampType(),
    "updatedAt": TimestampType(),
    "deletedAt": TimestampType(),
    "createdBy": StringType(),
    "updatedBy": StringType(),
    "deletedBy": StringType(),
    "version": IntType(32),
}
"""The system fields with the types of their columns, in the order of documents."""

OWN_FIELDS = frozenset(SYSTEM_TYPES) - {"name"}
"""The system fields that only the database sets: their columns hold all of their values, and a null
is a missing field. A ``name`` is the user's, and may be no string."""

SYSTEM_FIELDS: tuple[str, ...] = tuple(SYSTEM_TYPES)
"""The names of the system fields, in the order of documents."""

MAX_COLUMNS = 1000
"""How many top-level columns documents alone can bring about."""


def system_schema() -> Schema:
    """Return the columns of a document table that has no typed column yet."""
    fields = [Field(0, name, type_, required=name == "$id") for name, type_ in SYSTEM_TYPES.items()]
    bare = Schema((*fields, Field(0, DATA, StringType())), Identity.BY_ID)
    return assign_ids(bare, {}, 0)[0]


def is_document_schema(schema: Schema) -> bool:
    """Whether a table's rows are documents: it has a string column ``$id``."""
    field = schema.find("$id")
    return field is not None and isinstance(field.type, StringType)


def unfit_column(schema: Schema) -> Field | None:
    """Return a column that has the name of one of the system's but cannot hold its values."""
    own = {name: SYSTEM_TYPES[name] for name in OWN_FIELDS} | {DATA: StringType()}
    for field in schema.fields:
        wanted = own.get(field.name)
        if wanted is None:
            continue
        zoned = not isinstance(field.type, TimestampType) or field.type.utc
        if type(field.type) is not type(wanted) or not zoned:
            return field
    return None


def find_variant(schema: Schema) -> str | None:
    """Return a column that is a variant, which no document can hold."""
    found = (path for path, item in walk(schema.fields) if isinstance(item.type, VariantType))
    return next(map(".".join, found), None)


def evolve(
    schema: Schema | None,
    documents: Sequence[Document],
    declared: Mapping[str, Type] | None = None,
) -> Schema:
    """Add the typed columns that some documents call for.

    A field gets a column if it is declared, or if all its values in these documents are of one
    kind. Existing columns stay as they are, except that structs gain children. Names that some
    engine cannot have as a column never get one, declared or not; their values are in ``$data``.

    Args:
        schema: The columns so far; None for a new table.
        documents: The documents, stored images.
        declared: Types of fields by name.

    Returns:
        The columns, with ids; the same object if nothing is added.
    """
    before = system_schema() if schema is None else schema
    fields = {field.name: field for field in before.fields}
    taken = {name.casefold() for name in fields} | {name.casefold() for name in SYSTEM_FIELDS}
    added: list[Field] = []
    for name, type_ in (declared or {}).items():
        bare = _bare(type_)
        if name in fields:
            if name not in SYSTEM_TYPES:
                fields[name] = _widen(fields[name], bare)
        elif is_column_name(name) and name.casefold() not in taken:
            taken.add(name.casefold())
            added.append(Field(0, name, bare))
    if schema is not None and documents:
        added = [*_missing(fields), *added]
    _promote(documents, fields, added, taken)
    if not added and tuple(fields.values()) == before.fields:
        return before
    after = [*fields.values()]
    # A new table has `$data` last; later columns come behind it.
    after[len(after) - 1 if schema is None else len(after) :] = (
        [*added, after[-1]] if schema is None else added
    )
    grown, _ = assign_ids(replace(before, fields=tuple(after)), ids_by_path(before), max_id(before))
    return grown


def _missing(fields: Mapping[str, Field]) -> list[Field]:
    """Return the columns of the system that a table of another program has not."""
    taken = {name.casefold() for name in fields}
    own = (field for field in system_schema().fields if field.name.casefold() not in taken)
    return [replace(field, id=0, required=False) for field in own]


def _promote(
    documents: Sequence[Document], fields: dict[str, Field], added: list[Field], taken: set[str]
) -> None:
    """Infer types: widen ``fields`` in place, append to ``added``."""
    infer = Infer()
    declared = {field.name: index for index, field in enumerate(added)}
    shapes = Counter(map(tuple, documents))
    keys = [
        key
        for key in dict.fromkeys(chain.from_iterable(shapes))
        if isinstance(key, str) and key not in SYSTEM_TYPES and key != DATA
    ]
    values = _values_by_key(documents, shapes, keys)
    folded = [key.casefold() for key in keys]
    for key, fold in zip(keys, folded, strict=True):
        if key in fields:
            fields[key] = _grow(infer, fields[key], values)
        elif key in declared:
            index = declared[key]
            added[index] = _grow(infer, added[index], values)
        elif (
            fold not in taken
            and len(fields) + len(added) < MAX_COLUMNS
            and is_column_name(key)
            and folded.count(fold) == 1
        ):
            type_ = infer.type_of(values(key), hints=True)
            if type_ is not None:
                added.append(Field(0, key, type_))


def _values_by_key(
    documents: Sequence[Document], shapes: Counter[tuple[str, ...]], keys: list[str]
) -> Callable[[str], list[Any]]:
    """Return what gives a key's values: gathered at once if documents have few of the keys."""
    cells = sum(len(shape) * count for shape, count in shapes.items())
    if 2 * cells > len(documents) * len(keys):
        return lambda key: values_of(documents, key)
    gathered: dict[str, list[Any]] = {key: [] for key in keys}
    for document in documents:
        for key, value in document.items():
            if value is not None and key in gathered:
                gathered[key].append(value)
    return gathered.__getitem__


def _grow(infer: Infer, field: Field, values: Callable[[str], list[Any]]) -> Field:
    if not _holds_struct(field.type):
        return field
    type_ = infer.grown(field.type, values(field.name))
    return field if type_ == field.type else replace(field, type=type_)


def _holds_struct(type_: Type) -> bool:
    while isinstance(type_, ListType):
        type_ = type_.element.type
    return isinstance(type_, StructType)


def _bare(type_: Type) -> Type:
    """Strip ids and requirements: a missing key is a null in any column."""
    fields = map_fields(
        (Field(0, "", type_),), lambda _, field: replace(field, id=0, required=False)
    )
    return fields[0].type


def _widen(field: Field, declared: Type) -> Field:
    """Give a struct, also one inside lists, the children that a declaration adds."""
    match field.type, declared:
        case StructType(have), StructType(want):
            by_name = {child.name: child.type for child in want}
            kept = [_widen(child, by_name.pop(child.name, child.type)) for child in have]
            taken = {child.name.casefold() for child in have}
            new = [
                Field(0, name, type_)
                for name, type_ in by_name.items()
                if is_column_name(name) and name.casefold() not in taken
            ]
            return replace(field, type=StructType((*kept, *new)))
        case ListType(element), ListType(other):
            return replace(field, type=ListType(_widen(element, other.type)))
        case _:
            return field
