"""Whether a file or row group can hold a match, by its statistics alone.

For every part of a filter two questions are answered: may it hold for some row, and must it hold
for every row? The second is what a negation asks. Where the statistics do not say, it may and it
need not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, assert_never

from parquedb.model.files import Value
from parquedb.model.schema import Schema
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    StringType,
    StructType,
    TimestampType,
    Type,
    UuidType,
)
from parquedb.query.compare import MISSING, Bracket, Key, compare_key
from parquedb.query.filter import (
    And,
    At,
    Bound,
    Compares,
    ContainsAll,
    ElementMatches,
    ElementPasses,
    Equals,
    Exists,
    Expression,
    Filter,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Not,
    Or,
    Passes,
    Path,
    Test,
    Text,
    TextOperator,
)
from parquedb.query.match import compile_test
from parquedb.query.reach import index_of
from parquedb.query.regex import re2_pattern
from parquedb.query.scalars import bracket_of_type
from parquedb.query.subset import read_subset
from parquedb.rows.columns import DATA, OWN_FIELDS, is_document_schema
from parquedb.slotted import dataclass

_INT32: Final = 1 << 31
_ALIASES: Final = {
    Bracket.BOOLEAN: "bool",
    Bracket.STRING: "string",
    Bracket.BINARY: "binData",
    Bracket.DATE: "date",
}
_MICROS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}


def may_match(
    filter: Filter,  # noqa: A002
    schema: Schema,
    lower: Mapping[int, Value],
    upper: Mapping[int, Value],
    nulls: Mapping[int, int],
    rows: int,
    *,
    overflow: bool,
) -> bool:
    """Return whether one of some rows may match a filter.

    Args:
        filter: The filter.
        schema: The table's columns.
        lower: Values not above any value of a column that is not null, by field id; see
            :class:`~parquedb.model.files.Stats`.
        upper: Values not below any.
        nulls: How many nulls a column has.
        rows: How many rows there are.
        overflow: Whether ``$data`` may hold anything in them. Then only system fields count.

    Returns:
        False only if it is certain that no row matches.
    """
    if rows == 0:
        return False
    scope = _Rows(schema, _Bounds(lower, upper, nulls, rows), overflow=overflow)
    return _answer(filter, scope).may


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is known of a predicate.

    Args:
        may: Whether it may hold for some row.
        must: Whether it holds for every row.
    """

    may: bool
    must: bool


_UNKNOWN: Final = _Answer(may=True, must=False)
_NEVER: Final = _Answer(may=False, must=False)
_ALWAYS: Final = _Answer(may=True, must=True)


def _all(answers: Iterable[_Answer]) -> _Answer:
    known = list(answers)
    return _Answer(all(one.may for one in known), all(one.must for one in known))


def _any(answers: Iterable[_Answer]) -> _Answer:
    known = list(answers)
    return _Answer(any(one.may for one in known), any(one.must for one in known))


def _not(answer: _Answer) -> _Answer:
    return _Answer(not answer.must, not answer.may)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Statistics.

    Args:
        rows: How many rows there are; None in lists, whose elements nobody counts.
    """

    lower: Mapping[int, Value]
    upper: Mapping[int, Value]
    nulls: Mapping[int, int]
    rows: int | None

    def of(self, field: Field) -> _Range:
        """Return what is known of a column's values."""
        lower, upper = self.lower.get(field.id), self.upper.get(field.id)
        nulls = self.nulls.get(field.id) if self.rows is not None else None
        return _Range(
            field.type,
            None if lower is None else _key(field.type, lower),
            None if upper is None else _key(field.type, upper),
            some_null=nulls != 0,
            all_null=nulls is not None and nulls == self.rows,
        )


@dataclass(frozen=True, slots=True)
class _Range:
    """What is known of a scalar column.

    Args:
        type: Its type.
        lower: The key of a value not above any, None where none is known.
        upper: The key of a value not below any.
        some_null: Whether a value may be null.
        all_null: Whether all are.
    """

    type: Type
    lower: Key | None
    upper: Key | None
    some_null: bool
    all_null: bool

    @property
    def single(self) -> Key | None:
        """The key of the only value there is, None where there may be more (NaN has no bound)."""
        single = self.lower is not None and self.lower == self.upper
        return self.lower if single and not isinstance(self.type, FloatType) else None


@dataclass(frozen=True, slots=True)
class _Rows:
    """The fields of rows."""

    schema: Schema
    bounds: _Bounds
    overflow: bool

    def find(self, name: str) -> Field | None:
        """Return the column of a field."""
        return None if name == DATA else self.schema.find(name)

    def is_sure(self, name: str) -> bool:
        """Whether a field's values are in its column, and missing if there is none."""
        if not self.overflow:
            return name != DATA
        system = name in OWN_FIELDS and is_document_schema(self.schema)
        return system and self.schema.find(name) is not None


