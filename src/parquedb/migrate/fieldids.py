"""Files that a table cannot refer to as they are, because of what their footers say.

Iceberg readers match columns by the ids in a file where it has any, and by a name mapping where it
has none. Ids that mean something else would read as wrong columns, silently; and nested columns
without ids are null in some readers (iceberg-rust) and an error in others (DuckDB, for maps whose
entries are not called ``key_value``). And files whose embedded Arrow schema says ``string_view``
and the like, as delta-rs writes them after an update, or dictionaries and zones, as pandas does,
cannot be read by pyiceberg, or not together with others. In a Delta table, Polars cannot read
fixed-size lists. Such files get a copy with another footer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import field

from parquedb.errors import UnsupportedError
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.native.reader import NativeReader
from parquedb.log.change import AddFile, SetSchema
from parquedb.log.ports import LogReader
from parquedb.migrate.carry import Carry
from parquedb.model.format import Format
from parquedb.model.schema import (
    NO_COLUMN,
    Path,
    Schema,
    children,
    named_as_in_files,
    walk,
)
from parquedb.model.types import (
    DecimalType,
    FloatType,
    IntType,
    ListType,
    MapType,
    TimestampType,
    Type,
    VariantType,
)
from parquedb.parquet.arrow import VARIANT_PARTS, shredded
from parquedb.parquet.footer import Footer, read_footers, with_variants
from parquedb.parquet.match import match_fields
from parquedb.slotted import dataclass
from parquedb.storage.store import Store

_FOOTERS_AT_A_TIME = 256
_SAMPLED = 1024


def find_unfit_files(
    store: Store,
    source: LogReader,
    carry: Carry,
    target: Format,
    open_adopter: Callable[[], Callable[[Schema], Schema]],
    used_twice: frozenset[Path] = frozenset(),
) -> frozenset[str]:
    """Return the files that need a copy with the right field ids.

    Where no column is nested, at most 1,024 footers are read, spread over the history; all are, as
    soon as one of these needs a copy.

    Args:
        store: The store.
        source: The source's reader.
        carry: What is to be carried.
        target: Format migrated to.
        open_adopter: Makes what gives the source's columns the target's ids.
        used_twice: Names that were different columns in the course of time: a file without ids that
            has one would be matched by it at every version.

    Raises:
        UnsupportedError: A variant is shredded.
    """
    if target is Format.DELTA and isinstance(source, NativeReader) and carry.versions:
        return frozenset(footer.key for footer in source.footers if footer.fixed_lists)
    if target is not Format.ICEBERG or source.format is Format.ICEBERG or not carry.versions:
        return frozenset()
    schemas = tuple(dict.fromkeys((*carry.schemas, carry.latest.schema)))
    wanted = _Wanted()
    try:
        adopt = open_adopter()
        for schema in schemas:
            wanted.add(schema, adopt(schema))
    except UnsupportedError:
        return frozenset()  # nothing will be carried

    def is_unfit(footer: Footer) -> bool:
        _check_variants(footer, wanted.variants)
        footer = with_variants(footer, wanted.variants)
        return (
            footer.unusual_arrow
            or _lacks(footer)
            or wanted.differs(footer)
            or (not footer.has_field_ids and _has_one_of(footer, used_twice))
        )

    if isinstance(source, NativeReader):  # it has read every footer already
        return frozenset(footer.key for footer in source.footers if is_unfit(footer))

    def unfit_of(keys: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
            footers = read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME])
            found.update(footer.key for footer in footers if is_unfit(footer))
        return found

    sample, keys = _sample(carry), list(carry.added)
    unfit = unfit_of(sample)
    nested = any(children(field.type) for schema in schemas for field in schema.fields)
    if len(sample) < len(keys) and (unfit or nested):
        unfit = unfit_of(keys)
    return frozenset(unfit)


def _check_variants(footer: Footer, variants: Collection[Path]) -> None:
    """Check that the variants in a Delta table's file are not shredded.

    Raises:
        UnsupportedError: One is, and no table feature says so.
    """
    for path, item in walk(footer.schema.fields) if variants else ():
        parts = {part.name for part in children(item.type)}
        if path in variants and parts and parts != set(VARIANT_PARTS):
            raise shredded(footer.key, ".".join(path))


def _has_one_of(footer: Footer, paths: frozenset[Path]) -> bool:
    return bool(paths) and any(path in paths for path, _ in walk(footer.schema.fields))


def find_names_used_twice(*readers: LogReader | None) -> frozenset[Path]:
    """Return the names that ever were different columns of a table, by their ids."""
    twice: set[Path] = set()
    for reader in readers:
        ids: dict[Path, int] = {}
        for schema in reader.schemas() if isinstance(reader, DeltaReader | IcebergReader) else ():
            if schema.matches_ids and not schema.aliases:
                twice.update(
                    p for p, one in walk(schema.fields) if ids.setdefault(p, one.id) != one.id
                )
    return frozenset(twice)


def _sample(carry: Carry) -> list[str]:
    """All files up to 1,024; of more, one of each commit and others, evenly over the history."""
    keys = list(carry.added)
    if len(keys) <= _SAMPLED:
        return keys
    firsts = []
    for commit in carry.commits:
        added = next((c.file.path for c in commit.changes if isinstance(c, AddFile)), None)
        if added is not None:
            firsts.append(added)
    half = _SAMPLED // 2
    return list(dict.fromkeys([*_spread(firsts, half), *_spread(keys, half)]))


def _spread(keys: Sequence[str], most: int) -> Sequence[str]:
    return keys[:: max(1, -(-len(keys) // most))]


@dataclass(slots=True)
class _Wanted:
    """The ids that columns must have in files.

    Args:
        by_path: The target's ids by the paths in files.
        by_id: The target's ids by the source's, for a source whose files are matched by ids.
        insides: For these, the target's ids inside lists and maps by the source's ids of them.
        strangers: Names in files that are no column's, and are known to the target as such.
        variants: The paths in files of columns that are variants.
    """

    by_path: dict[Path, set[int]] = field(default_factory=dict)
    by_id: dict[int, int] = field(default_factory=dict)
    insides: dict[int, tuple[int, ...]] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    variants: set[Path] = field(default_factory=set)

    def add(self, source: Schema, adopted: Schema) -> None:
        """Add the columns of a version, as the source and as the target has them."""
        in_files = named_as_in_files(source)
        pairs = zip(walk(in_files.fields), walk(adopted.fields), strict=True)
        for (path, theirs), (_, ours) in pairs:
            if not source.matches_ids:
                self.by_path.pop(path, None)
            self.by_path.setdefault(path, set()).add(ours.id)
            if isinstance(theirs.type, VariantType):
                self.variants.add(path)
            if source.matches_ids and source.aliases:
                self.by_id[theirs.id] = ours.id
                self.insides[theirs.id] = tuple(inner.id for inner in children(ours.type))
        self.strangers.update(source.aliases_of(NO_COLUMN))

    def differs(self, footer: Footer) -> bool:
        """Whether a file has an id that is another column's, or a column that nobody knows."""
        if self.by_id:
            return self._differs_by_id(footer)
        carried, wanted = footer.carried_ids, self.by_path
        taken = set[int]().union(*wanted.values())
        if any(i not in wanted[p] if p in wanted else i in taken for p, i in carried.items()):
            return True
        return not footer.has_field_ids and any(
            path not in wanted and path not in carried and path[0] not in self.strangers
            for path, _ in walk(footer.schema.fields)
        )

    def _differs_by_id(self, footer: Footer) -> bool:
        carried = footer.carried_ids
        for path, one in walk(footer.schema.fields):
            id_ = carried.get(path)
            if id_ is not None and self.by_id.get(id_, id_) != id_:
                return True
            if id_ is not None and isinstance(one.type, ListType | MapType):
                own = tuple(carried.get((*path, inner.name)) for inner in children(one.type))
                if self.insides.get(id_, own) != own:
                    return True
        return False


