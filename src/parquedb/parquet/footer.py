"""Read Parquet footers: schema, row counts and statistics, no page.

https://parquet.apache.org/docs/file-format/: a file ends with the footer, its length as four
bytes little-endian, and the magic ``PAR1`` (``PARE`` where the footer is encrypted).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa

from parquedb.errors import FormatError, UnsupportedError
from parquedb.model.files import Stats
from parquedb.model.schema import Identity, Path, Schema, children, map_fields, walk
from parquedb.model.types import (
    Field,
    StructType,
    TimestampType,
    Type,
    UuidType,
    VariantType,
)
from parquedb.parquet.arrow import carried_schema, leaves, schema_of_arrow, with_leaf_types
from parquedb.parquet.bounds import gather_stats
from parquedb.parquet.chunks import Leaf, check_chunks
from parquedb.parquet.match import match_fields
from parquedb.parquet.opened import read_metadata as read_metadata_of
from parquedb.parquet.thrift import ThriftError
from parquedb.slotted import dataclass
from parquedb.storage.store import LocalPaths, Store

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData, ParquetSchema

_TAIL_BYTES = 65_536
_TRAILER_BYTES = 8
_SIGNATURE_BYTES = 28
"""Nonce and tag after a readable footer of a file whose columns are encrypted."""
_SECTION = "https://parquet.apache.org/docs/file-format/"


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer of a Parquet file says.

    Args:
        key: The file's key.
        size_bytes: Its exact length.
        rows: Its row count.
        schema: Its columns; ids are the file's own if ``has_field_ids``, else given out anew.
        has_field_ids: Whether every field carries an id of its own.
        carried_ids: The ids that the file carries, also where they are not complete, by path.
        row_groups: How many row groups it has.
        key_values: Its key-value metadata, without Arrow's own schema.
        stats: Column statistics by the ids of ``schema``.
        uses_int96: Whether a column is stored as INT96, an old form of timestamp. Such a column
            counts as ``timestamp(us, UTC)`` and has no statistics.
        unusual_arrow: Whether an embedded Arrow schema asks for types that some readers cannot
            handle or combine with others: string and list views, fixed-size lists, small decimals,
            dictionaries, zones other than UTC.
        fixed_lists: Whether it asks for fixed-size lists.
        created_by: Which program wrote it, or "".
        leaves: The primitive fields in the order of its columns, with the ids that its statistics
            go by, and whether they lie inside a list or map.
    """

    key: str
    size_bytes: int
    rows: int
    schema: Schema
    has_field_ids: bool
    carried_ids: Mapping[Path, int]
    row_groups: int
    key_values: Mapping[str, str]
    stats: Stats
    uses_int96: bool
    unusual_arrow: bool
    fixed_lists: bool
    created_by: str
    leaves: tuple[tuple[Field, bool], ...]


