"""Field ids and partition specs of a table that is written.

Commits come with the ids of their own table; the written table has ids of its own. Where the
other table identifies columns by id and the written one began as its copy, the ids are the same;
elsewhere a column is found again by its path, in all schemas that the table ever had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.formats.iceberg.features import fit_type
from parquedb.formats.iceberg.names import FileNames, extend_name_mapping, names_of
from parquedb.formats.iceberg.wire import TableMetadata, highest_column_id
from parquedb.formats.iceberg.wire_schema import FIRST_PARTITION_ID, IcebergSpec
from parquedb.model.files import Value
from parquedb.model.partition import IdentityTransform, PartitionField, PartitionSpec
from parquedb.model.schema import (
    NO_COLUMN,
    Identity,
    Path,
    Schema,
    assign_ids,
    ids_by_path,
    map_fields,
    named_as_in_files,
    walk,
    with_ids_of,
)
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    StructType,
    Type,
    describe_type,
)
from parquedb.slotted import dataclass


@dataclass(frozen=True, slots=True)
class SchemaMap:
    """How the commits' current schema and the table's belong together.

    Args:
        source: The commits' schema.
        schema_id: Id of the table's schema.
        schema: The table's schema.
        ids: Field ids of the table by those of the commits.
    """

    source: Schema
    schema_id: int
    schema: Schema
    ids: Mapping[int, int]


@dataclass(slots=True)
class Columns:
    """The schemas and specs of one table, growing.

    Args:
        verbatim: Whether the table has the field ids of the commits' table.
        source_ids: Otherwise, for commits whose table has field ids: which of the table's ids
            belongs to which of theirs, so that renames between two runs are noticed.
        version: The table's format version.
        names: What the columns are called in files without ids.
    """

    schemas: dict[int, Schema]
    specs: dict[int, IcebergSpec]
    last_column_id: int
    last_partition_id: int
    verbatim: bool
    source_ids: dict[int, int]
    version: int = 2
    known: dict[Path, int] = field(default_factory=dict)
    types: dict[int, Type] = field(default_factory=dict)
    optional: set[int] = field(default_factory=set)
    initial: dict[int, Value | None] = field(default_factory=dict)
    names: FileNames = field(default_factory=FileNames)

    @classmethod
    def new(cls, schema: Schema, version: int = 2) -> Columns:
        """Begin for a new table whose first commit has this schema."""
        ids = [item.id for _, item in walk(schema.fields)]
        verbatim = (
            schema.identity is Identity.BY_ID
            and min(ids, default=1) > 0
            and len(set(ids)) == len(ids)
        )
        return cls({}, {}, 0, FIRST_PARTITION_ID - 1, verbatim, {}, version)

    @classmethod
    def of(cls, table: TableMetadata, *, verbatim: bool, source_ids: dict[int, int]) -> Columns:
        """Begin with an existing table."""
        columns = cls(
            {}, dict(table.specs), highest_column_id(table), table.last_partition_id,
            verbatim, source_ids, max(table.format_version, 2),
        )  # fmt: skip
        columns.names = names_of(table.properties) or FileNames()
        current = (table.current_schema_id, table.schema)
        for schema_id, schema in (*sorted(table.schemas.items()), current):
            columns._remember(schema_id, schema)
            columns.names.complete(schema)
        return columns

    def map_schema(self, schema: Schema, spec: PartitionSpec, *, own_ids: bool) -> SchemaMap:
        """Give a commit's schema the table's ids and make it one of the table's schemas.

        Args:
            schema: The schema as the commits have it.
            spec: How the commits' table is partitioned.
            own_ids: Whether the schema has ids of this table, and not those of another.

        Raises:
            UnsupportedError: A type does not exist in Iceberg, or a column changed in a way that
                old files cannot follow.
        """
        fields = (
            item if own_ids and self.types.get(item.id) == item.type else _fit(item, self.version)
            for item in schema.fields
        )
        fitted = replace(schema, fields=tuple(fields))
        by_id = schema.identity is Identity.BY_ID and (own_ids or self.verbatim)
        target = fitted if by_id else self._by_path(fitted)
        ids = {
            theirs.id: ours.id
            for (_, theirs), (_, ours) in zip(walk(fitted.fields), walk(target.fields), strict=True)
        }
        filled = set[int]()
        if schema.identity is Identity.BY_NAME or (_is_aliased(schema) and not own_ids):
            filled = {ids[id_] for id_ in identity_sources(spec) if id_ in ids}
        target = self._with_initial(self._with_optional(target, filled))
        kept = {item.id for item in _always_there(target.fields) if item.id not in filled}
        identifiers = tuple(ids[id_] for id_ in schema.identifier_ids if ids.get(id_) in kept)
        target = Schema(target.fields, Identity.BY_ID, identifiers)
        self._check_types(target)
        schema_id = self._schema_id(target)
        self._remember(schema_id, target)
        self._free_names(target)
        aliases = [(ids[id_], names) for id_, names in schema.aliases if id_ in ids]
        aliased = replace(target, aliases=tuple(aliases))
        if not own_ids and aliases:
            self._check_names(aliased)
        self.names.note(aliased)
        self.names.note_strangers(schema.aliases_of(NO_COLUMN))
        if schema.identity is Identity.BY_NAME and (others := self.names.strangers(target)):
            raise UnsupportedError(
                f"the column {others[0]!r} has a name that another column of the Iceberg table has "
                "in files without field ids (schema.name-mapping.default), so its own files could "
                "not be read right: rename the column, or migrate into a new table",
                feature="name mapping",
            )
        return SchemaMap(schema, schema_id, target, ids)

    def map_spec(self, spec: PartitionSpec, ids: Mapping[int, int]) -> int:
        """Return the id of the table's spec that is the same as a commit's.

        Names of partition fields do not matter: they say nothing about a file.

        Raises:
            InvalidInputError: The spec has a source column that the schema does not have.
        """
        fields = []
        for item in spec.fields:
            if item.source_id not in ids:
                raise InvalidInputError(
                    f"the partition field {item.name!r} is made from the column with id "
                    f"{item.source_id}, which the schema does not have"
                )
            fields.append(replace(item, source_id=ids[item.source_id]))
        wanted = tuple(fields)
        for spec_id, known in self.specs.items():
            if known.spec.fields == wanted:
                return spec_id
        for spec_id, known in self.specs.items():
            if [(f.source_id, f.transform) for f in known.spec.fields] == [
                (f.source_id, f.transform) for f in wanted
            ]:
                return spec_id
        spec_id = max(self.specs, default=-1) + 1
        field_ids = tuple(self._partition_field_id(item) for item in wanted)
        self.specs[spec_id] = IcebergSpec(PartitionSpec(spec_id, wanted), field_ids)
        return spec_id

    def name_mapping(self, existing: str | None) -> str:
        """Return the property ``schema.name-mapping.default`` for all columns there ever were.

        Args:
            existing: The property so far, whose names are kept.

        Raises:
            FormatError: The property so far is no name mapping.
        """
        return extend_name_mapping(existing, self.names)

    def _by_path(self, schema: Schema) -> Schema:
        last = max(self.last_column_id, *self.known.values(), 0)
        if _is_aliased(schema):
            in_files = named_as_in_files(schema)
            known = {**self._unused(in_files, self.names.paths()), **self.names.paths()}
            found, self.last_column_id = assign_ids(in_files, known, max(last, *known.values(), 0))
            return with_ids_of(schema, found)
        held = self._without_renamed(schema)
        known = {**self._unused(schema, held), **held}
        target, self.last_column_id = assign_ids(schema, known, max(last, *known.values(), 0))
        if schema.identity is Identity.BY_ID:
            self._check_identity(schema, target)
        return target

    def _without_renamed(self, schema: Schema) -> dict[Path, int]:
        """Return the ids by path, each for one path of a schema: the one that it had last."""
        paths = {path for path, _ in walk(schema.fields)}
        last = {id_: path for path, id_ in self.known.items() if path in paths}
        return {path: id_ for path, id_ in self.known.items() if last.get(id_, path) == path}

    def _unused(self, schema: Schema, known: Mapping[Path, int]) -> dict[Path, int]:
        """Return the commits' own ids of new columns where the table never used such an id.

        Their files may carry these ids, and readers believe them.
        """
        return {
            path: item.id
            for path, item in walk(schema.fields)
            if path not in known and item.id > self.last_column_id
        }

    def _check_identity(self, schema: Schema, target: Schema) -> None:
        """Refuse what paths cannot tell: renamed columns, and new ones of an old name."""
        theirs_of = {ours: theirs for theirs, ours in self.source_ids.items()}
        for (path, theirs), (_, ours) in zip(walk(schema.fields), walk(target.fields), strict=True):
            name = ".".join(path)
            if self.source_ids.get(theirs.id, ours.id) != ours.id:
                raise UnsupportedError(
                    f"the column {name!r} was renamed; the Iceberg table has field ids of its "
                    "own, so old files could not be matched: migrate into a new table",
                    feature="rename",
                )
            if theirs_of.get(ours.id, theirs.id) != theirs.id:
                raise UnsupportedError(
                    f"the column {name!r} was dropped and added again; the Iceberg table has "
                    "field ids of its own, so old values would come back: migrate into a new "
                    "table",
                    feature="drop and re-add",
                )
            self.source_ids[theirs.id] = ours.id

    def _free_names(self, schema: Schema) -> None:
        """Give partition fields other names than those of columns that they are not made from.

        Java's readers refuse a table in which such a name is a column's.
        """
        ids = {item.name: item.id for item in schema.fields}
        for spec_id, known in self.specs.items():
            fields = tuple(
                replace(item, name=f"{item.name}_{field_id}")
                if ids.get(item.name, item.source_id) != item.source_id
                else item
                for item, field_id in zip(known.spec.fields, known.field_ids, strict=True)
            )
            if fields != known.spec.fields:
                self.specs[spec_id] = replace(known, spec=replace(known.spec, fields=fields))

    def _check_names(self, schema: Schema) -> None:
        """Refuse a column that the table knows under another id in files."""
        known = self.names.paths()
        in_files = walk(named_as_in_files(schema).fields)
        for (path, item), (named, _) in zip(in_files, walk(schema.fields), strict=True):
            if known.get(path, item.id) != item.id:
                raise UnsupportedError(
                    f"the column {'.'.join(named)!r} is called {'.'.join(path)!r} in files, where "
                    f"the Iceberg table has the id {known[path]} for it and the source "
                    f"{item.id} now; migrate into a new table",
                    feature="field ids",
                )

    def _with_optional(self, schema: Schema, filled: set[int]) -> Schema:
        """Make optional what old files may not have, and what readers fill from partitions."""
        first = not self.schemas

        def change(path: Path, item: Field) -> Field:
            known = item.id in self.types
            lacking = item.id in self.optional or not (first or known)
            if item.required and path[-1] != "key" and (lacking or item.id in filled):
                return replace(item, required=False)
            return item

        return replace(schema, fields=map_fields(schema.fields, change))

    def _with_initial(self, schema: Schema) -> Schema:
        """Give columns the values that rows of older files have in them, which never change."""
        known = self.initial

        def change(_: Path, item: Field) -> Field:
            value = known.get(item.id, item.initial)
            return item if value == item.initial else replace(item, initial=value)

        return replace(schema, fields=map_fields(schema.fields, change)) if known else schema

    def _check_types(self, schema: Schema) -> None:
        for path, item in walk(schema.fields):
            old = self.types.get(item.id)
            if old is not None and not is_promotion(old, item.type):
                name = ".".join(path)
                raise UnsupportedError(
                    f"the type of column {name!r} changes from {describe_type(old)} to "
                    f"{describe_type(item.type)}, which Iceberg cannot do with old files in place "
                    "(Schema Evolution); rewrite the table's files with the new type first",
                    feature=f"type change of {name}",
                )

    def _schema_id(self, schema: Schema) -> int:
        for schema_id, known in self.schemas.items():
            if known == schema:
                return schema_id
        return max(self.schemas, default=-1) + 1

    def _remember(self, schema_id: int, schema: Schema) -> None:
        self.schemas[schema_id] = schema
        for path, id_ in ids_by_path(schema).items():
            self.known.pop(path, None)  # those of the newest schema come last
            self.known[path] = id_
        for _, item in walk(schema.fields):
            self.types[item.id] = item.type
            self.initial.setdefault(item.id, item.initial)
            self.last_column_id = max(self.last_column_id, item.id)
            if not item.required:
                self.optional.add(item.id)

    def _partition_field_id(self, wanted: PartitionField) -> int:
        for known in self.specs.values():
            for item, field_id in zip(known.spec.fields, known.field_ids, strict=True):
                if item == wanted:
                    return field_id
        self.last_partition_id += 1
        return self.last_partition_id


def _is_aliased(schema: Schema) -> bool:
    """Whether columns have names of their own in files."""
    return any(id_ != NO_COLUMN for id_, _ in schema.aliases)


def _always_there(fields: tuple[Field, ...]) -> Iterator[Field]:
    """Yield the fields that can identify rows: required ones, in required structs only."""
    for item in fields:
        if item.required:
            yield item
            if isinstance(item.type, StructType):
                yield from _always_there(item.type.fields)


def is_promotion(old: Type, new: Type) -> bool:
    """Whether files of the old type can be read as the new one ("Schema Evolution")."""
    match old, new:
        case (StructType(), StructType()) | (ListType(), ListType()) | (MapType(), MapType()):
            return True
        case (IntType(bits=32), IntType(bits=64)) | (FloatType(bits=32), FloatType(bits=64)):
            return True
        case DecimalType(precision, scale), DecimalType(wider, same):
            return wider >= precision and same == scale
        case _:
            return old == new


def identity_sources(spec: PartitionSpec) -> Iterator[int]:
    """Yield the ids of the columns whose values a spec's partitions hold themselves."""
    for item in spec.fields:
        if isinstance(item.transform, IdentityTransform):
            yield item.source_id


def _fit(field: Field, version: int) -> Field:
    fit = fit_type(field.type, version)
    if fit.becomes is None:
        raise UnsupportedError(
            f"column {field.name!r} has the type {describe_type(field.type)}, which is not "
            f"written to Iceberg tables of format version {version}; leave the column out, or "
            "convert it first",
            feature=describe_type(field.type),
        )
    return replace(field, type=fit.becomes)
