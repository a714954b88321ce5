"""Statistics of a data file as the members of a manifest entry ("Field-level Metrics")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from parquedb.formats.iceberg.avro import encode_bytes, encode_long
from parquedb.formats.iceberg.bounds import Encoder, encoder_of, lower_float, upper_float
from parquedb.formats.iceberg.columns import SchemaMap
from parquedb.model.files import Stats, Value
from parquedb.model.types import (
    Field,
    FloatType,
    ListType,
    MapType,
    StructType,
    TimestampType,
    TimeType,
    Type,
)
from parquedb.slotted import dataclass

NO_METRICS = b"\x02\x00\x02\x00\x02\x00\x00\x02\x00\x02\x00"
"""Empty maps, but no counts of NaN."""

_US_IN = {"s": 1_000_000, "ms": 1000}


@dataclass(frozen=True, slots=True)
class _Column:
    """How one column's statistics are encoded.

    Args:
        key: The table's field id, encoded.
        lower: Encoder of lower bounds, None if the type has no bounds.
        upper: Encoder of upper bounds.
    """

    key: bytes
    lower: Encoder | None
    upper: Encoder | None


class MetricsEncoder:
    """Encodes the statistics of files of one schema.

    Columns inside lists and maps are left out: how many values they have is not known.

    Args:
        schemas: How the commits' field ids and types become the table's.
    """

    def __init__(self, schemas: SchemaMap) -> None:
        self._columns: dict[int, _Column] = {}
        for theirs, ours in _leaves(schemas.source.fields, schemas.schema.fields):
            encode = encoder_of(ours.type)
            lower = upper = encode
            if encode is not None:
                if isinstance(ours.type, FloatType):
                    lower, upper = _chain(lower_float, encode), _chain(upper_float, encode)
                else:
                    lower = _chain(_convert(theirs.type, ours.type, up=False), encode)
                    upper = _chain(_convert(theirs.type, ours.type, up=True), encode)
            self._columns[theirs.id] = _Column(encode_long(ours.id), lower, upper)

    def encode(self, stats: Stats | None, rows: int) -> bytes:
        """Encode the members from ``column_sizes`` to ``upper_bounds``."""
        if stats is None:
            return NO_METRICS
        columns = self._columns
        count = encode_long(rows)
        nulls = [
            (columns[id_].key, encode_long(number))
            for id_, number in stats.nulls.items()
            if id_ in columns
        ]
        return b"".join(
            (
                _encode_sizes(columns, stats.sizes),
                _wrap([key + count for key, _ in nulls]),
                _wrap([key + number for key, number in nulls]),
                b"\x00",
                _wrap(_lower(columns, stats.lower)),
                _wrap(_upper(columns, stats.upper)),
            )
        )


def _encode_sizes(columns: Mapping[int, _Column], sizes: Mapping[int, int]) -> bytes:
    return _wrap(
        [columns[id_].key + encode_long(size) for id_, size in sizes.items() if id_ in columns]
    )


def _lower(columns: Mapping[int, _Column], bounds: Mapping[int, Value]) -> list[bytes]:
    items = []
    for id_, value in bounds.items():
        column = columns.get(id_)
        if column is not None and column.lower is not None:
            data = column.lower(value)
            if data is not None:
                items.append(column.key + encode_bytes(data))
    return items


def _upper(columns: Mapping[int, _Column], bounds: Mapping[int, Value]) -> list[bytes]:
    items = []
    for id_, value in bounds.items():
        column = columns.get(id_)
        if column is not None and column.upper is not None:
            data = column.upper(value)
            if data is not None:
                items.append(column.key + encode_bytes(data))
    return items


def _wrap(items: list[bytes]) -> bytes:
    if not items:
        return b"\x02\x00"
    return b"".join((b"\x02", encode_long(len(items)), *items, b"\x00"))


def _leaves(
    theirs: tuple[Field, ...], ours: tuple[Field, ...]
) -> Iterator[tuple[Field, Field]]:  # fmt: skip
    for a, b in zip(theirs, ours, strict=True):
        match a.type, b.type:
            case StructType(inner), StructType(fitted):
                yield from _leaves(inner, fitted)
            case ((ListType() | MapType()), _):
                continue
            case _:
                yield a, b


def convert_value(theirs: Type, ours: Type) -> Callable[[Value], Value] | None:
    """Return how a partition value of the commits' type becomes one of the table's."""
    return _convert(theirs, ours, up=False)


def _convert(theirs: Type, ours: Type, *, up: bool) -> Callable[[Value], Value] | None:
    match theirs, ours:
        case (TimestampType(unit), TimestampType(to)) | (TimeType(unit), TimeType(to)):
            if unit == to:
                return None
            if unit == "ns":
                return _ceil_us if up else _floor_us
            factor = _US_IN[unit]
            return lambda value: int(value) * factor
        case _:
            return None


def _floor_us(value: Value) -> Value:
    return int(value) // 1000


def _ceil_us(value: Value) -> Value:
    return -(-int(value) // 1000)


def _chain(first: Callable[[Value], Value] | None, then: Encoder) -> Encoder:
    if first is None:
        return then
    return lambda value: then(first(value))
