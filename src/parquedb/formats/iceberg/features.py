"""What Iceberg tables can use, what of it is carried where, and how types are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from parquedb.log.feature import Fate, Feature, TypeFit
from parquedb.model.format import Format
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    VariantType,
)


def fit_type(type_: Type, version: int = 2) -> TypeFit:  # noqa: C901  (one case a type)
    """Return how a type is stored in an Iceberg table of a format version.

    A file is left as it is only if every reader that is known reads it right under the new type.
    """
    match type_:
        case IntType(bits, signed=True):
            return TypeFit(IntType(64 if bits == 64 else 32))
        case IntType(bits=64):
            return TypeFit(DecimalType(20, 0), rewrite=True)
        case IntType(bits):  # Spark's readers refuse the annotation of unsigned integers
            return TypeFit(IntType(64 if bits == 32 else 32), rewrite=True)
        case FloatType(bits=16):
            return TypeFit(FloatType(32), rewrite=True)
        case TimestampType("ns") | NullType() | VariantType() if version > 2:
            return TypeFit(type_)
        case TimestampType(unit, utc):
            return _fit_time(TimestampType("us", utc), unit)
        case TimeType(unit):
            return _fit_time(TimeType("us"), unit)
        case NullType() | VariantType() | StructType(()):
            return TypeFit(None)
        case DecimalType(precision, scale) if precision > 38 or scale < 0:
            return TypeFit(None)
        case StructType(fields):
            return _fit_nested(fields, StructType, version)
        case ListType(element):
            return _fit_nested((element,), lambda fitted: ListType(*fitted), version)
        case MapType(Field(type=VariantType())):
            return TypeFit(None)
        case MapType(key, value):
            return _fit_nested((key, value), lambda fitted: MapType(*fitted), version)
        case _:
            return TypeFit(type_)


def _fit_time(becomes: Type, unit: str) -> TypeFit:
    return TypeFit(
        becomes, rewrite=unit != "us", lost="nanoseconds" if unit == "ns" else None
    )  # fmt: skip


def _fit_nested(
    fields: tuple[Field, ...], build: Callable[[tuple[Field, ...]], Type], version: int
) -> TypeFit:
    fitted, rewrite, lost = [], False, list[str]()
    for field in fields:
        fit = fit_type(field.type, version)
        if fit.becomes is None or isinstance(fit.becomes, NullType):  # files must not have it
            return TypeFit(None)
        fitted.append(replace(field, type=fit.becomes))
        rewrite = rewrite or fit.rewrite
        if fit.lost is not None and fit.lost not in lost:
            lost.append(fit.lost)
    return TypeFit(build(tuple(fitted)), rewrite, ", ".join(lost) or None)


def _feature(
    name: str,
    section: str,
    enabled_if: str,
    *,
    read: bool,
    write: bool,
    delta: Fate,
    native: Fate,
    note: str = "",
) -> Feature:
    towards = {Format.DELTA: delta, Format.NATIVE: native}
    return Feature(name, Format.ICEBERG, section, enabled_if, read, write, towards, note)


_OK, _LOST, _NO = Fate.CARRIED, Fate.LOST, Fate.REFUSED

FEATURES: tuple[Feature, ...] = (
    _feature(
        "format-version 1", "Version 1", "format-version is 1",
        read=True, write=False, delta=_OK, native=_OK,
        note="A write turns the table into version 2.",
    ),
    _feature(
        "format-version 2", "Version 2", "format-version is 2",
        read=True, write=True, delta=_OK, native=_OK,
    ),
    _feature(
        "format-version 3", "Version 3", "format-version is 3",
        read=True, write=True, delta=_OK, native=_OK,
        note="New tables are of it with `--format-version 3`; a table keeps the version it has.",
    ),
    _feature(
        "snapshots", "Snapshots", "the table has more than one snapshot",
        read=True, write=True, delta=_OK, native=_LOST,
        note="The history of the branch main, with the original timestamps.",
    ),
    _feature(
        "tags", "Snapshot References", "refs has a tag",
        read=True, write=True, delta=_OK, native=_LOST,
        note="Of snapshots of main; from and to Delta as `parquedb.tag.NAME` in `commitInfo.tags`. "
        "One that is set after its version was carried is listed as lost.",
    ),
    _feature(
        "branches", "Snapshot References", "refs has a branch besides main",
        read=False, write=False, delta=_LOST, native=_LOST,
        note="They are kept in the table and listed as lost; only main is read and written.",
    ),
    _feature(
        "schema evolution", "Schema Evolution", "schemas has more than one entry",
        read=True, write=True, delta=_OK, native=_OK,
        note="Columns added, reordered, made optional; int to long, float to double, wider "
        "decimals.",
    ),
    _feature(
        "column rename", "Schema Evolution",
        "a field id has different names in the table's schemas",
        read=True, write=True, delta=Fate.FOOTER, native=_OK,
        note="At the version of the rename, also of nested fields, for Delta's readers go by name. "
        "Swapped names, other case and names back again too.",
    ),
    _feature(
        "column drop and re-add", "Schema Evolution",
        "a name has different field ids in the table's schemas",
        read=True, write=True, delta=Fate.FOOTER, native=_OK,
        note="At the version at which the name comes again; a plain drop needs no copy. Where a "
        "struct inside a list or map gets or loses a field, files are written again.",
    ),
    _feature(
        "identity partitions", "Partitioning", "a partition field's transform is identity",
        read=True, write=True, delta=_OK, native=_OK,
        note="Delta's partition columns, if all files have the same and Delta can tell the values; "
        "else statistics, and files that lack the column are rewritten.",
    ),
    _feature(
        "partition transforms", "Partition Transforms",
        "a partition field's transform is bucket, truncate, year, month, day or hour",
        read=True, write=True, delta=_OK, native=_OK,
        note="As an unpartitioned Delta table with statistics, of which bucket has no equal.",
    ),
    _feature(
        "partition evolution", "Partition Evolution", "partition-specs has more than one entry",
        read=True, write=True, delta=_OK, native=_OK,
        note="As an unpartitioned Delta table, unless all specs have the same columns; a later "
        "change adds a version with the same rows.",
    ),
    _feature(
        "column statistics", "Data File Fields", "a manifest entry has bounds or counts",
        read=True, write=True, delta=_OK, native=_OK,
    ),
    _feature(
        "name mapping", "Name Mapping Serialization", "schema.name-mapping.default is set",
        read=True, write=True, delta=Fate.FOOTER, native=Fate.REWRITTEN,
        note="Files without field ids are read by it, also by names that columns had once.",
    ),
    _feature(
        "sort orders", "Sorting", "sort-orders has an order with fields",
        read=True, write=False, delta=_LOST, native=_LOST,
        note="They are kept in the table; new files are recorded as unsorted.",
    ),
    _feature(
        "position-deletes", "Position Delete Files", "a delete manifest has live files",
        read=True, write=True, delta=_OK, native=Fate.REWRITTEN,
        note="In every version; native gets the rows that are left. Written as one delete file "
        "for each data file.",
    ),
    _feature(
        "equality-deletes", "Equality Delete Files", "a delete manifest has live files",
        read=True, write=False, delta=_OK, native=Fate.REWRITTEN,
        note="Resolved to positions by reading the columns concerned; refused where these are "
        "nested or floating-point numbers.",
    ),
    _feature(
        "deletion-vectors", "Deletion Vectors", "a delete manifest names Puffin files",
        read=True, write=True, delta=_OK, native=Fate.REWRITTEN,
        note="In every version, also beside position deletes from version 2; native gets the "
        "rows that are left. Written as one Puffin file for each data file.",
    ),
    _feature(
        "row-lineage", "Row Lineage", "next-row-id is set",
        read=True, write=True, delta=_LOST, native=_LOST,
        note="Rows get ids and keep them as long as their data file stays. They are not carried; "
        "the report lists it.",
    ),
    _feature(
        "initial-default", "Default Values", "a column has an initial-default",
        read=True, write=False, delta=Fate.REWRITTEN, native=Fate.REWRITTEN,
        note="Files that are older than the column are written again with its value, at the "
        "version that brings it. Refused for nested columns. A table that is written keeps "
        "it.",
    ),
    _feature(
        "write-default", "Default Values", "a column has a write-default",
        read=True, write=False, delta=_LOST, native=_LOST,
        note="Values are kept; the default is not carried.",
    ),
    _feature(
        "variant", "Semi-structured Types", "a column has this type",
        read=True, write=True, delta=Fate.FOOTER, native=_NO,
        note="In version 3. Copies for Delta are without the annotation, with which Spark 4.0 does "
        "not read them there.",
    ),
    _feature(
        "shredded variants", "Semi-structured Types",
        "a data file has values of a variant in columns of their own",
        read=False, write=False, delta=_NO, native=_NO,
    ),
    _feature(
        "multi-argument transforms", "Partition Transforms",
        "a partition field has several source-ids",
        read=False, write=False, delta=_NO, native=_NO,
    ),
    _feature(
        "promotion of date to timestamp", "Schema Evolution",
        "a column is a date in one schema and a timestamp in a later one",
        read=False, write=False, delta=_NO, native=_NO,
    ),
    _feature(
        "geometry and geography", "Primitive Types", "a column has one of these types",
        read=False, write=False, delta=_NO, native=_NO,
    ),
    _feature(
        "encryption", "Encryption Keys",
        "the table has encryption-keys, or a manifest or file has key_metadata",
        read=False, write=False, delta=_NO, native=_NO,
    ),
    _feature(
        "ORC and Avro data files", "Data File Fields", "file_format is not PARQUET",
        read=False, write=False, delta=_NO, native=_NO,
    ),
)  # fmt: skip
"""Every feature of Iceberg that a table is checked for."""
