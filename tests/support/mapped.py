"""Delta tables with column mapping, written by hand from the specification's words.

What a version must hold is known from a model of its own: values are kept by column id, and shown
under the names that the columns have at a version.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.histories import Known

T0 = 1_700_000_000_000
_ARROW = {
    "long": pa.int64(),
    "integer": pa.int32(),
    "string": pa.string(),
    "decimal(20,2)": pa.decimal128(20, 2),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}
Row = dict[str, Any]


@dataclass(frozen=True)
class ArrayOf:
    """An array of a type."""

    element: Any


@dataclass(frozen=True)
class MapOf:
    """A map from strings to a type."""

    value: Any


@dataclass(frozen=True)
class Col:
    """A struct field: its name, its type (text, fields, array or map), its id and physical name."""

    name: str
    type: Any
    id: int
    physical: str = ""
    nested_ids: dict[str, int] = field(default_factory=dict)
    nullable: bool = True

    @property
    def file_name(self) -> str:
        """The physical name."""
        return self.physical or self.name


Columns = tuple[Col, ...]


@dataclass
class MappedTable:
    """A Delta table that is written by hand.

    Args:
        folder: The table's folder.
        columns: Its first columns.
        mode: ``delta.columnMapping.mode``; None for a table without mapping (yet).
        partitioned_by: Names of its partition columns.
        protocol: The first version's ``protocol``.
    """

    folder: Path
    columns: Columns
    mode: str | None = "name"
    partitioned_by: tuple[str, ...] = ()
    protocol: dict[str, Any] = field(
        default_factory=lambda: {"minReaderVersion": 2, "minWriterVersion": 5}
    )
    properties: dict[str, str] = field(default_factory=dict)
    known: list[Known] = field(default_factory=list)
    _live: dict[str, list[dict[int, Any]]] = field(default_factory=dict)
    _max_id: int = 0

    def __post_init__(self) -> None:
        (self.folder / "_delta_log").mkdir(parents=True)
        self._commit({"protocol": self.protocol}, self._metadata())

    def alter(
        self,
        columns: Sequence[Col],
        *,
        mode: str | None = None,
        protocol: dict[str, Any] | None = None,
        partitioned_by: tuple[str, ...] | None = None,
        clear: bool = False,
    ) -> None:
        """Commit other columns, another mode or another protocol."""
        self.columns = tuple(columns)
        self.mode = mode or self.mode
        if partitioned_by is not None:
            self.partitioned_by = partitioned_by
        actions: list[dict[str, Any]] = [{"protocol": protocol}] if protocol else []
        actions.append(self._metadata())
        if clear:
            actions += [self._remove(path) for path in list(self._live)]
        self._commit(*actions)

    def add(self, *rows: Row, ids: bool = True, names: dict[int, str] | None = None) -> str:
        """Commit one file with rows.

        Args:
            rows: The rows, by the columns' present names; of one partition.
            ids: Whether the file carries field ids.
            names: What columns are called in the file, by id, where it is not their physical name.
        """
        parts = [c for c in self.columns if c.name in self.partitioned_by]
        whole = [c for c in self.columns if c not in parts]
        shown = [replace(c, physical=(names or {}).get(c.id, c.file_name)) for c in whole]
        name = f"part-{len(self.known):05}.parquet"
        schema = pa.schema([_arrow(c, ids=ids) for c in shown])
        table = pa.Table.from_pylist(
            [{c.file_name: _in_file(c.type, row.get(c.name)) for c in shown} for row in rows],
            schema=schema,
        )
        pq.write_table(table, self.folder / name, store_schema=False)
        values = {c.file_name: rows[0].get(c.name) for c in parts}
        add = {
            "path": quote(name),
            "partitionValues": {k: None if v is None else str(v) for k, v in values.items()},
            "size": (self.folder / name).stat().st_size,
            "modificationTime": T0,
            "dataChange": True,
            "stats": json.dumps(_stats(whole, rows)),
        }
        self._live[name] = [
            {c.id: _by_id(c.type, row.get(c.name)) for c in self.columns} for row in rows
        ]
        self._commit({"add": add})
        return name

    def remove(self, name: str) -> None:
        """Commit the removal of a file."""
        self._commit(self._remove(name))

    def _remove(self, name: str) -> dict[str, Any]:
        del self._live[name]
        return {"remove": {"path": quote(name), "deletionTimestamp": T0, "dataChange": True}}

    def _commit(self, *actions: dict[str, Any]) -> None:
        version = len(self.known)
        at = T0 + version * 1000
        info = {"commitInfo": {"timestamp": at, "operation": "WRITE", "engineInfo": "by hand"}}
        path = self.folder / "_delta_log" / f"{version:020}.json"
        path.write_text("".join(json.dumps(action) + "\n" for action in (info, *actions)))
        os.utime(path, (at / 1000, at / 1000))
        rows = [
            {c.name: _shown(c.type, stored.get(c.id)) for c in self.columns}
            for stored_rows in self._live.values()
            for stored in stored_rows
        ]
        self.known.append(Known(version, at, copy.deepcopy(rows)))

    def _metadata(self) -> dict[str, Any]:
        configuration = dict(self.properties)
        mapped = self.mode not in (None, "none")
        if self.mode is not None:
            configuration["delta.columnMapping.mode"] = self.mode
        if mapped:
            self._max_id = max(self._max_id, *(c.id for c in _walk(self.columns)))
            configuration["delta.columnMapping.maxColumnId"] = str(self._max_id)
        schema = {"type": "struct", "fields": [_field(c, mapped=mapped) for c in self.columns]}
        return {
            "metaData": {
                "id": "6a6a6a6a-0000-4000-8000-000000000001",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps(schema),
                "partitionColumns": list(self.partitioned_by),
                "configuration": configuration,
                "createdTime": T0,
            }
        }


def _walk(columns: Sequence[Col]) -> list[Col]:
    found = []
    for column in columns:
        found.append(column)
        found += _walk(_fields_in(column.type))
    return found


def _fields_in(type_: Any) -> Columns:
    match type_:
        case tuple():
            return type_
        case ArrayOf(inner) | MapOf(inner):
            return _fields_in(inner)
        case _:
            return ()


def _field(column: Col, *, mapped: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if mapped:
        metadata["delta.columnMapping.id"] = column.id
        metadata["delta.columnMapping.physicalName"] = column.file_name
        if column.nested_ids:
            metadata["delta.columnMapping.nested.ids"] = column.nested_ids
    return {
        "name": column.name,
        "type": _json_type(column.type, mapped=mapped),
        "nullable": column.nullable,
        "metadata": metadata,
    }


def _json_type(type_: Any, *, mapped: bool) -> Any:
    match type_:
        case str():
            return type_
        case ArrayOf(inner):
            element = _json_type(inner, mapped=mapped)
            return {"type": "array", "elementType": element, "containsNull": True}
        case MapOf(inner):
            value = _json_type(inner, mapped=mapped)
            return {
                "type": "map",
                "keyType": "string",
                "valueType": value,
                "valueContainsNull": True,
            }
        case _:
            return {"type": "struct", "fields": [_field(c, mapped=mapped) for c in type_]}


def _arrow(column: Col, *, ids: bool) -> pa.Field[Any]:
    metadata = {"PARQUET:field_id": str(column.id)} if ids else None
    inner = {k.partition(".")[2]: v for k, v in column.nested_ids.items()}
    type_ = _arrow_type(column.type, inner if ids else {}, "", ids=ids)
    return pa.field(column.file_name, type_, nullable=column.nullable, metadata=metadata)


def _arrow_type(type_: Any, inner: dict[str, int], at: str, *, ids: bool) -> pa.DataType:
    def inside(name: str, of: Any) -> pa.Field[Any]:
        path = f"{at}.{name}".strip(".")
        metadata = {"PARQUET:field_id": str(inner[path])} if path in inner else None
        return pa.field(
            name, _arrow_type(of, inner, path, ids=ids), nullable=name != "key", metadata=metadata
        )

    match type_:
        case str():
            return _ARROW[type_]
        case ArrayOf(element):
            return pa.list_(inside("element", element))
        case MapOf(value):
            return pa.map_(inside("key", "string"), inside("value", value))
        case _:
            return pa.struct([_arrow(c, ids=ids) for c in type_])


def _in_file(type_: Any, value: Any) -> Any:
    match type_:
        case _ if value is None:
            return None
        case str():
            return value
        case ArrayOf(element):
            return [_in_file(element, one) for one in value]
        case MapOf(inner):
            return [(key, _in_file(inner, one)) for key, one in value.items()]
        case _:
            return {c.file_name: _in_file(c.type, value.get(c.name)) for c in type_}


def _by_id(type_: Any, value: Any) -> Any:
    match type_:
        case _ if value is None:
            return None
        case str():
            return value
        case ArrayOf(element):
            return [_by_id(element, one) for one in value]
        case MapOf(inner):
            return {key: _by_id(inner, one) for key, one in value.items()}
        case _:
            return {c.id: _by_id(c.type, value.get(c.name)) for c in type_}


def _shown(type_: Any, value: Any) -> Any:
    match type_:
        case _ if value is None:
            return None
        case str():
            return value
        case ArrayOf(element):
            return [_shown(element, one) for one in value]
        case MapOf(inner):
            return {key: _shown(inner, one) for key, one in value.items()}
        case _:
            return {c.name: _shown(c.type, value.get(c.id)) for c in type_}


def _stats(columns: Sequence[Col], rows: Sequence[Row]) -> dict[str, Any]:
    lower, upper, nulls = _bounds(columns, rows)
    return {"numRecords": len(rows), "minValues": lower, "maxValues": upper, "nullCount": nulls}


def _bounds(columns: Sequence[Col], rows: Sequence[Row]) -> tuple[Row, Row, Row]:
    lower: Row = {}
    upper: Row = {}
    nulls: Row = {}
    for column in columns:
        values = [row.get(column.name) for row in rows]
        known = [value for value in values if value is not None]
        name = column.file_name
        if isinstance(column.type, tuple):
            parts = _bounds(column.type, [value or {} for value in values])
            lower[name], upper[name], nulls[name] = parts
        elif isinstance(column.type, str):
            nulls[name] = len(values) - len(known)
            if known and column.type in ("long", "integer", "string"):
                lower[name], upper[name] = min(known), max(known)
    return lower, upper, nulls
