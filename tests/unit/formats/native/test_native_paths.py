from __future__ import annotations

import datetime as dt

import pytest

from parquedb.errors import FormatError, InvalidInputError, StateError
from parquedb.formats.native.hive import guess_type, parse_partitions
from parquedb.formats.native.paths import (
    Layout,
    LayoutKind,
    NativeFile,
    find_beside_table,
    find_layout,
)
from parquedb.model.types import (
    BooleanType,
    DateType,
    DecimalType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
)
from parquedb.storage.local import LocalStore
from parquedb.storage.memory import MemoryStore
from parquedb.storage.store import ObjectInfo


@pytest.fixture(params=["memory", "local"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path, durable=False)


def put(store, *keys):
    for key in keys:
        store.replace(key, b"x")


def keys(layout):
    return [file.info.key for file in layout.files]


@pytest.mark.parametrize("key", ["data/{}/data.parquet", "{}/data.parquet", "{}.parquet"])
@pytest.mark.parametrize("namespace", ["users", "db/users", "a.b", "data"])
def test_single_files(store, key, namespace):
    key = key.format(namespace)
    put(store, key, "others/data.parquet", "usersx.parquet", "_SUCCESS")
    layout = find_layout(store, namespace)
    assert (layout.kind, layout.location, keys(layout)) == (LayoutKind.FILE, key, [key])
    assert layout.partition_columns == ()


@pytest.mark.parametrize("folder", ["data/users", "users"])
def test_folders(store, folder):
    put(
        store,
        f"{folder}/b.parquet",
        f"{folder}/a.PARQ",
        f"{folder}/c.pq",
        f"{folder}/_SUCCESS",
        f"{folder}/_metadata.parquet",
        f"{folder}/.a.parquet.crc",
        f"{folder}/.hidden.parquet",
        f"{folder}/readme.csv",
        f"{folder}/_temporary/0/d.parquet",
        f"{folder}/plain/e.parquet",
    )
    layout = find_layout(store, "users")
    assert (layout.kind, layout.location) == (LayoutKind.FOLDER, folder)
    assert keys(layout) == [f"{folder}/a.PARQ", f"{folder}/b.parquet", f"{folder}/c.pq"]
    assert keys(find_layout(store, "users/plain")) == [f"{folder}/plain/e.parquet"]


def test_nothing(store):
    assert find_layout(store, "users") is None
    put(store, "users/_SUCCESS", "users/x.csv", "users/sub/x.parquet", "users/_x/y.parquet")
    assert find_layout(store, "users") is None
    assert find_layout(store, "_parquedb") is None
    assert find_layout(store, "users/day=1") is None
    for bad in ("../x", "/x", "a//b", ""):
        with pytest.raises(InvalidInputError):
            find_layout(store, bad)


def test_hive_partitions(store):
    put(
        store,
        "users/year=2024/c=a%2Fb%20%C3%A9/x.parquet",
        "users/year=2024/c=__HIVE_DEFAULT_PARTITION__/x.parquet",
        "users/year=2025/c=k=v/y.parquet",
        "users/year=2025/_SUCCESS",
    )
    layout = find_layout(store, "users")
    assert layout.partition_columns == ("year", "c")
    found = {(f.info.key.split("/")[2], f.partition) for f in layout.files}
    assert found == {
        ("c=a%2Fb%20%C3%A9", ("2024", "a/b é")),
        ("c=__HIVE_DEFAULT_PARTITION__", ("2024", None)),
        ("c=k=v", ("2025", "k=v")),
    }


@pytest.mark.parametrize(
    "others",
    [
        ["users/a=1/x.parquet", "users/y.parquet"],
        ["users/a=1/x.parquet", "users/b=1/y.parquet"],
        ["users/a=1/x.parquet", "users/a=1/b=2/y.parquet"],
    ],
)
def test_mixed_partitions_are_listed(store, others):
    put(store, *others)
    with pytest.raises(FormatError, match="mixes partition columns") as caught:
        find_layout(store, "users")
    assert len(caught.value.problems) == 2
    assert all(any(key in line for line in caught.value.problems) for key in others)


def test_partition_folders_that_could_be_missed_are_errors(store):
    put(store, "users/_day=1/x.parquet")
    with pytest.raises(FormatError, match="looks like a partition folder"):
        find_layout(store, "users")
    put(store, "twice/a=1/a=2/x.parquet")
    with pytest.raises(FormatError, match="same column twice"):
        find_layout(store, "twice")


@pytest.mark.parametrize(
    "pair",
    [
        ["data/users/data.parquet", "users.parquet"],
        ["data/users/data.parquet", "users/data.parquet"],
        ["users.parquet", "users/part-0.parquet"],
        ["data/users/day=1/x.parquet", "users/x.parquet"],
    ],
)
def test_two_layouts_are_refused(store, pair):
    put(store, *pair)
    with pytest.raises(StateError, match=r"in 2 places: .* and .*; keep one"):
        find_layout(store, "users")


def test_a_table_file_with_company_is_refused(store):
    put(store, "users/data.parquet", "users/more.parquet")
    with pytest.raises(StateError, match=r"1 other Parquet files .*more\.parquet"):
        find_layout(store, "users")
    put(store, "data/db/data.parquet", "data/db/users/data.parquet")
    assert keys(find_layout(store, "db")) == ["data/db/data.parquet"]
    assert keys(find_layout(store, "db/users")) == ["data/db/users/data.parquet"]


def test_other_formats_files_are_not_native(store):
    put(
        store,
        "ice/metadata/v1.metadata.json",
        "ice/metadata/x.parquet",
        "ice/data/x.parquet",
        "ice/data/day=1/x.parquet",
        "delta/_delta_log/00000000000000000000.json",
        "delta/_delta_log/00000000000000000010.checkpoint.parquet",
        "delta/part-0.parquet",
        "delta/day=1/part-1.parquet",
        "delta/data/x.parquet",
    )
    for namespace in ("ice", "ice/data", "delta/data"):
        assert find_layout(store, namespace) is None
    owned = frozenset({"delta/part-0.parquet", "delta/day=1/part-1.parquet"})
    assert find_layout(store, "delta", owned=owned) is None
    put(store, "delta/own.parquet")
    assert keys(find_layout(store, "delta", owned=owned)) == ["delta/own.parquet"]
    assert find_beside_table(store, "delta") is None
    put(store, "data/delta/data.parquet")
    assert find_beside_table(store, "delta").location == "data/delta/data.parquet"
    assert find_layout(store, "users", owned=frozenset({"users.parquet"})) is None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-20", "0", None], IntType(64)),
        (["1", "007"], StringType()),
        (["1", "-0"], StringType()),
        (["1", "+1"], StringType()),
        (["1", "١"], StringType()),
        (["9223372036854775807"], IntType(64)),
        (["9223372036854775808"], StringType()),
        (["2024-01-31", None], DateType()),
        (["2024-01-31", "2024-02-30"], StringType()),
        (["2024-01-31", "5"], StringType()),
        (["20240131"], IntType(64)),
        ([None, None], StringType()),
        (["", "1"], StringType()),
        (["1.5"], StringType()),
        (["true"], StringType()),
    ],
)
def test_types_are_guessed(texts, expected):
    assert guess_type(texts) == expected


