"""Which rows of a table's data files are deleted, from snapshot to snapshot.

All kinds of delete files are resolved to positions ("Scan Planning"): a position delete file
applies to the data files that it names, of its own partition and not newer than itself; an
equality delete file to all data files of its partition (all of the table's, if its spec is
unpartitioned) that are older than itself. A deletion vector (format version 3) applies to the one
data file that it names, and then no position delete file does: it holds their rows too. It is not
read before its rows are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field

from pyroaring import BitMap64

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.iceberg.equality import EqualityFile, equality_schema
from parquedb.formats.iceberg.manifest import FileEntry, ManifestFile, Manifests, Status
from parquedb.formats.iceberg.position_files import PATH_ID, read_positions
from parquedb.model.files import DataFile, Deletes, VectorFile
from parquedb.model.partition import VoidTransform
from parquedb.parquet.deletes import FRAME_BYTES, inline_vector, load_positions
from parquedb.slotted import dataclass

POSITIONS, EQUALITY = 1, 2
"""Values of ``content``."""
_LAST = (1 << 64) - 1
PUFFIN = "PUFFIN"
"""The file format of deletion vectors."""


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """A delete file as a manifest names it.

    Args:
        file: The file; ``rows`` are its own.
        content: What kind it is of.
        sequence_number: Its data sequence number.
        only: Key of the data file that it is about, where the metadata says that there is but one.
        equality_ids: The columns by which it deletes.
        vector: Where in the file the rows are, if it is a deletion vector.
        about: Location of that data file.
    """

    file: DataFile
    content: int
    sequence_number: int
    only: str | None
    equality_ids: tuple[int, ...]
    vector: VectorFile | None = None
    about: str | None = None

    @property
    def name(self) -> str:
        """What tells it from others: a Puffin file holds many vectors."""
        path = self.file.path
        return path if self.vector is None else f"{path}\0{self.vector.offset_bytes}"


@dataclass(slots=True)
class RowDeletes:
    """The deleted rows of one table while its snapshots are followed.

    Args:
        manifests: Reads the table's manifests.
    """

    manifests: Manifests
    _listed: dict[str, dict[str, DeleteFile]] = field(default_factory=dict)
    _positions: dict[str, dict[str, BitMap64]] = field(default_factory=dict)
    _by_data: dict[str, dict[str, DeleteFile]] = field(default_factory=dict)
    _equality: dict[str, DeleteFile] = field(default_factory=dict)
    _values: dict[str, EqualityFile] = field(default_factory=dict)
    _matched: dict[tuple[str, str], BitMap64] = field(default_factory=dict)
    _current: dict[str, tuple[Deletes, ...]] = field(default_factory=dict)

    def advance(
        self,
        listed: Sequence[ManifestFile],
        live: Mapping[str, FileEntry],
        added: Collection[str],
        removed: Collection[str] = (),
    ) -> dict[str, tuple[Deletes, ...]]:
        """Go on to a snapshot.

        Args:
            listed: Its manifests of delete files.
            live: Its data files.
            added: Those that it added.
            removed: Keys of those that it removed.

        Returns:
            The deletes of the data files whose deletes are others than in the snapshot before;
            those of added files where there are some.

        Raises:
            FormatError: A manifest or a delete file is missing or damaged.
            UnsupportedError: A delete file is of a kind that cannot be resolved right.
        """
        for path in removed:
            if path not in live:
                self._forget(path)
        affected = {path for path in added if path in live}
        for path in affected:
            self._current.pop(path, None)
        gone, come = self._difference(listed)
        for one in gone:
            affected.update(self._drop(one))
        for one in come:
            affected.update(self._take(one, live))
        changed: dict[str, tuple[Deletes, ...]] = {}
        for path in affected:
            entry = live.get(path)
            if entry is None:
                continue
            deletes = self._resolve(entry)
            if deletes != self._current.get(path, ()):
                changed[path] = deletes
                self._current[path] = deletes
        return changed

    def _difference(
        self, listed: Sequence[ManifestFile]
    ) -> tuple[list[DeleteFile], list[DeleteFile]]:
        """Return the delete files that are gone and those that are new."""
        locations = {manifest.location for manifest in listed}
        before: dict[str, DeleteFile] = {}
        for location in [location for location in self._listed if location not in locations]:
            before.update(self._listed.pop(location))
        after: dict[str, DeleteFile] = {}
        for manifest in listed:
            if manifest.location not in self._listed:
                read = self._read(manifest)
                self._listed[manifest.location] = read
                after.update(read)
        gone = [one for path, one in before.items() if after.get(path) != one]
        come = [one for path, one in after.items() if before.get(path) != one]
        return gone, come

    def _read(self, manifest: ManifestFile) -> dict[str, DeleteFile]:
        found: dict[str, DeleteFile] = {}
        for entry in self.manifests.files(manifest):
            if entry.status == Status.DELETED:
                continue
            one = self._parse(entry)
            found[one.name] = one
        return found

    def _parse(self, entry: FileEntry) -> DeleteFile:
        record = entry.record
        content = record.get("content") or 0
        location = record["file_path"]
        if content not in (POSITIONS, EQUALITY):
            raise UnsupportedError(
                f"{location} is in a manifest of delete files and is none (content {content})",
                feature="delete files",
            )
        only = record.get("referenced_data_file")
        if only is None and content == POSITIONS:
            lower = (record.get("lower_bounds") or {}).get(PATH_ID)
            upper = (record.get("upper_bounds") or {}).get(PATH_ID)
            if lower is not None and lower == upper:
                only = lower.decode("utf-8", "replace")
        key = None if only is None else self.manifests.locations.key_or_none(only)
        ids = tuple(record.get("equality_ids") or ())
        vector = vector_of(entry) if record["file_format"].upper() == PUFFIN else None
        return DeleteFile(entry.file, content, entry.sequence_number, key, ids, vector, only)

    def _take(self, one: DeleteFile, live: Mapping[str, FileEntry]) -> Iterable[str]:
        path = one.name
        if one.content == EQUALITY:
            self._equality[path] = one
            return [key for key, entry in live.items() if self._applies(one, entry)]
        manifests = self.manifests
        if one.vector is not None:
            found = {} if one.only is None else {one.only: BitMap64()}
        else:
            told = None if one.about is None else (one.about, one.file.rows or 0)
            found = read_positions(manifests.store, manifests.locations, path, one.only, told)
        self._positions[path] = found
        for key in found:
            self._by_data.setdefault(key, {})[path] = one
        return found

    def _drop(self, one: DeleteFile) -> Iterable[str]:
        path = one.name
        if one.content == EQUALITY:
            self._equality.pop(path, None)
            self._values.pop(path, None)
            gone = [pair for pair in self._matched if pair[0] == path]
            for pair in gone:
                del self._matched[pair]
            return [key for _, key in gone]
        found = self._positions.pop(path, {})
        for key in found:
            self._by_data.get(key, {}).pop(path, None)
        return found

    def _forget(self, path: str) -> None:
        self._current.pop(path, None)
        for one in self._equality:
            self._matched.pop((one, path), None)

    def _applies(self, one: DeleteFile, entry: FileEntry) -> bool:
        file = entry.file
        same = (one.file.spec_id, one.file.partition) == (file.spec_id, file.partition)
        if one.content == POSITIONS:
            return same and entry.sequence_number <= one.sequence_number
        fields = self.manifests.table.specs[one.file.spec_id].spec.fields
        everywhere = all(isinstance(field.transform, VoidTransform) for field in fields)
        return (same or everywhere) and entry.sequence_number < one.sequence_number

    def _resolve(self, entry: FileEntry) -> tuple[Deletes, ...]:
        """Return all deleted rows of a data file."""
        key, total = entry.file.path, BitMap64()
        for one in self._equality.values():
            if self._applies(one, entry):
                total |= self._match(one, entry.file)
        named = [one for one in self._by_data.get(key, {}).values() if self._applies(one, entry)]
        vectors = tuple(one.vector for one in named if one.vector is not None)
        if len(vectors) > 1:
            raise FormatError(
                f"{key!r} has {len(vectors)} deletion vectors in one snapshot, which must not be; "
                "roll the table back to an older snapshot",
                location=key,
                section="Deletion Vectors",
            )
        if vectors and not total:
            return vectors
        if vectors:
            total |= load_positions(self.manifests.store, key, vectors)
        else:
            for one in named:
                total |= self._positions[one.name][key]
        rows = entry.file.rows or 0
        if total and total.max() >= rows:  # deletes nothing
            total.remove_range(rows, _LAST)
            total.discard(_LAST)
        return (inline_vector(total),) if total else ()

    def _match(self, one: DeleteFile, file: DataFile) -> BitMap64:
        pair = (one.name, file.path)
        if pair not in self._matched:
            table, store = self.manifests.table, self.manifests.store
            values = self._values.get(pair[0])
            if values is None:
                schema = equality_schema(table, one.equality_ids, pair[0])
                values = self._values[pair[0]] = EqualityFile(store, one.file, schema)
            spec = table.specs[file.spec_id].spec
            self._matched[pair] = values.positions(file, spec)
        return self._matched[pair]


def vector_of(entry: FileEntry) -> VectorFile:
    """Return where the rows of a deletion vector are ("Deletion Vectors").

    Raises:
        FormatError: The manifest entry does not say.
    """
    record = entry.record
    offset, size = record.get("content_offset"), record.get("content_size_in_bytes")
    told = record.get("referenced_data_file") is not None
    if offset is None or size is None or not told or offset < 0 or size < FRAME_BYTES:
        raise FormatError(
            f"{record['file_path']} holds deletion vectors, and a manifest does not say of which "
            "data file or where in it; roll the table back to an older snapshot",
            location=record["file_path"],
            section="Data File Fields",
        )
    return VectorFile(entry.file.path, offset, size, record["record_count"])
