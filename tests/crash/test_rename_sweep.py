"""A fault at every store operation of a migration that copies files under other names."""

import contextlib
import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyiceberg.types import StringType

from parquedb.backends import create_backend, migrate_backend
from parquedb.errors import ParqueDBError
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from tests.interop.test_migration import assert_untouched, fingerprints
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


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_second_run_makes_the_same_copies(tmp_path, kind):
    root, pristine = tmp_path / "lake", tmp_path / "pristine"
    root.mkdir()
    wanted = swapped(root)
    before = fingerprints(root)
    shutil.copytree(root, pristine)
    counted = inject(LocalStore(root, durable=False), None)
    migrate_backend(storage=counted, to="delta", batch_size=2)
    copies = {path.name for path in (root / "users").rglob("*-g????????.parquet")}
    assert len(copies) == 2
    for at in range(counted.operations):
        shutil.rmtree(root)
        shutil.copytree(pristine, root)
        with contextlib.suppress(SimulatedCrashError, ParqueDBError):
            migrate_backend(
                storage=inject(LocalStore(root, durable=False), Fault(at, kind)),
                to="delta",
                batch_size=2,
            )
        assert_untouched(root, before)
        migrate_backend(storage=LocalStore(root, durable=False), to="delta", batch_size=2)
        found = [
            (version.at_ms, version.rows)
            for version in create_backend(type="delta", storage=root).history("users")
        ]
        assert found == [(known.at_ms, len(known.rows)) for known in wanted], counted.log[at]
        made = {path.name for path in (root / "users").rglob("*-g????????.parquet")}
        assert made == copies, counted.log[at]
        for version in (2, 3):
            table = DeltaTable(root / "users", version=version).to_pyarrow_table()
            assert_same_rows(table, wanted[version].rows)
    assert_delta_has(root / "users", wanted)
