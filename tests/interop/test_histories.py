"""Histories that are no mere appends: moved back, tagged, replaced, cut, out of order."""

import json
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.table import StaticTable
from pyiceberg.types import StringType

from parquedb.backends import check_backend, cleanup_backend, create_backend, migrate_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import FormatError, LossyError, UnsupportedError
from parquedb.formats.delta.reader import DeltaReader
from parquedb.formats.iceberg.reader import IcebergReader
from parquedb.storage.local import LocalStore
from tests.support.damage import edit_metadata, seen
from tests.support.histories import Known, known_delta, people
from tests.support.targets import assert_delta_has, assert_iceberg_has, open_iceberg

T0 = 1_700_000_000_000


def catalog(root):
    return FilesystemCatalog("test", warehouse=root.as_uri())


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def migrated(root, to, **options):
    """Migrate, check the result, and return the report."""
    report = migrate_backend(storage=root, to=to, verify="content", **options)
    assert check_backend(root, deep=True).healthy
    return report.namespaces["users"]


# Iceberg


@pytest.fixture
def table(root):
    made = catalog(root).create_table(("default", "users"), people(0, 1).schema)
    for start in (0, 5, 10):
        made.append(people(start, 5))
    return made


def main_of(table) -> list[Known]:
    """Return the history of main as pyiceberg tells it."""
    table.refresh()
    chain, snapshot = [], table.current_snapshot()
    while snapshot is not None:
        chain.append(snapshot)
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)
    return [
        Known(
            s.snapshot_id,
            s.timestamp_ms,
            table.scan(snapshot_id=s.snapshot_id).to_arrow().to_pylist(),
        )
        for s in reversed(chain)
    ]


def ids(table):
    return [s.snapshot_id for s in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)]


def test_rollback_and_on(root, table):
    table.manage_snapshots().rollback_to_snapshot(ids(table)[0]).commit()
    table.append(people(100, 3))
    wanted = main_of(table)
    assert [len(known.rows) for known in wanted] == [5, 8]
    migrated(root, "delta")
    assert_delta_has(root / "users", wanted)


def test_rollback_after_the_migration(root, table):
    migrated(root, "delta")
    table.manage_snapshots().rollback_to_snapshot(ids(table)[0]).commit()
    table.append(people(100, 3))
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert "the source no longer has them" in report.lost[0]
    assert create_backend(type="delta", storage=root).to_arrow("users").num_rows == 8


def test_current_snapshot_set_to_one_that_is_no_ancestor(root, table):
    first, second, third = ids(table)
    table.manage_snapshots().rollback_to_snapshot(first).commit()
    table.append(people(100, 3))
    table.manage_snapshots().set_current_snapshot(third).commit()
    wanted = main_of(table)
    assert [known.version for known in wanted] == [first, second, third]
    migrated(root, "delta")
    assert_delta_has(root / "users", wanted)


def test_a_staged_snapshot_that_is_published(root, table):
    """Write, audit, publish: a snapshot that no branch has, then picked onto main."""
    before = ids(table)[1]
    table.append(people(50, 2))
    staged = table.current_snapshot()
    table.manage_snapshots().rollback_to_snapshot(before).commit()
    wanted = main_of(table)
    assert staged.snapshot_id not in [known.version for known in wanted]
    migrated(root, "delta")
    assert_delta_has(root / "users", wanted)

    def pick(metadata):  # as Iceberg's cherry-pick of a snapshot whose parent is another one
        chosen = next(s for s in metadata["snapshots"] if s["snapshot-id"] == staged.snapshot_id)
        chosen["parent-snapshot-id"] = before
        metadata["current-snapshot-id"] = staged.snapshot_id
        metadata["refs"]["main"]["snapshot-id"] = staged.snapshot_id

    edit_metadata(root / "users", pick)
    fresh = IcebergReader(LocalStore(root), "users")
    live = fresh.snapshot()
    assert live.rows == 17
    report = migrate_backend(storage=root, to="delta", verify="content").namespaces["users"]
    assert report.versions == 1
    assert create_backend(type="delta", storage=root).to_arrow("users").num_rows == 17


