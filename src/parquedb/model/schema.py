"""Schemas: ordered fields with identities, and what is asked of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

from parquedb.model.types import Field, ListType, MapType, StructType, Type
from parquedb.slotted import dataclass


class Identity(StrEnum):
    """By what a table's data files are matched with its schema's fields."""

    BY_ID = "id"
    """Field ids, in the Parquet files or a name mapping: a rename keeps old values."""
    BY_NAME = "name"
    """Names alone: a column that is dropped and added again is the same column."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table at one version.

    Args:
        fields: Top-level fields in order.
        identity: How fields and files are matched in the table the schema comes from.
        identifier_ids: Ids of the fields that identify a row, where the table declares them.
        aliases: The names, each the last component of a path, of fields in data files that are
            not matched by id, for fields whose names there may be others than their own: those
            of Iceberg's name mapping, Delta's physical names. A field with no names is in no
            such file. The names that go with the id :data:`NO_COLUMN` are of columns in such
            files that are no fields of the table.
        file_ids: Whether the ids that data files carry are those of the fields, if the identity
            is ``BY_ID``. Delta's column mapping by name matches by physical names alone.
        last_id: The highest id that a field of the table ever had, where that is known: the id of
            a dropped field is no other's. It says nothing about the columns, so schemas that
            differ in it only are equal.
    """

    fields: tuple[Field, ...]
    identity: Identity = Identity.BY_NAME
    identifier_ids: tuple[int, ...] = ()
    aliases: tuple[tuple[int, tuple[str, ...]], ...] = ()
    file_ids: bool = True
    last_id: int = dataclasses.field(default=0, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the top-level fields."""
        return tuple(field.name for field in self.fields)

    def find(self, name: str) -> Field | None:
        """Return the top-level field of a name, or None."""
        for field in self.fields:
            if field.name == name:
                return field
        return None

    @property
    def matches_ids(self) -> bool:
        """Whether data files that carry ids are matched by these."""
        return self.identity is Identity.BY_ID and self.file_ids

    def aliases_of(self, field_id: int) -> tuple[str, ...]:
        """Return a field's names in files without ids where its own does not count, else ()."""
        return dict(self.aliases).get(field_id, ())


NO_COLUMN = 0
"""No field's id."""

EMPTY = Schema(())
"""No columns."""

Path = tuple[str, ...]
"""Names from the top down: ``("address", "city")``, ``("tags", "element")``, ``("m", "key")``."""


def children(type_: Type) -> tuple[Field, ...]:
    """Return the fields directly inside a type; none for a primitive one."""
    match type_:
        case StructType(fields):
            return fields
        case ListType(element):
            return (element,)
        case MapType(key, value):
            return (key, value)
        case _:
            return ()


def walk(fields: tuple[Field, ...], above: Path = ()) -> Iterator[tuple[Path, Field]]:
    """Yield every field, nested ones after their parents, with its path."""
    for field in fields:
        path = (*above, field.name)
        yield path, field
        yield from walk(children(field.type), path)


def map_fields(
    fields: tuple[Field, ...], change: Callable[[Path, Field], Field], above: Path = ()
) -> tuple[Field, ...]:
    """Rebuild fields bottom up: ``change`` sees each field with its children already changed."""
    changed = []
    for field in fields:
        path = (*above, field.name)
        type_: Type
        match field.type:
            case StructType(inner):
                type_ = StructType(map_fields(inner, change, path))
            case ListType(element):
                type_ = ListType(*map_fields((element,), change, path))
            case MapType(key, value):
                type_ = MapType(*map_fields((key, value), change, path))
            case other:
                type_ = other
        changed.append(change(path, replace(field, type=type_)))
    return tuple(changed)


def ids_by_path(schema: Schema) -> dict[Path, int]:
    """Return the id of every field, nested ones included, by its path."""
    return {path: field.id for path, field in walk(schema.fields)}


def max_id(schema: Schema) -> int:
    """Return the highest field id in use, or that ever was as far as it is known; 0 for none."""
    return max((schema.last_id, *(field.id for _, field in walk(schema.fields))))


def assign_ids(schema: Schema, known: Mapping[Path, int], last_id: int) -> tuple[Schema, int]:
    """Give every field the id known for its path, or the next free one.

    Parents are numbered before their children and a level before the next, as Iceberg does.

    Args:
        schema: Fields whose ids are disregarded.
        known: Ids already given out, by path.
        last_id: The highest id ever given out.

    Returns:
        The schema with ids, and the highest id given out now.
    """
    ids = dict(known)
    level: list[tuple[Path, Field]] = [((field.name,), field) for field in schema.fields]
    while level:
        for path, _ in level:
            if path not in ids:
                last_id += 1
                ids[path] = last_id
        level = [((*path, c.name), c) for path, field in level for c in children(field.type)]
    fields = map_fields(schema.fields, lambda path, field: replace(field, id=ids[path]))
    return replace(schema, fields=fields), last_id


def named_as_in_files(schema: Schema) -> Schema:
    """Return a schema in which each field has the oldest of its names in files without ids.

    Fields that are in no such file keep their own. The result has no aliases.
    """
    names = dict(schema.aliases)

    def change(_: Path, field: Field) -> Field:
        return replace(field, name=next(iter(names.get(field.id, ())), field.name))

    return replace(schema, fields=map_fields(schema.fields, change), aliases=())


def with_ids_of(schema: Schema, other: Schema) -> Schema:
    """Return a schema with the ids of another of the same shape, whatever its names are."""
    pairs = zip(walk(schema.fields), walk(other.fields), strict=True)
    ids = {path: theirs.id for (path, _), (_, theirs) in pairs}
    return replace(
        schema, fields=map_fields(schema.fields, lambda path, one: replace(one, id=ids[path]))
    )


def same_shape(a: Schema, b: Schema) -> bool:
    """Whether two schemas have equal names, types, nullability and order; ids are left out."""

    def bare(schema: Schema) -> tuple[Field, ...]:
        return map_fields(schema.fields, lambda _, f: replace(f, id=0, doc=None, initial=None))

    return bare(a) == bare(b)
