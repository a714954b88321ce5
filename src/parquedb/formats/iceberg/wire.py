"""Table metadata as JSON and back ("Table Metadata", Appendix C)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import orjson

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.iceberg.compress import FILE_BYTES, GZIP, inflate
from parquedb.formats.iceberg.wire_schema import (
    FIRST_PARTITION_ID,
    Defaults,
    IcebergSpec,
    defaults_of,
    encode_schema,
    encode_spec_fields,
    parse_schema,
    parse_spec_fields,
)
from parquedb.model.members import (
    count,
    items,
    members,
    optional_count,
    optional_text,
    optional_whole,
    text,
    texts,
    whole,
)
from parquedb.model.schema import Schema, max_id, walk
from parquedb.model.types import DateType, TimestampType
from parquedb.slotted import dataclass

MAIN = "main"
_REPAIR = "restore the file or point the table to an older version of its metadata"


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """One snapshot of a table's metadata ("Snapshots").

    Args:
        snapshot_id: Its id.
        parent_id: Id of the snapshot that it was made from.
        sequence_number: 0 for those of format version 1.
        at_ms: Its timestamp, milliseconds since the epoch.
        manifest_list: Location of the manifest list; None where ``manifests`` is used.
        manifests: Locations of the manifests themselves (format version 1 only).
        summary: The summary, with ``operation``.
        schema_id: Id of the schema as of the snapshot, where recorded.
        row_ids: The first row id that the snapshot gave out and how many (format version 3); None
            for those from before.
    """

    snapshot_id: int
    parent_id: int | None
    sequence_number: int
    at_ms: int
    manifest_list: str | None
    summary: Mapping[str, str]
    schema_id: int | None
    manifests: tuple[str, ...] = ()
    row_ids: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class TableMetadata:
    """A table's metadata ("Table Metadata Fields").

    Args:
        kept: Members that are carried over as they are: sort orders, refs but ``main``,
            statistics.
        next_row_id: The lowest row id that was never given out (format version 3).
        wire_schemas: The schemas as they are in the metadata, by their ids.
        defaults: The defaults of columns, as they were last.
    """

    format_version: int
    table_uuid: str
    location: str
    last_sequence_number: int
    last_updated_ms: int
    last_column_id: int
    schemas: Mapping[int, Schema]
    current_schema_id: int
    specs: Mapping[int, IcebergSpec]
    default_spec_id: int
    last_partition_id: int
    properties: Mapping[str, str]
    current_snapshot_id: int | None
    snapshots: tuple[TableSnapshot, ...]
    snapshot_log: tuple[tuple[int, int], ...]
    metadata_log: tuple[tuple[int, str], ...]
    kept: Mapping[str, Any] = field(default_factory=dict)
    next_row_id: int = 0
    wire_schemas: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        """The current schema."""
        return self.schemas[self.current_schema_id]


def parse_metadata(data: bytes, location: str) -> TableMetadata:
    """Parse a metadata file, compressed or not.

    Raises:
        FormatError: It does not follow the specification.
        UnsupportedError: It is of format version 4 or later, or uses what cannot be read.
    """
    try:
        if data[:2] == b"\x1f\x8b":
            data = inflate(data, GZIP, FILE_BYTES)
        wire = orjson.loads(data)
    except ValueError as error:
        raise FormatError(
            f"{location} is no Iceberg metadata file ({error}); {_REPAIR}",
            location=location,
            section="Table Metadata",
        ) from error
    try:
        return _parse(wire, location)
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise FormatError(
            f"{location} does not follow the specification ({type(error).__name__}: {error}); "
            f"{_REPAIR}",
            location=location,
            section="Table Metadata Fields",
        ) from error


def encode_metadata(table: TableMetadata) -> bytes:
    """Encode a table's metadata as format version 2, or 3 where it has that."""
    main: dict[str, Any] = {}
    if table.current_snapshot_id is not None:
        main = {MAIN: {"snapshot-id": table.current_snapshot_id, "type": "branch"}}
        old = table.kept.get("refs", {}).get(MAIN, {})
        main[MAIN] = {**old, **main[MAIN]}
    wire: dict[str, Any] = {
        "format-version": max(table.format_version, 2),
        "table-uuid": table.table_uuid,
        "location": table.location,
        "last-sequence-number": table.last_sequence_number,
        "last-updated-ms": table.last_updated_ms,
        "last-column-id": table.last_column_id,
        "current-schema-id": table.current_schema_id,
        "schemas": _encode_schemas(table),
        "default-spec-id": table.default_spec_id,
        "partition-specs": [
            {"spec-id": id_, "fields": encode_spec_fields(spec)}
            for id_, spec in table.specs.items()
        ],
        "last-partition-id": table.last_partition_id,
        "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": dict(table.properties),
        "current-snapshot-id": -1
        if table.current_snapshot_id is None
        else table.current_snapshot_id,
        "snapshots": [_encode_snapshot(snapshot) for snapshot in table.snapshots],
        "snapshot-log": [
            {"timestamp-ms": at_ms, "snapshot-id": id_} for at_ms, id_ in table.snapshot_log
        ],
        "metadata-log": [
            {"timestamp-ms": at_ms, "metadata-file": file} for at_ms, file in table.metadata_log
        ],
    }
    wire.update(table.kept)
    wire["refs"] = {**table.kept.get("refs", {}), **main}
    wire.setdefault("statistics", [])
    if table.format_version > 2:
        wire["next-row-id"] = table.next_row_id
    return orjson.dumps(wire)


