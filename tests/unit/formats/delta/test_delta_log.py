"""Hand-written Delta logs: what is read, what is refused, and what the writer refuses."""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb import DB
from parquedb.ambient import Ambient
from parquedb.errors import FormatError, NotFoundError, ParqueDBError, UnsupportedError
from parquedb.formats.delta.checkpoint_write import encode_checkpoint, write_checkpoint
from parquedb.formats.delta.paths import exists
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.delta.state import read_state
from parquedb.formats.delta.writer import DeltaWriter
from parquedb.log.change import (
    AddFile,
    Change,
    RemoveFile,
    SetPartitioning,
    SetProperties,
    SetSchema,
)
from parquedb.log.commit import Commit, Operation, Origin
from parquedb.log.ports import Committed, Conflict
from parquedb.log.replay import replay
from parquedb.model.files import DataFile
from parquedb.model.format import Format
from parquedb.model.partition import BucketTransform, PartitionField, PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, IntType, NullType, StringType, TimestampType, Type
from parquedb.storage.counting import count
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

T0 = 1_700_000_000_000
Json = dict[str, Any]

PROTOCOL: Json = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}


def _protocol(*features: str, writer_only: Sequence[str] = ()) -> Json:
    return {
        "protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": list(features),
            "writerFeatures": [*features, *writer_only],
        }
    }


def _metadata(
    *columns: tuple[str, str] | tuple[str, str, Json],
    configuration: Mapping[str, str] | None = None,
    partitions: Sequence[str] = (),
) -> Json:
    fields = [
        {"name": c[0], "type": c[1], "nullable": True, "metadata": c[2] if len(c) > 2 else {}}
        for c in columns or (("id", "long"),)
    ]
    return {
        "metaData": {
            "id": "the-table",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps({"type": "struct", "fields": fields}),
            "partitionColumns": list(partitions),
            "configuration": dict(configuration or {}),
            "createdTime": T0,
        }
    }


def _add(path: str, rows: int | None = 1, **more: object) -> Json:
    body: Json = {
        "path": path,
        "partitionValues": {},
        "size": 10,
        "modificationTime": T0,
        "dataChange": True,
    }
    if rows is not None:
        body["stats"] = json.dumps({"numRecords": rows})
    return {"add": body | more}


def _remove(path: str, **more: object) -> Json:
    return {"remove": {"path": path, "deletionTimestamp": T0, "dataChange": True} | more}


def _info(at_ms: int, **more: object) -> Json:
    return {"commitInfo": {"timestamp": at_ms, "operation": "WRITE"} | more}


def _put(
    store: MemoryStore, version: int, *actions: Json, at_ms: int | None = None, folder: str = "t"
) -> None:
    data = b"".join(json.dumps(action).encode() + b"\n" for action in actions)
    key = f"{folder}/_delta_log/{version:020d}.json"
    modified = T0 + version * 1000 if at_ms is None else at_ms
    store.create(NewObject(key, data, modified))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("test")


def _table(*first: Json, protocol: Json = PROTOCOL, metadata: Json | None = None) -> MemoryStore:
    store = MemoryStore("test")
    _put(store, 0, protocol, metadata or _metadata(), *first)
    return store


# -- reading --------------------------------------------------------------------------------


def test_no_table(store: MemoryStore) -> None:
    assert not exists(store, "t")
    store.create(NewObject("t/_delta_log/_last_checkpoint", b"{}"))
    assert not exists(store, "t")
    with pytest.raises(NotFoundError, match="no Delta table in 'memory://test/t'"):
        DeltaReader(store, "t")


def test_a_table_at_the_root_of_a_storage(store: MemoryStore) -> None:
    actions = (PROTOCOL, _metadata(), _add("x.p"))
    data = b"\n".join(json.dumps(action).encode() for action in actions)
    store.create(NewObject(f"_delta_log/{0:020d}.json", data))
    assert set(DeltaReader(store, "").snapshot().files) == {"x.p"}


def test_adds_removes_and_files_added_again(store: MemoryStore) -> None:
    _put(store, 0, PROTOCOL, _metadata(), _add("a%20b"), _add("c", None))
    _put(store, 1, _add("a%20b", 1, dataChange=False), _remove("never-there"))
    _put(store, 2, _add("a%20b", 2, dataChange=False))
    _put(store, 3, _remove("a b"), _add("d"))
    _put(store, 4, _add("c", 7))
    reader = DeltaReader(store, "t")
    commits = list(reader.commits())
    assert commits[1].changes == ()
    kinds = [[type(change) for change in commit.changes] for commit in commits[2:]]
    assert kinds == [[RemoveFile, AddFile]] * 3
    assert commits[2].operation is Operation.REPLACE
    assert commits[3].operation is Operation.OVERWRITE
    assert [entry.rows for entry in reader.history()] == [None, None, None, None, 8]
    for version in range(5):
        whole = reader.snapshot(version)
        assert replay(commits[: version + 1]) == whole
        assert whole.files.keys() == ({"t/a b", "t/c"} if version < 3 else {"t/d", "t/c"})
    assert reader.referenced() >= {"t/a b", "t/c", "t/d", "t/never-there"}


def test_what_versions_cannot_be_read(store: MemoryStore) -> None:
    _put(store, 0, PROTOCOL, _metadata())
    reader = DeltaReader(store, "t")
    for bad in (-1, 1):
        with pytest.raises(NotFoundError, match="from version 0 to 0"):
            reader.snapshot(bad)
        with pytest.raises(NotFoundError, match="no readable version"):
            list(reader.commits(bad))
    assert list(reader.commits(0)) == []
    with pytest.raises(NotFoundError, match="has no version at"):
        reader.version_at(T0 - 1)