def read_footer(store: Store, key: str) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        NotFoundError: There is no such file.
        FormatError: It is no Parquet file, is cut short or damaged.
        UnsupportedError: It is encrypted, or has a column of a type that is not carried.
    """
    size_bytes, tail, length = _read_tail(store, key)
    footer = footer_of(key, size_bytes, _parse_metadata(key, tail, length))
    fields = walk(footer.schema.fields) if _METADATA in tail else ()
    if any(_is_like_a_variant(item.type) for _, item in fields):
        try:
            footer = with_variants(footer, _annotated_variants(tail, footer))
        except (ThriftError, IndexError) as error:
            raise not_parquet(key, f"its footer is damaged ({error})") from error
    return footer


def read_metadata(store: Store, key: str) -> tuple[int, FileMetaData]:
    """Read the length of a Parquet file and its footer, as Arrow parses it.

    Raises:
        NotFoundError: There is no such file.
        FormatError: It is no Parquet file, is cut short or damaged.
        UnsupportedError: It is encrypted.
    """
    size_bytes, tail, length = _read_tail(store, key)
    return size_bytes, _parse_metadata(key, tail, length)


def _read_tail(store: Store, key: str) -> tuple[int, bytes, int]:
    """Return a file's length, its footer with the trailer, and the footer's length."""
    with store.open_read(key) as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(0, size_bytes - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
        length = check_trailer(key, size_bytes, tail[-_TRAILER_BYTES:])
        if length + _TRAILER_BYTES > len(tail):
            file.seek(size_bytes - length - _TRAILER_BYTES)
            tail = file.read(length + _TRAILER_BYTES)
    return size_bytes, tail[-length - _TRAILER_BYTES :], length


def read_footers(store: Store, keys: Sequence[str], *, threads: int = 8) -> list[Footer]:
    """Read many footers in parallel, in the order of ``keys``.

    Args:
        store: The store.
        keys: Keys of Parquet files.
        threads: How many at a time.

    Raises:
        FormatError: Some are no Parquet files; all are listed.
        NotFoundError: One does not exist.
    """
    footers, errors = try_footers(store, keys, threads=threads)
    if errors:
        raise unreadable(errors, len(keys))
    return footers


def unreadable(errors: Sequence[FormatError], count: int) -> FormatError:
    """Return the error for files that cannot be read.

    Args:
        errors: What is wrong with each.
        count: How many files there are.
    """
    if len(errors) == 1:
        return errors[0]
    problems = tuple(str(error) for error in errors)
    return FormatError(
        f"{len(errors)} of {count} files are not readable Parquet files:\n"
        + "\n".join(problems[:20]),
        location=errors[0].location,
        section=_SECTION,
        problems=problems,
        parts=errors,
    )


def try_footers(
    store: Store, keys: Sequence[str], *, threads: int = 8
) -> tuple[list[Footer], list[FormatError]]:
    """Read the footers that can be read, and say what is wrong with the other files.

    Args:
        store: The store.
        keys: Keys of Parquet files.
        threads: How many at a time.

    Raises:
        UnsupportedError: A file is encrypted, or has a column of a type that is not carried.
        NotFoundError: One does not exist.
    """
    if len(keys) < 4 or isinstance(store, LocalPaths):  # threads would only wait for one another
        found: list[Footer | FormatError] = [_try_footer(store, key) for key in keys]
    else:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (a get does without)

        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda key: _try_footer(store, key), keys))
    return (
        [item for item in found if isinstance(item, Footer)],
        [item for item in found if isinstance(item, FormatError)],
    )


def stats_for(footer: Footer, schema: Schema) -> Stats:
    """Return what a footer says of the columns of a table, by the table's ids.

    Columns are matched as a scan does it (:func:`~parquedb.parquet.match.match_fields`). Bounds of
    columns that have another type in the file are left out.
    """
    pairs = [
        (item.id, wanted.id)
        for item, wanted in match_fields(footer.schema.fields, footer.carried_ids, schema)
        if item.type == wanted.type
    ]
    own = footer.stats
    return Stats(
        {to: own.nulls[id_] for id_, to in pairs if id_ in own.nulls},
        {to: own.lower[id_] for id_, to in pairs if id_ in own.lower},
        {to: own.upper[id_] for id_, to in pairs if id_ in own.upper},
        {to: own.sizes[id_] for id_, to in pairs if id_ in own.sizes},
    )


def footer_of(key: str, size_bytes: int, metadata: FileMetaData) -> Footer:
    """Return what a parsed footer says; variants are structs in it.

    Raises:
        FormatError: Its columns do not agree with its schema.
        UnsupportedError: A column's type is not carried.
    """
    try:
        arrow = metadata.schema.to_arrow_schema()
        columns = _columns(arrow.serialize().to_pybytes(), _storages(metadata.schema))
    except UnsupportedError as error:
        raise UnsupportedError(f"{key!r}: {error}", feature=error.feature) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise not_parquet(key, f"its schema cannot be read ({error})") from error
    if columns.problem is not None:
        raise not_parquet(key, columns.problem)
    return Footer(
        key,
        size_bytes,
        metadata.num_rows,
        columns.schema,
        columns.schema.identity is Identity.BY_ID,
        columns.carried_ids,
        metadata.num_row_groups,
        _key_values(metadata),
        gather_stats(metadata, columns.leaves),
        columns.uses_int96,
        columns.unusual_arrow,
        columns.fixed_lists,
        written_by(metadata),
        columns.leaves,
    )


def with_variants(footer: Footer, variants: Collection[Path]) -> Footer:
    """Return what a footer says of a file in which some columns are variants.

    A file may show a variant as the struct that it is stored as: only the table knows then.

    Args:
        footer: The footer.
        variants: Paths of columns that are variants where they are such structs.
    """
    if not variants:
        return footer

    def change(path: Path, item: Field) -> Field:
        is_one = path in variants and _is_like_a_variant(item.type)
        return replace(item, type=VariantType()) if is_one else item

    schema = replace(footer.schema, fields=map_fields(footer.schema.fields, change))
    if schema.fields == footer.schema.fields:
        return footer
    own = {path: item.id for path, item in walk(schema.fields)}
    carried = {path: id_ for path, id_ in footer.carried_ids.items() if path in own}
    footer = replace(footer, schema=schema, carried_ids=MappingProxyType(carried))
    if len(set(carried.values())) < len(own):
        return footer
    fields = map_fields(schema.fields, lambda path, item: replace(item, id=carried[path]))
    ids, stats = {id_: carried[path] for path, id_ in own.items()}, footer.stats
    return replace(
        footer,
        schema=replace(schema, fields=fields, identity=Identity.BY_ID),
        has_field_ids=True,
        stats=Stats(
            {ids[key]: count for key, count in stats.nulls.items() if key in ids},
            {ids[key]: value for key, value in stats.lower.items() if key in ids},
            {ids[key]: value for key, value in stats.upper.items() if key in ids},
            {ids[key]: size for key, size in stats.sizes.items() if key in ids},
        ),
        leaves=tuple((replace(item, id=ids.get(item.id, _NO_ID)), r) for item, r in footer.leaves),
    )


def check_trailer(key: str, size_bytes: int, trailer: bytes) -> int:
    """Check a file's last eight bytes and return its footer's length.

    Raises:
        FormatError: It is no Parquet file or cut short.
        UnsupportedError: It is encrypted.
    """
    magic = trailer[-4:]
    if magic == b"PARE":
        raise encrypted(key)
    if size_bytes < _TRAILER_BYTES + 4 or magic != b"PAR1":
        reason = "it is empty" if size_bytes == 0 else "it does not end with the magic PAR1"
        raise not_parquet(key, reason)
    length = int.from_bytes(trailer[:4], "little")
    if length == 0 or length > size_bytes - _TRAILER_BYTES - 4:
        raise not_parquet(key, f"its footer claims {length} bytes of {size_bytes}")
    return length


def not_parquet(key: str, reason: str) -> FormatError:
    """Make the error for a file that cannot be read as Parquet."""
    told = " ".join(reason.split())  # Arrow's reasons have several lines
    return FormatError(
        f"{key!r} is not a readable Parquet file: {told}; restore it from a good copy, or move "
        "it out of the folder",
        location=key,
        section=_SECTION,
    )


def encrypted(key: str) -> UnsupportedError:
    """Make the error for an encrypted file."""
    return UnsupportedError(
        f"{key!r} is an encrypted Parquet file; write it again without encryption first",
        feature="Parquet modular encryption",
    )


def written_by(metadata: FileMetaData) -> str:
    """Return which program wrote a file, "" where it does not say or cannot be read."""
    try:
        return metadata.created_by or ""
    except UnicodeDecodeError:
        return ""


def _try_footer(store: Store, key: str) -> Footer | FormatError:
    try:
        return read_footer(store, key)
    except FormatError as error:
        return error


def _parse_metadata(key: str, tail: bytes, length: int) -> FileMetaData:
    try:
        metadata = read_metadata_of(pa.BufferReader(b"PAR1" + tail))
        if length - metadata.serialized_size == _SIGNATURE_BYTES:
            raise encrypted(key)
        check_chunks(tail[:length], _levels(metadata.schema))
    except (pa.ArrowException, OSError, UnicodeDecodeError, ThriftError) as error:
        raise not_parquet(key, f"its footer is damaged ({str(error).strip()})") from error
    if metadata.num_rows < 0:
        raise not_parquet(key, f"its footer claims {metadata.num_rows} rows")
    return metadata


@dataclass(frozen=True, slots=True)
class _Columns:
    """What follows from a file's columns alone, the same for all files of a writer."""

    schema: Schema
    carried_ids: Mapping[Path, int]
    leaves: tuple[tuple[Field, bool], ...]
    uses_int96: bool
    unusual_arrow: bool
    fixed_lists: bool
    problem: str | None


