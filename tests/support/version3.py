"""Iceberg tables of format version 3, written by hand: fastavro, Puffin and nothing of ours.

A table is written step by step, each step one snapshot. What its rows must be is kept beside it,
counted from what the steps did and not from what was written.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import MANIFEST_ENTRY_SCHEMAS, MANIFEST_LIST_FILE_SCHEMAS
from pyiceberg.utils.schema_conversion import AvroSchemaConversion
from pyroaring import BitMap64

from tests.support.histories import Known
from tests.support.variants import annotate

T0 = 1_700_000_000_000
_MAGIC = (1681511377).to_bytes(4, "little")


def blob_of(positions: Iterable[int]) -> bytes:
    """Return a ``deletion-vector-v1`` blob."""
    body = _MAGIC + BitMap64(positions).serialize()
    return len(body).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def puffin_of(
    blobs: Mapping[str, bytes], counts: Mapping[str, int]
) -> tuple[bytes, dict[str, int]]:
    """Return a Puffin file of vectors by their data files, and where each begins.

    Args:
        blobs: The vectors.
        counts: How many rows each deletes.
    """
    data, offsets, described = b"PFA1", dict[str, int](), []
    for location, blob in blobs.items():
        offsets[location] = len(data)
        described.append(
            {
                "type": "deletion-vector-v1",
                "fields": [],
                "snapshot-id": -1,
                "sequence-number": -1,
                "offset": len(data),
                "length": len(blob),
                "properties": {
                    "referenced-data-file": location,
                    "cardinality": str(counts[location]),
                },
            }
        )
        data += blob
    footer = json.dumps({"blobs": described, "properties": {}}).encode()
    trailer = len(footer).to_bytes(4, "little") + bytes(4) + b"PFA1"
    return data + b"PFA1" + footer + trailer, offsets


@dataclass
class _Entry:
    """A live file as manifests name it."""

    record: dict[str, Any]
    sequence: int
    snapshot: int


@dataclass
class Table3:
    """A table of format version 3.

    Args:
        folder: Where it lies.
        schemas: Its schemas in Iceberg's JSON, the first at first.
        version: The format version that its metadata says.
    """

    folder: Path
    schemas: list[dict[str, Any]]
    version: int = 3
    properties: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    data: dict[str, _Entry] = field(default_factory=dict)
    deletes: dict[str, _Entry] = field(default_factory=dict)
    rows: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    gone: dict[str, set[int]] = field(default_factory=dict)
    next_row_id: int = 0
    first_row_id: int = 0
    _number: int = 0

    @property
    def sequence(self) -> int:
        """Sequence number of the next snapshot."""
        return len(self.snapshots) + 1

    def location(self, name: str) -> str:
        """Return the location of a data file or delete file."""
        return (self.folder / "data" / name).as_uri().replace("file:///", "file:/")

    def add(self, name: str, table: pa.Table) -> None:
        """Add a data file; :meth:`commit` follows. Its variants are annotated as such."""
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = {item["name"]: item["id"] for item in self.schemas[-1]["fields"]}
        named = [
            one.with_metadata({"PARQUET:field_id": str(ids[one.name])}) for one in table.schema
        ]
        pq.write_table(table.cast(pa.schema(named)), path)
        kinds = {item["name"]: item["type"] for item in self.schemas[-1]["fields"]}
        if variants := [name for name in table.column_names if kinds[name] == "variant"]:
            annotate(path, variants)
        record = {
            "content": 0,
            "file_path": self.location(name),
            "file_format": "PARQUET",
            "record_count": table.num_rows,
            "file_size_in_bytes": path.stat().st_size,
            "first_row_id": self.next_row_id,
        }
        self.next_row_id += table.num_rows
        self.data[name] = _Entry(record, self.sequence, self.sequence)
        self.rows[name] = _countable(table).to_pylist()
        self.gone[name] = set()

    def remove(self, name: str) -> None:
        """Take a data file out, with its deletes."""
        del self.data[name]
        self.deletes = {key: e for key, e in self.deletes.items() if e.record.get("_of") != name}
        self.rows.pop(name)

    def vectors(self, file: str, positions: Mapping[str, Iterable[int]]) -> None:
        """Write one Puffin file with all deleted rows of some data files, replacing others."""
        wanted = {name: sorted(rows) for name, rows in positions.items()}
        blobs = {self.location(name): blob_of(rows) for name, rows in wanted.items()}
        counts = {self.location(name): len(rows) for name, rows in wanted.items()}
        data, offsets = puffin_of(blobs, counts)
        (self.folder / "data" / file).write_bytes(data)
        for name, rows in wanted.items():
            location = self.location(name)
            self.deletes.pop(f"vector of {name}", None)
            record = {
                "content": 1,
                "file_path": self.location(file),
                "file_format": "PUFFIN",
                "record_count": len(rows),
                "file_size_in_bytes": len(data),
                "referenced_data_file": location,
                "content_offset": offsets[location],
                "content_size_in_bytes": len(blobs[location]),
                "_of": name,
            }
            self.deletes[f"vector of {name}"] = _Entry(record, self.sequence, self.sequence)
            self.gone[name] = set(rows)

    def positions(self, file: str, positions: Mapping[str, Iterable[int]]) -> None:
        """Write one position delete file, as tables upgraded from version 2 have them."""
        pairs = [(self.location(name), row) for name, rows in positions.items() for row in rows]
        table = pa.table(
            {
                "file_path": pa.array([path for path, _ in pairs], pa.string()),
                "pos": pa.array([row for _, row in pairs], pa.int64()),
            }
        )
        path = self.folder / "data" / file
        pq.write_table(table, path)
        record = {
            "content": 1,
            "file_path": self.location(file),
            "file_format": "PARQUET",
            "record_count": len(pairs),
            "file_size_in_bytes": path.stat().st_size,
        }
        self.deletes[file] = _Entry(record, self.sequence, self.sequence)
        for name, rows in positions.items():
            self.gone[name] |= set(rows)

    def equality(self, file: str, column: str, field_id: int, values: Iterable[object]) -> None:
        """Write an equality delete file."""
        wanted = list(values)
        kind = pa.field(column, pa.int64(), metadata={"PARQUET:field_id": str(field_id)})
        table = pa.table([pa.array(wanted, pa.int64())], schema=pa.schema([kind]))
        path = self.folder / "data" / file
        pq.write_table(table, path)
        record = {
            "content": 2,
            "file_path": self.location(file),
            "file_format": "PARQUET",
            "record_count": len(wanted),
            "file_size_in_bytes": path.stat().st_size,
            "equality_ids": [field_id],
        }
        self.deletes[file] = _Entry(record, self.sequence, self.sequence)
        for name, rows in self.rows.items():
            if self.data[name].sequence < self.sequence:
                self.gone[name] |= {at for at, row in enumerate(rows) if row[column] in wanted}

    def commit(self, operation: str = "append") -> None:
        """Make a snapshot of what is live now and write the table's metadata."""
        number = self.sequence
        folder = self.folder / "metadata"
        folder.mkdir(parents=True, exist_ok=True)
        manifests = []
        for content, entries in ((0, self.data), (1, self.deletes)):
            if entries:
                manifests.append(self._manifest(folder, content, list(entries.values())))
        location = folder / f"snap-{number}.avro"
        _write_avro(location, self._list_schema(), manifests, self._list_meta(number))
        at_ms = T0 + number * 60_000
        self.snapshots.append(
            {
                "snapshot-id": number,
                "sequence-number": number,
                "timestamp-ms": at_ms,
                "manifest-list": location.as_uri(),
                "summary": {"operation": operation},
                "schema-id": len(self.schemas) - 1,
                "first-row-id": self.first_row_id,
                "added-rows": self.next_row_id - self.first_row_id,
                **({} if number == 1 else {"parent-snapshot-id": number - 1}),
            }
        )
        self.first_row_id = self.next_row_id
        names = [item["name"] for item in self.schemas[-1]["fields"]]
        rows = [
            {name: row.get(name) for name in names}
            for file, all_rows in self.rows.items()
            for at, row in enumerate(all_rows)
            if at not in self.gone[file]
        ]
        self.known.append(Known(number, at_ms, rows))
        self.write()

    def write(self) -> None:
        """Write the table's metadata as a new file."""
        self._number += 1
        number = self._number
        ids = [item["id"] for schema in self.schemas for item in schema["fields"]]
        metadata = {
            "format-version": self.version,
            "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": self.folder.as_uri(),
            "last-sequence-number": len(self.snapshots),
            "last-updated-ms": T0 + len(self.snapshots) * 60_000,
            "last-column-id": max(ids),
            "current-schema-id": len(self.schemas) - 1,
            "schemas": [
                {"type": "struct", "schema-id": id_, **schema}
                for id_, schema in enumerate(self.schemas)
            ],
            "default-spec-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "last-partition-id": 999,
            "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": self.properties,
            "current-snapshot-id": len(self.snapshots) or -1,
            "snapshots": self.snapshots,
            "snapshot-log": [
                {"timestamp-ms": s["timestamp-ms"], "snapshot-id": s["snapshot-id"]}
                for s in self.snapshots
            ],
            "metadata-log": [],
            "refs": {"main": {"snapshot-id": len(self.snapshots), "type": "branch"}},
            "next-row-id": self.next_row_id,
            **self.more,
        }
        if not self.snapshots:
            metadata["refs"] = {}
        folder = self.folder / "metadata"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"v{number}.metadata.json").write_text(json.dumps(metadata))
        (folder / "version-hint.text").write_text(str(number))

    def _manifest(self, folder: Path, content: int, entries: list[_Entry]) -> dict[str, Any]:
        number = self.sequence
        path = folder / f"{number}-m{content}.avro"
        records = [
            {
                "status": 1 if entry.snapshot == number else 0,
                "snapshot_id": entry.snapshot,
                "sequence_number": entry.sequence,
                "file_sequence_number": entry.sequence,
                "data_file": {
                    "partition": {},
                    **{key: value for key, value in entry.record.items() if key != "_of"},
                    **({"first_row_id": None} if entry.snapshot == number else {}),
                },
            }
            for entry in entries
        ]
        schema = {"type": "struct", "schema-id": len(self.schemas) - 1, **self.schemas[-1]}
        meta = {
            "schema": json.dumps(schema),
            "schema-id": str(len(self.schemas) - 1),
            "partition-spec": "[]",
            "partition-spec-id": "0",
            "format-version": str(self.version),
            "content": ("data", "deletes")[content],
        }
        _write_avro(path, self._entry_schema(), records, meta)
        added = [entry for entry in entries if entry.snapshot == number]
        kept = [entry for entry in entries if entry.snapshot != number]
        return {
            "manifest_path": path.as_uri(),
            "manifest_length": path.stat().st_size,
            "partition_spec_id": 0,
            "content": content,
            "sequence_number": number,
            "min_sequence_number": min(entry.sequence for entry in entries),
            "added_snapshot_id": number,
            "added_files_count": len(added),
            "existing_files_count": len(kept),
            "deleted_files_count": 0,
            "added_rows_count": sum(entry.record["record_count"] for entry in added),
            "existing_rows_count": sum(entry.record["record_count"] for entry in kept),
            "deleted_rows_count": 0,
            "first_row_id": self.first_row_id if content == 0 else None,
        }

    def _list_meta(self, number: int) -> dict[str, str]:
        return {
            "snapshot-id": str(number),
            "parent-snapshot-id": str(number - 1) if number > 1 else "null",
            "sequence-number": str(number),
            "first-row-id": str(self.first_row_id),
            "format-version": str(self.version),
        }

    def _entry_schema(self) -> dict[str, Any]:
        return _avro(MANIFEST_ENTRY_SCHEMAS[3], "manifest_entry")

    def _list_schema(self) -> dict[str, Any]:
        return _avro(MANIFEST_LIST_FILE_SCHEMAS[3], "manifest_file")


def simple(folder: Path, *, kind: Any = "long", **more: Any) -> Table3:
    """Return a table of an id and a column of a type, still without a snapshot."""
    fields = [
        {"id": 1, "name": "id", "type": "long", "required": False},
        {"id": 2, "name": "v", "type": kind, "required": False, **more},
    ]
    return Table3(folder, [{"fields": fields}])


def _countable(table: pa.Table) -> pa.Table:
    """Return nanoseconds, which Python's own types do not have, as numbers."""
    fields = [
        one.with_type(pa.int64())
        if pa.types.is_timestamp(one.type) and one.type.unit == "ns"
        else one
        for one in table.schema
    ]
    return table.cast(pa.schema(fields))


def _avro(schema: Any, name: str) -> dict[str, Any]:
    converted: dict[str, Any] = AvroSchemaConversion().iceberg_to_avro(schema, schema_name=name)
    return converted


def _write_avro(
    path: Path, schema: dict[str, Any], records: list[dict[str, Any]], meta: dict[str, str]
) -> None:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records, metadata=meta)
    path.write_bytes(out.getvalue())