def test_times_increase_and_prefer_what_the_writer_recorded(store: MemoryStore) -> None:
    _put(store, 0, _info(T0), PROTOCOL, _metadata(), at_ms=T0 + 5)
    _put(store, 1, _info(T0 + 50), at_ms=T0 + 90_000_000)  # copied: its own time says nothing
    _put(store, 2, _info(T0 - 7_000_000), at_ms=T0 + 70_000_000)
    _put(store, 3, _add("x"), at_ms=T0 + 80)  # no commitInfo
    reader = DeltaReader(store, "t")
    times = [entry.at_ms for entry in reader.history()]
    assert times[1:] == [T0 + 50, T0 + 51, T0 + 80]
    assert T0 <= times[0] <= T0 + 5
    assert [reader.version_at(at) for at in (T0 + 50, T0 + 79, T0 + 10**9)] == [1, 2, 3]
    assert [commit.at_ms for commit in reader.commits()] == times
    assert DeltaReader(store, "t").snapshot(2).at_ms == T0 + 51


def test_in_commit_timestamps_count_from_where_they_are_enabled(store: MemoryStore) -> None:
    configuration = {
        "delta.enableInCommitTimestamps": "true",
        "delta.inCommitTimestampEnablementVersion": "1",
    }
    features = _protocol(writer_only=["inCommitTimestamp"])
    _put(store, 0, _info(T0, inCommitTimestamp=1), PROTOCOL, _metadata(), at_ms=T0)
    enabled = _metadata(configuration=configuration)
    _put(store, 1, _info(T0 + 9, inCommitTimestamp=T0 + 500), features, enabled)
    times = [entry.at_ms for entry in DeltaReader(store, "t").history()]
    assert times == [T0, T0 + 500]


def test_metadata_changes(store: MemoryStore) -> None:
    _put(store, 0, PROTOCOL, _metadata(configuration={"delta.x": "1", "a": "1", "b": "2"}))
    _put(store, 1, _metadata(("id", "long"), ("n", "string"), configuration={"a": "1", "c": "3"}))
    _put(store, 2, _metadata(("n", "string"), partitions=["n"]))
    first, second, third = DeltaReader(store, "t").commits()
    assert first.operation is Operation.CREATE
    assert second.operation is Operation.METADATA
    updates = [c.updates for c in (*first.changes, *second.changes, *third.changes)
               if isinstance(c, SetProperties)]  # fmt: skip
    assert updates == [{"a": "1", "b": "2"}, {"b": None, "c": "3"}, {"a": None, "c": None}]
    kinds = [type(change) for change in third.changes]
    assert kinds == [SetSchema, SetPartitioning, SetProperties]
    (later,) = DeltaReader(store, "t").commits(1)
    assert later == third


def test_files_of_an_older_partitioning_keep_it(store: MemoryStore) -> None:
    columns = (("id", "long"), ("n", "string"))
    _put(store, 0, PROTOCOL, _metadata(*columns), _add("x"))
    keyed = _add("y", partitionValues={"n": "v"})
    _put(store, 1, _metadata(*columns, partitions=["n"]), _remove("x"), keyed)
    commits = list(DeltaReader(store, "t").commits())
    snapshot = DeltaReader(store, "t").snapshot()
    assert replay(commits) == snapshot
    assert snapshot.files["t/y"].partition == ("v",)
    assert snapshot.specs[snapshot.files["t/y"].spec_id].fields[0].name == "n"


def test_a_file_without_its_partition_values_is_an_error() -> None:
    columns = (("id", "long"), ("n", "string"))
    store = _table(_add("z"), metadata=_metadata(*columns, partitions=["n"]))
    with pytest.raises(FormatError, match="no partition value"):
        DeltaReader(store, "t").snapshot()


OPERATIONS = [
    ({"operation": "CREATE TABLE"}, [], Operation.CREATE),
    ({"operation": "WRITE", "operationParameters": {"mode": "Append"}}, ["+"], Operation.APPEND),
    ({"operation": "WRITE"}, ["+", "-"], Operation.OVERWRITE),
    ({"operation": "DELETE"}, ["-"], Operation.DELETE),
    ({"operation": "DELETE"}, ["+", "-"], Operation.DELETE),
    ({"operation": "MERGE"}, ["+", "-"], Operation.OVERWRITE),
    ({"operation": "OPTIMIZE"}, ["+", "-"], Operation.REPLACE),
    ({"operation": "OPTIMIZE"}, [], Operation.METADATA),
    ({"operation": "VACUUM END"}, [], Operation.METADATA),
    ({"operation": 5, "userMetadata": 7}, ["+"], Operation.APPEND),
]


@pytest.mark.parametrize(("info", "files", "operation"), OPERATIONS)
def test_operations(info: Json, files: list[str], operation: Operation) -> None:
    store = _table(_add("old"))
    actions = [_add("new")] * ("+" in files) + [_remove("old")] * ("-" in files)
    _put(store, 1, {"commitInfo": info}, *actions)
    (commit,) = DeltaReader(store, "t").commits(0)
    assert commit.operation is operation


# -- what is refused ------------------------------------------------------------------------

VECTOR = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 1,
          "sizeInBytes": 36, "cardinality": 2}  # fmt: skip
MAPPING = {"delta.columnMapping.mode": "guess", "delta.columnMapping.maxColumnId": "1"}
WIDENED = {"delta.typeChanges": [{"fromType": "integer", "toType": "double"}]}
REFUSED: dict[str, tuple[Json, Json, list[Json]]] = {
    "minReaderVersion 4": (
        {"protocol": {"minReaderVersion": 4, "minWriterVersion": 7}}, _metadata(), []
    ),
    "catalogManaged": (_protocol("catalogManaged"), _metadata(), []),
    "brandNew": (_protocol("brandNew"), _metadata(), []),
    "geospatial": (_protocol("geospatial"), _metadata(), []),
    "columnMapping": (
        {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}},
        _metadata(configuration=MAPPING),
        [],
    ),
    "variantShredding": (
        _protocol("variantType", "variantShredding"), _metadata(("v", "variant")), []
    ),
    "typeWidening": (_protocol("typeWidening"), _metadata(("d", "double", WIDENED)), []),
    "interval": (PROTOCOL, _metadata(("i", "interval")), []),
}  # fmt: skip


