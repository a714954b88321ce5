"""Whether the row ids and deletion vectors of an Iceberg table of format version 3 are consistent.

Iceberg specification, "Row Lineage", "First Row ID Assignment", "Deletion Vectors".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from parquedb.errors import UnsupportedError
from parquedb.formats.iceberg.manifest import Entry, ManifestFile, Manifests, Status
from parquedb.formats.iceberg.puffin import parse_puffin
from parquedb.formats.iceberg.rowdeletes import PUFFIN
from parquedb.formats.iceberg.rowids import inherit_row_id
from parquedb.formats.iceberg.wire import TableMetadata, TableSnapshot
from parquedb.maintain.check_report import Findings
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_METADATA = "point the table to an older metadata file, or restore the file from a backup"
_COMPACT = "rows are mixed up by who follows their ids: compact the table with its engine"
_VECTORS = "roll the table back to a snapshot that is whole"


def check_row_ids(table: TableMetadata, wrong: Callable[[str], None]) -> None:
    """Check the row ids that snapshots gave out.

    Args:
        table: The table's metadata.
        wrong: Called with each problem.
    """
    end, before = 0, None
    for snapshot in sorted(table.snapshots, key=lambda one: one.sequence_number):
        id_, given = snapshot.snapshot_id, snapshot.row_ids
        if given is None:
            if before is not None:
                wrong(f"the snapshot {id_} has no first-row-id, and older ones have")
            continue
        if given[0] < end:
            wrong(
                f"the snapshots {before} and {id_} give the same row ids to different rows: one "
                f"ends at {end}, the other begins at {given[0]}"
            )
        end, before = max(end, sum(given)), id_
    if end > table.next_row_id:
        wrong(f"next-row-id is {table.next_row_id}, and ids up to {end} were given out")


@dataclass(frozen=True, slots=True)
class LineageCheck:
    """Checks the row ids and vectors of snapshots.

    Args:
        store: The store.
        table: The table's metadata.
        manifests: Reads its manifests.
        findings: Where findings go.
        deep: Whether Puffin files are read.
    """

    store: Store
    table: TableMetadata
    manifests: Manifests
    findings: Findings
    deep: bool

    def check(self, snapshot: TableSnapshot) -> None:
        """Check the newest snapshot of a branch, or one that has a tag.

        Raises:
            ParqueDBError: Its metadata cannot be read.
        """
        listed = self.manifests.read_list(snapshot)
        data = {
            e.record["file_path"]: e for one in listed if not one.deletes for e in self._live(one)
        }
        if snapshot.row_ids is not None:
            self._check_ranges(snapshot, [one for one in listed if not one.deletes])
        vectors: dict[str, Entry] = {}
        for manifest in listed:
            for entry in self._live(manifest) if manifest.deletes else ():
                if entry.record["file_format"].upper() == PUFFIN:
                    self._check_vector(manifest, entry, data, vectors)

    def _live(self, manifest: ManifestFile) -> Iterator[Entry]:
        return (e for e in self.manifests.entries(manifest) if e.status != Status.DELETED)

    def _check_ranges(self, snapshot: TableSnapshot, listed: Sequence[ManifestFile]) -> None:
        ranges: list[tuple[int, int, str]] = []
        for manifest in listed:
            next_id: int | None = manifest.record.get("first_row_id")
            if next_id is None:
                self.findings.add(
                    self._key(manifest.location),
                    f"the snapshot {snapshot.snapshot_id} lists it without a first_row_id",
                    _METADATA,
                )
                continue
            for entry in self._live(manifest):
                first, next_id = inherit_row_id(entry.record, next_id)
                assert first is not None
                rows = entry.record["record_count"]
                ranges.append((first, first + rows, entry.record["file_path"]))
        before, end, other = 0, 0, ""
        for before, after, path in sorted(ranges):
            if before < end and before < after:
                self.findings.add(
                    self._key(path),
                    f"its rows have ids from {before} on, and those of {other} up to {end}",
                    _COMPACT,
                )
            if after > end:
                end, other = after, path
        if end > self.table.next_row_id:
            self.findings.add(
                self._key(other),
                f"its rows have ids up to {end}, and the table's next-row-id is "
                f"{self.table.next_row_id}",
                _COMPACT,
            )

    def _check_vector(
        self,
        manifest: ManifestFile,
        entry: Entry,
        data: dict[str, Entry],
        vectors: dict[str, Entry],
    ) -> None:
        record = entry.record
        about = record.get("referenced_data_file")
        if about is None:
            return  # said elsewhere
        if about in vectors:
            self.findings.add(
                self._key(manifest.location), f"{about} has two deletion vectors", _VECTORS
            )
        vectors[about] = entry
        if about not in data:
            self.findings.note(
                f"{self._key(record['file_path'])} holds a deletion vector of {about}, which is "
                "not part of the table; readers pass over it"
            )
        elif data[about].sequence_number > entry.sequence_number:
            self.findings.add(
                self._key(record["file_path"]),
                f"its deletion vector of {about} is older than that file (sequence number "
                f"{entry.sequence_number} and {data[about].sequence_number})",
                _VECTORS,
            )
        if self.deep:
            self._check_blob(entry, about)

    def _check_blob(self, entry: Entry, about: str) -> None:
        """Compare a manifest entry with the Puffin file's own footer."""
        record = entry.record
        key = self._key(record["file_path"])
        if self.store.head(key) is None:
            return  # said elsewhere
        with self.findings.reading(key):
            try:
                blobs = parse_puffin(self.store.get(key), key)
            except UnsupportedError as error:
                self.findings.note(str(error))
                return
            place = record.get("content_offset"), record.get("content_size_in_bytes")
            told = (*place, about, record["record_count"])
            if told not in {(b.offset_bytes, b.size_bytes, b.about, b.rows) for b in blobs}:
                self.findings.add(
                    key,
                    f"a manifest names the deletion vector of {about} at byte {place[0]}, "
                    f"{place[1]} bytes long, of {told[3]} rows; the file's footer does not",
                    _VECTORS,
                )

    def _key(self, location: str) -> str:
        return self.manifests.locations.key_or_none(location) or location
