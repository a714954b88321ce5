"""Typed places in a row, and the SQL that names them: columns, struct children, list elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from parquedb.model.types import Field, ListType, StructType, Type
from parquedb.query import literals
from parquedb.query.scalars import is_null, is_present
from parquedb.query.truth import FALSE, TRUE, Sql, Truth, at_most, exactly
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A value of a row.

    Args:
        expression: SQL for it, which binds at least as tightly as a function call.
        type: Its type.
        element: Whether it is in a list, where null is None; elsewhere null is a missing field.
    """

    expression: str
    type: Type
    element: bool = False

    @property
    def is_null(self) -> Sql:
        """That it is null."""
        return is_null(self.expression)

    @property
    def is_present(self) -> Sql:
        """That it is not null."""
        return is_present(self.expression)


class Opaque(Enum):
    """A place that DuckDB cannot name or cannot tell from another."""

    OPAQUE = 0


OPAQUE = Opaque.OPAQUE


def column_of(fields: Iterable[Field], name: str, table: str | None) -> Place | Opaque | None:
    """Return the place of a table's column, None if there is none of that name."""
    field = _find(fields, name)
    if not isinstance(field, Field):
        return field
    quoted = literals.identifier(name)
    if quoted is None:
        return OPAQUE
    if table is not None:
        quoted = f"{literals.identifier(table)}.{quoted}"
    return Place(quoted, field.type)


def child_of(parent: Place, name: str) -> Place | Opaque | None:
    """Return the place of a struct's child, None if there is none of that name."""
    assert isinstance(parent.type, StructType)
    field = _find(parent.type.fields, name)
    if not isinstance(field, Field):
        return field
    if literals.identifier(name) is None:
        return OPAQUE
    key = literals.text_literal(name)
    return Place(f"struct_extract({parent.expression}, {key})", field.type)


def element_of(parent: Place, index: int) -> Place:
    """Return the place of a list's element; it is null beyond the list's end."""
    assert isinstance(parent.type, ListType)
    return Place(f"{parent.expression}[{index + 1}]", parent.type.element.type, element=True)


def any_element(parent: Place, depth: int, passes: Callable[[Place], Truth]) -> Truth:
    """Return that a list has an element that passes.

    Args:
        parent: The list.
        depth: How many lists' elements are being looked at around it.
        passes: What is asked of the element.
    """
    assert isinstance(parent.type, ListType)
    name = f"_e{depth}"
    truth = passes(Place(name, parent.type.element.type, element=True))
    if truth.exact:
        return exactly(_exists(parent, name, truth.sure))
    return Truth(_exists(parent, name, truth.sure), _exists(parent, name, truth.possible))


def _exists(parent: Place, name: str, body: Sql) -> Sql:
    if body == FALSE:
        return FALSE
    if body == TRUE:
        return Sql(f"len({parent.expression}) > 0")
    equal = f"{name} = "
    if body.negated is not None and body.negated.startswith(f"({name} <> "):
        return Sql(f"list_contains({parent.expression}, {body.text.removeprefix(equal)})")
    return Sql(f"len(list_filter({parent.expression}, lambda {name}: {body.text})) > 0")


def present_at_most(place: Place) -> Truth:
    """Return that nothing is known but that null does not pass."""
    return at_most(place.is_present)


def _find(fields: Iterable[Field], name: str) -> Field | Opaque | None:
    """Find a field by its name, which no other may share but for the case (DuckDB ignores it)."""
    folded = name.casefold()
    alike = [field for field in fields if field.name.casefold() == folded]
    found = next((field for field in alike if field.name == name), None)
    return OPAQUE if found is not None and len(alike) > 1 else found
