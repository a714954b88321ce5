"""Every type with its extreme values, in every direction, as readers that are not ours see it."""

import datetime as dt
import json
import math
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from parquedb.backends import migrate_backend
from parquedb.errors import LossyError, UnsupportedError
from parquedb.formats.dialects import DIALECTS
from parquedb.migrate.report import Means
from parquedb.model.format import Format
from parquedb.parquet.arrow import type_of_arrow
from tests.support import duck, extremes
from tests.support.targets import metadata_file, open_iceberg
from tests.support.version3 import simple


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def delta_scan(root):
    return pa.table(DeltaTable(root / "users").scan().read_all())


def delta_pyarrow(root):
    return DeltaTable(root / "users").to_pyarrow_table()


def delta_duckdb(root):
    sql = f"SELECT * FROM delta_scan('{root / 'users'}')"
    return duck.connection().cursor().sql(sql).to_arrow_table()


def delta_polars(root):
    return pl.read_delta(str(root / "users")).to_arrow()


def iceberg_pyiceberg(root):
    return open_iceberg(root / "users").scan().to_arrow()


def iceberg_duckdb(root):
    sql = f"SELECT * FROM iceberg_scan('{metadata_file(root / 'users')}')"
    return duck.connection().cursor().sql(sql).to_arrow_table()


def iceberg_polars(root):
    location = str(metadata_file(root / "users"))
    return pl.scan_iceberg(location, reader_override="native").collect().to_arrow()


def native_pyarrow(root):
    return pq.read_table(root / "data" / "users" / "data.parquet")


def native_duckdb(root):
    sql = f"SELECT * FROM '{root / 'data' / 'users' / 'data.parquet'}'"
    return duck.connection().cursor().sql(sql).to_arrow_table()


READERS: Mapping[str, list[Callable]] = {
    "delta": [delta_scan, delta_pyarrow, delta_duckdb, delta_polars],
    "iceberg": [iceberg_pyiceberg, iceberg_duckdb, iceberg_polars],
    "native": [native_pyarrow, native_duckdb],
}
NOT_BY = {
    # where a list or map holds structs, pyiceberg reads an empty one for null (0.12)
    "structs": [iceberg_pyiceberg],
    "map_of_structs": [iceberg_pyiceberg],
    "deep": [iceberg_pyiceberg],
}


def same(found, wanted):
    """Whether two values are the same; zeros differ by their sign, NaN equals NaN."""
    match found, wanted:
        case float(), float():
            if math.isnan(wanted):
                return math.isnan(found)
            return found == wanted and math.copysign(1, found) == math.copysign(1, wanted)
        case dt.datetime(), dt.datetime():
            return found.replace(tzinfo=None) == wanted.replace(tzinfo=None)
        case list(), list():
            pairs = zip(found, wanted, strict=False)
            return len(found) == len(wanted) and all(same(a, b) for a, b in pairs)
        case tuple(), tuple():
            return all(same(a, b) for a, b in zip(found, wanted, strict=True))
        case dict(), dict():
            return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in wanted)
        case str(), uuid.UUID():
            return uuid.UUID(found) == wanted
        case bytes(), uuid.UUID():
            return found == wanted.bytes
        case (int(), Decimal()) | (Decimal(), int()):
            return found == wanted
        case _:
            return type(found) is type(wanted) and found == wanted


def values(column):
    """Return a column's values; moments that Python has not got as numbers."""
    if pa.types.is_timestamp(column.type):
        numbers = column.cast(pa.int64()).to_pylist()
        if any(number is not None and abs(number) >= 1 << 61 for number in numbers):
            return numbers
    return column.to_pylist()


def in_order(ids, found):
    return [value for _, value in sorted(zip(ids, found, strict=True), key=lambda pair: pair[0])]


def as_stored(format_, column):
    """Return a column as a format stores it, where Python sees another kind of value."""
    if format_ == "delta" and pa.types.is_time(column.type):
        if column.type == pa.time32("s"):  # Parquet has no seconds
            column = column.cast(pa.time32("ms"))
        width = pa.int32() if column.type.bit_width == 32 else pa.int64()
        return column.view(width)
    return column


def assert_same_columns(root, format_, wanted):
    """Compare column by column, and name every column and reader that differ."""
    for reader in READERS[format_]:
        assert_reads(reader, root, format_, wanted)


