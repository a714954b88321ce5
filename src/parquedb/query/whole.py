"""Tests of one value itself, as SQL; how a path comes to the value is :mod:`.sql`'s."""

from __future__ import annotations

from typing import Any, assert_never

from parquedb.model.types import (
    DecimalType,
    FloatType,
    IntType,
    ListType,
    NullType,
    StringType,
    StructType,
)
from parquedb.query import literals
from parquedb.query.compare import Bracket
from parquedb.query.filter import (
    Bound,
    Compares,
    Equals,
    Exists,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Text,
    TextOperator,
)
from parquedb.query.places import Opaque, Place, child_of, element_of, present_at_most
from parquedb.query.regex import re2_pattern
from parquedb.query.scalars import (
    Unknown,
    bracket_of_type,
    compares,
    equals,
    is_equal,
    is_one_of,
    is_zero_float,
    literal_for,
    number_for,
)
from parquedb.query.subset import read_subset
from parquedb.query.truth import (
    NEVER,
    Sql,
    Truth,
    all_of,
    any_of,
    at_most,
    conjunction,
    exactly,
)

PlainTest = Equals | Compares | In | Exists | HasType | Matches | Text | Modulo | HasSize

_MOST_ELEMENTS = 64
"""Longer lists are compared by their lengths only."""
_INT32 = 1 << 31
_INT64 = 1 << 63
_EXACT_DOUBLE = 1 << 53
_ALIASES = {
    Bracket.BOOLEAN: "bool",
    Bracket.STRING: "string",
    Bracket.BINARY: "binData",
    Bracket.DATE: "date",
}


def value_passes(place: Place, test: PlainTest) -> Truth:
    """Return that a value is not null and passes a test itself, not by its elements."""
    if isinstance(place.type, NullType):
        return NEVER
    match test:
        case Equals(value):
            return _equal(place, value)
        case Compares(bound, value):
            return _compare(place, bound, value)
        case In():
            return _in(place, test)
        case Exists():
            return exactly(place.is_present)
        case HasType(aliases):
            return _has_type(place, aliases)
        case Matches():
            return _matches(place, test)
        case Text(operator, text):
            return _text(place, operator, text)
        case Modulo(divisor, remainder):
            return _modulo(place, abs(divisor), remainder)
        case HasSize(size):
            return _has_size(place, size)
        case _:
            assert_never(test)


def _is_nested(place: Place) -> bool:
    return isinstance(place.type, StructType | ListType)


def _equal(place: Place, value: Any) -> Truth:
    if value is None:
        return NEVER
    match place.type:
        case StructType():
            return _equal_struct(place, value)
        case ListType():
            return _equal_list(place, value)
        case type_:
            return equals(place.expression, type_, value)


def _equal_struct(place: Place, value: Any) -> Truth:
    assert isinstance(place.type, StructType)
    if not isinstance(value, dict):
        return NEVER
    names = {field.name for field in place.type.fields}
    # A struct with an unknown key or an explicit null is in no column.
    if not names.issuperset(value) or None in value.values():
        return NEVER
    parts = [exactly(place.is_present)]
    for field in place.type.fields:
        child = child_of(place, field.name)
        if child is None or isinstance(child, Opaque):
            return present_at_most(place)
        known = field.name in value
        parts.append(_equal(child, value[field.name]) if known else exactly(child.is_null))
    return all_of(parts)


def _equal_list(place: Place, value: Any) -> Truth:
    if isinstance(value, tuple):
        return present_at_most(place)
    if not isinstance(value, list):
        return NEVER
    length = exactly(Sql(f"len({place.expression}) = {len(value)}"))
    if len(value) > _MOST_ELEMENTS:
        return at_most(length.possible)
    parts = [length]
    for index, element in enumerate(value):
        own = element_of(place, index)
        parts.append(exactly(own.is_null) if element is None else _equal(own, element))
    return all_of(parts)


def _compare(place: Place, bound: Bound, value: Any) -> Truth:
    if value is None:
        return NEVER
    nested = isinstance(value, dict | list | tuple)
    if _is_nested(place):
        return present_at_most(place) if nested else NEVER
    return compares(place.expression, place.type, bound, value)


def _in(place: Place, test: In) -> Truth:
    found = [_matches(place, pattern) for pattern in test.patterns]
    if _is_nested(place):
        return any_of([*found, *(_equal(place, value) for value in test.values)])
    known: dict[str, int | float | None] = {}
    for value in test.values:
        if value is None:
            continue
        literal = literal_for(place.type, value)
        if isinstance(literal, Unknown) or is_zero_float(place.type, value):
            found.append(equals(place.expression, place.type, value))
        elif literal is not None:
            known[literal] = number_for(place.type, value)
    if known:
        found.append(exactly(is_one_of(place.expression, place.type, known)))
    return any_of(found)


