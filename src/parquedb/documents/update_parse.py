"""MongoDB's update operators, parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal

from parquedb.documents.kinds import Kind, Relation, Reverse
from parquedb.documents.rules import SYSTEM_NAMES, CollectionRules
from parquedb.documents.scalars import Unfit, fit_relation
from parquedb.documents.update_steps import (
    AddToSet,
    Bit,
    Bound,
    Compute,
    CurrentDate,
    Link,
    Order,
    Path,
    Pop,
    Pull,
    Push,
    Rename,
    Set,
    Step,
    Unlink,
    Unset,
    Update,
)
from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.query.operand import describe, nearest
from parquedb.rows.values import find_problems, is_clean, plain, raise_problems


def parse_update(spec: Mapping[str, Any], rules: CollectionRules | None = None) -> Update:
    """Parse an update.

    Args:
        spec: Operators and their fields. Values are copied.
        rules: The collection's rules, by which ``$link`` and ``$unlink`` know relations.

    Raises:
        InvalidInputError: It is not well-formed, its paths overlap, or it changes a field that the
            database sets; the message says where.
        UnsupportedError: It is an aggregation pipeline or has a positional ``$``.
    """
    is_mapping = type(spec) is dict or isinstance(spec, Mapping)
    if not is_mapping or not spec or not _KNOWN.issuperset(spec):
        _check_shape(spec)
    relations: dict[Path, Kind] | None = None
    steps: list[Step] = []
    for operator, fields in spec.items():
        if type(fields) is not dict and not isinstance(fields, Mapping):
            raise InvalidInputError(
                f'{operator}: write {{"{operator}": {{"field": …}}}}, not {describe(fields)}'
            )
        for name, operand in fields.items():
            here = f"{operator} at {name!r}"
            path = _path_of(name, here)
            if operator in ("$link", "$unlink"):
                if relations is None:
                    relations = {path: rule.kind for path, rule in rules.walk()} if rules else {}
                steps.append(_parse_link(operator, path, operand, here, relations.get(path)))
            else:
                steps.append(_PARSERS[operator](path, operand, here))
    _check_overlap(steps)
    touched = {step.path[0] for step in steps}
    touched.update([step.target[0] for step in steps if isinstance(step, Rename)])
    return Update(tuple(steps), frozenset(touched))


def _check_shape(spec: object) -> None:
    if isinstance(spec, list | tuple):
        raise UnsupportedError(
            "Updates by aggregation pipelines are not supported; read the document, change it, and "
            "write it with `replace` and `expected_version`."
        )
    if not isinstance(spec, Mapping):
        raise InvalidInputError(f"An update is a mapping of operators, not {describe(spec)}.")
    operators = [key for key in spec if isinstance(key, str) and key.startswith("$")]
    if not operators:
        what = "The update is empty" if not spec else "The update has no operators"
        raise InvalidInputError(
            f'{what}; write {{"$set": {{…}}}} to change fields, or call `replace` to put another '
            "document in this one's place."
        )
    if len(operators) < len(spec):
        others = [repr(key) for key in spec if key not in operators]
        raise InvalidInputError(
            f'The update mixes operators and fields: put {", ".join(others)} into "$set".'
        )
    for operator in operators:
        if operator not in OPERATORS:
            near = nearest(operator, OPERATORS)
            raise InvalidInputError(
                f"The update has an unknown operator {operator}; did you mean {near}?"
            )


def _path_of(name: object, here: str) -> Path:
    if not isinstance(name, str):
        raise InvalidInputError(f"{here}: a field's name is a string")
    name = str.__str__(name)  # it becomes a key of the document
    if name.isidentifier() and name not in SYSTEM_NAMES:
        return (name,)
    path = tuple(name.split("."))
    if path[0] in SYSTEM_NAMES:
        raise InvalidInputError(f"{here}: {path[0]} is set by the database{_instead(path[0])}")
    for part in path:
        if not part:
            raise InvalidInputError(f"{here}: the path has an empty part; write 'a.b'")
        if part == "$" or part.startswith("$["):
            raise UnsupportedError(
                f"{here}: positional {part!r} is not supported. Name the index ('items.0.price'), "
                "or read the list, change it and $set it with `expected_version`.",
                feature=part,
            )
        if part.startswith("$"):
            raise InvalidInputError(
                f"{here}: {part!r} begins with '$'; `replace` writes fields of such names"
            )
    return path


def _instead(name: str) -> str:
    if name in ("deletedAt", "deletedBy"):
        return "; call `delete` or `restore`"
    if name == "$id":
        return " and never changes; create another document"
    return " and cannot be updated"


def _copied(value: Any, here: str) -> Any:
    """Return an operand as it is stored."""
    if type(value) in _ALWAYS_CLEAN:
        return value
    if not is_clean(value, 1):
        problems: list[str] = []
        find_problems(value, problems)
        raise_problems(here, problems)
    return plain(value)


def _parse_set(path: Path, operand: Any, here: str) -> Step:
    return Set(path, _copied(operand, here))


def _parse_set_on_insert(path: Path, operand: Any, here: str) -> Step:
    return Set(path, _copied(operand, here), only_inserting=True)


def _parse_unset(path: Path, _operand: Any, _here: str) -> Step:
    return Unset(path)


def _parse_rename(path: Path, operand: Any, here: str) -> Step:
    target = _path_of(operand, here)
    if target == path:
        raise InvalidInputError(f"{here}: the new name is the old one")
    return Rename(path, target)


def _computes(operator: Literal["$inc", "$mul"]) -> Callable[[Path, Any, str], Step]:
    def parse(path: Path, operand: Any, here: str) -> Step:
        number = _copied(operand, here)
        if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
            raise InvalidInputError(f"{here}: {describe(operand)} is no number")
        return Compute(path, operator, number)

    return parse


def _bounds(operator: Literal["$min", "$max"]) -> Callable[[Path, Any, str], Step]:
    def parse(path: Path, operand: Any, here: str) -> Step:
        return Bound(path, operator, _copied(operand, here))

    return parse


def _parse_current_date(path: Path, operand: Any, here: str) -> Step:
    known: tuple[Any, ...] = (True, {"$type": "date"}, {"$type": "timestamp"})
    if operand is False or operand not in known:
        raise InvalidInputError(f'{here}: write True or {{"$type": "date"}}')
    return CurrentDate(path)


_MODIFIERS = ("$each", "$position", "$sort", "$slice")


def _parse_push(path: Path, operand: Any, here: str) -> Step:
    if not isinstance(operand, Mapping) or not any(key in operand for key in _MODIFIERS):
        _refuse_dollars(operand, _MODIFIERS, here)
        return Push(path, (_copied(operand, here),))
    values = _parse_each(operand, _MODIFIERS, here)
    position = _whole(operand, "$position", here)
    limit = _whole(operand, "$slice", here)
    order = _parse_order(operand["$sort"], here) if "$sort" in operand else None
    return Push(path, values, position, order, limit)


def _parse_add_to_set(path: Path, operand: Any, here: str) -> Step:
    if not isinstance(operand, Mapping) or "$each" not in operand:
        _refuse_dollars(operand, ("$each",), here)
        return AddToSet(path, (_copied(operand, here),))
    return AddToSet(path, _parse_each(operand, ("$each",), here))


def _refuse_dollars(operand: Any, known: tuple[str, ...], here: str) -> None:
    """Refuse ``{"$eech": …}``, which would be stored as it is."""
    first = next(iter(operand), "") if isinstance(operand, Mapping) else ""
    if isinstance(first, str) and first.startswith("$") and first not in ("$id", "$type"):
        raise InvalidInputError(
            f"{here}: unknown modifier {first}; did you mean {nearest(first, known)}?"
        )


def _parse_each(operand: Mapping[str, Any], known: tuple[str, ...], here: str) -> tuple[Any, ...]:
    for key in operand:
        if key not in known:
            raise InvalidInputError(
                f"{here}: unknown modifier {key}; did you mean {nearest(str(key), known)}?"
            )
    if "$each" not in operand:
        raise InvalidInputError(f'{here}: {", ".join(operand)} needs "$each": [values]')
    return _values(operand["$each"], f"{here}: $each")


def _values(operand: Any, here: str) -> tuple[Any, ...]:
    if not isinstance(operand, list | tuple):
        raise InvalidInputError(f"{here}: write a list, not {describe(operand)}")
    return tuple(_copied(list(operand), here))


def _whole(operand: Mapping[str, Any], key: str, here: str) -> int | None:
    if key not in operand:
        return None
    value = operand[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{here}: {key} is an integer, not {describe(value)}")
    return int(value)


def _parse_order(spec: Any, here: str) -> Order:
    if isinstance(spec, Mapping) and spec:
        keys = []
        for name, direction in spec.items():
            parts = tuple(name.split(".")) if isinstance(name, str) else ()
            if not all(parts) or not parts:
                raise InvalidInputError(f"{here}: $sort: {name!r} is no field")
            keys.append((parts, _descends(direction, here)))
        return Order(tuple(keys))
    return Order((), _descends(spec, here))


def _descends(direction: Any, here: str) -> bool:
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidInputError(f'{here}: $sort: write 1, -1 or {{"field": 1}}')
    return bool(direction == -1)


def _parse_pull(path: Path, operand: Any, here: str) -> Step:
    from parquedb.query.match import compile_match  # noqa: PLC0415  (only this operator needs it)
    from parquedb.query.parse import parse_filter  # noqa: PLC0415

    if not isinstance(operand, Mapping | re.Pattern):
        return Pull(path, "$pull", _among((_copied(operand, here),)))
    first = next(iter(operand), "") if isinstance(operand, Mapping) else "$regex"
    is_test = isinstance(first, str) and first.startswith("$") and first not in _OF_DOCUMENTS
    try:
        matches = compile_match(parse_filter({"element": operand} if is_test else operand))  # type: ignore[arg-type]
    except InvalidInputError as error:
        raise InvalidInputError(f"{here}: {error}") from None
    if is_test:
        return Pull(path, "$pull", lambda element: matches({"element": element}))
    return Pull(path, "$pull", lambda element: isinstance(element, dict) and matches(element))


_OF_DOCUMENTS = ("$and", "$or", "$nor", "$expr", "$comment", "$id")
"""What begins a filter of sub-documents rather than tests of an element."""


def _parse_pull_all(path: Path, operand: Any, here: str) -> Step:
    return Pull(path, "$pullAll", _among(_values(operand, here)))


def _among(values: tuple[Any, ...]) -> Callable[[Any], bool]:
    from parquedb.query.compare import compare_key  # noqa: PLC0415

    keys = {compare_key(value) for value in values}
    return lambda element: compare_key(element) in keys


def _parse_pop(path: Path, operand: Any, here: str) -> Step:
    if isinstance(operand, bool) or operand not in (1, -1):
        raise InvalidInputError(f"{here}: write 1 (the last element) or -1 (the first)")
    return Pop(path, first=operand == -1)


_BITWISE = ("and", "or", "xor")


def _parse_bit(path: Path, operand: Any, here: str) -> Step:
    if not isinstance(operand, Mapping) or not operand:
        raise InvalidInputError(f'{here}: write {{"and": 10}}, {{"or": 5}} or {{"xor": 3}}')
    for key, value in operand.items():
        if key not in _BITWISE:
            raise InvalidInputError(
                f"{here}: unknown operation {key!r}; did you mean {nearest(str(key), _BITWISE)!r}?"
            )
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidInputError(f"{here}: {key}: {describe(value)} is no integer")
    return Bit(path, tuple((key, int(value)) for key, value in operand.items()))


def _parse_link(operator: str, path: Path, operand: Any, here: str, kind: Kind | None) -> Step:
    if isinstance(kind, Reverse):
        raise InvalidInputError(
            f"{here}: a reverse relation is not stored; {operator} {kind.type}.{kind.field} instead"
        )
    if kind is not None and not isinstance(kind, Relation):
        raise InvalidInputError(f"{here}: the schema declares no relation there; use $set")
    if operator == "$unlink" and (operand is None or operand in (True, "", "$all", 1)):
        return Unlink(path, None)
    several = isinstance(operand, list | tuple)
    ids = tuple(_id_of(item, here, kind) for item in (operand if several else [operand]))
    if operator == "$unlink":
        return Unlink(path, ids)
    many = kind.many if kind is not None else (True if several else None)
    if many is False and len(ids) != 1:
        raise InvalidInputError(f"{here}: the relation is to one document, {len(ids)} are given")
    return Link(path, ids, many)


def _id_of(given: Any, here: str, kind: Relation | None) -> str:
    if kind is not None:
        try:
            return str(fit_relation(kind)(given, None))
        except Unfit as error:
            raise InvalidInputError(f"{here}: {error.problems[0][1]}") from None
    found = given.get("$id") if isinstance(given, Mapping) else given
    if not isinstance(found, str) or not found:
        raise InvalidInputError(f"{here}: {describe(given)} is no id of a document")
    return str(_copied(found, here))


_PARSERS: dict[str, Callable[[Path, Any, str], Step]] = {
    "$set": _parse_set,
    "$unset": _parse_unset,
    "$rename": _parse_rename,
    "$inc": _computes("$inc"),
    "$mul": _computes("$mul"),
    "$min": _bounds("$min"),
    "$max": _bounds("$max"),
    "$currentDate": _parse_current_date,
    "$setOnInsert": _parse_set_on_insert,
    "$push": _parse_push,
    "$pull": _parse_pull,
    "$pullAll": _parse_pull_all,
    "$addToSet": _parse_add_to_set,
    "$pop": _parse_pop,
    "$bit": _parse_bit,
}
OPERATORS = (*_PARSERS, "$link", "$unlink")
"""All update operators."""
_KNOWN = frozenset(OPERATORS)
_ALWAYS_CLEAN = frozenset({int, bool, type(None)})


def _paths(step: Step) -> Iterator[Path]:
    yield step.path
    if isinstance(step, Rename):
        yield step.target


def _check_overlap(steps: list[Step]) -> None:
    """Refuse two steps one of whose paths begins with the other's."""
    if len(steps) == 1 and not isinstance(steps[0], Rename):
        return
    paths = sorted(path for step in steps for path in _paths(step))
    for one, other in pairwise(paths):
        if other[: len(one)] == one:
            raise InvalidInputError(
                f"The update changes {'.'.join(one)!r} and {'.'.join(other)!r}, which overlap; "
                "change each field once."
            )
