"""Operators on lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from parquedb.query.accumulate import ACCUMULATORS
from parquedb.query.compare import MISSING, Key, compare_key
from parquedb.query.operand import Place
from parquedb.query.operators.base import (
    MAX_ELEMENTS,
    UnfitError,
    apply,
    is_null,
    is_true,
    list_in,
    located,
    or_null,
    order_key,
    positional,
    shown,
    text_in,
    whole_in,
)
from parquedb.query.operators.parser import Node, Operator, Parser, Scope, options_of


def _element_at(elements: Any, index: Any) -> Any:
    at = whole_in(index)
    count = len(list_in(elements))
    return elements[at] if -count <= at < count else MISSING


def _slice(elements: Any, *numbers: Any) -> Any:
    whole, given = list_in(elements), [whole_in(number) for number in numbers]
    if len(given) == 1:
        return whole[: given[0]] if given[0] >= 0 else whole[given[0] :]
    first, count = given
    if count <= 0:
        raise UnfitError(f"needs a number of elements above 0, not {shown(count)}")
    if first < 0:
        first = max(len(whole) + first, 0)
    return whole[first : first + count]


def _in(parser: Parser, operand: Any, place: Place) -> Node:
    one, many = parser.arguments(operand, place, 2, 2)
    if many.constant and many.value.__class__ is list:
        keys = frozenset(map(compare_key, many.value))
        return apply(lambda value: order_key(value) in keys, (one,), place)

    def is_in(value: Any, elements: Any) -> bool:
        key = order_key(value)
        return any(compare_key(element) == key for element in list_in(elements))

    return apply(is_in, (one, many), place)


def _concat(*lists: Any) -> list[Any]:
    joined = [element for one in lists for element in list_in(one)]
    if len(joined) > MAX_ELEMENTS:
        raise UnfitError(f"the result has more than {MAX_ELEMENTS} elements")
    return joined


def _range(start: Any, end: Any, step: Any = 1) -> list[int]:
    by = whole_in(step)
    if by == 0:
        raise UnfitError("needs a step other than 0")
    numbers = range(whole_in(start), whole_in(end), by)
    if abs(numbers.stop - numbers.start) // abs(by) > MAX_ELEMENTS:
        raise UnfitError(f"the result would have more than {MAX_ELEMENTS} elements")
    return list(numbers)


def _name(given: Any, place: Place) -> str:
    return located(text_in, place.at("as"))(given)  # type: ignore[no-any-return]


def _filter(parser: Parser, operand: Any, place: Place) -> Node:
    given = options_of(operand, place, ("input", "cond"), ("as", "limit"))
    source = parser.parse(given["input"], place.at("input")).evaluate
    limit = parser.parse(given.get("limit"), place.at("limit")).evaluate
    inner, (slot,) = parser.bound([_name(given.get("as", "this"), place)], place)
    passes = inner.parse(given["cond"], place.at("cond")).evaluate
    elements_in, limit_in = located(list_in, place), located(_limit, place.at("limit"))

    def evaluate(scope: Scope) -> Any:
        elements = source(scope)
        if is_null(elements):
            return None
        most = limit_in(limit(scope))
        kept: list[Any] = []
        for element in elements_in(elements):
            scope[slot] = element
            if is_true(passes(scope)):
                kept.append(element)
                if len(kept) == most:
                    break
        return kept

    return Node(evaluate)


def _limit(value: Any) -> int | None:
    if is_null(value):
        return None
    most = whole_in(value)
    if most < 1:
        raise UnfitError(f"needs a number from 1, not {shown(most)}")
    return most


def _map(parser: Parser, operand: Any, place: Place) -> Node:
    given = options_of(operand, place, ("input", "in"), ("as",))
    source = parser.parse(given["input"], place.at("input")).evaluate
    inner, (slot,) = parser.bound([_name(given.get("as", "this"), place)], place)
    changed = inner.parse(given["in"], place.at("in")).evaluate
    elements_in = located(list_in, place)

    def evaluate(scope: Scope) -> Any:
        elements = source(scope)
        if is_null(elements):
            return None
        made = []
        for element in elements_in(elements):
            scope[slot] = element
            value = changed(scope)
            made.append(None if value is MISSING else value)
        return made

    return Node(evaluate)


def _reduce(parser: Parser, operand: Any, place: Place) -> Node:
    given = options_of(operand, place, ("input", "initialValue", "in"))
    source = parser.parse(given["input"], place.at("input")).evaluate
    first = parser.parse(given["initialValue"], place.at("initialValue")).evaluate
    inner, (value_slot, this_slot) = parser.bound(["value", "this"], place)
    changed = inner.parse(given["in"], place.at("in")).evaluate
    elements_in = located(list_in, place)

    def evaluate(scope: Scope) -> Any:
        elements = source(scope)
        if is_null(elements):
            return None
        value = first(scope)
        for element in elements_in(elements):
            scope[value_slot], scope[this_slot] = value, element
            value = changed(scope)
        return value

    return Node(evaluate)


def _keyed(elements: Iterable[Any]) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for element in elements:
        found.setdefault(compare_key(element), element)
    return found


def _union(*lists: Any) -> list[Any]:
    found = _keyed(element for one in lists for element in list_in(one))
    return [found[key] for key in sorted(found)]


def _intersection(*lists: Any) -> list[Any]:
    if not lists:
        return []
    first, *others = [_keyed(list_in(one)) for one in lists]
    return [first[key] for key in sorted(first) if all(key in other for other in others)]


def _difference(one: Any, other: Any) -> list[Any]:
    out = _keyed(list_in(other))
    return [element for key, element in _keyed(list_in(one)).items() if key not in out]


def _accumulated(name: str) -> Operator:
    """Return an accumulator as an operator: of its arguments, or the elements of its only one."""
    make = ACCUMULATORS[name]

    def accumulate(*values: Any) -> Any:
        total = make()
        only = values[0] if len(values) == 1 else None
        for value in only if only.__class__ is list else values:
            total.add(value)
        return total.result()

    return positional(accumulate, 0, None)


def _end(index: int) -> Callable[[Any], Any]:
    return lambda elements: list_in(elements)[index] if elements else MISSING


OPERATORS: Final[dict[str, Operator]] = {
    "$size": positional(lambda elements: len(list_in(elements))),
    "$arrayElemAt": positional(or_null(_element_at), 2, 2),
    "$first": positional(or_null(_end(0))),
    "$last": positional(or_null(_end(-1))),
    "$slice": positional(or_null(_slice), 2, 3),
    "$in": _in,
    "$concatArrays": positional(or_null(_concat), 0, None),
    "$filter": _filter,
    "$map": _map,
    "$reduce": _reduce,
    "$reverseArray": positional(or_null(lambda elements: list_in(elements)[::-1])),
    "$isArray": positional(lambda value: value.__class__ is list),
    "$range": positional(_range, 2, 3),
    "$setUnion": positional(or_null(_union), 0, None),
    "$setIntersection": positional(or_null(_intersection), 0, None),
    "$setDifference": positional(or_null(_difference), 2, 2),
    **{
        name: _accumulated(name)
        for name in ("$sum", "$avg", "$min", "$max", "$stdDevPop", "$stdDevSamp")
    },
}