def test_expired_snapshots(root, table):
    first, second, third = ids(table)

    def expire(metadata):
        metadata["snapshots"] = [s for s in metadata["snapshots"] if s["snapshot-id"] != first]
        metadata["snapshot-log"] = metadata["snapshot-log"][1:]

    edit_metadata(root / "users", expire)
    wanted = [known for known in known_of(root) if known.version in (second, third)]
    report = migrated(root, "delta")
    assert report.lost == (f"the versions before {second}: the source no longer has them",)
    assert_delta_has(root / "users", wanted)


def known_of(root):
    files = (root / "users/metadata").glob("*.metadata.json")
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    found = StaticTable.from_metadata(str(newest))
    return [
        Known(
            s.snapshot_id,
            s.timestamp_ms,
            found.scan(snapshot_id=s.snapshot_id).to_arrow().to_pylist(),
        )
        for s in sorted(found.snapshots(), key=lambda s: s.sequence_number or 0)
    ]


@pytest.mark.parametrize("same", [True, False])
def test_a_table_that_was_replaced(root, table, same):
    """Dropped and created again in the same place: another uuid; or emptied under its own."""
    migrated(root, "delta")
    if same:
        with table.update_schema() as update:
            update.add_column("more", StringType())
        table.overwrite(people(70, 4, more=pa.array(list("abcd"))))
        report = migrated(root, "delta")
        assert report.action == "migrated"
        assert create_backend(type="delta", storage=root).to_arrow("users").num_rows == 4
        return

    def rename(metadata):
        metadata["table-uuid"] = str(uuid.UUID(int=7))

    edit_metadata(root / "users", rename)
    before = seen(root)
    with pytest.raises(Exception, match="Conflict with existing data"):
        migrate_backend(storage=root, to="delta")
    assert seen(root) == before
    report = migrate_backend(storage=root, to="delta", on_conflict="force").namespaces["users"]
    assert report.action == "migrated"


# Branches and tags


def test_tags_go_there_and_back(root, table):
    first, second, third = ids(table)
    table.manage_snapshots().create_tag(first, "v1.0").create_tag(first, "first ä").create_tag(
        third, "newest"
    ).create_branch(second, "side").commit()
    report = migrated(root, "delta")
    assert report.lost == ("the branch 'side'",)
    log = root / "users/_delta_log"
    infos = [json.loads((log / f"{v:020d}.json").read_text().splitlines()[0]) for v in range(3)]
    assert [info["commitInfo"].get("tags") for info in infos] == [
        {"parquedb.tag.v1.0": "", "parquedb.tag.first ä": ""}, None, {"parquedb.tag.newest": ""},
    ]  # fmt: skip
    assert len(DeltaTable(root / "users").history()) == 3
    assert_delta_has(root / "users", main_of(table))
    shutil.rmtree(root / "users/metadata")
    migrated(root, "iceberg")
    back = open_iceberg(root / "users")
    names = {name: ref.snapshot_id for name, ref in back.metadata.refs.items() if name != "main"}
    order = ids(back)
    assert names == {"v1.0": order[0], "first ä": order[0], "newest": order[2]}
    assert back.scan(snapshot_id=back.snapshot_by_name("v1.0").snapshot_id).to_arrow().num_rows == 5


def test_a_tag_that_is_set_too_late_is_listed(root, table):
    migrated(root, "delta")
    table.manage_snapshots().create_tag(ids(table)[0], "late").commit()
    report = migrated(root, "delta")
    assert report.lost == ("the tag 'late'",)
    table.append(people(60, 1))
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "in time").commit()
    report = migrated(root, "delta")
    assert report.lost == ("the tag 'late'",)
    assert DeltaReader(LocalStore(root), "users").tags() == {3: ("in time",)}
    with pytest.raises(LossyError, match="the tag 'late'"):
        cleanup_backend(root, "users", "iceberg")


def test_a_tag_of_the_latest_version_only(root, table):
    table.manage_snapshots().create_tag(ids(table)[2], "newest").create_tag(
        ids(table)[0], "old"
    ).commit()
    report = migrate_backend(storage=root, to="delta", history="latest").namespaces["users"]
    assert "the tag 'old'" in report.lost
    assert "the tag 'newest'" not in report.lost
    assert DeltaReader(LocalStore(root), "users").tags() == {0: ("newest",)}


def test_deleting_a_source_with_branches_needs_permission(root, table):
    table.manage_snapshots().create_branch(ids(table)[1], "side").commit()
    with pytest.raises(LossyError, match="the branch 'side'"):
        migrate_backend(storage=root, to="delta", delete_source=True)
    assert (root / "users/metadata").exists()
    migrate_backend(storage=root, to="delta", delete_source=True, allow_lossy=True)
    assert not (root / "users/metadata").exists()


