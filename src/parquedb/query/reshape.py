"""Documents in another shape: ``$project`` with expressions, ``$addFields`` and ``$unset``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any, Final

from parquedb.query.compare import MISSING
from parquedb.query.expression import Compiled, Document
from parquedb.query.operand import Place, describe, mapping_of
from parquedb.query.operators.parser import path_of
from parquedb.slotted import dataclass

_IDS: Final = ("$id", "_id")
"""Fields that ``$project`` keeps unless it is told not to: of documents, and of groups."""

ParseValue = Callable[[Any, Place], Compiled]


@dataclass(slots=True)
class Shape:
    """What becomes of a document, or of the documents in one of its fields.

    Args:
        keeps_others: Whether fields not named here are kept.
        flags: Fields to keep (True), to leave out (False).
        computed: Fields to set.
        inner: Fields of which a part is named.
        order: The names of ``computed`` and ``inner`` in the order they were given.
    """

    keeps_others: bool = True
    flags: dict[str, bool] = field(default_factory=dict)
    computed: dict[str, Compiled] = field(default_factory=dict)
    inner: dict[str, Shape] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def expressions(self) -> list[Compiled]:
        """Return all expressions, at every level."""
        below = [one for shape in self.inner.values() for one in shape.expressions()]
        return [*self.computed.values(), *below]

    def kept_fields(self) -> frozenset[str]:
        """Return the fields of the document that are kept, as a whole or in part."""
        return frozenset(name for name, keep in self.flags.items() if keep) | frozenset(self.inner)

    def computes(self) -> bool:
        """Whether anything is set, at any level."""
        return bool(self.computed) or any(shape.computes() for shape in self.inner.values())


def parse_projection_stage(spec: Any, place: Place, parse: ParseValue) -> Shape:
    """Parse the operand of ``$project``.

    Args:
        spec: Names mapped to 1 (keep), 0 (leave out), an expression, or a mapping of inner fields.
        place: Where it stands.
        parse: Parses an expression.

    Raises:
        InvalidInputError: It is not well-formed, or both keeps and leaves out.
    """
    shape = Shape()
    reader = _Reader(parse, place, flags=True)
    reader.read(mapping_of(spec, place, "$project"), (), place, shape)
    if not (shape.flags or shape.computed or shape.inner):
        raise place.refuse("needs at least one field")
    ids = {name: shape.flags.pop(name) for name in _IDS if name in shape.flags}
    including = reader.including
    if including is None:
        including = any(ids.values())
    if not including:
        if reader.computing is not None:
            raise reader.computing.refuse("a field cannot be set where others are left out")
        shape.flags |= {name: False for name, keep in ids.items() if not keep}
        return shape
    shape.flags |= {name: ids.get(name, True) for name in _IDS if name not in shape.order}
    return _exclusive(shape)


def parse_set_stage(spec: Any, place: Place, parse: ParseValue) -> Shape:
    """Parse the operand of ``$addFields`` and ``$set``.

    Args:
        spec: Names mapped to expressions, or to mappings of inner fields.
        place: Where it stands.
        parse: Parses an expression.

    Raises:
        InvalidInputError: It is not well-formed.
    """
    shape = Shape()
    _Reader(parse, place, flags=False).read(mapping_of(spec, place, "fields"), (), place, shape)
    if not shape.order:
        raise place.refuse("needs at least one field")
    return shape


def parse_unset_stage(spec: Any, place: Place) -> Shape:
    """Parse the operand of ``$unset``: a name or a list of names.

    Args:
        spec: The names.
        place: Where it stands.

    Raises:
        InvalidInputError: It is neither.
    """
    names = [spec] if isinstance(spec, str) else spec
    if not isinstance(names, list | tuple) or not names:
        raise place.refuse(f"needs a name or a list of names, not {describe(spec)}")
    shape = Shape()
    for name in names:
        if not isinstance(name, str):
            raise place.refuse(f"names of fields must be strings, not {describe(name)}")
        *above, last = path_of(name, place)
        parent = _shape_at(shape, tuple(above), place)
        _check_free(parent, last, place)
        parent.flags[last] = False
    return shape


def _exclusive(shape: Shape) -> Shape:
    """Return a shape that leaves out what is not named, at every level."""
    inner = {name: _exclusive(below) for name, below in shape.inner.items()}
    return replace(shape, keeps_others=False, inner=inner)


def _shape_at(shape: Shape, path: tuple[str, ...], place: Place) -> Shape:
    for name in path:
        if name not in shape.inner:
            _check_free(shape, name, place)
            shape.inner[name] = Shape()
            shape.order.append(name)
        shape = shape.inner[name]
    return shape


def _check_free(shape: Shape, name: str, place: Place) -> None:
    if name in shape.flags or name in shape.computed or name in shape.inner:
        raise place.refuse("the field is named twice, or both as a whole and in part")


@dataclass(slots=True)
class _Reader:
    """Reads a mapping of names.

    Args:
        parse: Parses an expression.
        top: Where the stage stands.
        flags: Whether numbers and booleans say what to keep; else they are values.
        including: What was said of fields other than ids, None if nothing was.
        computing: Where a field is set.
    """

    parse: ParseValue
    top: Place
    flags: bool
    including: bool | None = None
    computing: Place | None = None

    def read(
        self, spec: Mapping[str, Any], prefix: tuple[str, ...], place: Place, shape: Shape
    ) -> None:
        """Read a mapping below a path."""
        for name, value in spec.items():
            here = place.at(name)
            path = (*prefix, *path_of(name, here))
            if isinstance(value, Mapping) and value and not _is_operator(value):
                self.read(value, path, here, shape)
                continue
            parent = _shape_at(shape, path[:-1], here)
            _check_free(parent, path[-1], here)
            if self.flags and isinstance(value, bool | int | float):
                self._flag(path, parent, bool(value), here)
            else:
                self.computing = here
                if self.flags:
                    self._includes(here, including=True)
                parent.computed[path[-1]] = self.parse(value, here)
                parent.order.append(path[-1])

    def _flag(self, path: tuple[str, ...], parent: Shape, keep: bool, place: Place) -> None:  # noqa: FBT001
        if len(path) > 1 or path[0] not in _IDS:
            self._includes(place, including=keep)
        parent.flags[path[-1]] = keep

    def _includes(self, place: Place, *, including: bool) -> None:
        if self.including is not None and self.including is not including:
            raise place.refuse("fields to return and fields to leave out are mixed; give one kind")
        self.including = including


def _is_operator(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(key, str) and key.startswith("$") for key in value)


Reshape = Callable[[Document], Document]


def compile_shape(shape: Shape) -> Reshape:
    """Return a function that makes new documents of a shape; what they hold may be shared.

    Args:
        shape: The shape.
    """
    keep = _keeper(shape)
    if not shape.computes():
        return keep
    set_ = _setter(shape)

    def reshaped(document: Document) -> Document:
        made = keep(document)
        set_(document, made)
        return made

    return reshaped


def _keeper(shape: Shape) -> Reshape:
    """Return a function for the fields that stay; fields to be set stay in their place."""
    inner = {name: _through_lists(below) for name, below in shape.inner.items()}
    flags, others = shape.flags, shape.keeps_others

    def keep(document: Document) -> Document:
        kept: Document = {}
        for name, value in document.items():
            if name in inner:
                part = inner[name](value)
                if part is not MISSING:
                    kept[name] = part
            elif flags.get(name, others):
                kept[name] = value
        return kept

    return keep


def _through_lists(shape: Shape) -> Callable[[Any], Any]:
    keep, others = _keeper(shape), shape.keeps_others

    def through(value: Any) -> Any:
        if value.__class__ is dict:
            return keep(value)
        if value.__class__ is list:
            parts = [through(element) for element in value]
            return [part for part in parts if part is not MISSING]
        return value if others else MISSING

    return through


def _setter(shape: Shape) -> Callable[[Document, Document], None]:
    """Return a function that sets fields of a new document by what the old one holds."""
    steps: list[tuple[str, Callable[[Document, Any], Any]]] = []
    for name in shape.order:
        if name in shape.computed:
            steps.append((name, _value_of(shape.computed[name])))
        elif shape.inner[name].computes():
            steps.append((name, _setting_in(shape.inner[name])))

    def set_(document: Document, made: Document) -> None:
        for name, value_of in steps:
            value = value_of(document, made.get(name, MISSING))
            if value is MISSING:
                made.pop(name, None)
            else:
                made[name] = value

    return set_


def _value_of(compiled: Compiled) -> Callable[[Document, Any], Any]:
    evaluate = compiled.evaluate
    return lambda document, _: evaluate(document)


def _setting_in(shape: Shape) -> Callable[[Document, Any], Any]:
    """Return a function that sets fields in a document, or in all that a list holds."""
    set_ = _setter(shape)

    def setting(document: Document, value: Any) -> Any:
        if value.__class__ is list:
            return [setting(document, element) for element in value]
        made = value if value.__class__ is dict else {}
        set_(document, made)
        return made

    return setting
