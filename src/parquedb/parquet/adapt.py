"""Turn a column as a Parquet file holds it into the column that a schema asks for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.schema import Path
from parquedb.model.types import (
    DecimalType,
    Field,
    FixedType,
    IntType,
    ListType,
    MapType,
    NestedType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
    VariantType,
    describe_type,
)
from parquedb.parquet.arrow import FIELD_ID, arrow_type_of, check_unshredded, constant, nulls
from parquedb.parquet.dynamic import AnyArray, AnyField, AnyType

NO_ALIASES: Mapping[int, tuple[str, ...]] = MappingProxyType({})
_WIDEST_DECIMAL = 38


class Adapter:
    """Adapts columns of one file.

    Args:
        key: The file, for messages.
        by_id: Whether fields, nested ones too, are matched by field id rather than by name.
        aliases: The names that count instead of a field's own, by its id.
    """

    def __init__(
        self, key: str, *, by_id: bool, aliases: Mapping[int, tuple[str, ...]] = NO_ALIASES
    ) -> None:
        self._key = key
        self._by_id = by_id
        self._aliases = aliases

    def find(self, wanted: Field, offered: list[AnyField]) -> int | None:
        """Return the index of the field in a file that a wanted field is, or None."""
        if self._by_id:
            mark = str(wanted.id).encode()
            matches = [i for i, f in enumerate(offered) if (f.metadata or {}).get(FIELD_ID) == mark]
        else:
            names = self._aliases.get(wanted.id, (wanted.name,))
            matches = [i for i, f in enumerate(offered) if f.name in names]
        if len(matches) > 1:
            raise FormatError(
                f"{self._key!r} has {len(matches)} columns that are {wanted.name!r}; "
                "rewrite the file with distinct columns",
                location=self._key,
            )
        return matches[0] if matches else None

    def is_same(self, offered: AnyType, wanted: Type) -> bool:
        """Whether all fields inside a type are the wanted ones, in their order, by their names.

        Only asked for types that are equal otherwise. What a variant is, its parts do not tell.
        """
        if isinstance(wanted, VariantType):
            return False
        if not isinstance(wanted, StructType | ListType | MapType):
            return True
        match wanted:
            case StructType(fields):
                inner = list(offered.fields)
                return all(
                    self.find(field, inner) == index
                    and inner[index].name == field.name
                    and self.is_same(inner[index].type, field.type)
                    for index, field in enumerate(fields)
                )
            case ListType(element):
                return self.is_same(offered.value_type, element.type)
            case MapType(key, value):
                return self.is_same(offered.key_type, key.type) and self.is_same(
                    offered.item_type, value.type
                )

    def adapt(self, array: AnyArray, type_: Type, path: Path) -> AnyArray:
        """Return a column of exactly the Arrow type of ``type_`` with the same values.

        Args:
            array: The column as the file has it.
            type_: The type wanted.
            path: The column, for messages.

        Raises:
            FormatError: A value does not fit the type, or a required nested field is absent.
        """
        array = _plain(array, type_)
        if pa.types.is_null(array.type):
            return nulls(len(array), arrow_type_of(type_, path))
        match type_:
            case StructType() | ListType() | MapType():
                return self._nest(array, type_, path)
            case VariantType():
                return self._variant(array, path)
            case UuidType():
                return _uuids(self._cast(array, FixedType(16), path))
            case _:
                return self._cast(array, type_, path)

    def missing(self, field: Field, rows: int, path: Path) -> AnyArray:
        """Return the column that stands for a field that a file lacks: null, or its default.

        Raises:
            FormatError: The field must not be null.
        """
        if field.initial is not None:
            return constant(field.initial, field.type, rows)
        if field.required and rows:
            raise FormatError(
                f"{self._key!r} lacks the required column {'.'.join(path)!r}; "
                "make the column optional or restore the file",
                location=self._key,
            )
        return nulls(rows, arrow_type_of(field.type, path))

    def _nest(self, array: AnyArray, type_: NestedType, path: Path) -> AnyArray:
        arrow = arrow_type_of(type_, path)
        match type_:
            case StructType(fields) if pa.types.is_struct(array.type):
                return _build(arrow, array, [], self._struct(array, fields, path))
            case ListType(element) if _is_list(array.type):
                lists: AnyArray = array.cast(pa.list_(array.type.value_field))
                offsets, values = _span(lists)
                inner = self.adapt(values, element.type, (*path, "element"))
                return _build(arrow, array, [offsets], [inner])
            case MapType(key, value) if pa.types.is_map(array.type):
                offsets, entries = _span(array)
                keys = self.adapt(entries.field(0), key.type, (*path, "key"))
                items = self.adapt(entries.field(1), value.type, (*path, "value"))
                pairs = pa.StructArray.from_arrays(
                    [keys, items], fields=[arrow.key_field, arrow.item_field]
                )
                return _build(arrow, array, [offsets], [pairs])
            case _:
                raise self._mismatch(array, type_, path, "the shapes differ")

    def _variant(self, array: AnyArray, path: Path) -> AnyArray:
        """Return a variant's two parts in our order; they have no field ids."""
        check_unshredded(array.type, path)
        arrow = arrow_type_of(VariantType(), path)
        parts = [_filled(array.field(part.name).cast(part.type), array) for part in arrow]
        if any(part.null_count for part in parts):
            raise self._mismatch(array, VariantType(), path, "a part of it is null")
        return _build(arrow, array, [], parts)

    def _struct(self, array: AnyArray, fields: tuple[Field, ...], path: Path) -> list[AnyArray]:
        offered = list(array.type.fields)
        children = []
        for field in fields:
            inner = (*path, field.name)
            index = self.find(field, offered)
            if index is None:
                present = len(array) - array.null_count
                self.missing(field, present, inner)
                children.append(constant(field.initial, field.type, len(array)))
            else:
                child = self.adapt(array.field(index), field.type, inner)
                children.append(_filled(child, array) if field.required else child)
        return children

    def _cast(self, array: AnyArray, type_: Type, path: Path) -> AnyArray:
        arrow = arrow_type_of(type_, path)
        if array.type == arrow:
            return array
        if not _may_cast(array.type, type_):
            raise self._mismatch(array, type_, path, "they do not convert")
        array = numbered(array, arrow)
        try:
            match type_:
                case DecimalType(_, scale) if pa.types.is_integer(array.type):
                    array = array.cast(pa.decimal128(_WIDEST_DECIMAL, scale))
                case TimestampType() | TimeType():
                    # what is finer than the unit is cut off, as the migration does it
                    pc = _compute()
                    options = pc.CastOptions(target_type=arrow, allow_time_truncate=True)
                    return pc.cast(array, options=options)
                case _:
                    pass
            return array.cast(arrow)
        except pa.ArrowException as error:
            raise self._mismatch(array, type_, path, str(error)) from error

    def _mismatch(self, array: AnyArray, type_: Type, path: Path, why: str) -> FormatError:
        return FormatError(
            f"{self._key!r}: column {'.'.join(path)!r} holds {array.type} where the table has "
            f"{describe_type(type_)}: {why}; rewrite the file or widen the table's column",
            location=self._key,
        )