@pytest.mark.parametrize("feature", REFUSED)
def test_features_that_cannot_be_carried_are_refused_by_name(feature: str) -> None:
    protocol, metadata, files = REFUSED[feature]
    store = _table(*files, protocol=protocol, metadata=metadata)
    reader = DeltaReader(store, "t")
    for read in (reader.snapshot, lambda: list(reader.commits())):
        with pytest.raises(UnsupportedError) as caught:
            read()
        assert caught.value.feature == feature
        assert "'t" in str(caught.value) or "column" in str(caught.value)
    assert len(reader.history()) == 1
    with pytest.raises(UnsupportedError):
        DeltaWriter(store, "t").append([_append("t/y")], expect=0)
    assert exists(store, "t")
    assert DeltaReader(store, "t").latest() == 0


def test_a_version_before_the_refused_one_is_read() -> None:
    store = _table(_add("x", 3))
    _put(store, 1, _protocol("columnMapping"), _metadata(configuration=MAPPING))
    reader = DeltaReader(store, "t")
    assert reader.snapshot(0).rows == 3
    commits = reader.commits()
    assert next(commits).version == 0
    with pytest.raises(UnsupportedError, match="columnMapping"):
        next(commits)


def test_files_of_refused_tables_are_still_known() -> None:
    store = _table(_add("x", 5, deletionVector=VECTOR), {"cdc": {"path": "_change_data/c"}})
    reader = DeltaReader(store, "t")
    vector = "t/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    assert {"t/x", "t/_change_data/c", vector} <= reader.referenced()
    assert reader.history()[0].rows == 3


HARMLESS = [
    (_protocol("deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"), {}),
    (_protocol("columnMapping"), {"delta.columnMapping.mode": "none"}),
    (_protocol("variantType", "typeWidening"), {}),
    (_protocol(writer_only=["rowTracking", "domainMetadata", "clustering", "whatever"]), {}),
    ({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}, {}),
    ({"protocol": {"minReaderVersion": 2, "minWriterVersion": 6}}, {}),
]


@pytest.mark.parametrize(("protocol", "configuration"), HARMLESS)
def test_features_that_are_not_in_use_do_no_harm(
    protocol: Json, configuration: Mapping[str, str]
) -> None:
    store = _table(_add("x"), protocol=protocol, metadata=_metadata(configuration=configuration))
    assert DeltaReader(store, "t").snapshot().rows == 1


