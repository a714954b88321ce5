"""What expressions are parsed into, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final

from parquedb.query.compare import MISSING
from parquedb.query.operand import Place, literal, mapping_of, nearest
from parquedb.slotted import dataclass

Scope = list[Any]
"""The document at 0, and behind it what variables are bound to while they are."""

Evaluate = Callable[[Scope], Any]

_FIELDS: Final = ("$id", "$type")
"""Fields whose names begin with ``$`` and may be part of a path."""


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