@dataclass(frozen=True, slots=True)
class _Element:
    """The fields of a struct in a list."""

    type: StructType
    bounds: _Bounds

    def find(self, name: str) -> Field | None:
        """Return the child of a field."""
        return next((field for field in self.type.fields if field.name == name), None)

    def is_sure(self, name: str) -> bool:
        """Whether a field's values are in the child: always."""
        del name
        return True


_Scope = _Rows | _Element


def _answer(filter_: Filter, scope: _Scope) -> _Answer:
    match filter_:
        case At(path, test):
            return _at(path, test, scope)
        case And(parts):
            return _all(_answer(part, scope) for part in parts)
        case Or(parts):
            return _any(_answer(part, scope) for part in parts)
        case Not(part):
            return _not(_answer(part, scope))
        case Expression():
            return _UNKNOWN
        case _:
            assert_never(filter_)


def _at(path: Path, test: Test, scope: _Scope) -> _Answer:
    if isinstance(test, ContainsAll):
        return _all(_at(path, part, scope) for part in test.tests) if test.tests else _NEVER
    if not scope.is_sure(path[0]):
        return _UNKNOWN
    missing_passes = compile_test(test)(MISSING)
    answer = _down(scope.find(path[0]), path[1:], test, scope.bounds, missing_passes)
    if isinstance(scope, _Element):  # of one element at a time nothing is known for all
        return _Answer(answer.may, must=False)
    return answer


def _down(
    field: Field | None,
    path: Path,
    test: Test,
    bounds: _Bounds,
    missing_passes: bool,  # noqa: FBT001
) -> _Answer:
    """Answer for what a path reaches from a column or a struct's child."""
    nothing = _ALWAYS if missing_passes else _NEVER
    if field is None:
        return nothing
    match field.type:
        case StructType(fields) if path:
            child = next((one for one in fields if one.name == path[0]), None)
            return _down(child, path[1:], test, bounds, missing_passes)
        case ListType(element):
            if missing_passes:
                return _UNKNOWN
            inside = _Bounds(bounds.lower, bounds.upper, bounds.nulls, None)
            return _Answer(_may_in_list(element.type, element, path, test, inside), must=False)
        case type_ if bracket_of_type(type_) is None:
            return _UNKNOWN
        case _ if path:
            return nothing
        case _:
            return _scalar(bounds.of(field), test, missing_passes)


def _scalar(known: _Range, test: Test, missing_passes: bool) -> _Answer:  # noqa: FBT001
    value = _value(known, test)
    return _Answer(
        may=(known.some_null and missing_passes) or (not known.all_null and value.may),
        must=(missing_passes or not known.some_null) and (known.all_null or value.must),
    )


def _may_in_list(type_: Type, element: Field, path: Path, test: Test, bounds: _Bounds) -> bool:
    """Return whether a test that null fails may hold for what a path reaches in a list."""
    if not path:
        return _may_of_list(element, test, bounds)
    if isinstance(type_, StructType):
        if index_of(path[0]) is not None:  # an element, or a field of all elements
            return True
        return _at(path, test, _Element(type_, bounds)).may
    if index_of(path[0]) is not None:
        return len(path) > 1 or _may_of_element(element, test, bounds)
    return isinstance(type_, ListType) or bracket_of_type(type_) is None


def _may_of_list(element: Field, test: Test, bounds: _Bounds) -> bool:
    """Return whether a test may hold for a list, or for one of its elements."""
    match test:
        case Exists() | HasSize():
            return True
        case HasType(aliases) if "array" in aliases:
            return True
        case ElementMatches(filter_):
            if isinstance(element.type, StructType):
                return _answer(filter_, _Element(element.type, bounds)).may
            return bracket_of_type(element.type) is None
        case ElementPasses(tests):
            return all(negated or _may_of_element(element, one, bounds) for one, negated in tests)
        case Equals(value) | Compares(_, value) if isinstance(value, list | dict):
            return True
        case In(values, _) if any(isinstance(value, list | dict) for value in values):
            return True
        case _:
            return _may_of_element(element, test, bounds)


def _may_of_element(element: Field, test: Test, bounds: _Bounds) -> bool:
    """Return whether a test may hold for an element itself."""
    if bracket_of_type(element.type) is None or compile_test(test)(None):
        return True
    return _value(bounds.of(element), test).may


