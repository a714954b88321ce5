"""Partitioning of every kind, there and back, under filters by readers that are not ours."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from parquedb.backends import migrate_backend
from tests.support.filtered import filters_of, found_in_delta
from tests.support.histories import iceberg_table, known_iceberg
from tests.support.targets import assert_delta_has

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


def assert_filtered(found, folder, rows, version, kinds):
    for kind in kinds:
        for wanted in filters_of(kind, rows):
            ids = sorted(row["id"] for row in rows if wanted.keeps(row))
            for reader, seen in found(folder, wanted, version, VALUES[kind].type):
                assert sorted(seen) == ids, (reader, wanted)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_becomes_statistics_by_which_no_reader_loses_rows(root, transform):
    kinds = TRANSFORMS[transform]
    wanted = two_appends(root, transform, kinds)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == []
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, kinds)
    (warning,) = [line for line in report.warnings if "not partitioned" in line]
    assert transform.split("[")[0] in warning
    assert ("has no equal" in warning) == transform.startswith("bucket")


def test_columns_stay_partition_columns(root):
    wanted = two_appends(root, "identity", TELLABLE)
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == list(TELLABLE)
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, TELLABLE)
    assert not any("not partitioned" in line for line in report.warnings)


@pytest.mark.parametrize("kind", ["string", "binary", "decimal"])
def test_values_that_delta_cannot_tell_make_the_table_unpartitioned(root, kind):
    wanted = two_appends(root, "identity", [kind])
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert metadata_of(root / "users")[0]["partitionColumns"] == []
    assert_delta_has(root / "users", wanted)
    assert_filtered(found_in_delta, root / "users", wanted[-1].rows, 1, [kind])
    assert any("cannot be told apart" in line for line in report.warnings)
