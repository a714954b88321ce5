"""Bring data files into the target by the means that the plan chose.

Every target key is a function of the source's table, key and size, so that a run after a crash
finds what the crashed one left, and a removal finds the file that an earlier run added.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import assert_never

import pyarrow as pa
import pyarrow.compute as pc

from parquedb.errors import AlreadyExistsError, FormatError, StateError
from parquedb.migrate.cutover import SourceMovedError
from parquedb.migrate.partitions import PartitionFolders
from parquedb.migrate.report import Means
from parquedb.migrate.typescript import STORED, Rows
from parquedb.model.files import DataFile, Stats
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Identity, Schema, ids_by_path, walk
from parquedb.parquet.adapt import Adapter, numbered
from parquedb.parquet.arrow import arrow_schema_of, type_of_arrow
from parquedb.parquet.footer import read_footer, read_footers, stats_for
from parquedb.parquet.rewrite import copy_with_ids
from parquedb.parquet.write import write_parquet
from parquedb.slotted import dataclass
from parquedb.storage.keys import join
from parquedb.storage.store import HardLinks, Store

_SHORT = 12
_GENERATION = 8
_OF_GENERATION = re.compile(
    rf"(.*-[0-9a-f]{{{_SHORT}}})-g[0-9a-f]{{{_GENERATION}}}(\.[^.]*)?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where files of a source table lie in a target table.

    Args:
        source: The source's format.
        source_id: The source table's identity.
        source_folder: Key of the source's table.
        data_folder: Key of the folder for files that only the target refers to.
        partitions: The partition folders that a Delta target must have; None for other targets,
            where the source's own folders are kept.
    """

    source: Format
    source_id: str
    source_folder: str
    data_folder: str
    partitions: PartitionFolders | None = None

    def linked(self, file: DataFile) -> str:
        """Return the key of a hard link: the source's own relative path, if it may.

        A native file's carries a digest, because the file may get other bytes under its name.
        """
        if self.source is Format.NATIVE:
            return self.unique(file, Means.LINKED)
        return self._plain(file)

    def _plain(self, file: DataFile) -> str:
        folder, _, name = self._relative(file.path).rpartition("/")
        if self.partitions is not None and not self.partitions.anywhere:
            plain = (part for part in folder.split("/") if "=" not in part)
            folder = join(*plain, *self.partitions.folders(file))
        # pyiceberg and others take these for parts of a URI
        return join(self.data_folder, folder, name).replace("#", "_").replace("?", "_")

    def unique(self, file: DataFile, means: Means) -> str:
        """Return a key that no other file can have: with a digest of what the file is."""
        facts = [self.source_id, file.path, str(file.size_bytes), means.value]
        if self.source is Format.NATIVE:  # only here may a key get other bytes
            facts.append(str(file.fingerprint))
        digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:_SHORT]
        stem, dot, ending = self._plain(file).rpartition(".")
        if not dot or "/" in ending:
            return f"{self._plain(file)}-{digest}"
        return f"{stem}-{digest}.{ending}"

    def rewritten(self, file: DataFile, schema: Schema) -> str:
        """Return the key of a file that is written again with columns as the target has them."""
        kinds = repr([(path, item.type) for path, item in walk(schema.fields)])
        generation = hashlib.sha256(kinds.encode()).hexdigest()
        return in_generation(self.unique(file, Means.REWRITTEN), generation)

    def candidates(self, file: DataFile) -> Iterator[str]:
        """Yield every key under which an earlier run may have put a file."""
        yield file.path
        yield from self._own_keys(file)
        partitions = self.partitions
        if partitions is None or not file.partition:
            return
        if partitions.anywhere or len(partitions.namings) > 1:
            # from when the target was partitioned, or its columns had other names
            for names in partitions.namings:
                told = replace(partitions, columns=None, names=names)
                if told.folders(file):
                    yield from replace(self, partitions=told)._own_keys(file)

    def _own_keys(self, file: DataFile) -> Iterator[str]:
        yield self.linked(file)
        for means in (Means.LINKED, Means.COPIED, Means.FOOTER, Means.REWRITTEN):
            yield self.unique(file, means)

    def can_share(self, file: DataFile) -> bool:
        """Whether the target can refer to a file under the name that it has in the source."""
        if self.source is Format.NATIVE:
            return False
        folder = self.data_folder.rpartition("/")[0]
        told = self.partitions is None or self.partitions.told_by(file)
        return told and (self.partitions is None or file.path.startswith(f"{folder}/"))

    def _relative(self, key: str) -> str:
        for prefix in (f"{self.source_folder}/", f"data/{self.source_folder}/"):
            if key.startswith(prefix):
                return key[len(prefix) :]
        return key.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Schemas:
    """The columns of a version, seen from both sides.

    Args:
        source: As the source has them.
        fitted: With the target's types and the source's ids.
        adopted: With the target's types and ids.
    """

    source: Schema
    fitted: Schema
    adopted: Schema


