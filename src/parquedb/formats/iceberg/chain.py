"""The snapshots of a table's main branch and what each of them changed."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from parquedb.errors import FormatError
from parquedb.formats.iceberg.manifest import FileEntry, ManifestFile, Manifests, Status
from parquedb.formats.iceberg.wire import TableMetadata, TableSnapshot
from parquedb.formats.iceberg.wire_schema import parse_schema
from parquedb.model.files import DataFile
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class Contents:
    """What a snapshot holds, by its manifest list alone.

    Args:
        manifests: All its data manifests.
        deletes: All its manifests of delete files.
        own: Those that the snapshot itself wrote.
        files: Number of live files.
        rows: Their rows, deleted rows included.
    """

    manifests: tuple[ManifestFile, ...]
    deletes: tuple[ManifestFile, ...]
    own: tuple[ManifestFile, ...]
    files: int
    rows: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What a snapshot changed.

    Args:
        added: Data files that came, with their entries.
        removed: Data files that went.
        base: Whether ``added`` is the whole table because what was before is not known.
    """

    added: tuple[FileEntry, ...]
    removed: tuple[DataFile, ...]
    base: bool = False


def ancestors(table: TableMetadata) -> tuple[TableSnapshot, ...]:
    """Return the snapshots of the main branch that are still retained, oldest first.

    Raises:
        FormatError: The current snapshot is missing, or the parents form a circle.
    """
    by_id = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots}
    wanted, chain = table.current_snapshot_id, list[TableSnapshot]()
    if wanted is not None and wanted not in by_id:
        raise FormatError(
            f"the table at {table.location} names {wanted} as its current snapshot, which its "
            "metadata does not contain; restore an older metadata file",
            location=table.location,
            section="Table Metadata Fields",
        )
    while wanted is not None and wanted in by_id:
        chain.append(by_id.pop(wanted))
        wanted = chain[-1].parent_id
    if wanted is not None and any(snapshot.snapshot_id == wanted for snapshot in chain):
        raise FormatError(
            f"the snapshots of the table at {table.location} form a circle at {wanted}",
            location=table.location,
            section="Snapshots",
        )
    return tuple(reversed(chain))


