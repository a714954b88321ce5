"""Operators on documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from parquedb.query.accumulate import merged
from parquedb.query.compare import MISSING
from parquedb.query.operand import Place
from parquedb.query.operators.base import (
    UnfitError,
    apply,
    is_null,
    list_in,
    or_null,
    positional,
    shown,
    text_in,
)
from parquedb.query.operators.parser import Node, Operator, Parser


def _merge(*values: Any) -> dict[str, Any]:
    given = values[0] if len(values) == 1 and values[0].__class__ is list else values
    return merged(given)


def _to_list(value: Any) -> list[Any]:
    if value.__class__ is not dict:
        raise UnfitError(f"needs a document, not {shown(value)}")
    return [{"k": name, "v": inner} for name, inner in value.items()]


def _to_document(pairs: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for pair in list_in(pairs):
        if pair.__class__ is list and len(pair) == 2:
            name, value = pair
        elif pair.__class__ is dict and pair.keys() == {"k", "v"}:
            name, value = pair["k"], pair["v"]
        else:
            raise UnfitError(f"needs pairs [name, value] or {{k, v}}, not {shown(pair)}")
        made[text_in(name)] = value
    return made


def _get_field(parser: Parser, operand: Any, place: Place) -> Node:
    if isinstance(operand, Mapping) and "field" in operand:
        given = parser.options(operand, place, ("field",), ("input",))
        name, source = given["field"], given.get("input")
    else:
        name, source = parser.parse(operand, place), None
    if source is None and name.constant and isinstance(name.value, str):
        return parser.field((name.value,))
    if source is None:
        source = parser.parse("$$ROOT", place)

    def get(field: Any, value: Any) -> Any:
        text = text_in(field)
        if value.__class__ is dict:
            return value.get(text, MISSING)
        return None if is_null(value) and value is not MISSING else MISSING

    return apply(get, (name, source), place)


OPERATORS: Final[dict[str, Operator]] = {
    "$mergeObjects": positional(_merge, 0, None),
    "$objectToArray": positional(or_null(_to_list)),
    "$arrayToObject": positional(or_null(_to_document)),
    "$getField": _get_field,
}
