from __future__ import annotations

import gzip
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.errors import (
    CommitUnknownError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    StateError,
    UnsupportedError,
)
from parquedb.formats.iceberg.paths import exists
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
from parquedb.log.ports import Committed, Conflict
from parquedb.log.replay import TableState
from parquedb.model.files import DataFile, Stats, VectorFile
from parquedb.model.format import Format
from parquedb.model.partition import BucketTransform, DayTransform, PartitionField, PartitionSpec
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    VariantType,
)
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import NewObject

START_MS = 1_600_000_000_000
A, B = Field(1, "a", IntType(32)), Field(2, "b", StringType())
BY_NAME = Schema((A, B))
BY_ID = Schema((A, B), Identity.BY_ID)
DELTA = Origin(Format.DELTA, "id:with:colons", 0)


def file(name: str, rows: int = 3, **more) -> DataFile:
    return DataFile(f"t/data/{name}.parquet", 100 + rows, rows, **more)


def commit(version: int, *changes, origin: Origin | None = DELTA, **more) -> Commit:
    at_ms = more.pop("at_ms", START_MS + version * 1000)
    operation = more.pop("operation", Operation.APPEND)
    origin = origin and replace(origin, version=version)
    return Commit(version, at_ms, operation, changes, origin=origin, **more)


def committed(result) -> Committed:
    assert isinstance(result, Committed)
    return result


def made(store, *commits, **more) -> int:
    result = IcebergWriter(store, "t").append(list(commits), expect=None, **more)
    return committed(result).version


def metadata(store, number: int) -> dict:
    return orjson.loads(store.get(f"t/metadata/v{number}.metadata.json"))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("lake")


def test_a_first_commit_makes_the_table(store):
    assert not exists(store, "t")
    version = made(store, commit(0, SetSchema(BY_NAME), AddFile(file("x"))), completed_at_ms=5)
    assert exists(store, "t")
    assert store.get("t/metadata/version-hint.text") == b"1"
    reader = IcebergReader(store, "t")
    assert reader.latest() == version
    assert reader.snapshot().files == {"t/data/x.parquet": file("x")}
    assert reader.snapshot().schema == BY_ID
    lineage = reader.lineage()
    assert lineage is not None
    assert (lineage.origin, lineage.completed_at_ms, lineage.foreign) == (DELTA, 5, ())
    wire = metadata(store, 1)
    assert wire["format-version"] == 2
    assert wire["location"] == f"{store.root}/t"
    assert wire["properties"]["history.expire.max-snapshot-age-ms"] == "3153600000000"
    assert wire["refs"]["main"] == {"snapshot-id": version, "type": "branch"}
    assert [s["timestamp-ms"] for s in wire["snapshots"]] == [START_MS]
    assert wire["last-updated-ms"] == START_MS


def test_every_commit_becomes_a_snapshot_with_its_own_time(store):
    commits = [commit(0, SetSchema(BY_NAME)), commit(1, AddFile(file("x"))), commit(2)]
    made(store, *commits)
    history = IcebergReader(store, "t").history()
    assert [(v.at_ms, v.rows, v.operation) for v in history] == [
        (START_MS, 0, "append"),
        (START_MS + 1000, 3, "append"),
        (START_MS + 2000, 3, "append"),
    ]
    assert [v.origin for v in history] == [c.origin for c in commits]
    assert [c.operation for c in IcebergReader(store, "t").commits()] == [
        Operation.METADATA,
        Operation.APPEND,
        Operation.METADATA,
    ]


def test_times_are_made_strictly_increasing(store):
    times = [START_MS, START_MS - 50, START_MS, START_MS + 10]
    changes = (SetSchema(BY_NAME),)
    made(store, *(commit(i, *(() if i else changes), at_ms=t) for i, t in enumerate(times)))
    history = IcebergReader(store, "t").history()
    assert [v.at_ms - START_MS for v in history] == [0, 1, 2, 10]


def test_time_travel(store):
    made(store, *(commit(i, *(() if i else (SetSchema(BY_NAME),))) for i in range(3)))
    reader = IcebergReader(store, "t")
    ids = [v.version for v in reader.history()]
    assert reader.version_at(START_MS) == ids[0]
    assert reader.version_at(START_MS + 1999) == ids[1]
    assert reader.version_at(START_MS + 10**9) == ids[2]
    with pytest.raises(NotFoundError, match="begins later"):
        reader.version_at(START_MS - 1)
    with pytest.raises(NotFoundError):
        reader.snapshot(12345)
    with pytest.raises(NotFoundError):
        reader.commits(after=12345)
    assert [c.version for c in reader.commits(after=ids[0])] == ids[1:]
    assert list(reader.commits(after=ids[2])) == []


