"""Filters as DuckDB SQL over a table's typed columns: the second meaning of :mod:`.filter`.

Every part of a filter becomes two predicates, one that implies it and one that it implies (see
:mod:`.truth`). They are the same wherever SQL can tell exactly; between them the document itself
is asked. A null column is a missing field, a null in a list is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import assert_never

import orjson

from parquedb.model.schema import Schema
from parquedb.model.types import (
    BinaryType,
    DecimalType,
    FixedType,
    FloatType,
    ListType,
    NullType,
    StructType,
    UuidType,
)
from parquedb.query import literals
from parquedb.query.compare import MISSING
from parquedb.query.filter import (
    And,
    At,
    ContainsAll,
    ElementMatches,
    ElementPasses,
    Exists,
    Expression,
    Filter,
    HasSize,
    HasType,
    Not,
    Or,
    Passes,
    Path,
    Test,
)
from parquedb.query.match import compile_test
from parquedb.query.places import (
    Opaque,
    Place,
    any_element,
    child_of,
    column_of,
    element_of,
    present_at_most,
)
from parquedb.query.reach import index_of
from parquedb.query.scalars import bracket_of_type, steps_of
from parquedb.query.truth import (
    ALWAYS,
    FALSE,
    NEVER,
    TRUE,
    Sql,
    Truth,
    all_of,
    any_of,
    at_most,
    conjunction,
    disjunction,
    exactly,
    negate,
    opposite,
)
from parquedb.query.whole import value_passes
from parquedb.rows.columns import DATA, OWN_FIELDS, is_document_schema
from parquedb.rows.jsonform import HINTS
from parquedb.slotted import dataclass

_MAX_INDEX = 1 << 31
_OF_WHOLE_LISTS = (Exists, HasSize, ElementMatches, ElementPasses)
"""Tests that a list passes as a whole only."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter as two DuckDB expressions to be joined by AND into a WHERE.

    NULL counts as FALSE in ``possible``, and in ``sure`` where both are the same text; where they
    are not, ``sure`` is never NULL.

    Args:
        sure: Implies that the document matches.
        possible: Is implied by it.
        predicate: What ``possible`` is the text of.
    """

    sure: str
    possible: str
    predicate: Sql | None = field(default=None, repr=False, compare=False)

    @property
    def exact(self) -> bool:
        """Whether no document needs to be asked."""
        return self.sure == self.possible


def compile_filter(
    filter: Filter,  # noqa: A002
    schema: Schema,
    *,
    overflow: bool,
    table: str | None = None,
) -> Condition:
    """Return a filter as SQL over a table's columns.

    Args:
        filter: The filter.
        schema: The columns that the SQL may name.
        overflow: Whether ``$data`` may hold anything in the rows it is asked of.
        table: The table's name or alias in the query, where columns have to be qualified.

    Raises:
        InvalidInputError: A regular expression or an ``$expr`` in it is not acceptable.
    """
    truth = _compile(filter, _Columns(schema, overflow=overflow, table=table), 0)
    possible = truth.possible.operand
    if truth.exact:
        return Condition(possible, possible, truth.possible)
    constant = truth.sure in (TRUE, FALSE)
    sure = truth.sure.text if constant else f"({truth.sure.text}) IS TRUE"
    return Condition(sure, possible, truth.possible)


def sort_expression(path: Path, schema: Schema, *, overflow: bool) -> str | None:
    """Return what to sort by, ``ASC NULLS FIRST`` or ``DESC NULLS LAST``, for MongoDB's order.

    Args:
        path: The field.
        schema: The columns that the SQL may name.
        overflow: Whether ``$data`` may hold anything in the rows it is asked of.

    Returns:
        The expression; None where SQL cannot sort like that, as by a list's elements.
    """
    columns = _Columns(schema, overflow=overflow, table=None)
    place = columns.place(path[0])
    if columns.doubt(path[0], hints=False) != FALSE:
        return None
    for name in path[1:]:
        if not isinstance(place, Place):
            break
        if isinstance(place.type, StructType):
            place = child_of(place, name)
        elif bracket_of_type(place.type) is not None:
            place = None
        else:
            return None
    if place is None:
        return "NULL::INTEGER"
    if isinstance(place, Opaque):
        return None
    return _sort_by(place, foreign=not is_document_schema(schema))


def _sort_by(place: Place, *, foreign: bool) -> str | None:
    column = place.expression
    match place.type:
        case FloatType() if foreign:
            # DuckDB puts NaN last, MongoDB before all numbers; a document never holds one.
            key = f"row(NOT isnan({column}), {column})"
        case BinaryType() | FixedType():
            key = f"row(octet_length({column}), {column})"
        case UuidType() | DecimalType() if steps_of(place.type) is None:
            return None
        case type_ if bracket_of_type(type_) is None:
            return None
        case _:
            return column
    return f"CASE WHEN {column} IS NOT NULL THEN {key} END"


class _Columns:
    """The fields of a table's rows: columns, and what overrides them in ``$data``."""

    def __init__(self, schema: Schema, *, overflow: bool, table: str | None) -> None:
        self._schema = schema
        self._table = table
        self._data = column_of(schema.fields, DATA, table) if overflow else None
        self._documents = is_document_schema(schema)

    def place(self, name: str) -> Place | Opaque | None:
        """Return the column of a field."""
        return None if name == DATA else column_of(self._schema.fields, name, self._table)

    def doubt(self, name: str, *, hints: bool) -> Sql:
        """Return that a field's value may not be its column's.

        Args:
            name: The field.
            hints: Whether it matters that a float is to be read as an int.
        """
        if not isinstance(self._data, Place) or not literals.is_text(name):
            return FALSE
        found = (
            [] if self._is_system(name) else [_key(f"$${name[1:]}" if name[:1] == "$" else name)]
        )
        if hints:
            found.append(_key(HINTS))
        data = self._data.expression
        return disjunction(self._contains(data, literals.text_literal(key)) for key in found)

    def _contains(self, data: str, text: str) -> Sql:
        return Sql(f"contains({data}, {text})", f"({data} IS NULL OR NOT contains({data}, {text}))")

    def _is_system(self, name: str) -> bool:
        """Whether a field is always in its column."""
        return name in OWN_FIELDS and self._documents and self._schema.find(name) is not None