DAMAGE = {
    "no JSON": [b"{nope"],
    "no object": [b"[1]"],
    "no path": [json.dumps({"add": {"size": 1}}).encode()],
    "statistics": [json.dumps(_add("x", None, stats='{"numRecords":')).encode()],
    "schema": [json.dumps(_metadata()).replace("struct", "sruct").encode()],
    "partition column": [json.dumps(_metadata(partitions=["gone"])).encode()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_commits_are_errors_that_name_the_file(damage: str) -> None:
    store = _table()
    key = f"t/_delta_log/{1:020d}.json"
    store.create(NewObject(key, b"\n".join(DAMAGE[damage])))
    reader = DeltaReader(store, "t")
    for read in (reader.snapshot, lambda: list(reader.commits())):
        with pytest.raises(FormatError) as caught:
            read()
        assert caught.value.section
        assert "_delta_log" in str(caught.value)
    assert reader.snapshot(0).files == {}


def test_a_first_version_without_metadata_is_an_error(store: MemoryStore) -> None:
    _put(store, 0, _add("x"))
    with pytest.raises(FormatError, match="no protocol or no metaData"):
        DeltaReader(store, "t").snapshot()


def test_a_gap_is_an_error_that_names_the_version() -> None:
    store = _table()
    _put(store, 2, _add("x"))
    with pytest.raises(FormatError, match=r"0{19}1\.json"):
        DeltaReader(store, "t")


# -- checkpoints ----------------------------------------------------------------------------


def _checkpointed() -> MemoryStore:
    domain = {"domain": "d", "configuration": "{}", "removed": False}
    store = _table(_add("a", 1), _add("b%20c", None), {"domainMetadata": domain})
    _put(store, 1, _remove("a", partitionValues={}, size=10, extendedFileMetadata=True))
    _put(store, 2, _add("d", 2), {"txn": {"appId": "app", "version": 7}})
    _put(store, 3, _add("e", 3))
    return store


def _drop(store: MemoryStore, *versions: int) -> None:
    for version in versions:
        store.delete(f"t/_delta_log/{version:020d}.json")


def test_a_checkpoint_holds_the_whole_state() -> None:
    store = _checkpointed()
    listing = DeltaReader(store, "t").listing
    whole = read_state(store, "t", listing, 2)
    write_checkpoint(store, "t", 2)
    assert store.head("t/_delta_log/_last_checkpoint") is None  # not the newest version
    _drop(store, 0, 1, 2)
    reader = DeltaReader(store, "t")
    again = read_state(store, "t", reader.listing, 2)
    assert (again.protocol, again.metadata) == (whole.protocol, whole.metadata)
    assert again.live.keys() == whole.live.keys() == {"t/b c", "t/d"}
    assert again.tombstones.keys() == {("t/a", None)}
    assert again.txns == whole.txns
    assert again.domains == whole.domains
    first, second = reader.commits()
    assert first.base
    assert first.version == 2
    assert second.version == 3
    assert replay([first, second]) == reader.snapshot()
    assert "t/a" in reader.referenced()
    assert f"t/_delta_log/{2:020d}.checkpoint.parquet" in reader.referenced()
    with pytest.raises(NotFoundError, match="from version 2 to 3"):
        reader.snapshot(1)


def test_a_checkpoint_alone_is_a_table() -> None:
    store = _checkpointed()
    write_checkpoint(store, "t")
    _drop(store, 0, 1, 2, 3)
    reader = DeltaReader(store, "t")
    assert [entry.version for entry in reader.history()] == [3]
    (only,) = reader.commits()
    assert only.base
    assert reader.snapshot().files.keys() == {"t/b c", "t/d", "t/e"}
    _put(store, 4, _add("f"))
    assert len(DeltaReader(store, "t").snapshot().files) == 4


def _parts(store: MemoryStore, count: int) -> list[bytes]:
    listing = DeltaReader(store, "t").listing
    data = encode_checkpoint(read_state(store, "t", listing, 2))
    table = pq.read_table(pa.BufferReader(data))
    step = -(-table.num_rows // count)
    parts = []
    for part in range(count):
        sink = io.BytesIO()
        pq.write_table(table.slice(part * step, step), sink)
        parts.append(sink.getvalue())
    return parts


def test_multi_part_checkpoints_count_when_they_are_complete() -> None:
    store = _checkpointed()
    wanted = DeltaReader(store, "t").snapshot().files
    first, second, third = _parts(store, 3)
    name = f"t/_delta_log/{2:020d}.checkpoint"
    store.create(NewObject(f"{name}.{1:010d}.{3:010d}.parquet", first))
    store.create(NewObject(f"{name}.{3:010d}.{3:010d}.parquet", third))
    assert DeltaReader(store, "t").listing.checkpoints == {}
    store.create(NewObject(f"{name}.{2:010d}.{3:010d}.parquet", second))
    _drop(store, 0, 1, 2)
    assert DeltaReader(store, "t").snapshot().files == wanted


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_v2_checkpoints_with_sidecars(kind: str) -> None:
    store = _checkpointed()
    wanted = DeltaReader(store, "t").snapshot().files
    (data,) = _parts(store, 1)
    sidecar = "016ae953-37a9-438e-8683-9a9a4a79a395.parquet"
    files = pq.read_table(pa.BufferReader(data), columns=["add", "remove"])
    sink = io.BytesIO()
    pq.write_table(files, sink)
    store.create(NewObject(f"t/_delta_log/_sidecars/{sidecar}", sink.getvalue()))
    actions: list[Json] = [
        {"checkpointMetadata": {"version": 2, "tags": {}}},
        _protocol("v2Checkpoint"),
        _metadata(),
        {"sidecar": {"path": sidecar, "sizeInBytes": 1, "modificationTime": T0, "tags": {}}},
    ]
    key = f"t/_delta_log/{2:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.{kind}"
    if kind == "json":
        text = "\n".join(map(json.dumps, actions))
        store.create(NewObject(key, text.encode()))
    else:
        for action in actions:
            action.pop("checkpointMetadata", None)
            action.get("sidecar", {}).pop("tags", None)
            body = action.get("metaData", {})
            body.pop("configuration", None)
            body.get("format", {}).pop("options", None)
        rows = [action for action in actions if action]
        names = sorted({name for row in rows for name in row})
        table = pa.table({n: pa.array([row.get(n) for row in rows]) for n in names})
        sink = io.BytesIO()
        pq.write_table(table, sink)
        store.create(NewObject(key, sink.getvalue()))
    _drop(store, 0, 1, 2)
    reader = DeltaReader(store, "t")
    assert reader.snapshot().files == wanted
    assert f"t/_delta_log/_sidecars/{sidecar}" in reader.referenced()


def _with_parsed_stats(store: MemoryStore, stats: Json, kinds: Mapping[str, pa.DataType]) -> None:
    """Replace version 2 and what is before it by a checkpoint with ``stats_parsed`` alone."""
    (data,) = _parts(store, 1)
    table = pq.read_table(pa.BufferReader(data))
    add = table["add"].combine_chunks()
    bounds = pa.struct(list(kinds.items()))
    counts = pa.struct([(name, pa.int64()) for name in kinds])
    members = [("numRecords", pa.int64()), ("minValues", bounds), ("maxValues", bounds)]
    kind = pa.struct([*members, ("nullCount", counts)])
    valid = add.is_valid().to_pylist()
    kept = [field for field in add.type if field.name not in ("stats", "tags")]
    parsed = pa.array([stats if there else None for there in valid], kind)
    made = pa.StructArray.from_arrays(
        [*(add.field(field.name) for field in kept), parsed],
        fields=[*kept, pa.field("stats_parsed", kind)],
        mask=pa.array([not there for there in valid]),
    )
    sink = io.BytesIO()
    index = table.schema.get_field_index("add")
    pq.write_table(table.set_column(index, "add", made), sink, use_deprecated_int96_timestamps=True)
    store.create(NewObject(f"t/_delta_log/{2:020d}.checkpoint.parquet", sink.getvalue()))
    _drop(store, 0, 1, 2)


def test_parsed_statistics_of_checkpoints() -> None:
    store = _checkpointed()
    stats = {
        "numRecords": 4,
        "minValues": {"id": 3},
        "maxValues": {"id": 9},
        "nullCount": {"id": 0},
    }
    _with_parsed_stats(store, stats, {"id": pa.int64()})
    file = DeltaReader(store, "t").snapshot().files["t/d"]
    assert file.rows == 4
    assert file.stats is not None
    assert (file.stats.lower, file.stats.upper, file.stats.nulls) == ({1: 3}, {1: 9}, {1: 0})


def test_parsed_statistics_of_every_value() -> None:
    metadata = _metadata(
        ("f", "double"), ("g", "float"), ("at", "timestamp"), ("day", "date"), ("far", "date")
    )
    store = _table(_add("d"), metadata=metadata)
    for version in (1, 2, 3):
        _put(store, version, _info(T0 + version))
    first, last = dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
    beyond = 5_000_000  # days: after the year 9999
    stats = {
        "numRecords": 2,
        "minValues": {"f": 1.5, "g": float("-inf"), "at": first, "day": first.date(), "far": 0},
        "maxValues": {
            "f": float("nan"), "g": 2.5, "at": last, "day": last.date(), "far": beyond,
        },
        "nullCount": dict.fromkeys(("f", "g", "at", "day", "far"), 0),
    }  # fmt: skip
    kinds = {
        "f": pa.float64(),
        "g": pa.float32(),
        "at": pa.timestamp("us", "UTC"),  # stored as INT96, as Spark does it
        "day": pa.date32(),
        "far": pa.date32(),
    }
    _with_parsed_stats(store, stats, kinds)
    file = DeltaReader(store, "t").snapshot().files["t/d"]
    assert file.rows == 2
    assert file.stats is not None
    assert file.stats.nulls == dict.fromkeys(range(1, 6), 0)
    assert file.stats.lower == {1: 1.5, 3: -62_135_596_800_000_000, 4: -719_162, 5: 0}
    assert file.stats.upper == {2: 2.5, 3: 253_402_214_400_000_999, 4: 2_932_896}


def test_a_damaged_checkpoint_is_an_error() -> None:
    store = _checkpointed()
    store.create(NewObject(f"t/_delta_log/{2:020d}.checkpoint.parquet", b"PAR1 no"))
    with pytest.raises(FormatError, match=r"checkpoint\.parquet") as caught:
        DeltaReader(store, "t").snapshot()
    assert "delete it" in str(caught.value)


# -- writing --------------------------------------------------------------------------------

COLUMNS = (Field(1, "id", IntType(64)), Field(2, "key", StringType()))
SCHEMA = Schema(COLUMNS, Identity.BY_ID)
BEGIN: tuple[Change, ...] = (SetSchema(SCHEMA), SetPartitioning(PartitionSpec()))


def _file(path: str, partition: tuple[str | None, ...] = (), spec_id: int = 0) -> DataFile:
    return DataFile(path, 10, 1, partition, spec_id, None, T0)


def _append(path: str, at_ms: int = T0, version: int = 1) -> Commit:
    return Commit(version, at_ms, Operation.APPEND, (AddFile(_file(path)),))


def _created(*more: Change) -> tuple[MemoryStore, DeltaWriter]:
    store = MemoryStore("test")
    writer = DeltaWriter(store, "t")
    commit = Commit(0, T0, Operation.CREATE, (*BEGIN, *more))
    assert isinstance(writer.append([commit], expect=None), Committed)
    return store, writer


def _actions(store: MemoryStore, version: int) -> list[Json]:
    data = store.get(f"t/_delta_log/{version:020d}.json")
    return [json.loads(line) for line in data.splitlines()]


def test_what_a_commit_looks_like() -> None:
    fixed = uuid.UUID(int=5)
    store = MemoryStore("test")
    writer = DeltaWriter(store, "t", ambient=Ambient(lambda: 0, lambda: fixed, lambda _: 0))
    origin = Origin(Format.ICEBERG, "u-u", 42)
    first = Commit(
        42, T0, Operation.CREATE, (*BEGIN, AddFile(_file("t/a b.parquet"))), origin=origin
    )
    second = Commit(
        43, T0, Operation.REPLACE,
        (RemoveFile(_file("t/a b.parquet")), AddFile(_file("t/c.parquet"))),
    )  # fmt: skip
    done = writer.append(
        [first, second], expect=None, completed_at_ms=T0 + 9, properties={"owner": "me"}
    )
    assert done == Committed(1, sum(info.size_bytes for info in store.list("t")))
    info, protocol, metadata, txn, add = _actions(store, 0)
    assert info["commitInfo"]["timestamp"] == info["commitInfo"]["inCommitTimestamp"] == T0
    assert info["commitInfo"]["operation"] == "CREATE TABLE"
    assert info["commitInfo"]["parquedb"] == {
        "origin": {"format": "iceberg", "tableId": "u-u", "version": 42},
        "completedAt": None,
    }
    assert protocol == PROTOCOL
    assert metadata["metaData"]["id"] == str(fixed)
    assert metadata["metaData"]["configuration"] == {
        "delta.logRetentionDuration": "interval 36500 days",
        "delta.deletedFileRetentionDuration": "interval 36500 days",
        "delta.enableExpiredLogCleanup": "false",
        "owner": "me",
    }
    assert txn == {"txn": {"appId": "parquedb/iceberg/u-u", "version": 42, "lastUpdated": T0}}
    assert add["add"]["path"] == "a%20b.parquet"
    assert add["add"]["dataChange"] is True
    info, txn, remove, add = _actions(store, 1)
    assert info["commitInfo"]["timestamp"] == T0 + 1
    assert info["commitInfo"]["isBlindAppend"] is False
    assert txn["txn"] == {
        "appId": "parquedb/completed", "version": T0 + 9, "lastUpdated": T0 + 1
    }  # fmt: skip
    assert remove["remove"] == {
        "path": "a%20b.parquet", "deletionTimestamp": T0 + 1, "dataChange": False,
        "extendedFileMetadata": True, "partitionValues": {}, "size": 10,
    }  # fmt: skip
    assert add["add"]["dataChange"] is False
    head = store.head(f"t/_delta_log/{1:020d}.json")
    assert head is not None
    assert head.modified_at_us == (T0 + 1) * 1000


def test_conflicts_are_values() -> None:
    store, writer = _created()
    assert writer.append([_append("t/x")], expect=None) == Conflict(0)
    assert writer.append([_append("t/x")], expect=5) == Conflict(0)
    assert DeltaWriter(MemoryStore(), "t").append([_append("t/x")], expect=0) == Conflict(None)
    _put(store, 2, _add("theirs"))  # between the versions that the writer is about to create
    result = writer.append([_append("t/x"), _append("t/y"), _append("t/z")], expect=0)
    assert result == Conflict(2, 1)
    assert writer.append([_append("t/y")], expect=2) == Committed(3, _size(store, 3))
    assert DeltaReader(store, "t").snapshot().files.keys() == {"t/x", "t/y", "t/theirs"}


def _size(store: MemoryStore, version: int) -> int:
    return len(store.get(f"t/_delta_log/{version:020d}.json"))


def test_a_second_writer_takes_over() -> None:
    store, writer = _created()
    other = DeltaWriter(store, "t")
    assert isinstance(other.append([_append("t/x")], expect=0), Committed)
    assert writer.append([_append("t/y")], expect=0) == Conflict(1)
    remove = Commit(3, T0, Operation.DELETE, (RemoveFile(_file("t/x")),))
    assert isinstance(writer.append([remove], expect=1), Committed)
    assert DeltaReader(store, "t").snapshot().files == {}


def test_folding_of_changes() -> None:
    a, b = _file("t/a"), _file("t/b")
    store, writer = _created(AddFile(a))
    same = Commit(
        1, T0, Operation.METADATA,
        (SetSchema(SCHEMA), SetProperties({"delta.x": "1", "gone": None})),
    )  # fmt: skip
    again = Commit(2, T0, Operation.OVERWRITE, (RemoveFile(a), AddFile(replace(a, rows=3))))
    never = Commit(3, T0, Operation.APPEND, (AddFile(b), RemoveFile(b)))
    props = Commit(4, T0, Operation.METADATA, (SetProperties({"k": "v"}),))
    unset = Commit(5, T0, Operation.METADATA, (SetProperties({"k": None}),))
    base = Commit(6, T0, Operation.APPEND, (*BEGIN, AddFile(b)), base=True)
    done = writer.append([same, again, never, props, unset, base], expect=0)
    assert isinstance(done, Committed)
    kinds = [[key for action in _actions(store, v) for key in action] for v in range(1, 7)]
    assert kinds == [
        ["commitInfo"],
        ["commitInfo", "add"],
        ["commitInfo"],
        ["commitInfo", "metaData"],
        ["commitInfo", "metaData"],
        ["commitInfo", "remove", "add"],
    ]
    assert DeltaReader(store, "t").snapshot(4).properties == {"k": "v"}
    assert DeltaReader(store, "t").snapshot().files.keys() == {"t/b"}


def test_the_protocol_goes_up_where_it_must() -> None:
    store, writer = _created()
    local = Schema((*COLUMNS, Field(3, "at", TimestampType("us", utc=False))), Identity.BY_ID)
    commits = [
        Commit(1, T0, Operation.METADATA, (SetSchema(local),)),
        Commit(2, T0, Operation.METADATA, (SetSchema(SCHEMA),)),
    ]
    assert isinstance(writer.append(commits, expect=0), Committed)
    protocol = _actions(store, 1)[1]["protocol"]
    assert protocol == {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["timestampNtz"],
        "writerFeatures": ["timestampNtz", "appendOnly", "invariants"],
    }
    assert not any("protocol" in action for action in _actions(store, 2))


def _schema(*fields: tuple[int, str, Type]) -> SetSchema:
    return SetSchema(Schema(tuple(Field(*field) for field in fields), Identity.BY_ID))


BUCKETS = PartitionSpec(1, (PartitionField(1, "b", BucketTransform(4)),))
REFUSED_CHANGES: dict[str, tuple[str | None, tuple[Change, ...]]] = {
    "renamed": ("columnMapping", (_schema((1, "ident", IntType(64)), (2, "key", StringType())),)),
    "added again": (
        "columnMapping",
        (_schema((1, "id", IntType(64)), (3, "key", StringType())),),
    ),
    "narrowed": (
        "typeWidening", (_schema((1, "id", IntType(32)), (2, "key", StringType())),)
    ),
    "no type": ("void", (_schema((1, "id", IntType(64)), (3, "n", NullType())),)),
    "case": (
        "caseSensitiveNames",
        (_schema((1, "id", IntType(64)), (3, "ID", IntType(64))),),
    ),
    "transform": ("partitionTransforms", (SetPartitioning(BUCKETS),)),
    "partitioning": (
        "partitionEvolution",
        (SetPartitioning(PartitionSpec(1, (PartitionField(2, "key"),))),),
    ),
    "outside": (None, (AddFile(_file("other/b")),)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_CHANGES)
def test_changes_that_cannot_be_expressed_are_refused_before_anything_is_written(
    name: str,
) -> None:
    feature, changes = REFUSED_CHANGES[name]
    store, writer = _created(AddFile(_file("t/a")))
    commits = [_append("t/fine"), Commit(2, T0, Operation.APPEND, changes)]
    with pytest.raises(UnsupportedError) as caught:
        writer.append(commits, expect=0)
    assert caught.value.feature == feature
    assert DeltaReader(store, "t").latest() == 0
    assert writer.append([_append("t/b")], expect=0) == Committed(1, _size(store, 1))


def test_renames_over_the_whole_history_are_seen_by_a_new_writer() -> None:
    store, writer = _created(AddFile(_file("t/a")))
    fewer = Commit(1, T0, Operation.METADATA, (_schema((1, "id", IntType(64))),))
    assert isinstance(writer.append([fewer], expect=0), Committed)
    again = _schema((1, "id", IntType(64)), (9, "key", StringType()))
    with pytest.raises(UnsupportedError, match="dropped"):
        DeltaWriter(store, "t").append([Commit(2, T0, Operation.METADATA, (again,))], expect=1)


def test_renames_are_written_where_no_file_stays_or_all_follow() -> None:
    a = _file("t/a")
    store, writer = _created(AddFile(a))
    renamed = _schema((1, "key", IntType(64)), (2, "id", StringType()))
    copied = Commit(1, T0, Operation.REPLACE, (renamed, RemoveFile(a), AddFile(_file("t/b"))))
    assert isinstance(writer.append([copied], expect=0), Committed)
    back = _schema((1, "id", IntType(64)), (2, "key", StringType())).schema
    for schema in (back, renamed.schema, back):
        follow = SetSchema(schema, files_follow=True)
        version = DeltaReader(store, "t").latest()
        commit = Commit(2, T0, Operation.METADATA, (follow,))
        assert isinstance(DeltaWriter(store, "t").append([commit], expect=version), Committed)
        assert DeltaReader(store, "t").snapshot().schema == schema
    assert DeltaReader(store, "t").snapshot().files.keys() == {"t/b"}


def test_types_and_partitioning_may_change_where_no_file_stays() -> None:
    a = _file("t/a")
    store, writer = _created(AddFile(a))
    spec = PartitionSpec(1, (PartitionField(2, "key"),))
    narrow = _schema((1, "id", IntType(32)), (2, "key", StringType()))
    new = AddFile(_file("t/b", ("v",), 1))
    commit = Commit(1, T0, Operation.OVERWRITE, (narrow, SetPartitioning(spec), RemoveFile(a), new))
    assert isinstance(writer.append([commit], expect=0), Committed)
    snapshot = DeltaReader(store, "t").snapshot()
    assert snapshot.files["t/b"].partition == ("v",)
    assert snapshot.schema.fields[0].type == IntType(32)


def test_the_first_commit_makes_the_table(store: MemoryStore) -> None:
    with pytest.raises(ParqueDBError, match="makes the whole table"):
        DeltaWriter(store, "t").append([_append("t/a")], expect=None)
    assert not exists(store, "t")


WRITER_RULES: dict[str, tuple[Json, Json]] = {
    "rowTracking": (_protocol(writer_only=["rowTracking"]), _metadata()),
    "unknown": (_protocol(writer_only=["unknown"]), _metadata()),
    "checkConstraints": (PROTOCOL, _metadata(configuration={"delta.constraints.c": "id > 0"})),
    "invariants": (PROTOCOL, _metadata(("id", "long", {"delta.invariants": "{}"}))),
    "generatedColumns": (
        PROTOCOL, _metadata(("id", "long", {"delta.generationExpression": "1"}))
    ),
    "identityColumns": (PROTOCOL, _metadata(("id", "long", {"delta.identity.start": 1}))),
    "icebergCompatV2": (
        _protocol(writer_only=["icebergCompatV2"]),
        _metadata(configuration={"delta.enableIcebergCompatV2": "true"}),
    ),
    "minWriterVersion 8": (
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 8}}, _metadata()
    ),
}  # fmt: skip


@pytest.mark.parametrize("feature", WRITER_RULES)
def test_tables_that_ask_more_of_writers_are_read_but_not_written(feature: str) -> None:
    protocol, metadata = WRITER_RULES[feature]
    store = _table(_add("x"), protocol=protocol, metadata=metadata)
    assert DeltaReader(store, "t").snapshot().rows == 1
    with pytest.raises(UnsupportedError) as caught:
        DeltaWriter(store, "t").append([_append("t/y")], expect=0)
    assert caught.value.feature == feature


@pytest.mark.parametrize(
    ("feature", "key", "changes"),
    [
        ("appendOnly", "delta.appendOnly", (RemoveFile(_file("t/x")),)),
        (
            "changeDataFeed",
            "delta.enableChangeDataFeed",
            (RemoveFile(_file("t/x")), AddFile(_file("t/y"))),
        ),
    ],
)
def test_rules_about_removed_rows(feature: str, key: str, changes: tuple[Change, ...]) -> None:
    protocol = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}
    metadata = _metadata(configuration={key: "true"})
    store = _table(_add("x"), protocol=protocol, metadata=metadata)
    writer = DeltaWriter(store, "t")
    with pytest.raises(UnsupportedError) as caught:
        writer.append([Commit(1, T0, Operation.OVERWRITE, changes)], expect=0)
    assert caught.value.feature == feature
    compact = Commit(1, T0, Operation.REPLACE, (RemoveFile(_file("t/x")), AddFile(_file("t/z"))))
    assert isinstance(writer.append([compact], expect=0), Committed)
    assert isinstance(writer.append([_append("t/more")], expect=1), Committed)


def test_a_foreign_table_keeps_what_is_its_own() -> None:
    own = {"comment": "c", "CURRENT_DEFAULT": "7"}
    metadata = _metadata(("id", "long", own), configuration={"delta.x": "1", "k": "v"})
    metadata["metaData"]["name"] = "people"
    protocol = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}
    store = _table(protocol=protocol, metadata=metadata)
    writer = DeltaWriter(store, "t")
    schema = DeltaReader(store, "t").snapshot().schema
    local = Field(2, "at", TimestampType("us", utc=False))
    wider = replace(schema, fields=(*schema.fields, local))
    assert isinstance(
        writer.append([Commit(1, T0, Operation.METADATA, (SetSchema(wider),))], expect=0),
        Committed,
    )
    _, protocol, changed = _actions(store, 1)
    assert set(protocol["protocol"]["writerFeatures"]) == {
        "timestampNtz", "appendOnly", "invariants", "checkConstraints", "changeDataFeed",
        "generatedColumns",
    }  # fmt: skip
    body = changed["metaData"]
    assert (body["name"], body["id"]) == ("people", "the-table")
    assert body["configuration"] == {"delta.x": "1", "k": "v"}
    assert json.loads(body["schemaString"])["fields"][0]["metadata"] == own