def test_the_expected_version_decides(store):
    writer = IcebergWriter(store, "t")
    assert writer.append([commit(0)], expect=5) == Conflict(None)
    first = committed(writer.append([commit(0, SetSchema(BY_NAME))], expect=None)).version
    other = IcebergWriter(store, "t")
    assert other.append([commit(1)], expect=None) == Conflict(first)
    second = committed(other.append([commit(1)], expect=first)).version
    assert writer.append([commit(2)], expect=first) == Conflict(second)
    assert [v.version for v in IcebergReader(store, "t").history()] == [first, second]
    third = committed(writer.append([commit(2)], expect=second)).version
    assert IcebergReader(store, "t").latest() == third


def test_a_lost_acknowledgement_is_read_back():
    class Forgetful(MemoryStore):
        def create(self, item: NewObject) -> None:
            super().create(item)
            raise CommitUnknownError("no answer")

    class Dead(MemoryStore):
        def create(self, item: NewObject) -> None:
            raise CommitUnknownError("no answer")

    lossy = Forgetful("lossy")
    result = IcebergWriter(lossy, "t").append([commit(0, SetSchema(BY_NAME))], expect=None)
    assert committed(result).version == IcebergReader(lossy, "t").latest()
    with pytest.raises(CommitUnknownError):
        IcebergWriter(Dead("dead"), "t").append([commit(0, SetSchema(BY_NAME))], expect=None)


def test_numbers_of_removed_metadata_files_are_not_used_again(store):
    writer = IcebergWriter(store, "t")
    first = committed(writer.append([commit(0, SetSchema(BY_NAME))], expect=None)).version
    other = IcebergWriter(store, "t")
    second = committed(other.append([commit(1)], expect=first)).version
    third = committed(other.append([commit(2)], expect=second)).version
    for number in (1, 2):
        store.delete(f"t/metadata/v{number}.metadata.json")
    assert writer.append([commit(1)], expect=first) == Conflict(third)


def test_completion_is_recorded_without_a_snapshot(store):
    made(store, commit(0, SetSchema(BY_NAME)))
    writer = IcebergWriter(store, "t")
    writer.set_completed(77)
    before = IcebergReader(store, "t")
    assert before.lineage().completed_at_ms == 77
    assert len(before.history()) == 1
    writer.set_completed(77)
    assert not store.head("t/metadata/v3.metadata.json")
    writer.set_completed(None)
    assert IcebergReader(store, "t").lineage().completed_at_ms is None
    log = metadata(store, 3)["metadata-log"]
    assert [e["metadata-file"].rsplit("/", 1)[1][:2] for e in log] == ["v1", "v2"]
    with pytest.raises(NotFoundError):
        IcebergWriter(store, "nothing").set_completed(1)


def test_foreign_snapshots_are_reported(store):
    first = made(store, commit(4, SetSchema(BY_NAME)))
    result = IcebergWriter(store, "t").append([commit(0, origin=None)], expect=first)
    lineage = IcebergReader(store, "t").lineage()
    assert lineage.origin.version == 4
    assert lineage.version == first
    assert lineage.foreign == (committed(result).version,)


def test_statistics_survive_with_their_units_and_ids(store):
    schema = Schema(
        (
            Field(11, "a", IntType(32)),
            Field(12, "s", StructType((Field(13, "ns", TimestampType("ns")),))),
            Field(14, "l", ListType(Field(15, "element", IntType(32)))),
            Field(16, "f", FloatType(64)),
        )
    )
    stats = Stats(
        nulls={11: 1, 13: 0, 15: 2, 99: 1},
        lower={11: -5, 13: 1999, 15: 1, 16: 0.0},
        upper={11: 5, 13: 1999, 15: 2, 16: float("nan")},
        sizes={11: 70, 13: 71},
    )
    made(store, commit(0, SetSchema(schema), AddFile(file("x", stats=stats))))
    reader = IcebergReader(store, "t")
    a, _, _, f = (field.id for field in reader.snapshot().schema.fields)
    ns = reader.snapshot().schema.find("s").type.fields[0].id
    found = reader.snapshot().files["t/data/x.parquet"].stats
    assert found.nulls == {a: 1, ns: 0}
    assert found.lower == {a: -5, ns: 1, f: 0.0}
    assert found.upper == {a: 5, ns: 2}
    assert found.sizes == {a: 70, ns: 71}
    assert reader.snapshot().schema.find("s").type.fields[0].type == TimestampType("us")


