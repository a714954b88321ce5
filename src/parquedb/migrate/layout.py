"""How a target is partitioned where the source's partitioning has no equal.

Delta partitions by columns, all files of a version by the same ones. A source whose files are all
partitioned by one set of columns keeps it. Any other becomes one unpartitioned table, in which
statistics of the files stand in for partition values (docs/design/010-partitions.md).

Iceberg partitions by everything that Delta and native folders can; but pyiceberg reads numbers of
double precision from a partition as if they were of single precision.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from itertools import chain

from parquedb.errors import UnsupportedError
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.carry import Carry
from parquedb.migrate.partitions import PartitionFolders
from parquedb.migrate.relate import Continues, Relation
from parquedb.model.files import DataFile, Stats, Value
from parquedb.model.format import Format
from parquedb.model.partition import (
    UNPARTITIONED,
    BucketTransform,
    IdentityTransform,
    PartitionField,
    PartitionSpec,
    Transform,
    TruncateTransform,
    VoidTransform,
)
from parquedb.model.schema import Identity, Path, Schema, children, walk
from parquedb.model.transforms import source_bounds
from parquedb.model.types import FloatType, Type, describe_type
from parquedb.parquet.footer import Footer, read_footers
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_FOOTERS_AT_A_TIME = 256
_NO_STATS = Stats()


@dataclass(frozen=True, slots=True)
class Layout:
    """How the target is partitioned.

    Args:
        folders: What is known of the source's partitioning, and the partition columns of a Delta
            target. Other targets have the source's own partitioning.
        reason: Why a partitioned source becomes an unpartitioned table; None if it does not.
        lines: What that means for each partition field, one sentence each.
        rekeyed: Whether the target has another partitioning before this run, so that the files
            that it keeps are added again.
        absent: Files that lack a column whose value only their partition tells: they are written
            again with it.
        held_without: The target's own files that lack such a column, which those in the source
            that they came from, or that came from them, may have.
    """

    folders: PartitionFolders
    reason: str | None = None
    lines: tuple[str, ...] = ()
    rekeyed: bool = False
    absent: frozenset[str] = frozenset()
    held_without: frozenset[str] = frozenset()
    _unchanged: list[tuple[Schema, Schema, Mapping[int, Type]]] = field(
        default_factory=list, compare=False, repr=False
    )

    @property
    def kept(self) -> bool:
        """Whether files keep the partition values that they have in the source."""
        return self.folders.columns is None

    def spec(self, schema: Schema) -> PartitionSpec:
        """Return the target's partitioning for a version with these columns."""
        names = {item.id: item.name for item in schema.fields}
        columns = self.folders.columns or ()
        return PartitionSpec(0, tuple(PartitionField(id_, names[id_]) for id_ in columns))

    def settle(self, file: DataFile, placed: DataFile, source: Schema, fitted: Schema) -> DataFile:
        """Return a placed file with the target's partition values and statistics.

        Args:
            file: The file in the source.
            placed: The file in the target; its statistics are by the source's ids.
            source: The source's columns as of the version that adds it.
            fitted: The same with the target's types.
        """
        columns = self.folders.columns
        if columns is None:
            return placed
        if columns:
            values = self.folders.values(file)
            partition = tuple(values[id_] for id_ in columns)
            return replace(placed, partition=partition, spec_id=0)
        spec = self.folders.specs.get(file.spec_id, UNPARTITIONED)
        if not spec.fields:
            plain = not placed.partition and placed.spec_id == 0
            return placed if plain else replace(placed, partition=(), spec_id=0)
        stats = _with_bounds(placed, spec, file.partition, self._types(source, fitted))
        return replace(placed, partition=(), spec_id=0, stats=stats)

    def _types(self, source: Schema, fitted: Schema) -> Mapping[int, Type]:
        """Return the types of the columns that are the same in the target, once a version."""
        known = self._unchanged
        if not known or known[0][0] is not source or known[0][1] is not fitted:
            types = {item.id: item.type for _, item in walk(source.fields)}
            same = {i.id: i.type for _, i in walk(fitted.fields) if types.get(i.id) == i.type}
            known[:] = [(source, fitted, same)]
        return known[0][2]


