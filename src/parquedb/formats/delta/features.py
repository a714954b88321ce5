"""What Delta tables can use, what of it is carried where, and how types are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from parquedb.log.feature import Fate, Feature, TypeFit
from parquedb.model.format import Format
from parquedb.model.types import (
    BinaryType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
    VariantType,
)


def fit_type(type_: Type) -> TypeFit:  # noqa: C901  (one case a type)
    """Return how a type is stored in a Delta table.

    A file is left as it is only if delta-rs, DuckDB, Polars and Spark read it right under the
    new type (PROTOCOL.md, "Delta Data Type to Parquet Type Mappings").
    """
    match type_:
        case IntType(bits=8, signed=False):
            return TypeFit(IntType(16))
        case IntType(bits=16, signed=False):
            return TypeFit(IntType(32))
        case IntType(bits=32, signed=False):
            return TypeFit(IntType(64))
        case IntType(bits=64, signed=False):
            return TypeFit(DecimalType(20, 0), rewrite=True)
        case FloatType(bits=16):
            return TypeFit(FloatType(32), rewrite=True)
        case TimestampType(unit="ns", utc=utc):
            return TypeFit(TimestampType("us", utc), rewrite=True, lost="nanoseconds")
        case TimestampType(utc=utc):
            return TypeFit(TimestampType("us", utc))
        case TimeType(unit):
            lost = f"the type time, which becomes a number ({unit} since midnight)"
            return TypeFit(IntType(64), rewrite=True, lost=lost)
        case FixedType() | UuidType():
            return TypeFit(BinaryType())
        case NullType() | StructType(()):
            return TypeFit(None)
        case DecimalType(precision, scale) if not (0 <= scale <= precision <= 38):
            return TypeFit(None)
        case StructType(fields):
            return _fit_nested(fields, StructType)
        case ListType(element):
            return _fit_nested((element,), lambda fitted: ListType(*fitted))
        case VariantType():  # Spark 4.0 reads no row of a file in which one is annotated
            return TypeFit(type_, footer="where it is annotated")
        case MapType(Field(type=VariantType())):
            return TypeFit(None)
        case MapType(key, value):
            return _fit_nested((key, value), lambda fitted: MapType(*fitted))
        case _:
            return TypeFit(type_)


def _fit_nested(fields: tuple[Field, ...], build: Callable[[tuple[Field, ...]], Type]) -> TypeFit:
    fitted: list[Field] = []
    rewrite, footer = False, None
    lost: list[str] = []
    for field in fields:
        fit = fit_type(field.type)
        if fit.becomes is None:
            return TypeFit(None)
        fitted.append(replace(field, type=fit.becomes))
        rewrite, footer = rewrite or fit.rewrite, footer or fit.footer
        if fit.lost is not None and fit.lost not in lost:
            lost.append(fit.lost)
    return TypeFit(build(tuple(fitted)), rewrite, ", ".join(lost) or None, footer)


_CARRIED = {Format.ICEBERG: Fate.CARRIED, Format.NATIVE: Fate.CARRIED}
_LOST = {Format.ICEBERG: Fate.LOST, Format.NATIVE: Fate.LOST}
_REFUSED = {Format.ICEBERG: Fate.REFUSED, Format.NATIVE: Fate.REFUSED}


def _feature(
    name: str,
    section: str,
    enabled_if: str,
    towards: Mapping[Format, Fate],
    note: str,
    *,
    read: bool = True,
    write: bool = False,
) -> Feature:
    return Feature(name, Format.DELTA, section, enabled_if, read, write, towards, note)


FEATURES: tuple[Feature, ...] = (
    _feature(
        "appendOnly",
        "Append-only Tables",
        "delta.appendOnly is true",
        _LOST,
        "Honoured: a commit that removes rows from such a table is refused.",
        write=True,
    ),
    _feature(
        "invariants",
        "Column Invariants",
        "a column's metadata has delta.invariants",
        _LOST,
        "Rows are kept; the rule is not carried, and such a table is not written.",
    ),
    _feature(
        "checkConstraints",
        "CHECK Constraints",
        "a property delta.constraints.* is set",
        _LOST,
        "Rows are kept; the rule is not carried, and such a table is not written.",
    ),
    _feature(
        "changeDataFeed",
        "Add CDC File",
        "delta.enableChangeDataFeed is true",
        _LOST,
        "Row-level change files are not carried; whole files added or removed can be written.",
        write=True,
    ),
    _feature(
        "generatedColumns",
        "Generated Columns",
        "a column's metadata has delta.generationExpression",
        _LOST,
        "Values are kept, also of partition columns; the expression is not carried, and such a "
        "table is not written.",
    ),
    _feature(
        "allowColumnDefaults",
        "Default Columns",
        "a column's metadata has CURRENT_DEFAULT",
        _LOST,
        "Values are kept; the default is not carried.",
        write=True,
    ),
    _feature(
        "identityColumns",
        "Identity Columns",
        "a column's metadata has delta.identity.*",
        _LOST,
        "Values are kept; the counter is not carried, and such a table is not written.",
    ),
    _feature(
        "columnMapping",
        "Column Mapping",
        "delta.columnMapping.mode is name or id",
        {Format.ICEBERG: Fate.CARRIED, Format.NATIVE: Fate.REWRITTEN},
        "By name and by id, in every version, also where it was switched on in mid-history: ids "
        "and physical names become field ids and a name mapping. Such a table is not written.",
    ),
    _feature(
        "deletionVectors",
        "Deletion Vectors",
        "a file has a deletion vector",
        {Format.ICEBERG: Fate.CARRIED, Format.NATIVE: Fate.REWRITTEN},
        "In every version, as position delete files; native gets the rows that are left.",
        write=True,
    ),
    _feature(
        "timestampNtz",
        "Timestamp without timezone (TimestampNtz)",
        "a column has the type timestamp_ntz",
        _CARRIED,
        "Added to the protocol at the version in which such a column first occurs.",
        write=True,
    ),
    _feature(
        "inCommitTimestamp",
        "In-Commit Timestamps",
        "delta.enableInCommitTimestamps is true",
        _CARRIED,
        "Every commit that is written has the field, whether or not the feature is enabled.",
        write=True,
    ),
    _feature(
        "v2Checkpoint",
        "V2 Checkpoint Table Feature",
        "the protocol lists it",
        _CARRIED,
        "Checkpoints of all kinds are read; classic ones are written.",
        write=True,
    ),
    _feature(
        "vacuumProtocolCheck",
        "VACUUM Protocol Check",
        "the protocol lists it",
        _CARRIED,
        "",
        write=True,
    ),
    _feature(
        "domainMetadata",
        "Domain Metadata",
        "the log has domainMetadata actions",
        _LOST,
        "Kept in the table and its checkpoints; not carried elsewhere.",
        write=True,
    ),
    _feature(
        "rowTracking",
        "Row Tracking",
        "the protocol lists it",
        _LOST,
        "Row ids are not carried; the columns that hold them in files are not the table's.",
    ),
    _feature(
        "clustering",
        "Clustered Table",
        "the protocol lists it",
        _LOST,
        "Files are kept as they are; the clustering columns are not carried.",
    ),
    _feature(
        "typeWidening",
        "Type Widening",
        "the protocol lists it",
        {Format.ICEBERG: Fate.CARRIED, Format.NATIVE: Fate.REWRITTEN},
        "Integers, float to double and decimal precision; other changes are refused.",
    ),
    _feature(
        "icebergCompatV1",
        "Iceberg Compatibility V1",
        "delta.enableIcebergCompatV1 is true",
        _LOST,
        "Rows are kept; the promise is not carried, and such a table is not written.",
    ),
    _feature(
        "icebergCompatV2",
        "Iceberg Compatibility V2",
        "delta.enableIcebergCompatV2 is true",
        _LOST,
        "Rows are kept; the promise is not carried, and such a table is not written.",
    ),
    _feature(
        "charVarchar",
        "Schema Serialization Format",
        "a column's metadata has __CHAR_VARCHAR_TYPE_STRING",
        _LOST,
        "A string; its greatest length is not carried.",
        write=True,
    ),
    _feature(
        "collations",
        "Collated string type",
        "a column's metadata has __COLLATIONS",
        _LOST,
        "The values are kept; other readers compare them byte by byte.",
    ),
    _feature(
        "void",
        "Schema Serialization Format",
        "a column has the type void",
        {Format.ICEBERG: Fate.REFUSED, Format.NATIVE: Fate.CARRIED},
        "",
    ),
    _feature(
        "interval types",
        "Schema Serialization Format",
        "a column has the type interval",
        _REFUSED,
        "",
        read=False,
    ),
    _feature(
        "variantType",
        "Variant Data Type",
        "a column has the type variant",
        {Format.ICEBERG: Fate.CARRIED, Format.NATIVE: Fate.REFUSED},
        "Into Iceberg tables of format version 3, by `--format-version 3`; older ones have no such "
        "type, and refuse it. Added to the protocol at the version in which such a column first "
        "occurs.",
        write=True,
    ),
    _feature(
        "variantShredding",
        "Variant Shredding",
        "the protocol lists it",
        _REFUSED,
        "Values of variants in columns of their own are not read.",
        read=False,
    ),
    _feature(
        "geospatial",
        "Geospatial types",
        "the protocol lists it",
        _REFUSED,
        "",
        read=False,
    ),
    _feature(
        "catalogManaged",
        "Catalog-managed tables",
        "the protocol lists it",
        _REFUSED,
        "Its newest commits are known to its catalog only.",
        read=False,
    ),
    _feature(
        "partitionColumns",
        "Partition Value Serialization",
        "metaData.partitionColumns is not empty",
        _CARRIED,
        "Identity partitions, whether or not the files have the columns; a null and an empty "
        "string are the same in Delta. Doubles that pyiceberg would round do not partition.",
        write=True,
    ),
    _feature(
        "partitionEvolution",
        "Change Metadata",
        "partitionColumns change between versions",
        _CARRIED,
        "Another spec in Iceberg; written only where all files are added again.",
        write=True,
    ),
)
"""Every table feature of the specification and what becomes of it."""

READER_FEATURES = frozenset(
    {
        "columnMapping",
        "deletionVectors",
        "timestampNtz",
        "typeWidening",
        "typeWidening-preview",
        "v2Checkpoint",
        "vacuumProtocolCheck",
        "variantType",
        "variantType-preview",
    }
)
"""Reader features of which it depends on the metadata or the files whether they are in use."""

WRITER_FEATURES = frozenset(
    {
        "allowColumnDefaults",
        "appendOnly",
        "changeDataFeed",
        "checkConstraints",
        "columnMapping",
        "deletionVectors",
        "domainMetadata",
        "generatedColumns",
        "icebergCompatV1",
        "icebergCompatV2",
        "identityColumns",
        "inCommitTimestamp",
        "invariants",
        "timestampNtz",
        "typeWidening",
        "typeWidening-preview",
        "v2Checkpoint",
        "vacuumProtocolCheck",
        "variantType",
        "variantType-preview",
    }
)
"""Writer features that are honoured, or of which it depends on the metadata."""