def test_schema_evolution_by_name(store):
    wider = Schema((Field(1, "b", StringType()), Field(2, "a", IntType(64)), Field(3, "c", B.type)))
    dropped = Schema((Field(1, "c", StringType()),))
    made(
        store,
        commit(0, SetSchema(BY_NAME), AddFile(file("x", stats=Stats(lower={1: 7})))),
        commit(1, SetSchema(wider), AddFile(file("y", stats=Stats(lower={2: 8})))),
        commit(2, SetSchema(dropped)),
        commit(3, SetSchema(wider)),
    )
    reader = IcebergReader(store, "t")
    ids = [v.version for v in reader.history()]
    schemas = [reader.snapshot(version).schema for version in ids]
    assert schemas[0] == BY_ID
    assert [(f.name, f.id) for f in schemas[1].fields] == [("b", 2), ("a", 1), ("c", 3)]
    assert schemas[2].fields == (Field(3, "c", StringType()),)
    assert schemas[3] == schemas[1]
    files = reader.snapshot().files
    assert files["t/data/x.parquet"].stats.lower == {1: 7}
    assert files["t/data/y.parquet"].stats.lower == {1: 8}
    mapping = orjson.loads(metadata(store, 1)["properties"]["schema.name-mapping.default"])
    assert [(m["field-id"], m["names"]) for m in mapping] == [(1, ["a"]), (2, ["b"]), (3, ["c"])]
    assert len(metadata(store, 1)["schemas"]) == 3
    assert [s["schema-id"] for s in metadata(store, 1)["snapshots"]] == [0, 1, 2, 1]


def test_nested_columns_are_mapped_by_name(store):
    inner = StructType((Field(0, "x", IntType(32)),))
    schema = Schema(
        (
            Field(0, "l", ListType(Field(0, "element", inner))),
            Field(
                0, "m", MapType(Field(0, "key", B.type, required=True), Field(0, "value", inner))
            ),
        )
    )
    made(store, commit(0, SetSchema(schema)))
    mapping = orjson.loads(metadata(store, 1)["properties"]["schema.name-mapping.default"])
    assert mapping[0]["fields"][0]["names"] == ["element"]
    assert mapping[0]["fields"][0]["fields"][0]["names"] == ["x"]
    assert [m["names"] for m in mapping[1]["fields"]] == [["key"], ["value"]]
    ids = set()

    def collect(entries):
        for entry in entries:
            ids.add(entry["field-id"])
            collect(entry.get("fields", []))

    collect(mapping)
    assert ids == set(range(1, 8))
    assert metadata(store, 1)["last-column-id"] == 7


def test_a_renamed_column_keeps_its_id_where_ids_are_kept(store):
    renamed = Schema((Field(1, "z", IntType(32)), B), Identity.BY_ID)
    version = made(store, commit(0, SetSchema(BY_ID), AddFile(file("x"))))
    IcebergWriter(store, "t").append([commit(1, SetSchema(renamed))], expect=version)
    schema = IcebergReader(store, "t").snapshot().schema
    assert schema.fields == renamed.fields
    assert schema.aliases == ((1, ("a", "z")),)
    readded = Schema((Field(9, "z", StringType()), B), Identity.BY_ID)
    latest = IcebergReader(store, "t").latest()
    IcebergWriter(store, "t").append([commit(2, SetSchema(readded))], expect=latest)
    schema = IcebergReader(store, "t").snapshot().schema
    assert schema.fields == readded.fields
    assert schema.aliases == ((9, ()),)  # in files without ids, the name is that of the old one
    assert metadata(store, 3)["last-column-id"] == 9