def _lacks(footer: Footer) -> bool:
    """Whether a file has nested columns and not all of its columns have ids."""
    nested = any(children(field.type) for field in footer.schema.fields)
    return nested and not footer.has_field_ids


def find_narrow_files(
    store: Store, source: LogReader, carry: Carry, target: Format
) -> frozenset[str]:
    """Return the files whose columns are narrower than the schema of the commit that adds them.

    Only asked for Delta targets of tables in which a column's type was promoted: Delta readers
    that do not know type widening refuse such files. Files that a promotion finds in the table
    are no matter of this function; they are written again at that version.
    """
    if isinstance(source, NativeReader):
        return _find_narrow_native(source, target)
    if target is not Format.DELTA or not source.has_promotions():
        return frozenset()
    narrow: set[str] = set()
    schema = carry.latest.schema if carry.before is None else carry.before.schema
    for commit in carry.commits:
        for change in commit.changes:
            if isinstance(change, SetSchema):
                schema = change.schema
        keys = [change.file.path for change in commit.changes if isinstance(change, AddFile)]
        for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
            for footer in read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME]):
                if _is_narrow(footer, schema):
                    narrow.add(footer.key)
    return frozenset(narrow)


def _find_narrow_native(source: NativeReader, target: Format) -> frozenset[str]:
    """Return the files of a folder whose types some reader of the target does not widen."""
    schema = source.snapshot().schema
    wanted = {path: item.type for path, item in walk(schema.fields)}
    narrow: set[str] = set()
    known: dict[Schema, bool] = {}
    for footer in source.footers:
        if footer.schema not in known:
            known[footer.schema] = any(
                not children(item.type) and not _widens(item.type, wanted[path], target)
                for path, item in walk(footer.schema.fields)
            )
        if known[footer.schema]:
            narrow.add(footer.key)
    return frozenset(narrow)