# -- lineage --------------------------------------------------------------------------------


def _carried(version: int) -> Commit:
    origin = Origin(Format.NATIVE, "native:db/users", version)
    return replace(_append(f"t/{version}", version=version), origin=origin)


def test_lineage_from_beginning_to_end() -> None:
    store, writer = _created()
    assert DeltaReader(store, "t").lineage() is None
    assert isinstance(writer.append([_carried(5), _carried(6)], expect=0), Committed)
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert (lineage.origin, lineage.version) == (_carried(6).origin, 2)
    assert lineage.completed_at_ms is None

    writer.set_completed(T0 + 7)
    writer.set_completed(T0 + 7)  # recorded already: no further version
    DeltaWriter(store, "t").set_completed(T0 + 7)
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert (lineage.version, lineage.completed_at_ms, lineage.foreign) == (2, T0 + 7, ())
    assert DeltaReader(store, "t").latest() == 3

    _put(store, 4, _add("theirs"))
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert (lineage.completed_at_ms, lineage.foreign) == (T0 + 7, (4,))

    DeltaWriter(store, "t").set_completed(None)
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert (lineage.completed_at_ms, lineage.foreign) == (None, (4,))


def test_a_later_migration_is_not_complete_because_an_earlier_one_was() -> None:
    store, writer = _created()
    done = writer.append([_carried(5)], expect=0, completed_at_ms=T0 + 7)
    assert isinstance(done, Committed)
    assert isinstance(writer.append([_carried(6), _carried(7)], expect=1), Committed)
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert lineage.completed_at_ms is None
    done = writer.append([], expect=3, completed_at_ms=T0 + 9)
    assert done == Committed(4, 0)
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert (lineage.version, lineage.completed_at_ms) == (3, T0 + 9)


