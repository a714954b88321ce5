"""One schema for a folder of files whose schemas may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from parquedb.errors import FormatError
from parquedb.model.files import Stats, Value
from parquedb.model.schema import (
    Identity,
    Path,
    Schema,
    assign_ids,
    ids_by_path,
    walk,
)
from parquedb.model.types import (
    DecimalType,
    Field,
    StructType,
    TimestampType,
    Type,
    describe_type,
)
from parquedb.model.widen import widen_type
from parquedb.parquet.footer import Footer
from parquedb.slotted import dataclass

_SHOWN = 20
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class MergedSchema:
    """The schema of a folder.

    Args:
        schema: The columns, with ids.
        conflicting_ids: Keys of files whose own field ids are not those of ``schema``, so that a
            reader that resolves columns by the file's ids would read them wrong.
    """

    schema: Schema
    conflicting_ids: tuple[str, ...]


def merge_schemas(namespace: str, footers: Sequence[Footer]) -> MergedSchema:
    """Combine the schemas of files: columns by name, in the order in which they first appear.

    Types widen without loss (``int32`` and ``int64`` to ``int64``); a column that some file
    lacks is optional. The identity is ``BY_ID`` only if all files carry complete ids that agree.

    Raises:
        FormatError: Columns' types do not go together; all are listed.
    """
    first: dict[Schema, str] = {}
    for footer in footers:
        first.setdefault(footer.schema, footer.key)
    problems: list[str] = []
    fields: tuple[Field, ...] | None = None
    origins: dict[Path, str] = {}
    for schema, key in first.items():
        for path, _ in walk(schema.fields):
            origins.setdefault(path, key)
        if fields is None:
            fields = schema.fields
        else:
            fields = _merge(fields, schema.fields, (), _Sides(origins, key, problems))
    if problems:
        raise FormatError(
            f"Migration failed: Schema mismatch: the files of namespace {namespace!r} disagree: "
            f"{'; '.join(problems[:_SHOWN])}"
            + (f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else "")
            + "; rewrite the files to one schema, or move the odd ones away",
            location=footers[0].key,
            problems=problems,
        )
    return _with_ids(Schema(fields or ()), footers)


def rekey_stats(stats: Stats, own: Schema, merged: Schema) -> Stats:
    """Express a file's statistics in the ids and types of the merged schema."""
    if own == merged:
        return stats
    ours = dict(walk(merged.fields))
    pairs = [(field, ours[path]) for path, field in walk(own.fields) if path in ours]

    def convert(values: Mapping[int, Value]) -> dict[int, Value]:
        converted = {}
        for old, new in pairs:
            if old.id in values:
                value = _widen_value(values[old.id], old.type, new.type)
                if value is not None:
                    converted[new.id] = value
        return converted

    def rename(counts: Mapping[int, int]) -> dict[int, int]:
        return {new.id: counts[old.id] for old, new in pairs if old.id in counts}

    return Stats(
        rename(stats.nulls), convert(stats.lower), convert(stats.upper), rename(stats.sizes)
    )


@dataclass(frozen=True, slots=True)
class _Sides:
    """Where columns come from, and what was found wrong."""

    origins: Mapping[Path, str]
    key: str
    problems: list[str]


def _merge(
    a: tuple[Field, ...], b: tuple[Field, ...], above: Path, sides: _Sides
) -> tuple[Field, ...]:
    others = {field.name: field for field in b}
    merged = []
    for field in a:
        other = others.pop(field.name, None)
        if other is None:
            merged.append(replace(field, required=False))
        else:
            merged.append(_merge_field(field, other, (*above, field.name), sides))
    return (*merged, *(replace(field, required=False) for field in others.values()))


def _merge_field(a: Field, b: Field, path: Path, sides: _Sides) -> Field:
    type_: Type | None
    match a.type, b.type:
        case StructType(x), StructType(y):
            type_ = StructType(_merge(x, y, path, sides))
        case _:
            type_ = widen_type(a.type, b.type)
    if type_ is None:
        sides.problems.append(
            f"column {'.'.join(path)!r} is {describe_type(a.type)} in "
            f"{sides.origins.get(path, 'other files')!r} and {describe_type(b.type)} in "
            f"{sides.key!r}"
        )
        type_ = a.type
    return replace(a, type=type_, required=a.required and b.required)


def _with_ids(schema: Schema, footers: Sequence[Footer]) -> MergedSchema:
    """Give the merged fields the ids of the files where these agree, and fresh ones elsewhere."""
    known: dict[Path, int] = {}
    taken: set[int] = set()
    for footer in footers:
        for path, number in footer.carried_ids.items():
            if number > 0 and path not in known and number not in taken:
                known[path] = number
                taken.add(number)
    merged, _ = assign_ids(schema, known, max(taken, default=0))
    ids = ids_by_path(merged)
    conflicting = tuple(
        footer.key
        for footer in footers
        if any(ids[path] != number for path, number in footer.carried_ids.items())
    )
    if not conflicting and all(footer.has_field_ids for footer in footers):
        merged = replace(merged, identity=Identity.BY_ID)
    return MergedSchema(merged, conflicting)


def _widen_value(value: Value, old: Type, new: Type) -> Value | None:
    """Express a bound in a wider type; None where that cannot be said."""
    match old, new:
        case _ if type(old) is type(new) and not isinstance(old, DecimalType | TimestampType):
            return value
        case TimestampType(a), TimestampType(b):
            return int(value) * (_PER_SECOND[b] // _PER_SECOND[a])
        case DecimalType(_, a), DecimalType(_, b) if b >= a:
            return int(value) * int(10 ** (b - a))
        case _:
            return None


def add_fields(schema: Schema, new: Sequence[Field]) -> Schema:
    """Append fields, giving them the next free ids."""
    ids = ids_by_path(schema)
    grown = replace(schema, fields=(*schema.fields, *new))
    return assign_ids(grown, ids, max(ids.values(), default=0))[0]
