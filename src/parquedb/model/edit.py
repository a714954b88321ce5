"""Changes of a table's columns, as values: what they are and what a schema becomes by them.

A column is named by its path with dots: ``address.city``, ``lines.element.sku``. Pure; what a
format allows besides is its own matter.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never

from parquedb.errors import InvalidInputError
from parquedb.model.schema import Path, Schema, assign_ids, children, ids_by_path, max_id, walk
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    NestedType,
    StructType,
    Type,
    describe_type,
)
from parquedb.slotted import dataclass

Fields = tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class AddColumn:
    """A column is added, the last of its struct.

    Args:
        name: Its path.
        type: Its type; ids in it do not count.
        doc: Its comment.
    """

    name: str
    type: Type
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """A column gets another name.

    Args:
        name: Its path.
        new: Its new name, or its new path in the same struct.
    """

    name: str
    new: str


@dataclass(frozen=True, slots=True)
class DropColumn:
    """A column is dropped, with all that is inside."""

    name: str


@dataclass(frozen=True, slots=True)
class WidenColumn:
    """A column gets a type that holds all values of its present one."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class MakeOptional:
    """A column may hold null from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class SetDoc:
    """A column gets a comment, or loses it."""

    name: str
    doc: str | None


@dataclass(frozen=True, slots=True)
class Reorder:
    """These columns of one struct come first, in this order; the others follow as they were."""

    names: tuple[str, ...]


Edit = AddColumn | RenameColumn | DropColumn | WidenColumn | MakeOptional | SetDoc | Reorder


def apply_edits(schema: Schema, edits: Sequence[Edit]) -> Schema:
    """Return a schema after some changes, one after the other.

    Columns keep their ids; new ones get the next that no column ever had, as far as the schema
    tells (:attr:`~parquedb.model.schema.Schema.last_id`).

    Raises:
        InvalidInputError: One cannot be done; nothing is.
    """
    for edit in edits:
        match edit:
            case AddColumn():
                schema = _add(schema, edit)
            case RenameColumn(name, new):
                schema = _rename(schema, name, new)
            case DropColumn(name):
                schema = _drop(schema, name)
            case WidenColumn(name, type_):
                schema = _widen(schema, name, type_)
            case MakeOptional(name):
                schema = _change(schema, name, lambda field: replace(field, required=False))
            case SetDoc(name, doc):
                schema = _change(schema, name, _with_doc(_checked_doc(name, doc)))
            case Reorder(names):
                schema = _reorder(schema, names)
            case _:
                assert_never(edit)
    return schema


def find_column(schema: Schema, name: str) -> tuple[Path, Field]:
    """Return the path and the field of a column by its path with dots.

    Names may hold dots themselves: then the one with the fewest parts counts.

    Raises:
        InvalidInputError: There is none; the nearest name is told.
    """
    found = [(path, field) for path, field in walk(schema.fields) if ".".join(path) == name]
    if found:
        return min(found, key=lambda pair: len(pair[0]))
    names = [".".join(path) for path, _ in walk(schema.fields)]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(schema.names)}"
    raise InvalidInputError(f"the table has no column {name!r}; {hint}")


def _add(schema: Schema, edit: AddColumn) -> Schema:
    above, name = _split(schema, edit.name)
    new = Field(0, name, edit.type, doc=_checked_doc(edit.name, edit.doc))
    for path, one in walk((new,)):
        if isinstance(one.type, StructType):
            _check_members(edit.name, path, one.type)

    def add(fields: Fields) -> Fields:
        _check_free(fields, name, edit.name)
        return (*fields, new)

    grown = _edit_level(schema, above, add)
    return assign_ids(grown, ids_by_path(schema), max_id(schema))[0]


def _rename(schema: Schema, name: str, new: str) -> Schema:
    path, field = find_column(schema, name)
    _check_member(schema, path, "renamed")
    prefix = ".".join(path[:-1])
    last = new.removeprefix(f"{prefix}.") if prefix else new
    if prefix and "." in last:
        raise InvalidInputError(
            f"{name!r} cannot become {new!r}: a column stays in its struct; give its new name alone"
        )
    _check_name(last)

    def rename(fields: Fields) -> Fields:
        _check_free(tuple(one for one in fields if one.id != field.id), last, new)
        return tuple(replace(one, name=last) if one.name == path[-1] else one for one in fields)

    return _edit_level(schema, path[:-1], rename)


def _drop(schema: Schema, name: str) -> Schema:
    path, field = find_column(schema, name)
    _check_member(schema, path, "dropped")

    def drop(fields: Fields) -> Fields:
        if len(fields) == 1:
            what = f"the struct {'.'.join(path[:-1])!r}" if path[:-1] else "the table"
            raise InvalidInputError(
                f"{name!r} is the only column of {what}, which cannot be without one; "
                "add another first"
            )
        return tuple(one for one in fields if one.name != path[-1])

    dropped = _edit_level(schema, path[:-1], drop)
    gone = {one.id for _, one in walk((field,))}
    if gone & set(schema.identifier_ids):
        raise InvalidInputError(
            f"{name!r} identifies the rows of the table (identifier fields), so it cannot be "
            "dropped; take it out of the identifier fields first"
        )
    return dropped


def _widen(schema: Schema, name: str, type_: Type) -> Schema:
    path, field = find_column(schema, name)
    _check_not_key(schema, path)
    if field.type == type_:
        return schema
    if not is_widening(field.type, type_):
        raise InvalidInputError(
            f"{name!r} is {describe_type(field.type)} and cannot become {describe_type(type_)}: "
            f"{_allowed(field.type)}"
        )
    return _change(schema, name, lambda one: replace(one, type=type_))


def is_widening(old: Type, new: Type) -> bool:
    """Whether a type holds all values of another exactly, by the rules of both table formats."""
    match old, new:
        case IntType(bits, signed), IntType(wider, same):
            return wider > bits and signed == same
        case FloatType(bits), FloatType(wider):
            return wider > bits
        case DecimalType(precision, scale), DecimalType(wider, same_scale):
            return wider > precision and scale == same_scale
        case _:
            return False


def _allowed(type_: Type) -> str:
    """Say what a column of a type can be widened to."""
    match type_:
        case IntType(bits, signed) if bits < 64:
            wider = [f"{'' if signed else 'u'}int{each}" for each in (16, 32, 64) if each > bits]
            return f"it can be widened to {' or '.join(wider)}"
        case FloatType(bits) if bits < 64:
            return f"it can be widened to {'float32 or ' if bits < 32 else ''}float64"
        case DecimalType(precision, scale) if precision < 38:
            return (
                f"it can be widened to decimal(p,{scale}) with p from {precision + 1} to 38; the "
                "digits after the point stay"
            )
        case _:
            return (
                "only integers, floats and decimals of less than the widest type can be widened; "
                "add a column of the new type and fill it instead"
            )


def _reorder(schema: Schema, names: Sequence[str]) -> Schema:
    paths = [find_column(schema, name)[0] for name in names]
    if len({path[:-1] for path in paths}) != 1:
        raise InvalidInputError(
            f"{', '.join(names)} are not columns of one struct; reorder one struct at a time"
        )
    first = [path[-1] for path in paths]
    if len(set(first)) < len(first):
        raise InvalidInputError(f"{', '.join(names)}: a column is named twice")
    if any(path[:-1] and not _is_struct(schema, path[:-1]) for path in paths):
        raise InvalidInputError("only columns of a table or a struct have an order")

    def sort(fields: Fields) -> Fields:
        rest = [one.name for one in fields if one.name not in first]
        by_name = {one.name: one for one in fields}
        return tuple(by_name[name] for name in [*first, *rest])

    return _edit_level(schema, paths[0][:-1], sort)


def _with_doc(doc: str | None) -> Callable[[Field], Field]:
    return lambda field: replace(field, doc=doc or None)


def _change(schema: Schema, name: str, change: Callable[[Field], Field]) -> Schema:
    """Change a column that keeps its name and id."""
    path, field = find_column(schema, name)
    if change(field) == field:
        return schema
    _check_not_key(schema, path)
    within = {one.id for _, one in walk((field,))} & set(schema.identifier_ids)
    if change(field).required != field.required and within:
        raise InvalidInputError(
            f"{name!r} identifies the rows of the table (identifier fields), so it cannot be "
            "null; take it out of the identifier fields first"
        )

    def replaced(fields: Fields) -> Fields:
        return tuple(change(one) if one.name == path[-1] else one for one in fields)

    return _edit_level(schema, path[:-1], replaced)


def _split(schema: Schema, name: str) -> tuple[Path, str]:
    """Return the struct that a new column goes into, and its name there.

    Raises:
        InvalidInputError: What the path leads to is no struct.
    """
    above, _, last = name.rpartition(".")
    _check_name(last)
    if not above:
        return (), last
    path, field = find_column(schema, above)
    if not isinstance(field.type, StructType):
        inside = next((one.name for one in children(field.type)), None)
        hint = f"; its elements are {f'{above}.{inside}'!r}" if inside else ""
        raise InvalidInputError(
            f"{name!r} cannot be added: {above!r} is {describe_type(field.type)}, no struct{hint}"
        )
    _check_not_key(schema, path)
    return path, last


def _edit_level(schema: Schema, above: Path, edit: Callable[[Fields], Fields]) -> Schema:
    """Change the columns of the struct at a path; of the table if the path is empty."""
    return replace(schema, fields=_edit_fields(schema.fields, above, edit))


def _edit_fields(fields: Fields, above: Path, edit: Callable[[Fields], Fields]) -> Fields:
    if not above:
        return edit(fields)
    return tuple(
        replace(one, type=_rebuild(one.type, _edit_fields(children(one.type), above[1:], edit)))
        if one.name == above[0]
        else one
        for one in fields
    )


def _rebuild(type_: Type, inner: Fields) -> NestedType:
    match type_:
        case ListType():
            return ListType(*inner)
        case MapType():
            return MapType(*inner)
        case _:
            return StructType(inner)


def _is_struct(schema: Schema, path: Path) -> bool:
    return isinstance(dict(walk(schema.fields))[path].type, StructType)


def _check_member(schema: Schema, path: Path, what: str) -> None:
    """Make sure that a column is one of the table or of a struct, and not the inside of a list."""
    if path[:-1] and not _is_struct(schema, path[:-1]):
        raise InvalidInputError(
            f"{'.'.join(path)!r} is the inside of a list or map and cannot be {what}"
        )
    _check_not_key(schema, path)


def _check_not_key(schema: Schema, path: Path) -> None:
    types = dict(walk(schema.fields))
    for depth in range(1, len(path)):
        if isinstance(types[path[:depth]].type, MapType) and path[depth] == "key":
            raise InvalidInputError(
                f"{'.'.join(path)!r} belongs to the keys of a map, which cannot change"
            )


def _check_name(name: str) -> None:
    if not name or name != name.strip() or not name.isprintable():
        raise InvalidInputError(
            f"{name!r} cannot be a column's name: it has at least one character, none that cannot "
            "be printed, and no space at its ends"
        )


def _check_members(name: str, path: Path, struct: StructType) -> None:
    """Make sure that the fields of a new column's struct can be told apart, as columns can."""
    prefix = ".".join((name, *path[1:]))
    for number, one in enumerate(struct.fields):
        _check_name(one.name)
        _check_free(struct.fields[:number], one.name, f"{prefix}.{one.name}")


def _checked_doc(name: str, doc: str | None) -> str | None:
    try:
        if doc is not None:
            doc.encode()
    except (AttributeError, UnicodeEncodeError):
        raise InvalidInputError(f"the comment of {name!r} is {doc!r}, and no text") from None
    return doc


def _check_free(fields: Fields, name: str, told: str) -> None:
    """Make sure that no column of a struct has a name, nor one that differs in case only."""
    for one in fields:
        if one.name.casefold() == name.casefold():
            same = "" if one.name == name else f", and {one.name!r} differs in case only"
            raise InvalidInputError(
                f"there is a column {told!r} already{same}; choose another name"
            )
