"""Partitioning of every kind, there and back, under filters by readers that are not ours."""

import datetime as dt
import json
import math
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.types import LongType

from parquedb.backends import migrate_backend, verify_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import StorageError
from parquedb.formats.iceberg.writer import IcebergWriter
from parquedb.log.change import AddFile, SetDeletes, SetPartitioning, SetSchema
from parquedb.log.commit import Commit, Operation
from parquedb.migrate.transfer import Transfer
from parquedb.model.files import DataFile
from parquedb.model.partition import (
    BucketTransform,
    IdentityTransform,
    PartitionField,
    PartitionSpec,
)
from parquedb.model.schema import Identity, Schema
from parquedb.model.types import Field, FloatType, IntType, StringType
from parquedb.parquet.deletes import inline_vector
from parquedb.storage.local import LocalStore
from tests.support import duck
from tests.support.filtered import filters_of, found_by_spark, found_in_delta, found_in_iceberg
from tests.support.histories import Known, iceberg_table, known_delta, known_iceberg
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_delta_has, assert_iceberg_has, open_iceberg

UTC = dt.UTC
TIMES = [
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(1970, 1, 1),
    dt.datetime(1960, 2, 29, 12, 30),
    dt.datetime(2024, 2, 29, 23, 59, 59, 999999),
    dt.datetime(2024, 3, 1),
    None,
]
VALUES = {
    "bool": pa.array([True, False, None]),
    "int": pa.array([-(2**31), -1, 0, 7, 2**31 - 1, None], pa.int32()),
    "long": pa.array([-(2**63), -7, 0, 12, 2**63 - 1, None], pa.int64()),
    "float": pa.array([-1.5, -0.0, float("inf"), 0.1, None], pa.float32()),
    "double": pa.array([-1e300, 0.0, float("-inf"), 0.1, None], pa.float64()),
    "decimal": pa.array(
        [Decimal("-0.05"), Decimal("-3.45"), Decimal("0.00"), Decimal("99999999.99"), None],
        pa.decimal128(10, 2),
    ),
    "date": pa.array([None if at is None else at.date() for at in TIMES]),
    "timestamp": pa.array(TIMES, pa.timestamp("us")),
    "timestamptz": pa.array(
        [None if at is None else at.replace(tzinfo=UTC) for at in TIMES], pa.timestamp("us", "UTC")
    ),
    "string": pa.array(
        ["a b", "a%20b", "a/b=c:d#e?", "ü€😀", "'\"\\", "line\nbreak", "abcdefgh" * 12, "", None]
    ),
    "binary": pa.array([b"plain", b"\x00\xff", b"", b"\\u0061", None]),
}
NUMBERS = ("int", "long", "decimal")
MOMENTS = ("date", "timestamp", "timestamptz")
TRANSFORMS = {
    "year": MOMENTS,
    "month": MOMENTS,
    "day": MOMENTS,
    "hour": ("timestamp", "timestamptz"),
    "bucket[4]": (*NUMBERS, *MOMENTS, "string", "binary"),
    "truncate[3]": (*NUMBERS, "string", "binary"),
}
TELLABLE = ("bool", "int", "long", "float", "double", *MOMENTS)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def table_of(kinds, start=0):
    """Rows with a column of each kind; every value occurs with every other one's neighbours."""
    count = max(len(VALUES[kind]) for kind in kinds)
    columns = {"id": pa.array(range(start, start + count), pa.int64())}
    for kind in kinds:
        values = VALUES[kind]
        columns[kind] = values.take([i % len(values) for i in range(count)])
    return pa.table(columns)


def two_appends(root, transform, kinds):
    rows = table_of(kinds)
    table = iceberg_table(root, rows.schema)
    with table.update_spec() as update:
        for kind in kinds:
            update.add_field(kind, transform, f"p_{kind}")
    table.append(rows)
    table.append(table_of(kinds, 100))
    return known_iceberg(table)