def _has_type(place: Place, aliases: frozenset[str]) -> Truth:
    match place.type:
        case StructType():
            alias = "object"
        case ListType():
            alias = "array"
        case FloatType():
            alias = "double"
        case DecimalType():
            alias = "decimal"
        case IntType():
            return _has_int_type(place, aliases)
        case type_:
            bracket = bracket_of_type(type_)
            if bracket is None:
                return present_at_most(place)
            alias = _ALIASES[bracket]
    return exactly(place.is_present) if alias in aliases else NEVER


def _has_int_type(place: Place, aliases: frozenset[str]) -> Truth:
    small, large = "int" in aliases, "long" in aliases
    if small and large:
        return exactly(place.is_present)
    if small:
        bounds = (Bound.AT_LEAST, -_INT32), (Bound.LESS, _INT32)
        return all_of(compares(place.expression, place.type, *bound) for bound in bounds)
    if large:
        bounds = (Bound.LESS, -_INT32), (Bound.AT_LEAST, _INT32)
        return any_of(compares(place.expression, place.type, *bound) for bound in bounds)
    return NEVER


def _matches(place: Place, test: Matches) -> Truth:
    if not isinstance(place.type, StringType):
        return _no_text(place)
    source = re2_pattern(test.pattern, test.flags)
    if not literals.is_text(source):
        return present_at_most(place)
    subset = None if test.flags else read_subset(source, "")
    if subset is None or subset.literal is None:
        pattern = literals.text_literal(source)
        return exactly(Sql(f"regexp_matches({place.expression}, {pattern})"))
    if subset.starts and subset.ends:
        return exactly(is_equal(place.expression, literals.text_literal(subset.literal)))
    if subset.starts:
        return _text(place, TextOperator.STARTS_WITH, subset.literal)
    if subset.ends:
        return _text(place, TextOperator.ENDS_WITH, subset.literal)
    return _text(place, TextOperator.CONTAINS, subset.literal)


def _text(place: Place, operator: TextOperator, text: str) -> Truth:
    if not isinstance(place.type, StringType):
        return _no_text(place)
    if not literals.is_text(text):
        return NEVER
    if not text:
        return exactly(place.is_present)
    column, literal = place.expression, literals.text_literal(text)
    match operator:
        case TextOperator.STARTS_WITH:
            return exactly(_starts_with(place, text))
        case TextOperator.ENDS_WITH:
            return exactly(Sql(f"ends_with({column}, {literal})"))
        case TextOperator.CONTAINS:
            return exactly(Sql(f"contains({column}, {literal})"))
        case _:
            assert_never(operator)


def _no_text(place: Place) -> Truth:
    known = _is_nested(place) or bracket_of_type(place.type) is not None
    return NEVER if known else present_at_most(place)


def _starts_with(place: Place, text: str) -> Sql:
    """Say it as a range, for zone maps: texts are ordered by code point, as UTF-8 is by byte."""
    kept = text.rstrip("\U0010ffff")
    column = place.expression
    search = Sql(f"starts_with({column}, {literals.text_literal(text)})")
    if not kept:
        return search
    following = ord(kept[-1]) + 1
    above = kept[:-1] + chr(0xE000 if following == 0xD800 else following)
    low, high = literals.text_literal(text), literals.text_literal(above)
    parts = [Sql(f"{column} >= {low}"), Sql(f"{column} < {high}")]
    return conjunction(parts if kept == text else [*parts, search])


def _modulo(place: Place, divisor: int, remainder: int) -> Truth:
    bracket = None if _is_nested(place) else bracket_of_type(place.type)
    if bracket != Bracket.NUMBER:
        return NEVER if _is_nested(place) or bracket is not None else present_at_most(place)
    if abs(remainder) >= divisor:
        return NEVER
    column = place.expression
    match place.type:
        case IntType() if divisor < _INT64:
            return exactly(Sql(f"{column} % {divisor} = {remainder}"))
        case FloatType(64) if divisor < _EXACT_DOUBLE:
            number = f"trunc({column}) % {literals.double_literal(divisor)}"
            return exactly(
                conjunction(
                    (
                        Sql(f"isfinite({column})"),
                        Sql(f"{number} = {literals.double_literal(remainder)}"),
                    )
                )
            )
        case _:
            return present_at_most(place)


def _has_size(place: Place, size: int) -> Truth:
    if not isinstance(place.type, ListType):
        known = isinstance(place.type, StructType) or bracket_of_type(place.type) is not None
        return NEVER if known else present_at_most(place)
    if not 0 <= size < _INT64:
        return NEVER
    return exactly(Sql(f"len({place.expression}) = {size}"))
