"""Whether Iceberg metadata is consistent in itself, and names files that are what it says.

Iceberg specification, "Table Metadata", "Snapshots", "Manifest Lists", "Manifests",
"Sequence Numbers".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import pairwise

from parquedb.errors import NotFoundError, ParqueDBError
from parquedb.formats.iceberg.chain import Chain
from parquedb.formats.iceberg.load import load_existing
from parquedb.formats.iceberg.manifest import FileEntry, ManifestFile, Manifests, Status
from parquedb.formats.iceberg.paths import (
    Locations,
    MetadataName,
    hint_key,
    list_metadata,
    metadata_folder,
    metadata_key,
)
from parquedb.formats.iceberg.rowdeletes import POSITIONS, PUFFIN, vector_of
from parquedb.formats.iceberg.wire import MAIN, TableMetadata, TableSnapshot, parse_metadata
from parquedb.maintain.check_files import Claim, FileChecker
from parquedb.maintain.check_iceberg_past import PastCheck
from parquedb.maintain.check_lineage import LineageCheck, check_row_ids
from parquedb.maintain.check_report import Findings
from parquedb.model.files import DataFile
from parquedb.model.schema import Schema, max_id
from parquedb.slotted import dataclass
from parquedb.storage.keys import uri_of
from parquedb.storage.store import Store

_MINUTE_MS = 60_000
"""How far clocks may differ ("Table Metadata Fields": ``last-updated-ms``, ``snapshot-log``)."""
_OLDER = "roll the table back to a snapshot that is whole, or restore the file from a backup"
_METADATA = "point the table to an older metadata file, or restore the file from a backup"


@dataclass(slots=True)
class IcebergCheck:
    """Checks one table's newest metadata and everything below it.

    Args:
        store: The store.
        folder: The table's folder.
        files: Checks the data files.
        findings: Where findings go.
        referenced: Keys of all files that the table refers to.
        versions: How many snapshots could be followed.
        told: Whether every file that the table refers to is known.
    """

    store: Store
    folder: str
    files: FileChecker
    findings: Findings
    referenced: set[str] = field(default_factory=set)
    versions: int = 0
    told: bool = True
    _manifests: dict[str, ManifestFile | None] = field(default_factory=dict)
    _by_id: dict[int, TableSnapshot] = field(default_factory=dict)
    _past: PastCheck | None = None

    def run(self) -> None:
        """Check the table."""
        names = list_metadata(self.store, self.folder)
        self.referenced.update(name.key for name in names)
        hint = hint_key(self.folder)
        self.referenced.add(hint)
        loaded = self._load(names)
        if loaded is None:
            return
        key, table = loaded
        self._check_hint(names, key)
        self._check_table(key, table)
        self._check_refs(key, table)
        self._past = PastCheck(self.store, self.folder, key, table, self.findings)
        self._past.check_log()
        self._past.check_predecessor()
        for kind in ("statistics", "partition-statistics"):
            for item in table.kept.get(kind, ()):
                self._refer(item.get("statistics-path"), item.get("file-size-in-bytes"), kind)
        locations = Locations(self.store.root, self.folder)
        manifests = Manifests(self.store, locations, table)
        chain = Chain(table, manifests)
        for schema in table.schemas.values():
            self.files.note_schema(schema)
        self._by_id = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots}
        for snapshot in table.snapshots:
            self._check_snapshot(key, table, snapshot, chain)
        self._check_heads(table, chain)
        self.files.close()

    def _load(self, names: Sequence[MetadataName]) -> tuple[str, TableMetadata] | None:
        """Read the newest metadata file that can be read."""
        try:
            loaded = load_existing(self.store, self.folder)
        except ParqueDBError as error:
            self.findings.raised(error, metadata_folder(self.folder))
            self.told = False
        else:
            return loaded.name.key, loaded.table
        for name in sorted(names, key=lambda name: name.number, reverse=True):
            try:
                location = uri_of(self.store.root, name.key)
                return name.key, parse_metadata(self.store.get(name.key), location)
            except ParqueDBError:
                continue
        return None

    def _check_hint(self, names: Sequence[MetadataName], newest: str) -> None:
        key = hint_key(self.folder)
        numbered = {name.number: name.key for name in names if not name.catalog}
        try:
            text = self.store.get(key).decode("utf-8", "replace").strip()
        except NotFoundError:
            return
        if newest not in numbered.values():
            return
        number = max(n for n, name in numbered.items() if name == newest)
        if not text.isdigit() or int(text) not in numbered:
            self.findings.add(
                key,
                f"says {text[:40]!r}, and there is no {metadata_key(self.folder, 0)[:-15]}"
                f"{text[:40]}.metadata.json",
                f"write {number} into the file",
            )
        elif int(text) != number:
            self.findings.add(
                key,
                f"says version {text}, the newest is {number}: readers that trust it read old rows",
                f"write {number} into the file",
            )

    def _check_table(self, key: str, table: TableMetadata) -> None:
        """Check what the table's own members say of each other."""

        def wrong(problem: str) -> None:
            self.findings.add(key, problem, _METADATA)

        if table.format_version > 1:
            highest = max((s.sequence_number for s in table.snapshots), default=0)
            if highest > table.last_sequence_number:
                wrong(
                    f"last-sequence-number is {table.last_sequence_number}, a snapshot has "
                    f"{highest}"
                )
        top = max((max_id(schema) for schema in table.schemas.values()), default=0)
        if top > table.last_column_id:
            wrong(f"last-column-id is {table.last_column_id}, a column has {top}")
        if table.format_version > 2:
            check_row_ids(table, wrong)
        times = [at_ms for at_ms, _ in table.snapshot_log]
        if any(after + _MINUTE_MS < before for before, after in pairwise(times)):
            wrong("the snapshot log is not in the order of time")
        if times and table.last_updated_ms + _MINUTE_MS < times[-1]:
            wrong("last-updated-ms is before the newest entry of the snapshot log")
        seen: set[int] = set()
        for snapshot in table.snapshots:
            if snapshot.snapshot_id in seen:
                wrong(f"the snapshot {snapshot.snapshot_id} is there twice")
            seen.add(snapshot.snapshot_id)
        for _, location in table.metadata_log:
            older = Locations(self.store.root, self.folder).key_or_none(location)
            if older is not None:
                self.referenced.add(older)

    def _check_refs(self, key: str, table: TableMetadata) -> None:
        ids = {snapshot.snapshot_id for snapshot in table.snapshots}
        refs: Mapping[str, Mapping[str, object]] = table.kept.get("refs", {})
        for name, ref in refs.items():
            if ref.get("snapshot-id") not in ids:
                self.findings.add(
                    key,
                    f"the {ref.get('type', 'reference')} {name!r} names the snapshot "
                    f"{ref.get('snapshot-id')}, which is not there",
                    "drop it, or point the table to an older metadata file",
                )
        current = table.current_snapshot_id
        if current is not None and current not in ids and MAIN not in refs:
            self.findings.add(key, f"the current snapshot {current} is not there", _METADATA)

    def _check_snapshot(
        self, key: str, table: TableMetadata, snapshot: TableSnapshot, chain: Chain
    ) -> None:
        id_ = snapshot.snapshot_id
        parent = None if snapshot.parent_id is None else self._by_id.get(snapshot.parent_id)
        if snapshot.schema_id is not None and snapshot.schema_id not in table.schemas:
            self.findings.add(
                key,
                f"the snapshot {id_} has the schema {snapshot.schema_id}, which is not there",
                _METADATA,
            )
        if (
            parent is not None
            and table.format_version > 1
            and snapshot.sequence_number <= parent.sequence_number
            and snapshot.sequence_number > 0
        ):
            self.findings.add(
                key,
                f"the snapshot {id_} has the sequence number {snapshot.sequence_number}, its "
                f"parent {parent.sequence_number}",
                _METADATA,
            )
        listed = self._read_list(snapshot, chain)
        if listed is None:
            return
        self.versions += 1
        newest = max((manifest.sequence_number for manifest in listed), default=0)
        if table.format_version > 1 and newest > snapshot.sequence_number:
            self.findings.add(
                self._key(snapshot.manifest_list) or key,
                f"lists a manifest with the sequence number {newest}, and the snapshot {id_} has "
                f"{snapshot.sequence_number}: deleted rows may come back, or others go",
                _OLDER,
            )
        for manifest in listed:
            self._check_manifest(table, manifest, chain, snapshot)
        self._check_summary(key, snapshot, listed)

    def _read_list(self, snapshot: TableSnapshot, chain: Chain) -> list[ManifestFile] | None:
        location = snapshot.manifest_list
        named = f"the snapshot {snapshot.snapshot_id} names it as its manifest list"
        if location is not None and not self._refer(location, None, named):
            self.told = False
            return None
        try:
            return chain.manifests.read_list(snapshot)
        except ParqueDBError as error:
            self.findings.raised(error, self._key(location) or self.folder)
            self.told = False
            return None

    def _key(self, location: str | None) -> str | None:
        if location is None:
            return None
        return Locations(self.store.root, self.folder).key_or_none(location)

    def _refer(self, location: str | None, size_bytes: int | None, what: str) -> bool:
        """Note a file of metadata and check that it is there."""
        key = self._key(location)
        if key is None:
            if location is not None:
                self.findings.add(
                    location,
                    f"{what}, and it lies outside the storage root",
                    "open a storage whose root holds it",
                )
            return False
        self.referenced.add(key)
        return self.files.expect(key, size_bytes, what)

    def _check_manifest(
        self, table: TableMetadata, listed: ManifestFile, chain: Chain, snapshot: TableSnapshot
    ) -> None:
        """Check a manifest, the first time that it is listed."""
        location = listed.location
        key = self._key(location) or location
        if location in self._manifests:
            known = self._manifests[location]
            if known is not None and _counts(known) != _counts(listed):
                self.findings.add(
                    key, "manifest lists of two snapshots say different things of it", _OLDER
                )
            return
        self._manifests[location] = None
        named = f"the snapshot {snapshot.snapshot_id} lists it"
        if not self._refer(location, listed.length or None, named):
            self.told = False
            return
        try:
            entries = chain.manifests.files(listed)
        except ParqueDBError as error:
            self.findings.raised(error, key)
            self.told = False
            return
        self._manifests[location] = listed
        if listed.spec_id not in table.specs:
            return
        self._check_counts(key, listed, entries)
        if self._past is not None:
            self._past.check_header(chain.manifests.header(listed).get("schema"), key)
        schema = self._schema_of(table, listed, chain)
        for entry in entries:
            if table.format_version > 1 and entry.sequence_number > listed.sequence_number:
                self.findings.add(
                    key,
                    f"an entry has the sequence number {entry.sequence_number}, and the manifest "
                    f"{listed.sequence_number}",
                    _OLDER,
                )
            self._claim(table, listed, entry, schema)

    def _schema_of(self, table: TableMetadata, listed: ManifestFile, chain: Chain) -> Schema:
        snapshot = self._by_id.get(listed.added_snapshot_id or 0)
        if snapshot is not None and snapshot.schema_id is not None:
            return table.schemas.get(snapshot.schema_id, table.schema)
        recorded = chain.manifests.header(listed).get("schema-id", b"")
        known = table.schemas.get(int(recorded)) if recorded.isdigit() else None
        return table.schema if known is None else known

    def _check_counts(self, key: str, listed: ManifestFile, entries: Sequence[FileEntry]) -> None:
        """Compare the counts of a manifest list with the manifest ("Manifest Lists")."""
        record = listed.record
        for status, word in (
            (Status.ADDED, "added"),
            (Status.EXISTING, "existing"),
            (Status.DELETED, "deleted"),
        ):
            chosen = [entry for entry in entries if entry.status == status]
            for told, real, what in (
                (record.get(f"{word}_files_count"), len(chosen), "files"),
                (record.get(f"{word}_rows_count"), _rows(chosen), "rows"),
            ):
                if told is not None and told >= 0 and told != real:
                    self.findings.add(
                        key,
                        f"the manifest list counts {told} {word} {what}, the manifest has {real}",
                        _OLDER,
                    )

    def _claim(
        self, table: TableMetadata, listed: ManifestFile, entry: FileEntry, schema: Schema
    ) -> None:
        """Note a file that a manifest names."""
        file = entry.file
        self.referenced.add(file.path)
        if entry.status == Status.DELETED:
            return
        if not listed.deletes:
            self.files.add(Claim(file, schema, table.specs[listed.spec_id].spec))
            return
        is_vector = str(entry.record.get("file_format", "")).upper() == PUFFIN
        if not is_vector:
            self.files.add(Claim(DataFile(file.path, file.size_bytes, file.rows)))
            if entry.record.get("content") == POSITIONS and self.files.deep:
                self._positions(entry)
            return
        with self.findings.reading(file.path):
            only = self._key(entry.record.get("referenced_data_file")) or file.path
            size = entry.record.get("file_size_in_bytes")
            if self.files.expect(file.path, size, "a manifest names it as file of deleted rows"):
                vector = vector_of(entry)
                self.files.add_deletes(DataFile(only, 0, None, deletes=(vector,)))

    def _positions(self, entry: FileEntry) -> None:
        """Read a position delete file for the highest position of each data file."""
        from parquedb.formats.iceberg.position_files import read_positions  # noqa: PLC0415

        key = entry.file.path
        if self.files.size_of(key) is None:
            return
        with self.findings.reading(key):
            locations = Locations(self.store.root, self.folder)
            for path, positions in read_positions(self.store, locations, key, None).items():
                if positions:
                    self.files.expect_row(path, positions.max(), key)

    def _check_summary(
        self, key: str, snapshot: TableSnapshot, listed: Iterable[ManifestFile]
    ) -> None:
        """Compare a summary's totals with the manifests ("Optional Snapshot Summary Fields")."""
        totals = dict.fromkeys(("total-data-files", "total-records", "total-delete-files"), 0)
        for manifest in listed:
            if manifest.live_files is None or manifest.live_rows is None:
                return
            if manifest.deletes:
                totals["total-delete-files"] += manifest.live_files
            else:
                totals["total-data-files"] += manifest.live_files
                totals["total-records"] += manifest.live_rows
        for name, real in totals.items():
            told = snapshot.summary.get(name, "")
            if told.isdigit() and int(told) != real:
                self.findings.add(
                    key,
                    f"the snapshot {snapshot.snapshot_id} says {name} {told} in its summary, its "
                    f"manifests make {real}",
                    "counts by metadata are wrong: the next compaction or rewrite of manifests "
                    "makes them right, or roll the table back",
                )

    def _check_heads(self, table: TableMetadata, chain: Chain) -> None:
        """Check that no branch or tag lists a data file twice, and ids of rows."""
        refs: Mapping[str, Mapping[str, object]] = table.kept.get("refs", {})
        heads = {ref.get("snapshot-id") for ref in refs.values()} | {table.current_snapshot_id}
        lineage = LineageCheck(self.store, table, chain.manifests, self.findings, self.files.deep)
        for snapshot in table.snapshots:
            if snapshot.snapshot_id not in heads:
                continue
            location = self._key(snapshot.manifest_list) or self.folder
            if not self.findings.about(location):
                with self.findings.reading(location, again=True):
                    chain.live(snapshot, chain.contents(snapshot))
                    if table.format_version > 2:
                        lineage.check(snapshot)


def _counts(manifest: ManifestFile) -> tuple[object, ...]:
    return (
        manifest.length,
        manifest.spec_id,
        manifest.deletes,
        manifest.live_files,
        manifest.live_rows,
        manifest.removed_files,
    )


def _rows(entries: Iterable[FileEntry]) -> int:
    return sum(entry.file.rows or 0 for entry in entries)
