"""MongoDB's filter syntax, parsed and checked."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from parquedb.query.filter import (
    EVERYTHING,
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
from parquedb.query.operand import (
    Place,
    describe,
    is_plain,
    list_of,
    literal,
    mapping_of,
    nearest,
    text_of,
    whole_of,
)
from parquedb.query.project import Projection, read_projection
from parquedb.query.regex import FLAGS, check_regex
from parquedb.query.sort import parse_sort

__all__ = ["parse_filter", "parse_projection", "parse_sort"]

_FIELDS: Final = ("$id", "$type")
"""System fields; where a field's name is expected they are not operators."""

_LOGICAL: Final = ("$and", "$or", "$nor", "$expr", "$comment")
_DIRECT: Final = ("$ne", "$nin", "$not", "$exists", "$options")
"""Operators of a field besides those that are just a test."""

_ALIASES: Final[dict[float, str]] = {
    1: "double",
    2: "string",
    3: "object",
    4: "array",
    5: "binData",
    6: "undefined",
    7: "objectId",
    8: "bool",
    9: "date",
    10: "null",
    11: "regex",
    12: "dbPointer",
    13: "javascript",
    14: "symbol",
    15: "javascriptWithScope",
    16: "int",
    17: "timestamp",
    18: "long",
    19: "decimal",
    -1: "minKey",
    127: "maxKey",
}
_NUMBERS: Final = frozenset({"double", "int", "long", "decimal"})

_OPTIONS: Final = (
    ("i", re.IGNORECASE),
    ("m", re.MULTILINE),
    ("s", re.DOTALL),
    ("x", re.VERBOSE),
)

Tests = tuple[tuple[Test, bool], ...]
"""Tests of one field, and whether each is negated."""
_MOST_NAMES = 100


def parse_filter(spec: Mapping[str, Any]) -> Filter:
    """Parse a filter.

    Args:
        spec: The filter in MongoDB's syntax. Values are copied.

    Returns:
        The filter as a tree.

    Raises:
        InvalidInputError: It is not well-formed; the message says where and names the nearest
            known operator.
    """
    return _parse_document(spec, Place(), top=True)


def parse_projection(spec: Mapping[str, Any] | Iterable[str] | None) -> Projection:
    """Parse a projection.

    Args:
        spec: Names of fields to return (``["name", "address.city"]``), or a mapping of names to 1
            (return these only) or 0 (return all others), to ``{"$slice": n}``,
            ``{"$slice": [skip, n]}`` or ``{"$elemMatch": {…}}``, or to a mapping of inner fields.
            ``$id`` is returned unless it is 0. None for everything.

    Returns:
        The projection.

    Raises:
        InvalidInputError: It is none of these, or contradicts itself.
    """
    return read_projection(spec, _element)


def _parse_document(spec: object, place: Place, *, top: bool) -> Filter:
    """Parse what a whole document must match."""
    parts: list[Filter] = []
    for key, value in mapping_of(spec, place, "a filter").items():
        here = place.at(key)
        if key.startswith("$") and key not in _FIELDS:
            part = _parse_logical(key, value, here, top=top)
        else:
            part = _parse_field(_path_of(key, here), value, here)
        if part != EVERYTHING:
            parts.append(part)
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _path_of(key: str, place: Place) -> Path:
    path = tuple(text_of(key, place).split("."))
    if len(path) > _MOST_NAMES:
        raise place.refuse(f"a path has at most {_MOST_NAMES} names, as documents have levels")
    return path


def _parse_logical(key: str, value: object, place: Place, *, top: bool) -> Filter:
    match key:
        case "$and" | "$or" | "$nor":
            return _parse_branches(key, value, place, top=top)
        case "$comment":
            return EVERYTHING
        case "$expr":
            if not top:
                raise place.refuse("$expr can only be used outside of $elemMatch")
            return _expression(value, place)
        case _:
            hint = ""
            if key in _TESTS or key in _DIRECT:
                hint = f'; it belongs to a field, as in {{"name": {{"{key}": …}}}}'
            else:
                known = (*_LOGICAL, *_FIELDS, *_TESTS, *_DIRECT)
                hint = f"; did you mean {nearest(key, known)!r}?"
            raise place.refuse(f"unknown top-level operator {key!r}{hint}")


def _expression(source: object, place: Place) -> Filter:
    from parquedb.query.expression import parse_expression  # noqa: PLC0415  (it is rare)

    parse_expression(source, place, {})  # only for its errors
    return Expression(copy.deepcopy(source))