def test_renames_and_readded_columns_are_refused_where_paths_decide(store):
    version = made(store, commit(0, SetSchema(BY_NAME)))
    theirs = Schema((Field(2, "a", IntType(32)), Field(1, "b", StringType())), Identity.BY_ID)
    version = committed(
        IcebergWriter(store, "t").append([commit(1, SetSchema(theirs))], expect=version)
    ).version
    renamed = Schema((Field(2, "z", IntType(32)), Field(1, "b", StringType())), Identity.BY_ID)
    readded = Schema((Field(7, "a", IntType(32)), Field(1, "b", StringType())), Identity.BY_ID)
    for schema, feature in ((renamed, "rename"), (readded, "drop and re-add")):
        with pytest.raises(UnsupportedError) as refused:
            IcebergWriter(store, "t").append([commit(2, SetSchema(schema))], expect=version)
        assert refused.value.feature == feature
    assert IcebergReader(store, "t").latest() == version


def test_own_schema_changes_keep_the_tables_ids(store):
    version = made(store, commit(0, SetSchema(BY_NAME)))
    renamed = Schema((Field(1, "z", IntType(32)), B), Identity.BY_ID)
    own = commit(0, SetSchema(renamed), origin=None)
    IcebergWriter(store, "t").append([own], expect=version)
    schema = IcebergReader(store, "t").snapshot().schema
    assert schema.fields == renamed.fields
    assert schema.aliases == ((1, ("a", "z")),)
    mapping = orjson.loads(metadata(store, 2)["properties"]["schema.name-mapping.default"])
    assert mapping[0] == {"field-id": 1, "names": ["a", "z"]}


@pytest.mark.parametrize(
    ("before", "after", "fine"),
    [
        (IntType(32), IntType(64), True),
        (IntType(8), IntType(32), True),
        (FloatType(32), FloatType(64), True),
        (DecimalType(5, 2), DecimalType(9, 2), True),
        (DecimalType(5, 2), DecimalType(9, 3), False),
        (IntType(64), IntType(32), False),
        (IntType(32), FloatType(64), False),
        (IntType(32), StringType(), False),
        (StringType(), ListType(Field(0, "element", StringType())), False),
    ],
)
def test_type_changes(store, before, after, fine):
    first = commit(0, SetSchema(Schema((Field(1, "a", before),))))
    second = commit(1, SetSchema(Schema((Field(1, "a", after),))))
    if fine:
        made(store, first, second)
        assert len(IcebergReader(store, "t").history()) == 2
    else:
        with pytest.raises(UnsupportedError) as refused:
            made(store, first, second)
        assert refused.value.feature == "type change of a"
        assert list(store.list("t")) == []


@pytest.mark.parametrize(
    "type_", [NullType(), VariantType(), ListType(Field(2, "element", NullType()))]
)
def test_types_that_iceberg_does_not_have(store, type_):
    with pytest.raises(UnsupportedError, match="'a'"):
        made(store, commit(0, SetSchema(Schema((Field(1, "a", type_),)))))


def test_required_columns(store):
    first = Schema((replace(A, required=True), replace(B, required=True)))
    later = Schema((replace(A, required=True), B, Field(3, "c", B.type, required=True)))
    spec = PartitionSpec(0, (PartitionField(2, "b"),))
    made(
        store,
        commit(0, SetSchema(first), SetPartitioning(spec)),
        commit(1, SetSchema(later)),
        commit(2, SetSchema(first)),
    )
    reader = IcebergReader(store, "t")
    required = [
        {f.name for f in reader.snapshot(v.version).schema.fields if f.required}
        for v in reader.history()
    ]
    assert required == [{"a"}, {"a"}, {"a"}]


def test_partitions_of_every_kind_survive(store):
    schema = Schema(
        (
            Field(5, "d", DecimalType(9, 2)),
            Field(6, "s", StringType()),
            Field(7, "t", TimestampType()),
        )
    )
    one = PartitionSpec(3, (PartitionField(5, "d"), PartitionField(6, "s")))
    two = PartitionSpec(
        8,
        (PartitionField(7, "t_day", DayTransform()), PartitionField(6, "b", BucketTransform(4))),
    )
    x = file("x", partition=(-123, None), spec_id=3)
    y = file("y", partition=(19000, 2), spec_id=8)
    made(
        store,
        commit(0, SetSchema(schema), SetPartitioning(one), AddFile(x)),
        commit(1, SetPartitioning(two), AddFile(y)),
    )
    reader = IcebergReader(store, "t")
    files = reader.snapshot().files
    assert files[x.path].partition == (-123, None)
    assert files[y.path].partition == (19000, 2)
    assert files[x.path].spec_id != files[y.path].spec_id
    specs = metadata(store, 1)["partition-specs"]
    assert [f["field-id"] for spec in specs for f in spec["fields"]] == [1000, 1001, 1002, 1003]
    assert [f["transform"] for f in specs[1]["fields"]] == ["day", "bucket[4]"]
    assert metadata(store, 1)["last-partition-id"] == 1003
    ids = [v.version for v in reader.history()]
    assert reader.snapshot(ids[0]).spec.fields[0].name == "d"
    assert reader.snapshot(ids[1]).spec.fields[0].name == "t_day"
    state = TableState()
    for item in reader.commits():
        state.apply(item)
    assert state.files == files
    assert {f.spec_id for f in files.values()} <= set(state.specs)


