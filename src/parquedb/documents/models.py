"""Schemas from Python: pydantic models, dataclasses and typed dicts.

pydantic is never imported: a model is whatever has ``model_fields``. What is taken over is types,
which fields are required, defaults, and the bounds ``ge gt le lt min_length max_length pattern
max_digits decimal_places``. A model's own validators are not run.

A string in ``Annotated`` adds what Python has no word for: ``Annotated[str, "##"]`` is a unique
field, ``Annotated[str, "-> User"]`` a relation.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from parquedb.documents.kinds import (
    Choice,
    Decimals,
    Default,
    FieldRule,
    Indexed,
    Kind,
    ListOf,
    Made,
    Record,
    Scalar,
    Text,
)
from parquedb.documents.notation import NotationError, check_default, limit, parse_field
from parquedb.documents.scalars import document_of
from parquedb.slotted import dataclass

_KINDS: dict[Any, Kind] = {
    str: Text(),
    int: Scalar.INT,
    float: Scalar.FLOAT,
    bool: Scalar.BOOL,
    bytes: Scalar.BYTES,
    datetime: Scalar.DATETIME,
    date: Scalar.DATE,
    Decimal: Scalar.DECIMAL,
    uuid.UUID: Scalar.UUID,
    dict: Scalar.JSON,
    Any: Scalar.JSON,
    object: Scalar.JSON,
}
_BY_NAME: dict[str, Kind] = {  # pydantic's types
    "EmailStr": Text("email"),
    "AwareDatetime": Scalar.DATETIME,
    "NaiveDatetime": Scalar.DATETIME,
    "PastDatetime": Scalar.DATETIME,
    "FutureDatetime": Scalar.DATETIME,
    "PastDate": Scalar.DATE,
    "FutureDate": Scalar.DATE,
    "Json": Scalar.JSON,
    "JsonValue": Scalar.JSON,
}
_LISTS = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
)
_WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar")
_BOUNDS = {
    "ge": "at_least",
    "gt": "above",
    "le": "at_most",
    "lt": "below",
    "min_length": "min_length",
    "max_length": "max_length",
    "pattern": "pattern",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What an annotation says of a value."""

    kind: Kind
    nullable: bool = False
    indexed: Indexed = Indexed.NO


def is_model(spec: object) -> bool:
    """Whether this is a class whose fields make a schema."""
    return isinstance(spec, type) and (
        hasattr(spec, "model_fields") or dataclasses.is_dataclass(spec) or typing.is_typeddict(spec)
    )


def is_annotation(spec: object) -> bool:
    """Whether this can stand for a field's type, as ``int`` or ``list[str]`` do."""
    return isinstance(spec, type) or typing.get_origin(spec) is not None or spec is Any


def is_strict(model: type) -> bool:
    """Whether a pydantic model forbids unknown fields."""
    config = getattr(model, "model_config", None)
    return isinstance(config, Mapping) and config.get("extra") == "forbid"


def options_of(model: type) -> Mapping[str, Any]:
    """Return the options of a model, ``__parquedb__ = {"$id": "email"}`` in its body."""
    options = getattr(model, "__parquedb__", {})
    return options if isinstance(options, Mapping) else {}


def read_model(model: type, problems: list[str], where: str) -> tuple[FieldRule, ...]:
    """Return the rules of a model's fields.

    Args:
        model: A class that :func:`is_model`.
        problems: Where what cannot be read is added.
        where: What a message calls the model, ``User``.
    """
    return _Reader(problems, ()).read(model, where)


