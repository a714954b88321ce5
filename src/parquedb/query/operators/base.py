"""What expressions are parsed into, and with what their operators are parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import InvalidOperation
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.compare import MISSING, NUMBERS, Key, compare_key
from parquedb.query.operand import Place, describe, literal, mapping_of, nearest

Scope = list[Any]
"""The document at 0, and behind it what variables are bound to while they are."""

Evaluate = Callable[[Scope], Any]

_FIELDS: Final = ("$id", "$type")
"""Fields whose names begin with ``$`` and may be part of a path."""

MAX_TEXT: Final = 16 << 20
"""How many characters a text that an expression makes may have."""
MAX_ELEMENTS: Final = 1 << 22
"""How many elements a list that an expression makes may have."""

_MOST_SHOWN_BITS: Final = 1024
_MISSING_KEY: Final[Key] = (1, None)


class UnfitError(Exception):
    """A value is not what an operator needs; raised without saying where."""


@dataclass(frozen=True, slots=True)
class Node:
    """A parsed expression.

    Args:
        evaluate: Returns its value, or :data:`~parquedb.query.compare.MISSING`. Lists and dicts
            may be shared with the document and must not be changed.
        constant: Whether the value is the same for all documents.
        path: The field that it is, where it is nothing but one.
    """

    evaluate: Evaluate
    constant: bool = False
    path: tuple[str, ...] | None = None

    @property
    def value(self) -> Any:
        """The value of a constant."""
        return self.evaluate([])


@dataclass(slots=True)
class Uses:
    """What an expression looks at.

    Args:
        fields: Top-level fields.
        whole: Whether it looks at the document as a whole.
        slots: How many places its scope has.
    """

    fields: set[str] = field(default_factory=set)
    whole: bool = False
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Parser:
    """Parses expressions.

    Args:
        operators: The operators by name.
        variables: What names after ``$$`` stand for.
        uses: Is told what the expression looks at.
    """

    operators: Mapping[str, Operator]
    variables: Mapping[str, Node]
    uses: Uses

    def parse(self, source: Any, place: Place) -> Node:
        """Parse an expression.

        Raises:
            InvalidInputError: It is not well-formed.
        """
        if isinstance(source, str):
            return self._text(source, place)
        if isinstance(source, Mapping):
            return self._mapping(source, place)
        if isinstance(source, list | tuple):
            return self._list(source, place)
        return constant(literal(source, place))

    def bound(self, names: Iterable[str], place: Place) -> tuple[Parser, list[int]]:
        """Return a parser that knows more variables, and the places in the scope they are at."""
        slots, known = [], dict(self.variables)
        for name in names:
            if not name or name[0] == "$" or "." in name or not name.isidentifier():
                raise place.refuse(f"{name!r} is no name of a variable")
            slots.append(self.uses.slots)
            known[name] = Node(_from_slot(self.uses.slots))
            self.uses.slots += 1
        return replace(self, variables=known), slots

    def arguments(
        self, operand: Any, place: Place, least: int = 1, most: int | None = 1
    ) -> list[Node]:
        """Parse an operator's arguments: a list, or a single one.

        Args:
            operand: What stands for the arguments.
            place: Where.
            least: How many there must be.
            most: How many there may be, None for any number.
        """
        given = operand if isinstance(operand, list | tuple) else [operand]
        if len(given) < least or (most is not None and len(given) > most):
            count = str(least) if least == most else f"{least} to {most}"
            if most is None:
                count = f"at least {least}"
            raise place.refuse(f"needs {count} argument{'s' * (count != '1')}, not {len(given)}")
        return [self.parse(one, place.item(at)) for at, one in enumerate(given)]

    def options(
        self, operand: Any, place: Place, required: Sequence[str], optional: Sequence[str] = ()
    ) -> dict[str, Node]:
        """Parse an operator's arguments that are given by name."""
        given = options_of(operand, place, required, optional)
        return {name: self.parse(value, place.at(name)) for name, value in given.items()}

    def _text(self, source: str, place: Place) -> Node:
        if not source.startswith("$"):
            return constant(literal(source, place))
        if source.startswith("$$"):
            return self._variable(source[2:], place)
        return self.field(path_of(source[1:], place))

    def field(self, path: tuple[str, ...]) -> Node:
        """Return what a path reaches in the document."""
        name = path[0]
        self.uses.fields.add(name)
        if len(path) == 1:
            return Node(lambda scope: scope[0].get(name, MISSING), path=path)
        deeper = descend(path[1:])
        return Node(lambda scope: deeper(scope[0].get(name, MISSING)), path=path)

    def _variable(self, text: str, place: Place) -> Node:
        name, _, rest = text.partition(".")
        path = path_of(rest, place) if rest else ()
        if name in ("ROOT", "CURRENT"):
            if path:
                return self.field(path)
            self.uses.whole = True
            return Node(lambda scope: scope[0])
        known = self.variables.get(name)
        if known is None:
            if f"${name}" in _FIELDS:
                return self.field((f"${name}", *path))
            raise place.refuse(self._unknown(name))
        if not path:
            return known
        evaluate, deeper = known.evaluate, descend(path)
        return Node(lambda scope: deeper(evaluate(scope)), constant=known.constant)

    def _unknown(self, name: str) -> str:
        if name == "NOW":
            return "the time is not known here, so that $$NOW cannot be used"
        known = ("ROOT", "CURRENT", *self.variables)
        return f"unknown variable '$${name}'; did you mean '$${nearest(name, known)}'?"

    def _list(self, source: Sequence[Any], place: Place) -> Node:
        nodes = [self.parse(one, place.item(at)) for at, one in enumerate(source)]
        values = [node.evaluate for node in nodes]

        def evaluate(scope: Scope) -> Any:
            found = [value(scope) for value in values]
            return [None if one is MISSING else one for one in found]

        return Node(evaluate, constant=all(node.constant for node in nodes))

    def _mapping(self, source: Mapping[Any, Any], place: Place) -> Node:
        fields = mapping_of(source, place, "an expression")
        operators = [key for key in fields if key.startswith("$")]
        if not operators:
            return self._document(fields, place)
        name = operators[0]
        if len(fields) > 1:
            raise place.refuse(
                f"{name!r} must be alone in its mapping, not beside "
                f"{next(key for key in fields if key != name)!r}"
            )
        operator = self.operators.get(name)
        if operator is None:
            raise place.refuse(
                f"unknown operator {name!r}; did you mean {nearest(name, self.operators)!r}?"
            )
        return operator(self, fields[name], place.at(name))

    def _document(self, fields: Mapping[str, Any], place: Place) -> Node:
        nodes: list[tuple[str, Node]] = []
        for name, value in fields.items():
            if "." in name:
                raise place.refuse(f"{name!r} is no field's name here: it has a dot in it")
            nodes.append((literal(name, place), self.parse(value, place.at(name))))
        parts = [(name, node.evaluate) for name, node in nodes]

        def evaluate(scope: Scope) -> Any:
            found = ((name, value(scope)) for name, value in parts)
            return {name: value for name, value in found if value is not MISSING}

        return Node(evaluate, constant=all(node.constant for _, node in nodes))