@dataclass(slots=True)
class Chain:
    """Derives contents, differences, schemas and specs of a table's snapshots."""

    table: TableMetadata
    manifests: Manifests

    def contents(self, snapshot: TableSnapshot) -> Contents:
        """Read a snapshot's manifest list.

        Raises:
            FormatError: The list is missing or damaged.
        """
        listed = self.manifests.read_list(snapshot)
        snapshot_id = snapshot.snapshot_id
        own, deletes, files, rows = [], list[ManifestFile](), 0, 0
        for manifest in listed:
            if manifest.deletes:
                if manifest.live_files != 0:
                    deletes.append(manifest)
                continue
            if manifest.added_snapshot_id in (snapshot_id, None):
                own.append(manifest)
            if manifest.live_files is None or manifest.live_rows is None:
                counted = self._count(manifest)
                files += counted[0]
                rows += counted[1]
            else:
                files += manifest.live_files
                rows += manifest.live_rows
        data = tuple(manifest for manifest in listed if not manifest.deletes)
        return Contents(data, tuple(deletes), tuple(own), files, rows)

    def live(self, snapshot: TableSnapshot, contents: Contents) -> dict[str, FileEntry]:
        """Return the entries of all data files of a snapshot, by key.

        Raises:
            FormatError: A file is listed twice, or the manifests hold other files than the
                manifest list counts.
        """
        files: dict[str, FileEntry] = {}
        listed = rows = 0
        for manifest in contents.manifests:
            for entry in self.manifests.files(manifest):
                if entry.status != Status.DELETED:
                    files[entry.file.path] = entry
                    listed += 1
                    rows += entry.file.rows or 0
        if listed != len(files):
            raise self.broken(snapshot, f"{listed - len(files)} data files are listed twice")
        if (listed, rows) != (contents.files, contents.rows):
            raise self.broken(
                snapshot,
                f"its manifests hold {listed} files with {rows} rows and its manifest list "
                f"counts {contents.files} with {contents.rows}",
            )
        return files

    def difference(
        self,
        snapshot: TableSnapshot,
        contents: Contents,
        before: tuple[TableSnapshot, Contents] | None,
    ) -> Difference:
        """Return what a snapshot changed against the one before it.

        Only the manifests that the snapshot wrote are opened. Where what they say does not lead
        from the files before to the files that the snapshot lists, all files are compared.

        Args:
            snapshot: The snapshot.
            contents: Its contents.
            before: Its parent and that one's contents; None if there is none (any more).

        Raises:
            FormatError: The manifests contradict each other.
        """
        if before is None and snapshot.parent_id is not None:
            return Difference(tuple(self.live(snapshot, contents).values()), (), base=True)
        added, removed = self._own_changes(snapshot, contents.own)
        new = tuple(entry.file for entry in added)
        files, rows = len(added) - len(removed), _rows(new) - _rows(removed)
        if before is not None:
            files, rows = files + before[1].files, rows + before[1].rows
        paths = {file.path for file in new}
        if (files, rows) == (contents.files, contents.rows) and len(paths) == len(added):
            return Difference(added, removed)
        live = self.live(snapshot, contents)
        if before is None:  # some writers cut the link to parents that they expire
            return Difference(tuple(live.values()), (), base=True)
        old = self.live(*before)
        return Difference(
            tuple(entry for path, entry in live.items() if _changed(entry, old.get(path))),
            tuple(entry.file for path, entry in old.items() if _changed(entry, live.get(path))),
        )

    def schema(self, snapshot: TableSnapshot, contents: Contents) -> Schema:
        """Return the schema as of a snapshot.

        Version 1 snapshots may not record it: then it is the schema in the newest manifest that
        the snapshot wrote, or the table's current one.
        """
        if snapshot.schema_id is not None and snapshot.schema_id in self.table.schemas:
            return self.table.schemas[snapshot.schema_id]
        for manifest in contents.own:
            header = self.manifests.header(manifest)
            recorded = header.get("schema-id")
            if recorded is not None and int(recorded) in self.table.schemas:
                return self.table.schemas[int(recorded)]
            if "schema" in header:
                return _header_schema(header["schema"], manifest.location)
        return self.table.schema

    def spec(self, manifests: Iterable[ManifestFile]) -> PartitionSpec | None:
        """Return the spec with which files were last added by some manifests, None if by none."""
        newest = max(
            (
                manifest
                for manifest in manifests
                if manifest.spec_id in self.table.specs and manifest.added_files != 0
            ),
            key=lambda manifest: (manifest.sequence_number, manifest.spec_id),
            default=None,
        )
        return None if newest is None else self.table.specs[newest.spec_id].spec

    def _own_changes(
        self, snapshot: TableSnapshot, own: Iterable[ManifestFile]
    ) -> tuple[tuple[FileEntry, ...], tuple[DataFile, ...]]:
        added, removed = [], []
        for manifest in own:
            if manifest.added_files == 0 and manifest.removed_files == 0:
                continue
            entries: list[FileEntry] = self.manifests.files(manifest, snapshot.snapshot_id)
            for entry in entries:
                if entry.status == Status.ADDED:
                    added.append(entry)
                else:
                    removed.append(entry.file)
        return tuple(added), tuple(removed)

    def _count(self, manifest: ManifestFile) -> tuple[int, int]:
        live = [e for e in self.manifests.files(manifest) if e.status != Status.DELETED]
        return len(live), _rows(entry.file for entry in live)

    def broken(self, snapshot: TableSnapshot, what: str) -> FormatError:
        """Return the error for a snapshot that contradicts itself."""
        return FormatError(
            f"the snapshot {snapshot.snapshot_id} of the Iceberg table at {self.table.location} "
            f"is inconsistent: {what}; roll the table back to an older snapshot",
            location=snapshot.manifest_list,
            section="Manifest Lists",
        )


def _rows(files: Iterable[DataFile]) -> int:
    return sum(file.rows or 0 for file in files)


def _changed(entry: FileEntry, other: FileEntry | None) -> bool:
    if other is None:
        return True
    one, two = entry.file, other.file
    return (one.size_bytes, one.rows) != (two.size_bytes, two.rows)


def _header_schema(data: bytes, location: str) -> Schema:
    try:
        return parse_schema(orjson.loads(data), location)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(
            f"{location}: the schema in the manifest's header cannot be read ({error!r})",
            location=location,
            section="Manifests",
        ) from error