def test_properties(store):
    changes = SetProperties({"owner": "me", "gone": "x", "format-version": "9"})
    version = made(
        store,
        commit(0, SetSchema(BY_NAME), changes),
        properties={"write.format.default": "parquet"},
    )
    again = commit(1, SetProperties({"gone": None}))
    IcebergWriter(store, "t").append([again], expect=version, properties={"ignored": "1"})
    assert IcebergReader(store, "t").snapshot().properties == {"owner": "me"}
    wire = metadata(store, 2)["properties"]
    assert wire["write.format.default"] == "parquet"
    assert "ignored" not in wire
    assert "format-version" not in wire


def test_new_files_stay_out_of_a_delta_tables_vacuum(store):
    store.create(NewObject("t/_delta_log/00000000000000000000.json", b"{}"))
    made(store, commit(0, SetSchema(BY_NAME)))
    place = metadata(store, 1)["properties"]["write.data.path"]
    assert place == f"{store.root}/t/_iceberg_data"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (AddFile(DataFile("t/x", 1, None)), UnsupportedError, "row count"),
        (AddFile(file("x", deletes=(VectorFile("t/d", 1, 12, 1),))), FormatError, "missing"),
        (SetDeletes("t/x", (VectorFile("t/d", 1, 12, 1),)), StateError, "not part of"),
        (AddFile(file("x", partition=(1,))), InvalidInputError, "partition values"),
        (AddFile(file("x", spec_id=4)), InvalidInputError, "no commit set"),
        (RemoveFile(file("x")), StateError, "not part of"),
    ],
)
def test_what_cannot_be_written_leaves_nothing_behind(store, change, error, words):
    with pytest.raises(error, match=words):
        made(store, commit(0, SetSchema(BY_NAME)), commit(1, change))
    assert list(store.list("t")) == []


def test_a_table_needs_a_schema(store):
    with pytest.raises(InvalidInputError, match="no schema"):
        made(store, commit(0))
    with pytest.raises(InvalidInputError, match="no commit"):
        made(store)


def test_a_table_of_a_catalog_is_not_written(store):
    made(store, commit(0, SetSchema(BY_NAME)))
    data = store.get("t/metadata/v1.metadata.json")
    store.delete("t/metadata/v1.metadata.json")
    name = "t/metadata/00003-7d8a.metadata.json"
    store.create(NewObject(name, data))
    version = IcebergReader(store, "t").latest()
    with pytest.raises(UnsupportedError, match="belongs to a catalog"):
        IcebergWriter(store, "t").append([commit(1)], expect=version)


def test_compressed_metadata_is_continued_compressed(store):
    version = made(store, commit(0, SetSchema(BY_NAME)))
    data = gzip.compress(store.get("t/metadata/v1.metadata.json"))
    store.delete("t/metadata/v1.metadata.json")
    store.create(NewObject("t/metadata/v1.gz.metadata.json", data))
    committed(IcebergWriter(store, "t").append([commit(1)], expect=version))
    assert store.get("t/metadata/v2.gz.metadata.json")[:2] == b"\x1f\x8b"
    assert len(IcebergReader(store, "t").history()) == 2


def test_a_file_added_again_replaces_the_old_one(store):
    made(
        store,
        commit(0, SetSchema(BY_NAME), AddFile(file("x", 3))),
        commit(1, AddFile(file("x", 5))),
        commit(2, AddFile(file("y")), RemoveFile(file("y"))),
    )
    reader = IcebergReader(store, "t")
    assert [v.rows for v in reader.history()] == [3, 5, 5]
    state = TableState()
    for item in reader.commits():
        state.apply(item)
    assert state.files == {"t/data/x.parquet": file("x", 5)}


OPERATIONS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 10**6), max_size=4), st.booleans()),
    min_size=1,
    max_size=150,
)