AS_IT_IS = Layout(PartitionFolders())
"""The source's own partitioning."""


def _with_bounds(
    placed: DataFile,
    spec: PartitionSpec,
    partition: tuple[Value | None, ...],
    types: Mapping[int, Type],
) -> Stats | None:
    """Return a file's statistics, completed by what its partition values say."""
    stats = placed.stats or _NO_STATS
    nulls, lower, upper = dict(stats.nulls), dict(stats.lower), dict(stats.upper)
    for item, value in zip(spec.fields, partition, strict=True):
        id_, type_ = item.source_id, types.get(item.source_id)
        if type_ is None or isinstance(item.transform, VoidTransform):
            continue
        if value is None:  # no transform makes null of anything else
            if placed.rows is not None:
                nulls.setdefault(id_, placed.rows)
            continue
        nulls.setdefault(id_, 0)
        least, most = source_bounds(item.transform, type_, value)
        if least is not None:
            lower.setdefault(id_, least)
        if most is not None:
            upper.setdefault(id_, most)
    found = Stats(nulls, lower, upper, stats.sizes)
    return placed.stats if found == _NO_STATS else found


def find_layout(
    store: Store,
    source: Format,
    carry: Carry,
    target: Format,
    held: Snapshot | None,
    *,
    continues: bool = True,
) -> Layout:
    """Decide how a target is partitioned.

    Args:
        store: The store; footers are read where metadata does not say which columns a file has.
        source: The source's format.
        carry: What is to be carried.
        target: Format migrated to.
        held: The target as it is, None if there is none.
        continues: Whether the run continues its history; else its rows are replaced.

    Raises:
        UnsupportedError: A column that only partition values tell is nested.
    """
    schemas = (*carry.schemas, carry.latest.schema)
    if carry.before is not None:
        schemas = (carry.before.schema, *schemas)
    specs = (*carry.latest.specs.values(), *carry.specs)
    if carry.before is not None:
        specs = (*carry.before.specs.values(), *specs)
    folders = PartitionFolders.of(schemas, specs)
    used = list(_used(carry, folders))
    columns = _columns(used)
    if target is not Format.DELTA:
        if target is Format.NATIVE or not _has_fine_doubles(carry, folders):
            return Layout(folders)
        reason = "pyiceberg reads partition values of the type float64 as float32"
        absent = _find_absent(store, source, schemas, folders, carry.added.values())
        return Layout(
            replace(folders, columns=()), reason, tuple(_lines(used, folders)), absent=absent
        )
    why = _find_reason(carry, schemas, used, columns, folders)
    before = () if held is None else tuple(item.name for item in held.spec.fields)
    names = [folders.names.get(id_, "") for id_ in columns]
    same = sorted(before) == sorted(names)
    if why is None and held is not None and continues and not same:
        why = _changed(before, names)
    if why is None:
        if same:
            columns = tuple(sorted(columns, key=lambda id_: before.index(folders.names[id_])))
        changed = held is not None and not same
        return Layout(replace(folders, columns=columns), rekeyed=changed)
    rekeyed = bool(before)
    files: Iterable[DataFile] = carry.added.values()
    if rekeyed and carry.before is not None:
        files = chain(carry.before.files.values(), files)
    absent = _find_absent(store, source, schemas, folders, files)
    news = held is None or rekeyed or not continues
    lines = tuple(_lines(used, folders)) if news else ()
    without = _find_without(store, held) if held is not None and rekeyed else frozenset[str]()
    return Layout(
        replace(folders, columns=()), why if news else None, lines, rekeyed, absent, without
    )


def layout_of(
    store: Store,
    source: Format,
    carry: Carry,
    target: Format,
    relation: Relation,
    held: Snapshot | None,
) -> Layout:
    """Decide how a target is partitioned, by how it stands to the source.

    Args:
        store: The store.
        source: The source's format.
        carry: What is to be carried.
        target: Format migrated to.
        relation: How the target stands to the source.
        held: The target as it is.

    Raises:
        UnsupportedError: A column that only partition values tell is nested.
    """
    continues = isinstance(relation, Continues) and not relation.target_moved
    return find_layout(store, source, carry, target, held, continues=continues)