def _parse_branches(key: str, value: object, place: Place, *, top: bool) -> Filter:
    if not isinstance(value, list | tuple) or not value:
        raise place.refuse(f"{key} needs a list of at least one filter, not {describe(value)}")
    branches = tuple(
        _parse_document(branch, place.item(at), top=top) for at, branch in enumerate(value)
    )
    if key == "$and":
        return branches[0] if len(branches) == 1 else And(branches)
    either = branches[0] if len(branches) == 1 else Or(branches)
    return either if key == "$or" else Not(either)


def _parse_field(path: Path, value: object, place: Place) -> Filter:
    """Parse what a field must be."""
    if not _is_operators(value, place):
        return At(path, _implied(value, place))
    return _filter_of(path, _parse_tests(value, place))


def _filter_of(path: Path, tests: Tests) -> Filter:
    parts = tuple(_at(path, test, negated) for test, negated in tests)
    return parts[0] if len(parts) == 1 else And(parts)


def _at(path: Path, test: Test, negated: bool) -> Filter:  # noqa: FBT001
    if isinstance(test, Passes):  # $not of several: each looks for a value of its own
        part = _filter_of(path, test.tests)
    else:
        part = At(path, test)
    return Not(part) if negated else part


def _is_operators(value: object, place: Place) -> bool:
    """Return whether a value is a mapping of operators and not a value to be equalled."""
    if not isinstance(value, Mapping):
        return False
    fields = mapping_of(value, place, "a value")
    operators = [key for key in fields if key.startswith("$")]
    if operators and len(operators) < len(fields):
        other = next(key for key in fields if not key.startswith("$"))
        raise place.refuse(
            f"operators and fields are mixed: {operators[0]!r} and {other!r}; "
            'use {"$eq": {…}} to compare with a document as a whole'
        )
    return bool(operators)


def _implied(value: object, place: Place) -> Test:
    """Return the test that a value stands for."""
    if isinstance(value, re.Pattern):
        return _pattern(value, "", place)
    return Equals(literal(value, place))


def _parse_tests(value: object, place: Place) -> Tests:
    """Parse a field's operators."""
    fields = mapping_of(value, place, "operators")
    tests: list[tuple[Test, bool]] = []
    for key, operand in fields.items():
        if key in ("$options", "$comment"):
            if key == "$options" and "$regex" not in fields:
                raise place.at(key).refuse("$options belongs to a $regex, which is missing")
            continue
        here = place.at(key)
        if key == "$regex":
            tests.append((_regex(operand, fields.get("$options", ""), here), False))
        elif key in _DIRECT:
            tests.append(_parse_direct(key, operand, here))
        elif key in _TESTS:
            tests.append((_TESTS[key](operand, here), False))
        else:
            raise here.refuse(_unknown(key))
    return tuple(tests)


def _unknown(key: str) -> str:
    if key in _LOGICAL:
        return f'{key!r} does not belong to a field; write {{"{key}": …}} around the fields'
    if key in _FIELDS:
        return (
            f"{key!r} is a field, not an operator; "
            f'name it by a path, as in {{"author.{key}": …}}, or compare by $eq'
        )
    return f"unknown operator {key!r}; did you mean {nearest(key, (*_TESTS, *_DIRECT))!r}?"


def _parse_direct(key: str, operand: object, place: Place) -> tuple[Test, bool]:
    match key:
        case "$ne":
            if isinstance(operand, re.Pattern):
                raise place.refuse('$ne takes no regular expression; use {"$not": …}')
            return Equals(literal(operand, place)), True
        case "$nin":
            return _in(operand, place), True
        case "$exists":
            if not (operand is None or isinstance(operand, bool | int | float)):
                raise place.refuse(f"needs true or false, not {describe(operand)}")
            return Exists(), not operand
        case _:
            return _not(operand, place)


def _not(operand: object, place: Place) -> tuple[Test, bool]:
    if isinstance(operand, re.Pattern):
        return _pattern(operand, "", place), True
    if not isinstance(operand, Mapping) or not operand:
        raise place.refuse(f"needs operators or a regular expression, not {describe(operand)}")
    if not _is_operators(operand, place):
        raise place.refuse('needs operators; to negate an equality use {"$ne": …}')
    tests = _parse_tests(operand, place)
    if len(tests) == 1:
        test, negated = tests[0]
        return test, not negated
    return Passes(tests), True


def _compares(bound: Bound) -> Callable[[object, Place], Test]:
    return lambda operand, place: Compares(bound, literal(operand, place))


