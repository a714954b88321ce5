"""Statistics, carried both ways: they prune, no file is opened for them, and no row is lost."""

import json
from itertools import islice

import fastavro
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.types import LongType, StringType

from parquedb.backends import migrate_backend
from parquedb.storage.counting import count
from parquedb.storage.local import LocalStore
from tests.golden.compare import iceberg_line
from tests.support.filtered import Filter, filters_of, found_in_delta, found_in_iceberg
from tests.support.histories import DELTA, ICEBERG, iceberg_table
from tests.support.random_histories import BASE, rows
from tests.support.targets import open_iceberg

MODES = ["counts", "truncate(4)", "full"]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def numbered(first, count, schema=BASE, *, finite=True):
    """Rows with ids of their own and extreme values in all other columns.

    Args:
        first: The first id.
        count: How many.
        schema: Their columns.
        finite: Whether ``score`` is; one infinity costs a file all its bounds in Delta.
    """
    table = rows(schema, first, count)
    ids = pa.array(range(first, first + count), pa.int64())
    table = table.set_column(0, "id", ids)
    if finite:
        span = range(first, first + count)
        scores = pa.array([(i * 3 % 7) / 2 if i % 5 else None for i in span], pa.float64())
        table = table.set_column(2, "score", scores)
    return table


def iceberg_extremes(root, *, finite=True, **properties):
    """Several files, and columns added after the first of them."""
    table = iceberg_table(root, BASE, properties=properties)
    table.append(numbered(0, 5, finite=finite))
    table.append(numbered(5, 1))
    with table.update_schema() as update:
        update.add_column("late", LongType())
        update.add_column("note", StringType())
    late = BASE.append(pa.field("late", pa.int64())).append(pa.field("note", pa.string()))
    table.append(numbered(6, 4, late))
    table.append(numbered(10, 3, late).set_column(9, "late", pa.nulls(3, pa.int64())))


def delta_extremes(root, configuration=None, *, finite=True):
    folder = root / "users"
    write_deltalake(folder, numbered(0, 5, finite=finite), configuration=configuration)
    write_deltalake(folder, numbered(5, 1), mode="append")
    late = BASE.append(pa.field("late", pa.int64())).append(pa.field("note", pa.string()))
    write_deltalake(folder, numbered(6, 4, late), mode="append", schema_mode="merge")


def without(*members):
    """A Delta log whose files lack some of their statistics."""

    def build(root):
        delta_extremes(root)
        for path in (root / "users" / "_delta_log").glob("*.json"):
            actions = [json.loads(line) for line in path.read_text().splitlines()]
            for action in actions:
                if "add" in action:
                    stats = json.loads(action["add"]["stats"])
                    stats = {k: v for k, v in stats.items() if k not in members}
                    action["add"]["stats"] = json.dumps(stats) if stats else None
            path.write_text("\n".join(json.dumps(action) for action in actions))

    return build


FROM_ICEBERG = {
    "infinite": lambda root: iceberg_extremes(root, finite=False),
    **{
        mode: lambda root, mode=mode: iceberg_extremes(
            root, **{"write.metadata.metrics.default": mode}
        )
        for mode in MODES
    },
    "some columns": lambda root: iceberg_extremes(
        root,
        **{
            "write.metadata.metrics.column.name": "none",
            "write.metadata.metrics.column.at": "counts",
        },
    ),
    "partitioned": ICEBERG["partitioned"],
}
FROM_DELTA = {
    "all": delta_extremes,
    "infinite": lambda root: delta_extremes(root, finite=False),
    "two columns": lambda root: delta_extremes(root, {"delta.dataSkippingNumIndexedCols": "2"}),
    "named columns": lambda root: delta_extremes(
        root, {"delta.dataSkippingStatsColumns": "n,name,at"}
    ),
    "no row count": without("numRecords"),
    "no null counts": without("nullCount"),
    "no maxima": without("maxValues"),
    "nothing": without("numRecords", "nullCount", "minValues", "maxValues"),
    "partitioned": DELTA["partitioned"],
}


def assert_filters_hold(found_by, everything):
    """Every reader returns, under every filter, the rows that pass it."""
    wanted_rows = everything.to_pylist()
    tried = 0
    for field in everything.schema:
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            continue
        for each in islice(filters_of(field.name, wanted_rows), 4):
            wanted = sorted(row["id"] for row in wanted_rows if each.keeps(row))
            for reader, found in found_by(each, field.type):
                assert sorted(found) == wanted, (reader, each)
                tried += 1
    assert tried > 50


def assert_delta_filters(folder):
    table = DeltaTable(folder)
    everything = table.to_pyarrow_table()
    version = table.version()
    assert_filters_hold(found_in_delta(folder, version), everything)