def metadata_of(folder):
    """Return each version's own metaData of a Delta table, None where it has none."""
    found = []
    for log in sorted((folder / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        found.append(next((a["metaData"] for a in actions if "metaData" in a), None))
    return found


def typed(kinds):
    return [(kind, VALUES[kind].type) for kind in kinds]


def assert_filtered(opened, folder, rows, version, kinds, without=frozenset()):
    found = opened(folder, version)
    for kind, type_ in kinds:
        for wanted in filters_of(kind, rows):
            ids = sorted(row["id"] for row in rows if wanted.keeps(row))
            for reader, seen in found(wanted, type_):
                assert sorted(i for i in seen if i not in without) == ids, (reader, wanted)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_becomes_statistics_by_which_no_reader_loses_rows(root, transform):
    kinds = TRANSFORMS[transform]
    wanted = two_appends(root, transform, kinds)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == []
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, typed(kinds))
    (warning,) = [line for line in report.warnings if "not partitioned" in line]
    assert transform.split("[")[0] in warning
    assert ("has no equal" in warning) == transform.startswith("bucket")


def test_columns_stay_partition_columns(root):
    wanted = two_appends(root, "identity", TELLABLE)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == list(TELLABLE)
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, typed(TELLABLE))
    assert not any("not partitioned" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("name", "partitioned"),
    [
        ("a b", True),
        ("ü%20$;", True),
        ("a'\"~", True),
        ("a/b", False),
        ("a=b", False),
        ("#?", False),
    ],
)
def test_partition_columns_of_odd_names(root, name, partitioned):
    """Polars reads their values from folders, in which it does not decode names."""
    rows = pa.table({"id": pa.array([1, 2, 3]), name: ["x", "y z", None]})
    table = iceberg_table(root, rows.schema)
    with table.update_spec() as update:
        update.add_identity(name)
    table.append(rows)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == ([name] if partitioned else [])
    assert any("cannot be that of a folder" in line for line in report.warnings) != partitioned
    assert_delta_has(root / "users", known_iceberg(table))


@pytest.mark.parametrize("kind", ["string", "binary", "decimal"])
def test_values_that_delta_cannot_tell_make_the_table_unpartitioned(root, kind):
    wanted = two_appends(root, "identity", [kind])
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == []
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, typed([kind]))
    assert any("cannot be told apart" in line for line in report.warnings)


FORMS = {
    "long": ("long", pa.int64(), {"-9223372036854775808": -(2**63), "7": 7}),
    "double": (
        "double",
        pa.float64(),
        {"NaN": math.nan, "-0.0": -0.0, "Infinity": math.inf, "-inf": -math.inf, "1e300": 1e300},
    ),
    "decimal": (
        "decimal(10,2)",
        pa.decimal128(10, 2),
        {"-3.-45": Decimal("-3.45"), "0.-5": Decimal("-0.05"), "-1.5": Decimal("-1.50")},
    ),
    "bool": ("boolean", pa.bool_(), {"true": True, "false": False}),
    "date": ("date", pa.date32(), {"1969-12-31": dt.date(1969, 12, 31)}),
    "timestamptz": (
        "timestamp",
        pa.timestamp("us", "UTC"),
        {
            "2024-01-31 12:00:00": dt.datetime(2024, 1, 31, 12, tzinfo=UTC),
            "2024-01-31T12:00:00.500000Z": dt.datetime(2024, 1, 31, 12, 0, 0, 500000, UTC),
            "1960-01-01 00:00:00.000001": dt.datetime(1960, 1, 1, 0, 0, 0, 1, UTC),
        },
    ),
    "timestamp": (
        "timestamp_ntz",
        pa.timestamp("us"),
        {"2024-01-31 12:00:00.25": dt.datetime(2024, 1, 31, 12, 0, 0, 250000)},
    ),
    "string": (
        "string",
        pa.string(),
        {text: text for text in ("a b", "a%20b", "a/b=c:d#e?", "ü€😀", "'\"\\", "x\ny", " ")},
    ),
    "binary": ("binary", pa.binary(), {"\\u0061\\u00FF": b"a\xff", "\x01ü": b"\x01\xc3\xbc"}),
}


