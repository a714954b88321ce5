"""Projections: which fields of a document a query returns (MongoDB's manual, "Project Fields")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any, Final

from parquedb.query.filter import ElementMatches, ElementPasses
from parquedb.query.match import Single, compile_test
from parquedb.query.operand import MOST_LEVELS, Place, describe, nearest
from parquedb.slotted import dataclass

Document = dict[str, Any]

_ID: Final = "$id"
_SYSTEM: Final = ("$id", "$type")
_OPERATORS: Final = ("$slice", "$elemMatch")


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of a list (``$slice``).

    Args:
        skip: How many elements to pass over, from the end if negative.
        count: How many to return at most; None for all from there.
    """

    skip: int
    count: int | None = None

    def of(self, elements: list[Any]) -> list[Any]:
        """Return the stretch of a list."""
        first = self.skip if self.skip >= 0 else max(len(elements) + self.skip, 0)
        return elements[first : None if self.count is None else first + self.count]


Tree = dict[str, "Tree | Slice | ElementMatches | ElementPasses | None"]
"""Fields to keep or to leave out, by name; None is the field as a whole."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What is kept of a document.

    Args:
        including: Whether the fields of ``tree`` are kept, and no others; else they are left out.
        tree: The fields. Slices and element matches are kept in either case.
        with_id: Whether ``$id`` is kept.
    """

    including: bool = False
    tree: Tree = field(default_factory=dict)
    with_id: bool = True

    @property
    def columns(self) -> frozenset[str] | None:
        """The top-level fields that are needed, None for all."""
        if not self.including:
            return None
        return frozenset(self.tree) | ({_ID} if self.with_id else frozenset())


EVERYTHING: Final = Projection()
"""Keeps documents as they are."""


ParseElement = Callable[[object, Place], ElementMatches | ElementPasses]
"""Parses the operand of an ``$elemMatch``."""


def read_projection(
    spec: Mapping[str, Any] | Iterable[str] | None, parse_element: ParseElement
) -> Projection:
    """Parse a projection, see :func:`.parse.parse_projection`.

    Args:
        spec: The projection.
        parse_element: Parses what stands in it as in filters.
    """
    place = Place("projection")
    if spec is None:
        return EVERYTHING
    if isinstance(spec, Mapping):
        if not spec:
            return EVERYTHING
        return _parse_fields(spec, place, parse_element)
    if isinstance(spec, str) or not isinstance(spec, list | tuple | set | frozenset):
        raise place.refuse(f"needs a list of names or a mapping, not {describe(spec)}")
    return _parse_fields(dict.fromkeys(spec, 1) or {_ID: 1}, place, parse_element)


def _parse_fields(spec: Mapping[Any, Any], place: Place, parse_element: ParseElement) -> Projection:
    reader = _Reader(parse_element)
    reader.read(spec, (), place)
    if reader.including is None:  # only $id, or slices
        including = bool(reader.with_id) or reader.selects
    else:
        including = reader.including
    return Projection(including, reader.tree, reader.with_id is not False)


@dataclass(slots=True)
class _Reader:
    """Reads a projection's mapping.

    Args:
        including: What the fields so far ask for, None if none did.
        selects: Whether an ``$elemMatch`` was among them, which includes.
        with_id: What was said of ``$id``.
    """

    parse_element: ParseElement
    tree: Tree = field(default_factory=dict)
    including: bool | None = None
    selects: bool = False
    with_id: bool | None = None

    def read(self, spec: Mapping[Any, Any], prefix: tuple[str, ...], place: Place) -> None:
        """Read a mapping of names below a path."""
        for name, value in spec.items():
            if not isinstance(name, str) or not name:
                raise place.refuse(f"names of fields must be strings, not {describe(name)}")
            here = place.at(name)
            if not prefix and name.startswith("$") and name not in _SYSTEM:
                raise here.refuse("is no field; operators stand in a field's value")
            self._read_one((*prefix, *name.split(".")), value, here)

    def _read_one(self, path: tuple[str, ...], value: Any, place: Place) -> None:
        if len(path) > MOST_LEVELS:
            raise place.refuse(f"a path has at most {MOST_LEVELS} parts")
        if isinstance(value, Mapping) and value:
            first = next(iter(value))
            if isinstance(first, str) and first.startswith("$"):
                self._put(path, self._operator(path, value, place), place)
            else:
                self.read(value, path, place)
            return
        if not isinstance(value, bool | int | float):
            raise place.refuse(f"must be 1, 0, $slice or $elemMatch, not {describe(value)}")
        keep = bool(value)
        if path == (_ID,):
            self.with_id = keep
            return
        if self.including is not None and self.including is not keep:
            raise place.refuse("fields to return and fields to leave out are mixed; give one kind")
        self.including = keep
        self._put(path, None, place)

    def _operator(
        self, path: tuple[str, ...], value: Mapping[str, Any], place: Place
    ) -> Slice | ElementMatches | ElementPasses:
        operator = next(iter(value))
        if operator not in _OPERATORS or len(value) > 1:
            unknown = next((key for key in value if key not in _OPERATORS), operator)
            raise place.refuse(
                f"unknown operator {unknown!r}; did you mean {nearest(str(unknown), _OPERATORS)!r}?"
                if unknown not in _OPERATORS
                else "only one operator can stand here"
            )
        if operator == "$slice":
            return _parse_slice(value[operator], place)
        if len(path) > 1:
            raise place.refuse("$elemMatch can only be used for a top-level field")
        self.selects = True
        return self.parse_element(value[operator], place.at(operator))

    def _put(
        self,
        path: tuple[str, ...],
        leaf: Slice | ElementMatches | ElementPasses | None,
        place: Place,
    ) -> None:
        tree: Any = self.tree
        for part in path[:-1]:
            tree = tree.setdefault(part, {})
            if not isinstance(tree, dict):
                raise place.refuse("the field is named both as a whole and in part")
        if path[-1] in tree:
            raise place.refuse("the field is named twice, or both as a whole and in part")
        tree[path[-1]] = leaf