def assert_iceberg_filters(folder):
    everything = open_iceberg(folder).scan().to_arrow()
    snapshot = iceberg_line(folder)[-1][0]
    assert_filters_hold(found_in_iceberg(folder, snapshot), everything)


@pytest.mark.parametrize("name", FROM_ICEBERG)
def test_iceberg_to_delta(root, name):
    FROM_ICEBERG[name](root)
    migrate_backend(storage=root, to="delta")
    assert_delta_filters(root / "users")


@pytest.mark.parametrize("name", FROM_DELTA)
def test_delta_to_iceberg(root, name):
    FROM_DELTA[name](root)
    migrate_backend(storage=root, to="iceberg")
    assert_iceberg_filters(root / "users")


def test_no_file_is_opened_for_its_statistics(root):
    """But a few, in which names could differ; the others have bounds all the same."""
    data = numbered(0, 60).drop_columns(["name"])  # one of its values has no short upper bound
    table = iceberg_table(root, data.schema)
    with table.update_spec() as update:
        update.add_identity("id")
    table.append(data)
    store = count(LocalStore(root))
    migrate_backend(storage=store, to="delta")
    opened = {key for key in store.counts.read_bytes if key.endswith(".parquet")}
    assert len(opened) <= 32
    found = pa.table(DeltaTable(root / "users").get_add_actions(flatten=True)).to_pylist()
    assert len(found) == 60
    for file in found:
        assert file["num_records"] == 1
        nulls = {k.removeprefix("null_count."): n for k, n in file.items() if "null_count" in k}
        assert set(nulls) == set(data.column_names) - {"id"}
        assert file["min.score"] == file["max.score"]
        assert (file["min.score"] is None) == (nulls["score"] == 1)


def test_a_file_with_nan_has_no_upper_bound_in_delta(root):
    """Spark takes NaN to be above all numbers, there; Iceberg's bounds leave it out."""
    table = iceberg_table(root, pa.schema([("id", pa.int64()), ("x", pa.float64())]))
    table.append(pa.table({"id": [1, 2, 3], "x": [0.5, float("nan"), 2.5]}))
    table.append(pa.table({"id": [4, 5], "x": [0.5, 2.5]}))
    first = min((root / "users" / "metadata").glob("*-m0.avro"), key=lambda p: p.stat().st_mtime)
    with first.open("rb") as file:
        reader = fastavro.reader(file)
        header, schema, entries = dict(reader.metadata), reader.writer_schema, list(reader)
    entries[0]["data_file"]["nan_value_counts"] = [{"key": 2, "value": 1}]
    kept = {key: text for key, text in header.items() if not key.startswith("avro.")}
    with first.open("wb") as file:
        fastavro.writer(file, schema, entries, metadata=kept)
    migrate_backend(storage=root, to="delta")
    found = pa.table(DeltaTable(root / "users").get_add_actions(flatten=True)).to_pylist()
    bounds = {file["num_records"]: (file["min.id"], file["max.x"]) for file in found}
    assert bounds == {3: (None, None), 2: (4, 2.5)}
    found_by = found_in_delta(root / "users", 1)
    for each in (Filter("id", "=", 2), Filter("x", "=", 2.5), Filter("x", "<=", 0.5)):
        kind = pa.int64() if each.column == "id" else pa.float64()
        wanted = {"id": [2], "=": [3, 5], "<=": [1, 4]}["id" if each.column == "id" else each.op]
        for reader, ids in found_by(each, kind):
            assert sorted(ids) == wanted, reader


def test_counts_and_bounds_become_icebergs(root):
    """As pyiceberg shows them; a millisecond is rounded away from the rows."""
    delta_extremes(root)
    migrate_backend(storage=root, to="iceberg")
    everything = open_iceberg(root / "users").scan().to_arrow().to_pylist()
    files = open_iceberg(root / "users").inspect.files().to_pylist()
    assert sum(file["record_count"] for file in files) == len(everything)
    for file in files:
        metrics = file["readable_metrics"]
        low, high = metrics["id"]["lower_bound"], metrics["id"]["upper_bound"]
        inside = [row for row in everything if low <= row["id"] <= high]
        assert len(inside) == file["record_count"]
        for name in ("name", "n", "day", "at", "money", "kind"):
            values = [row[name] for row in inside if row[name] is not None]
            assert metrics[name]["null_value_count"] == len(inside) - len(values)
            assert metrics[name]["value_count"] == len(inside)
            assert metrics[name]["lower_bound"] <= min(values)
            upper = metrics[name]["upper_bound"]
            assert upper is None or upper >= max(values)