class _Element:
    """The fields of a struct in a list."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def place(self, name: str) -> Place | Opaque | None:
        """Return the child of a field."""
        return child_of(self._place, name)

    def doubt(self, name: str, *, hints: bool) -> Sql:
        """Return that a field's value may not be the child's: never."""
        del name, hints
        return FALSE


_Scope = _Columns | _Element


def _key(name: str) -> str:
    return orjson.dumps(name).decode() + ":"


def _compile(filter_: Filter, scope: _Scope, depth: int) -> Truth:
    match filter_:
        case At(path, test):
            return _compile_at(path, test, scope, depth)
        case And(parts):
            return all_of(_compile(part, scope, depth) for part in parts)
        case Or(parts):
            return any_of(_compile(part, scope, depth) for part in parts)
        case Not(part):
            return opposite(_compile(part, scope, depth))
        case Expression():
            return at_most(TRUE)
        case _:
            assert_never(filter_)


def _compile_at(path: Path, test: Test, scope: _Scope, depth: int) -> Truth:
    if isinstance(test, ContainsAll):
        if not test.tests:
            return NEVER
        return all_of(_compile_at(path, part, scope, depth) for part in test.tests)
    walk = _Walk(test, depth)
    place = scope.place(path[0])
    truth = walk.down(place, path[1:])
    is_float = isinstance(place, Place) and isinstance(place.type, FloatType)
    doubt = scope.doubt(path[0], hints=is_float and isinstance(test, HasType))
    if doubt == FALSE:
        return truth
    sure = conjunction((truth.sure, negate(doubt)))
    return Truth(sure, disjunction((truth.possible, doubt)))


class _Walk:
    """A test on its way down to the values that a path reaches.

    Args:
        test: The test.
        depth: How many lists' elements are being looked at around it.
    """

    def __init__(self, test: Test, depth: int) -> None:
        self.test = test
        self.depth = depth
        passes = compile_test(test)
        self.missing_passes = passes(MISSING)
        self.none_passes = passes(None)

    def deeper(self) -> _Walk:
        """Return the same test inside a list's element."""
        return _Walk(self.test, self.depth + 1)

    @property
    def nothing(self) -> Truth:
        """Whether the test holds where the path reaches nothing."""
        return ALWAYS if self.missing_passes else NEVER

    def down(self, place: Place | Opaque | None, path: Path) -> Truth:
        """Return that the test holds for what a path reaches from a place.

        Args:
            place: Where the path has come to.
            path: What is left of it.
        """
        if place is None:
            return self.nothing
        if isinstance(place, Opaque):
            return at_most(TRUE)
        if not path:
            return self.leaf(place)
        match place.type:
            case StructType():
                return self.down(child_of(place, path[0]), path[1:])
            case ListType():
                missing = exactly(place.is_null) if self.missing_passes else NEVER
                return any_of((missing, self.in_list(place, path)))
            case type_ if bracket_of_type(type_) is not None or isinstance(type_, NullType):
                return self.nothing
            case _:
                return at_most(TRUE)

    def in_list(self, place: Place, path: Path) -> Truth:
        """Return that it holds for what a path reaches in a list: by any element, or by index."""
        parts = [self._everywhere(place, path)]
        index = index_of(path[0])
        if index is not None and index < _MAX_INDEX:
            inside = exactly(Sql(f"len({place.expression}) > {index}"))
            parts.append(all_of((inside, self._at_index(element_of(place, index), path[1:]))))
        return any_of(parts)

    def _everywhere(self, place: Place, path: Path) -> Truth:
        """Go on in every element that is a document."""

        def goes_on(element: Place) -> Truth:
            if isinstance(element.type, StructType):
                return self._if_present(element, self.deeper().down(element, path))
            plain = isinstance(element.type, ListType) or bracket_of_type(element.type) is not None
            return NEVER if plain else present_at_most(element)

        return any_element(place, self.depth, goes_on)

    def _at_index(self, element: Place, path: Path) -> Truth:
        if not path:
            return self.single(element)
        if isinstance(element.type, ListType):
            return self.in_list(element, path)
        if isinstance(element.type, StructType):
            return self._if_present(element, self.down(element, path))
        known = bracket_of_type(element.type) is not None
        return NEVER if known else present_at_most(element)

    def _if_present(self, element: Place, truth: Truth) -> Truth:
        if not self.missing_passes:  # then nothing holds in what is null
            return truth
        return all_of((exactly(element.is_present), truth))

    def leaf(self, place: Place) -> Truth:
        """Return that it holds for what stands at the path's end, or for one of its elements."""
        whole = self.single(place)
        if not isinstance(place.type, ListType) or isinstance(self.test, _OF_WHOLE_LISTS):
            return whole
        element = any_element(place, self.depth, self.deeper().single)
        return any_of((element, whole))

    def single(self, place: Place) -> Truth:
        """Return that it holds for a value itself, or for its being missing or None."""
        match self.test:
            case Passes(tests):
                return self._passes(place, tests)
            case ContainsAll(tests):
                return (
                    self._passes(place, tuple((test, False) for test in tests)) if tests else NEVER
                )
            case ElementMatches(filter_):
                value = self._has_element(place, self._matches(filter_))
            case ElementPasses(tests):
                inner = _Walk(Passes(tests), self.depth + 1)
                value = self._has_element(place, inner.single)
            case test:
                value = value_passes(place, test)
        null_passes = self.none_passes if place.element else self.missing_passes
        return any_of((value, exactly(place.is_null))) if null_passes else value

    def _passes(self, place: Place, tests: Iterable[tuple[Test, bool]]) -> Truth:
        found = ((_Walk(test, self.depth).single(place), negated) for test, negated in tests)
        return all_of(opposite(truth) if negated else truth for truth, negated in found)

    def _has_element(self, place: Place, passes: Callable[[Place], Truth]) -> Truth:
        if isinstance(place.type, ListType):
            return any_element(place, self.depth, passes)
        known = isinstance(place.type, StructType) or bracket_of_type(place.type) is not None
        return NEVER if known else present_at_most(place)

    def _matches(self, filter_: Filter) -> Callable[[Place], Truth]:
        """Return that an element is a document that matches."""

        def matches(element: Place) -> Truth:
            if isinstance(element.type, StructType):
                inside = _compile(filter_, _Element(element), self.depth + 1)
                return all_of((exactly(element.is_present), inside))
            return NEVER if bracket_of_type(element.type) is not None else present_at_most(element)

        return matches
