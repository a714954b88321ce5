"""What happens where the target holds other data: refuse, force, merge."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from parquedb.backends import migrate_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import ConflictError, InvalidInputError, LossyError, UnsupportedError
from tests.interop.test_migration import assert_untouched, fingerprints
from tests.support.histories import delta_plain, known_delta, people
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_iceberg_has, open_iceberg


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def native(root, table):
    path = root / "data" / "users" / "data.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def documents(ids, *, version=1, title="old", day=1):
    at = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
    ids = list(ids)
    return pa.table(
        {
            "$id": [f"users/{i}" for i in ids],
            "version": pa.array([version] * len(ids), pa.int32()),
            "updatedAt": pa.array([at] * len(ids), pa.timestamp("us", "UTC")),
            "title": [title] * len(ids),
        }
    )


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_other_data_is_refused_and_nothing_changes(root, target):
    native(root, people(0, 5))
    if target == "delta":
        write_deltalake(root / "users", people(50, 5))
    else:
        catalog = FilesystemCatalog("test", warehouse=root.as_uri())
        catalog.create_table(("default", "users"), people(0, 1).schema).append(people(50, 5))
    before = fingerprints(root)
    with pytest.raises(ConflictError, match=r"Conflict with existing data.*5 rows"):
        migrate_backend(storage=root, from_="native", to=target)
    assert fingerprints(root) == before


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_force_keeps_the_old_rows_in_the_history(root, target):
    native(root, people(0, 5))
    if target == "delta":
        write_deltalake(root / "users", people(50, 6))
    else:
        catalog = FilesystemCatalog("test", warehouse=root.as_uri())
        catalog.create_table(("default", "users"), people(0, 1).schema).append(people(50, 6))
    migrate_backend(storage=root, from_="native", to=target, on_conflict="force", verify="content")
    if target == "delta":
        assert_same_rows(DeltaTable(root / "users", version=0).to_pyarrow_table(), people(50, 6))
        assert_same_rows(DeltaTable(root / "users").to_pyarrow_table(), people(0, 5))
    else:
        table = open_iceberg(root / "users")
        first = min(table.snapshots(), key=lambda s: s.sequence_number)
        assert_same_rows(table.scan(snapshot_id=first.snapshot_id).to_arrow(), people(50, 6))
        assert_same_rows(table.scan().to_arrow(), people(0, 5))
    again = migrate_backend(storage=root, from_="native", to=target)
    assert again.namespaces["users"].action == "skipped"


def test_both_moved_on_is_a_conflict(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    write_deltalake(root / "users", people(900, 3), mode="append")
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    catalog.load_table(("default", "users")).append(people(950, 2))
    before = fingerprints(root)
    with pytest.raises(ConflictError, match="written to by others"):
        migrate_backend(storage=root, from_="delta", to="iceberg")
    assert fingerprints(root) == before


def test_a_moved_target_is_no_conflict_if_the_source_has_nothing_new(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    catalog.load_table(("default", "users")).append(people(950, 2))
    report = migrate_backend(storage=root, from_="delta", to="iceberg")
    assert report.namespaces["users"].action == "skipped"


@pytest.mark.parametrize("target", ["iceberg", "delta"])
def test_merge_takes_version_then_time_then_source(root, target):
    write_deltalake(
        root / "users",
        pa.concat_tables(
            [
                documents([1], title="only target"),
                documents([2], version=1, title="target older version"),
                documents([3], version=5, title="target newer version"),
                documents([4], day=1, title="target older time"),
                documents([5], day=9, title="target newer time"),
                documents([6], title="target same"),
                documents([7], title="equal"),
            ]
        ),
    )
    if target == "iceberg":
        migrate_backend(storage=root, to="iceberg", delete_source=True)
    native(
        root,
        pa.concat_tables(
            [
                documents([0], title="only source"),
                documents([2], version=2, title="source newer version"),
                documents([3], version=4, title="source older version"),
                documents([4], day=8, title="source newer time"),
                documents([5], day=2, title="source older time"),
                documents([6], title="source same"),
                documents([7], title="equal"),
            ]
        ),
    )
    report = migrate_backend(storage=root, from_="native", to=target, on_conflict="merge")
    counts = report.namespaces["users"].merge
    assert (counts.only_in_target, counts.only_in_source) == (1, 1)
    assert (counts.source_newer, counts.target_newer, counts.equal) == (3, 2, 1)
    folder = root / "users"
    found = (
        DeltaTable(folder).to_pyarrow_table()
        if target == "delta"
        else open_iceberg(folder).scan().to_arrow()
    )
    titles = {row["$id"]: row["title"] for row in found.to_pylist()}
    assert titles == {
        "users/0": "only source",
        "users/1": "only target",
        "users/2": "source newer version",
        "users/3": "target newer version",
        "users/4": "source newer time",
        "users/5": "target newer time",
        "users/6": "source same",
        "users/7": "equal",
    }


def test_merge_widens_schemas_and_keeps_partitions(root):
    table = people(0, 4, kind=pa.array(["a", "b", None, "a"]))
    write_deltalake(root / "users", table, partition_by=["kind"])
    news = people(2, 4, kind=pa.array(["c", "c", None, "b"]), more=pa.array([1, 2, 3, 4]))
    native(root, news)
    report = migrate_backend(
        storage=root, from_="native", to="delta", on_conflict="merge", key="id"
    )
    counts = report.namespaces["users"].merge
    assert (counts.only_in_target, counts.only_in_source) == (2, 2)
    found = DeltaTable(root / "users").to_pyarrow_table()
    assert sorted(found["id"].to_pylist()) == [0, 1, 2, 3, 4, 5]
    assert DeltaTable(root / "users").metadata().partition_columns == ["kind"]
    by_id = {row["id"]: (row["kind"], row["more"]) for row in found.to_pylist()}
    assert by_id == {
        0: ("a", None),
        1: ("b", None),
        2: ("c", 1),
        3: ("c", 2),
        4: (None, 3),
        5: ("b", 4),
    }


def test_merge_refuses_types_that_do_not_go_together(root):
    write_deltalake(root / "users", pa.table({"id": [1], "x": ["text"]}))
    native(root, pa.table({"id": [1], "x": [1.5]}))
    before = fingerprints(root)
    with pytest.raises(UnsupportedError, match=r"Migration failed: Schema mismatch.*'x'"):
        migrate_backend(storage=root, from_="native", to="delta", on_conflict="merge", key="id")
    assert fingerprints(root) == before


@pytest.mark.parametrize("ids", [[1, 1], [1, None]])
def test_merge_refuses_keys_that_identify_no_row(root, ids):
    write_deltalake(root / "users", pa.table({"id": [1, 2]}))
    native(root, pa.table({"id": pa.array(ids, pa.int64())}))
    before = fingerprints(root)
    with pytest.raises(InvalidInputError, match=r"not unique|is null"):
        migrate_backend(storage=root, from_="native", to="delta", on_conflict="merge", key="id")
    assert fingerprints(root) == before


def test_after_a_merge_only_another_merge_goes_on(root):
    delta_plain(root)
    migrate_backend(storage=root, to="iceberg")
    catalog = FilesystemCatalog("test", warehouse=root.as_uri())
    catalog.load_table(("default", "users")).append(people(950, 2))
    write_deltalake(root / "users", people(960, 2), mode="append")
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="merge", key="id")
    write_deltalake(root / "users", people(970, 2), mode="append")
    with pytest.raises(ConflictError, match="Conflict with existing data"):
        migrate_backend(storage=root, from_="delta", to="iceberg")
    migrate_backend(storage=root, from_="delta", to="iceberg", on_conflict="merge", key="id")
    ids = open_iceberg(root / "users").scan().to_arrow()["id"].to_pylist()
    assert sorted(ids) == [*range(200, 209), 300, 950, 951, 960, 961, 970, 971]


def test_dry_run_writes_nothing(root):
    delta_plain(root)
    before = fingerprints(root)
    report = migrate_backend(storage=root, to="iceberg", dry_run=True)
    assert report.to_json()["dry_run"] is True
    assert report.namespaces["users"].versions == len(known_delta(root / "users"))
    assert fingerprints(root) == before


def test_one_refusal_leaves_every_namespace_unchanged(root):
    native(root, people(0, 5))
    pq.write_table(pa.table({"t": pa.array([1], pa.time64("us"))}), root / "posts.parquet")
    before = fingerprints(root)
    with pytest.raises(LossyError, match="posts"):
        migrate_backend(storage=root, to="delta")
    assert fingerprints(root) == before
    migrate_backend(storage=root, to="delta", namespaces=["users"])
    assert_untouched(root, before)
    assert_same_rows(DeltaTable(root / "users").to_pyarrow_table(), people(0, 5))


def test_history_latest_carries_one_version(root):
    wanted = delta_plain(root)
    migrate_backend(storage=root, to="iceberg", history="latest")
    assert_iceberg_has(root / "users", wanted[-1:])
