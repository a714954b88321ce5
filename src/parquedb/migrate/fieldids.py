"""Files that a table cannot refer to as they are, because of what their footers say.

Iceberg readers match columns by the ids in a file where it has any, and by a name mapping where it
has none. Ids that mean something else would read as wrong columns, silently; and nested columns
without ids are null in some readers (iceberg-rust) and an error in others (DuckDB, for maps whose
entries are not called ``key_value``). And files whose embedded Arrow schema says ``string_view``
and the like, as delta-rs writes them after an update, cannot be read together with others by
pyiceberg. Such files get a copy with another footer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parquedb.errors import UnsupportedError
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
from parquedb.model.types import DecimalType, FloatType, IntType, ListType, MapType, Type
from parquedb.parquet.footer import Footer, read_footers
from parquedb.parquet.match import match_fields
from parquedb.storage.store import Store

_FOOTERS_AT_A_TIME = 256
_SAMPLED = 1024


def find_unfit_files(
    store: Store,
    source: LogReader,
    carry: Carry,
    target: Format,
    open_adopter: Callable[[], Callable[[Schema], Schema]],
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
    """
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
        return footer.unusual_arrow or _lacks(footer) or wanted.differs(footer)

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
    """

    by_path: dict[Path, int] = field(default_factory=dict)
    by_id: dict[int, int] = field(default_factory=dict)
    insides: dict[int, tuple[int, ...]] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)

    def add(self, source: Schema, adopted: Schema) -> None:
        """Add the columns of a version, as the source and as the target has them."""
        in_files = named_as_in_files(source)
        pairs = zip(walk(in_files.fields), walk(adopted.fields), strict=True)
        for (path, theirs), (_, ours) in pairs:
            self.by_path[path] = ours.id
            if source.matches_ids and source.aliases:
                self.by_id[theirs.id] = ours.id
                self.insides[theirs.id] = tuple(inner.id for inner in children(ours.type))
        self.strangers.update(source.aliases_of(NO_COLUMN))

    def differs(self, footer: Footer) -> bool:
        """Whether a file has an id that is another column's, or a column that nobody knows."""
        if self.by_id:
            return self._differs_by_id(footer)
        carried, wanted = footer.carried_ids, self.by_path
        taken = set(wanted.values())
        if any(wanted[p] != id_ if p in wanted else id_ in taken for p, id_ in carried.items()):
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
