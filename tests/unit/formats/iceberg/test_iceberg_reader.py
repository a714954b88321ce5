from __future__ import annotations

import gzip

import orjson
import pytest

from parquedb.errors import FormatError, NotFoundError, StateError, UnsupportedError
from parquedb.formats.iceberg.avro import encode_header, encode_long
from parquedb.formats.iceberg.avro_schemas import MANIFEST_LIST_SCHEMA, manifest_schema
from parquedb.formats.iceberg.entries import NULL, SOME, encode_data_file
from parquedb.formats.iceberg.live import frame_of
from parquedb.formats.iceberg.load import load_existing
from parquedb.formats.iceberg.metrics import NO_METRICS
from parquedb.formats.iceberg.paths import exists
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import AddFile, RemoveFile, SetPartitioning, SetProperties, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.log.ports import Committed
from parquedb.log.replay import TableState
from parquedb.model.files import DataFile
from parquedb.model.partition import PartitionField, PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, IntType, NullType, StringType, TimestampType, VariantType
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

A, B = Field(1, "a", IntType(32)), Field(2, "b", StringType())
SCHEMA = Schema((A, B), Identity.BY_ID)
HISTORY = 5
FOLDER = "ns/t"
SYNC = b"s" * 16


def file(number: int) -> DataFile:
    return DataFile(f"{FOLDER}/data/{number}.parquet", 100, number + 1)


@pytest.fixture
def store() -> MemoryStore:
    """A table of five snapshots: a file each, the third one also removes the first file."""
    store = MemoryStore("lake")
    commits = []
    for i in range(HISTORY):
        changes = [AddFile(file(i))]
        if i == 0:
            changes = [SetSchema(SCHEMA), *changes]
        if i == 2:
            changes = [RemoveFile(file(0)), *changes]
        commits.append(Commit(i, 1000 * i, Operation.OVERWRITE, tuple(changes)))
    result = IcebergWriter(store, FOLDER).append(commits, expect=None)
    assert isinstance(result, Committed)
    return store


def wire(store) -> dict:
    return orjson.loads(store.get(f"{FOLDER}/metadata/v1.metadata.json"))


def rewrite(store, change, name="v1.metadata.json") -> None:
    content = wire(store)
    change(content)
    store.replace(f"{FOLDER}/metadata/{name}", orjson.dumps(content))


def replayed(reader) -> TableState:
    state = TableState()
    for commit in reader.commits():
        state.apply(commit)
    return state


def test_no_table(store):
    assert not exists(store, "ns")
    with pytest.raises(NotFoundError, match="no Iceberg table"):
        IcebergReader(store, "ns")


def test_a_stale_hint_is_not_believed(store):
    rewrite(store, lambda w: w.update({"table-uuid": "newer"}), "v2.metadata.json")
    store.replace(f"{FOLDER}/metadata/version-hint.text", b"1")
    assert IcebergReader(store, FOLDER).table_id == "newer"


def test_numbers_are_compared_as_numbers(store):
    rewrite(store, lambda w: w.update({"table-uuid": "ten"}), "v10.metadata.json")
    rewrite(store, lambda w: w.update({"table-uuid": "nine"}), "v9.metadata.json")
    store.create(NewObject(f"{FOLDER}/metadata/x70.metadata.json", b"{}"))
    store.create(NewObject(f"{FOLDER}/metadata/v80.metadata.json.tmp", b"{}"))
    assert IcebergReader(store, FOLDER).table_id == "ten"


@pytest.mark.parametrize("name", ["v2.gz.metadata.json", "v2.metadata.json.gz"])
def test_compressed_metadata(store, name):
    data = gzip.compress(store.get(f"{FOLDER}/metadata/v1.metadata.json"))
    store.create(NewObject(f"{FOLDER}/metadata/{name}", data))
    store.delete(f"{FOLDER}/metadata/v1.metadata.json")
    assert len(IcebergReader(store, FOLDER).history()) == HISTORY


def test_two_newest_files_are_a_catalogs_business(store):
    for suffix in ("aa", "bb"):
        rewrite(store, lambda w: None, f"00007-{suffix}.metadata.json")
    with pytest.raises(StateError, match=r"00007-aa.*00007-bb"):
        IcebergReader(store, FOLDER)


