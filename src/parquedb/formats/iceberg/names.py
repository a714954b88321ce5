"""The property ``schema.name-mapping.default``: what columns are called in files without ids.

https://iceberg.apache.org/spec/#column-projection, "Name Mapping Serialization". A column that a
mapping does not list is in no such file. Retired columns stay in it, so that a new column of an
old one's name does not show the old one's values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

import orjson

from parquedb.errors import FormatError
from parquedb.model.schema import Path, Schema, children, walk
from parquedb.model.types import Field, ListType, MapType, StructType
from parquedb.parquet.match import stranger_id
from parquedb.slotted import dataclass

NAME_MAPPING = "schema.name-mapping.default"
_SECTION = "Name Mapping Serialization"


@dataclass(slots=True)
class FileNames:
    """What the columns of a table are called in files without ids, by field id.

    Args:
        names: The names of each column, the oldest first.
        above: The column in which a nested one is.
    """

    names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    above: dict[int, int | None] = field(default_factory=dict)

    def note(self, schema: Schema) -> None:
        """Note what a schema's columns are called: their aliases, else their own names."""
        self._note(schema.fields, None, dict(schema.aliases))

    def note_strangers(self, names: Iterable[str]) -> None:
        """Note names in files that are no column's: some readers refuse those that they miss."""
        for name in names:
            number = stranger_id(name)
            self.names[number] = (name,)
            self.above[number] = None

    def complete(self, schema: Schema) -> None:
        """Note the columns of which no name is known."""
        known = [(id_, ()) for id_ in self.names]
        self.note(replace(schema, aliases=tuple(known)))

    def strangers(self, schema: Schema) -> list[str]:
        """Return the columns of a schema whose own name is another column's in files."""
        level: dict[tuple[int | None, str], set[int]] = {}
        for id_, names in self.names.items():
            for name in names:
                level.setdefault((self.above[id_], name), set()).add(id_)
        return [
            ".".join(path)
            for path, one in walk(schema.fields)
            if not level.get((self.above.get(one.id), one.name), {one.id}) <= {one.id}
        ]

    def paths(self) -> dict[Path, int]:
        """Return every path that a column has in such files."""
        of: dict[int, tuple[Path, ...]] = {}

        def paths_of(id_: int) -> tuple[Path, ...]:
            if id_ not in of:
                above = self.above[id_]
                parents: tuple[Path, ...] = ((),) if above is None else paths_of(above)
                of[id_] = tuple((*p, name) for p in parents for name in self.names[id_])
            return of[id_]

        return {path: id_ for id_ in self.names for path in paths_of(id_)}

    def _note(
        self,
        fields: Iterable[Field],
        above: int | None,
        aliases: Mapping[int, tuple[str, ...]],
    ) -> None:
        for one in fields:
            told = aliases.get(one.id, (one.name,))
            self.names[one.id] = tuple(dict.fromkeys((*self.names.get(one.id, ()), *told)))
            self.above.setdefault(one.id, above)
            self._note(children(one.type), one.id, aliases)


def parse_name_mapping(text: str) -> FileNames:
    """Parse the property.

    Raises:
        FormatError: It does not follow the specification.
    """
    found = FileNames()
    try:
        _parse_level(orjson.loads(text), None, found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(error) from error
    return found


def extend_name_mapping(text: str | None, known: FileNames) -> str:
    """Return the property with all columns that there ever were.

    Args:
        text: The property so far, whose names are kept, or None.
        known: What columns are called.

    Raises:
        FormatError: The property so far does not follow the specification.
    """
    try:
        root = orjson.loads(text) if text else []
        for id_, names in known.names.items():
            level = root
            for above in _line(known, id_):
                level = _entry(level, above).setdefault("fields", [])
            _put(level, id_, names)
        return orjson.dumps(root).decode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(error) from error


def with_names(schema: Schema, mapping: FileNames | None) -> Schema:
    """Return a table's schema with the names that a mapping gives its columns as aliases."""
    if mapping is None:
        return schema
    aliases = [
        (one.id, mapping.names.get(one.id, ()))
        for one in _named(schema.fields)
        if mapping.names.get(one.id) != (one.name,)
    ]
    return replace(schema, aliases=tuple(aliases))


def names_of(properties: Mapping[str, str]) -> FileNames | None:
    """Return the mapping in a table's properties, None where there is none.

    Raises:
        FormatError: It does not follow the specification.
    """
    text = properties.get(NAME_MAPPING)
    return None if text is None else parse_name_mapping(text)


def _named(fields: Iterable[Field]) -> Iterable[Field]:
    """Yield the fields that are matched by name: all but the insides of lists and maps."""
    for one in fields:
        yield one
        yield from _named(_children(one))


def _children(one: Field) -> tuple[Field, ...]:
    match one.type:
        case StructType(fields):
            return fields
        case ListType(element):
            return _children(element)
        case MapType(key, value):
            return (*_children(key), *_children(value))
        case _:
            return ()


def _parse_level(level: Any, above: int | None, found: FileNames) -> None:
    if not isinstance(level, list):
        raise TypeError("a mapping is a list")
    for entry in level:
        id_ = entry.get("field-id")
        names = tuple(entry["names"])
        if id_ is None:
            continue  # names of columns that are no columns of the table
        if not isinstance(id_, int) or not all(isinstance(name, str) for name in names):
            raise TypeError("field ids are integers and names are texts")
        found.names[id_] = names
        found.above[id_] = above
        _parse_level(entry.get("fields") or [], id_, found)


def _line(known: FileNames, id_: int) -> list[int]:
    """Return the columns in which a column is, from the top."""
    line: list[int] = []
    above = known.above[id_]
    while above is not None:
        line.insert(0, above)
        above = known.above[above]
    return line


def _entry(level: list[dict[str, Any]], id_: int) -> dict[str, Any]:
    return next(entry for entry in level if entry.get("field-id") == id_)


def _put(level: list[dict[str, Any]], id_: int, names: tuple[str, ...]) -> None:
    """Make or complete a column's entry in one level of a mapping; no name has two columns."""
    own = next((entry for entry in level if entry.get("field-id") == id_), None)
    taken = {name for entry in level for name in entry["names"]}
    new = [name for name in names if name not in taken]
    if own is None:
        level.append({"field-id": id_, "names": new})
    else:
        own["names"] = [*own["names"], *new]


def _damaged(error: Exception) -> FormatError:
    return FormatError(
        f"the table property {NAME_MAPPING} is no name mapping ({error!r}); correct or remove it",
        section=_SECTION,
    )
