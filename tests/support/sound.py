"""Whether a table that was read is one: every value of the kind that its place asks for.

Damage that is not an error must at least lead to a table that the rest of the program can handle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parquedb.log.ports import LogReader
from parquedb.log.replay import replay
from parquedb.log.snapshot import Snapshot
from parquedb.model.files import DataFile, InlineVector, VectorFile
from parquedb.model.schema import Schema, walk
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
)


def read_all(reader: LogReader) -> None:
    """Read everything that a reader offers, and check it."""
    assert type(reader.latest()) is int
    assert type(reader.table_id) is str
    for version in reader.history():
        assert type(version.version) is int
        assert type(version.at_ms) is int
        assert type(version.operation) is str
        assert version.rows is None or (type(version.rows) is int and version.rows >= 0)
    assert_sound(reader.snapshot())
    reader.lineage()
    reader.through()
    reader.unshown()
    reader.has_promotions()
    commits = list(reader.commits())
    assert_sound(replay(commits))
    for commit in commits:
        assert type(commit.at_ms) is int
        assert all(type(k) is str and type(v) is str for k, v in commit.summary.items())
    assert all(type(key) is str for key in reader.referenced())


def assert_sound(snapshot: Snapshot) -> None:
    """Check a snapshot."""
    assert type(snapshot.version) is int
    assert type(snapshot.at_ms) is int
    fields = _fields(snapshot.schema)
    for spec in snapshot.specs.values():
        for field in spec.fields:
            assert type(field.name) is str
            assert type(field.source_id) is int
    assert all(type(k) is str and type(v) is str for k, v in snapshot.properties.items())
    for path, file in snapshot.files.items():
        assert path == file.path
        assert file.spec_id in snapshot.specs
        _file(file, fields)


def _fields(schema: Schema) -> dict[int, Field]:
    fields = [item for _, item in walk(schema.fields)]
    for field in fields:
        assert type(field.name) is str, field
        assert type(field.id) is int, field
        assert type(field.required) is bool, field
        assert field.doc is None or type(field.doc) is str, field
    assert all(type(id_) is int for id_ in schema.identifier_ids)
    return {field.id: field for field in fields}


def _file(file: DataFile, fields: Mapping[int, Field]) -> None:
    assert type(file.path) is str
    assert _is_count(file.size_bytes), file
    assert file.rows is None or _is_count(file.rows), file
    assert file.modified_at_ms is None or type(file.modified_at_ms) is int, file
    for deletes in file.deletes:
        match deletes:
            case InlineVector(bitmap, rows):
                assert type(bitmap) is bytes
                assert _is_count(rows)
            case VectorFile(path, offset, size, rows):
                assert type(path) is str
                assert all(map(_is_count, (offset, size, rows)))
    if file.stats is not None:
        for counts in (file.stats.nulls, file.stats.sizes):
            for id_, count in counts.items():
                assert type(id_) is int
                assert type(count) is int
        for bounds in (file.stats.lower, file.stats.upper):
            for id_, value in bounds.items():
                if id_ in fields:
                    assert _fits(value, fields[id_].type), (value, fields[id_])


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _fits(value: Any, type_: Type) -> bool:
    match type_:
        case IntType() | DateType() | TimestampType() | TimeType() | DecimalType():
            return type(value) is int
        case FloatType():
            return type(value) is float and value == value
        case BooleanType():
            return type(value) is bool
        case StringType():
            return type(value) is str
        case BinaryType() | FixedType() | UuidType():
            return type(value) is bytes
        case _:
            return True
