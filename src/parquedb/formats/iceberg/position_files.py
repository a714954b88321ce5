"""Position delete files, read and written ("Position Delete Files").

What is written deletes rows of one data file each: that is the form that every known reader
reads right.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap64

from parquedb.errors import FormatError, NotFoundError
from parquedb.formats.iceberg.avro import encode_bytes, encode_long
from parquedb.formats.iceberg.paths import Locations
from parquedb.formats.iceberg.small_positions import (
    MOST,
    PATH_ID,
    POSITION_ID,
    decode_small,
    encode_small,
)
from parquedb.parquet.arrow import FIELD_ID
from parquedb.parquet.dynamic import AnyArray, AnyField
from parquedb.parquet.footer import not_parquet
from parquedb.parquet.opened import ParquetFile
from parquedb.parquet.scan import open_parquet, translate
from parquedb.storage.store import Store

__all__ = [
    "PATH_ID",
    "POSITION_ID",
    "encode_entry",
    "encode_positions",
    "encode_vector_entry",
    "read_positions",
]

_Numbers = npt.NDArray[np.int64]
_PATH, _POSITION = "file_path", "pos"
_FIELDS: list[AnyField] = [
    pa.field(_PATH, pa.string(), nullable=False, metadata={FIELD_ID: b"%d" % PATH_ID}),
    pa.field(_POSITION, pa.int64(), nullable=False, metadata={FIELD_ID: b"%d" % POSITION_ID}),
]
_SCHEMA = pa.schema(_FIELDS)
_SMALL = 10_000
_AT_ONCE = 1 << 20
_SECTION = "Position Delete Files"


def read_positions(
    store: Store,
    locations: Locations,
    key: str,
    only: str | None,
    told: tuple[str, int] | None = None,
) -> dict[str, BitMap64]:
    """Return the positions that a delete file deletes, by the keys of data files.

    Args:
        store: The store.
        locations: Turns locations into keys.
        key: Key of the delete file.
        only: The data file, if the metadata says that there is but one.
        told: That one's location and the number of positions, by the metadata.

    Raises:
        FormatError: The file is missing or is no position delete file.
    """
    found: dict[str, BitMap64] = {}
    keys: dict[str, str | None] = {}
    data = None
    if only is not None and told is not None and told[1] <= MOST:
        data = _get(store, key)
        small = decode_small(data, told[0].encode(), told[1])
        if small is not None:
            return {only: BitMap64(_packed(key, small))}
    for paths, positions in _read(store, key, data, with_paths=only is None):
        if only is not None:
            found.setdefault(only, BitMap64()).update(_packed(key, positions))
            continue
        codes = paths.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        places = paths.dictionary.to_pylist()
        ends = np.searchsorted(codes[order], np.arange(len(places)), side="right")
        for location, chosen in zip(places, np.split(order, ends[:-1]), strict=True):
            if location not in keys:
                keys[location] = locations.key_or_none(location)
            data_key = keys[location]
            if data_key is not None:  # others are no files of this table
                packed = _packed(key, positions[chosen])
                found.setdefault(data_key, BitMap64()).update(packed)
    return found


def _get(store: Store, key: str) -> bytes:
    try:
        return store.get(key)
    except NotFoundError as error:
        raise _missing(key) from error


def _missing(key: str) -> FormatError:
    return FormatError(
        f"{key!r} holds deleted rows and does not exist; restore it, or roll the table back to "
        "a snapshot that does not need it",
        location=key,
        section=_SECTION,
    )


def _read(
    store: Store, key: str, data: bytes | None, *, with_paths: bool
) -> Iterator[tuple[AnyArray, _Numbers]]:
    try:
        opened = _open(store, key, data)
    except NotFoundError as error:
        raise _missing(key) from error
    with opened as parquet:
        names = _columns(parquet, key)
        try:
            for batch in _batches(parquet, names if with_paths else names[1:]):
                positions = batch.column(names[1])
                paths = batch.column(names[0]) if with_paths else None
                if positions.null_count or (paths is not None and paths.null_count):
                    raise not_parquet(key, "a deleted row has no path or no position")
                encoded = None if paths is None else paths.dictionary_encode()
                yield encoded, positions.to_numpy()
        except (pa.ArrowException, OSError) as error:
            raise translate(key, error) from error


def _open(store: Store, key: str, data: bytes | None) -> ParquetFile:
    """Open a delete file. Most are small, and many are read: these are read at once."""
    if data is None:
        info = store.head(key)
        if info is None or info.size_bytes > _AT_ONCE:
            return open_parquet(store, key)
        data = store.get(key)
    try:
        return ParquetFile(pa.BufferReader(data))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise translate(key, error) from error


def _batches(parquet: ParquetFile, names: list[str]) -> Iterator[pa.RecordBatch]:
    if parquet.metadata.num_rows > _SMALL:
        yield from parquet.iter_batches(columns=names)
        return
    for group in range(parquet.metadata.num_row_groups):
        yield from parquet.read_row_group(group, columns=names, use_threads=False).to_batches()


def _columns(parquet: ParquetFile, key: str) -> list[str]:
    """Return the names of the two columns, found by field id, else by name."""
    fields = list(parquet.schema_arrow)
    by_id = {(field.metadata or {}).get(FIELD_ID): field for field in fields}
    by_name = {field.name: field for field in fields}
    found = [
        by_id.get(b"%d" % id_) or by_name.get(name)
        for id_, name in ((PATH_ID, _PATH), (POSITION_ID, _POSITION))
    ]
    types = [None if field is None else field.type for field in found]
    text = types[0] is not None and (
        pa.types.is_string(types[0]) or pa.types.is_dictionary(types[0])
    )
    if not text or types[1] != pa.int64():
        raise not_parquet(key, "it is no position delete file: it lacks file_path or pos")
    return [field.name for field in found if field is not None]


def _packed(key: str, positions: _Numbers) -> array.array[int]:
    if len(positions) and positions.min() < 0:
        raise not_parquet(key, "a position is negative")
    return array.array("Q", positions.astype(np.uint64).tobytes())


def encode_positions(location: str, positions: BitMap64) -> bytes:
    """Return a position delete file for one data file.

    Args:
        location: The data file's location, as its own manifest entry has it.
        positions: The deleted rows.
    """
    numbers = np.frombuffer(positions.to_array(), np.int64)
    if 0 < len(numbers) <= MOST:
        return encode_small(location.encode(), numbers)
    paths = pa.repeat(location, len(numbers))
    table = pa.table([paths, pa.array(numbers)], schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    # most are small: be quick
    codec: Literal["zstd", "snappy"] = "zstd" if len(numbers) > _SMALL else "snappy"
    with pq.ParquetWriter(sink, _SCHEMA, compression=codec, store_schema=False) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def encode_entry(
    key_location: str, location: str, partition: bytes, size_bytes: int, rows: int
) -> bytes:
    """Encode the ``data_file`` member of a delete file that deletes rows of one data file.

    Both bounds of the path are the path itself: that is how readers find the data file.
    """
    bound = b"\x02\x02" + encode_long(PATH_ID) + encode_bytes(location.encode()) + b"\x00"
    return b"".join(
        (
            b"\x02",  # content 1: position deletes
            encode_bytes(key_location.encode()),
            b"\x0ePARQUET",
            partition,
            encode_long(rows),
            encode_long(size_bytes),
            b"\x02\x00\x02\x00\x02\x00\x00",  # no sizes and counts of columns
            bound,
            bound,
            b"\x00\x00\x00\x00",  # no key_metadata, split_offsets, equality_ids, sort_order_id
        )
    )


def encode_vector_entry(key_location: str, partition: bytes, size_bytes: int, rows: int) -> bytes:
    """Encode the ``data_file`` member of a deletion vector, but for the members of version 3."""
    return b"".join(
        (
            b"\x02",  # content 1: position deletes
            encode_bytes(key_location.encode()),
            b"\x0cPUFFIN",
            partition,
            encode_long(rows),
            encode_long(size_bytes),
            b"\x02\x00\x02\x00\x02\x00\x00\x00\x00",  # no sizes, counts and bounds of columns
            b"\x00\x00\x00\x00",  # no key_metadata, split_offsets, equality_ids, sort_order_id
        )
    )