def test_the_cursor_survives_the_clean_up_of_the_log() -> None:
    store, writer = _created()
    done = writer.append([_carried(5), _carried(6)], expect=0, completed_at_ms=T0 + 7)
    assert isinstance(done, Committed)
    _put(store, 3, _add("theirs"))
    write_checkpoint(store, "t")
    _drop(store, 0, 1, 2)
    _put(store, 4, _add("more"))
    lineage = DeltaReader(store, "t").lineage()
    assert lineage is not None
    assert lineage.origin == _carried(6).origin
    assert lineage.completed_at_ms == T0 + 7
    assert lineage.version == 3
    assert lineage.foreign == (4,)


def _committed(n: int, path: str = "t/a.parquet") -> list[Commit]:
    file = DataFile(path, 10, 3)
    first = Commit(0, T0, Operation.CREATE, (SetSchema(Schema((_ID,))), AddFile(file)))
    return [first, *(Commit(v, T0 + v, Operation.METADATA, ()) for v in range(1, n))]


_ID = Field(1, "id", IntType(64))


def _moments(reader: DeltaReader) -> list[tuple[object, ...]]:
    return [
        (m.version, m.at_ms, m.info, m.era.metadata, m.era.protocol, m.era.schema, m.era.spec)
        for m in reader.timeline.all()
    ]


