"""Tables that were moved back between two runs: by a rollback, or by restoring a backup."""

import shutil
from datetime import UTC, datetime

import pytest
from deltalake import DeltaTable, write_deltalake

from parquedb.backends import (
    backend_status,
    check_backend,
    cleanup_backend,
    migrate_backend,
    verify_backend,
)
from parquedb.catalog import FilesystemCatalog
from parquedb.db import DB
from parquedb.errors import ConflictError, LossyError, StateError
from tests.support.damage import edit_metadata, seen
from tests.support.histories import Known, known_delta, people
from tests.support.targets import assert_delta_has, open_iceberg


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


@pytest.fixture
def carried(root):
    """A Delta table of four versions, carried into Iceberg; return the versions."""
    for start in (0, 5, 10):
        write_deltalake(root / "users", people(start, 5), mode="append")
    DeltaTable(root / "users").delete("id < 3")
    migrate(root, to="iceberg")
    return known_delta(root / "users")


def migrate(root, **options):
    report = migrate_backend(storage=root, verify="content", **options).namespaces["users"]
    assert check_backend(root, deep=True).healthy
    return report


def notes(root):
    return backend_status(root).namespaces["users"].notes


def table_of(root):
    return FilesystemCatalog("test", warehouse=root.as_uri()).load_table(("default", "users"))


def ids(table):
    return [s.snapshot_id for s in sorted(table.snapshots(), key=lambda s: s.sequence_number)]


def move(root, place):
    """Make another snapshot the current one; return when that was, milliseconds."""
    table = table_of(root)
    table.manage_snapshots().set_current_snapshot(ids(table)[place]).commit()
    return table_of(root).metadata.snapshot_log[-1].timestamp_ms


def test_a_rollback_goes_back_to_the_delta_table_that_it_came_from(root, carried):
    at_ms = move(root, 1)
    assert any("Iceberg was moved back" in note for note in notes(root))
    report = migrate(root, from_="iceberg", to="delta")
    assert not any("moved" in note for note in notes(root))
    assert (report.action, report.versions) == ("migrated", 1)
    wanted = [*carried, Known(4, at_ms, carried[1].rows)]
    assert_delta_has(root / "users", wanted, by_time=False)
    table = DeltaTable(root / "users")
    table.load_as_version(datetime.fromtimestamp(at_ms / 1000, UTC))
    assert table.version() == 4
    for way in ({"from_": "iceberg", "to": "delta"}, {"from_": "delta", "to": "iceberg"}):
        assert migrate(root, **way).action == "skipped"
    assert verify_backend(root, "users", against="iceberg")["equal"]


def test_rows_after_a_rollback_go_back_too(root, carried):
    move(root, 1)
    table_of(root).append(people(50, 2))
    newest = table_of(root).current_snapshot()
    migrate(root, from_="iceberg", to="delta")
    rows = [*carried[1].rows, *people(50, 2).to_pylist()]
    wanted = [*carried, Known(4, newest.timestamp_ms, rows)]
    assert_delta_has(root / "users", wanted, by_time=False)


def test_back_and_forth_and_on(root, carried):
    times = []
    for place in (0, 2):
        times.append(move(root, place))
        migrate(root, from_="iceberg", to="delta")
    write_deltalake(root / "users", people(70, 1), mode="append")
    assert migrate(root, from_="delta", to="iceberg").versions == 1
    rows = open_iceberg(root / "users").scan().to_arrow().to_pylist()
    found = DeltaTable(root / "users").to_pyarrow_table().to_pylist()
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in found)
    assert len(rows) == 16
    assert migrate(root, from_="iceberg", to="delta").action == "skipped"


def test_a_table_that_is_merely_behind_has_no_news(root, carried):
    write_deltalake(root / "users", people(70, 1), mode="append")
    assert migrate(root, from_="iceberg", to="delta").action == "skipped"
    assert DeltaTable(root / "users").version() == 4


def test_a_rollback_and_other_rows_in_the_delta_table_are_a_conflict(root, carried):
    move(root, 1)
    write_deltalake(root / "users", people(70, 1), mode="append")
    before = seen(root)
    with pytest.raises(ConflictError, match="or moved back, since version 3"):
        migrate_backend(storage=root, from_="iceberg", to="delta")
    assert seen(root) == before


def test_a_target_that_was_rolled_back_is_a_conflict(root, carried):
    move(root, 1)
    before = seen(root)
    with pytest.raises(ConflictError, match="moved back"):
        migrate_backend(storage=root, from_="delta", to="iceberg")
    assert seen(root) == before
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="force")
    assert open_iceberg(root / "users").scan().to_arrow().num_rows == 12
    assert migrate(root, from_="delta", to="iceberg").action == "skipped"


def test_a_rollback_whose_undone_snapshots_expired_needs_force(root, carried):
    """Nothing says any more that the table was not merely behind."""
    move(root, 1)

    def expire(metadata):
        metadata["snapshots"] = metadata["snapshots"][:2]
        metadata["snapshot-log"] = metadata["snapshot-log"][-1:]

    edit_metadata(root / "users", expire)
    assert migrate(root, from_="iceberg", to="delta").action == "skipped"
    assert migrate(root, from_="iceberg", to="delta", on_conflict="force").versions == 1
    assert DeltaTable(root / "users").to_pyarrow_table().num_rows == 10


