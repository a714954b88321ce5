"""Where two features meet: histories and vacuums, deletes and partitions, types and statistics."""

import shutil

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import StaticTable
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from parquedb import DB
from parquedb.backends import check_backend, create_backend, migrate_backend
from parquedb.catalog import FilesystemCatalog
from parquedb.errors import ConflictError, StorageError, UnsupportedError
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from tests.support import duck
from tests.support.histories import people
from tests.support.rows import assert_same_rows


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


def test_a_check_of_both_tables_after_another_programs_vacuum(root):
    folder = root / "users"
    write_deltalake(folder, people(0, 20))
    DeltaTable(folder).delete("id < 5")
    migrate_backend(storage=root, to="iceberg", files="copy")
    table = DeltaTable(folder)
    assert table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    report = check_backend(root, deep=True)
    assert report.healthy, report.namespaces["users"].findings
    assert any("deleted by a vacuum" in note for note in report.namespaces["users"].notes)

    for name in table.file_uris():
        (folder / name.rsplit("/", 1)[-1]).unlink()
    findings = check_backend(root, deep=True).namespaces["users"].findings
    assert any("does not exist" in str(found) for found in findings)


def assert_delta_rows(folder, wanted, version=None):
    """Compare one version in delta-rs, DuckDB and Polars."""
    assert_same_rows(DeltaTable(folder, version=version).to_pyarrow_table(), wanted)
    assert_same_rows(duck.rows_delta(folder, version), wanted)
    assert_same_rows(pl.scan_delta(str(folder), version=version).collect().to_arrow(), wanted)


class TestTwoIcebergTablesOfOneDeltaTable:
    """Both have ids of their own, and the Delta table's files carry those of either."""

    @pytest.fixture
    def root(self, tmp_path):
        rows = {"id": [1, 2], "a": ["a1", "a2"], "b": ["b1", None], "k": ["p", "q"]}
        write_deltalake(tmp_path / "d" / "users", pa.table(rows))
        for warehouse in ("w1", "w2"):
            self.migrate(tmp_path, "iceberg", warehouse)
        return tmp_path

    def migrate(self, root, to, warehouse, **options):
        source = {"iceberg": "delta", "delta": "iceberg"}[to]
        return migrate_backend(
            storage=root,
            to=to,
            from_=source,
            warehouse=warehouse,
            location="d",
            namespaces="users",
            **options,
        ).namespaces["users"]

    def alter(self, root, warehouse, **renames):
        table = FilesystemCatalog("lake", warehouse=str(root / warehouse)).load_table("users")
        with table.update_schema() as update:
            for old, new in renames.items():
                update.rename_column(old, new)
        return table

    def test_renames_in_both(self, root):
        """``c`` is the second table's field 3, and another of the first one's."""
        self.alter(root, "w2", b="c")
        self.migrate(root, "delta", "w2")
        self.migrate(root, "iceberg", "w1")
        self.alter(root, "w1", a="z")
        self.migrate(root, "delta", "w1")
        wanted = [
            {"id": 1, "z": "a1", "c": "b1", "k": "p"},
            {"id": 2, "z": "a2", "c": None, "k": "q"},
        ]
        assert_delta_rows(root / "d" / "users", wanted)
        found = check_backend(root, "users", warehouse="w1", location="d", deep=True)
        assert found.healthy, found

    def test_a_name_that_iceberg_gave_up_and_delta_uses_again(self, root):
        self.alter(root, "w1", b="c")
        self.migrate(root, "delta", "w1")
        delta = create_backend(type="delta", storage=root, location="d")
        delta.evolve_schema("users", add_column={"name": "b", "type": "int64"})
        with pytest.raises(UnsupportedError, match="the column 'b' has a name that another column"):
            self.migrate(root, "iceberg", "w1")
        wanted = [
            {"id": 1, "a": "a1", "c": "b1", "k": "p"},
            {"id": 2, "a": "a2", "c": None, "k": "q"},
        ]
        table = FilesystemCatalog("lake", warehouse=str(root / "w1")).load_table("users")
        assert_same_rows(table.scan().to_arrow(), wanted)

    def test_a_column_renamed_in_delta_has_another_id_in_iceberg(self, tmp_path):
        """It is no new column: bounds and null counts of the files that stay are its own."""
        rows = pa.table({"id": [1, 2], "n": [5, 6], "k": ["p", "q"]})
        catalog = FilesystemCatalog("lake", warehouse=str(tmp_path / "w1"))
        catalog.create_table("users", rows.schema).append(rows)
        self.migrate(tmp_path, "delta", "w1")
        create_backend(type="delta", storage=tmp_path, location="d").rename_column(
            "users", "n", "q"
        )
        self.migrate(tmp_path, "iceberg", "w1")
        table = catalog.load_table("users")
        for name in ("delete_column", "add_column", "delete_column"):  # two columns named k
            with table.update_schema() as update:
                getattr(update, name)(*(("k", LongType()) if name == "add_column" else ("k",)))
        table.append(table.scan().to_arrow())
        self.migrate(tmp_path, "delta", "w1", verify="content")
        folder = tmp_path / "d" / "users"
        assert_delta_rows(folder, table.scan().to_arrow())
        assert DeltaTable(folder).to_pyarrow_table(filters=[("q", "=", 5)]).num_rows == 2


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.NO_SPACE])
def test_a_run_with_nothing_to_carry_finishes_what_a_killed_one_did_not(root, kind):
    """Readers that are given a folder trust the hint, which is written last."""
    folder = root / "users"
    write_deltalake(folder, people(0, 3))
    migrate_backend(storage=root, to="iceberg")
    write_deltalake(folder, people(5, 3), mode="append")
    hint = ("replace", "users/metadata/version-hint.text")
    pristine = shutil.copytree(root, root.parent / "pristine")
    counted = inject(LocalStore(root), None)
    migrate_backend(storage=counted, from_="delta", to="iceberg")
    shutil.rmtree(root)
    shutil.copytree(pristine, root)
    fault = Fault(counted.log.index(hint), kind)
    with pytest.raises((SimulatedCrashError, StorageError)):
        migrate_backend(storage=inject(LocalStore(root), fault), from_="delta", to="iceberg")
    assert StaticTable.from_metadata(str(folder)).scan().to_arrow().num_rows == 3

    report = migrate_backend(storage=root, from_="delta", to="iceberg").namespaces["users"]
    assert report.action == "skipped"
    assert StaticTable.from_metadata(str(folder)).scan().to_arrow().num_rows == 6
    assert check_backend(root, deep=True).healthy


