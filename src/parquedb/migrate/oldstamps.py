"""Files with INT96 timestamps that a reader of the target would misread without a word.

INT96 holds any moment. pyiceberg 0.12 reads it as nanoseconds in 64 bits, which wrap around
before 1677-09-21 and after 2262-04-11; files with such values are written again for Iceberg.
Other readers of either format read them right or fail aloud.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from parquedb.formats.native.reader import NativeReader
from parquedb.log.ports import LogReader
from parquedb.migrate.carry import Carry
from parquedb.model.files import DataFile, Value
from parquedb.model.format import Format
from parquedb.model.schema import walk
from parquedb.model.types import TimestampType
from parquedb.parquet.footer import read_footers
from parquedb.parquet.scan import open_parquet, translate
from parquedb.storage.store import Store

FIRST_US, LAST_US = -((1 << 63) // 1000), (1 << 63) // 1000
"""What 64 bits of nanoseconds hold, microseconds since the epoch."""
_FOOTERS_AT_A_TIME = 256


def find_far_files(store: Store, source: LogReader, carry: Carry, target: Format) -> frozenset[str]:
    """Return the files with INT96 timestamps beyond 64 bits of nanoseconds.

    Statistics are asked first, footers where these do not say, and the columns themselves only of
    files that have INT96.

    Args:
        store: The store.
        source: The source's reader.
        carry: What is to be carried.
        target: Format migrated to.

    Raises:
        FormatError: A file cannot be read.
    """
    schemas = (*carry.schemas, carry.latest.schema)
    stamps = {
        field.id
        for schema in schemas
        for _, field in walk(schema.fields)
        if isinstance(field.type, TimestampType)
    }
    if target is not Format.ICEBERG or source.format is Format.ICEBERG or not stamps:
        return frozenset()
    if isinstance(source, NativeReader):  # it has read every footer already
        old = [footer.key for footer in source.footers if footer.uses_int96]
    else:
        asked = [file.path for file in carry.added.values() if not _is_near(file, stamps)]
        old = list(_with_int96(store, asked))
    return frozenset(key for key in old if _is_far(store, key))


def _is_near(file: DataFile, stamps: set[int]) -> bool:
    """Whether statistics say that all timestamps of a file are near enough."""
    stats = file.stats
    if stats is None:
        return False
    return all(
        stats.nulls.get(id_) == file.rows
        or (_within(stats.lower, id_) and _within(stats.upper, id_))
        for id_ in stamps
    )


def _within(bounds: Mapping[int, Value], id_: int) -> bool:
    value = bounds.get(id_)
    return isinstance(value, int) and FIRST_US < value < LAST_US


def _with_int96(store: Store, keys: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(keys), _FOOTERS_AT_A_TIME):
        for footer in read_footers(store, keys[start : start + _FOOTERS_AT_A_TIME]):
            if footer.uses_int96:
                yield footer.key


def _is_far(store: Store, key: str) -> bool:
    """Whether an INT96 column has a value beyond the range; nested ones are not looked into."""
    with open_parquet(store, key) as parquet:
        names = []
        for index in range(parquet.metadata.num_columns):
            column = parquet.metadata.schema.column(index)
            if column.physical_type != "INT96":
                continue
            if column.path != column.name or column.max_repetition_level:
                return True
            names.append(column.name)
        try:
            for batch in parquet.iter_batches(columns=names):
                for array in batch.columns:
                    found: Any = pc.call_function("min_max", [array.cast(pa.int64())])
                    low, high = found["min"].as_py(), found["max"].as_py()
                    if low is not None and not FIRST_US < low <= high < LAST_US:
                        return True
        except (pa.ArrowException, OSError) as error:
            raise translate(key, error) from error
    return False
