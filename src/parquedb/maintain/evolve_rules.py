"""What of a change of columns a table allows: of its format, and of being a collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from parquedb.errors import InvalidInputError, StateError, UnsupportedError
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.dialects import DIALECTS
from parquedb.formats.iceberg.load import load_existing
from parquedb.log.snapshot import Snapshot
from parquedb.model.edit import (
    AddColumn,
    DropColumn,
    Edit,
    MakeOptional,
    RenameColumn,
    Reorder,
    SetDoc,
    WidenColumn,
)
from parquedb.model.format import Format
from parquedb.model.partition import IdentityTransform, VoidTransform
from parquedb.model.schema import Schema, children, walk
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
    Type,
    describe_type,
)
from parquedb.namespace.tables import Namespace
from parquedb.rows.columns import DATA, OWN_FIELDS, is_document_schema
from parquedb.rows.infer import is_column_name
from parquedb.rows.typescript import is_typescript_layout

_NOT_IN_DELTA = " ,;{}()\n\t="
"""Characters that names of Delta columns cannot have without column mapping."""
_RESERVED = {
    Format.ICEBERG: frozenset(
        {"_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id"}
        | {"_last_updated_sequence_number", "_change_type", "_change_ordinal"}
        | {"_commit_snapshot_id"}
    ),
    Format.DELTA: frozenset({"_change_type", "_commit_version", "_commit_timestamp"}),
}
"""Names that engines give to columns that no table has: metadata columns, the change data feed."""
_STATISTICS = "delta.dataSkippingStatsColumns"


def check_types(format_: Format, version: int | None, edits: Sequence[Edit]) -> None:
    """Raise unless a table has the types of all changes, and not others in their place.

    Args:
        format_: Its format.
        version: Its format version.
        edits: The changes.

    Raises:
        UnsupportedError: It has not.
    """
    for edit in edits:
        if not isinstance(edit, AddColumn | WidenColumn):
            continue
        fit = DIALECTS[format_].fit_type_of(version)(edit.type)
        if fit.becomes == edit.type and not fit.lost:
            continue
        what = describe_type(edit.type)
        closest = "" if fit.becomes is None else f"; the closest is {describe_type(fit.becomes)}"
        raise UnsupportedError(
            f"column {edit.name!r}: {format_.label} has no type {what}{closest}", feature=what
        )


def check_edits(
    namespace: str, format_: Format, schema: Schema, edits: Sequence[Edit], *, journaled: bool
) -> None:
    """Raise unless a format and a collection allow the changes.

    Args:
        namespace: The namespace.
        format_: Its format.
        schema: Its columns.
        edits: The changes.
        journaled: Whether it has a journal.

    Raises:
        InvalidInputError: A name cannot be a column's, or is the system's.
        UnsupportedError: The format or a collection cannot have the change.
        StateError: The table is one of the TypeScript ParqueDB.
    """
    if is_typescript_layout(schema):
        raise StateError(
            f"namespace {namespace!r} was written by ParqueDB for TypeScript, which keeps all "
            "fields in one column; migrate it first, then change its columns"
        )
    documents = is_document_schema(schema)
    kept = documents and (journaled or schema.find(DATA) is not None)
    for edit in edits:
        _check_strings(edit)
        _check_reserved(format_, edit)
        if documents:
            _check_system(namespace, edit)
        if kept:
            _check_collection(namespace, edit)
        match format_:
            case Format.DELTA:
                _check_delta_names(edit)
            case Format.NATIVE:
                _check_comment(namespace, edit)
            case Format.ICEBERG:
                pass
            case _:
                assert_never(format_)


def _check_strings(edit: Edit) -> None:
    names = edit.names if isinstance(edit, Reorder) else (edit.name, *_new_names(edit))
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise InvalidInputError(f"columns are named by strings, not by {wrong[0]!r}")


def _check_system(namespace: str, edit: Edit) -> None:
    if isinstance(edit, Reorder | SetDoc):
        return
    names = [edit.name, edit.new] if isinstance(edit, RenameColumn) else [edit.name]
    for name in names:
        top = name.partition(".")[0]
        if top in OWN_FIELDS or top == DATA:
            raise InvalidInputError(
                f"{name!r} is a column that documents need in the collection {namespace!r}; it "
                "cannot be added, renamed, dropped or changed"
            )


def _check_collection(namespace: str, edit: Edit) -> None:
    """Raise where a change of a column is not one of the documents' fields.

    A field may be in the typed column, in ``$data`` and in writes that are not flushed yet.
    """
    match edit:
        case RenameColumn(name, new):
            raise UnsupportedError(
                f"{namespace!r} is a collection of documents, whose field {name!r} may be outside "
                f"of its column too; rename the field: "
                f'update_many({{}}, {{"$rename": {{"{name}": "{new}"}}}})'
            )
        case DropColumn(name):
            raise UnsupportedError(
                f"{namespace!r} is a collection of documents, whose field {name!r} may be outside "
                f'of its column too; remove the field: update_many({{}}, {{"$unset": {{"{name}": '
                '""}}), which leaves an empty column'
            )
        case AddColumn(name, type_):
            top = name.partition(".")[0]
            if not is_column_name(top):
                raise InvalidInputError(
                    f"{name!r} cannot be the column of a field; documents keep such fields in "
                    f"{DATA}"
                )
            if not _holds_values(type_):
                raise UnsupportedError(
                    f"column {name!r}: documents have no values of type {describe_type(type_)}; "
                    "their columns are bool, int64, float64, decimal, string, binary, date, "
                    "timestamp(us, UTC), lists and structs of these"
                )
        case WidenColumn() | MakeOptional() | SetDoc() | Reorder():
            pass
        case _:
            assert_never(edit)


def _holds_values(type_: Type) -> bool:
    inner = children(type_)
    if inner:
        return type(type_).__name__ != "MapType" and all(_holds_values(f.type) for f in inner)
    match type_:
        case IntType(bits, signed):
            return bits == 64 and signed
        case FloatType(bits):
            return bits == 64
        case TimestampType(unit, utc):
            return unit == "us" and utc
        case BooleanType() | StringType() | BinaryType() | DateType() | DecimalType():
            return True
        case _:
            return False


def _check_delta_names(edit: Edit) -> None:
    for name in _new_names(edit):
        bad = sorted({char for char in name if char in _NOT_IN_DELTA})
        if bad:
            raise InvalidInputError(
                f"{name!r} cannot be a column of a Delta table: names have none of "
                f"{_NOT_IN_DELTA!r} (this one has {''.join(bad)!r})"
            )


def _new_names(edit: Edit) -> Iterator[str]:
    """Yield the names and paths that a change brings into a table."""
    match edit:
        case RenameColumn(new=name):
            yield name
        case AddColumn(name, type_):
            yield name
            for path, _ in walk(children(type_)):
                yield path[-1]
        case _:
            pass


def _check_reserved(format_: Format, edit: Edit) -> None:
    """Raise where engines have a column of their own by a new column's name."""
    taken = _RESERVED.get(format_, frozenset())
    name = next(_new_names(edit), "")
    if name.lower() in taken:
        raise InvalidInputError(
            f"{name!r} is a metadata column of {format_.label} tables, which engines read in its "
            "place; choose another name"
        )


