"""Data files for other columns: copies in which a reader by name finds what it should."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum

from parquedb.ambient import Ambient
from parquedb.errors import UnsupportedError
from parquedb.formats.native.paths import staged_key
from parquedb.formats.native.reader import NativeReader
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Path, Schema, children, walk
from parquedb.model.types import Field, MapType, Type
from parquedb.namespace.tables import Namespace
from parquedb.parquet.elements import Element, read_elements, walk_elements, without_ids
from parquedb.parquet.footer import Footer, read_footer, read_footers, stats_for
from parquedb.parquet.labels import DROPPED, has_insides_of, has_names_of, with_names_of
from parquedb.parquet.rewrite import FooterCopy, copy_relabelled
from parquedb.parquet.scan import read_batches
from parquedb.parquet.write import PLAIN, Arrangement, write_parquet
from parquedb.rows.columns import is_document_schema
from parquedb.slotted import dataclass
from parquedb.storage.keys import join
from parquedb.storage.store import Renames, Store

_GROUP_ROWS = 65_536


class Need(Enum):
    """What a file needs for other columns."""

    NOTHING = 0
    FOOTER = 1
    """Other names."""
    REWRITE = 2
    """Other values, of a wider type, or none of a column that is hidden by one of its name."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What became of a native file.

    Args:
        need: What was done to it.
        bytes_written: The bytes of the new one.
    """

    need: Need
    bytes_written: int


@dataclass(frozen=True, slots=True)
class Step:
    """The columns of a table before and after a change.

    Args:
        before: Those by which its files read right.
        after: Those by which they shall.
    """

    before: Schema
    after: Schema

    @property
    def widened(self) -> Mapping[int, Type]:
        """The new types of columns that have another, by id."""
        old = {item.id: item.type for _, item in walk(self.before.fields)}
        return {
            item.id: item.type
            for _, item in walk(self.after.fields)
            if item.id in old and not children(item.type) and old[item.id] != item.type
        }

    @property
    def renamed(self) -> Mapping[int, tuple[str, str]]:
        """Old and new names of top-level columns that have another, by id."""
        old = {item.id: item.name for item in self.before.fields}
        return {
            item.id: (old[item.id], item.name)
            for item in self.after.fields
            if item.id in old and old[item.id] != item.name
        }

    @property
    def moves_names(self) -> bool:
        """Whether a name may be another column's in files: it comes, or goes to another."""
        old = {item.id: path for path, item in walk(self.before.fields)}
        return any(old.get(item.id) != path for path, item in walk(self.after.fields))

    @property
    def narrows_maps(self) -> bool:
        """Whether a struct inside a map loses a field, which delta-rs cannot read past."""
        kept = {item.id for _, item in walk(self.after.fields)}
        return any(
            isinstance(item.type, MapType)
            and item.id in kept
            and not kept.issuperset(inner.id for _, inner in walk((item,)))
            for _, item in walk(self.before.fields)
        )

    @property
    def only_names(self) -> bool:
        """Whether the columns are the same but for their names."""

        def bare(schema: Schema) -> list[tuple[int, bool, object]]:
            return [
                (item.id, item.required, type(item.type) if children(item.type) else item.type)
                for _, item in walk(schema.fields)
            ]

        return bare(self.before) == bare(self.after)

    def reading(self) -> Schema:
        """Return the columns after, with the names under which files hold them that have no ids."""
        old = {item.id: path[-1:] for path, item in walk(self.before.fields)}
        known = dict(self.before.aliases)
        aliases = [
            (item.id, known.get(item.id, old.get(item.id, ())))
            for item in _named(self.after.fields)
        ]
        return replace(self.after, aliases=tuple(aliases))

    def relabel(self, root: Element) -> Element:
        """Return a file's columns with the names after.

        Columns that the table does not have keep their names, unless another has it now. A file
        without ids stays one: readers want all columns to have one, or none.
        """
        taken = {path[-1].lower() for path, _ in walk(self.after.fields)}
        done = _restored(root, with_names_of(root, self.reading()), taken)
        return done if any(each.id is not None for each in root.children) else without_ids(done)

    def hides(self, root: Element) -> bool:
        """Whether a column without id would have to get a name that no table knows."""
        pairs = zip(walk_elements(root), walk_elements(self.relabel(root)), strict=True)
        return any(
            new.name != old.name and new.name.startswith(DROPPED) and new.id is None
            for old, new in pairs
        )