def by_hand(folder, kind, type_, forms):
    """Write a Delta table of one file a partition value; the files lack the column."""
    (folder / "_delta_log").mkdir(parents=True)
    fields = [("id", "long"), (kind, type_)]
    schema = [{"name": n, "type": t, "nullable": True, "metadata": {}} for n, t in fields]
    features = ["timestampNtz"] if type_ == "timestamp_ntz" else []
    protocol = {"minReaderVersion": 1, "minWriterVersion": 2}
    if features:
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
        protocol |= {"readerFeatures": features, "writerFeatures": features}
    metadata = {
        "id": "5a9e1d6e-0000-4000-8000-000000000000",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": schema}),
        "partitionColumns": [kind],
        "configuration": {},
        "createdTime": 0,
    }
    info = {"timestamp": 1_700_000_000_000, "operation": "WRITE", "operationParameters": {}}
    actions = [{"commitInfo": info}, {"protocol": protocol}, {"metaData": metadata}]
    for number, text in enumerate(forms):
        path = folder / f"part-{number}.parquet"
        pq.write_table(pa.table({"id": [number, 100 + number]}), path)
        add = {"path": path.name, "partitionValues": {kind: text}, "size": path.stat().st_size}
        actions.append({"add": {**add, "modificationTime": 0, "dataChange": True}})
    log = folder / "_delta_log" / f"{0:020}.json"
    log.write_text("".join(f"{json.dumps(action)}\n" for action in actions))


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_of_a_delta_partition_value_becomes_the_value(root, kind):
    type_, arrow, forms = FORMS[kind]
    by_hand(root / "users", kind, type_, [*forms, None, ""])
    values = [*forms.values(), None, None]
    rows = [{"id": at + n, kind: v} for n, v in enumerate(values) for at in (0, 100)]
    migrate_backend(storage=root, to="iceberg", verify="content")
    table = open_iceberg(root / "users")
    assert_same_rows(table.scan().to_arrow(), rows)
    version = table.current_snapshot().snapshot_id
    assert_filtered(found_in_iceberg, root / "users", rows, version, [(kind, arrow)])
    migrate_backend(storage=root, to="native", from_="iceberg", allow_lossy=True)
    assert_same_rows(pq.read_table(root / "data" / "users" / "data.parquet"), rows)


def rows_from(start, count=6):
    ids = range(start, start + count)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "kind": pa.array([[None, "a b", "x=1/ü%"][i % 3] for i in ids]),
            "day": pa.array([dt.date(1969, 12, 30) + dt.timedelta(days=i) for i in ids]),
        }
    )


COLUMNS = [("id", pa.int64()), ("kind", pa.string()), ("day", pa.date32())]


def lake_table(root, version="2"):
    catalog = FilesystemCatalog("lake", warehouse=str(root))
    properties = {"format-version": version}
    return catalog.create_table("users", schema=rows_from(0).schema, properties=properties)


def partitions_of(folder):
    """Return spec and partition of each live file of an Iceberg table, as pyiceberg sees it."""
    tasks = open_iceberg(folder).scan().plan_files()
    return sorted((t.file.spec_id, repr(t.file.partition), t.file.file_path) for t in tasks)


def evolving(table):
    """A spec that gains, loses, replaces and renames fields; some files go."""
    table.append(rows_from(0))
    with table.update_spec() as update:
        update.add_identity("kind")
    table.append(rows_from(10))
    with table.update_spec() as update:
        update.rename_field("kind", "sort")
        update.add_field("id", "bucket[3]", "pail")
    table.append(rows_from(20))
    with table.update_spec() as update:
        update.remove_field("sort")
        update.remove_field("pail")
        update.add_field("day", "month", "month")
    table.append(rows_from(30))
    table.delete("id in (1, 12, 23, 34)")
    table.delete("kind == 'a b'")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_spec_that_evolves_is_carried_in_every_version_there_and_back(root, version):
    table = lake_table(root, version)
    evolving(table)
    wanted = known_iceberg(table)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    folder = root / "users"
    assert_delta_has(folder, wanted)
    assert_filtered(found_in_delta, folder, wanted[-1].rows, len(wanted) - 1, COLUMNS)
    assert any("bucket(3, id) has no equal" in line for line in report.warnings)
    before = partitions_of(folder)

    write_deltalake(folder, rows_from(40), mode="append")
    write_deltalake(folder, rows_from(50), mode="append")
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    table = open_iceberg(folder)
    used = [field.name for field in table.spec().fields if str(field.transform) != "void"]
    assert used == ["month"]
    assert set(before) < set(partitions_of(folder))
    rows = [*wanted[-1].rows, *rows_from(40).to_pylist(), *rows_from(50).to_pylist()]
    version = table.current_snapshot().snapshot_id
    assert_same_rows(table.scan().to_arrow(), rows)
    assert_filtered(found_in_iceberg, folder, rows, version, COLUMNS)