def _value(known: _Range, test: Test) -> _Answer:
    """Answer for the values of a scalar column that are not null."""
    bracket = bracket_of_type(known.type)
    match test:
        case Equals(value):
            return _equals(known, value)
        case Compares(bound, value):
            return _compares(known, bound, value)
        case In(values, patterns):
            found = [_equals(known, value) for value in values]
            return _any([*found, *(_value(known, pattern) for pattern in patterns)])
        case Exists():
            return _ALWAYS
        case HasType(aliases):
            return _has_type(known, aliases)
        case Matches() | Text():
            return _Answer(bracket == Bracket.STRING and _may_hold_text(known, test), must=False)
        case Modulo():
            return _Answer(bracket == Bracket.NUMBER, must=False)
        case HasSize() | ElementMatches() | ElementPasses():
            return _NEVER
        case ContainsAll(tests):
            return _all(_value(known, part) for part in tests) if tests else _NEVER
        case Passes():
            return _UNKNOWN
        case _:
            assert_never(test)


def _equals(known: _Range, value: Any) -> _Answer:
    key = compare_key(value)
    if key[0] != bracket_of_type(known.type):
        return _NEVER
    if isinstance(known.type, BinaryType | FixedType | UuidType):
        return _equals_bytes(known, value)
    below = known.lower is not None and key < known.lower
    above = known.upper is not None and key > known.upper
    return _Answer(may=not (below or above), must=known.single == key)


def _equals_bytes(known: _Range, value: Any) -> _Answer:
    """Compare bytes as their bounds do, one after another."""
    if isinstance(known.type, UuidType) or not isinstance(value, bytes):
        return _Answer(isinstance(known.type, UuidType) is not isinstance(value, bytes), must=False)
    key = (Bracket.BINARY.value, value)
    below = known.lower is not None and key < known.lower
    above = known.upper is not None and key > known.upper
    return _Answer(not (below or above), must=False)


def _compares(known: _Range, bound: Bound, value: Any) -> _Answer:
    key = compare_key(value)
    if key[0] != bracket_of_type(known.type):
        return _NEVER
    if isinstance(known.type, BinaryType | FixedType | UuidType):
        return _UNKNOWN
    holds = _HOLDS[bound]
    nearest, farthest = known.lower, known.upper
    if bound in (Bound.GREATER, Bound.AT_LEAST):
        nearest, farthest = farthest, nearest
    return _Answer(
        may=nearest is None or holds(nearest, key),
        must=farthest is not None
        and holds(farthest, key)
        and not isinstance(known.type, FloatType),
    )


_HOLDS: Final[dict[Bound, Callable[[Key, Key], bool]]] = {
    Bound.LESS: lambda a, b: a < b,
    Bound.AT_MOST: lambda a, b: a <= b,
    Bound.GREATER: lambda a, b: a > b,
    Bound.AT_LEAST: lambda a, b: a >= b,
}


def _has_type(known: _Range, aliases: frozenset[str]) -> _Answer:
    match known.type:
        case IntType():
            small = all(
                _compares(known, bound, limit).must
                for bound, limit in ((Bound.AT_LEAST, -_INT32), (Bound.LESS, _INT32))
            )
            either = "int" in aliases or "long" in aliases
            if small:
                return _ALWAYS if "int" in aliases else _NEVER
            return _Answer(either, must="int" in aliases and "long" in aliases)
        case FloatType():
            alias = "double"
        case DecimalType():
            alias = "decimal"
        case type_:
            bracket = bracket_of_type(type_)
            alias = "" if bracket is None else _ALIASES[bracket]
    return _ALWAYS if alias in aliases else _NEVER


def _may_hold_text(known: _Range, test: Matches | Text) -> bool:
    """Return whether a text that begins as it must is within the bounds."""
    begin = _beginning(test)
    if not begin:
        return True
    above = known.upper is not None and known.upper[1] < begin
    below = known.lower is not None and known.lower[1][: len(begin)] > begin
    return not (above or below)


def _beginning(test: Matches | Text) -> str:
    if isinstance(test, Text):
        return test.text if test.operator is TextOperator.STARTS_WITH else ""
    if test.flags:
        return ""
    subset = read_subset(re2_pattern(test.pattern, ""), "")
    return subset.literal or "" if subset is not None and subset.starts else ""


def _key(type_: Type, value: Value) -> Key | None:
    """Return the key of a bound, None where it is not known how it compares."""
    match type_, value:
        case (BooleanType(), bool()) | (IntType() | FloatType(), int() | float()):
            return compare_key(value)
        case StringType(), str():
            return compare_key(value)
        case BinaryType() | FixedType(), bytes():
            return (Bracket.BINARY.value, value)
        case DecimalType(_, scale), int():
            digits = tuple(map(int, str(abs(value))))
            return compare_key(Decimal((int(value < 0), digits, -scale)))
        case DateType(), int():
            return (Bracket.DATE.value, timedelta(days=value))
        case TimestampType(unit, _), int() if unit in _MICROS:
            return (Bracket.DATE.value, timedelta(microseconds=value * _MICROS[unit]))
        case _:
            return None
