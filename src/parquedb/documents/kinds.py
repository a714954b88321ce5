"""What a schema can ask of a field: kinds of values, defaults, whether it is indexed.

They are made by :mod:`.notation` (strings) and :mod:`.models` (pydantic models, dataclasses) and
applied by :mod:`.validate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Literal

from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    StringType,
    StructType,
    TimestampType,
    Type,
)
from parquedb.slotted import dataclass


class Scalar(Enum):
    """Kinds of values without parts or parameters, by their names in the notation."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    BYTES = "bytes"
    DATETIME = "datetime"
    DATE = "date"
    UUID = "uuid"
    DECIMAL = "decimal"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    Args:
        form: What its text must be: anything, an e-mail address or a URL.
    """

    form: Literal["any", "email", "url"] = "any"


@dataclass(frozen=True, slots=True)
class Decimals:
    """A decimal number of at most ``precision`` digits, ``scale`` of them after the point."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Vector:
    """A list of so many floats."""

    length: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list.

    Args:
        element: What its elements are.
        nullable: Whether an element may be null.
    """

    element: Kind
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A sub-document.

    Args:
        fields: Its declared fields.
        strict: Whether other fields are an error.
    """

    fields: tuple[FieldRule, ...]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """The id of another document, or a list of ids.

    Args:
        type: The other document's type, ``User``.
        namespace: Its namespace, ``users``.
        many: Whether the field holds a list.
        reverse: The field of that type that lists the way back, where it is named.
    """

    type: str
    namespace: str
    many: bool = False
    reverse: str | None = None


@dataclass(frozen=True, slots=True)
class Reverse:
    """The documents whose relation leads here. Nothing is stored.

    Args:
        type: The type of those documents, ``Post``.
        namespace: Their namespace, ``posts``.
        field: Their relation's field, ``author``.
        many: Whether there may be several (there is no check).
    """

    type: str
    namespace: str
    field: str
    many: bool = True


@dataclass(frozen=True, slots=True)
class Limited:
    """A kind with bounds.

    Args:
        kind: The kind without them.
        at_least: The least value.
        above: A value that it must exceed.
        at_most: The greatest value.
        below: A value that it must not reach.
        min_length: The fewest characters, bytes or elements.
        max_length: The most of them.
        pattern: A regular expression that is found in the text.
    """

    kind: Kind
    at_least: Any = None
    above: Any = None
    at_most: Any = None
    below: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


Kind = Scalar | Text | Decimals | Choice | Vector | ListOf | Record | Relation | Reverse | Limited


class Indexed(Enum):
    """Whether a field is indexed."""

    NO = ""
    YES = "#"
    UNIQUE = "##"


@dataclass(frozen=True, slots=True)
class Always:
    """A default: this value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Now:
    """A default: the time of the write."""


@dataclass(frozen=True, slots=True)
class Made:
    """A default: what this returns."""

    factory: Callable[[], Any]


Default = Always | Now | Made


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What is asked of one field.

    Args:
        name: Its name.
        kind: What values it takes.
        required: Whether it must be there.
        nullable: Whether it may be null.
        default: What a new document gets where the field is missing.
        indexed: Whether it is indexed, and unique.
        description: A comment, or None.
    """

    name: str
    kind: Kind
    required: bool = False
    nullable: bool = False
    default: Default | None = None
    indexed: Indexed = Indexed.NO
    description: str | None = None


def walk_fields(
    fields: tuple[FieldRule, ...], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
    """Yield every rule with its path, those inside sub-documents and lists of them too."""
    for rule in fields:
        path = (*above, rule.name)
        yield path, rule
        kind = rule.kind
        while isinstance(kind, ListOf | Limited):
            kind = kind.element if isinstance(kind, ListOf) else kind.kind
        if isinstance(kind, Record):
            yield from walk_fields(kind.fields, path)


_SCALAR_COLUMNS: Mapping[Scalar, Type] = {
    Scalar.BOOL: BooleanType(),
    Scalar.INT: IntType(64),
    Scalar.FLOAT: FloatType(64),
    Scalar.BYTES: BinaryType(),
    Scalar.DATETIME: TimestampType(),
    Scalar.DATE: DateType(),
}


def column_type(kind: Kind) -> Type | None:
    """Return the type of a column that holds values of a kind, or None if there is none."""
    match kind:
        case Scalar():
            return _SCALAR_COLUMNS.get(kind)
        case Text():
            return StringType()
        case Decimals(precision, scale):
            return DecimalType(precision, scale)
        case Choice(values):
            return _choice_type(values)
        case Vector():
            return ListType(Field(0, "element", FloatType(64)))
        case ListOf(element):
            return _list_type(column_type(element))
        case Record(fields):
            return _struct_type(fields)
        case Relation(many=many):
            return _list_type(StringType()) if many else StringType()
        case Reverse():
            return None
        case Limited(inner):
            return column_type(inner)


def _choice_type(values: tuple[Any, ...]) -> Type | None:
    types = {type(value) for value in values}
    if types == {str}:
        return StringType()
    return IntType(64) if types == {int} else None


def _list_type(element: Type | None) -> Type | None:
    return None if element is None else ListType(Field(0, "element", element))


def _struct_type(fields: tuple[FieldRule, ...]) -> Type | None:
    found = [(rule.name, column_type(rule.kind)) for rule in fields]
    children = tuple(Field(0, name, type_) for name, type_ in found if type_ is not None)
    return StructType(children) if children else None