def test_files_that_delta_partitions_complete_are_written_again_when_it_has_none(tmp_path):
    """delta-rs leaves partition columns out of files; without partitions they would read null."""
    catalog = FilesystemCatalog("it", warehouse=tmp_path)
    rows = [{"id": n, "k": f"k{n % 2}"} for n in range(4)]
    fields = NestedField(1, "id", LongType()), NestedField(2, "k", StringType())
    by_k = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "k"))
    table = catalog.create_table("users", Schema(*fields), partition_spec=by_k)
    table.append(pa.Table.from_pylist(rows))
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users"}
    migrate_backend(**carry, from_="iceberg", to="delta", files="rewrite")
    more = [{"id": n, "k": f"k{n}"} for n in (7, 8)]
    folder = tmp_path / "d/users"
    write_deltalake(folder, pa.Table.from_pylist(more), mode="append")
    migrate_backend(**carry, from_="delta", to="iceberg", files="rewrite")
    with catalog.load_table("users").update_schema() as change:
        change.rename_column("k", "c")
    migrate_backend(**carry, from_="iceberg", to="delta", verify="content")
    wanted = [{"id": row["id"], "c": row["k"]} for row in (*rows, *more)]
    found = pa.table(DeltaTable(folder).scan()).to_pylist()
    assert sorted(found, key=lambda row: row["id"]) == wanted
    newest = DeltaTable(folder).version()
    before = pa.table(DeltaTable(folder, version=newest - 1).scan()).to_pylist()
    assert sorted(before, key=lambda row: row["id"]) == [*rows, *more]


