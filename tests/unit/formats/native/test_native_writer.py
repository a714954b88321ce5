from __future__ import annotations

import io
from dataclasses import replace

import duckdb
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import FormatError, StateError, UnsupportedError
from parquedb.formats.native.paths import origin_key
from parquedb.formats.native.reader import NativeReader
from parquedb.formats.native.writer import NativeWriter
from parquedb.log.change import AddFile, RemoveFile, SetPartitioning, SetSchema
from parquedb.log.commit import Commit, Operation, Origin
from parquedb.log.ports import Committed, Conflict, Lineage
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import UNPARTITIONED, PartitionField, PartitionSpec
from parquedb.model.schema import EMPTY, Identity
from parquedb.parquet.arrow import schema_of_arrow
from parquedb.parquet.deletes import inline_vector
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore

TABLE = pa.table({"id": [1, 2], "name": ["a", None]})
SCHEMA = schema_of_arrow(TABLE.schema)
ORIGIN = Origin(Format.DELTA, "abc", 3)
KEY = "data/users/data.parquet"


@pytest.fixture(params=["memory", "local"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path, durable=False)


def put(store, key, table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.replace(key, buffer.getvalue())
    return DataFile(key, len(buffer.getvalue()), table.num_rows)


def commit(*changes, schema=SCHEMA, spec=UNPARTITIONED, origin=ORIGIN):
    before = (SetSchema(schema), SetPartitioning(spec))
    return Commit(3, 1000, Operation.APPEND, (*before, *changes), origin=origin)


def read(store):
    return pq.read_table(io.BytesIO(store.get(KEY))).to_pylist()


def all_keys(store):
    return [info.key for info in store.list("")]


def test_one_fitting_file_is_copied_byte_by_byte(store):
    file = put(store, "users/part-0.parquet", TABLE)
    put(store, "users/_delta_log/00000000000000000000.json", TABLE)
    result = NativeWriter(store, "users").append(
        [commit(AddFile(file))], expect=None, completed_at_ms=77
    )
    assert store.get(KEY) == store.get("users/part-0.parquet")
    reader = NativeReader(store, "users", owned=frozenset({"users/part-0.parquet"}))
    assert result == Committed(reader.latest(), file.size_bytes)
    assert reader.lineage() == Lineage(ORIGIN, result.version, 77)
    assert reader.referenced() == {KEY, origin_key("users")}
    assert reader.history()[0].origin == ORIGIN
    assert not [key for key in all_keys(store) if "staged" in key]


def test_several_files_become_one(store):
    a = put(store, "t/a.parquet", TABLE)
    b = put(store, "t/b.parquet", pa.table({"name": ["b"], "id": pa.array([3], pa.int32())}))
    gone = put(store, "t/c.parquet", TABLE)
    first = commit(AddFile(a), AddFile(gone))
    second = Commit(4, 2000, Operation.OVERWRITE, (RemoveFile(gone), AddFile(b)))
    NativeWriter(store, "users").append([first, second], expect=None)
    assert read(store) == [*TABLE.to_pylist(), {"id": 3, "name": "b"}]
    assert NativeReader(store, "users").lineage() is None, "the last commit had no origin"


def test_what_does_not_fit_is_written_again(store):
    file = put(store, "t/a.parquet", TABLE)
    by_id = replace(SCHEMA, identity=Identity.BY_ID)
    NativeWriter(store, "users").append([commit(AddFile(file), schema=by_id)], expect=None)
    schema = NativeReader(store, "users").snapshot().schema
    assert schema == by_id
    assert read(store) == TABLE.to_pylist()


def test_partition_constants_become_columns(store):
    file = replace(put(store, "t/a.parquet", TABLE.select(["id"])), partition=("x",), spec_id=1)
    spec = PartitionSpec(1, (PartitionField(2, "name"),))
    NativeWriter(store, "users").append([commit(AddFile(file), spec=spec)], expect=None)
    assert read(store) == [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]


def test_no_files_and_no_columns(store):
    NativeWriter(store, "users").append([commit()], expect=None)
    assert NativeReader(store, "users").snapshot().rows == 0
    with pytest.raises(UnsupportedError, match="has no columns"):
        NativeWriter(store, "nothing").append([commit(schema=EMPTY)], expect=None)
    assert not [key for key in all_keys(store) if "nothing" in key]


def test_expectations(store):
    a, b = put(store, "t/a.parquet", TABLE), put(store, "t/b.parquet", TABLE.slice(1))
    writer = NativeWriter(store, "users")
    assert writer.append([commit(AddFile(a))], expect=5) == Conflict(None)
    first = writer.append([commit(AddFile(a))], expect=None)
    other = NativeWriter(store, "users")
    assert other.append([commit(AddFile(b))], expect=None) == Conflict(first.version)
    assert other.append([commit(AddFile(b))], expect=first.version + 1) == Conflict(first.version)
    assert read(store) == TABLE.to_pylist()
    second = other.append([commit(AddFile(b))], expect=first.version)
    assert isinstance(second, Committed)
    assert read(store) == TABLE.slice(1).to_pylist()
    assert NativeReader(store, "users").lineage().version == second.version


def test_batches_continue(store):
    a, b = put(store, "t/a.parquet", TABLE), put(store, "t/b.parquet", TABLE)
    writer = NativeWriter(store, "users")
    first = writer.append([commit(AddFile(a))], expect=None)
    more = Commit(5, 2000, Operation.APPEND, (AddFile(b),), origin=replace(ORIGIN, version=5))
    writer.append([more], expect=first.version, completed_at_ms=9)
    assert read(store) == TABLE.to_pylist() * 2
    assert NativeReader(store, "users").lineage().origin.version == 5


@pytest.mark.parametrize("key", ["users.parquet", "users/x.parquet", "data/users/x.parquet"])
def test_other_layouts_are_never_replaced(store, key):
    file = put(store, key, TABLE)
    with pytest.raises(StateError, match=r"is not replaced by 'data/users/data\.parquet'; move"):
        NativeWriter(store, "users").append([commit(AddFile(file))], expect=None)
    assert all_keys(store) == [key]


def test_deleted_rows_are_left_out(store):
    file = put(store, "t/a.parquet", TABLE)
    deleted = replace(file, deletes=(inline_vector([0]),))
    NativeWriter(store, "users").append([commit(AddFile(deleted))], expect=None)
    assert read(store) == TABLE.slice(1).to_pylist()


def test_lineage_follows_the_file(store):
    file = put(store, "t/a.parquet", TABLE)
    writer = NativeWriter(store, "users")
    version = writer.append([commit(AddFile(file))], expect=None).version
    writer.set_completed(123)
    assert NativeReader(store, "users").lineage() == Lineage(ORIGIN, version, 123)
    writer.set_completed(None)
    assert NativeReader(store, "users").lineage().completed_at_ms is None
    put(store, KEY, TABLE.slice(1))
    reader = NativeReader(store, "users")
    assert reader.lineage() == Lineage(ORIGIN, version, None, (reader.latest(),))
    assert reader.history()[0].origin is None
    store.replace(origin_key("users"), b"{")
    with pytest.raises(FormatError, match=r"native-origin\.json' is damaged"):
        reader.lineage()
    with pytest.raises(StateError, match="not written by a migration"):
        NativeWriter(store, "others").set_completed(1)


class CrashError(Exception):
    """The process is killed here."""


class Mortal:
    """A store that dies at a given writing operation, before or after it."""

    def __init__(self, inner, operation, *, after):
        self._inner, self._left, self._after = inner, operation, after

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in ("replace", "copy_many", "create_many", "delete"):
            return method

        def mortal(*arguments):
            self._left -= 1
            if self._left <= 0 and not (self._left == 0 and self._after):
                raise CrashError
            result = method(*arguments)
            if self._left == 0:
                raise CrashError
            return result

        return mortal


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("operation", range(1, 7))
def test_a_crash_leaves_ours_or_theirs(operation, replacing, after):
    """Whatever is there after a crash is whole, and known to be ours."""
    store = MemoryStore()
    old, new = put(store, "t/a.parquet", TABLE), put(store, "t/b.parquet", TABLE.slice(1))
    version = None
    if replacing:
        version = NativeWriter(store, "users").append([commit(AddFile(old))], expect=None).version
    later = replace(ORIGIN, version=9)
    dying = NativeWriter(Mortal(store, operation, after=after), "users")
    try:
        dying.append([commit(AddFile(new), origin=later)], expect=version)
    except CrashError:
        if store.head(KEY) is None:
            assert not replacing
            current = None
        else:
            reader = NativeReader(store, "users")
            lineage = reader.lineage()
            assert not lineage.foreign
            rows = TABLE.slice(1) if lineage.origin == later else TABLE
            assert read(store) == rows.to_pylist()
            current = reader.latest()
        again = NativeWriter(store, "users").append(
            [commit(AddFile(new), origin=later)], expect=current, completed_at_ms=5
        )
        assert isinstance(again, Committed)
    reader = NativeReader(store, "users")
    assert reader.lineage().origin == later
    assert not reader.lineage().foreign
    assert read(store) == TABLE.slice(1).to_pylist()


def test_others_read_it(tmp_path):
    store = LocalStore(tmp_path)
    a, b = put(store, "t/a.parquet", TABLE), put(store, "t/b.parquet", TABLE)
    NativeWriter(store, "users").append([commit(AddFile(a), AddFile(b))], expect=None)
    path = tmp_path / KEY
    expected = TABLE.to_pylist() * 2
    assert pl.read_parquet(path).to_dicts() == expected
    assert duckdb.read_parquet(str(path)).to_arrow_table().to_pylist() == expected
    record = orjson.loads((tmp_path / origin_key("users")).read_bytes())
    assert [entry["origin"]["version"] for entry in record["entries"]] == [3]
    assert path.stat().st_nlink == 1
