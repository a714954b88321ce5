"""Where two features meet: histories and vacuums, deletes and partitions, types and statistics."""

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from parquedb.backends import check_backend, migrate_backend
from parquedb.catalog import FilesystemCatalog
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
