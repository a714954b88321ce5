"""The delete files of a table that is written: one for each data file that has deleted rows.

In format version 2 these are position delete files. Where somebody else's are found (of several
data files, by equality, several for one data file), the first commit replaces all of them by ones
of that form. In version 3 they are deletion vectors, whoever wrote them. Delete files from before
become vectors when their data file's rows change if they are ours, with the first commit if not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

from pyroaring import BitMap64

from parquedb.errors import FormatError
from parquedb.formats.iceberg.avro import encode_long
from parquedb.formats.iceberg.chain import Chain
from parquedb.formats.iceberg.entries import SOME, encode_partition, encode_reference
from parquedb.formats.iceberg.live import NO_REFERENCE, Kind, LiveFile, LiveTable
from parquedb.formats.iceberg.manifest import Manifests
from parquedb.formats.iceberg.origin import LIVE_RECORDS
from parquedb.formats.iceberg.position_files import (
    encode_entry,
    encode_positions,
    encode_vector_entry,
)
from parquedb.formats.iceberg.puffin import OFFSET_BYTES, encode_puffin
from parquedb.formats.iceberg.rowdeletes import RowDeletes
from parquedb.formats.iceberg.wire import TableSnapshot
from parquedb.model.files import Deletes, VectorFile
from parquedb.parquet.deletes import inline_vector, load_positions
from parquedb.slotted import dataclass
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
        version: The table's format version.
    """

    store: Store
    folder: str
    table: LiveTable
    existing: tuple[Manifests, TableSnapshot] | None = None
    own: dict[str, LiveFile] = field(default_factory=dict)
    foreign: list[LiveFile] = field(default_factory=list)
    resolved: dict[str, tuple[Deletes, ...]] = field(default_factory=dict)
    version: int = 2

    @property
    def is_empty(self) -> bool:
        """Whether there are no delete files."""
        return not self.table.files and not self.foreign

    def load(self, is_live: Callable[[str], bool]) -> None:
        """Read the delete files of an existing table, once.

        Args:
            is_live: Whether a data file is part of the table.

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
        files = list(self.table.all_files())
        self.table.files = len(files)
        self.table.rows = sum(file.rows for file in files)
        for file in files:
            about = None if file.target is None else manifests.locations.key_or_none(file.target)
            if is_vector(file) and about is not None and is_live(about):
                self.own[about] = file
            else:
                self.foreign.append(file)
        if all(is_vector(file) for file in self.foreign):
            return  # of data files that are gone
        chain = Chain(manifests.table, manifests)
        contents = chain.contents(tip)
        live = chain.live(tip, contents)
        resolved = RowDeletes(manifests).advance(contents.deletes, live, live)
        self.resolved = {path: d for path, d in resolved.items() if not _is_one_vector(d)}

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
        encode = _position_file if self.version < 3 else _vector_file
        file = encode(
            root, f"{self.folder}/{name}-{len(changes.objects)}-deletes", location, positions
        )
        changes.objects.append(NewObject(file.key, file.content))
        sequence = SOME + encode_long(sequence_number)
        made = LiveFile(
            file.path,
            len(positions),
            len(file.content),
            data.partition,
            sequence_number,
            SOME + encode_long(snapshot_id),
            sequence + sequence + file.entry(encode_partition(kind.columns, data.partition)),
            None,
            location,
            reference=file.reference,
        )
        changes.added.setdefault(kind, []).append(made)
        return made


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A new delete file.

    Args:
        key: Its key.
        path: What it is called among live files.
        content: Its bytes.
        entry: Encodes its ``data_file`` member with a partition tuple.
        reference: The members after that, encoded.
    """

    key: str
    path: str
    content: bytes
    entry: Callable[[bytes], bytes]
    reference: bytes = NO_REFERENCE


def _position_file(root: str, name: str, location: str, positions: BitMap64) -> _Encoded:
    key, content = f"{name}.parquet", encode_positions(location, positions)
    size, rows = len(content), len(positions)
    return _Encoded(
        key,
        key,
        content,
        lambda tuple_: encode_entry(uri_of(root, key), location, tuple_, size, rows),
    )


def _vector_file(root: str, name: str, location: str, positions: BitMap64) -> _Encoded:
    key, rows = f"{name}.puffin", len(positions)
    content, length = encode_puffin(inline_vector(positions).bitmap, location, rows)
    place = {"content_offset": OFFSET_BYTES, "content_size_in_bytes": length}
    return _Encoded(
        key,
        f"{key}\0{OFFSET_BYTES}",
        content,
        lambda tuple_: encode_vector_entry(uri_of(root, key), tuple_, len(content), rows),
        encode_reference({"referenced_data_file": location, **place}),
    )


def is_vector(file: LiveFile) -> bool:
    """Whether a delete file is a deletion vector."""
    return "\0" in file.path


def _is_one_vector(deletes: tuple[Deletes, ...]) -> bool:
    return len(deletes) == 1 and isinstance(deletes[0], VectorFile)