@settings(max_examples=40, deadline=None)
@given(OPERATIONS, st.integers(1, 60))
def test_any_history_reads_back_as_it_was_written(operations, batch):
    """Adds and removals in any order, in batches by new and old writers, through all merges."""
    store = MemoryStore("any")
    spec = PartitionSpec(0, (PartitionField(1, "a"),))
    live: dict[str, DataFile] = {}
    commits, expected, number = [], [], 0
    for version, (adds, removals, evolve) in enumerate(operations):
        changes = [] if version else [SetSchema(BY_NAME), SetPartitioning(spec)]
        for pick in removals:
            if live and len(live) > 2:
                path = sorted(live)[pick % len(live)]
                changes.append(RemoveFile(live.pop(path)))
        for _ in range(adds):
            number += 1
            new = file(f"f{number}", number, partition=(number % 3 or None,))
            live[new.path] = new
            changes.append(AddFile(new))
        if evolve and version:
            changes.append(SetSchema(Schema((A, B, Field(3, f"c{version % 2}", B.type)))))
        commits.append(commit(version, *changes))
        expected.append(dict(live))
    expect, writer = None, IcebergWriter(store, "t")
    for start in range(0, len(commits), batch):
        if start % 2:
            writer = IcebergWriter(store, "t")
        expect = committed(writer.append(commits[start : start + batch], expect=expect)).version
    reader = IcebergReader(store, "t")
    versions = [v.version for v in reader.history()]
    state = TableState()
    for read, source, files in zip(reader.commits(), commits, expected, strict=True):
        state.apply(read)
        assert state.files == files
        assert (read.at_ms, read.origin) == (source.at_ms, source.origin)
    for position in range(0, len(versions), 7):
        assert reader.snapshot(versions[position]).files == expected[position]
    middle = len(versions) // 2
    tail = list(reader.commits(after=versions[middle]))
    assert [c.version for c in tail] == versions[middle + 1 :]
    assert reader.referenced() >= {f"t/data/f{i}.parquet" for i in range(1, number + 1)}


@pytest.mark.parametrize("batch", [400, 90, 7])
def test_a_long_history_goes_through_all_merges(store, batch):
    """Small manifests are merged twice over, and files of merged ones removed and kept."""
    live: dict[str, DataFile] = {}
    commits, expected = [], []
    for version in range(400):
        new = file(f"f{version}", version % 50 + 1, stats=Stats(lower={1: version}))
        changes = [] if version else [SetSchema(BY_NAME)]
        if version % 9 == 8:
            old = live.pop(f"t/data/f{version // 2}.parquet", None)
            changes += [RemoveFile(old)] if old else []
        live[new.path] = new
        commits.append(commit(version, *changes, AddFile(new)))
        expected.append(dict(live))
    expect, writer = None, IcebergWriter(store, "t")
    for start in range(0, 400, batch):
        if batch != 90:
            writer = IcebergWriter(store, "t")
        expect = committed(writer.append(commits[start : start + batch], expect=expect)).version
    reader = IcebergReader(store, "t")
    versions = [v.version for v in reader.history()]
    for position in [*range(0, 400, 13), 399]:
        assert reader.snapshot(versions[position]).files == expected[position]
    state = TableState()
    for item in reader.commits():
        state.apply(item)
    assert state.files == expected[-1]
    newest = metadata(store, -(-400 // batch))["snapshots"][-1]
    size = store.head(newest["manifest-list"].removeprefix(f"{store.root}/")).size_bytes
    assert size < 60 * 300  # far fewer manifests than commits


def test_a_large_manifest_that_loses_a_file_is_split(store):
    files = [file(f"f{i}") for i in range(1200)]
    version = made(store, commit(0, SetSchema(BY_NAME), *map(AddFile, files)))
    writer = IcebergWriter(store, "t")
    written = []
    for i in range(3):
        gone = RemoveFile(files[i])
        result = committed(writer.append([commit(i + 1, gone)], expect=version))
        version = result.version
        written.append(result.bytes_written)
    assert written[1] < written[0] / 2
    reader = IcebergReader(store, "t")
    assert set(reader.snapshot().files) == {f.path for f in files[3:]}
    removed = [
        [c.file for c in item.changes if isinstance(c, RemoveFile)] for item in reader.commits()
    ]
    assert removed == [[], [files[0]], [files[1]], [files[2]]]
