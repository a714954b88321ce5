"""The filesystem catalog under pyiceberg's own operations, and its folders in other readers."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NoSuchViewError,
    TableAlreadyExistsError,
)
from pyiceberg.expressions import EqualTo
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, LongType, StringType

from parquedb.catalog import FilesystemCatalog
from parquedb.errors import InvalidInputError, StateError, UnsupportedError
from tests.support import duck
from tests.support.rows import assert_same_rows
from tests.support.spark import iceberg_catalog, read_iceberg_at
from tests.support.tables import make_iceberg, people, sql_catalog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def catalog(tmp_path: Path) -> FilesystemCatalog:
    return FilesystemCatalog("lake", warehouse=str(tmp_path))


@pytest.fixture
def users(catalog: FilesystemCatalog) -> Table:
    table = catalog.create_table("users", people(0, 1).schema)
    table.append(people(0, 6))
    return table


def hint(folder: Path) -> int:
    return int((folder / "metadata" / "version-hint.text").read_text())


class TestTables:
    def test_a_new_table_is_version_1_in_its_folder(
        self, catalog: FilesystemCatalog, tmp_path: Path
    ) -> None:
        table = catalog.create_table("users", people(0, 1).schema)
        assert table.metadata_location == f"file://{tmp_path}/users/metadata/v1.metadata.json"
        assert table.location() == f"file://{tmp_path}/users"
        assert hint(tmp_path / "users") == 1
        with pytest.raises(TableAlreadyExistsError, match="exists already"):
            catalog.create_table("default.users", people(0, 1).schema)
        assert catalog.create_table_if_not_exists("users", people(0, 1).schema) == table

    def test_each_commit_is_the_next_version(self, users: Table, tmp_path: Path) -> None:
        users.append(people(6, 4))
        assert users.metadata_location.endswith("/v3.metadata.json")
        assert hint(tmp_path / "users") == 3
        assert [entry.metadata_file for entry in users.metadata.metadata_log] == [
            f"file://{tmp_path}/users/metadata/v{n}.metadata.json" for n in (1, 2)
        ]
        assert_same_rows(users.scan().to_arrow(), people(0, 10))

    def test_a_commit_without_changes_writes_nothing(self, users: Table) -> None:
        before = users.metadata_location
        with users.transaction() as transaction:
            transaction.set_properties({})
        assert users.refresh().metadata_location == before

    def test_delete_overwrite_upsert(self, users: Table, tmp_path: Path) -> None:
        users.delete(EqualTo("id", 0))
        users.overwrite(people(3, 3))
        update = people(5, 2).set_column(1, "name", pa.array(["five", "six"]))
        result = users.upsert(update, join_cols=["id"])
        assert (result.rows_updated, result.rows_inserted) == (1, 1)
        expected = people(3, 4).to_pylist()
        expected[2]["name"], expected[3]["name"] = "five", "six"
        assert_same_rows(users.scan().to_arrow(), expected)
        assert_same_rows(duck.rows_iceberg(tmp_path / "users"), expected)

    def test_schema_evolution(self, users: Table, tmp_path: Path) -> None:
        with users.update_schema() as update:
            update.add_column("nick", StringType())
            update.update_column("visits", LongType())
            update.update_column("score", DoubleType())
            update.rename_column("name", "full_name")
            update.delete_column("paid")
            update.move_first("country")
        rows = users.scan().to_arrow()
        assert rows.column_names[0] == "country"
        assert rows.column("full_name").to_pylist() == people(0, 6).column("name").to_pylist()
        assert rows.column("nick").null_count == 6
        assert_same_rows(duck.rows_iceberg(tmp_path / "users"), rows)

    def test_partition_evolution(self, users: Table, tmp_path: Path) -> None:
        with users.update_spec() as update:
            update.add_identity("country")
        users.append(people(6, 6))
        users.delete(EqualTo("country", "CH"))
        expected = [row for row in people(0, 12).to_pylist() if row["country"] != "CH"]
        assert_same_rows(users.scan().to_arrow(), expected)
        assert_same_rows(duck.rows_iceberg(tmp_path / "users"), expected)
        assert (tmp_path / "users" / "data" / "country=DE").is_dir()

    def test_partitioned_from_the_start(self, catalog: FilesystemCatalog) -> None:
        schema = catalog._convert_schema_if_needed(people(0, 1).schema)
        country = PartitionField(3, 1000, IdentityTransform(), "country")
        from pyiceberg.schema import assign_fresh_schema_ids

        table = catalog.create_table(
            "sales.eu.orders",
            assign_fresh_schema_ids(schema),
            partition_spec=PartitionSpec(country),
        )
        table.append(people(0, 9))
        assert len(table.inspect.files()) == 3

    def test_tags_and_expiry(self, users: Table) -> None:
        first = users.current_snapshot()
        assert first is not None
        users.append(people(6, 4))
        users.append(people(10, 1))
        second = users.metadata.snapshots[1].snapshot_id
        users.manage_snapshots().create_tag(first.snapshot_id, "begin").commit()
        users.maintenance.expire_snapshots().by_id(second).commit()
        assert len(users.refresh().snapshots()) == 2
        tagged = users.scan().use_ref("begin").to_arrow()
        assert_same_rows(tagged, people(0, 6))

    def test_create_in_a_transaction(self, catalog: FilesystemCatalog, tmp_path: Path) -> None:
        with catalog.create_table_transaction("users", people(0, 1).schema) as transaction:
            transaction.set_properties({"owner": "me"})
            transaction.append(people(0, 3))
        table = catalog.load_table("users")
        assert table.metadata_location.endswith("/v1.metadata.json")
        assert table.properties["owner"] == "me"
        assert_same_rows(duck.rows_iceberg(tmp_path / "users"), people(0, 3))

    def test_a_create_that_lost_the_race(self, catalog: FilesystemCatalog) -> None:
        transaction = catalog.create_table_transaction("users", people(0, 1).schema)
        catalog.create_table("users", people(0, 1).schema)
        with pytest.raises(CommitFailedException, match="already exists"):
            transaction.commit_transaction()

    def test_compressed_metadata(self, users: Table, tmp_path: Path) -> None:
        with users.transaction() as transaction:
            transaction.set_properties({"write.metadata.compression-codec": "gzip"})
        users.append(people(6, 4))
        assert users.metadata_location.endswith("/v4.gz.metadata.json")
        assert_same_rows(users.refresh().scan().to_arrow(), people(0, 10))

    def test_old_metadata_is_deleted_on_request(self, users: Table, tmp_path: Path) -> None:
        keep = {
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "1",
        }
        with users.transaction() as transaction:
            transaction.set_properties(keep)
        for start in (6, 7, 8):
            users.append(people(start, 1))
        names = {path.name for path in (tmp_path / "users/metadata").glob("v*.json")}
        assert names == {"v5.metadata.json", "v6.metadata.json"}
        assert_same_rows(users.refresh().scan().to_arrow(), people(0, 9))

    @pytest.mark.parametrize("name", ["a#b?c", "50%", "a b", "naïve", "x:y"])
    def test_folder_names_are_literal(self, tmp_path: Path, name: str) -> None:
        catalog = FilesystemCatalog("lake", warehouse=f"file://{tmp_path}/lake#1")
        table = catalog.create_table((name,), people(0, 1).schema)
        table.append(people(0, 2))
        assert (tmp_path / "lake#1" / name / "metadata" / "v2.metadata.json").is_file()
        assert list((tmp_path / "lake#1" / name / "data").iterdir())
        assert_same_rows(catalog.load_table((name,)).scan().to_arrow(), people(0, 2))

    def test_by_pyiceberg_configuration(self, users: Table, tmp_path: Path) -> None:
        catalog = load_catalog(
            "other",
            **{
                "py-catalog-impl": "parquedb.catalog.FilesystemCatalog",
                "warehouse": tmp_path.as_uri(),
            },
        )
        assert catalog.load_table(("default", "users")).metadata == users.metadata


class TestVersionHint:
    @pytest.mark.parametrize("stale", ["1", "", "99", None])
    def test_a_wrong_hint_is_not_believed_and_is_mended(
        self, users: Table, tmp_path: Path, stale: str | None
    ) -> None:
        path = tmp_path / "users" / "metadata" / "version-hint.text"
        path.unlink() if stale is None else path.write_text(stale)
        assert users.refresh().metadata_location.endswith("/v2.metadata.json")
        users.append(people(6, 1))
        assert hint(tmp_path / "users") == 3

    def test_it_follows_a_faster_writer(
        self, users: Table, catalog: FilesystemCatalog, tmp_path: Path
    ) -> None:
        users.append(people(6, 1))
        catalog._point("users", 2)  # a writer of version 2 that comes to its hint late
        assert hint(tmp_path / "users") == 3

    def test_a_commit_stands_without_its_hint(
        self, users: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "users" / "metadata" / "version-hint.text"
        path.unlink()
        path.mkdir()
        users.append(people(6, 1))
        assert "its version hint is stale" in caplog.text
        assert_same_rows(users.refresh().scan().to_arrow(), people(0, 7))


class TestConcurrency:
    def test_the_loser_is_told(self, users: Table, catalog: FilesystemCatalog) -> None:
        for table in (users, catalog.load_table("users")):
            with table.transaction() as transaction:
                transaction.set_properties({"commit.retry.num-retries": "0"})
        first, second = catalog.load_table("users"), catalog.load_table("users")
        with first.update_schema() as update:
            update.add_column("a", StringType())
        with pytest.raises(CommitFailedException):
            second.update_schema().add_column("b", StringType()).commit()

    def test_no_append_of_four_processes_is_lost(self, users: Table, tmp_path: Path) -> None:
        with users.transaction() as transaction:
            transaction.set_properties({"commit.retry.num-retries": "100"})
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=append_ten, args=(str(tmp_path), 1000 * worker))
            for worker in range(1, 5)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
        ids = set(users.refresh().scan().to_arrow().column("id").to_pylist())
        assert ids == set(range(6)) | {1000 * w + i for w in range(1, 5) for i in range(10)}
        assert len(users.snapshots()) == 41
        # one version a commit, none overwritten, and the hint at the last
        assert users.metadata_location.endswith("/v43.metadata.json")
        assert hint(tmp_path / "users") == 43
        assert len(duck.rows_iceberg(tmp_path / "users")) == 46


def append_ten(warehouse: str, start: int) -> None:
    """Append ten times, in a process of its own."""
    table = FilesystemCatalog("lake", warehouse=warehouse).load_table("users")
    for i in range(10):
        table.append(people(start + i, 1))


class TestIdentifiers:
    def test_namespaces_are_folders(self, catalog: FilesystemCatalog, tmp_path: Path) -> None:
        schema = people(0, 1).schema
        for identifier in ("users", "sales.orders", "sales.eu.orders"):
            catalog.create_table(identifier, schema)
        (tmp_path / "_parquedb").mkdir()
        (tmp_path / "data" / "native").mkdir(parents=True)
        assert (tmp_path / "sales" / "eu" / "orders" / "metadata").is_dir()
        assert catalog.list_namespaces() == [("default",), ("sales",)]
        assert catalog.list_namespaces("sales") == [("sales", "eu")]
        assert catalog.list_tables("default") == [("default", "users")]
        assert catalog.list_tables("sales") == [("sales", "orders")]
        assert catalog.list_tables("sales.eu") == [("sales", "eu", "orders")]
        assert catalog.load_namespace_properties("sales.eu") == {
            "location": f"file://{tmp_path}/sales/eu"
        }
        assert catalog.table_exists("sales.orders")
        assert not catalog.table_exists("sales.eu")

    def test_a_folder_default_is_found_too(self, tmp_path: Path) -> None:
        inner = FilesystemCatalog("inner", warehouse=str(tmp_path / "default"))
        inner.create_table("orders", people(0, 1).schema)
        catalog = FilesystemCatalog("lake", warehouse=str(tmp_path))
        catalog.create_table("default.users", people(0, 1).schema)
        assert catalog.list_tables("default") == [("default", "orders"), ("default", "users")]
        assert catalog.load_table("default.orders").location().endswith("/default/orders")
        assert catalog.load_table("default.users").location() == f"file://{tmp_path}/users"

    def test_namespaces_come_and_go(self, catalog: FilesystemCatalog, tmp_path: Path) -> None:
        catalog.create_namespace("sales")
        assert catalog.namespace_exists("sales")
        with pytest.raises(NamespaceAlreadyExistsError):
            catalog.create_namespace("sales")
        with pytest.raises(NamespaceAlreadyExistsError):
            catalog.create_namespace("default")
        catalog.drop_namespace("sales")
        assert not catalog.namespace_exists("sales")
        catalog.create_table("sales.orders", people(0, 1).schema)
        with pytest.raises(NamespaceNotEmptyError):
            catalog.drop_namespace("sales")
        for missing in (catalog.list_tables, catalog.drop_namespace, catalog.list_namespaces):
            with pytest.raises(NoSuchNamespaceError):
                missing("nothing")

    @pytest.mark.parametrize(
        "identifier", ["../x", "a..b", "", ("a/../..", "b"), ("_delta_log",), ("/etc",), ("a\0",)]
    )
    def test_identifiers_stay_in_the_warehouse(
        self, catalog: FilesystemCatalog, identifier: str | tuple[str, ...]
    ) -> None:
        with pytest.raises(InvalidInputError, match="not a namespace name"):
            catalog.create_table(identifier, people(0, 1).schema)


class TestRefusals:
    def test_missing(self, catalog: FilesystemCatalog) -> None:
        with pytest.raises(NoSuchTableError, match="no Iceberg table"):
            catalog.load_table("users")
        with pytest.raises(NoSuchTableError):
            catalog.drop_table("users")
        with pytest.raises(NoSuchTableError):
            catalog.purge_table("users")

    def test_another_location(self, catalog: FilesystemCatalog, tmp_path: Path) -> None:
        schema = people(0, 1).schema
        with pytest.raises(InvalidInputError, match="is its folder"):
            catalog.create_table("users", schema, location=f"file://{tmp_path}/elsewhere")
        catalog.create_table("users", schema, location=f"file:{tmp_path}/users/")

    def test_a_copied_folder_can_be_read_and_not_written(
        self, users: Table, catalog: FilesystemCatalog, tmp_path: Path
    ) -> None:
        subprocess.run(["cp", "-r", tmp_path / "users", tmp_path / "copy"], check=True)
        copy = catalog.load_table("copy")
        assert_same_rows(copy.scan().to_arrow(), people(0, 6))
        with pytest.raises(InvalidInputError, match="cannot have its files in"):
            copy.append(people(6, 1))

    def test_drop_and_rename(self, users: Table, catalog: FilesystemCatalog) -> None:
        with pytest.raises(UnsupportedError, match="purge_table"):
            catalog.drop_table("users")
        with pytest.raises(UnsupportedError, match="absolute paths"):
            catalog.rename_table("users", "people")
        assert_same_rows(users.refresh().scan().to_arrow(), people(0, 6))

    def test_views_and_properties(self, catalog: FilesystemCatalog) -> None:
        assert catalog.list_views("default") == []
        assert not catalog.view_exists("v")
        for call in (catalog.load_view, catalog.drop_view):
            with pytest.raises(NoSuchViewError):
                call("v")
        with pytest.raises(UnsupportedError, match="properties"):
            catalog.create_namespace("x", {"a": "b"})
        with pytest.raises(UnsupportedError, match="properties"):
            catalog.update_namespace_properties("default", updates={"a": "b"})

    def test_warehouses(self) -> None:
        with pytest.raises(InvalidInputError, match="no warehouse"):
            FilesystemCatalog("lake")
        with pytest.raises(UnsupportedError, match="not a local folder"):
            FilesystemCatalog("lake", warehouse="memory://x")

    def test_without_pyiceberg(self) -> None:
        code = (
            "import sys; sys.modules['pyiceberg.catalog'] = None\n"
            "try:\n import parquedb.catalog\n"
            "except ImportError as error: print(error)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "pip install 'parquedb[pyiceberg]'" in run.stdout, run.stderr


class TestPurge:
    def test_removes_what_the_metadata_names(
        self, users: Table, catalog: FilesystemCatalog, tmp_path: Path
    ) -> None:
        users.append(people(6, 4))
        users.overwrite(people(0, 1))
        foreign = tmp_path / "users" / "notes.txt"
        foreign.write_text("mine")
        catalog.create_table("users.nested", people(0, 1).schema)
        catalog.purge_table("users")
        assert not catalog.table_exists("users")
        assert catalog.table_exists("users.nested")
        left = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "users").iterdir()}
        assert left == {"users/notes.txt", "users/nested"}
        catalog.create_table("users", people(0, 1).schema)

    def test_refuses_where_files_may_be_shared(
        self, users: Table, catalog: FilesystemCatalog, tmp_path: Path
    ) -> None:
        log = tmp_path / "users" / "_delta_log"
        log.mkdir()
        (log / f"{0:020}.json").write_text("{}")
        with pytest.raises(StateError, match="Delta table"):
            catalog.purge_table("users")
        (log / f"{0:020}.json").unlink()
        with users.transaction() as transaction:
            transaction.set_properties({"gc.enabled": "false"})
        with pytest.raises(StateError, match=r"gc\.enabled"):
            catalog.purge_table("users")
        assert_same_rows(users.refresh().scan().to_arrow(), people(0, 6))


class TestOtherCatalogs:
    def test_their_tables_are_refused_until_registered(
        self, catalog: FilesystemCatalog, tmp_path: Path
    ) -> None:
        made = make_iceberg(tmp_path)
        with pytest.raises(StateError, match=r"register_table\(\)"):
            catalog.load_table("users")
        with pytest.raises(TableAlreadyExistsError):
            catalog.create_table("users", people(0, 1).schema)
        with sql_catalog(tmp_path) as sql:
            location = sql.load_table("db.users").metadata_location

        table = catalog.register_table("users", location)
        assert table.metadata_location.endswith("/v1.metadata.json")
        assert table.metadata.metadata_log[-1].metadata_file == location
        for snapshot_id, rows in made.versions.items():
            assert_same_rows(table.scan(snapshot_id=snapshot_id).to_arrow(), rows)
        table.delete(EqualTo("country", "DE"))
        assert_same_rows(duck.rows_iceberg(made.folder), table.scan().to_arrow())
        with pytest.raises(TableAlreadyExistsError):
            catalog.register_table("users", location)
        again = catalog.register_table("users", location, overwrite=True)
        assert_same_rows(again.scan().to_arrow(), made.newest)

    def test_registering_does_not_move(self, catalog: FilesystemCatalog, tmp_path: Path) -> None:
        make_iceberg(tmp_path)
        with sql_catalog(tmp_path) as sql:
            location = sql.load_table("db.users").metadata_location
        with pytest.raises(InvalidInputError, match="is its folder"):
            catalog.register_table("elsewhere", location)


@pytest.mark.spark
class TestSpark:
    def test_reads_and_appends_to_the_same_folder(
        self, spark: SparkSession, users: Table, tmp_path: Path
    ) -> None:
        first = users.current_snapshot()
        assert first is not None
        folder = tmp_path / "users"
        assert_same_rows(read_iceberg_at(spark, folder), people(0, 6))
        name = iceberg_catalog(spark, tmp_path)
        spark.sql(
            f"INSERT INTO {name}.users SELECT id + 100, name, country, score, visits, active, born,"
            f" seen, paid FROM {name}.users WHERE id < 2"
        )
        assert users.refresh().metadata_location.endswith("/v3.metadata.json")
        users.append(people(6, 1))
        rows = users.scan().to_arrow()
        assert sorted(rows.column("id").to_pylist()) == [0, 1, 2, 3, 4, 5, 6, 100, 101]
        assert_same_rows(read_iceberg_at(spark, folder), rows)
        assert_same_rows(duck.rows_iceberg(folder), rows)
        old = read_iceberg_at(spark, folder, snapshot_id=first.snapshot_id)
        assert_same_rows(old, people(0, 6))

    def test_tables_that_spark_made(self, spark: SparkSession, tmp_path: Path) -> None:
        name = iceberg_catalog(spark, tmp_path)
        spark.sql(f"CREATE TABLE {name}.default.logs (id BIGINT, msg STRING) USING iceberg")
        spark.sql(f"INSERT INTO {name}.default.logs VALUES (1, 'a'), (2, 'b')")
        catalog = FilesystemCatalog("lake", warehouse=str(tmp_path))
        assert catalog.list_tables("default") == [("default", "logs")]
        table = catalog.load_table("default.logs")
        table.delete(EqualTo("id", 1))
        assert_same_rows(table.scan().to_arrow(), [{"id": 2, "msg": "b"}])
        rows = read_iceberg_at(spark, tmp_path / "default" / "logs")
        assert_same_rows(rows, [{"id": 2, "msg": "b"}])
