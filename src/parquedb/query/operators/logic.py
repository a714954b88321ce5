"""Comparisons, logic, choices, variables and literals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from parquedb.query.compare import MISSING, Key
from parquedb.query.operand import Place, describe, literal, mapping_of
from parquedb.query.operators.base import UnfitError, apply, is_true, located, order_key, positional
from parquedb.query.operators.parser import (
    Evaluate,
    Node,
    Operator,
    Parser,
    Scope,
    constant,
    options_of,
)


def _compares(holds: Callable[[Key, Key], Any]) -> Operator:
    """Return an operator that compares two values in the order of all values."""

    def parse(parser: Parser, operand: Any, place: Place) -> Node:
        one, other = parser.arguments(operand, place, 2, 2)
        if other.constant and not one.constant:
            evaluate, key = one.evaluate, order_key(other.value)
            return Node(lambda scope: holds(order_key(evaluate(scope)), key))
        return apply(lambda a, b: holds(order_key(a), order_key(b)), (one, other), place)

    return parse


def _and(parser: Parser, operand: Any, place: Place) -> Node:
    values = [node.evaluate for node in parser.arguments(operand, place, 0, None)]
    return Node(lambda scope: all(is_true(value(scope)) for value in values))


def _or(parser: Parser, operand: Any, place: Place) -> Node:
    values = [node.evaluate for node in parser.arguments(operand, place, 0, None)]
    return Node(lambda scope: any(is_true(value(scope)) for value in values))


def _cond(parser: Parser, operand: Any, place: Place) -> Node:
    if isinstance(operand, Mapping):
        given = parser.options(operand, place, ("if", "then", "else"))
        test, then, otherwise = given["if"], given["then"], given["else"]
    else:
        test, then, otherwise = parser.arguments(operand, place, 3, 3)
    return Node(_choice([(test.evaluate, then.evaluate)], otherwise.evaluate))


def _choice(branches: list[tuple[Evaluate, Evaluate]], otherwise: Evaluate) -> Evaluate:
    def evaluate(scope: Scope) -> Any:
        for test, then in branches:
            if is_true(test(scope)):
                return then(scope)
        return otherwise(scope)

    return evaluate


def _switch(parser: Parser, operand: Any, place: Place) -> Node:
    given = options_of(operand, place, ("branches",), ("default",))
    branches = given["branches"]
    if not isinstance(branches, list | tuple) or not branches:
        raise place.at("branches").refuse(f"needs a list of branches, not {describe(branches)}")
    parsed = []
    for at, branch in enumerate(branches):
        parts = parser.options(branch, place.at("branches").item(at), ("case", "then"))
        parsed.append((parts["case"].evaluate, parts["then"].evaluate))
    if "default" in given:
        return Node(_choice(parsed, parser.parse(given["default"], place.at("default")).evaluate))

    def refuse() -> Any:
        raise UnfitError("no branch applies and there is no default")

    none_applies = located(refuse, place)
    return Node(_choice(parsed, lambda _: none_applies()))


def _if_null(parser: Parser, operand: Any, place: Place) -> Node:
    *tried, last = [node.evaluate for node in parser.arguments(operand, place, 2, None)]

    def evaluate(scope: Scope) -> Any:
        for value in tried:
            found = value(scope)
            if found is not None and found is not MISSING:
                return found
        return last(scope)

    return Node(evaluate)


def _let(parser: Parser, operand: Any, place: Place) -> Node:
    given = options_of(operand, place, ("vars", "in"))
    bindings = mapping_of(given["vars"], place.at("vars"), "variables")
    values = [parser.parse(v, place.at("vars").at(name)) for name, v in bindings.items()]
    inner, slots = parser.bound(bindings, place.at("vars"))
    body = inner.parse(given["in"], place.at("in")).evaluate
    sources = [(slot, node.evaluate) for slot, node in zip(slots, values, strict=True)]

    def evaluate(scope: Scope) -> Any:
        for slot, value in sources:
            scope[slot] = value(scope)
        return body(scope)

    return Node(evaluate)


def _literal(parser: Parser, operand: Any, place: Place) -> Node:
    del parser
    return constant(literal(operand, place))


OPERATORS: Final[dict[str, Operator]] = {
    "$eq": _compares(lambda a, b: a == b),
    "$ne": _compares(lambda a, b: a != b),
    "$gt": _compares(lambda a, b: a > b),
    "$gte": _compares(lambda a, b: a >= b),
    "$lt": _compares(lambda a, b: a < b),
    "$lte": _compares(lambda a, b: a <= b),
    "$cmp": _compares(lambda a, b: (a > b) - (a < b)),
    "$and": _and,
    "$or": _or,
    "$not": positional(lambda value: not is_true(value)),
    "$cond": _cond,
    "$switch": _switch,
    "$ifNull": _if_null,
    "$let": _let,
    "$literal": _literal,
}
