"""A table as its writer knows it, and the rules for what may happen to it next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field, replace

from parquedb.errors import UnsupportedError
from parquedb.formats.delta.features import fit_type
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.schema import FieldMetadata, ParsedSchema, fit_schema
from parquedb.formats.delta.state import LogState, read_state
from parquedb.formats.delta.stats_encode import StatsEncoder, compile_stats_encoder
from parquedb.formats.delta.values import encode_partition_value
from parquedb.model.files import Value
from parquedb.model.partition import IdentityTransform, PartitionSpec
from parquedb.model.schema import Identity, Path, Schema, children, ids_by_path, map_fields, walk
from parquedb.model.types import DecimalType, Field, FloatType, IntType, Type, describe_type
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(slots=True)
class Columns:
    """The columns that files are written with: what is compiled from schema and partitioning.

    Args:
        schema: The columns as the commits give them, with their ids.
        fitted: The columns as Delta stores them.
        spec: The partitioning as the commits give it.
        partition_columns: The names of its columns, with their types.
        encode_stats: Encoder of the files' statistics.
    """

    schema: Schema
    fitted: Schema
    spec: PartitionSpec
    partition_columns: tuple[tuple[str, Type], ...]
    encode_stats: StatsEncoder

    @classmethod
    def of(cls, schema: Schema, spec: PartitionSpec, *, with_ids: bool = True) -> Columns:
        """Compile a schema and a partitioning.

        Args:
            schema: The columns.
            spec: The partitioning.
            with_ids: Whether ids may be recorded, because all files of the table have them.

        Raises:
            UnsupportedError: Delta has no equivalent.
        """
        _check_names(schema)
        fitted = fit_schema(schema, lambda type_: fit_type(type_).becomes)
        if not with_ids:
            fitted = replace(fitted, identity=Identity.BY_NAME)
        partition = _partition_columns(schema, spec)
        skip = frozenset(field.source_id for field in spec.fields)
        encoder = compile_stats_encoder(schema, skip)
        return cls(schema, fitted, spec, partition, encoder)

    def encode_partition(self, values: tuple[Value | None, ...]) -> dict[str, str | None]:
        """Return ``partitionValues``.

        Raises:
            UnsupportedError: A value cannot be told.
        """
        pairs = zip(self.partition_columns, values, strict=True)
        return {name: encode_partition_value(name, type_, value) for (name, type_), value in pairs}


@dataclass(slots=True)
class Table:
    """A table while commits are encoded for it.

    Args:
        log: Its folded log.
        at_ms: The time of its newest version.
        columns: Its columns; None before the first version.
        specs: The partitionings that files may still refer to, by id.
        keep: What the schema records of fields besides.
        checkpoint: The version of its newest checkpoint, -1 for none.
        path_of_id: The newest path that a field id had, where ids identify columns.
        id_of_path: The newest id that a path had, likewise.
    """

    log: LogState
    at_ms: int = 0
    columns: Columns | None = None
    specs: dict[int, PartitionSpec] = field(default_factory=dict)
    keep: Mapping[Path, FieldMetadata] = field(default_factory=dict)
    checkpoint: int = -1
    path_of_id: dict[int, Path] = field(default_factory=dict)
    id_of_path: dict[Path, int] = field(default_factory=dict)

    @property
    def version(self) -> int | None:
        """The newest version, None for none."""
        return None if self.log.version < 0 else self.log.version

    def note_ids(self, schema: Schema) -> None:
        """Record the ids of a schema whose fields are identified by them."""
        if schema.identity is Identity.BY_ID:
            for path, id_ in ids_by_path(schema).items():
                self.path_of_id[id_], self.id_of_path[path] = path, id_

    def check_ids(self, schema: Schema) -> None:
        """Check that files that stay have the names of a schema.

        Raises:
            UnsupportedError: A field was renamed, or dropped and added again as another.
        """
        if schema.identity is not Identity.BY_ID:
            return
        for path, id_ in ids_by_path(schema).items():
            name = ".".join(path)
            before = self.path_of_id.get(id_, path)
            if before != path:
                raise UnsupportedError(
                    f"column {'.'.join(before)!r} was renamed to {name!r}: a Delta table without "
                    "column mapping would read null in its older files; migrate with only the "
                    "latest version, or rename it back",
                    feature="columnMapping",
                )
            if self.id_of_path.get(path, id_) != id_:
                raise UnsupportedError(
                    f"column {name!r} was dropped and another of the same name was added: a "
                    "Delta table without column mapping would read the old values in it",
                    feature="columnMapping",
                )


def read_table(store: Store, folder: str, reader: DeltaReader) -> tuple[Table, ParsedSchema]:
    """Read what a writer must know of an existing table.

    Raises:
        FormatError: The log does not follow the specification.
        UnsupportedError: The table cannot be read.
    """
    listing = reader.listing
    moments = reader.timeline.all()
    newest = moments[-1]
    newest.era.check_readable()
    log = read_state(store, folder, listing, listing.latest)
    table = Table(log, newest.at_ms, keep=newest.era.field_metadata)
    table.checkpoint = max(listing.checkpoints, default=-1)
    era = None
    for moment in moments:
        if moment.era is not era and moment.era.refusal is None:
            table.note_ids(moment.era.schema)
        era = moment.era
    table.columns = Columns.of(newest.era.schema, newest.era.spec)
    table.specs = {spec.spec_id: spec for spec, _ in newest.era.specs.values()}
    return table, ParsedSchema(newest.era.schema, newest.era.field_metadata)


def same_columns(a: Schema, b: Schema) -> bool:
    """Whether two schemas make the same schema string; ids count only where they identify."""
    if a.identity is not b.identity:
        return False
    if a.identity is Identity.BY_ID:
        return a.fields == b.fields

    def bare(schema: Schema) -> tuple[Field, ...]:
        return map_fields(schema.fields, lambda _, one: replace(one, id=0))

    return bare(a) == bare(b)


def check_types(before: Schema, after: Schema, survivors: Collection[str]) -> None:
    """Raise if files that stay could not be read under a new schema.

    Raises:
        UnsupportedError: A column changes its type in a way that old files do not allow.
    """
    if not survivors:
        return
    old = {path: one for path, one in walk(before.fields) if not children(one.type)}
    for path, one in walk(after.fields):
        was = old.get(path)
        if was is not None and not _widens(was.type, one.type):
            raise UnsupportedError(
                f"column {'.'.join(path)!r} changes its type from {describe_type(was.type)} to "
                f"{describe_type(one.type)} while files with the old type stay in the table; "
                "rewrite them first",
                feature="typeWidening",
            )


def _widens(before: Type, after: Type) -> bool:
    match before, after:
        case IntType(bits=old), IntType(bits=new):
            return new >= old
        case FloatType(bits=old), FloatType(bits=new):
            return new >= old
        case DecimalType(p, s), DecimalType(q, t):
            return q >= p and s == t
        case _:
            return before == after


def _check_names(schema: Schema) -> None:
    seen: dict[tuple[str, ...], Path] = {}
    for path, _ in walk(schema.fields):
        folded = tuple(name.lower() for name in path)
        other = seen.setdefault(folded, path)
        if other != path:
            raise UnsupportedError(
                f"the columns {'.'.join(other)!r} and {'.'.join(path)!r} differ in case only, "
                "which Delta does not allow; rename one of them",
                feature="caseSensitiveNames",
            )


def _partition_columns(schema: Schema, spec: PartitionSpec) -> tuple[tuple[str, Type], ...]:
    columns: list[tuple[str, Type]] = []
    for one in spec.fields:
        if not isinstance(one.transform, IdentityTransform):
            kind = type(one.transform).__name__.removesuffix("Transform").lower()
            raise UnsupportedError(
                f"partition field {one.name!r} uses the transform {kind!r}; Delta partitions by "
                "column values only; migrate without partitioning",
                feature="partitionTransforms",
            )
        source = next((field for field in schema.fields if field.id == one.source_id), None)
        if source is None:
            raise UnsupportedError(
                f"partition field {one.name!r} is made from a nested or missing column; Delta "
                "partitions by top-level columns only; migrate without partitioning",
                feature="partitionColumns",
            )
        if children(source.type):
            raise UnsupportedError(
                f"partition column {source.name!r} is nested; Delta cannot partition by it",
                feature="partitionColumns",
            )
        columns.append((source.name, source.type))
    return tuple(columns)
