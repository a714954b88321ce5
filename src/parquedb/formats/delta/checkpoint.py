"""Reading checkpoints: classic, multi-part and V2, as one set of actions.

PROTOCOL.md, "Checkpoints", "Checkpoint Schema", "V2 Spec", "Sidecar Files".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parquedb.errors import FormatError
from parquedb.formats.delta.paths import Checkpoint, log_folder
from parquedb.formats.delta.wire import (
    Actions,
    Add,
    Json,
    Remove,
    Vector,
    decode_lines,
    parse_actions,
    parse_vector,
)
from parquedb.storage.keys import join
from parquedb.storage.store import Store

_FILE_ACTIONS = ("add", "remove")
_OTHER_ACTIONS = ("protocol", "metaData", "txn", "domainMetadata", "sidecar")
_NO_VALUES: Mapping[str, str | None] = {}


def read_checkpoint(store: Store, folder: str, checkpoint: Checkpoint) -> Actions:
    """Read a checkpoint with all its parts and sidecar files.

    Raises:
        FormatError: A file cannot be read or does not follow the specification.
        NotFoundError: A sidecar file does not exist.
    """
    others: list[Json] = []
    adds: list[Add] = []
    removes: list[Remove] = []
    for info in checkpoint.files:
        data = store.get(info.key)
        if info.key.endswith(".json"):
            objects = decode_lines(data, info.key)
            actions = parse_actions(objects, info.key)
            adds += actions.adds
            removes += actions.removes
            others += [o for o in objects if "add" not in o and "remove" not in o]
        else:
            others += _read_part(data, info.key, adds, removes)
    for item in others:
        if (sidecar := item.get("sidecar")) is not None:
            name = unquote(str(sidecar["path"])).rsplit("/", 1)[-1]
            key = join(log_folder(folder), "_sidecars", name)
            _read_part(store.get(key), key, adds, removes)
    location = checkpoint.files[0].key
    rest = parse_actions(others, location)
    if rest.protocol is None or rest.metadata is None:
        raise FormatError(
            f"{location!r} has no protocol or no metaData action; delete the checkpoint if the "
            "JSON commits before it are still there, else restore it from a backup",
            location=location,
            section="Checkpoints",
        )
    return Actions(None, rest.protocol, rest.metadata, rest.txns, rest.domains, adds, removes)


def _read_part(data: bytes, location: str, adds: list[Add], removes: list[Remove]) -> list[Json]:
    try:
        # Spark writes INT96, which wraps around in Arrow's nanoseconds
        file = pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us")
        table = file.read(columns=_wanted_columns(file.schema_arrow))
        if "add" in table.column_names:
            adds += _parse_adds(_present(table, "add"))
        if "remove" in table.column_names:
            removes += _parse_removes(_present(table, "remove"))
        others: list[Json] = []
        for name in _OTHER_ACTIONS:
            if name in table.column_names:
                rows = _present(table, name).to_pylist(maps_as_pydicts="lossy")
                others += [{name: row} for row in rows]
    except (pa.ArrowException, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(
            f"{location!r} cannot be read as a checkpoint ({error}); delete it if the JSON "
            "commits before it are still there, else restore it from a backup",
            location=location,
            section="Checkpoint Schema",
        ) from error
    return others


def _wanted_columns(schema: pa.Schema) -> list[str]:
    columns = [name for name in _OTHER_ACTIONS if name in schema.names]
    for action in _FILE_ACTIONS:
        if action not in schema.names:
            continue
        inner = [field.name for field in schema.field(action).type]
        skip = {"partitionValues_parsed"} | ({"stats_parsed"} if "stats" in inner else set())
        columns += [f"{action}.{name}" for name in inner if name not in skip]
    return columns


def _present(table: pa.Table, name: str) -> Any:
    column = table[name].combine_chunks()
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.filter(pc.is_valid(array))


def _parse_adds(array: pa.StructArray) -> list[Add]:
    if len(array) == 0:
        return []
    paths, sizes, times = (
        _field(array, name, required=True) for name in ("path", "size", "modificationTime")
    )
    changes = _field(array, "dataChange")
    if min(sizes) < 0:
        raise ValueError("a size is negative")
    return [
        Add(path, values or _NO_VALUES, size, at_ms, bool(change), stats, tags, vector)
        for path, values, size, at_ms, change, stats, tags, vector in zip(
            paths,
            _maps(array, "partitionValues"),
            sizes,
            times,
            changes,
            _stats(array),
            _maps(array, "tags"),
            _vectors(array),
            strict=True,
        )
    ]


def _parse_removes(array: pa.StructArray) -> list[Remove]:
    if len(array) == 0:
        return []
    return [
        Remove(path, at_ms, bool(change), values, size, vector)
        for path, at_ms, change, values, size, vector in zip(
            _field(array, "path", required=True),
            _field(array, "deletionTimestamp"),
            _field(array, "dataChange"),
            _maps(array, "partitionValues"),
            _field(array, "size"),
            _vectors(array),
            strict=True,
        )
    ]


def _column(array: pa.StructArray, name: str) -> Any:
    index = array.type.get_field_index(name)
    if index < 0:
        return None
    column = array.field(index)
    if not _KINDS[name](column.type) and column.null_count < len(column):
        raise ValueError(f"the field {name!r} is of the type {column.type}")
    return column


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _is_text_map(type_: pa.DataType) -> bool:
    return pa.types.is_map(type_) and _is_text(type_.key_type) and _is_text(type_.item_type)


_KINDS: Mapping[str, Callable[[pa.DataType], bool]] = {
    "path": _is_text,
    "stats": _is_text,
    "size": pa.types.is_integer,
    "modificationTime": pa.types.is_integer,
    "deletionTimestamp": pa.types.is_integer,
    "dataChange": pa.types.is_boolean,
    "partitionValues": _is_text_map,
    "tags": _is_text_map,
    "deletionVector": pa.types.is_struct,
    "stats_parsed": pa.types.is_struct,
}
"""What the members of file actions are (PROTOCOL.md, "Checkpoint Schema")."""


def _field(array: pa.StructArray, name: str, *, required: bool = False) -> Sequence[Any]:
    column = _column(array, name)
    if column is None or (required and column.null_count):
        if required:
            raise ValueError(f"the field {name!r} is missing")
        return [None] * len(array)
    values: list[Any] = column.to_pylist()
    return values


def _maps(array: pa.StructArray, name: str) -> Iterable[Mapping[str, str | None] | None]:
    column = _column(array, name)
    if column is None or column.null_count == len(column):
        return [None] * len(array)
    if len(column.keys) == 0:
        return [_NO_VALUES] * len(array)
    return [None if pairs is None else dict(pairs) for pairs in column.to_pylist()]


def _vectors(array: pa.StructArray) -> Sequence[Vector | None]:
    column = _column(array, "deletionVector")
    if column is None or column.null_count == len(column):
        return [None] * len(array)
    # a struct of nulls stands for none in some writers' checkpoints
    return [
        parse_vector(body) if body is not None and body.get("storageType") is not None else None
        for body in column.to_pylist()
    ]


def _stats(array: pa.StructArray) -> Sequence[str | None]:
    column = _column(array, "stats")
    if column is not None:
        texts: list[str | None] = column.to_pylist()
        return texts
    parsed = _column(array, "stats_parsed")
    if parsed is None:
        return [None] * len(array)
    return [None if body is None else _stats_text(body) for body in _values(parsed)]


def _values(array: Any) -> list[Any]:
    """Return the values of an array; null for all of a column with a date beyond Python's."""
    if pa.types.is_struct(array.type):
        names = [field.name for field in array.type]
        columns = [_values(array.field(at)) for at in range(len(names))]
        rows = zip(*columns, strict=True) if names else [()] * len(array)
        valid = array.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if there else None
            for there, row in zip(valid, rows, strict=True)
        ]
    try:
        found: list[Any] = array.to_pylist()
    except (ValueError, OverflowError):
        return [None] * len(array)
    return found


def _stats_text(body: Mapping[str, Any]) -> str:
    """Write parsed statistics as the JSON that they stand for, decimals exact."""
    numbers: dict[str, str] = {}

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(inner) for key, inner in value.items() if inner is not None}
            case datetime() | date():
                return value.isoformat()
            case Decimal():
                mark = f"\x00{len(numbers)}\x00"
                numbers[json.dumps(mark)] = f"{value:f}"
                return mark
            case bytes():
                return None
            case float() if not math.isfinite(value):
                return None  # no bound, and no JSON
            case _:
                return value

    text = json.dumps(plain(body))
    for mark, number in numbers.items():
        text = text.replace(mark, number)
    return text