def read_annotation(annotation: Any, problems: list[str], where: str) -> Found:
    """Return what one annotation says.

    Raises:
        NotationError: There is no kind for it.
    """
    return _Reader(problems, ()).annotation(annotation, where)


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a model of any kind."""

    name: str
    annotation: Any
    required: bool
    default: Any = None
    factory: Any = None
    metadata: tuple[Any, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads models inside models.

    Args:
        problems: Where what cannot be read is added.
        above: The models that are being read, to stop at one that contains itself.
    """

    problems: list[str]
    above: tuple[type, ...]

    def read(self, model: type, where: str) -> tuple[FieldRule, ...]:
        inner = _Reader(self.problems, (*self.above, model))
        rules = []
        try:
            fields = list(_fields(model))
        except NameError as error:
            self.problems.append(f"{where}: an annotation cannot be resolved: {error}")
            return ()
        except NotationError as error:
            self.problems.append(f"{where}: {error}")
            return ()
        for field in fields:
            at = f"{where}.{field.name}"
            try:
                rules.append(inner.rule(field, at))
            except NotationError as error:
                self.problems.append(f"{at}: {error}")
        return tuple(rules)

    def rule(self, field: _Field, where: str) -> FieldRule:
        found = _with_metadata(self.annotation(field.annotation, where), field.metadata)
        nullable = found.nullable or (not field.required and field.default is None is field.factory)
        default: Default | None = None
        if field.factory is not None:
            default = Made(field.factory)
        elif not field.required and field.default is not ...:
            given = field.default
            given = given.value if isinstance(given, Enum) else given
            whole = document_of(given)
            default = check_default(given if whole is None else whole, found.kind)
        return FieldRule(
            field.name,
            found.kind,
            field.required,
            nullable,
            default,
            found.indexed,
            field.description,
        )

    def annotation(self, annotation: Any, where: str) -> Found:
        while hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        if type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        if annotation in (list, tuple):
            return Found(ListOf(Scalar.JSON, nullable=True))
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._generic(annotation, origin, where)
        if isinstance(annotation, type):
            return Found(self._class(annotation, where))
        if annotation is Any or isinstance(annotation, typing.TypeVar):
            return Found(Scalar.JSON)
        raise NotationError(f"there is no field type for {annotation!r}; use Any")

    def _generic(self, annotation: Any, origin: Any, where: str) -> Found:
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            return _with_metadata(self.annotation(arguments[0], where), arguments[1:])
        if getattr(origin, "_name", None) in _WRAPPERS:
            return self.annotation(arguments[0], where)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments, where)
        if origin is typing.Literal:
            given = [value.value if isinstance(value, Enum) else value for value in arguments]
            values = tuple(value for value in given if value is not None)
            return Found(Choice(values), nullable=None in given)
        if origin in _LISTS:
            return self._list(origin, arguments, where)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
            return Found(Scalar.JSON)
        if isinstance(origin, type) and is_model(origin):
            return Found(self._class(origin, where))
        raise NotationError(f"there is no field type for {annotation!r}; use a list, or Any")

    def _union(self, arguments: tuple[Any, ...], where: str) -> Found:
        members = [argument for argument in arguments if argument is not types.NoneType]
        nullable = len(members) < len(arguments)
        if len(members) == 1:
            return replace(self.annotation(members[0], where), nullable=nullable)
        return Found(Scalar.JSON, nullable)

    def _list(self, origin: Any, arguments: tuple[Any, ...], where: str) -> Found:
        if origin is tuple and len(arguments) != 2:
            return Found(ListOf(Scalar.JSON, nullable=True))
        if origin is tuple and arguments[1] is not ...:
            return Found(ListOf(Scalar.JSON, nullable=True))
        element = self.annotation(arguments[0], where)
        nullable = element.nullable or element.kind is Scalar.JSON
        return Found(ListOf(element.kind, nullable), indexed=element.indexed)

    def _class(self, annotation: type, where: str) -> Kind:
        if annotation in _KINDS:
            return _KINDS[annotation]
        if issubclass(annotation, Enum):
            return Choice(tuple(member.value for member in annotation))
        if is_model(annotation):
            if annotation in self.above:  # it contains itself: no end of columns
                return Scalar.JSON
            return Record(self.read(annotation, where), is_strict(annotation))
        name = annotation.__name__
        if name in _BY_NAME:
            return _BY_NAME[name]
        if name.endswith(("Url", "Dsn")):
            return Text("url")
        for base, kind in _KINDS.items():
            if base is not object and isinstance(base, type) and issubclass(annotation, base):
                return kind
        hint = "use list" if issubclass(annotation, set | frozenset) else "use Any, or str"
        raise NotationError(f"there is no field type for {name}; {hint}")


def _fields(model: Any) -> Iterator[_Field]:
    """Yield a model's fields, whatever made it."""
    if hasattr(model, "model_fields"):
        for name, info in model.model_fields.items():
            if getattr(info, "default_factory_takes_validated_data", False):
                raise NotationError(f"the default of {name!r} takes the other fields' values")
            required = info.is_required()
            yield _Field(
                name,
                info.annotation,
                required,
                None if required or info.default_factory else info.default,
                info.default_factory,
                tuple(info.metadata),
                info.description,
            )
        return
    hints = typing.get_type_hints(model, include_extras=True)
    if typing.is_typeddict(model):
        for name, annotation in hints.items():  # their own keys are wrong for string annotations
            wrapper = typing.get_origin(annotation)
            required = wrapper is typing.Required or (
                wrapper is not typing.NotRequired and name in model.__required_keys__
            )
            yield _Field(name, annotation, required, default=...)
        return
    for field in dataclasses.fields(model):
        made = field.default_factory is not dataclasses.MISSING
        given = field.default is not dataclasses.MISSING
        yield _Field(
            field.name,
            hints[field.name],
            required=not (made or given),
            default=field.default if given else None,
            factory=field.default_factory if made else None,
        )


def _with_metadata(found: Found, metadata: Iterable[Any]) -> Found:
    """Add what stands beside a type: notation, bounds, digits."""
    bounds: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, str):
            found = _with_notation(found, item)
        elif isinstance(item, slice):
            continue
        elif hasattr(item, "metadata") and hasattr(item, "is_required"):  # pydantic.Field(…)
            found = _with_metadata(found, item.metadata)
        else:
            digits = getattr(item, "max_digits", None), getattr(item, "decimal_places", None)
            if found.kind is Scalar.DECIMAL and None not in digits:
                found = replace(found, kind=_decimals(*digits))
            bounds |= {
                ours: getattr(item, theirs)
                for theirs, ours in _BOUNDS.items()
                if getattr(item, theirs, None) is not None
            }
    if not bounds:
        return found
    pattern = bounds.get("pattern")
    if pattern is not None:
        bounds["pattern"] = getattr(pattern, "pattern", pattern)
    return replace(found, kind=limit(found.kind, bounds))


def _decimals(digits: Any, places: Any) -> Kind:
    if not (isinstance(digits, int) and isinstance(places, int) and 0 <= places <= digits <= 38):
        raise NotationError(f"decimal({digits},{places}) is beyond 38 digits")
    return Decimals(digits, places)


def _with_notation(found: Found, text: str) -> Found:
    """Apply a string of ``Annotated``: an index or a relation; other strings are comments."""
    if text.strip() in ("#", "##"):
        return replace(found, indexed=Indexed(text.strip()))
    if text.lstrip()[:2] in ("->", "<-"):
        rule = parse_field("", text)
        return replace(found, kind=rule.kind, indexed=rule.indexed)
    return found