def _used(carry: Carry, folders: PartitionFolders) -> Iterator[PartitionSpec]:
    """Yield the specs that files have, and the one that new files get."""
    before = () if carry.before is None else carry.before.files.values()
    ids = {file.spec_id: None for file in chain(before, carry.added.values())}
    for id_ in {**ids, carry.latest.spec.spec_id: None}:
        if id_ in folders.specs:
            yield folders.specs[id_]


def _columns(used: list[PartitionSpec]) -> tuple[int, ...]:
    return tuple(
        dict.fromkeys(
            item.source_id
            for spec in used
            for item in spec.fields
            if not isinstance(item.transform, VoidTransform)
        )
    )


def _find_reason(
    carry: Carry,
    schemas: tuple[Schema, ...],
    used: list[PartitionSpec],
    columns: tuple[int, ...],
    folders: PartitionFolders,
) -> str | None:
    """Say why Delta cannot have the source's partition columns; None if it can."""
    for spec in used:
        for item in spec.fields:
            if not isinstance(item.transform, IdentityTransform | VoidTransform):
                return f"{item.name!r} is partitioned by {_call(item, folders)}"
    for spec in used:
        own = {i.source_id for i in spec.fields if isinstance(i.transform, IdentityTransform)}
        if own != set(columns):
            return "its partitioning changes in the course of its history"
    for id_ in columns:
        found = [item for schema in schemas for item in schema.fields if item.id == id_]
        column = folders.names.get(id_, str(id_))
        if len(found) < len(schemas) or any(children(item.type) for item in found):
            return f"the partition column {column!r} is not a column of every version"
        if any(item.name != column for item in found):
            return f"the partition column {column!r} had another name"
        if not folders.can_name(id_):
            return f"the name of the partition column {column!r} cannot be that of a folder"
    return _find_untellable(carry, columns, folders)


def _find_untellable(
    carry: Carry, columns: tuple[int, ...], folders: PartitionFolders
) -> str | None:
    if not columns:
        return None
    before = () if carry.before is None else carry.before.files.values()
    seen: set[tuple[int, Value | None]] = set()
    for file in chain(before, carry.added.values()):
        values = folders.values(file)
        for id_ in columns:
            value = values.get(id_)
            if (id_, value) in seen:
                continue
            seen.add((id_, value))
            if folders.folder(id_, value) is None:
                kind = describe_type(folders.types[id_])
                shown = repr(value) if len(repr(value)) < 40 else f"{repr(value)[:40]}…"
                return (
                    f"the {kind} {shown} in the partition column {folders.names[id_]!r} cannot be "
                    "told apart in Delta's partition values"
                )
    return None


def _has_fine_doubles(carry: Carry, folders: PartitionFolders) -> bool:
    """Whether a partition value is a number of double precision that single precision changes."""
    doubles = {id_ for id_, type_ in folders.types.items() if type_ == FloatType(64)}
    if not any(i.source_id in doubles for spec in folders.specs.values() for i in spec.fields):
        return False
    before = () if carry.before is None else carry.before.files.values()
    return any(
        id_ in doubles and isinstance(value, float) and not _is_single(value)
        for file in chain(before, carry.added.values())
        for id_, value in folders.values(file).items()
    )


def _is_single(value: float) -> bool:
    try:
        return math.isnan(value) or float(struct.unpack("<f", struct.pack("<f", value))[0]) == value
    except OverflowError:
        return False


def _changed(before: tuple[str, ...], names: list[str]) -> str:
    if not before:
        return "the Delta table is unpartitioned already"
    now = ", ".join(names) or "none"
    return f"the Delta table is partitioned by {', '.join(before)} and the source by {now}"


def _call(item: PartitionField, folders: PartitionFolders) -> str:
    """Return a partition field as Spark's SQL writes it: ``bucket(16, id)``."""
    name = folders.names.get(item.source_id, f"column {item.source_id}")
    return f"{_word(item.transform)}({_argument(item.transform)}{name})"


