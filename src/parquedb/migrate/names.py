"""Columns that were renamed, or dropped and added again, on their way into Delta.

Iceberg matches the columns of data files by id, Delta's readers by name. So at the version at which
a column gets another name, every live file that holds the old one is replaced by a copy in whose
footer it has the new name; a column that is gone gets a name that nothing asks for there. A file
is added under other names, too, if it was written before a rename and comes back later. A plain
drop needs no copy until its name comes again. Where a struct inside a list or map gets other
fields, files are written again, because delta-rs takes such fields by their order
(docs/design/009-names.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import field, replace
from enum import Enum
from functools import partial
from typing import assert_never

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.dialects import DIALECTS
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.log.change import AddFile, RemoveFile, SetSchema
from parquedb.log.commit import Commit
from parquedb.log.ports import LogReader
from parquedb.migrate.carry import Carry, changes_types
from parquedb.migrate.place import Placer, Schemas, in_generation
from parquedb.migrate.report import Means
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.schema import Identity, Path, Schema, children, walk
from parquedb.model.types import Field, StructType
from parquedb.parquet.arrow import VARIANT_PARTS, shredded
from parquedb.parquet.elements import Element, has_variants, read_elements, walk_elements
from parquedb.parquet.footer import read_footer, stats_for
from parquedb.parquet.labels import (
    columns_of,
    has_insides_of,
    has_names_of,
    with_ids_like,
    with_ids_of,
    with_names_of,
)
from parquedb.parquet.rewrite import FooterCopy, copy_relabelled
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths, Store

_THREADS = 8
_SAMPLED = 32
_PLAIN = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class Need(Enum):
    """What a file needs to be read right by name."""

    NOTHING = "nothing"
    FOOTER = "footer"
    """A copy with other names, or without the annotations of variants."""
    REWRITE = "rewrite"
    """Other fields in structs inside lists or maps."""


def need_of(root: Element, schema: Schema) -> Need:
    """Return what a file with certain columns needs for a schema."""
    if not has_insides_of(root, schema):
        return Need.REWRITE
    if not has_names_of(root, schema) or has_variants(root):
        return Need.FOOTER
    return Need.NOTHING


@dataclass(frozen=True, slots=True)
class NameCopies:
    """What renames cost.

    Args:
        first: What files need whose names are not those of the version that adds them first.
        copies: How many copies are made besides.
        rewritten: How many files are written again besides.
        size_bytes: The bytes of these.
        renamed: Whether some are made because of names.
        variants: Whether some are made because variants are annotated.
    """

    first: Mapping[str, Need] = field(default_factory=dict)
    copies: int = 0
    rewritten: int = 0
    size_bytes: int = 0
    renamed: bool = field(default=True, compare=False)
    variants: bool = False

    def __bool__(self) -> bool:
        """Whether anything is copied or written again."""
        return bool(self.first or self.copies or self.rewritten)


NO_COPIES = NameCopies()
"""All names are right."""


def read_names(
    store: Store, source: LogReader, carry: Carry, target: Format
) -> Mapping[str, Element] | None:
    """Read the columns of the source's files, where their names may not be the table's.

    They may not if the table's schemas have a rename or a name that was used twice, if a struct
    inside a list or map has other fields in one of them, if one has a name that Iceberg's writers
    escape in files, if a name mapping knows other names, or if a few files, spread over the
    history, hold others (schemas that expired). Nor are files with variants as they must be.

    Args:
        store: The store.
        source: The source's reader.
        carry: What is to be carried.
        target: Format migrated to.

    Returns:
        The columns by the files' keys; None if all names are right.

    Raises:
        FormatError: A footer cannot be read.
    """
    if target is not Format.DELTA or not isinstance(source, IcebergReader) or not carry.versions:
        return None
    schemas = (*source.schemas(), *carry.schemas)
    if not _may_differ(schemas) and not _differ_in_sample(store, carry):
        return None
    trees = dict(_read_all(store, list(carry.added)))
    if carry.before is not None and any(s != carry.before.schema for s in carry.schemas):
        there = [key for key in carry.before.files if key not in trees and store.head(key)]
        trees.update(_read_all(store, there))
    return trees


def _may_differ(schemas: Iterable[Schema]) -> bool:
    fit_type = DIALECTS[Format.DELTA].fit_type
    path_of: dict[int, Path] = {}
    id_of: dict[Path, int] = {}
    insides: dict[int, frozenset[int]] = {}
    for schema in dict.fromkeys(schemas):
        for id_, held in _insides(schema.fields):
            if insides.setdefault(id_, held) != held:
                return True
        aliases = dict(schema.aliases)
        for path, item in walk(schema.fields):
            folded = tuple(name.lower() for name in path)
            if (
                path_of.setdefault(item.id, path) != path
                or id_of.setdefault(folded, item.id) != item.id
                or not _PLAIN.fullmatch(item.name)
                or aliases.get(item.id, (item.name,)) != (item.name,)
                or fit_type(item.type).footer is not None
            ):
                return True
    return False


def _insides(
    fields: tuple[Field, ...], *, inside: bool = False
) -> Iterator[tuple[int, frozenset[int]]]:
    """Yield the ids of the structs inside lists and maps with those of their fields."""
    for item in fields:
        match item.type:
            case StructType(inner):
                if inside:
                    yield item.id, frozenset(one.id for one in inner)
                yield from _insides(inner, inside=inside)
            case other:
                yield from _insides(children(other), inside=True)


def _differ_in_sample(store: Store, carry: Carry) -> bool:
    """Whether one of a few files holds other names than the newest columns, found by its ids."""
    keys = list(carry.added)
    chosen = keys[:: max(1, -(-len(keys) // _SAMPLED))]
    newest = carry.latest.schema
    return any(
        not has_names_of(root, newest) or has_variants(root) for _, root in _read_all(store, chosen)
    )


def _read_all(store: Store, keys: Sequence[str]) -> Iterator[tuple[str, Element]]:
    """Read the columns of files; those that are equal are one object."""
    known: dict[Element, Element] = {}
    if len(keys) < 4 or isinstance(store, LocalPaths):
        roots: Iterable[Element] = map(partial(read_elements, store), keys)
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            roots = list(pool.map(partial(read_elements, store), keys))
    for key, root in zip(keys, roots, strict=True):
        yield key, known.setdefault(root, root)


def find_shredded(trees: Mapping[str, Element] | None) -> UnsupportedError | None:
    """Return why a file's variants cannot be carried, None if all can.

    Args:
        trees: The columns of the files, None where none may be a variant.
    """
    for key, root in (trees or {}).items():
        for element in walk_elements(root):
            names = {child.name for child in element.children}
            if element.is_variant and names != set(VARIANT_PARTS):
                return shredded(key, element.name)
    return None


def plan_copies(
    carry: Carry, trees: Mapping[str, Element] | None, is_rewritten: Callable[[str], bool]
) -> NameCopies:
    """Say which copies the renames of a history need. Pure.

    Args:
        carry: What is to be carried.
        trees: The columns of the files, None if all names are right.
        is_rewritten: Whether a file is written again when it is added, with the right names.
    """
    if trees is None:
        return NO_COPIES
    forecast = _Forecast(trees, is_rewritten)
    if carry.before is not None:
        forecast.schema = carry.before.schema
        for file in carry.before.files.values():
            if file.path in trees:
                _, root = forecast.named(trees[file.path])
                forecast.live[file.path] = (file, root)
    for commit in carry.commits:
        forecast.follow(commit)
    return forecast.result()


class _Forecast:
    """Follows the names in a target's files."""

    def __init__(self, trees: Mapping[str, Element], is_rewritten: Callable[[str], bool]) -> None:
        self.trees = trees
        self.is_rewritten = is_rewritten
        self.schema = Schema(())
        self.live: dict[str, tuple[DataFile, Element]] = {}
        self.seen: set[str] = set()
        self.first: dict[str, Need] = {}
        self.counts = {Need.FOOTER: 0, Need.REWRITE: 0}
        self.size_bytes = 0
        self.renamed = self.variants = False

    def result(self) -> NameCopies:
        """Return what was counted."""
        counts = self.counts
        return NameCopies(
            self.first,
            counts[Need.FOOTER],
            counts[Need.REWRITE],
            self.size_bytes,
            self.renamed,
            self.variants,
        )

    def named(self, root: Element) -> tuple[Need, Element]:
        """Return what a file needs for the current schema, and its columns afterwards."""
        match need := need_of(root, self.schema):
            case Need.NOTHING:
                return need, root
            case Need.FOOTER:
                self.renamed = self.renamed or not has_names_of(root, self.schema)
                self.variants = self.variants or has_variants(root)
                return need, with_names_of(root, self.schema)
            case Need.REWRITE:
                self.renamed = True
                return need, columns_of(self.schema)
            case _:
                assert_never(need)

    def follow(self, commit: Commit) -> None:
        """Count the copies of one commit."""
        for change in commit.changes:
            if isinstance(change, RemoveFile):
                self.live.pop(change.file.path, None)
        schemas = [c.schema for c in commit.changes if isinstance(c, SetSchema)]
        if schemas and schemas[-1] != self.schema:
            widened = changes_types(self.schema, schemas[-1])
            self.schema = schemas[-1]
            for file, root in list(self.live.values()):
                need, after = self.named(root)
                if widened:  # all are written again
                    after = columns_of(self.schema)
                else:
                    self._count(file, need)
                self.live[file.path] = (file, after)
        for change in commit.changes:
            if isinstance(change, AddFile):
                self._add(change.file)

    def _add(self, file: DataFile) -> None:
        need, after = self.named(self.trees[file.path])
        if self.is_rewritten(file.path):
            after = columns_of(self.schema)
        elif file.path in self.seen:
            self._count(file, need)
        elif need is not Need.NOTHING:
            self.first[file.path] = need
        self.seen.add(file.path)
        self.live[file.path] = (file, after)

    def _count(self, file: DataFile, need: Need) -> None:
        if need is not Need.NOTHING:
            self.counts[need] += 1
            self.size_bytes += file.size_bytes