def layout_of(*texts):
    files = tuple(
        NativeFile(ObjectInfo(f"t/k={text}/x.parquet", 1, 1, ""), (text,)) for text in texts
    )
    return Layout(LayoutKind.FOLDER, "t", files, ("k",))


@pytest.mark.parametrize(
    ("text", "type_", "expected"),
    [
        ("007", IntType(32), 7),
        ("x", StringType(), "x"),
        ("1.5", FloatType(64), 1.5),
        ("TRUE", BooleanType(), True),
        ("1970-01-02", DateType(), 1),
        ("1.5", DecimalType(5, 2), 150),
        ("1970-01-01 00:00:01.5", TimestampType("us"), 1_500_000),
        ("1970-01-01T01:00:00+01:00", TimestampType("ms"), 0),
        ("1969-12-31 23:59:59", TimestampType("s", utc=False), -1),
        (None, IntType(8), None),
    ],
)
def test_values_are_parsed(text, type_, expected):
    assert parse_partitions(layout_of(text), [type_]) == [(expected,)]


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("x", IntType(64)),
        ("1_0", IntType(64)),
        ("300", IntType(8)),
        ("-1", IntType(8, signed=False)),
        ("yes", BooleanType()),
        ("2024-13-01", DateType()),
        ("1.234", DecimalType(5, 2)),
        ("1970-01-01 00:00:01.5", TimestampType("s")),
    ],
)
def test_values_that_do_not_fit_are_listed(text, type_):
    with pytest.raises(FormatError, match="2 partition folders do not fit") as caught:
        parse_partitions(layout_of(text, text), [type_])
    assert repr(text) in caught.value.problems[0]


def test_dates_before_the_epoch():
    days = dt.date(1, 1, 1).toordinal() - dt.date(1970, 1, 1).toordinal()
    assert parse_partitions(layout_of("0001-01-01"), [DateType()]) == [(days,)]