class Placer:
    """Places the files of one migration.

    Args:
        store: The store.
        addresses: Where files go.
        means: How each file comes into the target, by the source's key.
        rows: How the rows of files are read that are written again.
    """

    def __init__(
        self, store: Store, addresses: Addresses, means: Mapping[str, Means], rows: Rows = STORED
    ) -> None:
        self.addresses = addresses
        self.rows = rows
        self.bytes_written = 0
        self.bytes_referenced = 0
        self.counts: dict[Means, int] = {}
        self.store = store
        self.means = dict(means)
        self.names_change = False
        self._staged: dict[str, DataFile] = {}

    def place(
        self,
        files: Sequence[DataFile],
        schemas: Schemas,
        specs: Mapping[int, PartitionSpec],
    ) -> list[DataFile]:
        """Make the files exist in the target and return them as the target refers to them.

        Args:
            files: The files, with the source's keys.
            schemas: The columns as of the version that adds them.
            specs: The source's partition specs.
        """
        self.stage([file for file in files if file.path not in self._staged])
        placed: list[DataFile | None] = []
        for file in files:
            staged = self._staged.pop(file.path, None)
            if staged is not None:  # as this version adds it: a later one may say other things
                rows = staged.rows if file.rows is None else file.rows
                staged = replace(file, path=staged.path, size_bytes=staged.size_bytes, rows=rows)
            if staged is None and self.means[file.path] is Means.REWRITTEN:
                key = self._rewritten_key(file, schemas)
                staged = self._rewrite(file, schemas, specs, key)
                self.account(Means.REWRITTEN, [staged])
            placed.append(staged)
        done = self._with_footers(files, placed, schemas)
        self._check_unchanged(files, done)
        pairs = zip(files, done, strict=True)
        return [self._with_deletes(file, one, schemas) for file, one in pairs]

    def _with_deletes(self, file: DataFile, placed: DataFile, schemas: Schemas) -> DataFile:
        """Give a placed file the deletes of its source; its rows are all there, in their places.

        Delta's statistics of a file with deletes may hold for the other rows only. They must hold
        for all, because deletes can be undone; so they are read from the file itself.
        """
        if not file.deletes:
            return placed if not placed.deletes else replace(placed, deletes=())
        rewritten = self.means[file.path] is Means.REWRITTEN
        if self.addresses.source is not Format.DELTA or rewritten:
            return replace(placed, deletes=file.deletes)
        footer = read_footer(self.store, file.path)
        stats = stats_for(footer, schemas.source)
        return replace(placed, deletes=file.deletes, rows=footer.rows, stats=stats)

    def _with_footers(
        self, files: Sequence[DataFile], placed: Sequence[DataFile | None], schemas: Schemas
    ) -> list[DataFile]:
        """Copy the files that are not placed yet, with the target's field ids."""
        missing = [file for file, done in zip(files, placed, strict=True) if done is None]
        keys = [self.addresses.unique(file, Means.FOOTER) for file in missing]
        pairs = [(file.path, key) for file, key in zip(missing, keys, strict=True)]
        theirs, ours = walk(schemas.source.fields), walk(schemas.adopted.fields)
        ids = {old.id: new.id for (_, old), (_, new) in zip(theirs, ours, strict=True)}
        sizes = copy_with_ids(self.store, pairs, schemas.source, ids)
        copies = self._with_counts(
            [
                replace(file, path=key, size_bytes=size)
                for file, key, size in zip(missing, keys, sizes, strict=True)
            ]
        )
        if copies:
            self.account(Means.FOOTER, copies)
        rest = iter(copies)
        return [next(rest) if done is None else done for done in placed]

    def stage(self, files: Sequence[DataFile]) -> None:
        """Place many files at once for calls that follow; all but those that need a schema."""
        by_means: dict[Means, dict[str, DataFile]] = {}
        for file in files:
            by_means.setdefault(self.means[file.path], {})[file.path] = file
        for alone in (Means.REWRITTEN, Means.FOOTER):
            by_means.pop(alone, None)
        for means, chosen in by_means.items():
            sources = list(chosen.values())
            done = self._with_counts(self._place_by(means, sources))
            taken: dict[Means, list[DataFile]] = {}
            for source, placed in zip(sources, done, strict=True):
                self._staged[source.path] = placed
                taken.setdefault(self._means_taken(means, source, placed), []).append(placed)
            for actual, files_of in taken.items():
                self.account(actual, files_of)

    def _check_unchanged(self, files: Sequence[DataFile], placed: Sequence[DataFile]) -> None:
        """Make sure that no file got other bytes under its name before it was placed.

        Raises:
            SourceMovedError: One did; what was placed for it is deleted again.
        """
        for file, done in zip(files, placed, strict=True):
            if file.fingerprint is None:
                continue
            now = self.store.head(file.path)
            if now is not None and now.etag == file.fingerprint:
                continue
            if done.path != file.path:
                self.store.delete(done.path)
            raise SourceMovedError(
                f"{file.path!r} was replaced while it was migrated; run the same command again"
            )

    def _means_taken(self, planned: Means, source: DataFile, placed: DataFile) -> Means:
        """Say how a file came into the target where it could not be linked as planned."""
        if planned is not Means.LINKED:
            return planned
        if placed.path == source.path:
            return Means.SHARED
        copied = placed.path == self.addresses.unique(source, Means.COPIED)
        return Means.COPIED if copied else Means.LINKED

    def _place_by(self, means: Means, files: Sequence[DataFile]) -> list[DataFile]:
        match means:
            case Means.SHARED:
                return list(files)
            case Means.LINKED:
                return self._link(files)
            case Means.COPIED:
                keys = [self.addresses.unique(file, means) for file in files]
                self.store.copy_many(
                    [(file.path, key) for file, key in zip(files, keys, strict=True)]
                )
                return [replace(f, path=key) for f, key in zip(files, keys, strict=True)]
            case Means.REWRITTEN | Means.FOOTER:
                raise StateError(f"{files[0].path!r}: {means} files are not placed in bulk")
            case _:
                assert_never(means)

    def widen(
        self, file: DataFile, schemas: Schemas, specs: Mapping[int, PartitionSpec]
    ) -> DataFile:
        """Write a file again with the wider types that its columns have now.

        Delta readers that do not know type widening (Spark before 4) refuse narrower files.
        """
        widened = self._rewrite(file, schemas, specs, self._key_with_columns(file, schemas))
        self.account(Means.REWRITTEN, [widened])
        return replace(widened, deletes=file.deletes)

    def _rewritten_key(self, file: DataFile, schemas: Schemas) -> str:
        # a file that comes back later, or stays in a folder, has other columns then
        if self.names_change or self.addresses.source is Format.NATIVE:
            return self._key_with_columns(file, schemas)
        return self.addresses.unique(file, Means.REWRITTEN)

    def _key_with_columns(self, file: DataFile, schemas: Schemas) -> str:
        return self.addresses.rewritten(file, schemas.adopted)

    def stats_of(self, file: DataFile, placed: DataFile, schemas: Schemas) -> Stats | None:
        """Return the statistics, by the source's ids, of a Delta table's file.

        Ids that the file carries may be another table's; its names are right.
        """
        if placed.size_bytes == file.size_bytes:
            return file.stats
        named = replace(schemas.fitted, identity=Identity.BY_NAME, aliases=())
        return stats_for(read_footer(self.store, placed.path), named)

    def account(self, means: Means, done: Sequence[DataFile]) -> None:
        """Count files that came into the target."""
        self.counts[means] = self.counts.get(means, 0) + len(done)
        size_bytes = sum(file.size_bytes for file in done)
        if means in (Means.SHARED, Means.LINKED):
            self.bytes_referenced += size_bytes
        else:
            self.bytes_written += size_bytes

    def _link(self, files: Sequence[DataFile]) -> list[DataFile]:
        store = self.store
        if not isinstance(store, HardLinks):
            raise StateError(f"storage {store.root!r} cannot make hard links; use --files copy")
        pairs = [(file.path, self.addresses.linked(file)) for file in files]
        try:
            linked = store.link_many(pairs)
        except AlreadyExistsError:  # another table's file of the same name lies there
            pairs = [
                (f.path, self.addresses.unique(f, Means.LINKED))
                if store.head(target) is not None and not store.same_object(f.path, target)
                else (f.path, target)
                for f, (_, target) in zip(files, pairs, strict=True)
            ]
            linked = store.link_many(pairs)
        if not linked:  # this file system cannot, or a file has all the names that it may have
            return self._without_links(files)
        return [replace(f, path=target) for f, (_, target) in zip(files, pairs, strict=True)]

    def _without_links(self, files: Sequence[DataFile]) -> list[DataFile]:
        """Share the files that the target can refer to, copy the others."""
        others = [file for file in files if not self.addresses.can_share(file)]
        copies = iter(self._place_by(Means.COPIED, others) if others else [])
        return [f if self.addresses.can_share(f) else next(copies) for f in files]

    def _rewrite(
        self,
        file: DataFile,
        schemas: Schemas,
        specs: Mapping[int, PartitionSpec],
        key: str,
    ) -> DataFile:
        """Write a file again, with its deleted rows: deletes are of positions."""
        schema, adopted = schemas.source, schemas.adopted
        if self.store.head(key) is not None:  # left whole by an earlier run
            footer = read_footer(self.store, key)
            ids = ids_by_path(adopted)
            if any(ids.get(path) != id_ for path, id_ in footer.carried_ids.items()):
                raise StateError(
                    f"{key!r} was left by a migration into another table; delete it and run again"
                )
            return replace(
                file, path=key, size_bytes=footer.size_bytes, rows=footer.rows, stats=None
            )
        target = arrow_schema_of(adopted)
        whole = replace(file, deletes=())
        batches = (
            cast_batch(batch, target)
            for batch in self.rows.read(self.store, whole, schema, specs[file.spec_id])
        )
        arrangement = self.rows.arrangement
        written = write_parquet(
            self.store,
            key,
            batches,
            adopted,
            arrangement=arrangement,
            annotated=self.addresses.partitions is None,
        )
        stats = None if written.stats is None else _renumbered(written.stats, schemas)
        return replace(
            written,
            stats=stats,
            partition=file.partition,
            spec_id=file.spec_id,
            modified_at_ms=file.modified_at_ms,
        )

    def _with_counts(self, files: list[DataFile]) -> list[DataFile]:
        """Fill in row counts that the source's metadata lacks, from the footers."""
        unknown = [index for index, file in enumerate(files) if file.rows is None]
        footers = read_footers(self.store, [files[index].path for index in unknown])
        for index, footer in zip(unknown, footers, strict=True):
            files[index] = replace(files[index], rows=footer.rows)
        return files