def assert_reads(reader, root, format_, wanted):
    problems = []
    found = reader(root)
    ids = found.column("id").to_pylist()
    for name, column in wanted.items():
        if reader in NOT_BY.get(name, ()):
            continue
        ours = in_order(ids, values(found.column(name)))
        theirs = values(as_stored(format_, column))
        if not same(ours, theirs):
            problems.append((reader.__name__, name, ours, theirs))
    assert problems == []


def with_id(columns):
    return {"id": pa.array(range(extremes.ROWS), pa.int64()), **columns}


def write_native(root, columns, **options):
    path = root / "data" / "users" / "data.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path, **options)


def write_delta(root, columns):
    write_deltalake(root / "users", pa.table(columns))


def write_iceberg(root, columns):
    catalog = SqlCatalog("c", uri="sqlite:///:memory:", warehouse=root.as_uri())
    catalog.create_namespace("n")
    table = pa.table(columns)
    place = (root / "users").as_uri()
    made = catalog.create_table("n.users", table.schema, location=place)
    made.append(table)


TABLES = {
    "delta": (
        write_delta,
        lambda: {
            **extremes.common(),
            **extremes.nested(),
            **{k: v for k, v in extremes.parquet_only().items() if k in ("int8", "int16", "far")},
        },
    ),
    "iceberg": (
        write_iceberg,
        lambda: {
            **extremes.common(),
            # pyiceberg writes empty lists for null ones of structs, too
            **{k: v for k, v in extremes.nested().items() if k not in NOT_BY},
            **{k: extremes.parquet_only()[k] for k in ("time_us", "fixed", "uuid")},
        },
    ),
    "native": (
        write_native,
        lambda: {**extremes.common(), **extremes.nested(), **extremes.parquet_only()},
    ),
}
PATHS = [(a, b) for a in TABLES for b in READERS if a != b]


@pytest.mark.parametrize(("source", "target"), PATHS)
def test_every_value_is_the_same(root, source, target):
    write, columns = TABLES[source]
    wanted = with_id(columns())
    write(root, wanted)
    migrate_backend(storage=root, to=target, verify="content", allow_lossy=True)
    assert_same_columns(root, target, wanted)


@pytest.mark.parametrize("target", ["delta", "iceberg"])
@pytest.mark.parametrize("as_integer", [False, True])
def test_decimals_are_read_however_they_are_stored(root, target, as_integer):
    wanted = with_id({k: v for k, v in extremes.common().items() if k.startswith("decimal")})
    write_native(root, wanted, store_decimal_as_integer=as_integer)
    migrate_backend(storage=root, to=target, verify="content")
    assert_same_columns(root, target, wanted)


NEAR = [dt.datetime(1677, 9, 22), dt.datetime(2262, 4, 11), dt.datetime(1969, 12, 31, 23)]
FAR = [
    dt.datetime(1, 1, 1),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_999),
    dt.datetime(1582, 1, 1),
]


@pytest.mark.parametrize("target", ["delta", "iceberg"])
@pytest.mark.parametrize("moments", [NEAR, FAR])
def test_old_timestamps_are_read(root, target, moments):
    padded = [*moments, None, None, None]
    wanted = with_id({"at": pa.array(padded, pa.timestamp("us", "UTC"))})
    write_native(root, wanted, use_deprecated_int96_timestamps=True)
    report = migrate_backend(storage=root, to=target, verify="content")
    far_iceberg = moments is FAR and target == "iceberg"
    means = Means.REWRITTEN if far_iceberg else Means.COPIED
    assert report.namespaces["users"].files == {means: 1}
    if moments is FAR and target == "delta":
        with pytest.raises(pa.ArrowInvalid, match="would lose data"):
            delta_pyarrow(root)  # fails aloud
        for reader in (delta_scan, delta_duckdb, delta_polars):
            assert_reads(reader, root, target, wanted)
    else:
        assert_same_columns(root, target, wanted)


