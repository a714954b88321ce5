"""The stages of a pipeline, parsed and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.query.expression import Compiled, bind, parse_expression
from parquedb.query.filter import Filter, Path
from parquedb.query.group import Accumulation, Group, parse_group, parse_key
from parquedb.query.match import compile_match
from parquedb.query.operand import Place, describe, mapping_of, nearest, whole_of
from parquedb.query.operators.parser import Node, options_of, path_of
from parquedb.query.parse import parse_filter
from parquedb.query.reshape import (
    Shape,
    parse_projection_stage,
    parse_set_stage,
    parse_unset_stage,
)
from parquedb.query.sort import SortKey, parse_sort
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """``$match``."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class Sort:
    """``$sort``."""

    keys: tuple[SortKey, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """``$limit``."""

    count: int


@dataclass(frozen=True, slots=True)
class Skip:
    """``$skip``."""

    count: int


@dataclass(frozen=True, slots=True)
class Reshape:
    """``$project``, ``$addFields``, ``$set`` and ``$unset``."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Unwind:
    """``$unwind``: a document for each element of a list.

    Args:
        path: The list's field.
        index: The field that says which element it is, or None.
        preserve: Whether a document without elements is kept.
    """

    path: Path
    index: Path | None = None
    preserve: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """``$count``: one document with how many there were, none if there were none.

    Args:
        name: The field.
    """

    name: str


@dataclass(frozen=True, slots=True)
class ReplaceRoot:
    """``$replaceRoot`` and ``$replaceWith``.

    Args:
        root: What the documents become.
        place: Where it stands in the pipeline.
    """

    root: Compiled
    place: str


Stage = Match | Group | Sort | Limit | Skip | Reshape | Unwind | Count | ReplaceRoot


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages, the first one first."""

    stages: tuple[Stage, ...] = ()


def parse_pipeline(
    stages: Sequence[Mapping[str, Any]], *, variables: Mapping[str, Any] | None = None
) -> Pipeline:
    """Parse a pipeline.

    Args:
        stages: The stages in MongoDB's syntax. Values are copied.
        variables: Values of variables, named without ``$$``; ``NOW`` is the time.

    Raises:
        InvalidInputError: It is not well-formed; the message says where and names the nearest
            known stage, operator or accumulator.
        UnsupportedError: It has a stage that MongoDB has and we have not.
    """
    top = Place("pipeline")
    if isinstance(stages, Mapping | str) or not isinstance(stages, Sequence):
        raise top.refuse(f"needs a list of stages, not {describe(stages)}")
    reader = _Reader(dict(variables or {}), bind(variables))
    parsed: list[Stage] = []
    for at, stage in enumerate(stages):
        parsed += reader.stage(stage, top.item(at))
    return Pipeline(tuple(parsed))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads stages.

    Args:
        values: The variables' values as they were given.
        variables: What variables stand for.
    """

    values: Mapping[str, Any]
    variables: Mapping[str, Node]

    def stage(self, spec: Any, place: Place) -> tuple[Stage, ...]:
        """Parse a stage."""
        given = mapping_of(spec, place, "a stage")
        if len(given) != 1:
            raise place.refuse(f"a stage names one operator, as $match, not {len(given)}")
        ((name, operand),) = given.items()
        if name in _UNSUPPORTED:
            raise UnsupportedError(f"{place.text}: {name} is not supported; {_UNSUPPORTED[name]}")
        parse = _STAGES.get(name)
        if parse is None:
            raise place.refuse(f"unknown stage {name!r}; did you mean {nearest(name, _STAGES)!r}?")
        found = parse(self, operand, place.at(name))
        return found if isinstance(found, tuple) else (found,)

    def value(self, source: Any, place: Place) -> Compiled:
        """Parse an expression."""
        return parse_expression(source, place, self.variables)

    def bound(self, spec: Any) -> Any:
        """Return what a document must match, as it was given, with ``$expr`` told the variables."""
        if not isinstance(spec, Mapping) or not self.values:
            return spec
        return {key: self._bound(key, value) for key, value in spec.items()}

    def _bound(self, key: Any, value: Any) -> Any:
        if key == "$expr":
            given = {name: {"$literal": one} for name, one in self.values.items()}
            return {"$let": {"vars": given, "in": value}}
        if key in ("$and", "$or", "$nor") and isinstance(value, list | tuple):
            return [self.bound(part) for part in value]
        return value


def _match(reader: _Reader, operand: Any, place: Place) -> Stage:
    try:
        filter_ = parse_filter(reader.bound(operand))
        compile_match(filter_)
    except InvalidInputError as error:
        raise place.refuse(str(error)) from error
    return Match(filter_)


def _group(reader: _Reader, operand: Any, place: Place) -> Stage:
    return parse_group(operand, place, reader.value)


def _sort(reader: _Reader, operand: Any, place: Place) -> Stage:
    del reader
    try:
        keys = parse_sort(operand)
    except InvalidInputError as error:
        raise place.refuse(str(error)) from error
    if not keys:
        raise place.refuse("needs at least one field")
    return Sort(keys)


def _number(operand: Any, place: Place, least: int) -> int:
    number = whole_of(operand, place, "the number")
    if number != operand or number < least:
        raise place.refuse(f"the number must be a whole one from {least}, not {operand}")
    return number


def _limit(reader: _Reader, operand: Any, place: Place) -> Stage:
    del reader
    return Limit(_number(operand, place, 1))


def _skip(reader: _Reader, operand: Any, place: Place) -> Stage:
    del reader
    return Skip(_number(operand, place, 0))


def _project(reader: _Reader, operand: Any, place: Place) -> Stage:
    return Reshape(parse_projection_stage(operand, place, reader.value))


def _set(reader: _Reader, operand: Any, place: Place) -> Stage:
    return Reshape(parse_set_stage(operand, place, reader.value))


def _unset(reader: _Reader, operand: Any, place: Place) -> Stage:
    del reader
    return Reshape(parse_unset_stage(operand, place))


def _unwind(reader: _Reader, operand: Any, place: Place) -> Stage:
    del reader
    if isinstance(operand, str):
        return Unwind(_field(operand, place))
    given = options_of(
        operand, place, ("path",), ("includeArrayIndex", "preserveNullAndEmptyArrays")
    )
    index, preserve = given.get("includeArrayIndex"), given.get("preserveNullAndEmptyArrays", False)
    if not isinstance(preserve, bool):
        raise place.at("preserveNullAndEmptyArrays").refuse("must be true or false")
    name = None
    if index is not None:
        here = place.at("includeArrayIndex")
        if not isinstance(index, str) or index.startswith("$"):
            raise here.refuse(f"needs a field's name without $, not {describe(index)}")
        name = path_of(index, here)
    return Unwind(_field(given["path"], place.at("path")), name, preserve)


def _field(operand: Any, place: Place) -> Path:
    if not isinstance(operand, str) or not operand.startswith("$"):
        raise place.refuse(f"needs a field with $ in front, as in '$tags', not {describe(operand)}")
    return path_of(operand[1:], place)


def _count(reader: _Reader, operand: Any, place: Place) -> Stage:
    del reader
    if not isinstance(operand, str) or not operand or operand[0] == "$" or "." in operand:
        raise place.refuse(f"needs a field's name without $ and dot, not {describe(operand)}")
    return Count(operand)


def _replace_root(reader: _Reader, operand: Any, place: Place) -> Stage:
    source = options_of(operand, place, ("newRoot",))["newRoot"]
    return _replace_with(reader, source, place.at("newRoot"))


def _replace_with(reader: _Reader, operand: Any, place: Place) -> Stage:
    return ReplaceRoot(reader.value(operand, place), place.text)


def _sort_by_count(reader: _Reader, operand: Any, place: Place) -> tuple[Stage, ...]:
    key = parse_key(operand, place, reader.value)
    one = Accumulation("count", "$sum", reader.value(1, place), place.text)
    return Group(key, (one,)), Sort((SortKey(("count",), descending=True),))


_STAGES: Final[dict[str, Callable[[_Reader, Any, Place], Stage | tuple[Stage, ...]]]] = {
    "$match": _match,
    "$group": _group,
    "$sort": _sort,
    "$project": _project,
    "$limit": _limit,
    "$skip": _skip,
    "$unwind": _unwind,
    "$count": _count,
    "$addFields": _set,
    "$set": _set,
    "$unset": _unset,
    "$replaceRoot": _replace_root,
    "$replaceWith": _replace_with,
    "$sortByCount": _sort_by_count,
}

_UNSUPPORTED: Final = {
    "$sample": "it needs randomness, and the same pipeline shall give the same result; use $limit",
    "$lookup": "find with populate= loads the documents that a field refers to",
    "$graphLookup": "find with populate= loads the documents that a field refers to",
    "$unionWith": "run a pipeline for each collection",
    "$facet": "run a pipeline for each facet",
    "$bucket": "$group by a $switch",
    "$bucketAuto": "$group by a $switch",
    "$setWindowFields": "use sql() and a window function",
    "$out": "pass the results to create_many of another collection",
    "$merge": "pass the results to upsert of another collection",
    "$redact": "use $match and $project",
}
