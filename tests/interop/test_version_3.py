"""Iceberg tables of format version 3: carried in every version, or refused by name."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from parquedb.backends import cleanup_backend, create_backend, migrate_backend
from parquedb.errors import FormatError, LossyError, UnsupportedError
from parquedb.migrate.report import Means
from tests.support import duck
from tests.support.histories import Known
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_delta_has, metadata_file, open_iceberg
from tests.support.version3 import Table3, simple


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def numbers(start, count):
    ids = range(start, start + count)
    return pa.table({"id": pa.array(ids, pa.int64()), "v": pa.array([i * 2 for i in ids])})


def vectors(root):
    """Vectors that share a file, are replaced, undone, and go with their data files."""
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 100))
    table.add("b.parquet", numbers(1000, 5000))
    table.commit()
    table.vectors("1.puffin", {"a.parquet": [3, 5, 99], "b.parquet": range(0, 5000, 7)})
    table.commit("delete")
    table.vectors("2.puffin", {"a.parquet": [3, 5, 6, 99]})
    table.add("c.parquet", numbers(7000, 3))
    table.commit("overwrite")
    table.vectors("3.puffin", {"a.parquet": [3], "b.parquet": [4], "c.parquet": [0, 1, 2]})
    table.commit("overwrite")
    table.remove("a.parquet")
    table.add("d.parquet", numbers(0, 2))
    table.commit("replace")
    return table


def upgraded(root):
    """Position deletes of version 2 times, and vectors that replace them."""
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 50))
    table.add("b.parquet", numbers(100, 50))
    table.commit()
    table.positions("old.parquet", {"a.parquet": [1, 2], "b.parquet": [0, 49]})
    table.commit("delete")
    table.vectors("new.puffin", {"a.parquet": [1, 2, 40]})
    table.commit("delete")
    table.add("c.parquet", numbers(200, 5))
    table.commit()
    return table


def with_equality(root):
    """Equality deletes, which still count where there is a vector."""
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 10))
    table.commit()
    table.vectors("1.puffin", {"a.parquet": [0]})
    table.commit("delete")
    table.equality("eq.parquet", "id", 1, [5, 6])
    table.commit("delete")
    return table


TABLES = [vectors, upgraded, with_equality]


@pytest.mark.parametrize("build", TABLES)
def test_the_tables_are_what_other_readers_say(root, build):
    table = build(root)
    for known in table.known:
        found = duck.rows_iceberg(metadata_file(root / "users"), known.version)
        assert_same_rows(found, known.rows)
        if build is not with_equality:  # pyiceberg refuses these
            scan = open_iceberg(root / "users").scan(snapshot_id=known.version)
            assert_same_rows(scan.to_arrow(), known.rows)


@pytest.mark.parametrize("build", TABLES)
def test_every_version_goes_to_delta(root, build):
    table = build(root)
    report = migrate_backend(storage=root, to="delta", verify="content")
    assert report.namespaces["users"].versions == len(table.known)
    assert report.namespaces["users"].lost == ("the ids of rows (row lineage)",)
    assert_delta_has(root / "users", table.known, vectors=True)


@pytest.mark.parametrize("build", TABLES)
def test_the_newest_rows_go_to_native(root, build):
    table = build(root)
    migrate_backend(storage=root, to="native", verify="content", allow_lossy=True)
    path = root / "data" / "users" / "data.parquet"
    assert_same_rows(duck.rows_parquet([path]), table.known[-1].rows)


@pytest.mark.parametrize("build", TABLES)
def test_we_read_every_version(root, build):
    table = build(root)
    backend = create_backend(type="iceberg", storage=root)
    for known in table.known:
        assert_same_rows(backend.to_arrow("users", version=known.version), known.rows)


def test_new_snapshots_are_carried_on(root):
    table = vectors(root)
    migrate_backend(storage=root, to="delta")
    table.vectors("4.puffin", {"d.parquet": [1]})
    table.commit("delete")
    report = migrate_backend(storage=root, to="delta", verify="content")
    assert report.namespaces["users"].versions == 1
    assert_delta_has(root / "users", table.known, vectors=True)


REFUSED = {
    "unknown": ("unknown", {}, "no equivalent"),
    "geometry": ("geometry(srid:3857)", {}, "the type 'geometry"),
    "geography": ("geography", {}, "the type 'geography"),
    "initial-default": (
        {"type": "list", "element-id": 3, "element": "int", "element-required": False},
        {"initial-default": [1]},
        "initial-default",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(root, name):
    kind, more, message = REFUSED[name]
    table = simple(root / "users", kind=kind, **more)
    table.add("a.parquet", numbers(0, 3).select(["id"]))
    table.commit()
    with pytest.raises(UnsupportedError, match=message):
        migrate_backend(storage=root, to="delta", allow_lossy=True)
    assert not (root / "users" / "_delta_log").exists()


METADATA = {
    "encryption": {"encryption-keys": [{"key-id": "a", "encrypted-key-metadata": "YQ=="}]},
    "multi-argument transforms": {
        "partition-specs": [
            {
                "spec-id": 0,
                "fields": [
                    {
                        "source-ids": [1, 2],
                        "field-id": 1000,
                        "name": "p",
                        "transform": "bucketV2[16]",
                    }
                ],
            }
        ]
    },
    "transform zorder": {
        "partition-specs": [
            {
                "spec-id": 0,
                "fields": [{"source-id": 1, "field-id": 1000, "name": "p", "transform": "zorder"}],
            }
        ]
    },
    "format-version 4": {"format-version": 4},
}


@pytest.mark.parametrize("feature", METADATA)
def test_metadata_that_is_not_known_is_refused_by_name(root, feature):
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 3))
    table.more = METADATA[feature]
    table.commit()
    with pytest.raises(UnsupportedError) as refused:
        migrate_backend(storage=root, to="delta", allow_lossy=True)
    assert refused.value.feature == feature
    assert not (root / "users" / "_delta_log").exists()


def test_a_date_that_became_a_timestamp_is_refused(root):
    table = simple(root / "users", kind="date")
    days = pa.array([0, 20_000], pa.date32())
    table.add("a.parquet", pa.table({"id": pa.array([1, 2], pa.int64()), "v": days}))
    table.commit()
    table.schemas.append(simple(root, kind="timestamp").schemas[0])
    table.commit()
    with pytest.raises(UnsupportedError, match="'v' was promoted from date to timestamp"):
        migrate_backend(storage=root, to="delta", allow_lossy=True)


@pytest.mark.parametrize(("kind", "zone"), [("timestamp_ns", None), ("timestamptz_ns", "UTC")])
def test_nanoseconds_are_lost_only_where_that_is_allowed(root, kind, zone):
    table = simple(root / "users", kind=kind)
    stamps = pa.array([1, -1, 1_700_000_000_123_456_789, None], pa.timestamp("ns", zone))
    rows = pa.table({"id": pa.array(range(4), pa.int64()), "v": stamps})
    table.add("a.parquet", rows)
    table.commit()
    with pytest.raises(LossyError, match="losing nanoseconds"):
        migrate_backend(storage=root, to="delta")
    migrate_backend(storage=root, to="delta", allow_lossy=True, verify="content")
    found = DeltaTable(root / "users").to_pyarrow_table().sort_by("id").column("v")
    assert found.cast(pa.int64()).to_pylist() == [0, 0, 1_700_000_000_123_456, None]
    migrate_backend(storage=root, from_="iceberg", to="native", allow_lossy=True, verify="content")
    exact = pq.read_table(root / "data" / "users" / "data.parquet").sort_by("id").column("v")
    assert exact.cast(pa.int64()).to_pylist() == stamps.cast(pa.int64()).to_pylist()


def test_a_vector_that_shrinks_is_read_by_its_place(root):
    """A Puffin file may hold an older vector of another file than the one that is wanted."""
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 10))
    table.add("b.parquet", numbers(100, 10))
    table.commit()
    table.vectors("1.puffin", {"a.parquet": [3, 5], "b.parquet": [0]})
    table.commit("delete")
    table.vectors("2.puffin", {"a.parquet": [3]})
    table.commit("overwrite")
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", table.known, vectors=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_offset": None}, "does not say of which data file or where"),
        ({"content_size_in_bytes": 7}, "does not say of which data file or where"),
        ({"referenced_data_file": None}, "does not say of which data file or where"),
        ({"content_offset": 5}, "is damaged"),
        ({"content_size_in_bytes": 30}, "is damaged"),
        ({"content_offset": 1 << 40}, "is damaged"),
        ({"record_count": 1}, "holds 2 positions and the table's metadata says 1"),
    ],
)
def test_a_damaged_vector_is_an_error(root, change, message):
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 10))
    table.vectors("1.puffin", {"a.parquet": [3, 5]})
    table.deletes["vector of a.parquet"].record.update(change)
    table.commit()
    with pytest.raises(FormatError, match=message):
        create_backend(type="iceberg", storage=root).to_arrow("users")


def test_two_vectors_of_one_file_are_an_error(root):
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 10))
    table.vectors("1.puffin", {"a.parquet": [3]})
    one = table.deletes.pop("vector of a.parquet")
    table.vectors("2.puffin", {"a.parquet": [4]})
    table.deletes["another"] = one
    table.commit()
    with pytest.raises(FormatError, match="has 2 deletion vectors in one snapshot"):
        migrate_backend(storage=root, to="delta")


def test_a_missing_puffin_file_is_an_error(root):
    table = simple(root / "users")
    table.add("a.parquet", numbers(0, 10))
    table.vectors("1.puffin", {"a.parquet": [3]})
    table.commit()
    (root / "users" / "data" / "1.puffin").unlink()
    with pytest.raises(FormatError, match=r"1\.puffin"):
        migrate_backend(storage=root, to="delta")
    assert not (root / "users" / "_delta_log").exists()


DEFAULTS = {
    "boolean": (True, pa.array([True])),
    "int": (-7, pa.array([-7], pa.int32())),
    "long": (1 << 62, pa.array([1 << 62])),
    "float": (1.5, pa.array([1.5], pa.float32())),
    "double": (0.1, pa.array([0.1])),
    "decimal(9, 2)": ("-14.20", pa.array([Decimal("-14.20")], pa.decimal128(9, 2))),
    "date": ("1969-12-31", pa.array([dt.date(1969, 12, 31)])),
    "timestamp": (
        "1969-12-31T23:59:59.999999",
        pa.array([dt.datetime(1969, 12, 31, 23, 59, 59, 999999)], pa.timestamp("us")),
    ),
    "timestamptz": (
        "2024-01-01T00:00:00.000001+00:00",
        pa.array([dt.datetime(2024, 1, 1, 0, 0, 0, 1)], pa.timestamp("us", "UTC")),
    ),
    "string": ("", pa.array([""])),
    "binary": ("00ff", pa.array([b"\x00\xff"])),
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_column_with_a_default_has_it_in_older_rows(root, kind):
    default, value = DEFAULTS[kind]
    table = Table3(root / "users", [{"fields": simple(root).schemas[0]["fields"][:1]}])
    table.add("a.parquet", pa.table({"id": pa.array([1, 2], pa.int64())}))
    table.commit()
    table.vectors("1.puffin", {"a.parquet": [0]})
    table.commit("delete")
    table.schemas.append(simple(root, kind=kind, **{"initial-default": default}).schemas[0])
    both = pa.table({"id": pa.array([3, 4], pa.int64()), "v": [value[0].as_py(), None]})
    table.add("b.parquet", both.cast(pa.schema([both.schema[0], ("v", value.type)])))
    table.add("late.parquet", pa.table({"id": pa.array([5], pa.int64())}))
    table.commit()
    old = [{"id": 2, "v": value[0].as_py()}, {"id": 5, "v": value[0].as_py()}]
    new = [{"id": 3, "v": value[0].as_py()}, {"id": 4, "v": None}]
    table.known[2] = Known(3, table.known[2].at_ms, [*old, *new])
    backend = create_backend(type="iceberg", storage=root)
    for known in table.known:
        assert_same_rows(backend.to_arrow("users", version=known.version), known.rows)
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users")), table.known[2].rows)
    report = migrate_backend(storage=root, to="delta", verify="content")
    assert report.namespaces["users"].files == {Means.LINKED: 2, Means.REWRITTEN: 2}
    assert_delta_has(root / "users", table.known, vectors=True)
    migrate_backend(storage=root, from_="iceberg", to="native", allow_lossy=True, verify="content")
    assert_same_rows(duck.rows_parquet([root / "data/users/data.parquet"]), table.known[2].rows)


def test_a_default_inside_of_a_struct_is_carried(root):
    inner = [{"id": 3, "name": "x", "type": "int", "required": False}]
    kind = {"type": "struct", "fields": inner}
    table = simple(root / "users", kind=kind)
    ids = pa.array([1, 2], pa.int64())
    x = pa.field("x", pa.int32(), metadata={"PARQUET:field_id": "3"})
    table.add("a.parquet", pa.table({"id": ids, "v": pa.array([{"x": 1}, None], pa.struct([x]))}))
    table.commit()
    added = {"id": 4, "name": "y", "type": "string", "required": True, "initial-default": "d"}
    kind = {"type": "struct", "fields": [*inner, added]}
    table.schemas.append(simple(root, kind=kind).schemas[0])
    table.commit()
    table.known[1] = Known(
        2, table.known[1].at_ms, [{"id": 1, "v": {"x": 1, "y": "d"}}, {"id": 2, "v": None}]
    )
    migrate_backend(storage=root, to="delta", verify="content")
    assert_delta_has(root / "users", table.known)


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("int", "x"), ("int", 1 << 31), ("boolean", 1), ("date", "yesterday"),
        ("decimal(4, 2)", "1.5"), ("decimal(4, 2)", "123.45"), ("decimal(4, 2)", "NaN"),
        ("timestamp", "2024-01-01"), ("timestamptz", "2024-01-01T00:00:00"), ("time", "25:00:00"),
        ("uuid", "x"), ("fixed[2]", "00"), ("binary", "0"), ("unknown", 1),
    ],
)  # fmt: skip
def test_a_default_of_another_type_is_an_error(root, kind, default):
    table = simple(root / "users", kind=kind, **{"initial-default": default})
    table.write()
    with pytest.raises(FormatError, match="does not follow the specification"):
        create_backend(type="iceberg", storage=root).to_arrow("users")


def test_the_source_can_go_and_takes_the_ids_of_rows_with_it(root):
    table = vectors(root)
    migrate_backend(storage=root, to="delta")
    with pytest.raises(LossyError, match="row lineage"):
        cleanup_backend(root, "users", "iceberg")
    cleanup_backend(root, "users", "iceberg", allow_lossy=True)
    assert not list((root / "users").rglob("*.puffin"))
    assert_delta_has(root / "users", table.known, vectors=True)