def test_old_timestamps_of_delta_files_are_known_by_their_statistics(root):
    """As Spark writes them: INT96 with statistics in the log."""
    folder = root / "users"
    moments = [*FAR, None, None, None]
    wanted = with_id({"at": pa.array(moments, pa.timestamp("us", "UTC"))})
    write_delta(
        root, with_id({"at": pa.array([*NEAR, None, None, None], pa.timestamp("us", "UTC"))})
    )
    write_deltalake(folder, pa.table(wanted), mode="overwrite")
    sizes = {}
    for path in folder.glob("*.parquet"):
        pq.write_table(pq.read_table(path), path, use_deprecated_int96_timestamps=True)
        sizes[path.name] = path.stat().st_size
    for log in (folder / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            for kind in action.keys() & {"add", "remove"}:
                action[kind]["size"] = sizes[action[kind]["path"]]
        log.write_text("\n".join(map(json.dumps, actions)))
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.namespaces["users"].files == {Means.LINKED: 1, Means.REWRITTEN: 1}
    assert_same_columns(root, "iceberg", wanted)


INSIDE = {
    "ns": pa.timestamp("ns"),
    "time": pa.time64("us"),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "ms": pa.timestamp("ms", "UTC"),
    "uuid": pa.uuid(),
}


@pytest.mark.parametrize("target", ["delta", "iceberg"])
def test_what_is_converted_is_converted_inside_of_others_too(root, target):
    plain = {**extremes.parquet_only(), "ns": pa.array([0, 1_000], pa.timestamp("ns"))}
    numbers = {
        name: plain.get(name, plain.get(f"at_{name}_utc", plain.get("time_us"))) for name in INSIDE
    }
    numbers["ns"] = pa.array([1_000, -1_000, 0, None, None, None], pa.timestamp("ns"))
    struct = pa.StructArray.from_arrays(list(numbers.values()), names=list(numbers))
    offsets = pa.array([0, 2, 2, 3, 4, 5, 6], pa.int32())
    wanted = with_id({"one": struct, "many": pa.ListArray.from_arrays(offsets, struct)})
    write_native(root, wanted)
    with pytest.raises(LossyError, match=r"'one'.*nanoseconds"):
        migrate_backend(storage=root, to=target)
    migrate_backend(storage=root, to=target, allow_lossy=True, verify="content")
    for reader in READERS[target]:
        found = reader(root)
        ones = in_order(found.column("id").to_pylist(), found.column("one").to_pylist())
        for row, one in zip(ones, struct.to_pylist(), strict=True):
            if target == "delta" and one["time"] is not None:
                at = one["time"]
                micros = ((at.hour * 60 + at.minute) * 60 + at.second) * 10**6 + at.microsecond
                one = {**one, "time": micros}
            assert same(row, one), (reader.__name__, row, one)


REFUSED = {
    "decimal256": (pa.array([Decimal(1)], pa.decimal256(40, 0)), r"decimal\(40,0\) has no"),
    "void": (pa.nulls(1), "void has no"),
    "duration": (pa.array([1], pa.duration("us")), "duration"),
}


@pytest.mark.parametrize("target", ["delta", "iceberg"])
@pytest.mark.parametrize("name", REFUSED)
def test_types_without_an_equivalent_are_refused_by_name(root, target, name):
    column, message = REFUSED[name]
    write_native(root, {"id": pa.array([1]), "v": column})
    with pytest.raises(UnsupportedError, match=f"column 'v'.*{message}"):
        migrate_backend(storage=root, to=target, allow_lossy=True)
    assert not (root / "users").exists()


@pytest.mark.parametrize("format_", list(Format))
@pytest.mark.parametrize(
    "name", list({**extremes.common(), **extremes.nested(), **extremes.parquet_only()})
)
def test_what_a_type_becomes_is_a_type_of_the_format(format_, name):
    """A second migration of the same column changes nothing any more."""
    columns = {**extremes.common(), **extremes.nested(), **extremes.parquet_only()}
    fit = DIALECTS[format_].fit_type
    becomes = fit(type_of_arrow(columns[name].type)).becomes
    assert becomes is not None
    again = fit(becomes)
    assert (again.becomes, again.rewrite, again.lost) == (becomes, False, None)


def changed_delta(root, first, second):
    """Write a Delta table whose column was overwritten by one of another type."""
    write_delta(root, {"id": pa.array([1]), "v": first})
    table = pa.table({"id": pa.array([2]), "v": second})
    write_deltalake(root / "users", table, mode="overwrite", schema_mode="overwrite")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (pa.array([1]), pa.array(["a"]), "from int64 to string"),
        (pa.array([1], pa.int32()), pa.array([1.5]), "from int32 to float64"),
        (pa.array([dt.date(2024, 1, 1)]), pa.array([0], pa.timestamp("us")), "from date to"),
        (pa.array([1]), pa.array([1], pa.int32()), "from int64 to int32"),
        (
            pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            pa.array([Decimal("1.55")], pa.decimal128(5, 2)),
            r"from decimal\(5,1\) to decimal\(5,2\)",
        ),
    ],
)
def test_changes_of_type_that_iceberg_has_not_got_are_refused(root, first, second, words):
    changed_delta(root, first, second)
    before = sorted(root.rglob("*"))
    with pytest.raises(UnsupportedError, match=f"the type of column 'v' changes {words}"):
        migrate_backend(storage=root, to="iceberg", allow_lossy=True)
    assert sorted(root.rglob("*")) == before
    migrate_backend(storage=root, to="iceberg", history="latest", verify="content")
    assert_same_columns(root, "iceberg", {"id": pa.array([2]), "v": second})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([1], pa.int8()), pa.array([2], pa.int64())),
        (pa.array([1.5], pa.float32()), pa.array([0.1])),
        (
            pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            pa.array([Decimal("1e30")], pa.decimal128(38, 1)),
        ),
    ],
)
def test_wider_types_are_carried_in_every_version(root, first, second):
    changed_delta(root, first, second)
    migrate_backend(storage=root, to="iceberg", verify="content")
    table = open_iceberg(root / "users")
    old = table.scan(snapshot_id=table.snapshots()[0].snapshot_id).to_arrow()
    assert same(old.column("v").to_pylist(), first.to_pylist())
    assert_same_columns(root, "iceberg", {"id": pa.array([2]), "v": second})