def _parse_slice(value: Any, place: Place) -> Slice:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(one, bool) or not isinstance(one, int) for one in numbers):
        raise place.refuse(f"$slice needs a number or [skip, number], not {describe(value)}")
    match numbers:
        case [int(count)] if not isinstance(value, list | tuple):
            return Slice(0, count) if count >= 0 else Slice(count)
        case [int(skip), int(count)] if count > 0:
            return Slice(skip, count)
        case _:
            raise place.refuse("$slice needs a number, or [skip, number] with a number above 0")


Project = Callable[[Document], Document]


def compile_projection(projection: Projection) -> Project:
    """Return a function that returns what a projection keeps of a document.

    Args:
        projection: The projection.

    Returns:
        The function. Its results are new documents in the order of the old ones' fields; what
        they hold may be shared with those.
    """
    if not projection.including:
        left_out = dict(projection.tree) if projection.with_id else {_ID: None, **projection.tree}
        if not left_out:
            return dict
        return _excluding(_compiled(left_out, _excluding))
    kept = dict(projection.tree)
    if projection.with_id:
        kept[_ID] = None
    return _including(_compiled(kept, _including))


def project(projection: Projection, document: Document) -> Document:
    """Return what a projection keeps of a document.

    Args:
        projection: The projection.
        document: The document; it is not changed.
    """
    return compile_projection(projection)(document)


class _Drop:
    """The type of what stands for a field that is not returned."""


_DROP: Final = _Drop()
Inner = Callable[[Any], Any]
"""Returns what is kept of a value, or ``_DROP``."""


def _compiled(
    tree: Tree, nested: Callable[[dict[str, Inner | None]], Project]
) -> dict[str, Inner | None]:
    """Return what is to be done with each field; None for the whole field."""
    return {name: _compiled_one(leaf, nested) for name, leaf in tree.items()}


def _compiled_one(leaf: Any, nested: Callable[[dict[str, Inner | None]], Project]) -> Inner | None:
    if leaf is None:
        return None
    if isinstance(leaf, Slice):
        return lambda value: leaf.of(value) if value.__class__ is list else value
    if isinstance(leaf, ElementPasses | ElementMatches):
        return _first_element(compile_test(leaf))
    inner = nested(_compiled(leaf, nested))
    return _through_lists(inner, drops=nested is _including)


def _first_element(has_match: Single) -> Inner:
    def first(value: Any) -> Any:
        if value.__class__ is list:
            for element in value:
                if has_match([element]):
                    return [element]
        return _DROP

    return first


def _through_lists(inner: Project, *, drops: bool) -> Inner:
    """Return a projection of documents that lists pass on to their elements.

    Args:
        inner: The projection.
        drops: Whether what is neither document nor list is left out.
    """

    def projected(value: Any) -> Any:
        if value.__class__ is dict:
            return inner(value)
        if value.__class__ is list:
            kept = [projected(element) for element in value]
            return [element for element in kept if element is not _DROP]
        return _DROP if drops else value

    return projected


def _including(fields: dict[str, Inner | None]) -> Project:
    def including(document: Document) -> Document:
        kept: Document = {}
        for name, value in document.items():
            if name in fields:
                inner = fields[name]
                inner_value = value if inner is None else inner(value)
                if inner_value is not _DROP:
                    kept[name] = inner_value
        return kept

    return including


def _excluding(fields: dict[str, Inner | None]) -> Project:
    def excluding(document: Document) -> Document:
        kept: Document = {}
        for name, value in document.items():
            if name not in fields:
                kept[name] = value
                continue
            inner = fields[name]
            if inner is not None:
                inner_value = inner(value)
                if inner_value is not _DROP:
                    kept[name] = inner_value
        return kept

    return excluding