def _check_comment(namespace: str, edit: Edit) -> None:
    if isinstance(edit, SetDoc) or (isinstance(edit, AddColumn) and edit.doc):
        raise UnsupportedError(
            f"namespace {namespace!r} is native Parquet, whose files keep no comments of columns; "
            "migrate it to Iceberg or Delta first",
            feature="column comments",
        )


def check_table(space: Namespace, format_: Format, snapshot: Snapshot, after: Schema) -> None:
    """Raise if a table needs a column that is dropped, or has a name that a column gets.

    Raises:
        InvalidInputError: Its rows are partitioned or sorted by the column.
    """
    kept = {item.id for _, item in walk(after.fields)}
    gone = {item.id: ".".join(p) for p, item in walk(snapshot.schema.fields) if item.id not in kept}
    for spec in snapshot.specs.values():
        for field in spec.fields:
            if field.source_id in gone and not isinstance(field.transform, VoidTransform):
                raise InvalidInputError(
                    f"the table is, or was, partitioned by {gone[field.source_id]!r} (partition "
                    f"field {field.name!r}), so it cannot be dropped; its files' metadata refer "
                    "to it"
                )
    reader = space.reader(format_)
    if isinstance(reader, DeltaReader):
        _check_statistics(reader, snapshot, after)
    if format_ is not Format.ICEBERG:
        return
    for source in _sort_sources(space, format_):
        if source in gone:
            raise InvalidInputError(
                f"the table is sorted by {gone[source]!r} (sort orders), so it cannot be dropped; "
                "replace the sort order with another engine first"
            )
    _check_partition_names(snapshot, after)


def _check_statistics(reader: DeltaReader, snapshot: Snapshot, after: Schema) -> None:
    """Raise if a table property names a column that is to have another name, or none."""
    metadata = reader.timeline.at(reader.latest()).era.metadata
    listed = metadata.configuration.get(_STATISTICS, "").split(",")
    new = {item.id: path for path, item in walk(after.fields)}
    for path, item in walk(snapshot.schema.fields):
        name = ".".join(path)
        if new.get(item.id) != path and name in {each.strip(" `") for each in listed}:
            raise InvalidInputError(
                f"the table's property {_STATISTICS} names {name!r}, and other writers refuse a "
                "table that has no such column; change the property with another engine first"
            )


def _sort_sources(space: Namespace, format_: Format) -> Iterator[int]:
    """Yield the ids of the columns of all sort orders ("Sorting")."""
    table = load_existing(space.store, space.folder(format_)).table
    orders: Sequence[Mapping[str, Any]] = table.kept.get("sort-orders", ())
    for order in orders:
        for field in order.get("fields", ()):
            yield from field.get("source-ids") or (field.get("source-id", 0),)


def _check_partition_names(snapshot: Snapshot, after: Schema) -> None:
    """Raise if a column gets the name of a partition field, which engines refuse to load."""
    before = set(snapshot.schema.names)
    for spec in snapshot.specs.values():
        for field in spec.fields:
            new = after.find(field.name)
            own = isinstance(field.transform, IdentityTransform)
            if new is None or new.name in before or (own and new.id == field.source_id):
                continue
            raise InvalidInputError(
                f"{new.name!r} is the name of a partition field of the table; choose another"
            )
