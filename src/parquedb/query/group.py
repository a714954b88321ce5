"""``$group``: documents of equal keys, brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parquedb.errors import InvalidInputError
from parquedb.query.accumulate import ACCUMULATORS, Accumulator
from parquedb.query.compare import MISSING, compare_key
from parquedb.query.expression import Compiled, Document, Evaluate
from parquedb.query.operand import Place, describe, mapping_of, nearest
from parquedb.query.operators.base import UnfitError
from parquedb.query.operators.parser import options_of
from parquedb.slotted import dataclass

GroupKey = Compiled | tuple[tuple[str, Compiled], ...]
"""What a group has in common: an expression's value, or a document of such."""


@dataclass(frozen=True, slots=True)
class Accumulation:
    """A field of a group.

    Args:
        name: Its name.
        operator: The accumulator's.
        value: What it is made of, of each document.
        place: Where it stands in the pipeline.
    """

    name: str
    operator: str
    value: Compiled
    place: str


@dataclass(frozen=True, slots=True)
class Group:
    """``$group``.

    Args:
        key: What a group's documents have in common, ``_id`` in the results.
        fields: The other fields of the results.
    """

    key: GroupKey
    fields: tuple[Accumulation, ...]

    def expressions(self) -> list[Compiled]:
        """Return all expressions."""
        keys = [self.key] if isinstance(self.key, Compiled) else [part for _, part in self.key]
        return [*keys, *(one.value for one in self.fields)]


def parse_group(spec: Any, place: Place, parse: Callable[[Any, Place], Compiled]) -> Group:
    """Parse the operand of ``$group``.

    Args:
        spec: ``_id`` and the accumulated fields.
        place: Where it stands.
        parse: Parses an expression.

    Raises:
        InvalidInputError: It is not well-formed; the message names the nearest accumulator.
    """
    given = mapping_of(spec, place, "$group")
    if "_id" not in given:
        raise place.refuse('needs "_id", what to group by; None for one group of all documents')
    key = parse_key(given["_id"], place.at("_id"), parse)
    fields = [
        _accumulation(name, operand, place.at(name), parse)
        for name, operand in given.items()
        if name != "_id"
    ]
    return Group(key, tuple(fields))


def parse_key(source: Any, place: Place, parse: Callable[[Any, Place], Compiled]) -> GroupKey:
    """Parse what to group by."""
    if not isinstance(source, Mapping) or any(str(name)[:1] == "$" for name in source):
        return parse(source, place)
    parse(source, place)  # refuses what is no name
    return tuple((name, parse(part, place.at(name))) for name, part in source.items())


def _accumulation(
    name: str, operand: Any, place: Place, parse: Callable[[Any, Place], Compiled]
) -> Accumulation:
    if "." in name or name.startswith("$"):
        raise place.refuse("the name of a field has neither a dot in it nor a $ in front")
    if not isinstance(operand, Mapping) or len(operand) != 1:
        raise place.refuse(f'needs one accumulator, as in {{"$sum": 1}}, not {describe(operand)}')
    ((operator, source),) = mapping_of(operand, place, "an accumulator").items()
    here = place.at(operator)
    if operator not in ACCUMULATORS:
        known = nearest(operator, ACCUMULATORS)
        raise place.refuse(f"unknown accumulator {operator!r}; did you mean {known!r}?")
    if operator == "$count":
        options_of(source, here, ())
        source = None
    elif isinstance(source, list | tuple):
        if len(source) != 1:
            raise here.refuse("takes one expression; use $concatArrays or the like within it")
        (source,) = source
    return Accumulation(name, operator, parse(source, here), here.text)


class Groups:
    """The groups so far.

    Args:
        stage: What to group by and to accumulate.
    """

    def __init__(self, stage: Group) -> None:
        self._stage = stage
        self._value_of, self._key_of = _key_functions(stage.key)
        self._makers = [ACCUMULATORS[one.operator] for one in stage.fields]
        self._values = [one.value.evaluate for one in stage.fields]
        self._groups: dict[Any, tuple[Any, list[Accumulator]]] = {}

    def add(self, document: Document) -> None:
        """Add a document to its group.

        Raises:
            InvalidInputError: An expression or an accumulator cannot take its values.
        """
        accumulators = self.of(self._value_of(document))
        try:
            for accumulator, value in zip(accumulators, self._values, strict=True):
                accumulator.add(value(document))
        except UnfitError as error:
            index = accumulators.index(accumulator)
            where = document.get("$id", "a document")
            raise InvalidInputError(
                f"{where}: {self._stage.fields[index].place}: {error}"
            ) from error

    def of(self, value: Any) -> list[Accumulator]:
        """Return the accumulators of the group with a key, one for each of the stage's fields."""
        key = self._key_of(value)
        found = self._groups.get(key)
        if found is None:
            kept = None if value is MISSING else value
            found = self._groups[key] = (kept, [make() for make in self._makers])
        return found[1]

    def documents(self) -> Iterator[Document]:
        """Yield the groups in the order in which they came up."""
        names = [one.name for one in self._stage.fields]
        for value, accumulators in self._groups.values():
            made: Document = {"_id": value}
            for name, accumulator in zip(names, accumulators, strict=True):
                made[name] = accumulator.result()
            yield made


def _hashable(value: Any) -> Any:
    """Return what values of one group have in common; a text stands for itself."""
    return value if value.__class__ is str else compare_key(value)


def _key_functions(key: GroupKey) -> tuple[Evaluate, Callable[[Any], Any]]:
    """Return functions for a document's group, and for what two equal ones have in common."""
    if isinstance(key, Compiled):
        return key.evaluate, _hashable
    parts = [(name, part.evaluate) for name, part in key]
    names = [name for name, _ in parts]

    def value_of(document: Document) -> Any:
        made = {}
        for name, value in parts:
            found = value(document)
            if found is not MISSING:
                made[name] = found
        return made

    def key_of(value: Document) -> Any:
        found = [value.get(name, MISSING) for name in names]
        return tuple([one if one is MISSING else _hashable(one) for one in found])

    return value_of, key_of