def test_of_both_styles_the_later_one_counts(store):
    later = lambda w: w.update({"table-uuid": "catalog", "last-updated-ms": 10**12})  # noqa: E731
    rewrite(store, later, "00001-aa.metadata.json")
    assert IcebergReader(store, FOLDER).table_id == "catalog"
    earlier = lambda w: w.update({"last-updated-ms": 10**13})  # noqa: E731
    rewrite(store, earlier, "v2.metadata.json")
    assert IcebergReader(store, FOLDER).table_id == wire(store)["table-uuid"]


def test_a_rollback_leaves_what_it_undid_out(store):
    ids = [s["snapshot-id"] for s in wire(store)["snapshots"]]

    def roll_back(metadata):
        metadata["refs"]["main"]["snapshot-id"] = ids[2]
        metadata["current-snapshot-id"] = ids[2]

    rewrite(store, roll_back)
    reader = IcebergReader(store, FOLDER)
    assert [v.version for v in reader.history()] == ids[:3]
    assert set(replayed(reader).files) == {file(1).path, file(2).path}
    assert reader.referenced() >= {file(i).path for i in range(HISTORY)}


def test_after_expiry_history_begins_with_a_base(store):
    ids = [s["snapshot-id"] for s in wire(store)["snapshots"]]
    rewrite(store, lambda w: w.update({"snapshots": w["snapshots"][3:]}))
    reader = IcebergReader(store, FOLDER)
    first, second = reader.commits()
    assert first.base
    assert not second.base
    assert first.version == ids[3]
    added = {change.file for change in first.changes if isinstance(change, AddFile)}
    assert {f.path for f in added} == {file(i).path for i in (1, 2, 3)}
    assert replayed(reader).files == reader.snapshot().files
    with pytest.raises(NotFoundError):
        reader.commits(after=ids[1])


def test_changes_that_do_not_lead_to_the_snapshot_are_found_by_comparing(store):
    """A snapshot whose parent is not the one it was made from."""

    def skip(w):
        w["snapshots"][3]["parent-snapshot-id"] = w["snapshots"][0]["snapshot-id"]

    rewrite(store, skip)
    reader = IcebergReader(store, FOLDER)
    assert len(reader.history()) == 3
    state = TableState()
    for commit in reader.commits():
        state.apply(commit)
        assert state.files == reader.snapshot(commit.version).files
    assert set(state.files) == {file(i).path for i in (1, 2, 3, 4)}


def test_counts_that_contradict_the_manifests_are_an_error(store):
    newest = wire(store)["snapshots"][-1]
    key = newest["manifest-list"].removeprefix("memory://lake/")
    raw = store.get(key)
    row_count = encode_long(5) + encode_long(0) + encode_long(0) + b"\x02\x00\x00"
    assert raw.count(row_count) == 1
    store.replace(key, raw.replace(row_count, encode_long(6) + row_count[1:]))
    reader = IcebergReader(store, FOLDER)
    with pytest.raises(FormatError, match="inconsistent"):
        list(reader.commits())
    with pytest.raises(FormatError, match="inconsistent"):
        reader.snapshot()


def test_a_missing_manifest_is_an_error(store):
    for item in list(store.list(FOLDER)):
        if item.key.endswith("-m0.avro"):
            store.delete(item.key)
    with pytest.raises(FormatError, match="does not exist"):
        list(IcebergReader(store, FOLDER).commits())


def test_newer_columns_and_partitioning_come_last(store):
    def evolve(w):
        column = {"id": 3, "name": "c", "type": "long", "required": False}
        w["schemas"].append({**w["schemas"][0], "schema-id": 1})
        w["schemas"][1] = {**w["schemas"][1], "fields": [*w["schemas"][0]["fields"], column]}
        part = {"source-id": 1, "field-id": 1000, "name": "a", "transform": "identity"}
        w["partition-specs"].append({"spec-id": 1, "fields": [part]})
        w.update({"current-schema-id": 1, "default-spec-id": 1, "last-updated-ms": 9999})
        w["properties"]["owner"] = "me"

    rewrite(store, evolve)
    reader = IcebergReader(store, FOLDER)
    *_, newest, last = reader.commits()
    assert (last.version, last.at_ms, last.operation) == (newest.version, 9999, Operation.METADATA)
    assert [type(c) for c in last.changes] == [SetSchema, SetPartitioning, SetProperties]
    assert reader.snapshot().schema.names == ("a", "b", "c")
    assert reader.snapshot().spec == PartitionSpec(1, (PartitionField(1, "a"),))
    assert reader.snapshot(newest.version).schema.names == ("a", "b")
    assert reader.snapshot(newest.version).spec.fields == ()
    assert list(reader.commits(after=newest.version)) == [last]