def test_a_name_that_was_dropped_and_added_again_without_a_snapshot_is_carried(tmp_path):
    catalog = FilesystemCatalog("it", warehouse=tmp_path)
    table = catalog.create_table("users", pa.schema([("id", pa.int64()), ("a", pa.string())]))
    table.append(pa.table({"id": [1, 2], "a": ["x", "y"]}))
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users", "verify": "content"}
    migrate_backend(**carry, to="delta")
    with table.update_schema() as change:
        change.delete_column("a")
    with table.update_schema() as change:
        change.add_column("a", StringType())
    for versions in (1, 0):  # the second time there is nothing to carry
        report = migrate_backend(**carry, from_="iceberg", to="delta")
        assert report.namespaces["users"].versions == versions
        found = pa.table(DeltaTable(tmp_path / "d/users").scan()).to_pylist()
        assert found == [{"id": 1, "a": None}, {"id": 2, "a": None}]


def test_a_table_that_stopped_being_partitioned_goes_back(tmp_path):
    """One batch adds the same files twice, with the partition values of each time."""
    catalog = FilesystemCatalog("it", warehouse=tmp_path / "w")
    fields = NestedField(1, "id", LongType()), NestedField(2, "k", StringType())
    by_k = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "k"))
    table = catalog.create_table("users", Schema(*fields), partition_spec=by_k)
    table.append(pa.table({"id": [1, 2], "k": ["a", "b"]}))
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users", "verify": "content"}
    migrate_backend(**carry, warehouse="w", to="delta")
    with table.update_schema() as change:
        change.rename_column("k", "c")
    migrate_backend(**carry, warehouse="w", from_="iceberg", to="delta", delete_source=True)
    migrate_backend(**carry, warehouse="w2", from_="delta", to="iceberg")
    copy = FilesystemCatalog("it", warehouse=tmp_path / "w2").load_table("users")
    for number, snapshot in enumerate(copy.snapshots()):
        found = copy.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        name = found.column_names[1]
        assert name == ("k" if number < len(copy.snapshots()) - 1 else "c")
        assert_same_rows(found, [{"id": 1, name: "a"}, {"id": 2, name: "b"}])
    first = copy.snapshots()[0]
    files = copy.scan(snapshot_id=first.snapshot_id).plan_files()
    assert {task.file.partition[0] for task in files} == {"a", "b"}


def test_columns_renamed_without_a_snapshot_are_known_to_later_runs(tmp_path):
    """delta-rs records no field ids; what its table has after such a change is found again."""
    folder = tmp_path / "d/users"
    write_deltalake(folder, pa.table({"id": [1, 2], "b": ["x", "y"]}))
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users", "verify": "content"}
    migrate_backend(**carry, from_="delta", to="iceberg")
    table = FilesystemCatalog("it", warehouse=tmp_path).load_table("users")
    with table.update_schema() as change:
        change.rename_column("b", "c")
    with table.update_schema() as change:
        change.add_column("n", StringType())
    migrate_backend(**carry, from_="iceberg", to="delta")
    table.append(pa.table({"id": [3], "c": ["z"], "n": ["new"]}))
    with table.update_schema() as change:
        change.move_first("c")
    migrate_backend(**carry, from_="iceberg", to="delta")
    rows = [(1, "x", None), (2, "y", None), (3, "z", "new")]
    found = pa.table(DeltaTable(folder).scan())
    assert found.column_names == ["c", "id", "n"]
    assert_same_rows(found, [{"c": c, "id": id_, "n": n} for id_, c, n in rows])
    assert migrate_backend(**carry, from_="iceberg", to="delta").namespaces["users"].versions == 0


def test_files_that_stay_after_a_rollback_behind_a_promotion_have_the_types_of_then(tmp_path):
    """Polars and Spark refuse integers of 64 bits in a column of 32."""
    catalog = FilesystemCatalog("it", warehouse=tmp_path)
    table = catalog.create_table("users", pa.schema([("id", pa.int64()), ("n", pa.int32())]))
    table.append(pa.table({"id": [1], "n": pa.array([7], pa.int32())}))
    first = table.current_snapshot().snapshot_id
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users", "verify": "content"}
    with table.update_schema() as change:
        change.update_column("n", LongType())
    table.append(pa.table({"id": [2], "n": [2**40]}))
    migrate_backend(**carry, from_="iceberg", to="delta")
    table.manage_snapshots().rollback_to_snapshot(first).commit()
    migrate_backend(**carry, from_="iceberg", to="delta")
    folder = tmp_path / "d/users"
    kinds = {"integer": pa.int32(), "long": pa.int64()}
    for version in range(DeltaTable(folder).version() + 1):
        at = DeltaTable(folder, version=version)
        kind = kinds[at.schema().fields[1].type.type]
        assert {pq.read_schema(uri).field("n").type for uri in at.file_uris()} == {kind}
        rows = [{"id": 1, "n": 7}, {"id": 2, "n": 2**40}]
        found = pl.scan_delta(str(folder), version=version).collect().to_arrow()
        assert_same_rows(found, rows if version == 1 else rows[:1])