def need_of(store: Store, file: DataFile, step: Step) -> Need:
    """Return what a file, whose columns others match by name, needs for a step.

    Raises:
        FormatError: Its footer cannot be read.
    """
    widened = step.widened
    if widened:
        footer = read_footer(store, file.path)
        held = dict(walk(footer.schema.fields))
        for path, item in walk(step.before.fields):
            if item.id in widened and path in held and held[path].type != widened[item.id]:
                return Need.REWRITE
    if not (step.moves_names or step.narrows_maps):
        return Need.NOTHING
    root = read_elements(store, file.path)
    if not has_insides_of(root, step.reading()):
        return Need.REWRITE
    if has_names_of(root, step.reading()):
        return Need.NOTHING
    return Need.REWRITE if step.hides(root) else Need.FOOTER


def _restored(before: Element, after: Element, taken: Collection[str]) -> Element:
    """Give columns that are hidden under another name their own again, if none has it."""
    children = []
    for old, new in zip(before.children, after.children, strict=True):
        hidden = new.name.startswith(DROPPED) and new.name != old.name
        name = old.name if hidden and old.name.lower() not in taken else new.name
        children.append(replace(_restored(old, new, taken), name=name))
    return replace(after, children=tuple(children))


class Copies:
    """The copies of a Delta table's files that a change needs, kept for another attempt.

    Args:
        space: The namespace.
        format_: The format of the table.
        ambient: Where names come from.
    """

    def __init__(self, space: Namespace, format_: Format, ambient: Ambient) -> None:
        self._space = space
        self._format = format_
        self._ambient = ambient
        self._made: dict[tuple[str, Schema], tuple[DataFile, Need]] = {}

    def count(self, need: Need) -> int:
        """Return how many copies were made for a need."""
        return sum(each is need for _, each in self._made.values())

    @property
    def bytes_written(self) -> int:
        """Their bytes."""
        return sum(file.size_bytes for file, _ in self._made.values())

    def make(self, snapshot: Snapshot, after: Schema) -> Iterator[tuple[DataFile, DataFile]]:
        """Yield the files that do not do for other columns, each with the copy that does."""
        step = Step(snapshot.schema, after)
        if not (step.widened or step.moves_names or step.narrows_maps):
            return
        rekeyed = any(field.source_id in step.renamed for field in snapshot.spec.fields)
        needs: dict[str, Need] = {}
        for file in snapshot.files.values():
            if (file.path, after) not in self._made:
                need = need_of(self._space.store, file, step)
                # a partition whose column has another name is another one
                needs[file.path] = Need.FOOTER if rekeyed and need is Need.NOTHING else need
        self._relabel([p for p, need in needs.items() if need is Need.FOOTER], snapshot, step)
        for path, need in needs.items():
            if need is Need.REWRITE:
                self._rewrite(path, snapshot, step)
        for file in snapshot.files.values():
            if (found := self._made.get((file.path, after))) is not None:
                yield file, replace(found[0], deletes=file.deletes)

    def discard(self, snapshot: Snapshot | None = None, after: Schema | None = None) -> None:
        """Delete copies that nothing refers to: all but those of a commit.

        Args:
            snapshot: The table before the commit.
            after: The columns that it gave the table.
        """
        kept = set[str]() if snapshot is None else set(snapshot.files)
        for key in [key for key in self._made if key[0] not in kept or key[1] != after]:
            self._space.store.delete(self._made.pop(key)[0].path)

    def _relabel(self, paths: Sequence[str], snapshot: Snapshot, step: Step) -> None:
        """Copy files with other names in their footers, many at once."""
        store = self._space.store
        names = dict(step.renamed.values())
        keys = [self._key(path, names) for path in paths]
        pairs = zip(paths, keys, strict=True)
        try:
            copy_relabelled(store, [FooterCopy(path, key, step.relabel) for path, key in pairs])
            footers = read_footers(store, keys)
        except Exception:
            for key in keys:
                store.delete(key)
            raise
        for path, footer in zip(paths, footers, strict=True):
            self._keep(path, snapshot, step, (labelled(footer, step), Need.FOOTER))

    def _rewrite(self, path: str, snapshot: Snapshot, step: Step) -> None:
        # deletes are of positions, and these stay
        file = replace(snapshot.files[path], deletes=())
        key = self._key(path, dict(step.renamed.values()))
        written = rewrite(self._space.store, file, key, step, snapshot.specs[file.spec_id])
        self._keep(path, snapshot, step, (written, Need.REWRITE))

    def _keep(self, path: str, snapshot: Snapshot, step: Step, made: tuple[DataFile, Need]) -> None:
        file = snapshot.files[path]
        copy = replace(made[0], partition=file.partition, spec_id=file.spec_id)
        self._made[path, step.after] = copy, made[1]

    def _key(self, path: str, renamed: Mapping[str, str]) -> str:
        """Return the key of a new file, in the same partition."""
        folder = self._space.folder(self._format)
        parts = []
        for part in path.removeprefix(f"{folder}/").split("/")[:-1]:
            name, equals, value = part.partition("=")
            if equals:
                parts.append(f"{renamed.get(name, name)}={value}")
        return join(folder, self._data_folder(), *parts, f"{self._ambient.new_uuid()}.parquet")

    def _data_folder(self) -> str:
        """Return where new files lie: out of the way of another table's clean-ups."""
        shared = any(
            self._space.folder(other) == self._space.folder(self._format)
            and self._space.exists(other)
            for other in (Format.ICEBERG, Format.DELTA)
            if other is not self._format
        )
        return f"_{self._format.value}_data" if shared else "data"