class Names:
    """Gives a Delta target's files the names of each version.

    Args:
        placer: Places the files.
        trees: The columns of files by key, as far as they are known.
        before: The source's columns at the version that the target holds; None if it is unknown.
        there: Keys of the files that the target has already.
    """

    def __init__(
        self,
        placer: Placer,
        trees: Mapping[str, Element],
        before: Schema | None,
        there: Iterable[str],
    ) -> None:
        self._placer = placer
        self._before = before
        self._by_name = before and replace(before, identity=Identity.BY_NAME, aliases=())
        self._there = frozenset(there)
        self._trees = dict(trees)
        self._equal = {root: root for root in trees.values()}
        self._asked = Schema(())
        self._answers: dict[int, Need] = {}

    def need(self, file: DataFile, held: DataFile, schema: Schema) -> Need:
        """Return what a file needs for a schema.

        Args:
            file: The file in the source.
            held: The file asked about: itself, or the target's file that came from it.
            schema: The source's columns.

        Raises:
            FormatError: Two columns of the file are the same one of the table.
        """
        if schema is not self._asked:
            self._asked, self._answers = schema, {}
        root = self._columns(file, held, schema)
        if id(root) not in self._answers:
            with _named_in_errors(held.path):
                self._answers[id(root)] = need_of(root, schema)
        return self._answers[id(root)]

    def _columns(self, file: DataFile, held: DataFile, schema: Schema) -> Element:
        """Return a file's columns with the ids that the source has for them.

        A target's file may have none, or those of another table from which the target was written
        too. The names by which files without ids are known are those of the source.
        """
        root = self._tree(held.path)
        if held.path == file.path:
            return root
        new = held.path not in self._there
        if _has_ids(root) and (new or self._knows(root)):
            return root
        with _named_in_errors(file.path):
            known = with_ids_like(root, with_names_of(self._tree(file.path), schema))
            if self._by_name is not None and not (new or (_has_ids(known) and self._knows(known))):
                known = with_ids_of(root, self._by_name)  # one of both files was written again
        return self._equal.setdefault(known, known)

    def _knows(self, root: Element) -> bool:
        """Whether ids are the source's: by name, a target's live file has the source's columns."""
        return self._before is None or has_names_of(root, self._before)

    def note(self, key: str, like: str) -> None:
        """Note that a file has the bytes of another."""
        if like in self._trees:
            self._trees[key] = self._trees[like]

    def copy(self, pairs: Sequence[tuple[DataFile, DataFile]], schemas: Schemas) -> list[DataFile]:
        """Copy files under the names of a version.

        A copy's key tells its columns, so that a run after a crash makes the same ones; a copy
        that is there already is taken as it is.

        Args:
            pairs: Files of the source, each with what is to be copied: itself, or the target's
                file that came from it.
            schemas: The columns.

        Returns:
            The copies, with the source's deletes and partition values.

        Raises:
            FormatError: Two columns of a file are the same one of the table.
        """
        made: list[tuple[FooterCopy, Element]] = []
        sizes: dict[str, int] = {}
        copies = []
        for file, held in pairs:
            with _named_in_errors(held.path):
                root = self._columns(file, held, schemas.source)
                after = with_names_of(root, schemas.source)
            key = self._key(file, after)
            size_bytes = self._size_of_finished(key, after)
            if size_bytes is None:
                made.append((FooterCopy(held.path, key, partial(_replaced, after=after)), after))
            else:
                sizes[key] = size_bytes
            copies.append(key)
        store = self._placer.store
        written = copy_relabelled(store, [copy for copy, _ in made])
        for (copy, after), size_bytes in zip(made, written, strict=True):
            sizes[copy.target] = size_bytes
            self._trees[copy.target] = self._equal.setdefault(after, after)
        return [
            self._described(file, held, replace(file, path=key, size_bytes=sizes[key]), schemas)
            for (file, held), key in zip(pairs, copies, strict=True)
        ]

    def _described(
        self, file: DataFile, held: DataFile, copy: DataFile, schemas: Schemas
    ) -> DataFile:
        """Complete a copy: its statistics, where the source's are not its, and its row count."""
        self._placer.account(Means.FOOTER, [copy])
        if held.size_bytes == file.size_bytes and file.rows is not None:
            return copy
        footer = read_footer(self._placer.store, copy.path)
        return replace(copy, rows=footer.rows, stats=stats_for(footer, schemas.fitted))

    def _key(self, file: DataFile, after: Element) -> str:
        generation = hashlib.sha256(repr(after).encode()).hexdigest()
        return in_generation(self._placer.addresses.unique(file, Means.FOOTER), generation)

    def _size_of_finished(self, key: str, after: Element) -> int | None:
        """Return the size of a copy that is there already, None if there is none."""
        info = self._placer.store.head(key)
        return None if info is None or self._tree(key) != after else info.size_bytes

    def _tree(self, key: str) -> Element:
        if key not in self._trees:
            root = read_elements(self._placer.store, key)
            self._trees[key] = self._equal.setdefault(root, root)
        return self._trees[key]


@contextmanager
def _named_in_errors(key: str) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{key!r}: {error}", location=key) from error


def _has_ids(root: Element) -> bool:
    return any(child.id is not None for child in root.children)


def _replaced(_: Element, after: Element) -> Element:
    return after