def test_clean_up_keeps_a_table_whose_rollback_was_not_carried(root):
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    table = catalog.create_table(("default", "users"), people(0, 1).schema)
    table.append(people(0, 5))
    table.append(people(5, 5))
    migrate(root, to="delta")
    move(root, 0)
    before = seen(root)
    with pytest.raises(StateError, match="run migrate-backend first"):
        cleanup_backend(root, "users", "iceberg", allow_lossy=True)
    assert seen(root) == before
    report = migrate(root, to="delta")
    assert "1 snapshot of no branch (rolled back, replaced or staged)" in report.lost
    with pytest.raises(LossyError, match="1 snapshot of no branch"):
        cleanup_backend(root, "users", "iceberg")
    cleanup_backend(root, "users", "iceberg", allow_lossy=True)
    assert DeltaTable(root / "users").to_pyarrow_table().num_rows == 5


def test_a_branch_that_main_is_moved_to_comes_with_its_snapshots(root):
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    table = catalog.create_table(("default", "users"), people(0, 1).schema)
    table.append(people(0, 5))
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "side").commit()
    table.append(people(5, 1), branch="side")
    table.append(people(6, 1), branch="side")
    table.append(people(20, 5))
    migrate(root, to="delta")
    table.refresh()
    head = table.snapshot_by_name("side").snapshot_id
    table.manage_snapshots().set_current_snapshot(head).commit()
    report = migrate(root, to="delta")
    assert report.versions == 2
    counts = [DeltaTable(root / "users", version=v).to_pyarrow_table().num_rows for v in range(4)]
    assert counts == [5, 10, 6, 7]


@pytest.mark.parametrize("news", [1, 2], ids=["as-many", "more"])
def test_a_backup_that_was_written_to_again_is_a_conflict(root, tmp_path, news):
    """The same identity and version number, and another version."""
    folder = root / "users"
    write_deltalake(folder, people(0, 5))
    write_deltalake(folder, people(5, 5), mode="append")
    shutil.copytree(folder, tmp_path / "backup")
    write_deltalake(folder, people(10, 5), mode="append")
    migrate_backend(storage=root, to="iceberg", warehouse="copy")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    for start in range(news):
        write_deltalake(folder, people(100 + 5 * start, 5), mode="append")
    wanted = known_delta(folder)
    before = seen(root)
    planned = migrate_backend(storage=root, to="iceberg", warehouse="copy", dry_run=True)
    assert planned.namespaces["users"].action == "refused"
    with pytest.raises(ConflictError, match=r"version 2 .* is not the one that was carried"):
        migrate_backend(storage=root, to="iceberg", warehouse="copy")
    assert seen(root) == before
    options = {"warehouse": "copy", "on_conflict": "force", "verify": "content"}
    migrate_backend(storage=root, to="iceberg", **options)
    found = open_iceberg(root / "copy/users").scan().to_arrow()
    assert sorted(found["id"].to_pylist()) == sorted(row["id"] for row in wanted[-1].rows)


def test_a_backup_that_is_behind_is_carried(root, tmp_path):
    folder = root / "users"
    write_deltalake(folder, people(0, 5))
    shutil.copytree(folder, tmp_path / "backup")
    write_deltalake(folder, people(5, 5), mode="append")
    migrate_backend(storage=root, to="iceberg", warehouse="copy")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    migrate_backend(storage=root, to="iceberg", warehouse="copy", verify="content")
    assert open_iceberg(root / "copy/users").scan().to_arrow().num_rows == 5
    write_deltalake(folder, people(100, 1), mode="append")
    migrate_backend(storage=root, to="iceberg", warehouse="copy", verify="content")
    assert open_iceberg(root / "copy/users").scan().to_arrow().num_rows == 6


def test_a_rollback_while_the_table_is_migrated(root):
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    table = catalog.create_table(("default", "users"), people(0, 1).schema)
    for start in (0, 5, 10):
        table.append(people(start, 5))
    batches = []

    def on_progress(progress):
        if progress.phase == "write":
            batches.append(progress)
            if len(batches) == 1:
                move(root, 1)
            elif len(batches) == 3:  # the rollback has become a version
                table_of(root).append(people(50, 1))

    report = migrate(root, to="delta", batch_size=2, on_progress=on_progress)
    counts = [DeltaTable(root / "users", version=v).to_pyarrow_table().num_rows for v in range(5)]
    assert counts == [5, 10, 15, 10, 11]
    assert report.versions == 5
    assert migrate(root, to="delta").action == "skipped"


@pytest.mark.parametrize("back", [1, 2])
def test_a_collection_that_was_moved_back_gets_nothing_again_from_its_journal(root, back):
    with DB(root, backend="iceberg", durability="os") as db:
        for number in range(3):
            db.Users.create({"name": f"user {number}"})
            db.flush()
        move(root, -1 - back)
        late = db.Users.create({"name": "late"})
        names = [f"user {number}" for number in range(3 - back)]
        assert sorted(user.name for user in db.Users.find()) == ["late", *names]
        migrate(root, to="delta")
        assert sorted(user.name for user in db.Users.find()) == ["late", *names]
        assert db.Users.get(late.id) == late
    with DB(root) as db:
        assert db.Users.count() == len(names) + 1
