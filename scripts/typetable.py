"""The tables of docs/types.md: types, and changes of a column's type."""

from __future__ import annotations

import orjson

from parquedb.errors import UnsupportedError
from parquedb.formats.delta import schema as delta
from parquedb.formats.delta.protocol import is_plain_widening
from parquedb.formats.dialects import DIALECTS
from parquedb.formats.iceberg import wire_schema as iceberg
from parquedb.formats.iceberg.columns import is_promotion
from parquedb.log.feature import TypeFit
from parquedb.model.format import Format
from parquedb.model.schema import Schema, children
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
    VariantType,
    describe_type,
)

TYPES: tuple[Type, ...] = (
    BooleanType(),
    *(IntType(bits) for bits in (8, 16, 32, 64)),
    *(IntType(bits, signed=False) for bits in (8, 16, 32, 64)),
    *(FloatType(bits) for bits in (16, 32, 64)),
    DecimalType(38, 10),
    DecimalType(39, 0),
    DateType(),
    *(TimeType(unit) for unit in ("ms", "us", "ns")),
    *(TimestampType(unit, utc) for utc in (True, False) for unit in ("ms", "us", "ns")),
    StringType(),
    BinaryType(),
    FixedType(16),
    UuidType(),
    StructType((Field(1, "a", IntType(64)),)),
    StructType(()),
    ListType(Field(1, "element", IntType(64))),
    MapType(Field(1, "key", StringType(), required=True), Field(2, "value", IntType(64))),
    VariantType(),
    NullType(),
)
CHANGES: tuple[tuple[Type, Type], ...] = (
    (IntType(8), IntType(16)),
    (IntType(16), IntType(32)),
    (IntType(32), IntType(64)),
    (FloatType(32), FloatType(64)),
    (DecimalType(10, 2), DecimalType(12, 2)),
    (DecimalType(10, 2), DecimalType(12, 4)),
    (IntType(32), FloatType(64)),
    (IntType(64), DecimalType(20, 0)),
    (DateType(), TimestampType("us", utc=False)),
    (NullType(), IntType(32)),
    (IntType(64), StringType()),
)

TARGETS = ((Format.ICEBERG, 2), (Format.ICEBERG, 3), (Format.DELTA, None), (Format.NATIVE, None))


def type_table() -> str:
    """Return what becomes of each type, and of the files that have it."""
    lines = [
        "| Type | in Iceberg | in Delta | → Iceberg 2 | → Iceberg 3 | → Delta | → native |",
        "|---|---|---|---|---|---|---|",
    ]
    for type_ in TYPES:
        cells = [describe_type(type_), _iceberg_name(type_), _delta_name(type_)]
        cells += [_cell(type_, target, version) for target, version in TARGETS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def change_table() -> str:
    """Return what becomes of a column whose type changes between two versions."""
    lines = ["| From | to | Delta → Iceberg | Iceberg → Delta |", "|---|---|---|---|"]
    for old, new in CHANGES:
        cells = (describe_type(old), describe_type(new), _into_iceberg(old, new), _out(old, new))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(type_: Type, target: Format, version: int | None) -> str:
    fit = DIALECTS[target].fit_type_of(version)(type_)
    if fit.becomes is None:
        return "refused"
    if fit.lost is not None:
        how = f"lossy: {describe_type(fit.becomes)}, loses {fit.lost}; `--allow-lossy`"
    elif fit.becomes == type_:
        how = "exact"
    else:
        how = f"widened to {describe_type(fit.becomes)}"
    return how if target is Format.NATIVE else f"{how}; {_files(type_, fit, target)}"


def _files(type_: Type, fit: TypeFit, target: Format) -> str:
    if fit.rewrite:
        return "rewritten"
    if fit.footer is not None:
        return f"file as it is, or footer copy {fit.footer}"
    if target is Format.ICEBERG and children(type_):
        return "file as it is, or footer copy where it has no field ids"
    return "file as it is"


def _iceberg_name(type_: Type) -> str:
    if children(type_):
        return "yes"
    later = {of: name for name, of in iceberg.VERSION_3.items()}
    if type_ in later:
        return f"`{later[type_]}` (version 3)"
    try:
        text = iceberg.encode_type(type_)
    except UnsupportedError:
        return "–"
    return "–" if DIALECTS[Format.ICEBERG].fit_type(type_).becomes is None else f"`{text}`"


def _delta_name(type_: Type) -> str:
    if children(type_):
        return "yes"
    try:
        text = delta.encode_schema(Schema((Field(1, "c", type_),)))
    except UnsupportedError:
        known = {of: name for name, of in delta.PRIMITIVES.items()}
        return f"`{known[type_]}`" if type_ in known else "–"
    if DIALECTS[Format.DELTA].fit_type(type_).becomes != type_:
        return "–"  # the name is that of another unit
    return f"`{orjson.loads(text)['fields'][0]['type']}`"


def _into_iceberg(old: Type, new: Type) -> str:
    names = [_delta_name(type_).strip("`") for type_ in (old, new)]
    fits = [DIALECTS[Format.ICEBERG].fit_type(type_).becomes for type_ in (old, new)]
    widening = is_plain_widening(*names)
    if None in fits or not widening or not is_promotion(*[fit for fit in fits if fit is not None]):
        return "refused"
    return "carried"


def _out(old: Type, new: Type) -> str:
    if any(_iceberg_name(type_) == "–" for type_ in (old, new)):
        return "–"
    if isinstance(old, NullType) or not is_promotion(old, new):
        return "refused"
    return "carried; older files are rewritten at the version of the change"
