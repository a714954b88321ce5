"""What a schema asks of a collection's documents.

Rules are made by :mod:`.notation` (strings) and :mod:`.models` (pydantic models, dataclasses) and
applied by :mod:`.validate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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

SYSTEM_NAMES = frozenset(
    {
        "$id",
        "$type",
        "createdAt",
        "updatedAt",
        "deletedAt",
        "createdBy",
        "updatedBy",
        "deletedBy",
        "version",
    }
)
"""Fields that the database itself sets (``name`` is the user's)."""


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


@dataclass(frozen=True, slots=True)
class CollectionRules:
    """What is asked of a collection's documents.

    Args:
        type: The documents' type, ``User``.
        namespace: Where they are, ``users``.
        fields: The declared fields.
        id_field: The field whose value is the local part of a new document's id, or None.
        name_field: The field whose value is the document's ``name``, or None.
        strict: Whether undeclared fields are an error.
        description: A comment, or None.
        options: The schema's ``$options``, for whoever knows them.
    """

    type: str
    namespace: str
    fields: tuple[FieldRule, ...] = ()
    id_field: str | None = None
    name_field: str | None = None
    strict: bool = False
    description: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What :mod:`.validate` made of these rules, once it was asked."""

    def find(self, name: str) -> FieldRule | None:
        """Return the rule of a top-level field, or None."""
        return next((rule for rule in self.fields if rule.name == name), None)

    def walk(self) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
        """Yield every rule with its path, those inside sub-documents and lists of them too."""
        yield from _walk(self.fields, ())

    def column_types(self) -> Mapping[str, Type]:
        """Return the types of the declared fields' columns.

        Left out are fields without a type of their own (``json``, ``uuid``, ``decimal`` without
        digits), reverse relations, and ``name``, which has a column in every collection.
        """
        types = {rule.name: column_type(rule.kind) for rule in self.fields if rule.name != "name"}
        return {name: type_ for name, type_ in types.items() if type_ is not None}

    def indexed_paths(self, *, unique_only: bool = False) -> tuple[str, ...]:
        """Return the dotted paths of indexed fields (unique ones are indexed too)."""
        wanted = {Indexed.UNIQUE} if unique_only else {Indexed.UNIQUE, Indexed.YES}
        return tuple(".".join(path) for path, rule in self.walk() if rule.indexed in wanted)

    def relations(self) -> Mapping[str, Relation]:
        """Return the relations among the top-level fields."""
        return {rule.name: rule.kind for rule in self.fields if isinstance(rule.kind, Relation)}

    def reverses(self) -> Mapping[str, Reverse]:
        """Return the reverse relations among the top-level fields."""
        return {rule.name: rule.kind for rule in self.fields if isinstance(rule.kind, Reverse)}


def _walk(
    fields: tuple[FieldRule, ...], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], FieldRule]]:
    for rule in fields:
        path = (*above, rule.name)
        yield path, rule
        kind = rule.kind
        while isinstance(kind, ListOf | Limited):
            kind = kind.element if isinstance(kind, ListOf) else kind.kind
        if isinstance(kind, Record):
            yield from _walk(kind.fields, path)


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
