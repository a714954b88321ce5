"""Parquet folders that nobody tidied: right in every reader, or refused with all that is wrong."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from parquedb.backends import check_backend, migrate_backend
from parquedb.errors import FormatError, ParqueDBError, UnsupportedError
from tests.interop.test_migration import fingerprints
from tests.support.duck import query, rows_delta, rows_iceberg
from tests.support.rows import assert_same_rows
from tests.support.targets import open_iceberg

pytestmark = pytest.mark.filterwarnings("ignore:Iceberg scan planning:")
FORMATS = ["iceberg", "delta"]


@pytest.fixture
def lake(tmp_path):
    folder = tmp_path / "lake"
    (folder / "data" / "users").mkdir(parents=True)
    return folder


def put(lake, name, columns, **options):
    path = lake / "data" / "users" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def readers(lake, to):
    """Return what three readers that are not ours say."""
    folder = lake / "users"
    if to == "iceberg":
        table = open_iceberg(folder)
        return {
            "pyiceberg": table.scan().to_arrow().to_pylist(),
            "duckdb": rows_iceberg(folder),
            "polars": pl.scan_iceberg(table).collect().to_dicts(),
        }
    return {
        "delta-rs": DeltaTable(folder).to_pyarrow_table().to_pylist(),
        "duckdb": rows_delta(folder),
        "polars": pl.read_delta(str(folder)).to_dicts(),
    }


def assert_carried(lake, to, wanted, **options):
    result = migrate_backend(storage=lake, to=to, **options)
    assert result.success
    for rows in readers(lake, to).values():
        assert_same_rows(rows, wanted)
    return result.namespaces["users"]


def source_rows(lake, *, hive=False):
    """Return what DuckDB reads from the folder."""
    options = "union_by_name=true, hive_partitioning=" + ("true" if hive else "false")
    return query(f"SELECT * FROM read_parquet('{lake}/data/users/**/*.parquet', {options})")


def refused(lake, to, error=FormatError):
    before = fingerprints(lake)
    with pytest.raises(error) as caught:
        migrate_backend(storage=lake, to=to)
    assert fingerprints(lake) == before
    return caught.value


def different_files(lake):
    narrow = {
        "id": pa.array([1, 2], pa.int32()),
        "x": pa.array([1.5, None], pa.float32()),
        "paid": pa.array([Decimal("1.25"), None], pa.decimal128(5, 2)),
        "at": pa.array([1000, 2000], pa.timestamp("ms")),
        "s": pa.array([{"a": 1}, None], pa.struct([("a", pa.int32())])),
        "tiny": pa.array([1, 2], pa.int8()),
        "nothing": pa.nulls(2),
    }
    wide = {
        "x": pa.array([2.25], pa.float64()),
        "id": pa.array([2**40], pa.int64()),
        "paid": pa.array([Decimal("1234567.125")], pa.decimal128(12, 3)),
        "at": pa.array([1_234_567], pa.timestamp("us")),
        "s": pa.array([{"b": "q", "a": 2**40}], pa.struct([("b", pa.string()), ("a", pa.int64())])),
        "tiny": pa.array([300], pa.int16()),
        "nothing": ["n"],
        "new": ["n"],
    }
    put(lake, "a.parquet", narrow)
    put(lake, "b.parquet", wide)
    put(lake, "c.parquet", {"id": pa.array([], pa.int32())})
    moment = dt.datetime(1970, 1, 1)
    return [
        {
            "id": 1, "x": 1.5, "paid": Decimal("1.250"), "at": moment + dt.timedelta(seconds=1),
            "s": {"a": 1, "b": None}, "tiny": 1, "nothing": None, "new": None,
        },
        {
            "id": 2, "x": None, "paid": None, "at": moment + dt.timedelta(seconds=2), "s": None,
            "tiny": 2, "nothing": None, "new": None,
        },
        {
            "id": 2**40, "x": 2.25, "paid": Decimal("1234567.125"),
            "at": moment + dt.timedelta(microseconds=1_234_567), "s": {"a": 2**40, "b": "q"},
            "tiny": 300, "nothing": "n", "new": "n",
        },
    ]  # fmt: skip


@pytest.mark.parametrize("to", FORMATS)
def test_schemas_that_differ_are_merged_by_widening(lake, to):
    wanted = different_files(lake)
    carried = assert_carried(lake, to, wanted)
    assert carried.files["rewritten"] == (1 if to == "iceberg" else 2)


@pytest.mark.parametrize("to", FORMATS)
def test_required_and_optional(lake, to):
    required = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    put(lake, "a.parquet", pa.table({"id": [1]}, schema=required))
    put(lake, "b.parquet", {"id": pa.array([2, None], pa.int64())})
    assert_carried(lake, to, [{"id": 1}, {"id": 2}, {"id": None}])


def test_every_disagreement_is_listed(lake):
    put(lake, "a.parquet", {"id": [1], "n": ["x"], "l": [[1]], "s": [{"a": 1}], "t": [1]})
    put(lake, "b.parquet", {"id": ["x"], "n": [1.5], "l": [["q"]], "s": [{"a": "z"}], "t": [1]})
    put(lake, "c.parquet", {"id": [True], "n": ["x"], "t": [1.5]})
    error = refused(lake, "delta")
    assert len(error.problems) == 6
    said = str(error)
    for column in ("'id'", "'n'", "'l'", "'s.a'", "'t'"):
        assert column in said
    assert (
        "column 'id' is int64 in 'data/users/a.parquet' and boolean in 'data/users/c.parquet'"
        in said
    )


def test_names_that_differ_in_case_only(lake):
    put(lake, "a.parquet", {"Id": [1]})
    put(lake, "b.parquet", {"id": [2]})
    assert "'Id' and 'id'" in str(refused(lake, "iceberg", ParqueDBError))


HIVE = {
    "text, null and escapes": (
        {"a": 1, "__HIVE_DEFAULT_PARTITION__": 2, "x%20y%2Fz": 3, "%E2%82%AC": 4},
        ["a", None, "x y/z", "€"],
    ),
    "numbers": ({"1": 1, "-7": 2, "__HIVE_DEFAULT_PARTITION__": 3}, [1, -7, None]),
    "zeros before numbers": ({"00123": 1, "7": 2}, ["00123", "7"]),
    "dates": ({"2024-01-01": 1, "2024-02-29": 2}, [dt.date(2024, 1, 1), dt.date(2024, 2, 29)]),
    "no date": ({"2024-01-01": 1, "2024-02-30": 2}, ["2024-01-01", "2024-02-30"]),
}


def test_disagreements_of_every_kind_are_listed_at_once(lake):
    put(lake, "a.parquet", {"id": [1], "n": ["x"]})
    put(lake, "b.parquet", {"id": ["x"], "n": [1.5]})
    put(lake, "c.parquet", {"id": [1]}).write_bytes(b"")
    put(lake, "d.parquet", {"id": [1]}).write_bytes(b"no Parquet file at all")
    put(lake, "part-00000", {"id": [1]})
    put(lake, "old/x.parquet", {"id": [1]})
    error = refused(lake, "iceberg")
    assert str(error).startswith("Migration failed: Schema mismatch")
    assert len(error.problems) == 6
    for word in ("'id'", "'n'", "c.parquet", "d.parquet", "part-00000", "old/x.parquet"):
        assert word in str(error)
    found = check_backend(lake).namespaces["users"].findings
    assert len({(one.path, one.problem) for one in found}) == len(found) == 5
    assert not any("\n" in one.problem for one in found)


@pytest.mark.parametrize("to", FORMATS)
def test_all_columns_that_differ_in_case_are_listed(lake, to):
    put(lake, "a.parquet", {"id": [1], "Name": ["x"]})
    put(lake, "b.parquet", {"ID": [2], "name": ["y"]})
    said = str(refused(lake, to, UnsupportedError))
    assert "'id' and 'ID'" in said
    assert "'Name' and 'name'" in said
    put(lake, "b.parquet", {"id": [2], "": ["y"]})
    assert "has no name" in str(refused(lake, to, UnsupportedError))


@pytest.mark.parametrize("to", FORMATS)
def test_what_arrow_says_of_columns_besides(lake, to):
    """Dictionaries, zones and fixed-size lists stand in the way of some readers."""
    zone = pa.timestamp("us", "Europe/Zurich")
    put(
        lake,
        "a.parquet",
        {
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "at": pa.array([1, 2], zone),
            "place": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        },
    )
    put(
        lake,
        "b.parquet",
        {
            "kind": ["c"],
            "at": pa.array([3], pa.timestamp("us", "UTC")),
            "place": pa.array([[1.5]], pa.list_(pa.float32())),
        },
    )
    start = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    at = [start + dt.timedelta(microseconds=n) for n in (1, 2, 3)]
    wanted = [
        {"kind": "a", "at": at[0], "place": [1.0, 2.0]},
        {"kind": "b", "at": at[1], "place": None},
        {"kind": "c", "at": at[2], "place": [1.5]},
    ]
    assert_carried(lake, to, wanted, verify="content")


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("kind", list(HIVE))
def test_partition_folders(lake, kind, to):
    folders, values = HIVE[kind]
    for text, id_ in folders.items():
        put(lake, f"k={text}/f.parquet", {"id": [id_]})
    pairs = zip(folders.values(), values, strict=True)
    assert_carried(lake, to, [{"id": id_, "k": value} for id_, value in pairs])


@pytest.mark.parametrize("to", FORMATS)
def test_a_partition_column_in_some_files_too(lake, to):
    put(lake, "k=1/f.parquet", {"id": [1], "k": [1]})
    put(lake, "k=2/f.parquet", {"id": [2]})
    put(
        lake,
        "k=__HIVE_DEFAULT_PARTITION__/f.parquet",
        {"id": [3], "k": pa.array([None], pa.int64())},
    )
    assert_carried(lake, to, [{"id": 1, "k": 1}, {"id": 2, "k": 2}, {"id": 3, "k": None}])


@pytest.mark.parametrize("to", FORMATS)
def test_a_partition_column_with_other_values_in_files(lake, to):
    put(lake, "k=1/f.parquet", {"id": [1, 2], "k": [1, 99]})
    put(lake, "k=2/f.parquet", {"id": [2], "k": pa.array([None], pa.int64())})
    put(lake, "k=3/f.parquet", {"id": [3], "k": [3]})
    put(lake, "k=__HIVE_DEFAULT_PARTITION__/f.parquet", {"id": [3], "k": [3]})
    error = refused(lake, to)
    assert [problem.split("'")[1] for problem in error.problems] == [
        "data/users/k=1/f.parquet",
        "data/users/k=2/f.parquet",
        "data/users/k=__HIVE_DEFAULT_PARTITION__/f.parquet",
    ]


def test_a_long_text_may_be_cut_in_statistics(lake):
    name = "x" * 40
    put(lake, f"k={name}/f.parquet", {"id": [1], "k": [name]})
    assert_carried(lake, "delta", [{"id": 1, "k": name}])


@pytest.mark.parametrize("other", ["f.parquet", "j=1/f.parquet", "k=1/j=2/f.parquet"])
def test_partition_folders_of_mixed_depths(lake, other):
    put(lake, "k=1/f.parquet", {"id": [1]})
    put(lake, other if other != "k=1/f.parquet" else "g.parquet", {"id": [2]})
    assert "mixes partition columns" in str(refused(lake, "iceberg"))


def test_files_in_folders_that_are_no_partitions(lake):
    put(lake, "k=1/f.parquet", {"id": [1]})
    put(lake, "k=1/deep/g.parquet", {"id": [2]})
    put(lake, "2024/01/h.parquet", {"id": [3]})
    put(lake, "_temporary/x.parquet", {"id": [4]})
    put(lake, "own/data.parquet", {"id": [5]})
    error = refused(lake, "iceberg")
    assert list(error.problems) == [
        "'data/users/2024/01/h.parquet'",
        "'data/users/k=1/deep/g.parquet'",
    ]


ODD = [
    "a b.parquet", "a%20b.parquet", "a#b?c.parquet", "ünï.parquet", "UP.PARQUET", "x.parq",
    "a=b.parquet", "semi;colon&.parquet", "q'uote\".parquet", "plus+.parquet",
]  # fmt: skip


@pytest.mark.parametrize("to", FORMATS)
def test_files_with_odd_names(lake, to):
    for number, name in enumerate(ODD):
        put(lake, name, {"id": [number]})
    for name in ("_hidden.parquet", ".dot.parquet", "_temporary/x.parquet"):
        put(lake, name, {"id": [99]})
    for name in ("_SUCCESS", "readme.txt", "empty", ".x.parquet.crc"):
        (lake / "data" / "users" / name).write_text("" if name == "empty" else "no Parquet file")
    assert_carried(lake, to, [{"id": number} for number in range(len(ODD))])


def test_parquet_files_that_are_not_named_as_such(lake):
    put(lake, "a.parquet", {"id": [1]})
    put(lake, "part-00000", {"id": [2]})
    put(lake, "b.parquet.bak", {"id": [2]})
    error = refused(lake, "delta")
    assert list(error.problems) == ["'data/users/b.parquet.bak'", "'data/users/part-00000'"]


@pytest.mark.parametrize("to", FORMATS)
def test_files_without_columns_and_links(lake, to):
    put(lake, "none.parquet", pa.table({}))
    put(lake, "some.parquet", {"id": pa.array([1], pa.int64())})
    put(lake, "../../elsewhere/x.parquet", {"id": pa.array([2], pa.int64())})
    (lake / "data" / "users" / "link.parquet").symlink_to(lake / "elsewhere" / "x.parquet")
    wanted = [{"id": 1}, {"id": 2}]
    assert_carried(lake, to, wanted, namespaces=["users"])


def test_files_that_are_none(lake):
    put(lake, "fine.parquet", {"id": [1]})
    (lake / "data" / "users" / "empty.parquet").write_bytes(b"")
    (lake / "data" / "users" / "cut.parquet").write_bytes(b"PAR1")
    error = refused(lake, "iceberg")
    assert len(error.problems) == 2
    assert "'data/users/empty.parquet' is not a readable Parquet file: it is empty" in str(error)


@pytest.mark.parametrize("to", FORMATS)
def test_what_changed_since_the_last_run(lake, to):
    put(lake, "kept.parquet", {"id": pa.array([1], pa.int32())})
    put(lake, "gone.parquet", {"id": pa.array([2], pa.int32())})
    old = put(lake, "other.parquet", {"id": pa.array([3], pa.int32())})
    assert_carried(lake, to, [{"id": 1}, {"id": 2}, {"id": 3}])
    (lake / "data" / "users" / "gone.parquet").unlink()
    put(lake, "new.parquet", {"id": pa.array([2**40], pa.int64()), "more": ["x"]})
    put(lake, "other.parquet", {"id": pa.array([30], pa.int32())})
    os.utime(old, (2_000_000_000, 2_000_000_000))
    wanted = source_rows(lake)
    assert sorted(row["id"] for row in wanted) == [1, 30, 2**40]
    assert_carried(lake, to, wanted)


@pytest.mark.parametrize("to", FORMATS)
def test_a_dry_run_of_a_later_run_counts_what_is_new(lake, to):
    put(lake, "a.parquet", {"id": pa.array([1], pa.int32())})
    migrate_backend(storage=lake, to=to)
    for name, ids, type_ in (("b", [2], pa.int32()), ("c", [2**40], pa.int64()), ("d", [4], None)):
        put(lake, f"{name}.parquet", {"id": pa.array(ids, type_)})
        planned = migrate_backend(storage=lake, to=to, dry_run=True).namespaces["users"]
        done = migrate_backend(storage=lake, to=to, verify="content").namespaces["users"]
        told = [{k: n for k, n in each.files.items() if n} for each in (planned, done)]
        again = 2 if (name, to) == ("c", "delta") else 0
        assert told[0] == told[1] == ({"copied": 1, "rewritten": 2} if again else {"copied": 1})
        for rows in readers(lake, to).values():
            assert_same_rows(rows, source_rows(lake))
    if to == "delta":  # Spark 3 reads no int32 as a long
        for uri in DeltaTable(lake / "users").file_uris():
            assert pq.read_schema(uri.removeprefix("file://")).field("id").type == pa.int64()


def test_a_partition_column_whose_type_changes_with_a_later_folder(lake):
    put(lake, "k=1/a.parquet", {"id": [1]})
    migrate_backend(storage=lake, to="delta")
    put(lake, "k=x/a.parquet", {"id": [2]})
    assert "changes its type" in str(refused(lake, "delta", UnsupportedError))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    ("folder", "column", "held"),
    [
        ("region=eu", pa.array(["eu", "us"]), True),
        ("region=eu", pa.array(["eu", None]), True),
        ("region=eu", pa.array(["eu", "eu"]), False),
        ("region=a-rather-long-name-of-a-place", pa.array(["a-rather-long-name-of-b"] * 2), True),
        (
            "region=a-rather-long-name-of-a-place",
            pa.array(["a-rather-long-name-of-a-place"] * 2),
            False,
        ),
        ("region=7", pa.array([7, 7], pa.int16()), False),
        ("region=7", pa.array([7, 8], pa.int16()), True),
        ("region=__HIVE_DEFAULT_PARTITION__", pa.array([None, None], pa.string()), False),
        ("region=__HIVE_DEFAULT_PARTITION__", pa.array([None, "eu"]), True),
    ],
)
def test_a_partition_column_in_the_files_is_read_where_statistics_do_not_tell(
    lake, statistics, folder, column, held
):
    table = pa.table({"id": [1, 2], "region": column})
    put(lake, f"{folder}/a.parquet", table, write_statistics=statistics)
    if held:
        assert "holds another value of a partition column" in str(refused(lake, "delta"))
    else:
        assert migrate_backend(storage=lake, to="delta").success