def _in(operand: object, place: Place) -> In:
    values: list[Any] = []
    patterns: list[Matches] = []
    for at, value in enumerate(list_of(operand, place)):
        if is_plain(value):
            values.append(value)
            continue
        here = place.item(at)
        if isinstance(value, re.Pattern):
            patterns.append(_pattern(value, "", here))
            continue
        if isinstance(value, Mapping) and next(iter(value), "")[:1] == "$":
            raise here.refuse("operators cannot stand in a list of values")
        values.append(literal(value, here))
    return In(tuple(values), tuple(patterns))


def _type(operand: object, place: Place) -> Test:
    given = operand if isinstance(operand, list | tuple) else [operand]
    if not given:
        raise place.refuse("needs at least one type")
    aliases: set[str] = set()
    for one in given:
        if isinstance(one, int | float) and not isinstance(one, bool):
            alias = _ALIASES.get(one)
        else:
            alias = text_of(one, place)
        if alias is None:
            raise place.refuse(f"{one} is no type's number; use a name such as 'string'")
        if alias == "number":
            aliases |= _NUMBERS
        elif alias in _ALIASES.values():
            aliases.add(alias)
        else:
            name = nearest(alias, (*_ALIASES.values(), "number"))
            raise place.refuse(f"unknown type {alias!r}; did you mean {name!r}?")
    return HasType(frozenset(aliases))


def _all(operand: object, place: Place) -> Test:
    tests: list[Equals | Matches | ElementMatches | ElementPasses] = []
    for at, value in enumerate(list_of(operand, place)):
        here = place.item(at)
        if isinstance(value, re.Pattern):
            tests.append(_pattern(value, "", here))
        elif _is_operators(value, here):
            if set(value) != {"$elemMatch"}:
                raise here.refuse("$elemMatch is the only operator that can stand in $all")
            tests.append(_element(value["$elemMatch"], here.at("$elemMatch")))
        else:
            tests.append(Equals(literal(value, here)))
    return ContainsAll(tuple(tests))


def _element(operand: object, place: Place) -> ElementMatches | ElementPasses:
    """Parse ``$elemMatch``: of documents, unless it begins with a field's operator."""
    fields = mapping_of(operand, place, "$elemMatch")
    first = next(iter(fields), "")
    if first.startswith("$") and first not in (*_LOGICAL, "$id"):
        _is_operators(operand, place)  # not mixed
        return ElementPasses(_parse_tests(operand, place))
    return ElementMatches(_parse_document(operand, place, top=False))


def _size(operand: object, place: Place) -> Test:
    size = whole_of(operand, place, "a size")
    if size != operand or size < 0:
        raise place.refuse(f"a size must be a whole number from 0, not {operand}")
    return HasSize(size)


def _modulo(operand: object, place: Place) -> Test:
    if not isinstance(operand, list | tuple) or len(operand) != 2:
        raise place.refuse(f"needs [divisor, remainder], not {describe(operand)}")
    divisor = whole_of(operand[0], place.item(0), "the divisor")
    if divisor == 0:
        raise place.refuse("the divisor must not be 0")
    return Modulo(divisor, whole_of(operand[1], place.item(1), "the remainder"))


def _text(operator: TextOperator) -> Callable[[object, Place], Test]:
    return lambda operand, place: Text(operator, text_of(operand, place))


def _regex(operand: object, options: object, place: Place) -> Matches:
    flags = text_of(options, place.at("$options")) if options else ""
    if isinstance(operand, re.Pattern):
        return _pattern(operand, flags, place)
    return _matches(text_of(operand, place), flags, place)


def _pattern(pattern: re.Pattern[Any], flags: str, place: Place) -> Matches:
    if not isinstance(pattern.pattern, str):
        raise place.refuse("a regular expression must be of str, not bytes")
    own = "".join(flag for flag, option in _OPTIONS if pattern.flags & option)
    return _matches(text_of(pattern.pattern, place), own + flags, place)


def _matches(pattern: str, flags: str, place: Place) -> Matches:
    letters = set(flags) - {"u"}  # Unicode, as always
    unknown = sorted(letters - FLAGS.keys())
    if unknown:
        raise place.refuse(f"unknown option {unknown[0]!r} in $options; there are i, m, s, x and u")
    test = Matches(pattern, "".join(sorted(letters)))
    try:
        check_regex(test.pattern, test.flags)
    except ValueError as error:
        raise place.refuse(str(error)) from error
    return test


_TESTS: Final[dict[str, Callable[[object, Place], Test]]] = {
    "$eq": _implied,
    **{bound.value: _compares(bound) for bound in Bound},
    "$in": _in,
    "$type": _type,
    "$all": _all,
    "$elemMatch": _element,
    "$size": _size,
    "$mod": _modulo,
    **{operator.value: _text(operator) for operator in TextOperator},
    "$regex": lambda operand, place: _regex(operand, "", place),
}