def test_a_table_without_snapshots(store):
    def clear(w):
        w.update({"snapshots": [], "current-snapshot-id": -1, "refs": {}, "last-updated-ms": 7})

    rewrite(store, clear)
    reader = IcebergReader(store, FOLDER)
    assert reader.latest() == 0
    (only,) = reader.commits()
    assert (only.version, only.at_ms, only.operation) == (0, 7, Operation.CREATE)
    assert isinstance(only.changes[0], SetSchema)
    assert reader.snapshot().files == reader.snapshot(0).files == {}
    assert [v.version for v in reader.history()] == [0]
    assert reader.version_at(7) == 0
    with pytest.raises(NotFoundError):
        reader.version_at(6)
    (again,) = reader.commits(after=0)  # whether its columns are new, only the caller knows
    assert (again.version, again.operation) == (0, Operation.METADATA)
    writer = IcebergWriter(store, FOLDER)
    commit = Commit(1, 50, Operation.APPEND, (AddFile(file(9)),))
    result = writer.append([commit], expect=0)
    assert isinstance(result, Committed)
    (after,) = IcebergReader(store, FOLDER).commits(after=0)
    assert [type(c) for c in after.changes] == [SetSchema, SetPartitioning, AddFile]


def test_format_version_4_is_refused(store):
    rewrite(store, lambda w: w.update({"format-version": 4}))
    with pytest.raises(UnsupportedError) as refused:
        IcebergReader(store, FOLDER)
    assert refused.value.feature == "format-version 4"


def test_a_table_that_others_made_version_3_gets_ids_for_all_its_rows(store):
    rewrite(store, lambda w: w.update({"format-version": 3, "next-row-id": 0}))
    before = IcebergReader(store, FOLDER)
    rows = before.snapshot().rows
    new = file(9)
    commit = Commit(1, 50, Operation.APPEND, (AddFile(new),))
    done = IcebergWriter(store, FOLDER).append([commit], expect=before.latest())
    assert isinstance(done, Committed)
    table = load_existing(store, FOLDER).table
    assert table.format_version == 3
    assert table.next_row_id == rows + new.rows
    assert [snapshot.row_ids for snapshot in table.snapshots][-2:] == [None, (0, rows + new.rows)]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format-version": 2}', b"\x1f\x8b\x00"])
def test_damaged_metadata_is_an_error(store, data):
    store.replace(f"{FOLDER}/metadata/v1.metadata.json", data)
    with pytest.raises(FormatError, match=r"v1\.metadata\.json"):
        IcebergReader(store, FOLDER)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w["refs"]["main"].update({"snapshot-id": 12345}),
        lambda w: w.update({"current-schema-id": 9}),
        lambda w: w.update({"default-spec-id": 9}),
        lambda w: w["schemas"][0]["fields"][0].update({"type": "nonsense"}),
        lambda w: w["snapshots"][0].update(
            {"parent-snapshot-id": w["snapshots"][-1]["snapshot-id"]}
        ),
    ],
)
def test_metadata_that_contradicts_itself_is_an_error(store, change):
    rewrite(store, change)
    with pytest.raises(FormatError):
        IcebergReader(store, FOLDER)


@pytest.mark.parametrize(
    "type_", ["geometry(srid:4326)", "geography", "geography(OGC:CRS84, karney)"]
)
def test_geospatial_columns_are_refused(store, type_):
    rewrite(store, lambda w: w["schemas"][0]["fields"][0].update({"type": type_}))
    with pytest.raises(UnsupportedError) as refused:
        IcebergReader(store, FOLDER)
    assert refused.value.feature == type_.partition("(")[0]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("variant", VariantType()),
        ("unknown", NullType()),
        ("timestamp_ns", TimestampType("ns", utc=False)),
        ("timestamptz_ns", TimestampType("ns", utc=True)),
    ],
)
def test_other_types_of_version_3_are_read(store, name, type_):
    rewrite(store, lambda w: w["schemas"][0]["fields"][0].update({"type": name}))
    reader = IcebergReader(store, FOLDER)
    assert reader.snapshot(reader.history()[0].version).schema.fields[0].type == type_