def test_tags_of_a_table_that_went_to_and_fro(root, table):
    """A tag moves with a migration; somebody's own tag and branch of that name stay."""
    table.manage_snapshots().create_tag(ids(table)[2], "prod").create_tag(
        ids(table)[1], "mine"
    ).commit()
    migrated(root, "delta")
    shutil.rmtree(root / "users/metadata")
    migrated(root, "iceberg")
    delta = root / "users/_delta_log"
    write_deltalake(root / "users", people(90, 1), mode="append")
    path = delta / f"{3:020d}.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"]["tags"] = {"parquedb.tag.prod": "", "other": "x"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    migrated(root, "iceberg")
    back = open_iceberg(root / "users")
    order = ids(back)
    refs = {name: ref.snapshot_id for name, ref in back.metadata.refs.items()}
    assert refs == {"main": order[3], "prod": order[3], "mine": order[1]}


# Delta


class Log:
    """A Delta table whose log is written by hand."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "users"
        self.log = self.folder / "_delta_log"
        self.log.mkdir(parents=True)
        self.version = 0
        self.files = 0

    def head(self, **configuration):
        fields = [
            {"name": "id", "type": "long", "nullable": True, "metadata": {}},
            {"name": "name", "type": "string", "nullable": True, "metadata": {}},
        ]
        metadata = {
            "id": str(uuid.UUID(int=1)), "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps({"type": "struct", "fields": fields}),
            "partitionColumns": [], "configuration": configuration, "createdTime": T0,
        }  # fmt: skip
        return [
            {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
            {"metaData": metadata},
        ]

    def add(self, rows=3):
        path = self.folder / f"part-{self.files}.parquet"
        start = self.files * 10
        self.files += 1
        names = [f"n{i}" for i in range(start, start + rows)]
        pq.write_table(
            pa.table({"id": pa.array(range(start, start + rows), pa.int64()), "name": names}), path
        )
        return {
            "add": {
                "path": path.name, "partitionValues": {}, "size": path.stat().st_size,
                "modificationTime": T0, "dataChange": True,
                "stats": json.dumps({"numRecords": rows}),
            }
        }  # fmt: skip

    def commit(self, *actions, at_ms=None, mtime_ms=None):
        lines = list(actions)
        if at_ms is not None:
            info = {"timestamp": at_ms, "operation": "WRITE", "operationParameters": {}}
            lines.insert(0, {"commitInfo": info})
        path = self.log / f"{self.version:020d}.json"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        at = (at_ms if mtime_ms is None else mtime_ms) or T0
        os.utime(path, ns=(at * 1_000_000, at * 1_000_000))
        self.version += 1

    def known(self, times):
        return [
            Known(v, at, DeltaTable(self.folder, version=v).to_pyarrow_table().to_pylist())
            for v, at in enumerate(times)
        ]


def test_clocks_that_stand_still_or_go_back(root):
    log = Log(root)
    log.commit(*log.head(), log.add(), at_ms=T0)
    log.commit(log.add(), at_ms=T0)
    log.commit(log.add(), at_ms=T0)
    log.commit(log.add(), at_ms=T0 - 5_000_000)
    log.commit(log.add(), at_ms=T0 + 1000)
    wanted = log.known([T0, T0 + 1, T0 + 2, T0 + 3, T0 + 1000])
    migrated(root, "iceberg")
    assert_iceberg_has(root / "users", wanted)
    assert [v.at_ms for v in DeltaReader(LocalStore(root), "users").history()] == [
        known.at_ms for known in wanted
    ]


def test_empty_commits_and_commits_that_say_nothing_of_themselves(root):
    log = Log(root)
    log.commit(*log.head(), mtime_ms=T0)
    log.commit(log.add(), mtime_ms=T0 + 10)
    log.commit(at_ms=T0 + 20)
    log.commit({"txn": {"appId": "a", "version": 3}}, mtime_ms=T0 + 30)
    log.commit(mtime_ms=T0 + 40)
    log.commit(log.add(), mtime_ms=T0 + 50)
    wanted = log.known([T0 + 10 * n for n in range(6)])
    assert migrate_backend(storage=root, to="iceberg", verify="content").success
    assert_iceberg_has(root / "users", wanted)
    # a commit without a byte is read as what it says, and looks like one that was cut short
    (finding,) = check_backend(root, deep=True).namespaces["users"].findings
    assert finding.path.endswith(f"{4:020d}.json")


def test_restore(root):
    folder = root / "users"
    for start in (0, 5, 10):
        write_deltalake(folder, people(start, 5), mode="append")
    DeltaTable(folder).delete("id >= 5")
    DeltaTable(folder).restore(1)
    write_deltalake(folder, people(50, 2), mode="append")
    wanted = known_delta(folder)
    assert [len(known.rows) for known in wanted] == [5, 10, 15, 5, 10, 12]
    migrated(root, "iceberg")
    assert_iceberg_has(folder, wanted)


@pytest.mark.parametrize("new_id", [False, True], ids=["same-id", "new-id"])
def test_create_or_replace(root, new_id):
    """Replaced by a table of other columns, whose log goes on; its id may change."""
    folder = root / "users"
    write_deltalake(folder, people(0, 5))
    write_deltalake(folder, people(5, 5), mode="append")
    migrated(root, "iceberg")
    other = pa.table({"key": ["a", "b"], "small": pa.array([1, 2], pa.int32())})
    write_deltalake(folder, other, mode="overwrite", schema_mode="overwrite")
    if new_id:
        path = folder / "_delta_log" / f"{2:020d}.json"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "metaData" in line:
                line["metaData"]["id"] = str(uuid.UUID(int=9))
        stat = path.stat()
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    wanted = known_delta(folder)
    report = migrate_backend(storage=root, to="iceberg", verify="content").namespaces["users"]
    assert report.versions == 1
    assert_iceberg_has(folder, wanted)


def test_replacing_a_table_by_one_of_other_types_is_refused_by_name(root):
    folder = root / "users"
    write_deltalake(folder, people(0, 5))
    other = pa.table({"id": ["x", "y"]})
    write_deltalake(folder, other, mode="overwrite", schema_mode="overwrite")
    before = seen(root)
    with pytest.raises(UnsupportedError, match="type of column 'id' changes from int64 to string"):
        migrate_backend(storage=root, to="iceberg")
    assert seen(root) == before


def loose(field):
    """Return an Arrow field that may be null at any depth."""
    type_ = field.type
    if pa.types.is_struct(type_):
        type_ = pa.struct([loose(type_.field(i)) for i in range(type_.num_fields)])
    return pa.field(field.name, type_, nullable=True)


def replaced_by_checkpoint(root, kind):
    """Let a log of delta-rs begin with a checkpoint of a kind, at version 2."""
    folder = root / "users"
    for start in (0, 5, 10):
        write_deltalake(folder, people(start, 5), mode="append")
    DeltaTable(folder).create_checkpoint()
    write_deltalake(folder, people(20, 5), mode="append")
    log = folder / "_delta_log"
    classic = log / f"{2:020d}.checkpoint.parquet"
    actions = pq.read_table(classic)
    for version in range(3):
        (log / f"{version:020d}.json").unlink()
    if kind == "classic":
        return
    (log / "_last_checkpoint").unlink()
    classic.unlink()
    is_add = pc.is_valid(actions["add"])
    adds, others = actions.filter(is_add), actions.filter(pc.invert(is_add))
    if kind == "multi-part":
        for part, rows in enumerate((others, adds.slice(0, 1), adds.slice(1)), 1):
            pq.write_table(rows, log / f"{2:020d}.checkpoint.{part:010d}.{3:010d}.parquet")
        return
    (log / "_sidecars").mkdir()
    sidecars = []
    for rows in (adds.slice(0, 2), adds.slice(2)):
        path = log / "_sidecars" / f"{uuid.UUID(int=len(sidecars) + 1)}.parquet"
        pq.write_table(rows.select(["add"]), path)
        sidecars.append(
            {"path": path.name, "sizeInBytes": path.stat().st_size, "modificationTime": T0}
        )
    name = f"{2:020d}.checkpoint.{uuid.UUID(int=5)}"
    head = others.to_pylist(maps_as_pydicts="lossy")
    plain = [{k: v for k, v in row.items() if v is not None} for row in head]
    lines = [*plain, {"checkpointMetadata": {"version": 2}}, *({"sidecar": s} for s in sidecars)]
    if kind == "v2-json":
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (log / f"{name}.json").write_text(text)
        return
    kind_of = pa.struct(
        [("path", pa.string()), ("sizeInBytes", pa.int64()), ("modificationTime", pa.int64())]
    )
    table = others.select([name for name in others.column_names if name != "sidecar"])
    table = table.cast(pa.schema([loose(field) for field in table.schema]))
    table = table.append_column("sidecar", pa.nulls(len(others), kind_of))
    extra = pa.table({"sidecar": pa.array(sidecars, kind_of)})
    pq.write_table(
        pa.concat_tables([table, extra], promote_options="default"), log / f"{name}.parquet"
    )


@pytest.mark.parametrize("kind", ["classic", "multi-part", "v2-json", "v2-parquet"])
def test_logs_that_begin_with_a_checkpoint(root, kind):
    replaced_by_checkpoint(root, kind)
    report = migrated(root, "iceberg")
    assert report.versions == 2
    assert report.lost == ("the versions before 2: the source no longer has them",)
    table = open_iceberg(root / "users")
    counts = [table.scan(snapshot_id=id_).to_arrow().num_rows for id_ in ids(table)]
    assert counts == [15, 20]


def test_a_sidecar_that_is_missing_or_nobodys(root):
    replaced_by_checkpoint(root, "v2-json")
    sidecars = root / "users/_delta_log/_sidecars"
    pq.write_table(pa.table({"x": [1]}), sidecars / "left.parquet")
    found = check_backend(root).namespaces["users"]
    assert found.healthy
    assert [o.path for o in found.orphans] == ["users/_delta_log/_sidecars/left.parquet"]
    min(sidecars.glob("0*.parquet")).unlink()
    before = seen(root)
    assert not check_backend(root).healthy
    with pytest.raises((FormatError, LookupError)):
        migrate_backend(storage=root, to="iceberg")
    assert seen(root) == before


def test_compacted_commits_are_ignored(root):
    log = Log(root)
    log.commit(*log.head(), log.add(), at_ms=T0)
    log.commit(log.add(), at_ms=T0 + 1000)
    log.commit(log.add(), at_ms=T0 + 2000)
    lines = [
        line
        for version in range(3)
        for line in (log.log / f"{version:020d}.json").read_text().splitlines()
        if "commitInfo" not in line
    ]
    (log.log / f"{0:020d}.{2:020d}.compacted.json").write_text("\n".join(lines) + "\n")
    wanted = log.known([T0, T0 + 1000, T0 + 2000])
    migrated(root, "iceberg")
    assert_iceberg_has(root / "users", wanted)


@pytest.mark.parametrize("history", ["full", "latest"])
def test_a_live_file_that_is_missing(root, history):
    log = Log(root)
    log.commit(*log.head(), log.add(), at_ms=T0)
    log.commit(log.add(), at_ms=T0 + 1000)
    (root / "users/part-1.parquet").unlink()
    before = seen(root)
    with pytest.raises(FormatError, match=r"'users/part-1.parquet' .*(missing|does not exist)"):
        migrate_backend(storage=root, to="iceberg", history=history)
    assert seen(root) == before


def test_only_the_latest_version_of_a_vacuumed_table(root):
    log = Log(root)
    first = log.add()
    log.commit(*log.head(), first, at_ms=T0)
    gone = {"path": first["add"]["path"], "deletionTimestamp": T0 + 500, "dataChange": True}
    log.commit({"remove": gone}, log.add(), at_ms=T0 + 1000)
    log.commit(log.add(), at_ms=T0 + 2000)
    (root / "users/part-0.parquet").unlink()
    report = migrate_backend(storage=root, to="iceberg", history="latest").namespaces["users"]
    assert report.versions == 1
    assert create_backend(type="iceberg", storage=root).to_arrow("users").num_rows == 6
    shutil.rmtree(root / "users/metadata")
    report = migrated(root, "iceberg")
    assert report.lost == ("1 versions before 1: data files that they need were deleted",)
    wanted = [replace(known, at_ms=T0 + 1000 * known.version) for known in known_delta_from(log, 1)]
    assert_iceberg_has(root / "users", wanted)


def known_delta_from(log, start):
    return [
        Known(v, 0, DeltaTable(log.folder, version=v).to_pyarrow_table().to_pylist())
        for v in range(start, log.version)
    ]