def _word(transform: Transform) -> str:
    return type(transform).__name__.removesuffix("Transform").lower()


def _argument(transform: Transform) -> str:
    match transform:
        case BucketTransform(number) | TruncateTransform(number):
            return f"{number}, "
        case _:
            return ""


def _lines(used: list[PartitionSpec], folders: PartitionFolders) -> Iterator[str]:
    """Say of every partition field what readers can skip files by from now on."""
    fields = dict.fromkeys((item.source_id, item.transform) for s in used for item in s.fields)
    for id_, transform in fields:
        name = folders.names.get(id_, f"column {id_}")
        call = _call(PartitionField(id_, name, transform), folders)
        match transform:
            case VoidTransform():
                continue
            case BucketTransform():
                yield (
                    f"{call} has no equal: a filter for one {name!r} reads every file whose "
                    f"range of {name!r} contains it"
                )
            case _:
                yield f"instead of {call}, the least and the greatest {name!r} of each file"


def _find_absent(
    store: Store,
    source: Format,
    schemas: tuple[Schema, ...],
    folders: PartitionFolders,
    files: Iterable[DataFile],
) -> frozenset[str]:
    """Return the files that lack a column of which they have an identity partition."""
    doubtful: dict[str, tuple[int, ...]] = {}
    for file in files:
        sizes = {} if file.stats is None else file.stats.sizes
        unknown = tuple(id_ for id_ in folders.values(file) if id_ not in sizes)
        if unknown:
            doubtful[file.path] = unknown
    paths = _Paths(schemas)
    absent: set[str] = set()
    keys = list(doubtful)
    for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
        for footer in read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME]):
            for id_ in doubtful[footer.key]:
                if not paths.has(footer, id_):
                    absent.add(footer.key)
                    _check_top_level(source, paths, id_, footer.key)
    return frozenset(absent)


def _find_without(store: Store, held: Snapshot) -> frozenset[str]:
    """Return the files of a Delta table that lack one of its partition columns."""
    names = {(item.name,) for item in held.spec.fields}
    keys = list(held.files)
    found: set[str] = set()
    for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
        for footer in read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME]):
            if not names <= {path for path, _ in walk(footer.schema.fields)}:
                found.add(footer.key)
    return frozenset(found)


@dataclass(slots=True)
class _Paths:
    """Where the schemas of a history look for a column in a file."""

    schemas: tuple[Schema, ...]
    _known: dict[int, tuple[frozenset[Path], ...]] = field(default_factory=dict)

    def of(self, id_: int) -> tuple[frozenset[Path], ...]:
        """Return, for every schema that has a field, under which paths a file may have it."""
        if id_ not in self._known:
            found: dict[frozenset[Path], None] = {}
            for schema in self.schemas:
                for path, item in walk(schema.fields):
                    if item.id == id_:
                        names = schema.aliases_of(id_) or (item.name,)
                        found[frozenset((*path[:-1], name) for name in names)] = None
            self._known[id_] = tuple(found)
        return self._known[id_]

    def has(self, footer: Footer, id_: int) -> bool:
        """Whether a reader finds the field in a file, at every version."""
        by_id = self.schemas[-1].identity is Identity.BY_ID and bool(footer.carried_ids)
        if by_id:
            return id_ in footer.carried_ids.values()
        columns = {path for path, _ in walk(footer.schema.fields)}
        return all(not names.isdisjoint(columns) for names in self.of(id_))


def _check_top_level(source: Format, paths: _Paths, id_: int, key: str) -> None:
    if any(len(path) > 1 for names in paths.of(id_) for path in names):
        name = ".".join(next(iter(paths.of(id_)[0])))
        raise UnsupportedError(
            f"{key!r} lacks the nested column {name!r}, whose value only the partition of the "
            f"{source.label} table tells; Delta has no such partitions: rewrite the table's data "
            "files (compaction) first; nothing was written",
            feature="nested partition columns",
        )
