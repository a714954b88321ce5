"""Which column type fits a field's values, if one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from types import NoneType
from typing import Any
from uuid import UUID

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
from parquedb.rows.values import Document
from parquedb.slotted import dataclass

MAX_CHILDREN = 64
"""How many keys a struct may have."""
MAX_LEVELS = 16
"""How many structs and lists may be inside each other in one column."""
DECIMAL_DIGITS = 38

_MAX_NAME = 255
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_REFUSED = frozenset(" ,;{}()=.`'\"")
_RESERVED = frozenset(
    {
        "_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id",
        "_last_updated_sequence_number", "_metadata", "_change_type", "_commit_version",
        "_commit_timestamp",
    }
)  # fmt: skip
"""Names that Iceberg, Delta or Spark give to columns of their own."""

_SIMPLE: dict[type, Type] = {
    bool: BooleanType(),
    str: StringType(),
    bytes: BinaryType(),
    date: DateType(),
}
_ORDER = (bool, int, float, str, bytes, datetime, date, Decimal, UUID, dict, list)


def is_column_name(name: str) -> bool:
    """Whether a key can be the name of a column in every engine."""
    return (
        0 < len(name) <= _MAX_NAME
        and name[0] != "$"
        and not name.startswith("_parquedb")
        and _REFUSED.isdisjoint(name)
        and (name.isidentifier() or not any(ord(c) < 32 or 0xD7FF < ord(c) < 0xE000 for c in name))
        and name.casefold() not in _RESERVED
    )


def values_of(documents: Iterable[Document], name: str) -> list[Any]:
    """Return a key's values in the documents that have it and do not say None."""
    return [value for d in documents if (value := d.get(name)) is not None]


@dataclass(frozen=True, slots=True)
class Infer:
    """Infers types of columns from values."""

    def type_of(self, values: Sequence[Any], level: int = 1, *, hints: bool = False) -> Type | None:
        """Return the type that all values fit in, or None if there is no such type.

        Args:
            values: The values, without None.
            level: How many structs and lists are around them, plus one.
            hints: Whether ints among floats can be marked as ints elsewhere.
        """
        kinds = {_base_kind(kind) for kind in set(map(type, values))}
        if kinds == {int, float}:
            return FloatType(64) if hints and _all_exact(values) else None
        if len(kinds) != 1:
            return None
        kind = kinds.pop()
        if kind is int:
            inside = min(values) >= _MIN_INT and max(values) <= _MAX_INT
            return IntType(64) if inside else None
        if kind is float:
            return FloatType(64)
        if kind is datetime:
            return _timestamp(values)
        if kind is Decimal:
            return _decimal(values)
        if level <= MAX_LEVELS:
            if kind is dict:
                return self._struct(values, level)
            if kind is list:
                element = self.type_of(_elements(values), level + 1)
                return None if element is None else ListType(Field(0, "element", element))
        return None if kind is None else _SIMPLE.get(kind)

    def grown(self, type_: Type, values: Sequence[Any], level: int = 1) -> Type:
        """Return a type with the children added that values have and its structs lack.

        Args:
            type_: The type of a column or of a part of one.
            values: Its values, of any kind.
            level: How many structs and lists are around it, plus one.
        """
        if level > MAX_LEVELS:
            return type_
        if isinstance(type_, ListType):
            if not isinstance(type_.element.type, StructType | ListType):
                return type_
            lists = [value for value in values if isinstance(value, list | tuple)]
            element = self.grown(type_.element.type, _elements(lists), level + 1)
            return ListType(replace(type_.element, type=element))
        if isinstance(type_, StructType):
            return self._grown_struct(
                type_, [value for value in values if isinstance(value, dict)], level
            )
        return type_

    def _struct(self, values: Sequence[Document], level: int) -> StructType | None:
        shapes = set(map(tuple, values))
        keys = list(dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, values)))))
        if not 0 < len(keys) <= MAX_CHILDREN or not all(_is_key(key) for key in keys):
            return None
        children = self._children(keys, set(), values, level)
        names = {child.name for child in children}
        if not names or not any(names.issuperset(shape) for shape in shapes):
            return None
        return StructType(tuple(children))

    def _children(
        self, keys: Iterable[str], taken: set[str], values: Sequence[Document], level: int
    ) -> list[Field]:
        keys = list(keys)
        folded = [key.casefold() for key in keys]
        children = []
        for key, fold in zip(keys, folded, strict=True):
            if fold in taken or folded.count(fold) > 1 or not is_column_name(key):
                continue
            type_ = self.type_of(values_of(values, key), level + 1)
            if type_ is not None:
                children.append(Field(0, key, type_))
        return children

    def _grown_struct(self, type_: StructType, values: Sequence[Document], level: int) -> Type:
        have = {child.name for child in type_.fields}
        fields = [
            replace(child, type=self.grown(child.type, values_of(values, child.name), level + 1))
            if isinstance(child.type, StructType | ListType)
            else child
            for child in type_.fields
        ]
        new = [
            key
            for key in dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, values))))
            if key not in have
        ]
        if new and all(_is_key(key) for key in new) and len(have) + len(new) <= MAX_CHILDREN:
            taken = {name.casefold() for name in have}
            fields += self._children(new, taken, values, level)
        return StructType(tuple(fields))


def _base_kind(kind: type) -> type | None:
    """Return the kind that a class of values counts as; None if a document cannot hold it."""
    if issubclass(kind, tuple):
        return list
    return next((base for base in _ORDER if issubclass(kind, base)), None)


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and key != ""


def _elements(lists: Iterable[Sequence[Any]]) -> list[Any]:
    elements = list(chain.from_iterable(lists))
    return elements if set(map(type, elements)).isdisjoint({NoneType}) else _without_none(elements)


def _without_none(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _all_exact(values: Iterable[Any]) -> bool:
    """Whether every int among the values is exactly a float."""
    return all(is_exact_float(value) for value in values if isinstance(value, int))


def is_exact_float(value: int) -> bool:
    """Whether a float of 64 bit equals an int."""
    if -(2**53) <= value <= 2**53:
        return True
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _timestamp(values: Sequence[datetime]) -> Type | None:
    aware = {value.tzinfo is UTC or value.utcoffset() is not None for value in values}
    return TimestampType(utc=aware.pop()) if len(aware) == 1 else None


def _decimal(values: Iterable[Decimal]) -> Type | None:
    whole = scale = 0
    for value in values:
        if not value.is_finite():
            return None
        before, after = digits_of(value)
        whole, scale = max(whole, before), max(scale, after)
    return DecimalType(DECIMAL_DIGITS, scale) if whole + scale <= DECIMAL_DIGITS else None


def digits_of(value: Decimal) -> tuple[int, int]:
    """Return how many digits a finite decimal has before and after its point."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not any(digits):
        return 0, 0 if not isinstance(exponent, int) else min(max(-exponent, 0), DECIMAL_DIGITS)
    return max(len(digits) + exponent, 0), max(-exponent, 0)
