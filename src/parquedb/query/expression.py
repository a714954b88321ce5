"""MongoDB's aggregation expressions, parsed once and evaluated on many documents.

Differences from MongoDB: ints are exact whatever their size, times are exact to the microsecond,
documents are equal whatever the order of their keys, ``$toUpper`` and ``$toLower`` know all of
Unicode. The system fields ``$id`` and ``$type`` are ``"$$id"`` and ``"$$type"``; in a path they
are as they are (``"$author.$id"``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.compare import MISSING
from parquedb.query.operand import Place, literal
from parquedb.query.operators.moments import moment_in
from parquedb.query.operators.parser import Node, Parser, Uses, constant
from parquedb.query.operators.table import OPERATORS
from parquedb.slotted import dataclass

Document = dict[str, Any]
Evaluate = Callable[[Document], Any]

NOW: Final = "NOW"
"""The variable for the time."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A parsed expression.

    Args:
        source: What it was parsed from.
        fields: The top-level fields that it looks at, None for the whole document.
        path: The field that it is, where it is nothing but one.
        constant: Its value as the only element where that is the same for all documents.
        evaluate: Returns its value for a document, or
            :data:`~parquedb.query.compare.MISSING`; what is in the value may be shared with the
            document. Raises :class:`~parquedb.errors.InvalidInputError` for a document whose
            values it cannot take.
    """

    source: Any
    fields: frozenset[str] | None
    path: tuple[str, ...] | None
    constant: tuple[Any, ...]
    evaluate: Evaluate = field(repr=False, compare=False)


def compile_expression(source: Any, variables: Mapping[str, Any] | None = None) -> Evaluate:
    """Return a function for an expression's value.

    Args:
        source: The expression in MongoDB's syntax. Values in it are copied.
        variables: Values of variables, named without ``$$``; ``NOW`` is the time.

    Returns:
        The function. It takes a document and returns the value, or
        :data:`~parquedb.query.compare.MISSING`; what is in it may be shared with the document.
        It raises InvalidInputError for a document whose values the expression cannot take.

    Raises:
        InvalidInputError: The expression is not well-formed; the message says where and names the
            nearest known operator.
    """
    return parse_expression(source, Place("expression"), bind(variables)).evaluate


def fields_of_expression(source: Any) -> frozenset[str] | None:
    """Return the top-level fields that an expression looks at, None for the whole document.

    Args:
        source: The expression in MongoDB's syntax.

    Raises:
        InvalidInputError: It is not well-formed.
    """
    return parse_expression(source, Place("expression"), {}).fields


def bind(variables: Mapping[str, Any] | None) -> dict[str, Node]:
    """Return what the names of variables stand for.

    Raises:
        InvalidInputError: A value is not one that documents can hold.
    """
    place = Place("variables")
    known = {
        name: literal(moment_in(value) if isinstance(value, datetime) else value, place.at(name))
        for name, value in (variables or {}).items()
    }
    return {name: constant(value) for name, value in known.items()}


def parse_expression(source: Any, place: Place, variables: Mapping[str, Node]) -> Compiled:
    """Parse an expression.

    Args:
        source: The expression in MongoDB's syntax.
        place: Where it stands.
        variables: See :func:`bind`.

    Raises:
        InvalidInputError: It is not well-formed.
    """
    uses = Uses()
    known = {"REMOVE": constant(MISSING), **variables}
    node = Parser(OPERATORS, known, uses).parse(source, place)
    return Compiled(
        source,
        None if uses.whole else frozenset(uses.fields),
        node.path,
        (node.value,) if node.constant else (),
        _on_documents(node, uses.slots),
    )


def _on_documents(node: Node, slots: int) -> Evaluate:
    if node.path is not None and len(node.path) == 1:
        name = node.path[0]
        return lambda document: document.get(name, MISSING)
    value, rest = node.evaluate, [None] * (slots - 1)

    def evaluate(document: Document) -> Any:
        try:
            return value([document, *rest] if rest else [document])
        except InvalidInputError as error:
            id_ = document.get("$id", document.get("_id"))
            raise InvalidInputError(str(error) if id_ is None else f"{id_}: {error}") from error
        except RecursionError as error:
            raise InvalidInputError("expression: the values are nested too deep") from error

    return evaluate