_UTC = (None, "UTC", "+00:00", "Etc/UTC", "Z")
_Storage = tuple[str, bool]
"""A column's physical type, and whether it is annotated as a UUID."""
_PHYSICAL = (
    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
)  # fmt: skip
"""Names of physical types by their numbers."""
_NO_ID = 0
_METADATA = b"metadata"


def _storages(parquet: ParquetSchema) -> tuple[_Storage, ...]:
    found = []
    for index in range(len(parquet)):
        column = parquet.column(index)
        physical = column.physical_type
        is_fixed = physical == "FIXED_LEN_BYTE_ARRAY"
        found.append((physical, is_fixed and column.logical_type.type == "UUID"))
    return tuple(found)


def _levels(parquet: ParquetSchema) -> list[Leaf]:
    found = []
    for index in range(len(parquet)):
        column = parquet.column(index)
        physical = _PHYSICAL.index(column.physical_type)
        width = column.length or 0  # only those of a fixed length have one
        levels = column.max_repetition_level, column.max_definition_level
        found.append((physical, *levels, width))
    return found


@functools.lru_cache(maxsize=256)
def _columns(serialized: bytes, storages: tuple[_Storage, ...]) -> _Columns:
    arrow = pa.ipc.read_schema(pa.py_buffer(serialized))
    schema = schema_of_arrow(arrow)
    count = sum(1 for _ in leaves(schema.fields))
    paths = [path for path, _ in walk(schema.fields)]
    problem = None
    if count != len(storages):
        problem = f"its schema has {count} columns, its data {len(storages)}"
    elif len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        problem = f"it has two columns named {'.'.join(twice)!r}"
    else:
        schema = with_leaf_types(schema, [_meaning(storage) for storage in storages])
    return _Columns(
        schema,
        MappingProxyType(
            {path: f.id for path, f in walk(carried_schema(arrow).fields) if f.id != 0}
        ),
        tuple(leaves(schema.fields)),
        any(physical == "INT96" for physical, _ in storages),
        any(_is_unusual(each) for item in arrow for each in _with_insides(item.type)),
        any(pa.types.is_fixed_size_list(e) for item in arrow for e in _with_insides(item.type)),
        problem,
    )


