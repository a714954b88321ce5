"""A digest of rows that does not depend on their order, their file or their encoding.

Each value is hashed to 64 bits in one canonical form for all formats (integers as one number
whatever their width, floats as doubles with one zero and one NaN, UUIDs as bytes, timestamps as
microseconds and what is left over), the values of a row are combined by column *name*, and the
hashes of all rows are added. Two tables with equal digests hold the same rows, each as often.
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import blake2b

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquedb.errors import UnsupportedError
from parquedb.parquet.dynamic import AnyArray
from parquedb.parquet.numbers import number_type
from parquedb.slotted import dataclass

_Hashes = npt.NDArray[np.uint64]
_MODULUS = 1 << 128
_U64 = np.uint64
_MULTIPLY_1 = _U64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = _U64(0x94D049BB133111EB)
_GOLDEN = _U64(0x9E3779B97F4A7C15)
_NULL = _U64(0x6E756C6C_6E756C6C)
_TEXT, _LIST, _MAP, _STRUCT = (_U64(0xA1 << (8 * n)) for n in range(1, 5))
_TICKS_PER_US = {"ns": 1000}
_US_PER_TICK = {"s": 1_000_000, "ms": 1000, "us": 1}


@dataclass(frozen=True, slots=True)
class ContentDigest:
    """What a multiset of rows is, in 40 bytes.

    Args:
        rows: How many rows.
        total: Sum of the rows' hashes modulo 2**128.
    """

    rows: int = 0
    total: int = 0

    def __add__(self, other: ContentDigest) -> ContentDigest:
        """Return the digest of both multisets together."""
        return ContentDigest(self.rows + other.rows, (self.total + other.total) % _MODULUS)

    def __sub__(self, other: ContentDigest) -> ContentDigest:
        """Return the digest without the rows of another, which are among these."""
        return ContentDigest(self.rows - other.rows, (self.total - other.total) % _MODULUS)


class Digester:
    """Digests batches. Holds a connection to a database; close it, or use it as a context."""

    def __init__(self) -> None:
        self._texts: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Digester:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection."""
        if self._texts is not None:
            self._texts.close()
            self._texts = None

    def digest(self, batch: pa.RecordBatch) -> ContentDigest:
        """Return the digest of a batch's rows; column order does not matter."""
        rows = np.zeros(batch.num_rows, _U64)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            rows += _mix(self._hash(column) + _name_hash(name))
        return ContentDigest(batch.num_rows, _sum(_mix(rows)))

    def _hash(self, array: AnyArray) -> _Hashes:
        """Hash every value of a column."""
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        if pa.types.is_null(array.type):
            return np.full(len(array), _NULL, _U64)
        hashes = self._hash_values(array)
        if array.null_count:
            valid = array.is_valid().to_numpy(zero_copy_only=False)
            hashes[~valid] = _NULL
        return hashes

    def _hash_values(self, array: AnyArray) -> _Hashes:
        """Hash every value; what comes out for a null does not matter."""
        kinds, type_ = pa.types, array.type
        if kinds.is_struct(type_):
            total = np.full(len(array), _STRUCT, _U64)
            for index, field in enumerate(type_.fields):
                total += _mix(self._hash(array.field(index)) + _name_hash(field.name))
            return _mix(total)
        if kinds.is_map(type_) or kinds.is_list(type_):
            return self._hash_lists(array)
        if kinds.is_decimal(type_):
            return _hash_decimals(array)
        if kinds.is_uint64(type_):  # stored elsewhere as decimal(20, 0)
            return _hash_wide(np.stack([_raw(array, _U64), np.zeros(len(array), _U64)], axis=1))
        if kinds.is_floating(type_):
            return _hash_floats(array)
        if kinds.is_timestamp(type_) or kinds.is_time(type_):
            return _hash_ticks(array)
        if kinds.is_integer(type_) or kinds.is_boolean(type_) or kinds.is_date32(type_):
            return _mix(_int64(array).view(_U64))
        return self._hash_texts(array)

    def _hash_lists(self, array: AnyArray) -> _Hashes:
        """Hash lists by their elements in order, maps by their entries in any order."""
        offsets = array.offsets.to_numpy().astype(np.int64)
        first, last = (int(offsets[0]), int(offsets[-1])) if len(array) else (0, 0)
        lengths = np.diff(offsets)
        if pa.types.is_map(array.type):
            keys = self._hash(array.keys.slice(first, last - first))
            values = self._hash(array.items.slice(first, last - first))
            each, kind = _mix(_mix(keys) + _mix(values + _MAP)), _MAP
        else:
            starts = np.repeat(offsets[:-1] - first, lengths)
            places = (np.arange(last - first, dtype=np.int64) - starts).astype(_U64)
            elements = self._hash(array.values.slice(first, last - first))
            each, kind = _mix(elements + _mix(places * _GOLDEN + _LIST)), _LIST
        running = np.concatenate([np.zeros(1, _U64), np.cumsum(each, dtype=_U64)])
        sums = running[offsets[1:] - first] - running[offsets[:-1] - first]
        return _mix(sums + _mix(lengths.astype(_U64) + kind))

    def _hash_texts(self, array: AnyArray) -> _Hashes:
        """Hash strings and bytes alike by their bytes."""
        kinds = pa.types
        if not (
            kinds.is_string(array.type)
            or kinds.is_binary(array.type)
            or kinds.is_fixed_size_binary(array.type)
        ):
            raise UnsupportedError(
                f"values of type {array.type} cannot be compared", feature=str(array.type)
            )
        if self._texts is None:
            self._texts = _database(os.getpid()).cursor()
        incoming = pa.table({"v": array.cast(pa.binary())})
        found = self._texts.from_arrow(incoming).project("hash(v) AS h").to_arrow_table()
        hashes: _Hashes = found.column(0).to_numpy().astype(_U64)
        return _mix(hashes ^ _TEXT)


@cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    """Return the database of a process, as making one takes longer than to hash a small table.

    A child of ``fork`` gets its own: what it inherits may be in use by a thread that it has not.
    """
    return duckdb.connect(config={"threads": "1"})


def _mix(values: _Hashes) -> _Hashes:
    """Spread every bit of each value over all bits (the finaliser of SplitMix64)."""
    values = values + _GOLDEN
    values ^= values >> _U64(30)
    values *= _MULTIPLY_1
    values ^= values >> _U64(27)
    values *= _MULTIPLY_2
    values ^= values >> _U64(31)
    return values


def _sum(hashes: _Hashes) -> int:
    """Add 64-bit numbers without wrapping."""
    low = int((hashes & _U64(0xFFFFFFFF)).sum(dtype=_U64))
    high = int((hashes >> _U64(32)).sum(dtype=_U64))
    return (low + (high << 32)) % _MODULUS


def _name_hash(name: str) -> np.uint64:
    return _U64(int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little"))


def _raw(array: AnyArray, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """View an array of fixed width as numbers; nulls are whatever is stored for them."""
    width = np.dtype(dtype).itemsize
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(0, dtype)
    return np.frombuffer(buffer, dtype, count=len(array), offset=array.offset * width)


def _int64(array: AnyArray) -> npt.NDArray[np.int64]:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if pa.types.is_date32(array.type) or pa.types.is_time32(array.type):
        array = array.view(pa.int32())
    elif not pa.types.is_integer(array.type):
        array = array.view(pa.int64())
    return _raw(array, number_type(array.type)).astype(np.int64)


def _hash_ticks(array: AnyArray) -> _Hashes:
    """Hash times and timestamps as microseconds and the nanoseconds beyond them."""
    ticks = _int64(array)
    unit = array.type.unit
    if unit not in _TICKS_PER_US:
        return _mix((ticks * _US_PER_TICK[unit]).view(_U64))
    whole, rest = np.divmod(ticks, _TICKS_PER_US[unit])
    hashes = _mix(whole.view(_U64))
    return np.where(rest == 0, hashes, _mix(hashes + rest.astype(_U64)))


def _hash_floats(array: AnyArray) -> _Hashes:
    numbers = _raw(array, number_type(array.type)).astype(np.float64)
    numbers = numbers + 0.0  # -0.0 becomes 0.0
    numbers[np.isnan(numbers)] = np.nan
    return _mix(numbers.view(_U64))


def _hash_decimals(array: AnyArray) -> _Hashes:
    words = array.type.bit_width // 64
    if words == 0:  # decimal32
        array, words = array.cast(pa.decimal128(array.type.precision, array.type.scale)), 2
    if words == 1:  # decimal64
        array, words = array.cast(pa.decimal128(array.type.precision, array.type.scale)), 2
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array), _U64)
    numbers = np.frombuffer(buffer, _U64, len(array) * words, array.offset * words * 8)
    return _hash_wide(numbers.reshape(-1, words), array.type.scale)


def _hash_wide(words: npt.NDArray[np.uint64], scale: int = 0) -> _Hashes:
    """Hash integers of two or more words in two's complement, little end first."""
    hashes = np.full(len(words), _U64(scale & 0xFFFF), _U64)
    sign = (words[:, 1].view(np.int64) >> 63).view(_U64)
    for index in range(words.shape[1]):
        word = words[:, index]
        step = _mix(hashes + word)
        # words that only repeat the sign change nothing: the width does not matter
        hashes = step if index < 2 else np.where(word == sign, hashes, step)
    return hashes
