"""Small tables of both formats for damage to begin from: the same bytes in every run."""

from __future__ import annotations

import functools
import io
import random
import uuid
from collections.abc import Mapping
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from parquedb.ambient import Ambient
from parquedb.formats.delta.checkpoint_write import write_checkpoint
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import (
    AddFile,
    RemoveFile,
    SetDeletes,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation, Origin
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import (
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)
from parquedb.parquet.arrow import arrow_schema_of
from parquedb.parquet.deletes import inline_vector
from parquedb.parquet.footer import read_footer, stats_for
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject
from parquedb.storage.wrapping import Wrapper

START_MS = 1_700_000_000_000
SCHEMA = Schema(
    (
        Field(1, "id", IntType(64), doc="the id"),
        Field(2, "name", StringType()),
        Field(3, "paid", DecimalType(20, 2)),
        Field(4, "day", DateType()),
        Field(5, "seen", TimestampType("us", utc=True)),
        Field(6, "score", FloatType(64)),
        Field(7, "ok", BooleanType()),
        Field(8, "tags", ListType(Field(9, "element", StringType()))),
        Field(10, "counts", MapType(Field(11, "key", StringType(), True),
                                    Field(12, "value", IntType(64)))),
        Field(13, "address", StructType((Field(14, "city", StringType()),))),
        Field(15, "kind", StringType()),
    ),
    Identity.BY_ID,
)  # fmt: skip
SPEC = PartitionSpec(1, (PartitionField(15, "kind"), PartitionField(4, "day")))


def ambient(start: int = 1) -> Ambient:
    """Return a clock that ticks by the millisecond, and ids by a fixed seed."""
    draw = random.Random(start)
    ticks = iter(range(START_MS * 1000, 2 * START_MS * 1000, 1000))
    return Ambient(
        lambda: next(ticks),
        lambda: uuid.UUID(int=draw.getrandbits(128), version=4),
        draw.getrandbits,
    )


class Overlay(Wrapper):
    """A store in which some objects have other bytes."""

    def __init__(self, store: MemoryStore, changed: Mapping[str, bytes]) -> None:
        super().__init__(store)
        self._changed = changed

    def get(self, key: str) -> bytes:
        return self._changed[key] if key in self._changed else super().get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.get(key)[start : start + length]

    def open_read(self, key: str) -> io.BytesIO:
        return io.BytesIO(self.get(key))


def rows(start: int, count: int) -> pa.Table:
    """Return rows of the schema."""
    return pa.table(
        [
            list(range(start, start + count)),
            [None if i % 3 == 2 else f"name {i}" for i in range(count)],
            [Decimal(i) / 4 for i in range(count)],
            pa.array([19_000] * count, pa.int32()).cast(pa.date32()),
            pa.array([START_MS * 1000 + i for i in range(count)], pa.timestamp("us", "UTC")),
            [i / 4 for i in range(count)],
            [i % 2 == 0 for i in range(count)],
            [["a", "b"][: i % 3] for i in range(count)],
            [[("k", i)] for i in range(count)],
            [{"city": f"c{i}"} for i in range(count)],
            ["x"] * count,
        ],
        schema=arrow_schema_of(SCHEMA),
    )


def parquet(table: pa.Table, **options: object) -> bytes:
    """Return a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def store() -> MemoryStore:
    """Return a store with a fixed clock."""
    return MemoryStore("lake", ambient=ambient())


def commits(to: MemoryStore) -> list[Commit]:
    """Return a history with files, removals, deleted rows and properties; write its files."""
    files = []
    for number in range(4):
        key = f"t/data/{number}.parquet"
        to.create(NewObject(key, parquet(rows(number * 10, 10))))
        footer = read_footer(to, key)
        files.append(
            DataFile(key, footer.size_bytes, 10, ("x", 19_000), 1, stats_for(footer, SCHEMA))
        )
    one, two, three, four = files
    changes = [
        (SetSchema(SCHEMA), SetPartitioning(SPEC), SetProperties({"owner": "me"}), AddFile(one)),
        (AddFile(two), AddFile(three)),
        (SetDeletes(one.path, (inline_vector([1, 3]),)),),
        (RemoveFile(two), AddFile(four), SetProperties({"owner": None, "a": "b"})),
        (SetDeletes(one.path, (inline_vector([1, 3, 4]),)),
         SetDeletes(three.path, (inline_vector([0, 9]),))),
    ]  # fmt: skip
    return [
        Commit(
            number, START_MS + number * 1000, Operation.APPEND, change, {},
            origin=Origin(Format.NATIVE, "native:t", number),
        )
        for number, change in enumerate(changes)
    ]  # fmt: skip


@functools.cache
def iceberg() -> MemoryStore:
    """Return a store with the Iceberg table ``t``."""
    made = store()
    writer = IcebergWriter(made, "t", ambient=ambient())
    for index, commit in enumerate(commits(made)):
        writer.append([commit], expect=None if not index else IcebergReader(made, "t").latest())
    return made


@functools.cache
def delta() -> MemoryStore:
    """Return a store with the Delta table ``t``, with a classic checkpoint in the middle."""
    made = store()
    writer = DeltaWriter(made, "t", ambient=ambient())
    for index, commit in enumerate(commits(made)):
        writer.append([commit], expect=None if not index else index - 1)
        if index == 2:
            write_checkpoint(made, "t")
    DeltaReader(made, "t").snapshot()
    return made


def keys(made: MemoryStore, *suffixes: str) -> list[str]:
    """Return the keys of a store that end so."""
    return [info.key for info in made.list("") if info.key.endswith(suffixes)]