def test_columns_that_got_their_old_names_back_without_a_snapshot(tmp_path):
    """Iceberg's writers make no new schema of columns that one had before: it is current again."""
    catalog = FilesystemCatalog("it", warehouse=tmp_path)
    table = catalog.create_table("users", pa.schema([("id", pa.int64()), ("a", pa.string())]))
    table.append(pa.table({"id": [1], "a": ["x"]}))
    with table.update_schema() as change:
        change.rename_column("a", "b")
    table.append(pa.table({"id": [2], "b": ["y"]}))
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users", "verify": "content"}
    migrate_backend(**carry, from_="iceberg", to="delta")
    with table.update_schema() as change:
        change.rename_column("b", "a")
    migrate_backend(**carry, from_="iceberg", to="delta")
    table.append(pa.table({"id": [3], "a": ["z"]}))
    migrate_backend(**carry, from_="iceberg", to="delta")
    found = pa.table(DeltaTable(tmp_path / "d/users").scan())
    assert_same_rows(found, [{"id": i, "a": a} for i, a in ((1, "x"), (2, "y"), (3, "z"))])


def test_columns_that_only_ids_tell_apart_are_refused_where_there_are_none(tmp_path):
    folder = tmp_path / "d/users"
    write_deltalake(folder, pa.table({"id": [1], "a": ["x"], "b": ["y"]}))
    carry = {"storage": tmp_path, "location": "d", "namespaces": "users", "verify": "content"}
    migrate_backend(**carry, from_="delta", to="iceberg", files="rewrite")
    table = FilesystemCatalog("it", warehouse=tmp_path).load_table("users")
    for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
        with table.update_schema() as change:
            change.rename_column(old, new)
    with table.update_schema() as change:
        change.move_before("a", "b")
    version = DeltaTable(folder).version()
    with pytest.raises(UnsupportedError, match="records no field ids"):
        migrate_backend(**carry, from_="iceberg", to="delta")
    assert DeltaTable(folder).version() == version
    migrate_backend(**{**carry, "location": "e"}, from_="iceberg", to="delta")
    other = pa.table(DeltaTable(tmp_path / "e/users").scan())
    assert_same_rows(other, [{"id": 1, "a": "y", "b": "x"}])


@pytest.mark.parametrize(
    "way",
    [
        ("native", "iceberg", "delta"),
        ("iceberg", "delta", "native"),
        ("delta", "iceberg", "native"),
        ("iceberg", "native", "delta"),
    ],
)
def test_a_table_that_went_by_way_of_another_goes_home_the_same_way(root, way):
    """What the table in between had in common with the first is not forgotten for the last."""
    first, between, last = way

    def write(name):
        with DB(root) as db:
            db.users.create({"name": name})

    def move(from_, to):
        options = {"allow_lossy": True, "verify": "content"}
        return migrate_backend(storage=root, from_=from_, to=to, **options).namespaces["users"]

    with DB(root, backend=first) as db:
        db.users.create_many([{"name": f"n{i}"} for i in range(5)])
    move(first, between)
    write("in between")
    move(between, last)
    write("last")
    told = "keeps no older version" if between == "native" else "go the same way: migrate"
    with pytest.raises(ConflictError, match=f"in common by way of the .* table, which .*{told}"):
        move(last, first)
    assert move(last, between).action == "migrated"
    if between == "native":
        return
    assert move(between, first).action == "migrated"
    assert move(between, first).action == "skipped"
    write("first")
    names = {f"n{i}" for i in range(5)} | {"in between", "last", "first"}
    with DB(root) as db:
        assert {one["name"] for one in db.users.find()} == names
    assert move(first, between).action == "migrated"
    assert check_backend(root, deep=True).healthy
    if between == "delta":
        found = DeltaTable(root / "users").to_pyarrow_table()
    else:
        found = FilesystemCatalog("lake", warehouse=str(root)).load_table("users").scan().to_arrow()
    assert set(found["name"].to_pylist()) == names