def test_files_outside_the_root_are_refused(store):
    data = store.get(f"{FOLDER}/metadata/v1.metadata.json")
    moved = MemoryStore("elsewhere")
    moved.create(NewObject(f"{FOLDER}/metadata/v1.metadata.json", data))
    with pytest.raises(UnsupportedError, match="lies outside") as refused:
        list(IcebergReader(moved, FOLDER).commits())
    assert "memory://lake/" in str(refused.value)
    assert "memory://elsewhere" in str(refused.value)


def _add_manifest(store, content: int, data_file: bytes, *, live: int = 1) -> None:
    """Add a manifest of one entry to the newest snapshot's list."""
    newest = wire(store)["snapshots"][-1]
    list_key = newest["manifest-list"].removeprefix("memory://lake/")
    snapshot_id = encode_long(newest["snapshot-id"])
    entry = (b"\x02" if live else b"\x04") + SOME + snapshot_id + NULL + NULL + data_file
    manifest = encode_header(manifest_schema(()), {"partition-spec-id": b"0"}, SYNC)
    manifest += encode_long(1) + encode_long(len(entry)) + entry + SYNC
    store.create(NewObject(f"{FOLDER}/metadata/extra.avro", manifest))
    numbers = (
        len(manifest), 0, content, 5, 5, newest["snapshot-id"], live, 0, 1 - live, live, 0, 0
    )  # fmt: skip
    raw = store.get(list_key)
    sync = raw[-16:]
    location = f"memory://lake/{FOLDER}/metadata/extra.avro"
    assert raw.startswith(b"Obj\x01")
    assert MANIFEST_LIST_SCHEMA in raw
    store.replace(list_key, raw + frame_of(sync, location, numbers, NULL))


def _delete_file(content: int, format_: bytes = b"PARQUET", name: str = "d") -> bytes:
    plain = encode_data_file(f"memory://lake/{FOLDER}/data/{name}", b"", 1, 10, NO_METRICS)
    size = encode_long(len(format_))
    return encode_long(content) + plain[1:].replace(b"\x0ePARQUET", size + format_)


@pytest.mark.parametrize(
    ("data_file", "feature"),
    [
        (_delete_file(1, b"AVRO"), "position-deletes"),
        (_delete_file(2, b"ORC"), "equality-deletes"),
        (_delete_file(2, b"PUFFIN"), "equality-deletes"),
        (_delete_file(0), "delete files"),
    ],
)
def test_deletes_of_other_forms_are_refused(store, data_file, feature):
    _add_manifest(store, 1, data_file)
    reader = IcebergReader(store, FOLDER)
    for ask in (lambda: list(reader.commits()), reader.snapshot):
        with pytest.raises(UnsupportedError) as refused:
            ask()
        assert refused.value.feature == feature
    assert reader.snapshot(reader.history()[0].version).rows == 1
    assert f"{FOLDER}/data/d" in reader.referenced()


@pytest.mark.parametrize("content", [1, 2])
def test_a_missing_delete_file_is_an_error(store, content):
    _add_manifest(store, 1, _delete_file(content))
    reader = IcebergReader(store, FOLDER)
    for ask in (lambda: list(reader.commits()), reader.snapshot):
        with pytest.raises((FormatError, UnsupportedError), match="data/d"):
            ask()


def test_delete_files_that_were_removed_again_do_not_matter(store):
    _add_manifest(store, 1, _delete_file(1), live=0)
    assert len(list(IcebergReader(store, FOLDER).commits())) == HISTORY


@pytest.mark.parametrize("format_", [b"ORC", b"avro"])
def test_other_file_formats_are_refused(store, format_):
    _add_manifest(store, 0, _delete_file(0, format_))
    with pytest.raises(UnsupportedError, match="only Parquet"):
        list(IcebergReader(store, FOLDER).commits())


def test_a_file_listed_twice_is_an_error(store):
    _add_manifest(store, 0, _delete_file(0, name="3.parquet"))
    with pytest.raises(FormatError, match="must not be listed twice"):
        list(IcebergReader(store, FOLDER).commits())


def test_everything_that_is_referenced_is_listed(store):
    statistics = f"memory://lake/{FOLDER}/metadata/s.stats"
    rewrite(store, lambda w: w.update({"statistics": [{"statistics-path": statistics}]}))
    IcebergWriter(store, FOLDER).set_completed(1)
    keys = {item.key for item in store.list(FOLDER)}
    referenced = IcebergReader(store, FOLDER).referenced()
    assert keys < referenced
    assert referenced - keys == {
        f"{FOLDER}/metadata/s.stats",
        *(file(i).path for i in range(HISTORY)),
    }