def _encode_schemas(table: TableMetadata) -> list[Mapping[str, Any]]:
    """Encode the schemas: old ones as they are, new ones with the defaults of their columns."""
    known = table.wire_schemas
    return [
        known[id_] if id_ in known else encode_schema(schema, id_, table.defaults)
        for id_, schema in table.schemas.items()
    ]


def _parse(wire: Mapping[str, Any], location: str) -> TableMetadata:
    version = wire["format-version"]
    if version not in (1, 2, 3):
        raise UnsupportedError(
            f"{location}: the table has Iceberg format version {version}; versions 1 to 3 can "
            "be read",
            feature=f"format-version {version}",
        )
    listed = items(wire.get("snapshots"))
    if wire.get("encryption-keys") or any(s.get("key-id") for s in listed):
        raise UnsupportedError(f"{location}: the table is encrypted", feature="encryption")
    schemas = _parse_schemas(wire, location)
    specs = _parse_specs(wire, location)
    current_schema_id = _checked(
        wire.get("current-schema-id", next(iter(schemas))), schemas, "schema", location
    )
    numbered = (item for item in items(wire.get("schemas")) if "schema-id" in item)
    wire_schemas = {whole(item["schema-id"]): item for item in numbered}
    snapshots = tuple(_parse_snapshot(item) for item in listed)
    refs = _parse_refs(wire.get("refs"))
    current = optional_whole(wire.get("current-snapshot-id"))
    if MAIN in refs:
        main = whole(refs[MAIN]["snapshot-id"])
        if current is not None and current not in (-1, main):
            raise FormatError(
                f"{location}: current-snapshot-id is {current} and the branch 'main' is at {main}, "
                "so that readers disagree on the table's rows; point the table to an older "
                "metadata file, or restore the file from a backup",
                location=location,
                section="Table Metadata Fields",
            )
        current = main
    if current is not None and current < 0:
        current = None
    kept = {
        key: wire[key]
        for key in (
            "sort-orders", "default-sort-order-id", "refs", "statistics", "partition-statistics",
        )
        if wire.get(key) is not None
    }  # fmt: skip
    for kind in ("statistics", "partition-statistics"):
        for item in items(wire.get(kind)):
            text(item["statistics-path"])
    return TableMetadata(
        format_version=version,
        table_uuid=optional_text(wire.get("table-uuid")) or "",
        location=text(wire["location"]).rstrip("/"),
        last_sequence_number=count(wire.get("last-sequence-number", 0)) if version > 1 else 0,
        last_updated_ms=whole(wire["last-updated-ms"]),
        last_column_id=whole(wire["last-column-id"]),
        schemas=schemas,
        current_schema_id=current_schema_id,
        specs=specs,
        default_spec_id=_checked(
            wire.get("default-spec-id", next(iter(specs))), specs, "partition spec", location
        ),
        last_partition_id=optional_whole(wire.get("last-partition-id"))
        or _last_partition_id(specs),
        properties=texts(wire.get("properties")),
        current_snapshot_id=current,
        snapshots=snapshots,
        snapshot_log=tuple(
            (whole(item["timestamp-ms"]), whole(item["snapshot-id"]))
            for item in items(wire.get("snapshot-log"))
        ),
        metadata_log=tuple(
            (whole(item["timestamp-ms"]), text(item["metadata-file"]))
            for item in items(wire.get("metadata-log"))
        ),
        kept=kept,
        next_row_id=optional_count(wire.get("next-row-id")) or 0,
        wire_schemas=wire_schemas,
        defaults=_defaults(wire_schemas, current_schema_id),
    )