def labelled(footer: Footer, step: Step) -> DataFile:
    """Return a file that has the names after a step, with statistics by the columns' ids."""
    stats = stats_for(footer, step.after)
    return DataFile(footer.key, footer.size_bytes, footer.rows, stats=stats)


def rewrite(store: Store, file: DataFile, key: str, step: Step, spec: PartitionSpec) -> DataFile:
    """Write a file's rows again with the columns after a step.

    Returns:
        The new file, with statistics by the ids of the columns after.
    """
    footer = read_footer(store, file.path)
    schema = replace(step.reading(), fields=_held(footer.schema, step, spec))
    written = replace(schema, aliases=())
    arrangement = Arrangement(_GROUP_ROWS, None, ("$id",)) if is_document_schema(schema) else PLAIN
    return write_parquet(
        store,
        key,
        read_batches(store, file, schema, spec),
        written,
        metadata=footer.key_values,
        arrangement=arrangement,
    )


def _held(own: Schema, step: Step, spec: PartitionSpec) -> tuple[Field, ...]:
    """Return the columns after a step, without partition columns that a file does not hold."""
    sources = {field.source_id for field in spec.fields}
    old = {item.id: item.name for item in step.before.fields}
    return tuple(
        item
        for item in step.after.fields
        if item.id not in sources or old.get(item.id) in own.names
    )


def _named(fields: tuple[Field, ...]) -> Iterator[Field]:
    """Yield the fields that have names of their own: not the insides of lists and maps."""
    paths: dict[Path, Field] = dict(walk(fields))
    for path, item in paths.items():
        above = paths.get(path[:-1])
        if above is None or type(above.type).__name__ == "StructType":
            yield item


def replace_native(
    space: Namespace, reader: NativeReader, snapshot: Snapshot, after: Schema, ambient: Ambient
) -> Replaced | None:
    """Replace a native table's one file; None where somebody else did so meanwhile.

    Raises:
        UnsupportedError: The table has several files, which cannot be replaced at once.
    """
    files = list(snapshot.files.values())
    if len(files) != 1 or reader.layout.partition_columns:
        what = "partitioned folders" if reader.layout.partition_columns else f"{len(files)} files"
        raise UnsupportedError(
            f"namespace {space.name!r} is native Parquet in {what} below "
            f"{reader.layout.location!r}, which cannot be replaced at once; migrate it to Iceberg "
            "or Delta, then change its columns",
            feature="several native files",
        )
    store, target = space.store, files[0].path
    key = staged_key(space.name, f"evolve-{ambient.new_uuid().hex}")
    step = Step(snapshot.schema, after)
    need = Need.FOOTER if step.only_names else Need.REWRITE
    try:
        if need is Need.FOOTER:
            copy_relabelled(store, [FooterCopy(target, key, step.relabel)])
            written = labelled(read_footer(store, key), step)
        else:
            written = rewrite(store, files[0], key, step, snapshot.spec)
        space.refresh()
        if space.reader(Format.NATIVE).latest() != snapshot.version:
            return None
        if isinstance(store, Renames):
            store.rename(key, target)
        else:
            store.copy_many([(key, target)])
    finally:
        store.delete(key)
    return Replaced(need, written.size_bytes)
