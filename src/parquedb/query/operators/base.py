"""What operators are made of: functions of values, and what they ask of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import InvalidOperation
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.compare import MISSING, NUMBERS, Key, compare_key
from parquedb.query.operand import Place, describe
from parquedb.query.operators.parser import Evaluate, Node, Operator, Parser, Scope, constant
from parquedb.slotted import dataclass

MAX_TEXT: Final = 16 << 20
"""How many characters a text that an expression makes may have."""
MAX_ELEMENTS: Final = 1 << 22
"""How many elements a list that an expression makes may have."""

_MOST_SHOWN_BITS: Final = 1024
_MISSING_KEY: Final[Key] = (1, None)


class UnfitError(Exception):
    """A value is not what an operator needs; raised without saying where."""


def located(function: Callable[..., Any], place: Place) -> Callable[..., Any]:
    """Return a function whose refusals of values say where the operator stands."""

    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except UnfitError as error:
            raise InvalidInputError(f"{place.text}: {error}") from None
        except InvalidOperation:
            raise InvalidInputError(f"{place.text}: NaN has no place in this") from None

    return call


def apply(function: Callable[..., Any], nodes: Sequence[Node], place: Place) -> Node:
    """Return the result of a function of expressions' values.

    Args:
        function: Takes the values; raises :class:`UnfitError` for those that it cannot have.
        nodes: The expressions.
        place: Where the operator stands.
    """
    evaluate = _calling(function, [node.evaluate for node in nodes], place)
    if all(node.constant for node in nodes):
        return constant(evaluate([]))
    return Node(evaluate)


def _calling(function: Callable[..., Any], values: list[Evaluate], place: Place) -> Evaluate:
    if isinstance(function, or_null) and 1 <= len(values) <= 2:
        call = located(function.function, place)
        one, two = values[0], values[-1]
        return _calling_one(call, one) if len(values) == 1 else _calling_two(call, one, two)
    call = located(function, place)
    match values:
        case [one]:
            return lambda scope: call(one(scope))
        case [one, two]:
            return lambda scope: call(one(scope), two(scope))
        case _:
            return lambda scope: call(*[value(scope) for value in values])


def _calling_one(call: Callable[..., Any], one: Evaluate) -> Evaluate:
    def evaluate(scope: Scope) -> Any:
        value = one(scope)
        return None if value is None or value is MISSING else call(value)

    return evaluate


def _calling_two(call: Callable[..., Any], one: Evaluate, two: Evaluate) -> Evaluate:
    def evaluate(scope: Scope) -> Any:
        value, other = one(scope), two(scope)
        if value is None or value is MISSING or other is None or other is MISSING:
            return None
        return call(value, other)

    return evaluate


def positional(function: Callable[..., Any], least: int = 1, most: int | None = 1) -> Operator:
    """Return an operator that is a function of its arguments."""

    def parse(parser: Parser, operand: Any, place: Place) -> Node:
        return apply(function, parser.arguments(operand, place, least, most), place)

    return parse


@dataclass(frozen=True, slots=True)
class or_null:  # noqa: N801  (it stands for a function)
    """A function that is null where one of its arguments is null or missing."""

    function: Callable[..., Any]

    def __call__(self, *values: Any) -> Any:
        """Return the function's value, or None."""
        for value in values:
            if value is None or value is MISSING:
                return None
        return self.function(*values)


def named(
    function: Callable[..., Any], required: Sequence[str], optional: Mapping[str, Any]
) -> Operator:
    """Return an operator that is a function of options.

    Args:
        function: Takes the options in this order.
        required: Options that must be given.
        optional: Options with what is taken where they are not given.
    """

    def parse(parser: Parser, operand: Any, place: Place) -> Node:
        given = parser.options(operand, place, required, tuple(optional))
        nodes = [given[name] for name in required]
        nodes += [given.get(name, constant(default)) for name, default in optional.items()]
        return apply(function, nodes, place)

    return parse


def is_null(value: Any) -> bool:
    """Whether a value is null or missing."""
    return value is None or value is MISSING


def is_true(value: Any) -> bool:
    """Return what a value counts for: false are null, nothing, false and 0."""
    if value is None or value is MISSING:
        return False
    return bool(value) if value.__class__ is bool or value.__class__ in NUMBERS else True


def order_key(value: Any) -> Key:
    """Return a value's place in the order of all values, in which missing comes before null."""
    return _MISSING_KEY if value is MISSING else compare_key(value)


def shown(value: Any) -> str:
    """Return a value in an error's words."""
    if value.__class__ is int and value.bit_length() > _MOST_SHOWN_BITS:  # str() may refuse it
        return f"an int of {value.bit_length()} bits"
    return "a missing field" if value is MISSING else describe(value)


def text_in(value: Any) -> str:
    """Return a value that must be a string."""
    if value.__class__ is not str:
        raise UnfitError(f"needs a string, not {shown(value)}")
    return value


def list_in(value: Any) -> list[Any]:
    """Return a value that must be a list."""
    if value.__class__ is not list:
        raise UnfitError(f"needs a list, not {shown(value)}")
    return value


def number_in(value: Any) -> Any:
    """Return a value that must be a number."""
    if value.__class__ not in NUMBERS:
        raise UnfitError(f"needs a number, not {shown(value)}")
    return value


def whole_in(value: Any) -> int:
    """Return a value that must be a whole number."""
    if number_in(value).__class__ is int:
        return value  # type: ignore[no-any-return]
    if not -(2**63) <= value < 2**63 or value != int(value):
        raise UnfitError(f"needs a whole number, not {shown(value)}")
    return int(value)