def test_a_later_change_of_the_spec_unpartitions_the_delta_table(root):
    table, folder = lake_table(root), root / "users"
    with table.update_spec() as update:
        update.add_identity("kind")
    table.append(rows_from(0))
    table.append(rows_from(10))
    migrate_backend(storage=root, to="delta", verify="content")
    assert DeltaTable(folder).metadata().partition_columns == ["kind"]
    wanted = known_iceberg(table)
    assert_delta_has(folder, wanted)

    with table.update_spec() as update:
        update.remove_field("kind")
        update.add_field("day", "day", "day_day")
    table.append(rows_from(20))
    table.delete("kind == 'a b'")
    table.delete("id = 0")
    report = migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    (warning,) = [w for w in report.namespaces["users"].warnings if "not partitioned" in w]
    assert "day(day)" in warning
    assert DeltaTable(folder).metadata().partition_columns == []
    news = known_iceberg(table)
    again = replace(news[1], at_ms=news[1].at_ms + 1)  # the version that has no partitions any more
    assert_delta_has(folder, [*news[:2], again, *news[2:]])
    for version, known in ((2, again), (len(news), news[-1])):
        assert_filtered(found_in_delta, folder, known.rows, version, COLUMNS)

    table.append(rows_from(60))
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    write_deltalake(folder, rows_from(70), mode="append")
    before = partitions_of(folder)
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    assert set(before) < set(partitions_of(folder))
    rows = [*news[-1].rows, *rows_from(60).to_pylist(), *rows_from(70).to_pylist()]
    assert_same_rows(open_iceberg(folder).scan().to_arrow(), rows)


def test_a_delta_table_that_was_replaced_with_other_partition_columns(root):
    folder = root / "users"
    write_deltalake(folder, rows_from(0), partition_by=["kind"])
    write_deltalake(
        folder,
        rows_from(10),
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=["day", "kind"],
    )
    write_deltalake(folder, rows_from(20), mode="append")
    write_deltalake(
        folder, rows_from(30), mode="overwrite", schema_mode="overwrite", partition_by=[]
    )
    write_deltalake(folder, rows_from(40), mode="append")
    wanted = known_delta(folder)
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_iceberg_has(folder, wanted)
    assert len(open_iceberg(folder).specs()) == 3
    snapshots = open_iceberg(folder).snapshots()
    for index in (0, 2, 4):
        version = snapshots[index].snapshot_id
        assert_filtered(found_in_iceberg, folder, wanted[index].rows, version, COLUMNS[1:])
    migrate_backend(storage=root, from_="iceberg", to="delta", location="second", verify="content")
    assert_delta_has(root / "second" / "users", wanted)
    migrate_backend(storage=root, from_="delta", to="native", allow_lossy=True, verify="content")
    assert_same_rows(pq.read_table(root / "data" / "users" / "data.parquet"), wanted[-1].rows)


