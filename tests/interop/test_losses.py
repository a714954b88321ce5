"""Ways in which rows could be lost while everything reports success: none of them may work."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.transaction import AddAction
from pyiceberg.types import StringType

from parquedb import DB
from parquedb.backends import (
    backend_status,
    cleanup_backend,
    migrate_backend,
    verify_backend,
)
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import (
    ConflictError,
    FormatError,
    LossyError,
    ParqueDBError,
    StateError,
    StorageError,
    UnsupportedError,
    VerificationError,
)
from parquedb.migrate.report import Action
from tests.interop.test_migration import fingerprints
from tests.support import duck
from tests.support.histories import delta_plain, known_delta, people
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_iceberg_has, metadata_file, open_iceberg


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def catalog(root):
    return FilesystemCatalog("test", warehouse=root.as_uri())


def documents(**rows):
    return pa.table({"$id": list(rows), "x": list(rows.values())})


def merged(root):
    """Delta holds a; Iceberg, after a merge, a and c."""
    write_deltalake(root / "users", documents(a=1))
    table = catalog(root).create_table(("default", "users"), documents(c=3).schema)
    table.append(documents(c=3))
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="merge")


def test_merged_rows_are_no_copy_of_the_source(root):
    merged(root)
    with pytest.raises(ConflictError):
        migrate_backend(storage=root, from_="iceberg", to="delta", delete_source=True)
    with pytest.raises((StateError, LossyError)):
        cleanup_backend(root, "users", "iceberg")
    rows = open_iceberg(root / "users").scan().to_arrow()
    assert_same_rows(rows, documents(a=1, c=3))


def test_after_a_merge_the_source_goes_on_by_key_or_by_force(root):
    merged(root)
    write_deltalake(root / "users", documents(c=30), mode="append")
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="merge")
    rows = open_iceberg(root / "users").scan().to_arrow()
    assert_same_rows(rows, documents(a=1, c=30))
    DeltaTable(root / "users").delete("x = 1")
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="force")
    assert_same_rows(open_iceberg(root / "users").scan().to_arrow(), documents(c=30))


@pytest.mark.parametrize("column", ["rowid", "part", "place", "c0"])
def test_a_merge_does_not_care_for_the_names_of_columns(root, column):
    ours = pa.table({"$id": ["b", "d", "e"], column: pa.array([None, None, 5], pa.int64())})
    theirs = pa.table({"$id": ["a", "b", "c"], column: pa.array([None, None, 8], pa.int64())})
    table = catalog(root).create_table(("default", "users"), ours.schema)
    with table.update_spec() as update:
        update.add_identity(column)
    table.append(ours)
    write_deltalake(root / "users", theirs)
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="merge")
    found = open_iceberg(root / "users").scan().to_arrow()
    assert sorted(found["$id"].to_pylist()) == ["a", "b", "c", "d", "e"]


def test_clean_up_wants_the_rows_that_were_copied_and_not_their_successors(root):
    path = root / "users.parquet"
    pq.write_table(people(0, 5), path)
    migrate_backend(storage=root, to="iceberg")
    pq.write_table(people(50, 5), path)
    with pytest.raises(StateError, match="nothing was deleted"):
        cleanup_backend(root, "users", "iceberg")
    assert_same_rows(open_iceberg(root / "users").scan().to_arrow(), people(0, 5))


def test_clean_up_wants_every_version(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg", history="latest")
    with pytest.raises(LossyError, match="6 versions"):
        cleanup_backend(root, "users", "delta")
    assert cleanup_backend(root, "users", "delta", allow_lossy=True).keys


def test_clean_up_wants_the_other_formats_files(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    table = DeltaTable(root / "users")
    table.vacuum(dry_run=False, retention_hours=0, enforce_retention_duration=False)
    with pytest.raises((StateError, LossyError)):
        cleanup_backend(root, "users", "iceberg")


def test_clean_up_wants_what_was_rolled_back(root):
    table = catalog(root).create_table(("default", "users"), people(0, 1).schema)
    table.append(people(0, 5))
    first = table.current_snapshot().snapshot_id
    table.append(people(5, 5))
    migrate_backend(storage=root, to="delta")
    table.refresh()
    table.manage_snapshots().rollback_to_snapshot(first).commit()
    with pytest.raises((StateError, LossyError)):
        cleanup_backend(root, "users", "delta")


def test_clean_up_wants_branches(root):
    table = catalog(root).create_table(("default", "users"), people(0, 1).schema)
    table.append(people(0, 5))
    main = table.current_snapshot().snapshot_id
    table.append(people(5, 5))
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "side").commit()
    table.manage_snapshots().rollback_to_snapshot(main).commit()
    migrate_backend(storage=root, to="delta")
    with pytest.raises(LossyError, match="branch 'side'"):
        cleanup_backend(root, "users", "iceberg")


def test_a_link_would_change_with_a_native_file_that_is_kept(root):
    pq.write_table(people(0, 5), root / "users.parquet")
    with pytest.raises(UnsupportedError, match="overwritten in place"):
        migrate_backend(storage=root, to="delta", files="link")


def add_files(folder, tables):
    """Commit Parquet files to a Delta table as they are."""
    table = DeltaTable(folder)
    actions = []
    for i, content in enumerate(tables):
        path = folder / f"added-{i}.parquet"
        pq.write_table(content, path)
        actions.append(
            AddAction(
                path.name, path.stat().st_size, {}, 0, True, f'{{"numRecords":{len(content)}}}'
            )
        )
    table.create_write_transaction(
        actions, "append", table.schema(), commit_properties=CommitProperties()
    )


def with_ids(table, **ids):
    fields = [
        field.with_metadata({"PARQUET:field_id": str(ids[field.name])}) for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def test_field_ids_that_mean_something_else_are_replaced(root):
    folder = root / "users"
    write_deltalake(folder, pa.table({"a": ["a0"], "b": ["b0"]}))
    odd = with_ids(pa.table({"a": ["a2"], "b": ["b2"]}), a=2, b=1)
    add_files(folder, [pa.table({"a": ["a1"], "b": ["b1"]}), odd])
    wanted = known_delta(folder)
    report = migrate_backend(storage=root, to="iceberg", verify="content")
    assert report.to_json()["namespaces"]["users"]["files"]["footer"] == 1
    assert_iceberg_has(folder, wanted)


@pytest.mark.parametrize("kind", [VerificationError, StorageError, KeyboardInterrupt])
def test_a_failed_verification_is_not_forgotten(root, monkeypatch, kind):
    def fail(*_):
        raise kind("Verification failed: as the test wants it")

    delta_plain(root)
    with monkeypatch.context() as patch:
        patch.setattr("parquedb.migrate.execute.verify_counts", fail)
        with pytest.raises(kind):
            migrate_backend(storage=root, to="iceberg")
    with monkeypatch.context() as patch:
        patch.setattr("parquedb.migrate.execute.verify_content", fail)
        with pytest.raises(kind):
            migrate_backend(storage=root, from_="delta", to="iceberg", delete_source=True)
    assert len(known_delta(root / "users")) == 7
    assert migrate_backend(storage=root, from_="delta", to="iceberg").success


def test_a_file_that_could_not_be_verified_is_not_forgotten(root):
    delta_plain(root)
    damaged = max((root / "users").glob("*.parquet"), key=lambda path: path.stat().st_size)
    data = damaged.read_bytes()
    damaged.write_bytes(data[:4] + bytes(60) + data[64:])  # pages; the footer is whole
    for _ in range(2):
        with pytest.raises(FormatError, match=r"\.parquet.*Invalid data Deserializing.*; restore"):
            migrate_backend(storage=root, to="iceberg", verify="content")
        with pytest.raises(StateError, match="no other format holds"):
            cleanup_backend(root, "users", "delta")
        assert backend_status(root).namespaces["users"].detection.primary == "delta"
    damaged.write_bytes(data)
    for copy in (root / "users").rglob(f"*/{damaged.name}"):
        copy.write_bytes(data)
    assert migrate_backend(storage=root, to="iceberg", verify="content").success
    cleanup_backend(root, "users", "delta")


def test_who_asks_for_the_content_of_a_complete_migration_has_it_compared(root):
    delta_plain(root)
    report = migrate_backend(storage=root, to="iceberg")
    assert report.namespaces["users"].verified == "count"
    for verify, verified in (("count", None), ("content", "content")):
        again = migrate_backend(storage=root, from_="delta", to="iceberg", verify=verify)
        assert again.namespaces["users"].action is Action.SKIPPED
        assert again.namespaces["users"].verified == verified
    damaged = max((root / "users").glob("*.parquet"), key=lambda path: path.stat().st_size)
    data = damaged.read_bytes()
    damaged.write_bytes(data[:4] + bytes(60) + data[64:])
    with pytest.raises(FormatError, match=r"\.parquet.*Invalid data Deserializing.*; restore"):
        migrate_backend(
            storage=root, from_="delta", to="iceberg", verify="content", delete_source=True
        )
    damaged.write_bytes(data)
    assert len(known_delta(root / "users")) == 7


def test_files_after_an_update_by_delta_rs_are_readable_together(root):
    folder = root / "users"
    write_deltalake(folder, pa.table({"id": [1, 2, 3], "g": ["p", "q", "r"]}))
    DeltaTable(folder).update(updates={"id": "id + 10"}, predicate="id = 2")
    write_deltalake(folder, pa.table({"id": [4], "g": ["s"]}), mode="append")
    wanted = known_delta(folder)
    migrate_backend(storage=root, to="iceberg", verify="content")
    assert_iceberg_has(folder, wanted)


@pytest.mark.parametrize("names", [("a", "A"), ("Name", "name")])
def test_columns_that_differ_in_case_only_are_refused(root, names):
    pq.write_table(pa.table({names[0]: [1], names[1]: [2]}), root / "users.parquet")
    with pytest.raises(UnsupportedError, match="differ in case"):
        migrate_backend(storage=root, to="iceberg")


def test_a_schema_change_without_rows_is_no_difference(root):
    table = catalog(root).create_table(("default", "users"), pa.schema([("x", pa.int64())]))
    table.append(pa.table({"x": [1]}))
    with table.update_schema() as update:
        update.add_column("y", StringType())
    migrate_backend(storage=root, to="delta", verify="content")
    assert verify_backend(root, "users", "iceberg")["equal"] is True
    report = migrate_backend(storage=root, from_="iceberg", to="delta")
    assert report.namespaces["users"].action == "skipped"


def test_a_missing_namespace_holds_back_the_others(root):
    pq.write_table(people(0, 5), root / "users.parquet")
    with pytest.raises(ParqueDBError, match="No data found"):
        migrate_backend(storage=root, to="iceberg", namespaces=["users", "nobody"])
    assert [path.name for path in root.iterdir()] == ["users.parquet"]


def test_file_names_with_uri_characters(root):
    folder = root / "data" / "users"
    folder.mkdir(parents=True)
    pq.write_table(people(0, 5), folder / "a#b?c%20d e.parquet")
    migrate_backend(storage=root, to="iceberg")
    assert_same_rows(open_iceberg(root / "users").scan().to_arrow(), people(0, 5))
    assert_same_rows(duck.rows_iceberg(metadata_file(root / "users")), people(0, 5).to_pylist())


def test_a_source_is_not_cleaned_up_while_the_other_table_has_a_file_that_was_cut_short(root):
    pq.write_table(pa.table({"x": [1, 2]}), root / "users.parquet")
    migrate_backend(storage=root, to="iceberg")
    before = fingerprints(root)
    (copy,) = (root / "users" / "data").glob("*.parquet")
    data = copy.read_bytes()
    copy.write_bytes(data[:-1])
    with pytest.raises(StateError, match=r"with all files whole; .*parquedb check users"):
        cleanup_backend(root, "users", "native")
    copy.write_bytes(data)
    assert fingerprints(root).keys() == before.keys()
    cleanup_backend(root, "users", "native")
    assert not (root / "users.parquet").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dry_vacuum_writes_nothing(root, dry_run):
    pq.write_table(pa.table({"$id": ["a"], "x": [1]}), root / "users.parquet")
    before = set(root.rglob("*"))
    with DB(str(root)) as db:
        assert db.vacuum(dry_run=dry_run)["users"].files == ()
    assert not dry_run or set(root.rglob("*")) == before
