"""Filters on documents: the meaning of :mod:`.filter`, as closures that are made once a query."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final, assert_never

from parquedb.query.compare import MISSING, NUMBERS, bracket_of, compare_key, equal, since_epoch
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
    Test,
    Text,
    TextOperator,
)
from parquedb.query.reach import reach
from parquedb.query.regex import compile_regex

Document = dict[str, Any]
Predicate = Callable[[Document], bool]
Single = Callable[[Any], bool]
"""Says whether one value, or :data:`~.compare.MISSING`, passes a test itself."""

_OPERATORS: Final[dict[Bound, Callable[[Any, Any], bool]]] = {
    Bound.LESS: operator.lt,
    Bound.AT_MOST: operator.le,
    Bound.GREATER: operator.gt,
    Bound.AT_LEAST: operator.ge,
}
_WHOLE_LIST = (Exists, HasSize, ElementMatches, ElementPasses)
_INT32 = 1 << 31


def matches(filter: Filter, document: Document) -> bool:  # noqa: A002
    """Return whether a document matches a filter.

    Args:
        filter: The filter.
        document: The document; it is not changed.
    """
    return compile_match(filter)(document)


def compile_match(filter: Filter) -> Predicate:  # noqa: A002
    """Return a function that says whether a document matches a filter.

    Args:
        filter: The filter.

    Raises:
        InvalidInputError: A regular expression or an ``$expr`` in it is not acceptable.
    """
    match filter:
        case At():
            return _compile_at(filter)
        case And():
            return _all_of([compile_match(part) for part in filter.parts])
        case Or():
            return _any_of([compile_match(part) for part in filter.parts])
        case Not():
            part = compile_match(filter.part)
            return lambda document: not part(document)
        case Expression():
            return _compile_expression(filter)
        case _:
            assert_never(filter)


def _all_of(parts: list[Predicate]) -> Predicate:
    match parts:
        case []:
            return lambda _: True
        case [part]:
            return part
        case [one, other]:
            return lambda document: one(document) and other(document)
        case _:
            return lambda document: all(part(document) for part in parts)


def _any_of(parts: list[Predicate]) -> Predicate:
    match parts:
        case [part]:
            return part
        case [one, other]:
            return lambda document: one(document) or other(document)
        case _:
            return lambda document: any(part(document) for part in parts)


def _compile_expression(filter: Expression) -> Predicate:  # noqa: A002
    from parquedb.query.expression import compile_expression  # noqa: PLC0415  (it is rare)
    from parquedb.query.operators.base import is_true  # noqa: PLC0415

    value_of = compile_expression(filter.source)
    return lambda document: is_true(value_of(document))


def _compile_at(at: At) -> Predicate:
    test = at.test
    if isinstance(test, ContainsAll):
        if not test.tests:
            return lambda _: False
        return _all_of([_compile_at(At(at.path, part)) for part in test.tests])
    single = compile_test(test)
    if isinstance(test, _WHOLE_LIST):
        return reach(at.path, single, single)
    if len(at.path) == 1 and isinstance(test, Equals):
        value = test.value
        if value.__class__ in (str, bytes) or value.__class__ in NUMBERS:
            return _field_equals(at.path[0], value)
    return reach(at.path, single, spread(single))


def spread(single: Single) -> Single:
    """Return a test that a list passes if one of its elements does, or the list as a whole."""

    def passes(value: Any) -> bool:
        if value.__class__ is list:
            for element in value:
                if single(element):
                    return True
        return single(value)

    return passes


def _field_equals(name: str, value: Any) -> Predicate:
    """Return the most frequent filter of all: a field equals a text or a number."""
    if value.__class__ in NUMBERS and value in (0, 1):
        return _field_equals_bit(name, value)

    def equals(document: Document) -> bool:
        found = document.get(name)
        return found == value or (found.__class__ is list and value in found)

    return equals


def _field_equals_bit(name: str, value: Any) -> Predicate:
    """Return the same for 0 and 1, which Python takes for equal to False and True."""

    def equals(document: Document) -> bool:
        found = document.get(name)
        if found == value:
            return found.__class__ is not bool
        return found.__class__ is list and any(
            element == value and element.__class__ is not bool for element in found
        )

    return equals


def compile_test(test: Test) -> Single:
    """Return a function that says whether one value passes a test itself.

    Args:
        test: The test.

    Raises:
        InvalidInputError: A regular expression in it is not acceptable.
    """
    match test:
        case Equals():
            return _compile_equals(test.value)
        case Compares():
            return _compile_compares(test)
        case In():
            return _compile_in(test)
        case Exists():
            return lambda value: value is not MISSING
        case HasType():
            return _compile_type(test.aliases)
        case Matches():
            return _compile_pattern(test)
        case Text():
            return _compile_text(test)
        case Modulo():
            return _compile_modulo(test)
        case HasSize():
            size = test.size
            return lambda value: value.__class__ is list and len(value) == size
        case _:
            return _compile_compound(test)


def _compile_compound(
    test: ContainsAll | ElementMatches | ElementPasses | Passes,
) -> Single:
    match test:
        case ContainsAll():
            parts = [compile_test(part) for part in test.tests]
            return lambda value: bool(parts) and all(part(value) for part in parts)
        case ElementMatches():
            matched = compile_match(test.filter)
            return lambda value: (
                value.__class__ is list
                and any(
                    matched(element)
                    if element.__class__ is dict
                    else element.__class__ is list and matched(_numbered(element))
                    for element in value
                )
            )
        case ElementPasses():
            passed = _compile_passes(test.tests)
            return lambda value: value.__class__ is list and any(map(passed, value))
        case Passes():
            return _compile_passes(test.tests)
        case _:
            assert_never(test)


def _compile_passes(tests: tuple[tuple[Test, bool], ...]) -> Single:
    parts = [(compile_test(test), negated) for test, negated in tests]
    return lambda value: all(part(value) is not negated for part, negated in parts)


def _numbered(elements: list[Any]) -> Document:
    """Return a list as BSON keeps it: a document whose keys are the indexes."""
    return {str(index): element for index, element in enumerate(elements)}


def _compile_equals(value: Any) -> Single:
    kind = value.__class__
    if value is None:
        return lambda found: found is None or found is MISSING
    if kind is bool:
        return lambda found: found is value
    if kind in NUMBERS:
        return lambda found: found == value and found.__class__ is not bool
    if kind is str or kind is bytes:
        return lambda found: bool(found == value)
    if isinstance(value, date):
        moment = since_epoch(value)
        return lambda found: isinstance(found, date) and since_epoch(found) == moment
    return lambda found: found.__class__ is kind and equal(found, value)


def _compile_compares(test: Compares) -> Single:
    value, holds = test.value, _OPERATORS[test.bound]
    kind = value.__class__
    if kind is int or kind is float:
        return lambda found: found.__class__ in NUMBERS and bool(holds(found, value))
    if kind is str:
        return lambda found: found.__class__ is str and bool(holds(found, value))
    if isinstance(value, date):
        moment = since_epoch(value)
        return lambda found: isinstance(found, date) and bool(holds(since_epoch(found), moment))
    key = compare_key(value)
    bracket = key[0]
    if kind is dict or kind is list:
        return lambda found: found.__class__ is kind and bool(holds(compare_key(found), key))

    def compares(found: Any) -> bool:
        if found.__class__ is dict or found.__class__ is list:
            return False
        other = compare_key(found)
        return other[0] == bracket and bool(holds(other, key))

    return compares


def _compile_in(test: In) -> Single:
    keys = frozenset(map(compare_key, test.values))
    kinds = frozenset(key[0] for key in keys)
    patterns = [_compile_pattern(pattern) for pattern in test.patterns]
    texts = frozenset(value for value in test.values if value.__class__ is str)
    deep = 20 in kinds or 25 in kinds

    def is_in(found: Any) -> bool:
        kind = found.__class__
        if kind is str:
            return found in texts or any(pattern(found) for pattern in patterns)
        if (kind is dict or kind is list) and not deep:
            return False
        return compare_key(found) in keys

    return is_in


def _compile_type(aliases: frozenset[str]) -> Single:
    return lambda value: alias_of(value) in aliases


def alias_of(value: Any) -> str:
    """Return MongoDB's alias of a value's type, ``"missing"`` where there is none.

    Args:
        value: Any value of a document, or :data:`~.compare.MISSING`.
    """
    if value.__class__ is int:
        return "int" if -_INT32 <= value < _INT32 else "long"
    alias = _ALIASES.get(value.__class__)
    if alias is not None:
        return alias
    return _ALIASES_BY_BRACKET.get(bracket_of(value), "undefined")


_ALIASES: Final[dict[type[Any], str]] = {
    type(MISSING): "missing",
    type(None): "null",
    bool: "bool",
    float: "double",
    Decimal: "decimal",
    str: "string",
    dict: "object",
    list: "array",
    bytes: "binData",
}
_ALIASES_BY_BRACKET: Final = {30: "binData", 45: "date", 15: "string", 20: "object", 25: "array"}


def _compile_pattern(test: Matches) -> Single:
    search = compile_regex(test.pattern, test.flags)
    return lambda value: value.__class__ is str and search(value)


def _compile_text(test: Text) -> Single:
    text = test.text
    match test.operator:
        case TextOperator.STARTS_WITH:
            return lambda value: value.__class__ is str and value.startswith(text)
        case TextOperator.ENDS_WITH:
            return lambda value: value.__class__ is str and value.endswith(text)
        case TextOperator.CONTAINS:
            return lambda value: value.__class__ is str and text in value
        case _:
            assert_never(test.operator)


def _compile_modulo(test: Modulo) -> Single:
    divisor, remainder = abs(test.divisor), test.remainder

    def leaves(value: Any) -> bool:
        kind = value.__class__
        if kind is Decimal:
            return value.is_finite() and _decimal_rest(value, divisor) == remainder
        if kind is not int and (kind is not float or not math.isfinite(value)):
            return False
        whole = int(value)
        rest = abs(whole) % divisor
        return (rest if whole >= 0 else -rest) == remainder

    return leaves


def _decimal_rest(value: Decimal, divisor: int) -> int:
    """Return a decimal's remainder without writing out the zeros of a large exponent."""
    sign, digits, exponent = value.as_tuple()
    power = int(exponent)
    if power <= 0:
        rest = int(value.copy_abs()) % divisor
    else:
        rest = int(Decimal((0, digits, 0))) * pow(10, power, divisor) % divisor
    return -rest if sign else rest