def test_a_column_of_nothing_is_kept_in_native_files(root):
    table = simple(root / "users", kind="unknown")
    table.add("a.parquet", pa.table({"id": pa.array([1, 2], pa.int64())}))
    table.commit()
    migrate_backend(storage=root, to="native", verify="content", allow_lossy=True)
    for reader in READERS["native"]:
        assert reader(root).to_pylist() == [{"id": 1, "v": None}, {"id": 2, "v": None}]


SCHEMA = (
    '{"type":"struct","fields":['
    '{"name":"id","type":"long","nullable":true,"metadata":{}},'
    '{"name":"v","type":"TYPE","nullable":true,"metadata":METADATA}]}'
)


def retyped_delta(root, kind, metadata="{}"):
    """Write a Delta table and give a column another type in its log."""
    write_delta(root, {"id": pa.array([1, 2]), "v": pa.array(["a", ""])})
    (log,) = (root / "users" / "_delta_log").glob("*.json")
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "metaData" in action:
            text = SCHEMA.replace("TYPE", kind).replace("METADATA", metadata)
            action["metaData"]["schemaString"] = text
    log.write_text("\n".join(map(json.dumps, actions)))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("void", "column 'v': void has no equivalent"),
        ("variant", "column 'v': variant has no equivalent.*--format-version 3"),
        ("interval day to second", "'v' has the type 'interval day to second'"),
        ("geometry(4326)", "'v' has the type 'geometry"),
    ],
)
def test_types_of_delta_without_an_equivalent_are_refused_by_name(root, kind, words):
    retyped_delta(root, kind)
    with pytest.raises(UnsupportedError, match=words):
        migrate_backend(storage=root, to="iceberg", allow_lossy=True)
    assert not (root / "users" / "metadata").exists()


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_variants_in_native_files_are_refused_by_name(root, target):
    """Arrow shows them as structs of their bytes; as such they would be lost to other readers."""
    path = root / "data" / "users" / "data.parquet"
    path.parent.mkdir(parents=True)
    plain = "{'metadata': i, 'value': i} AS s"
    rows = f"SELECT i AS id, {{'a': i, 'b': 'x' || i}}::VARIANT AS v, {plain}"
    duckdb.connect().execute(f"COPY ({rows} FROM range(6) t(i)) TO '{path}' (FORMAT parquet)")
    with pytest.raises(UnsupportedError, match="column 'v': variant has no equivalent") as refused:
        migrate_backend(storage=root, to=target, allow_lossy=True)
    assert "column 's'" not in str(refused.value)
    assert not (root / "users").exists()


@pytest.mark.parametrize(
    "metadata",
    [
        '{"__CHAR_VARCHAR_TYPE_STRING":"varchar(5)"}',
        '{"__CHAR_VARCHAR_TYPE_STRING":"char(5)"}',
        '{"__COLLATIONS":{"v":"spark.UTF8_LCASE"}}',
    ],
)
def test_lengths_and_collations_leave_the_values_as_they_are(root, metadata):
    retyped_delta(root, "string", metadata)
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_same_columns(root, "iceberg", {"id": pa.array([1, 2]), "v": pa.array(["a", ""])})