def _parse_schemas(wire: Mapping[str, Any], location: str) -> dict[int, Schema]:
    # format version 1 before schemas had ids has the one
    listed = items(wire.get("schemas")) or [wire["schema"]]
    schemas = {whole(item.get("schema-id", 0)): parse_schema(item, location) for item in listed}
    dates: set[int] = set()
    for path, column in (pair for schema in schemas.values() for pair in walk(schema.fields)):
        if isinstance(column.type, DateType):
            dates.add(column.id)
        elif isinstance(column.type, TimestampType) and column.id in dates:
            raise UnsupportedError(
                f"{location}: the column {'.'.join(path)!r} was promoted from date to timestamp, "
                "which other readers do not follow; rewrite the table with another engine first",
                feature="promotion of date to timestamp",
            )
    return schemas


def _defaults(wires: Mapping[int, Mapping[str, Any]], current: int) -> Defaults:
    """Return the defaults of columns; those of the current schema come last."""
    ordered = (*wires.values(), wires.get(current, {}))
    return {id_: found for wire in ordered for id_, found in defaults_of(wire)}


def _parse_specs(wire: Mapping[str, Any], location: str) -> dict[int, IcebergSpec]:
    if wire.get("partition-specs"):
        return {
            whole(item["spec-id"]): parse_spec_fields(
                items(item["fields"]), item["spec-id"], location
            )
            for item in items(wire["partition-specs"])
        }
    return {0: parse_spec_fields(items(wire.get("partition-spec")), 0, location)}


def _parse_refs(wire: Any) -> Mapping[str, Mapping[str, Any]]:
    refs = members(wire)
    for ref in refs.values():
        whole(members(ref)["snapshot-id"])
        optional_text(ref.get("type"))
    return refs


def _checked(id_: int, known: Mapping[int, object], what: str, location: str) -> int:
    if id_ not in known:
        raise FormatError(
            f"{location} names {id_} as its current {what}, which it does not contain; {_REPAIR}",
            location=location,
            section="Table Metadata Fields",
        )
    return id_


def _last_partition_id(specs: Mapping[int, IcebergSpec]) -> int:
    ids = [id_ for spec in specs.values() for id_ in spec.field_ids]
    return max(ids, default=FIRST_PARTITION_ID - 1)


def _parse_snapshot(wire: Mapping[str, Any]) -> TableSnapshot:
    return TableSnapshot(
        snapshot_id=whole(wire["snapshot-id"]),
        parent_id=optional_whole(wire.get("parent-snapshot-id")),
        sequence_number=optional_count(wire.get("sequence-number")) or 0,
        at_ms=whole(wire["timestamp-ms"]),
        manifest_list=optional_text(wire.get("manifest-list")),
        summary=texts(wire.get("summary")),
        schema_id=optional_whole(wire.get("schema-id")),
        manifests=tuple(text(item) for item in items(wire.get("manifests"))),
        row_ids=_parse_row_ids(wire),
    )


def _parse_row_ids(wire: Mapping[str, Any]) -> tuple[int, int] | None:
    first = optional_count(wire.get("first-row-id"))
    return None if first is None else (first, optional_count(wire.get("added-rows")) or 0)


def _encode_snapshot(snapshot: TableSnapshot) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "snapshot-id": snapshot.snapshot_id,
        "sequence-number": snapshot.sequence_number,
        "timestamp-ms": snapshot.at_ms,
        "manifest-list": snapshot.manifest_list,
        "summary": snapshot.summary,
    }
    if snapshot.parent_id is not None:
        wire["parent-snapshot-id"] = snapshot.parent_id
    if snapshot.schema_id is not None:
        wire["schema-id"] = snapshot.schema_id
    if snapshot.row_ids is not None:
        wire["first-row-id"], wire["added-rows"] = snapshot.row_ids
    return wire


def highest_column_id(table: TableMetadata) -> int:
    """Return the highest field id that any schema of the table uses."""
    ids = [max_id(schema) for schema in table.schemas.values()]
    return max(table.last_column_id, *ids)