def _plain(array: AnyArray, type_: Type) -> AnyArray:
    """Undo encodings that are no part of a type."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        array = _compute().run_end_decode(array)
    if pa.types.is_duration(array.type):
        raise UnsupportedError(
            f"a duration cannot be read as {describe_type(type_)}", feature="duration"
        )
    return array


def numbered(array: AnyArray, wanted: AnyType) -> AnyArray:
    """Return times of day that are wanted as numbers as those, in their own unit."""
    if pa.types.is_time(array.type) and pa.types.is_integer(wanted):
        return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return array


def _may_cast(found: AnyType, wanted: Type) -> bool:
    """Whether a cast keeps the meaning; Arrow casts more than that, such as numbers to text."""
    kinds = pa.types
    name = type(wanted).__name__
    if kinds.is_integer(found):
        return name in ("IntType", "FloatType", "DecimalType")
    if kinds.is_floating(found):
        return name == "FloatType"
    if kinds.is_decimal(found):
        return name == "DecimalType" or wanted in (IntType(32), IntType(64))
    if kinds.is_date(found):
        return name in ("DateType", "TimestampType")
    if kinds.is_timestamp(found):
        return name == "TimestampType"
    if kinds.is_time(found):
        return name == "TimeType" or wanted == IntType(64)
    return name in ("StringType", "BinaryType", "FixedType") and (
        kinds.is_string(found)
        or kinds.is_large_string(found)
        or kinds.is_string_view(found)
        or kinds.is_binary(found)
        or kinds.is_large_binary(found)
        or kinds.is_binary_view(found)
        or kinds.is_fixed_size_binary(found)
    )


def _is_list(type_: AnyType) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_list(type_)
        or kinds.is_large_list(type_)
        or kinds.is_fixed_size_list(type_)
        or kinds.is_list_view(type_)
        or kinds.is_large_list_view(type_)
    )


def _span(lists: AnyArray) -> tuple[pa.Buffer, AnyArray]:
    """Return offsets that begin at 0, and the values (of a map: the entries) they refer to."""
    offsets = lists.offsets
    first, last = (offsets[0].as_py(), offsets[-1].as_py()) if len(lists) else (0, 0)
    shifted = _compute().subtract(offsets, pa.scalar(first, pa.int32()))
    if pa.types.is_map(lists.type):
        entries = pa.StructArray.from_arrays(
            [lists.keys, lists.items], fields=[lists.type.key_field, lists.type.item_field]
        )
        return shifted.buffers()[1], entries.slice(first, last - first)
    return shifted.buffers()[1], lists.values.slice(first, last - first)


def _build(
    arrow: AnyType, like: AnyArray, buffers: list[pa.Buffer], children: list[AnyArray]
) -> AnyArray:
    """Make a nested array whose nulls are those of another."""
    valid = like.is_valid().buffers()[1] if like.null_count else None
    return pa.Array.from_buffers(
        arrow, len(like), [valid, *buffers], null_count=like.null_count, children=children
    )


def _filled(child: AnyArray, parent: AnyArray) -> AnyArray:
    """Return a struct's child without nulls, where it has some in null structs only.

    A child that must not be null has values there too, whatever they are.
    """
    if not child.null_count or child.type.num_fields:
        return child
    if _compute().any(_compute().and_(parent.is_valid(), child.is_null())).as_py():
        return child
    if isinstance(child, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(child.type, _filled(child.storage, parent))
    return pa.Array.from_buffers(
        child.type, len(child), [None, *child.buffers()[1:]], null_count=0, offset=child.offset
    )


def _uuids(array: AnyArray) -> AnyArray:
    return pa.ExtensionArray.from_storage(pa.uuid(), array)


def _compute() -> Any:
    """Return ``pyarrow.compute``, whose import is most of the time of a first read."""
    import pyarrow.compute  # noqa: PLC0415

    return pyarrow.compute
