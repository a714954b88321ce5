"""Carry commits from a source to a target, file by file and version by version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import PurePosixPath

from parquedb.errors import ConflictError, StateError
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation, Origin
from parquedb.log.ports import Committed, Conflict, LogWriter
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.carry import changes_types
from parquedb.migrate.fit import FitType, fit_schema
from parquedb.migrate.layout import AS_IT_IS, Layout
from parquedb.migrate.names import Names, Need
from parquedb.migrate.place import Placer, Schemas, first_generation
from parquedb.migrate.report import Means
from parquedb.model.files import DataFile, Deletes
from parquedb.model.format import Format
from parquedb.model.partition import UNPARTITIONED, PartitionSpec
from parquedb.model.schema import EMPTY, Identity, Path, Schema, ids_by_path
from parquedb.parquet.deletes import same_deletes
from parquedb.parquet.elements import Element
from parquedb.parquet.footer import read_footer
from parquedb.slotted import dataclass

NO_SCHEMAS = Schemas(EMPTY, EMPTY, EMPTY)


@dataclass(slots=True)
class Transfer:
    """One run of commits into a target.

    Args:
        fit_type: How the target stores types.
        source: The source's format.
        source_id: The source table's identity.
        target: The target's writer.
        placer: Places the files.
        live: The target's live files by key, kept up to date.
        back: Keys of live target files, by the key that the way back gave them in the source.
        expect: The target's newest version, None if there is no table.
        batch_size: Versions written by one call of the writer.
        now_ms: The clock.
        source_live: The source's live files by key.
        layout: How the target is partitioned.
        names: Gives files the names of each version; None where all have them.
        held: The target's columns at the beginning; None if there is no table.
    """

    fit_type: FitType
    source: Format
    source_id: str
    target: LogWriter
    placer: Placer
    live: dict[str, DataFile]
    back: dict[str, str]
    expect: int | None
    batch_size: int
    now_ms: Callable[[], int]
    bytes_written: int = 0
    versions_written: int = 0
    source_live: dict[str, DataFile] = field(default_factory=dict)
    layout: Layout = AS_IT_IS
    names: Names | None = None
    held: Schema | None = None
    _held_spec: PartitionSpec | None = None
    _schemas: Schemas = NO_SCHEMAS
    _generations: dict[str, str] = field(default_factory=dict)
    _origins: dict[str, str] = field(default_factory=dict)
    _spec: PartitionSpec = UNPARTITIONED
    _specs: dict[int, PartitionSpec] = field(default_factory=lambda: {0: UNPARTITIONED})

    def __post_init__(self) -> None:
        for key in self.live:
            self._note_generation(key)
        self._origins = {PurePosixPath(key).name: live for key, live in self.back.items()}

    def start_after(self, before: Snapshot) -> None:
        """Continue after a version of the source that is in the target already."""
        self.source_live = dict(before.files)
        self._schemas = Schemas(before.schema, before.schema, before.schema)
        self._specs.update(before.specs)
        self._spec = self._held_spec = before.spec

    def partition_anew(self, layout: Layout, before: Snapshot) -> None:
        """Give the target another partitioning by a version of its own, with the same rows.

        Args:
            layout: The new layout.
            before: The source at the version that the target holds.

        Raises:
            ConflictError: Somebody else wrote to the target meanwhile.
        """
        self.layout = layout
        schemas = self._schemas
        fitted = fit_schema(schemas.source, self.fit_type).schema
        self._schemas = Schemas(schemas.source, fitted, fitted)
        changes: list[Change] = [SetSchema(fitted), SetPartitioning(layout.spec(fitted))]
        changes += self._added_again(list(self.source_live.values()))
        origin = Origin(self.source, self.source_id, before.version)
        commit = Commit(
            before.version, before.at_ms, Operation.REPLACE, tuple(changes), origin=origin
        )
        self.append([commit], complete=False)
        self.versions_written -= 1

    def follow_names(self, trees: Mapping[str, Element] | None) -> None:
        """Give files the names of each version from now on.

        Args:
            trees: The columns of the source's files; None where all names are right.
        """
        if trees is not None:
            known = self._schemas is not NO_SCHEMAS
            before = self._schemas.source if known else None
            self.names = Names(self.placer, trees, before, self.live)
            self.placer.names_change = True

    def run(self, commits: Iterable[Commit], on_batch: Callable[[int, int], None]) -> None:
        """Carry all commits; the last batch records that the migration is complete.

        Args:
            commits: The source's commits, oldest first.
            on_batch: Called after each batch with versions written and live rows.

        Raises:
            ConflictError: Somebody else wrote to the target meanwhile; what was written stays.
        """
        for batch, last in _batches(commits, self.batch_size):
            self.placer.stage(list(self._stageable(batch)))
            placed = [self.prepare(commit) for commit in batch]
            self.append(placed, complete=last)
            rows = sum(file.live_rows or 0 for file in self.live.values())
            on_batch(self.versions_written, rows)

    def _stageable(self, batch: list[Commit]) -> Iterator[DataFile]:
        """Yield the files of a batch that come into the target as they are."""
        schema = self._schemas.source
        for commit in batch:
            for change in commit.changes:
                match change:
                    case SetSchema(new):
                        schema = new
                    case AddFile(file) if not self._is_live(file):
                        if self._need(file, schema) is Need.NOTHING:
                            yield file
                    case _:
                        pass

    def append(self, commits: list[Commit], *, complete: bool) -> None:
        """Hand prepared commits to the writer.

        Raises:
            ConflictError: Somebody else wrote to the target meanwhile.
        """
        result = self.target.append(
            commits, expect=self.expect, completed_at_ms=self.now_ms() if complete else None
        )
        match result:
            case Committed(version, bytes_written):
                self.expect = version
                self.bytes_written += bytes_written
                self.versions_written += len(commits)
            case Conflict(version, written):
                raise ConflictError(
                    f"Conflict with existing data: somebody else wrote version {version} to the "
                    f"{self.target.format.label} table while {written} of {len(commits)} versions "
                    "of this batch were written; run the same command again to continue"
                )

    def prepare(self, commit: Commit) -> Commit:
        """Place a commit's files and return the commit as the target will hold it."""
        before = self._schemas.source
        widened = self._note_schema(commit)
        changes = self._settings(commit)
        added = [change.file for change in commit.changes if isinstance(change, AddFile)]
        removed = [change.file for change in commit.changes if isinstance(change, RemoveFile)]
        again = {file.path for file in removed} & {file.path for file in added}
        if commit.base:
            old = self._unneeded(added)
        else:
            old = [self._resolve(file) for file in removed if file.path not in again]
        gone = [self.live.pop(key) for key in old]
        self._follow(commit)
        if widened:
            changes += self._widen(self.source_live.values())
        elif self._schemas.source != before:
            changes += self._rename(self.source_live.values())
        self.source_live.update((file.path, file) for file in added)
        new = [file for file in added if not self._is_live(file)]
        placed = self._placed(new)
        changes += [RemoveFile(file) for file in gone]
        news = {file.path for file in new}
        for file in placed:
            self.live[file.path] = file
            self._note_generation(file.path)
            changes.append(AddFile(file))
        kept = [file for file in added if file.path not in news]
        changes += self._widen(kept) if widened else self._rename(kept)
        regained = self._regained(before, [*self.source_live.values(), *kept])
        changes += regained
        if commit.base and self.layout.rekeyed:
            changes += self._added_again(kept)
        else:
            changes += self._deletes(commit, kept)
        origin = Origin(self.source, self.source_id, commit.version)
        metadata = commit.operation is Operation.METADATA
        operation = Operation.REPLACE if regained and metadata else commit.operation
        return replace(
            commit, changes=tuple(changes), operation=operation, base=False, origin=origin
        )

    def _settings(self, commit: Commit) -> list[Change]:
        """Return a commit's changes of columns, partitioning and properties, for the target."""
        changes: list[Change] = []
        for change in commit.changes:
            match change:
                case SetSchema():
                    fitted = self._schemas.fitted
                    changes.append(SetSchema(fitted, files_follow=self.names is not None))
                    if not self.layout.kept:
                        changes.append(SetPartitioning(self.layout.spec(fitted)))
                case SetPartitioning(spec, current) if self.layout.kept:
                    # what the source said before is no news: the target may have its own
                    if current and spec != self._held_spec:
                        self._held_spec = None
                    held = spec == self._held_spec
                    changes.append(SetPartitioning(spec, current=current and not held))
                case SetProperties():
                    changes.append(change)
                case _:
                    pass
        return changes

    def _placed(self, files: list[DataFile]) -> list[DataFile]:
        """Bring files into the target, with the partition values that they have there."""
        schemas, means = self._schemas, self.placer.means
        needs = {file.path: self._need(file, schemas.source) for file in files}
        for key, need in needs.items():
            if need is Need.REWRITE:
                means[key] = Means.REWRITTEN
        others = [
            file
            for file in files
            if needs[file.path] is Need.FOOTER and means[file.path] is not Means.REWRITTEN
        ]
        copied = {file.path for file in others}
        plain = [file for file in files if file.path not in copied]
        pairs = list(zip(plain, self.placer.place(plain, schemas, self._specs), strict=True))
        if self.names is not None:
            for file, placed in pairs:
                if placed.size_bytes == file.size_bytes:
                    self.names.note(placed.path, file.path)
            copies = self.names.copy([(file, file) for file in others], schemas)
            pairs += zip(others, copies, strict=True)
        return [self.layout.settle(f, p, schemas.source, schemas.fitted) for f, p in pairs]

    def _need(self, file: DataFile, schema: Schema) -> Need:
        return Need.NOTHING if self.names is None else self.names.need(file, file, schema)

    def _rename(self, files: Iterable[DataFile]) -> list[Change]:
        """Replace live files that have other names than the current schema by copies."""
        if self.names is None:
            return []
        schemas = self._schemas
        stale: dict[Need, list[tuple[DataFile, DataFile]]] = {}
        for file in files:
            held = self.live[self._resolve(file)]
            need = self.names.need(file, held, schemas.source)
            stale.setdefault(need, []).append((file, held))
        changes = self._widen([file for file, _ in stale.get(Need.REWRITE, ())])
        pairs = stale.get(Need.FOOTER, [])
        for (file, held), copy in zip(pairs, self.names.copy(pairs, schemas), strict=True):
            placed = self.layout.settle(file, copy, schemas.source, schemas.fitted)
            changes += self._replaced(held.path, placed)
        return changes

    def _regained(self, before: Schema, files: Iterable[DataFile]) -> list[Change]:
        """Replace the target's files that hold a column which the source's copies of them lack.

        A column that comes back by its name gets its id back. So it would have its old values in
        the target's files from before it was dropped, of which the source had copies without it.

        Args:
            before: The source's columns before this commit.
            files: The source's files that the target has.
        """
        schemas = self._schemas
        if self.target.format is not Format.ICEBERG:
            return []
        known, ids = ids_by_path(before), ids_by_path(schemas.adopted)
        kept = set(known.values()) if schemas.source.identity is Identity.BY_ID else set[int]()
        theirs = ids_by_path(schemas.source).items()
        come = {
            ids[path]
            for path, id_ in theirs
            if path in ids and path not in known and id_ not in kept
        }
        own = set(self.back.values()) if come and known else set[str]()
        changes: list[Change] = []
        for file in {file.path: file for file in files}.values() if own else ():
            key = self._resolve(file)
            if key == file.path or key not in own:
                continue
            held = self._held(key, {path: id_ for path, id_ in ids.items() if id_ in come})
            if held <= set(ids_by_path(read_footer(self.placer.store, file.path).schema)):
                continue  # it has none of them, or both show the same values
            self.placer.means[file.path] = Means.REWRITTEN
            placed = self.placer.place([file], schemas, self._specs)[0]
            placed = self.layout.settle(file, placed, schemas.source, schemas.fitted)
            changes += self._replaced(key, placed)
        return changes

    def _held(self, key: str, columns: Mapping[Path, int]) -> set[Path]:
        """Return which columns a file holds: by id where it carries ids, else by name."""
        footer = read_footer(self.placer.store, key)
        if footer.carried_ids:
            carried = set(footer.carried_ids.values())
            return {path for path, id_ in columns.items() if id_ in carried}
        return set(columns) & set(ids_by_path(footer.schema))

    def _replaced(self, key: str, placed: DataFile) -> list[Change]:
        """Put another file in the place of a live one."""
        held = self.live.pop(key)
        self.live[placed.path] = placed
        self._note_generation(placed.path)
        return [RemoveFile(held), AddFile(placed)]

    def _added_again(self, files: list[DataFile]) -> list[Change]:
        """Add live files again, with the partition values of another partitioning."""
        schemas, layout = self._schemas, self.layout
        changes: list[Change] = []
        for file in files:
            key = self._resolve(file)
            held = self.live[key]
            if file.path in layout.absent or key in layout.held_without:
                self.placer.means[file.path] = Means.REWRITTEN
                placed = self.placer.place([file], schemas, self._specs)[0]
            else:
                placed = replace(held, stats=self.placer.stats_of(file, held, schemas))
            if placed.path != key:
                changes.append(RemoveFile(self.live.pop(key)))
            placed = replace(placed, deletes=file.deletes)
            self._note_generation(placed.path)
            self.live[placed.path] = layout.settle(file, placed, schemas.source, schemas.fitted)
            changes.append(AddFile(self.live[placed.path]))
        return changes

    def _deletes(self, commit: Commit, kept: list[DataFile]) -> list[Change]:
        """Return what becomes of deleted rows.

        Args:
            commit: The source's commit.
            kept: Files that it adds and that the target has already.
        """
        changes: list[Change] = []
        for file in kept:
            key = self._resolve(file)
            held = self.live[key].deletes
            if not same_deletes(self.placer.store, file.path, held, file.deletes):
                changes.append(self._set_deletes(key, file.deletes))
        for change in commit.changes:
            if isinstance(change, SetDeletes):
                file = replace(self.source_live[change.path], deletes=change.deletes)
                self.source_live[change.path] = file
                changes.append(self._set_deletes(self._resolve(file), change.deletes))
        return changes

    def _set_deletes(self, key: str, deletes: tuple[Deletes, ...]) -> Change:
        self.live[key] = replace(self.live[key], deletes=deletes)
        return SetDeletes(key, deletes)

    def _follow(self, commit: Commit) -> None:
        """Keep the source's live files up to date."""
        if commit.base:
            self.source_live.clear()
        for change in commit.changes:
            if isinstance(change, RemoveFile):
                self.source_live.pop(change.file.path, None)

    def _widen(self, files: Iterable[DataFile]) -> list[Change]:
        """Replace live files by copies with the columns of the current schema."""
        changes: list[Change] = []
        for file in list(files):
            key = self._resolve(file)
            wider = self.placer.widen(file, self._schemas, self._specs)
            wider = self.layout.settle(file, wider, self._schemas.source, self._schemas.fitted)
            if wider.path != key:
                changes += self._replaced(key, wider)
        return changes

    def _note_schema(self, commit: Commit) -> bool:
        """Take over schema and specs; say whether live files have a column of another type.

        Other readers than Delta's match types themselves.
        """
        schema, spec = None, self._spec
        for change in commit.changes:
            match change:
                case SetSchema(new):
                    schema = new
                case SetPartitioning(new_spec):
                    spec = new_spec
                    self._specs[spec.spec_id] = spec
                case _:
                    pass
        self._spec = spec
        if schema is not None:
            fitted = fit_schema(schema, self.fit_type).schema
            adopted = self.target.adopt(fitted, spec, expect=self.expect)
            old, self._schemas = self._schemas, Schemas(schema, fitted, adopted)
            if self.target.format is not Format.DELTA:
                return False
            if old is NO_SCHEMAS:
                return self.held is not None and changes_types(self.held, fitted)
            return changes_types(old.source, schema)
        return False

    def _candidates(self, file: DataFile) -> Iterator[str]:
        if file.path in self.back:
            yield self.back[file.path]
        first = first_generation(file.path)
        if first is not None and first in self._origins:
            yield self._origins[first]
        if self.source is Format.NATIVE and self.placer.means.get(file.path) is Means.REWRITTEN:
            # an earlier run may have placed it as it is, when the folder's columns were narrower
            yield self.placer.addresses.rewritten(file, self._schemas.adopted)
            return
        yield from self.placer.addresses.candidates(file)

    def _is_live(self, file: DataFile) -> bool:
        if not self.live:
            return False
        return any(self._known(key) is not None for key in self._candidates(file))

    def _known(self, key: str) -> str | None:
        """Return the live file of a key, or of a copy of it with other columns."""
        if key in self.live:
            return key
        other = self._generations.get(PurePosixPath(key).name)
        return other if other in self.live else None

    def _note_generation(self, key: str) -> None:
        first = first_generation(key)
        if first is not None and self.target.format is Format.DELTA:
            self._generations[first] = key

    def _resolve(self, file: DataFile) -> str:
        """Return the target's key of a file that the source removes."""
        for key in self._candidates(file):
            if (found := self._known(key)) is not None:
                return found
        raise StateError(
            f"the source removes {file.path!r}, but the target has no file that came from it: the "
            "target was compacted or rewritten since; use --force to replace its rows by the "
            "source's newest version"
        )

    def _unneeded(self, added: list[DataFile]) -> list[str]:
        """Return the live keys that a commit of the whole table does not contain."""
        if not self.live:
            return []
        kept = {self._known(key) for file in added for key in self._candidates(file)}
        return [key for key in self.live if key not in kept]


def _batches(commits: Iterable[Commit], size: int) -> Iterator[tuple[list[Commit], bool]]:
    """Yield lists of at most ``size`` commits, and whether it is the last."""
    batch: list[Commit] = []
    for commit in commits:
        if len(batch) == size:
            yield batch, False
            batch = []
        batch.append(commit)
    if batch:
        yield batch, True