def test_values_that_only_partitions_tell_are_written_into_the_files(root):
    """Delta's files lack the column; Iceberg fills it from the partition until the spec changes."""
    folder = root / "users"
    write_deltalake(folder, rows_from(0), partition_by=["kind", "day"])
    write_deltalake(folder, rows_from(10), mode="append")
    DeltaTable(folder).delete("kind = 'a b' AND id < 6")
    migrate_backend(storage=root, to="iceberg", verify="content")
    table = FilesystemCatalog("lake", warehouse=str(root)).load_table("users")
    with table.update_spec() as update:
        update.remove_field("day")
    table.append(rows_from(20))
    wanted = known_iceberg(table)
    report = migrate_backend(
        storage=root, from_="iceberg", to="delta", location="second", verify="content"
    ).namespaces["users"]
    assert report.files["rewritten"] == 12
    assert report.files["linked"] == 3
    assert_delta_has(root / "second" / "users", wanted)
    for version in (0, 3):
        rows = wanted[version].rows
        assert_filtered(found_in_delta, root / "second" / "users", rows, version, COLUMNS)

    migrate_backend(
        storage=root, namespaces=["users"], from_="iceberg", to="delta", verify="content"
    )
    times = [*(w.at_ms for w in wanted[:3]), wanted[2].at_ms + 1, wanted[3].at_ms]
    again = [*wanted[:3], wanted[2], wanted[3]]
    again = [replace(known, at_ms=at) for known, at in zip(again, times, strict=True)]
    assert_delta_has(folder, again, by_time=False)
    assert DeltaTable(folder).metadata().partition_columns == []


IDENTITY = IdentityTransform()


def by_writer(root, type_, values, transform=IDENTITY):
    """Write an Iceberg table of one file a partition value, which lack the column, by ourselves."""
    schema = Schema((Field(1, "id", IntType(64)), Field(2, "v", type_)), Identity.BY_ID)
    spec = PartitionSpec(0, (PartitionField(2, "part", transform),))
    changes = [SetSchema(schema), SetPartitioning(spec)]
    for number, value in enumerate(values):
        path = root / "users" / "data" / f"f{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [number, 100 + number]}), path)
        size = path.stat().st_size
        changes.append(AddFile(DataFile(f"users/data/f{number}.parquet", size, 2, (value,))))
    commit = Commit(1, 1_700_000_000_000, Operation.APPEND, tuple(changes))
    IcebergWriter(LocalStore(root), "users").append([commit], expect=None)


@pytest.mark.parametrize("kind", ["nan", "empty", "long-text", "hive-null"])
def test_odd_values_that_only_partitions_tell(root, kind):
    type_, values = {
        "nan": (FloatType(64), [math.nan, -0.0, 0.1, None]),
        "empty": (StringType(), ["", "x", None]),
        "long-text": (StringType(), ["ü" * 200, "x", None]),
        "hive-null": (StringType(), ["__HIVE_DEFAULT_PARTITION__", "null", None]),
    }[kind]
    by_writer(root, type_, values)
    rows = [{"id": at + n, "v": value} for n, value in enumerate(values) for at in (0, 100)]
    migrate_backend(storage=root, to="delta", verify="content")
    kept = DeltaTable(root / "users").metadata().partition_columns
    assert kept == (["v"] if kind == "nan" else [])
    assert_delta_has(root / "users", [Known(0, 1_700_000_000_000, rows)])
    arrow = pa.float64() if kind == "nan" else pa.string()
    assert_filtered(found_in_delta, root / "users", rows, 0, [("v", arrow)])


def test_a_transform_whose_column_is_in_no_file_is_null_there(root):
    """Only identity partitions tell values; of a bucket, a missing column is null."""
    by_writer(root, IntType(64), [None], BucketTransform(4))
    rows = [{"id": 0, "v": None}, {"id": 100, "v": None}]
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", [Known(0, 1_700_000_000_000, rows)])
    assert_filtered(found_in_delta, root / "users", rows, 0, [("v", pa.int64())])


def test_partitions_of_a_column_that_was_promoted_and_of_a_nested_one(root):
    nested = pa.struct([("city", pa.string())])

    def made(start, type_):
        ids = range(start, start + 4)
        return pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "n": pa.array([-(2**31), 2**31 - 1, 0, None] if start == 0 else list(ids), type_),
                "at": pa.array([{"city": f"c{i % 2}"} if i % 3 else None for i in ids], nested),
            }
        )

    catalog = FilesystemCatalog("lake", warehouse=str(root))
    table = catalog.create_table("users", schema=made(0, pa.int32()).schema)
    with table.update_spec() as update:
        update.add_field("n", "truncate[1000]", "cut")
        update.add_identity("at.city")
    table.append(made(0, pa.int32()))
    with table.update_schema() as update:
        update.update_column("n", LongType())
    table.append(made(2**40, pa.int64()))
    table.delete("id = 1")
    wanted = known_iceberg(table)
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 2, [("n", pa.int64())])
    write_deltalake(root / "users", made(10, pa.int64()), mode="append")
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    rows = [*wanted[-1].rows, *made(10, pa.int64()).to_pylist()]
    version = open_iceberg(root / "users").current_snapshot().snapshot_id
    assert_same_rows(open_iceberg(root / "users").scan().to_arrow(), rows)
    # the smallest int32, cut down, overflowed: pyiceberg does not find it in its own table either
    rows = [row for row in rows if row["n"] != -(2**31)]
    kept = [("n", pa.int64())]
    assert_filtered(found_in_iceberg, root / "users", rows, version, kept, {0})


