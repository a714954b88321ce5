"""What native Parquet can hold, and what becomes of it in the other formats."""

from __future__ import annotations

from parquedb.log.feature import Fate, Feature, TypeFit
from parquedb.model.format import Format
from parquedb.model.schema import children
from parquedb.model.types import (
    DecimalType,
    StructType,
    Type,
    VariantType,
)


def fit_type(type_: Type) -> TypeFit:
    """Return how a type is stored in native Parquet: as it is, or not at all."""
    return TypeFit(type_ if _is_storable(type_) else None)


def _is_storable(type_: Type) -> bool:
    match type_:
        case VariantType():
            return False
        case DecimalType(precision, scale):
            return 0 < precision <= 76 and 0 <= scale <= precision
        case StructType(fields) if not fields:
            return False
        case _:
            return all(_is_storable(field.type) for field in children(type_))


def _feature(
    name: str,
    enabled_if: str,
    *,
    read: bool,
    write: bool,
    towards: Fate,
    note: str = "",
) -> Feature:
    fates = {Format.ICEBERG: towards, Format.DELTA: towards}
    return Feature(name, Format.NATIVE, _SECTION, enabled_if, read, write, fates, note)


_SECTION = "docs/architecture.md"

FEATURES: tuple[Feature, ...] = (
    _feature(
        "single file", "there is one file data.parquet or {namespace}.parquet",
        read=True, write=True, towards=Fate.CARRIED,
    ),
    _feature(
        "folder of files", "Parquet files lie in the namespace's folder",
        read=True, write=False, towards=Fate.CARRIED,
    ),
    _feature(
        "hive partitioning", "the files lie in folders named column=value",
        read=True, write=False, towards=Fate.CARRIED,
        note="The columns become identity partitions.",
    ),
    _feature(
        "schema merging", "the files' schemas differ",
        read=True, write=False, towards=Fate.CARRIED,
        note="Columns are matched by name and widened without loss.",
    ),
    _feature(
        "field ids", "the files carry Parquet field ids",
        read=True, write=True, towards=Fate.CARRIED,
        note="Where the files' ids contradict each other, they are written again for Iceberg.",
    ),
    _feature(
        "INT96 timestamps", "a column's physical type is INT96",
        read=True, write=False, towards=Fate.CARRIED,
        note="Read as timestamps in UTC with microseconds.",
    ),
    _feature(
        "encryption", "a file ends with PARE or has a signed footer",
        read=False, write=False, towards=Fate.REFUSED,
    ),
)  # fmt: skip
"""What native data is checked for."""
