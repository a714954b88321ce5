"""A fault at every store operation of a migration that copies files under other names."""

import contextlib
import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyiceberg.types import StringType

from parquedb.backends import create_backend, migrate_backend
from parquedb.errors import ParqueDBError
from parquedb.storage.local import LocalStore
from tests.interop.test_migration import assert_untouched, fingerprints
from tests.support.deaths import LIVES, deaths, faults
from tests.support.histories import iceberg_table, known_iceberg
from tests.support.rows import assert_same_rows
from tests.support.targets import assert_delta_has


def swapped(root):
    """Two names swapped, one dropped and added again, two files each time."""
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.string())])
    table = iceberg_table(root, schema)
    for start in (0, 2):
        columns = {name: [f"{name}{start + i}" for i in range(2)] for name in "abc"}
        table.append(pa.table(columns, schema=schema))
    with table.update_schema() as update:
        update.rename_column("a", "t")
        update.delete_column("c")
    with table.update_schema() as update:
        update.rename_column("b", "a")
        update.add_column("c", StringType())
    with table.update_schema() as update:
        update.rename_column("t", "b")
    names = [field.name for field in table.schema().fields]
    table.append(pa.table({name: [f"{name} new"] for name in names}))
    table.delete("a == 'b0'")
    return known_iceberg(table)


def run(store):
    migrate_backend(storage=store, to="delta", batch_size=2)


class Sweep:
    """A migration that is cut short and completed by a second run."""

    def __init__(self, folder):
        self.root = folder / "lake"
        self.root.mkdir()
        self.wanted = swapped(self.root)
        self.before = fingerprints(self.root)
        pristine = shutil.copytree(self.root, folder / "as-it-was")
        run(LocalStore(self.root, durable=False))
        self.copies = copies(self.root)
        assert len(self.copies) == 2
        shutil.rmtree(self.root)
        pristine.rename(self.root)

    def complete(self, how):
        assert_untouched(self.root, self.before)
        run(LocalStore(self.root, durable=False))
        found = [
            (version.at_ms, version.rows)
            for version in create_backend(type="delta", storage=self.root).history("users")
        ]
        assert found == [(known.at_ms, len(known.rows)) for known in self.wanted], how
        assert copies(self.root) == self.copies, how
        for version in (2, 3):
            table = DeltaTable(self.root / "users", version=version).to_pyarrow_table()
            assert_same_rows(table, self.wanted[version].rows)


def copies(root):
    return {path.name for path in (root / "users").rglob("*-g????????.parquet")}


def test_a_second_run_makes_the_same_copies_as_a_dead_process(tmp_path):
    sweep = Sweep(tmp_path)
    for death in deaths(sweep.root, run):
        sweep.complete(death.how)
    assert_delta_has(sweep.root / "users", sweep.wanted)


@pytest.mark.parametrize("kind", LIVES)
def test_a_second_run_makes_the_same_copies(tmp_path, kind):
    sweep = Sweep(tmp_path)
    for store, how in faults(sweep.root, kind, run):
        with contextlib.suppress(ParqueDBError):
            run(store)
        sweep.complete(how)
    assert_delta_has(sweep.root / "users", sweep.wanted)
