"""Whole histories, from reference writers through a migration to reference readers."""

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from parquedb.backends import (
    create_backend,
    detect_existing_format,
    migrate_backend,
)
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import UnsupportedError
from tests.support.histories import (
    DELTA,
    ICEBERG,
    delta_plain,
    iceberg_plain,
    known_delta,
    known_iceberg,
    people,
)
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_delta_has, assert_iceberg_has, open_iceberg


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def fingerprints(folder):
    """Names, bytes and times of all files."""
    return {
        path.relative_to(folder): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_untouched(folder, before):
    after = fingerprints(folder)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("files", ["auto", "share", "copy", "rewrite"])
@pytest.mark.parametrize("name", DELTA)
def test_delta_to_iceberg(root, name, files):
    wanted = DELTA[name](root)
    before = fingerprints(root)
    report = migrate_backend(storage=root, to="iceberg", verify="content", files=files)
    assert report.namespaces["users"].versions == len(wanted)
    assert_iceberg_has(root / "users", wanted)
    assert_untouched(root, before)


@pytest.mark.parametrize("files", ["auto", "share", "copy", "rewrite"])
@pytest.mark.parametrize("name", ICEBERG)
def test_iceberg_to_delta(root, name, files):
    wanted = ICEBERG[name](root)
    before = fingerprints(root)
    if (name, files) == ("partitioned", "share"):  # Polars would read 'null' from kind=null/
        with pytest.raises(UnsupportedError, match="cannot be shared"):
            migrate_backend(storage=root, to="delta", files=files)
        assert fingerprints(root) == before
        return
    report = migrate_backend(storage=root, to="delta", verify="content", files=files)
    assert report.namespaces["users"].versions == len(wanted)
    assert_delta_has(root / "users", wanted)
    assert_untouched(root, before)


@pytest.mark.parametrize("name", DELTA)
def test_delta_to_iceberg_and_on_to_another_delta_table(root, name):
    wanted = DELTA[name](root)
    migrate_backend(storage=root, to="iceberg")
    report = migrate_backend(storage=root, from_="iceberg", to="delta", location="second")
    assert report.success
    assert_delta_has(root / "second" / "users", wanted)


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_native_file(root, target):
    path = root / "data" / "users" / "data.parquet"
    path.parent.mkdir(parents=True)
    table = people(0, 50)
    pq.write_table(table, path)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    before = fingerprints(root)
    report = migrate_backend(storage=root, to=target, verify="content").namespaces["users"]
    assert (report.versions, report.rows, report.verified) == (1, 50, "content")
    backend = create_backend(type=target, storage=root)
    assert [version.at_ms for version in backend.history("users")] == [1_600_000_000_000]
    if target == "iceberg":
        assert_same_rows(open_iceberg(root / "users").scan().to_arrow(), table)
    else:
        assert_same_rows(DeltaTable(root / "users").to_pyarrow_table(), table)
    assert_untouched(root, before)
    path.write_bytes(b"overwritten by another tool")
    assert backend.to_arrow("users").num_rows == 50


@pytest.mark.parametrize("place", ["data/users", "users"])
@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_hive_partitioned_folder_with_typed_values(root, target, place):
    kinds = pa.array([["a b", "x=1/ü%", None][i % 3] for i in range(30)])
    table = people(0, 30, kind=kinds, year=pa.array([2020 + i % 2 for i in range(30)], pa.int64()))
    partitioning = ds.partitioning(
        pa.schema([("year", pa.int64()), ("kind", pa.string())]), flavor="hive"
    )
    ds.write_dataset(table, root / place, format="parquet", partitioning=partitioning)
    before = fingerprints(root)
    migrate_backend(storage=root, to=target, verify="content")
    if target == "iceberg":
        found = open_iceberg(root / "users").scan(row_filter="year == 2021").to_arrow()
    else:
        found = DeltaTable(root / "users").to_pyarrow_table(filters=[("year", "=", 2021)])
    assert_same_rows(found, table.filter(pa.compute.equal(table["year"], 2021)))
    assert_untouched(root, before)


@pytest.mark.parametrize(("build", "source"), [(delta_plain, "delta"), (iceberg_plain, "iceberg")])
def test_table_to_native(root, build, source):
    wanted = build(root)
    report = migrate_backend(storage=root, to="native", allow_lossy=True, verify="content")
    assert any("time travel" in line for line in report.namespaces["users"].lost)
    found = pq.read_table(root / "data" / "users" / "data.parquet")
    assert_same_rows(found, wanted[-1].rows)
    assert detect_existing_format(root, "users").primary == "native"


def test_a_second_run_carries_what_is_new_and_a_third_writes_nothing(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    write_deltalake(root / "users", people(900, 3), mode="append")
    DeltaTable(root / "users").delete("id < 250")
    report = migrate_backend(storage=root, to="iceberg", verify="content").namespaces["users"]
    assert report.versions == 2
    assert_iceberg_has(root / "users", known_delta(root / "users"))
    before = fingerprints(root)
    report = migrate_backend(storage=root, to="iceberg").namespaces["users"]
    assert (report.action, report.versions) == ("skipped", 0)
    assert fingerprints(root) == before


def test_to_and_fro(root):
    """Delta to Iceberg; pyiceberg commits; back to the same Delta table; delta-rs commits; …."""
    wanted = delta_plain(root)
    users = root / "users"
    migrate_backend(storage=root, to="iceberg")
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    table = catalog.load_table(("default", "users"))
    table.append(people(700, 4))
    table.delete("id < 205")
    known = known_iceberg(table)
    assert len(known) >= len(wanted) + 2
    migrate_backend(storage=root, from_="iceberg", to="delta", verify="content")
    assert_delta_has(users, known, by_time=False)
    write_deltalake(users, people(800, 2), mode="append")
    DeltaTable(users).optimize.compact()
    migrate_backend(storage=root, from_="delta", to="iceberg", verify="content")
    assert_iceberg_has(users, known_delta(users))
    migrate_backend(storage=root, from_="iceberg", to="delta")
    assert len(known_delta(users)) == len(known) + 2


def test_both_tables_live_on_after_a_migration(root):
    """Written to, checkpointed, vacuumed and expired by others, history is still there."""
    wanted = delta_plain(root)
    users = root / "users"
    migrate_backend(storage=root, to="iceberg")
    migrate_backend(storage=root, from_="iceberg", to="delta", location="second")
    second = root / "second" / "users"
    for i in range(3):
        write_deltalake(second, people(1000 + i, 1), mode="append")
    table = DeltaTable(second)
    table.create_checkpoint()
    table.cleanup_metadata()
    table.vacuum(dry_run=False)
    DeltaTable(users).vacuum(dry_run=False, retention_hours=0, enforce_retention_duration=False)
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    iceberg = catalog.load_table(("default", "users"))
    for i in range(3):
        iceberg.append(people(2000 + i, 1))
    iceberg.maintenance.expire_snapshots().commit()
    assert_delta_has(second, known_delta(second), by_time=False)
    assert len(known_delta(second)) == len(wanted) + 3
    assert_iceberg_has(users, known_iceberg(iceberg))
    assert len(known_iceberg(iceberg)) == len(wanted) + 3


def test_links_keep_history_when_the_source_is_vacuumed(root):
    wanted = delta_plain(root)
    migrate_backend(storage=root, to="iceberg", files="link")
    table = DeltaTable(root / "users")
    gone = table.vacuum(dry_run=False, retention_hours=0, enforce_retention_duration=False)
    assert gone
    assert_iceberg_has(root / "users", wanted)


@pytest.mark.parametrize(
    ("build", "source", "target"),
    [
        (delta_plain, "delta", "iceberg"),
        (iceberg_plain, "iceberg", "delta"),
    ],
)
def test_delete_source(root, build, source, target):
    wanted = build(root)
    migrate_backend(storage=root, to=target, delete_source=True, verify="content")
    assert detect_existing_format(root, "users").formats == (target,)
    check = assert_iceberg_has if target == "iceberg" else assert_delta_has
    check(root / "users", wanted)


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_delete_native_source_moves_the_file(root, target):
    path = root / "users.parquet"
    pq.write_table(people(0, 10), path)
    inode = path.stat().st_ino
    migrate_backend(storage=root, to=target, delete_source=True)
    assert not path.exists()
    assert inode in {p.stat().st_ino for p in (root / "users").rglob("*.parquet")}
    assert create_backend(type=target, storage=root).to_arrow("users").num_rows == 10


def test_vacuumed_history_starts_where_it_can(root):
    delta_plain(root)
    table = DeltaTable(root / "users")
    table.vacuum(dry_run=False, retention_hours=0, enforce_retention_duration=False)
    wanted = known_delta(root / "users", start=3)
    report = migrate_backend(storage=root, to="iceberg", verify="content").namespaces["users"]
    assert "versions before 3" in report.lost[0]
    assert_iceberg_has(root / "users", wanted)


def test_every_target_file_is_readable_without_ours(root: Path):
    """Field ids, statistics and paths are judged by a filter that prunes."""
    DELTA["partitioned"](root)
    migrate_backend(storage=root, to="iceberg")
    table = open_iceberg(root / "users")
    everything = table.scan().to_arrow()
    for filter_ in (
        "id >= 30",
        "name > 'name 2'",
        "day < '1970-01-01'",
        "kind is null",
        "at >= '2024-01-01T00:00:20+00:00'",
        "small == 7",
        "money < 0.10",
    ):
        found = table.scan(row_filter=filter_).to_arrow()
        wanted = pa.Table.from_pylist(
            [row for row in everything.to_pylist() if _holds(filter_, row)], everything.schema
        )
        assert_same_rows(found, wanted)


def _holds(filter_, row):
    import datetime as dt
    import decimal

    conditions = {
        "id >= 30": row["id"] >= 30,
        "name > 'name 2'": row["name"] is not None and row["name"] > "name 2",
        "day < '1970-01-01'": row["day"] < dt.date(1970, 1, 1),
        "kind is null": row["kind"] is None,
        "at >= '2024-01-01T00:00:20+00:00'": row["at"]
        >= dt.datetime(2024, 1, 1, 0, 0, 20, tzinfo=dt.UTC),
        "small == 7": row["small"] == 7,
        "money < 0.10": row["money"] < decimal.Decimal("0.1"),
    }
    return conditions[filter_]


def test_where_the_file_system_cannot_link_files_are_shared_or_copied(root, monkeypatch):
    monkeypatch.setattr("parquedb.storage.local.LocalStore.link_many", lambda *_: False)
    wanted = DELTA["partitioned"](root)
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    files = report.to_json()["namespaces"]["users"]["files"]
    assert files["shared"] > files["linked"] == 0
    assert_iceberg_has(root / "users", wanted)
    report = migrate_backend(storage=root, from_="iceberg", to="delta", location="second")
    files = report.to_json()["namespaces"]["users"]["files"]
    assert files["copied"] > files["linked"] == 0
    assert_delta_has(root / "second" / "users", wanted)