def _widens(found: Type, wanted: Type, target: Format) -> bool:
    """Whether all readers of a format read a column of one type as one of another."""
    if found == wanted:
        return True
    match found, wanted:
        case TimestampType(), TimestampType():
            return True
        case IntType(bits), IntType(to) if to <= 32:
            return bits <= to
        case (IntType(), IntType()) | (FloatType(), FloatType()):
            return target is Format.ICEBERG
        case DecimalType(_, scale), DecimalType(_, to):
            return target is Format.ICEBERG and scale == to
        case _:
            return False


def _is_narrow(footer: Footer, schema: Schema) -> bool:
    """Whether a number in a file is of a narrower type than in the schema, or a default absent."""
    found = match_fields(footer.schema.fields, footer.carried_ids, schema)
    filled = {item.id for _, item in walk(schema.fields) if item.initial is not None}
    if filled - {field.id for _, field in found}:
        return True
    wanted = {item.id: item.type for _, item in walk(schema.fields)}
    return any(
        (
            isinstance(item.type, IntType | FloatType | DecimalType)
            and wanted.get(item.id, item.type) != item.type
            and not isinstance(wanted[item.id], IntType)
        )
        or (isinstance(item.type, IntType) and _bits(wanted.get(item.id)) > max(32, item.type.bits))
        for _, item in walk(footer.schema.fields)
    )


def _bits(type_: Type | None) -> int:
    return type_.bits if isinstance(type_, IntType) else 0


def find_files_to_fill(store: Store, carry: Carry, target: LogReader | None) -> frozenset[str]:
    """Return the files that lack a column for which the target has a default.

    Their rows have null in it; in the target they would have the default. Only Iceberg tables of
    format version 3 have such columns.
    """
    if not isinstance(target, IcebergReader):
        return frozenset()
    schema = target.snapshot().schema
    filled = {path: one.id for path, one in walk(schema.fields) if one.initial is not None}
    keys = list(carry.added) if filled else []
    lacking: set[str] = set()
    for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
        for footer in read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME]):
            ids = set(footer.carried_ids.values())
            names = {path for path, _ in walk(footer.schema.fields)}
            if any(path not in names and id_ not in ids for path, id_ in filled.items()):
                lacking.add(footer.key)
    return frozenset(lacking)
