"""The files of a table from snapshot to snapshot: each manifest is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MappingProxyType

from parquedb.formats.iceberg.chain import Chain, Contents
from parquedb.formats.iceberg.manifest import FileEntry, ManifestFile, Status
from parquedb.formats.iceberg.rowdeletes import RowDeletes
from parquedb.formats.iceberg.wire import TableSnapshot
from parquedb.log.snapshot import Snapshot
from parquedb.log.walk import Step
from parquedb.model.files import DataFile

Look = Callable[[int | None], tuple[Snapshot, tuple[TableSnapshot, Contents] | None]]
"""Returns the table at a version, without its files, and the snapshot that holds them."""


class ManifestWalk:
    """Goes from snapshot to snapshot of a table (see :class:`~parquedb.log.walk.Walk`).

    Args:
        chain: The table's snapshots.
        look: Looks at a version.
    """

    def __init__(self, chain: Chain, look: Look) -> None:
        self._chain = chain
        self._look = look
        self._whole = False
        self._reset()

    def to(self, version: int | None) -> Step:
        """Go to a version, None for the table as it is now."""
        head, found = self._look(version)
        begins = not self._whole
        if begins:
            self._reset()
        self._whole = False  # unless all of it can be read
        touched = set[str]()
        if found is not None:
            touched = self._go(*found)
        self._whole = True
        files = MappingProxyType(self._files)
        return Step(replace(head, files=files), None if begins else touched)

    def _reset(self) -> None:
        self._held: dict[str, dict[str, FileEntry]] = {}
        self._entries: dict[str, FileEntry] = {}
        self._files: dict[str, DataFile] = {}
        self._deletes: RowDeletes | None = None
        self._rows = 0

    def _go(self, snapshot: TableSnapshot, contents: Contents) -> set[str]:
        before, after = self._exchange(snapshot, contents.manifests)
        if (len(self._entries), self._rows) != (contents.files, contents.rows):
            raise self._chain.broken(
                snapshot,
                f"its manifests hold {len(self._entries)} files with {self._rows} rows and its "
                f"manifest list counts {contents.files} with {contents.rows}",
            )
        touched = {path for path, entry in after.items() if _differs(entry, before.get(path))}
        gone = before.keys() - after.keys()
        for path in gone:
            del self._files[path]
        for path in touched:
            self._files[path] = self._entries[path].file
        return touched | gone | self._delete(contents.deletes, touched, gone)

    def _exchange(
        self, snapshot: TableSnapshot, manifests: Iterable[ManifestFile]
    ) -> tuple[dict[str, FileEntry], dict[str, FileEntry]]:
        """Go from the manifests before to others; return the files of both that differ."""
        listed = {manifest.location: manifest for manifest in manifests}
        before: dict[str, FileEntry] = {}
        for location in [location for location in self._held if location not in listed]:
            before.update(self._held.pop(location))
        for path, entry in before.items():
            del self._entries[path]
            self._rows -= entry.file.rows or 0
        after: dict[str, FileEntry] = {}
        twice = 0
        for location, manifest in listed.items():
            if location in self._held:
                continue
            live = [e for e in self._chain.manifests.files(manifest) if e.status != Status.DELETED]
            held = {entry.file.path: entry for entry in live}
            twice += len(live) - len(held) + len(held.keys() & self._entries.keys())
            self._held[location] = held
            self._entries.update(held)
            after.update(held)
            self._rows += sum(entry.file.rows or 0 for entry in live)
        if twice:
            raise self._chain.broken(snapshot, f"{twice} data files are listed twice")
        return before, after

    def _delete(
        self, deletes: tuple[ManifestFile, ...], touched: set[str], gone: Iterable[str]
    ) -> set[str]:
        """Follow the deleted rows; return the files whose deleted rows are others."""
        added: Iterable[str] = touched
        if self._deletes is None:
            if not deletes:
                return set()
            self._deletes, added = RowDeletes(self._chain.manifests), self._entries
        found = self._deletes.advance(deletes, self._entries, set(added), list(gone))
        for path, rows in found.items():
            self._files[path] = replace(self._files[path], deletes=rows)
        return set(found)


def _differs(entry: FileEntry, other: FileEntry | None) -> bool:
    return other is None or (entry.file, entry.sequence_number) != (
        other.file,
        other.sequence_number,
    )