def test_what_was_read_of_a_log_is_not_read_again() -> None:
    store = count(MemoryStore("again"))
    writer = DeltaWriter(store, "t")
    writer.append(_committed(60), expect=None)
    reader = DeltaReader(store, "t")
    assert [one.version for one in reader.history()] == list(range(60))
    reader.snapshot()
    store.counts.calls.clear()
    DeltaWriter(store, "t", before=reader).append(
        [Commit(60, T0 + 100, Operation.METADATA, (SetProperties({"a": "1"}),))], expect=59
    )
    assert store.counts.calls["list_dir"] == 0
    after = DeltaReader(store, "t", before=reader)
    store.counts.calls.clear()
    moment = after.timeline.at(60)
    assert store.counts.calls["get"] == 0  # it was looked whether it changes the metadata
    assert moment.era.properties == {"a": "1"}
    assert _moments(after) == _moments(DeltaReader(store, "t"))
    assert _moments(reader) == _moments(DeltaReader(store, "t"))[:60]
    again = DeltaReader(store, "t", before=after)
    store.counts.calls.clear()
    assert again.snapshot() == DeltaReader(store, "t").snapshot()


def test_a_log_that_was_made_anew_is_not_taken_for_the_old_one() -> None:
    store = MemoryStore("anew")
    DeltaWriter(store, "t").append(_committed(5), expect=None)
    before = DeltaReader(store, "t")
    before.timeline.all()
    for version in range(5):
        store.delete(f"t/_delta_log/{version:020d}.json")
    DeltaWriter(store, "t").append(_committed(5, "t/b.parquet"), expect=None)
    assert _moments(DeltaReader(store, "t", before=before)) == _moments(DeltaReader(store, "t"))
    writer = DeltaWriter(store, "t", before=before)
    assert writer.append(
        [Commit(5, T0 + 100, Operation.DELETE, (RemoveFile(DataFile("t/b.parquet", 10, 3)),))],
        expect=4,
    ) == Committed(5, ANY)
    assert not DeltaReader(store, "t").snapshot().files


def test_a_writer_that_others_were_faster_than_is_told() -> None:
    store = MemoryStore("faster")
    DeltaWriter(store, "t").append(_committed(5), expect=None)
    before = DeltaReader(store, "t")
    news = [Commit(5, T0 + 100, Operation.METADATA, (SetProperties({"a": "1"}),))]
    late = DeltaWriter(store, "t", before=before)
    assert isinstance(DeltaWriter(store, "t").append(news, expect=4), Committed)
    assert late.append(news, expect=4) == Conflict(5)


def test_flushes_do_not_read_the_log_again() -> None:
    store = count(MemoryStore("flushes"))
    with DB(store, backend="delta") as db:
        db.users.create({"name": "a"})
        db.flush()
        version = DeltaReader(store, "users").latest()
        at_ms = DeltaReader(store, "users").current_since_ms()
        many = [Commit(v, at_ms + v, Operation.METADATA, ()) for v in range(1, 250)]
        DeltaWriter(store, "users").append(many, expect=version)
        calls = []
        for _ in range(3):
            db.users.create({"name": "b"})
            store.counts.calls.clear()
            db.flush()
            calls.append(store.counts.calls["get"])
    assert max(calls) < 25