def _is_like_a_variant(type_: Type) -> bool:
    names = {item.name for item in children(type_)}
    parts = "metadata" in names and not names.isdisjoint(("value", "typed_value"))
    return isinstance(type_, StructType) and parts


def _annotated_variants(tail: bytes, footer: Footer) -> set[Path]:
    """Return the columns that a file itself says are variants.

    Arrow shows a variant as the struct that it is stored as, and does not hand out annotations.
    """
    from parquedb.parquet.elements import parse_footer, variant_spans  # noqa: PLC0415  (a cycle)

    spans = set(variant_spans(parse_footer(tail)))
    place = {item.id: index for index, (item, _) in enumerate(footer.leaves)}
    found = set()
    for path, item in walk(footer.schema.fields):
        if _is_like_a_variant(item.type):
            inside = [place[leaf.id] for leaf, _ in leaves((item,))]
            if inside and (inside[0], inside[-1]) in spans:
                found.add(path)
    return found


def _with_insides(type_: pa.DataType) -> Iterator[pa.DataType]:
    yield type_
    for index in range(type_.num_fields):
        yield from _with_insides(type_.field(index).type)


def _is_unusual(type_: pa.DataType) -> bool:
    """Whether a type is one that not all readers know, or can read together with others."""
    kinds = pa.types
    return (
        kinds.is_string_view(type_)
        or kinds.is_binary_view(type_)
        or kinds.is_fixed_size_list(type_)
        or kinds.is_list_view(type_)
        or kinds.is_large_list_view(type_)
        or kinds.is_decimal32(type_)
        or kinds.is_decimal64(type_)
        or kinds.is_dictionary(type_)
        or (kinds.is_timestamp(type_) and type_.tz not in _UTC)
    )


def _meaning(storage: _Storage) -> Type | None:
    """Return the type of a column where Arrow's schema does not say it."""
    match storage:
        case ("INT96", _):
            return TimestampType("us", utc=True)
        case (_, True):
            return UuidType()
        case _:
            return None


def _key_values(metadata: FileMetaData) -> dict[str, str]:
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in (metadata.metadata or {}).items()
        if name != b"ARROW:schema"
    }
