"""A fault at every store operation of a migration in turn; then a second run; then compare."""

import contextlib
import shutil

import pytest

from parquedb.backends import create_backend, detect_existing_format, migrate_backend
from parquedb.errors import ParqueDBError
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from tests.interop.test_migration import assert_untouched, fingerprints
from tests.interop.test_row_deletes import history, make_delta
from tests.support.histories import delta_evolved, iceberg_plain
from tests.support.lineage import assert_version_3
from tests.support.targets import assert_delta_has, assert_iceberg_has

CASES = {
    "delta-to-iceberg": (delta_evolved, "iceberg", assert_iceberg_has),
    "iceberg-to-delta": (iceberg_plain, "delta", assert_delta_has),
}


@pytest.mark.parametrize("delete_source", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize("case", CASES)
def test_a_second_run_completes_what_a_fault_cut_short(tmp_path, case, kind, delete_source):
    build, target, check = CASES[case]
    root, pristine = tmp_path / "lake", tmp_path / "pristine"
    root.mkdir()
    wanted = build(root)
    before = fingerprints(root)
    shutil.copytree(root, pristine)
    options = {"to": target, "delete_source": delete_source, "batch_size": 2}
    counted = inject(LocalStore(root, durable=False), None)
    migrate_backend(storage=counted, **options)
    assert counted.operations > 10
    for at in range(counted.operations):
        shutil.rmtree(root)
        shutil.copytree(pristine, root)
        with contextlib.suppress(SimulatedCrashError, ParqueDBError):
            migrate_backend(
                storage=inject(LocalStore(root, durable=False), Fault(at, kind)), **options
            )
        if not delete_source:
            assert_untouched(root, before)
        assert detect_existing_format(root, "users").formats, counted.log[at]
        migrate_backend(storage=LocalStore(root, durable=False), **options)
        backend = create_backend(type=target, storage=root)
        found = [(version.at_ms, version.rows) for version in backend.history("users")]
        assert found == [(known.at_ms, len(known.rows)) for known in wanted], counted.log[at]
        if delete_source:
            assert detect_existing_format(root, "users").formats == (target,), counted.log[at]
        if at % 12 == 0:  # foreign readers are slow
            check(root / "users", wanted)
    check(root / "users", wanted)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_vectors_and_row_ids_of_version_3_are_right_after_a_fault(tmp_path, kind):
    root, pristine = tmp_path / "lake", tmp_path / "pristine"
    root.mkdir()
    wanted = make_delta(root, history(root))
    shutil.copytree(root, pristine)
    options = {"to": "iceberg", "format_version": 3, "batch_size": 4}
    counted = inject(LocalStore(root, durable=False), None)
    migrate_backend(storage=counted, **options)
    for at in range(list(FaultKind).index(kind), counted.operations, 9):
        shutil.rmtree(root)
        shutil.copytree(pristine, root)
        with contextlib.suppress(SimulatedCrashError, ParqueDBError):
            migrate_backend(
                storage=inject(LocalStore(root, durable=False), Fault(at, kind)), **options
            )
        migrate_backend(storage=LocalStore(root, durable=False), to="iceberg", format_version=3)
        history_ = create_backend(type="iceberg", storage=root).history("users")
        assert [v.rows for v in history_] == [len(known.rows) for known in wanted], counted.log[at]
        assert_version_3(root / "users")
    assert_iceberg_has(root / "users", wanted)
