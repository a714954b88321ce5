"""Files that an Iceberg table cannot refer to as they are, because of the field ids in them.

Iceberg readers match columns by the ids in a file where it has any, and by a name mapping where it
has none. Ids that mean something else would read as wrong columns, silently; and nested columns
without ids are null in some readers (iceberg-rust) and an error in others (DuckDB, for maps whose
entries are not called ``key_value``). Such files get a copy with another footer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parquedb.log.change import AddFile, SetSchema
from parquedb.log.ports import LogReader
from parquedb.migrate.carry import Carry
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.schema import Path, Schema, children, ids_by_path, walk
from parquedb.model.types import DecimalType, FloatType, IntType, Type
from parquedb.parquet.footer import Footer, read_footers
from parquedb.storage.store import Store

_FOOTERS_AT_A_TIME = 256
_COMMITS_SAMPLED = 128


def find_unfit_files(
    store: Store, source: LogReader, carry: Carry, target: Format
) -> frozenset[str]:
    """Return the files that need a copy with the right field ids.

    Only asked for Iceberg targets. One writer makes a commit's files alike, so where no column is
    nested one file a commit is looked at, over at most 128 commits spread over the history; all
    files are, as soon as one of these has ids.

    Args:
        store: The store.
        source: The source's reader.
        carry: What is to be carried.
        target: Format migrated to.
    """
    if target is not Format.ICEBERG or source.format is Format.ICEBERG:
        return frozenset()
    schemas = (*carry.schemas, carry.latest.schema)
    nested = any(children(field.type) for schema in schemas for field in schema.fields)
    if not nested:
        sample = read_footers(store, _sample(carry))
        if not any(footer.carried_ids for footer in sample):
            return frozenset()
    known: dict[Path, int] = {}
    for schema in schemas:
        known.update(ids_by_path(schema))
    unfit: set[str] = set()
    keys = list(carry.added)
    for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
        footers = read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME])
        unfit.update(f.key for f in footers if _contradicts(f, known) or _lacks(f))
    return frozenset(unfit)


def _sample(carry: Carry) -> list[str]:
    """One added file of each commit, evenly over the history; several of a single commit."""
    firsts: list[DataFile] = []
    for commit in carry.commits:
        added = [change.file for change in commit.changes if isinstance(change, AddFile)]
        if commit.base or len(carry.versions) == 1:
            firsts += _spread(added)
        elif added:
            firsts.append(added[0])
    return [file.path for file in _spread(firsts)]


def _spread(files: Sequence[DataFile]) -> Sequence[DataFile]:
    step = max(1, len(files) // _COMMITS_SAMPLED)
    return files[::step]


def _contradicts(footer: Footer, known: Mapping[Path, int]) -> bool:
    return any(known.get(path, id_) != id_ for path, id_ in footer.carried_ids.items())


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
    """Whether a number in a file is of a narrower type than in the schema."""
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