@pytest.mark.parametrize("how", ["force", "merge"])
def test_a_forced_or_merged_target_may_be_partitioned_otherwise(root, how):
    table, folder = lake_table(root), root / "users"
    with table.update_spec() as update:
        update.add_identity("kind")
    table.append(rows_from(0))
    migrate_backend(storage=root, to="delta")
    write_deltalake(folder, rows_from(90), mode="append")
    with table.update_spec() as update:
        update.remove_field("kind")
        update.add_field("id", "bucket[2]", "pail")
    table.append(rows_from(10))
    key = "id" if how == "merge" else None
    migrate_backend(storage=root, from_="iceberg", to="delta", on_conflict=how, key=key)
    rows = [*rows_from(0).to_pylist(), *rows_from(10).to_pylist()]
    rows += rows_from(90).to_pylist() if how == "merge" else []
    assert_same_rows(DeltaTable(folder).to_pyarrow_table(), rows)
    assert_filtered(found_in_delta, folder, rows, DeltaTable(folder).version(), COLUMNS)
    kept = DeltaTable(folder).metadata().partition_columns
    assert kept == (["kind"] if how == "merge" else [])


def test_a_partition_column_that_is_promoted_stays_one(root):
    catalog = FilesystemCatalog("lake", warehouse=str(root))

    def made(start, type_):
        values = pa.array([start, start + 1, None], type_)
        return pa.table({"id": pa.array(range(3), pa.int64()), "n": values})

    table = catalog.create_table("users", schema=made(0, pa.int32()).schema)
    with table.update_spec() as update:
        update.add_identity("n")
    table.append(made(-(2**31), pa.int32()))
    with table.update_schema() as update:
        update.update_column("n", LongType())
    table.append(made(2**40, pa.int64()))
    wanted = known_iceberg(table)
    migrate_backend(storage=root, to="delta", verify="content")
    assert DeltaTable(root / "users").metadata().partition_columns == ["n"]
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, [("n", pa.int64())])
    DeltaTable(root / "users").delete("n = -2147483648")
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    rows = [row for row in wanted[-1].rows if row["n"] != -(2**31)]
    version = open_iceberg(root / "users").current_snapshot().snapshot_id
    assert_same_rows(open_iceberg(root / "users").scan().to_arrow(), rows)
    assert_filtered(found_in_iceberg, root / "users", rows, version, [("n", pa.int64())])


def test_rows_that_are_merged_into_buckets_belong_to_none(root):
    table, folder = lake_table(root), root / "users"
    with table.update_spec() as update:
        update.add_field("id", "bucket[3]", "pail")
    table.append(rows_from(0))
    write_deltalake(root / "other" / "users", rows_from(4))
    migrate_backend(
        storage=root, from_="delta", to="iceberg", location="other", on_conflict="merge", key="id"
    )
    rows = rows_from(0, 10).to_pylist()
    version = open_iceberg(folder).current_snapshot().snapshot_id
    assert_same_rows(open_iceberg(folder).scan().to_arrow(), rows)
    assert_filtered(found_in_iceberg, folder, rows, version, COLUMNS)
    assert [field.name for field in open_iceberg(folder).spec().fields] == ["pail"]


