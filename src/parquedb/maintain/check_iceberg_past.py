"""Whether an Iceberg table still is what its older metadata files and manifests say that it was.

Iceberg specification, "Table Metadata", "Snapshots", "Manifests": schemas, specs and snapshots do
not change once they are there; snapshots go when they are expired, which is a change of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

import orjson

from parquedb.errors import ParqueDBError
from parquedb.formats.iceberg.paths import Locations
from parquedb.formats.iceberg.wire import TableMetadata, TableSnapshot, parse_metadata
from parquedb.formats.iceberg.wire_schema import parse_schema
from parquedb.maintain.check_report import Findings
from parquedb.model.schema import Schema, children, walk
from parquedb.model.types import describe_type
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_METADATA = "point the table to an older metadata file, or restore the file from a backup"


@dataclass(slots=True)
class PastCheck:
    """Compares a table's metadata with what was written before it.

    Args:
        store: The store.
        folder: The table's folder.
        key: Key of the metadata file.
        table: The metadata.
        findings: Where findings go.
    """

    store: Store
    folder: str
    key: str
    table: TableMetadata
    findings: Findings
    _headers: set[bytes] = field(default_factory=set)

    def check_log(self) -> None:
        """Check that the snapshots of the log are there: who expires one removes it from there."""
        ids = {snapshot.snapshot_id for snapshot in self.table.snapshots}
        lost = [id_ for _, id_ in self.table.snapshot_log if id_ not in ids]
        if lost:
            self._wrong(
                f"the snapshot log names the snapshot {lost[0]}, which is not there"
                + (f", and {len(lost) - 1} more" if len(lost) > 1 else "")
            )

    def check_predecessor(self) -> None:
        """Compare the metadata with the file before it, where that is there."""
        before = self._predecessor()
        if before is None:
            return
        for id_, schema in before.schemas.items():
            self._compare_schema(id_, schema, "the metadata file before it")
        for id_, spec in before.specs.items():
            if id_ in self.table.specs and self.table.specs[id_].spec != spec.spec:
                self._wrong(f"the partition spec {id_} is another one than in the file before it")
        self._compare_snapshots(before)

    def check_header(self, metadata: object, location: str) -> None:
        """Compare the schema in a manifest's header with the table's of the same id."""
        text = metadata if isinstance(metadata, bytes) else b""
        if text in self._headers:
            return
        self._headers.add(text)
        try:
            wire = orjson.loads(text)
            id_ = wire.get("schema-id") if isinstance(wire, dict) else None
            if isinstance(id_, int):
                self._compare_schema(id_, parse_schema(wire, location), f"the manifest {location}")
        except (ValueError, KeyError, TypeError, AttributeError, ParqueDBError):
            return  # readers do without it

    def _predecessor(self) -> TableMetadata | None:
        if not self.table.metadata_log:
            return None
        location = self.table.metadata_log[-1][1]
        key = Locations(self.store.root, self.folder).key_or_none(location)
        if key is None or self.store.head(key) is None:
            return None
        try:
            before = parse_metadata(self.store.get(key), location)
        except ParqueDBError:
            return None  # nobody needs it any more
        same = before.table_uuid == self.table.table_uuid
        return before if same else None

    def _compare_schema(self, id_: int, before: Schema, where: str) -> None:
        schema = self.table.schemas.get(id_)
        if schema is None:
            return
        for problem in _differences(schema, before):
            self._wrong(f"{problem} in the schema {id_}, and {where} says otherwise")
            return

    def _compare_snapshots(self, before: TableMetadata) -> None:
        now = {snapshot.snapshot_id: snapshot for snapshot in self.table.snapshots}
        then = {snapshot.snapshot_id: snapshot for snapshot in before.snapshots}
        for id_, snapshot in then.items():
            if id_ in now and _facts(now[id_]) != _facts(snapshot):
                self._wrong(
                    f"the snapshot {id_} is another one than in the metadata file before it"
                )
        gone = [snapshot for id_, snapshot in then.items() if id_ not in now]
        if not gone or now.keys() <= then.keys():
            return  # expired
        oldest = min((s.at_ms for s in then.values() if s.snapshot_id in now), default=None)
        left = [s for s in gone if oldest is not None and s.at_ms > oldest and self._is_there(s)]
        if left:
            self._wrong(
                f"the snapshot {left[0].snapshot_id} of the metadata file before it is not there, "
                "and was not expired: older ones are there, and so is its manifest list"
            )

    def _is_there(self, snapshot: TableSnapshot) -> bool:
        locations = Locations(self.store.root, self.folder)
        listed = snapshot.manifest_list
        key = None if listed is None else locations.key_or_none(listed)
        return key is not None and self.store.head(key) is not None

    def _wrong(self, problem: str) -> None:
        self.findings.add(self.key, problem, _METADATA)


def _facts(snapshot: TableSnapshot) -> tuple[object, ...]:
    return snapshot.sequence_number, snapshot.at_ms, snapshot.manifest_list


def _differences(schema: Schema, before: Schema) -> Iterator[str]:
    """Yield what of a schema is not as it was."""
    was = {item.id: (path, item) for path, item in walk(before.fields)}
    for path, item in walk(schema.fields):
        known = was.pop(item.id, None)
        name = ".".join(path)
        if known is None:
            yield f"there is a field {name!r} (id {item.id})"
            continue
        (before_path, before_item), type_ = known, item.type
        if path != before_path:
            yield f"the field {item.id} is named {name!r} (before {'.'.join(before_path)!r})"
        nested = children(type_) or children(before_item.type)
        if type(type_) is not type(before_item.type) or (type_ != before_item.type and not nested):
            yield (
                f"the field {name!r} is of type {describe_type(type_)} (before "
                f"{describe_type(before_item.type)})"
            )
    for path, item in was.values():
        yield f"the field {'.'.join(path)!r} (id {item.id}) is not there"
