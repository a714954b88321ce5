"""The delete files of a table that is written: one for each data file that has deleted rows.

Where somebody else's delete files are found (of several data files, by equality, several for one
data file), the first commit replaces all of them by ones of that form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from parquedb.errors import FormatError
from parquedb.formats.iceberg.avro import encode_long
from parquedb.formats.iceberg.chain import Chain
from parquedb.formats.iceberg.entries import SOME, encode_partition
from parquedb.formats.iceberg.live import Kind, LiveFile, LiveTable
from parquedb.formats.iceberg.manifest import Manifests
from parquedb.formats.iceberg.origin import LIVE_RECORDS
from parquedb.formats.iceberg.position_files import encode_entry, encode_positions
from parquedb.formats.iceberg.rowdeletes import RowDeletes
from parquedb.formats.iceberg.wire import TableSnapshot
from parquedb.model.files import Deletes
from parquedb.parquet.deletes import load_positions
from parquedb.storage.keys import uri_of
from parquedb.storage.store import NewObject, Store


@dataclass(slots=True)
class DeleteChanges:
    """What a commit does to delete files.

    Args:
        added: New delete files by what they have in common.
        removed: Delete files that are not needed any more.
        objects: The new files themselves.
    """

    added: dict[Kind, list[LiveFile]] = field(default_factory=dict)
    removed: list[LiveFile] = field(default_factory=list)
    objects: list[NewObject] = field(default_factory=list)

    @property
    def new(self) -> list[LiveFile]:
        """All new delete files."""
        return [file for files in self.added.values() for file in files]


@dataclass(slots=True)
class DeleteFiles:
    """The delete files of the newest snapshot.

    Args:
        store: Where deletes that commits refer to are read from.
        folder: Key of the folder in which new delete files lie.
        table: The manifests of delete files.
        existing: What an existing table is read by, and its newest snapshot, until that was done.
        own: The delete file of each data file that has one, by the data file's key.
        foreign: Delete files of other forms.
        resolved: What these delete, by the data file's key.
    """

    store: Store
    folder: str
    table: LiveTable
    existing: tuple[Manifests, TableSnapshot] | None = None
    own: dict[str, LiveFile] = field(default_factory=dict)
    foreign: list[LiveFile] = field(default_factory=list)
    resolved: dict[str, tuple[Deletes, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there are no delete files."""
        return not self.table.files and not self.foreign

    def load(self) -> None:
        """Read the delete files of an existing table, once.

        Raises:
            FormatError: A delete file is missing or damaged.
            UnsupportedError: One is of a kind that cannot be resolved right.
        """
        if self.existing is None:
            return
        (manifests, tip), self.existing = self.existing, None
        if not self.table.files:
            return
        if LIVE_RECORDS in tip.summary:  # we wrote it, and so all of them
            for file in self.table.all_files():
                assert file.target is not None
                self.own[manifests.locations.key(file.target)] = file
            return
        self.foreign = list(self.table.all_files())
        self.table.files = len(self.foreign)
        self.table.rows = sum(file.rows for file in self.foreign)
        chain = Chain(manifests.table, manifests)
        contents = chain.contents(tip)
        live = chain.live(tip, contents)
        self.resolved = RowDeletes(manifests).advance(contents.deletes, live, live)

    def change(
        self,
        wanted: Mapping[str, tuple[Deletes, ...]],
        data: Mapping[str, tuple[Kind, LiveFile]],
        gone: Iterable[str],
        stamp: tuple[int, int, str],
    ) -> DeleteChanges:
        """Make the delete files of the next snapshot.

        Args:
            wanted: The deletes that data files get, by key.
            data: These data files; those whose deletes somebody else's files hold, too.
            gone: Keys of the data files that are removed.
            stamp: The snapshot's id, its sequence number and a name for its files.

        Raises:
            FormatError: Deletes that the commit refers to are missing or damaged.
        """
        changes = DeleteChanges()
        if self.foreign:
            changes.removed, self.foreign = self.foreign, []
            wanted = {**self.resolved, **wanted}
            self.resolved = {}
        for path in (*gone, *wanted):
            old = self.own.pop(path, None)
            if old is not None:
                changes.removed.append(old)
        for path, deletes in wanted.items():
            if path in data and deletes:
                kind, file = data[path]
                made = self._write(kind, file, deletes, stamp, changes)
                if made is not None:
                    self.own[path] = made
        return changes

    def _write(
        self,
        kind: Kind,
        data: LiveFile,
        deletes: tuple[Deletes, ...],
        stamp: tuple[int, int, str],
        changes: DeleteChanges,
    ) -> LiveFile | None:
        snapshot_id, sequence_number, name = stamp
        positions = load_positions(self.store, data.path, deletes)
        if not positions:
            return None
        if positions.max() >= data.rows:
            raise FormatError(
                f"row {positions.max()} of {data.path!r} is said to be deleted, and the file has "
                f"{data.rows} rows; the deletes belong to another file",
                location=data.path,
                section="Position Delete Files",
            )
        root = self.store.root
        location = data.location or uri_of(root, data.path)
        content = encode_positions(location, positions)
        key = f"{self.folder}/{name}-{len(changes.objects)}-deletes.parquet"
        changes.objects.append(NewObject(key, content))
        sequence = SOME + encode_long(sequence_number)
        partition = encode_partition(kind.columns, data.partition)
        entry = encode_entry(uri_of(root, key), location, partition, len(content), len(positions))
        made = LiveFile(
            key,
            len(positions),
            len(content),
            data.partition,
            sequence_number,
            SOME + encode_long(snapshot_id),
            sequence + sequence + entry,
            None,
            location,
        )
        changes.added.setdefault(kind, []).append(made)
        return made