Operator = Callable[[Parser, Any, Place], Node]
"""Parses what stands beside an operator's name."""


def options_of(
    operand: Any, place: Place, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Return an operator's options, which must be the known ones."""
    given = mapping_of(operand, place, "options")
    for name in given:
        if name not in required and name not in optional:
            known = (*required, *optional)
            if not known:
                raise place.refuse(f"unknown option {name!r}; it takes none")
            raise place.refuse(f"unknown option {name!r}; did you mean {nearest(name, known)!r}?")
    lacking = [name for name in required if name not in given]
    if lacking:
        raise place.refuse(f"the option {lacking[0]!r} is missing")
    return given


def path_of(text: str, place: Place) -> tuple[str, ...]:
    """Return the parts of a dotted path."""
    path = tuple(literal(str.__str__(text), place).split("."))
    for part in path:
        if not part:
            raise place.refuse(f"{text!r} is no path: a part of it is empty")
        if part[0] == "$" and part not in _FIELDS:
            raise place.refuse(f"{text!r} is no path: {part!r} begins with $")
    return path


def descend(path: Sequence[str]) -> Callable[[Any], Any]:
    """Return a function for what a path reaches from a value, in all documents of a list."""
    name = path[0]
    deeper = descend(path[1:]) if len(path) > 1 else None

    def step(value: Any) -> Any:
        kind = value.__class__
        if kind is dict:
            inner = value.get(name, MISSING)
            return inner if deeper is None else deeper(inner)
        if kind is list:
            found = (step(element) for element in value if element.__class__ is dict)
            return [inner for inner in found if inner is not MISSING]
        return MISSING

    return step


def _from_slot(slot: int) -> Evaluate:
    return lambda scope: scope[slot]


def constant(value: Any) -> Node:
    """Return an expression that is a value; lists and dicts are made anew each time."""
    if value.__class__ is list or value.__class__ is dict:
        return Node(lambda _: copied(value), constant=True)
    return Node(lambda _: value, constant=True)


def copied(value: Any) -> Any:
    """Return a copy of a value down to its leaves."""
    if value.__class__ is dict:
        return {name: copied(inner) for name, inner in value.items()}
    if value.__class__ is list:
        return [copied(element) for element in value]
    return value


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