def in_generation(key: str, generation: str) -> str:
    """Return the key of a file that is made again with other columns.

    Args:
        key: A unique key of it.
        generation: A digest of the columns; its beginning becomes part of the key.
    """
    path = PurePosixPath(key)
    return str(path.with_name(f"{path.stem}-g{generation[:_GENERATION]}{path.suffix}"))


def first_generation(key: str) -> str | None:
    """Return the name, without folders, of which a key is a generation; None if it is none."""
    found = _OF_GENERATION.fullmatch(PurePosixPath(key).name)
    return None if found is None else f"{found[1]}{found[2] or ''}"


def _renumbered(stats: Stats, schemas: Schemas) -> Stats:
    """Give statistics the ids of the fitted schema instead of the adopted one's."""
    ids = {
        ours.id: theirs.id
        for (_, theirs), (_, ours) in zip(
            walk(schemas.fitted.fields), walk(schemas.adopted.fields), strict=True
        )
    }
    return Stats(
        {ids[id_]: count for id_, count in stats.nulls.items()},
        {ids[id_]: value for id_, value in stats.lower.items()},
        {ids[id_]: value for id_, value in stats.upper.items()},
        {ids[id_]: size for id_, size in stats.sizes.items()},
    )


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast a batch to other types of the same columns; only sub-microseconds may be cut off."""
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if column.type != field.type:
            if isinstance(column, pa.ExtensionArray):
                column = column.storage
            if pa.types.is_nested(field.type):
                path = (field.name,)
                wanted = type_of_arrow(field.type, path)
                columns.append(Adapter("the source", by_id=False).adapt(column, wanted, path))
                continue
            column = numbered(column, field.type)
            options = pc.CastOptions(target_type=field.type, allow_time_truncate=True)
            try:
                column = pc.call_function("cast", [column], options)
            except pa.ArrowException as error:
                raise FormatError(
                    f"column {field.name!r} has a value that does not fit {field.type}: {error}; "
                    "correct it, or leave the column out"
                ) from error
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
