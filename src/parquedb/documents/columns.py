"""Columns as a change of a table's columns names them: a path, and a type in any notation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from parquedb.documents.kinds import Indexed
from parquedb.documents.schema import parse_schema
from parquedb.errors import InvalidInputError
from parquedb.model.edit import AddColumn
from parquedb.model.types import Type
from parquedb.parquet.arrow import type_of_arrow

TypeSpec = Any
"""A notation of docs/schemas.md, a name of Arrow's, a Python type, an Arrow type or field."""

ColumnSpec = Mapping[str, Any]
"""``{"name": …, "type": …, "nullable": True, "doc": …}``."""

_KEYS = ("name", "type", "nullable", "doc")
_FIELD = "value"


def parse_column(spec: ColumnSpec) -> AddColumn:
    """Return the new column that a mapping asks for.

    Raises:
        InvalidInputError: It has no name or type, or something that a new column cannot have.
    """
    unknown = [key for key in spec if key not in _KEYS]
    if unknown or not {"name", "type"} <= spec.keys():
        wrong = f"has no {unknown[0]!r}" if unknown else "needs a name and a type"
        raise InvalidInputError(
            f"add_column {wrong}; write "
            '{"name": "email", "type": "string"}, and "nullable": True or "doc" at will'
        )
    name, doc = spec["name"], spec.get("doc")
    if not isinstance(name, str) or not isinstance(doc, str | None):
        raise InvalidInputError(f"add_column {name!r}: its name and doc are strings")
    given = spec["type"]
    required = isinstance(given, pa.Field) and not given.nullable
    if required or not spec.get("nullable", True):
        raise _required(name)
    return AddColumn(name, parse_column_type(name, given), doc or None)


def parse_column_type(name: str, spec: TypeSpec) -> Type:
    """Return the type that a column shall have.

    Args:
        name: The column, for messages.
        spec: The type.

    Raises:
        InvalidInputError: It is no type, has none of its own in a table, or has modifiers that
            say more than the type.
        UnsupportedError: The Arrow type cannot be carried.
    """
    if isinstance(spec, pa.Field):
        return type_of_arrow(spec.type, (name,))
    if isinstance(spec, pa.DataType):
        return type_of_arrow(spec, (name,))
    try:
        rules = parse_schema("Column", {_FIELD: spec})
    except InvalidInputError as error:
        arrow = _named(spec)
        if arrow is not None:
            return type_of_arrow(arrow, (name,))
        raise InvalidInputError(f"the type of column {name!r}: {error}") from None
    (rule,) = rules.fields
    if rule.required:
        raise _required(name)
    if rule.default is not None or rule.indexed is not Indexed.NO:
        raise InvalidInputError(
            f"column {name!r}: {spec!r} asks for more than a type; a table knows no defaults, and "
            "indexes are a matter of the collection's schema"
        )
    found = rules.column_types().get(_FIELD)
    if found is None:
        raise InvalidInputError(
            f"column {name!r}: values of {spec!r} have no column of their own; give an Arrow type, "
            "such as pyarrow.uuid()"
        )
    return found


def _named(spec: TypeSpec) -> pa.DataType | None:
    """Return the Arrow type of a name such as ``int32``, None if it is no such name."""
    if not isinstance(spec, str):
        return None
    alias: Any = spec.strip()
    try:
        found: pa.DataType = pa.type_for_alias(alias)
    except ValueError:
        return None
    return found


def _required(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"column {name!r} cannot be required: rows that are there already have no value for it; "
        "add it as one that may be null"
    )
