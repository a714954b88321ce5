"""Combine the rows of two tables, one row a key.

Of two rows with one key the higher ``version`` wins, then the later ``updatedAt``, then the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from parquedb.errors import InvalidInputError, UnsupportedError
from parquedb.log.snapshot import Snapshot
from parquedb.migrate.place import cast_batch
from parquedb.migrate.report import MergeCounts
from parquedb.migrate.typescript import STORED, Rows
from parquedb.model.files import DataFile, Value
from parquedb.model.partition import PartitionSpec
from parquedb.model.schema import Schema, assign_ids, ids_by_path, max_id
from parquedb.model.types import DecimalType, Type, describe_type
from parquedb.model.widen import widen_fields
from parquedb.parquet.arrow import arrow_schema_of, nulls
from parquedb.parquet.write import write_parquet
from parquedb.slotted import dataclass
from parquedb.storage.store import Store


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge.

    Args:
        schema: The combined columns.
        files: New data files with all rows.
        counts: What was found.
    """

    schema: Schema
    files: tuple[DataFile, ...]
    counts: MergeCounts


def merge_schemas(namespace: str, target: Schema, source: Schema) -> Schema:
    """Widen two schemas into one; the target's columns come first.

    The result is matched by name: the new files carry no field ids, and the target gives new
    columns ids of its own.

    Raises:
        UnsupportedError: A column's types do not go together.
    """
    fields = widen_fields(target.fields, source.fields)
    if isinstance(fields, str):
        ours, theirs = target.find(fields), source.find(fields)
        kinds = [describe_type(f.type) for f in (theirs, ours) if f is not None]
        raise UnsupportedError(
            f"Migration failed: Schema mismatch: {namespace!r}: column {fields!r} is {kinds[0]} in "
            f"the source and {kinds[1]} in the target; evolve one of the schemas first",
            feature="schema merge",
        )
    named = Schema(fields)
    combined, _ = assign_ids(named, ids_by_path(target), max_id(target))
    return combined


def merge_rows(
    store: Store,
    source: Snapshot,
    target: Snapshot,
    schema: Schema,
    key: str,
    new_key: Callable[[], str],
    *,
    source_rows: Rows = STORED,
    target_rows: Rows = STORED,
    annotated: bool = False,
) -> Merged:
    """Write the combined rows as new files.

    Args:
        store: The store.
        source: The source's newest snapshot.
        target: The target's newest snapshot.
        schema: The combined schema (:func:`merge_schemas`).
        key: The column that identifies a row.
        new_key: Makes the key of a new file.
        source_rows: How the rows of the source's files are read.
        target_rows: How those of the target's are.
        annotated: Whether variants are annotated in the files (see ``write_parquet``).

    Raises:
        InvalidInputError: A side lacks the key column, or it is null or not unique there.
    """
    for side, snapshot in (("source", source), ("target", target)):
        if snapshot.schema.find(key) is None:
            raise InvalidInputError(
                f"the {side} has no column {key!r} to merge by; name one with --key"
            )
    sides = (("source", source, source_rows), ("target", target, target_rows))
    with duckdb.connect() as connection:
        for side, snapshot, rows in sides:
            _load(connection, side, store, snapshot, rows, schema)
            _check_key(connection, side, schema, key)
        counts = _decide(connection, schema, key)

        def write(batches: Iterable[pa.RecordBatch]) -> DataFile:
            return write_parquet(store, new_key(), batches, schema, annotated=annotated)

        files = _write(connection, write, schema, target.spec)
    return Merged(schema, tuple(files), counts)


def _load(
    connection: duckdb.DuckDBPyConnection,
    side: str,
    store: Store,
    snapshot: Snapshot,
    rows: Rows,
    schema: Schema,
) -> None:
    """Load a snapshot's rows into a table, with the columns of the combined schema."""
    arrow = arrow_schema_of(schema, with_ids=False)

    def batches() -> Iterator[pa.RecordBatch]:
        for file in snapshot.files.values():
            spec = snapshot.specs[file.spec_id]
            for batch in rows.read(store, file, snapshot.schema, spec):
                columns = [
                    batch.column(name)
                    if name in batch.schema.names
                    else nulls(batch.num_rows, arrow.field(name).type)
                    for name in arrow.names
                ]
                cast = cast_batch(pa.RecordBatch.from_arrays(columns, names=arrow.names), arrow)
                yield cast.rename_columns(names)

    names = [_column(place) for place in range(len(schema.fields))]
    plain = pa.schema([pa.field(n, f.type) for n, f in zip(names, arrow, strict=True)])
    reader = pa.RecordBatchReader.from_batches(plain, batches())
    connection.register("incoming", reader)
    _run(
        connection,
        f"CREATE TABLE {side} AS SELECT row_number() OVER () AS place, * FROM incoming",
    )
    connection.unregister("incoming")