def test_deleted_rows_stay_deleted_when_a_table_becomes_unpartitioned(root):
    folder, store = root / "users", LocalStore(root)
    schema = Schema((Field(1, "id", IntType(64)), Field(2, "kind", StringType())), Identity.BY_ID)
    by_kind = PartitionSpec(0, (PartitionField(2, "kind"),))
    pails = PartitionSpec(1, (PartitionField(1, "pail", BucketTransform(2)),))

    def put(number, partition, spec_id, positions):
        path = folder / "data" / f"f{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = range(number * 10, number * 10 + 10)
        pq.write_table(pa.table({"id": ids, "kind": [f"k{number}"] * 10}), path)
        deletes = (inline_vector(positions),) if positions else ()
        key, size = f"users/data/{path.name}", path.stat().st_size
        return AddFile(DataFile(key, size, 10, partition, spec_id, deletes=deletes))

    def commit(number, *changes):
        return Commit(number, 1_700_000_000_000 + number * 1000, Operation.OVERWRITE, changes)

    writer = IcebergWriter(store, "users")
    first = commit(0, SetSchema(schema), SetPartitioning(by_kind), put(0, ("k0",), 0, [1, 2]))
    expect = writer.append([first, commit(1, put(1, ("k1",), 0, []))], expect=None).version
    migrate_backend(storage=root, to="delta", verify="content")
    assert DeltaTable(folder).metadata().partition_columns == ["kind"]
    second = commit(2, SetPartitioning(pails), put(2, (1,), 1, [9]))
    writer.append([second, commit(3, SetDeletes("users/data/f1.parquet", ()))], expect=expect)
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert DeltaTable(folder).metadata().partition_columns == []

    def rows(files):
        gone = {1, 2, 29}
        ids = [i for i in range(files * 10) if i not in gone]
        return [{"id": i, "kind": f"k{i // 10}"} for i in ids]

    for version, files in enumerate([1, 2, 2, 3, 3]):
        assert_same_rows(duck.rows_delta(folder, version), rows(files))
        found = pl.scan_delta(str(folder), version=version).filter(pl.col("kind") == "k0")
        assert sorted(found.collect()["id"].to_list()) == [0, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.spark
def test_spark_finds_the_same_rows_by_every_partition_column(spark, root):
    """Iceberg with all transforms as Delta, and Delta's own additions back in Iceberg."""
    kinds = ("int", "decimal", "date", "timestamptz", "string")
    rows = table_of(kinds)
    table = FilesystemCatalog("lake", warehouse=str(root)).create_table("users", rows.schema)
    with table.update_spec() as update:
        update.add_field("int", "bucket[3]", "p1")
        update.add_field("decimal", "truncate[50]", "p2")
        update.add_field("date", "month", "p3")
        update.add_field("timestamptz", "hour", "p4")
        update.add_field("string", "truncate[2]", "p5")
    table.append(rows)
    folder = root / "users"
    migrate_backend(storage=root, to="delta", verify="content")
    write_deltalake(folder, table_of(kinds, 100), mode="append")
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    wanted = [*rows.to_pylist(), *table_of(kinds, 100).to_pylist()]
    for format_ in ("delta", "iceberg"):
        frame = spark.read.format(format_).load(f"file://{folder}")
        for kind in kinds:
            for one in list(filters_of(kind, wanted))[1::2]:  # a job each
                ids = sorted(row["id"] for row in wanted if one.keeps(row))
                assert sorted(found_by_spark(frame, one)) == ids, (format_, one)


def test_a_run_that_ended_after_it_unpartitioned_the_table_goes_on(root, monkeypatch):
    table, folder = lake_table(root), root / "users"
    with table.update_spec() as update:
        update.add_identity("kind")
    table.append(rows_from(0))
    migrate_backend(storage=root, to="delta")
    with table.update_spec() as update:
        update.remove_field("kind")
    table.append(rows_from(10))

    def fail(*_):
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Transfer, "run", fail)
        with pytest.raises(StorageError):
            migrate_backend(storage=root, from_="iceberg", to="delta")
    assert DeltaTable(folder).metadata().partition_columns == []
    assert_same_rows(DeltaTable(folder).to_pyarrow_table(), rows_from(0))
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    first, last = known_iceberg(table)
    assert_delta_has(folder, [first, replace(first, at_ms=first.at_ms + 1), last])
    assert verify_backend(root, "users", "iceberg")["differences"] == []