def _check_key(connection: duckdb.DuckDBPyConnection, side: str, schema: Schema, key: str) -> None:
    name = _column(schema.names.index(key))
    total, filled, distinct = _run(
        connection, f"SELECT count(*), count({name}), count(DISTINCT {name}) FROM {side}"
    )[0]
    if filled < total:
        raise InvalidInputError(
            f"the {side} has {total - filled} rows whose {key!r} is null; they cannot be merged"
        )
    if distinct < total:
        raise InvalidInputError(
            f"{key!r} is not unique in the {side}: {total - distinct} of {total} rows repeat a "
            "value; name another column with --key"
        )


def _decide(connection: duckdb.DuckDBPyConnection, schema: Schema, key: str) -> MergeCounts:
    """Make the view ``merged`` and count where its rows come from."""
    columns = [_column(place) for place in range(len(schema.fields))]
    theirs = ", ".join(f"s.{column}" for column in columns)
    ours = ", ".join(f"t.{column}" for column in columns)
    same = f"row({theirs}) IS NOT DISTINCT FROM row({ours})"
    newer = "false"
    for column in reversed(
        [_column(schema.names.index(n)) for n in ("version", "updatedAt") if n in schema.names]
    ):
        s, t = f"s.{column}", f"t.{column}"
        newer = (
            f"CASE WHEN {s} IS NOT DISTINCT FROM {t} THEN {newer} WHEN {s} IS NULL THEN true "
            f"WHEN {t} IS NULL THEN false ELSE {s} < {t} END"
        )
    name = _column(schema.names.index(key))
    _run(
        connection,
        f"""CREATE TABLE decided AS SELECT s.place AS s_place, t.place AS t_place,
        CASE WHEN s.place IS NULL THEN 'only_in_target' WHEN t.place IS NULL THEN 'only_in_source'
        WHEN {same} THEN 'equal' WHEN {newer} THEN 'target_newer' ELSE 'source_newer' END AS verdict
        FROM source s FULL OUTER JOIN target t ON s.{name} = t.{name}""",
    )
    found = dict(_run(connection, "SELECT verdict, count(*) FROM decided GROUP BY verdict"))
    taken = ", ".join(columns)
    _run(
        connection,
        f"""CREATE VIEW merged AS
        SELECT {taken} FROM target WHERE place IN (SELECT t_place FROM decided
            WHERE verdict IN ('only_in_target', 'target_newer', 'equal'))
        UNION ALL
        SELECT {taken} FROM source WHERE place IN (SELECT s_place FROM decided
            WHERE verdict IN ('only_in_source', 'source_newer'))""",
    )
    return MergeCounts(**{name: found.get(name, 0) for name in MergeCounts.__slots__})


def _write(
    connection: duckdb.DuckDBPyConnection,
    write: Callable[[Iterable[pa.RecordBatch]], DataFile],
    schema: Schema,
    spec: PartitionSpec,
) -> list[DataFile]:
    """Write ``merged`` as one file a partition."""
    ids = [field.id for field in schema.fields]
    places = [ids.index(item.source_id) for item in spec.fields]
    arrow = arrow_schema_of(schema)
    files = []
    for partition, condition in _partitions(connection, schema, places):
        reader = connection.sql(f"SELECT m.* FROM merged m WHERE {condition}").to_arrow_reader(
            65_536
        )
        batches = (cast_batch(batch.rename_columns(arrow.names), arrow) for batch in reader)
        files.append(replace(write(batches), partition=partition, spec_id=spec.spec_id))
    return files


def _partitions(
    connection: duckdb.DuckDBPyConnection, schema: Schema, places: Sequence[int]
) -> list[tuple[tuple[Value | None, ...], str]]:
    """Return the partition tuples of ``merged`` and, for each, the condition of its rows."""
    if not places:
        return [((), "true")]
    columns = [_column(place) for place in places]
    taken = ", ".join(columns)
    _run(
        connection,
        "CREATE TABLE parts AS SELECT row_number() OVER () AS part, * "
        f"FROM (SELECT DISTINCT {taken} FROM merged)",
    )
    table = connection.sql(f"SELECT {taken} FROM parts ORDER BY part").to_arrow_table()
    types = [schema.fields[place].type for place in places]
    same = " AND ".join(
        f"m.{column} IS NOT DISTINCT FROM (SELECT {column} FROM parts WHERE part = {{part}})"
        for column in columns
    )
    return [
        (
            tuple(_physical(table.column(i)[row], type_) for i, type_ in enumerate(types)),
            same.format(part=row + 1),
        )
        for row in range(table.num_rows)
    ]


def _physical(scalar: pa.Scalar[Any], type_: Type) -> Value | None:
    """Return a partition value as ``model.files`` defines physical values."""
    if not scalar.is_valid:
        return None
    if isinstance(type_, DecimalType):
        value: Decimal = scalar.as_py()
        return int(value.scaleb(type_.scale))
    if pa.types.is_temporal(scalar.type):
        width = pa.int32() if scalar.type.bit_width == 32 else pa.int64()
        return int(scalar.cast(width).as_py())
    found: Value = scalar.as_py()
    return found


def _run(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    """Run a statement to its end; a connection takes no other before."""
    return connection.execute(sql).fetchall()


def _column(place: int) -> str:
    """Name a column by its place: a user's own names could mean something to the database."""
    return f"c{place}"
