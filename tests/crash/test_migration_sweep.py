"""A fault at every store operation of a migration in turn; then a second run; then compare."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from parquedb.backends import create_backend, detect_existing_format, migrate_backend
from parquedb.errors import ParqueDBError
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from tests.interop.test_migration import assert_untouched, fingerprints
from tests.interop.test_row_deletes import history, make_delta
from tests.support.deaths import LIVES, deaths, faults
from tests.support.histories import delta_evolved, iceberg_plain
from tests.support.lineage import assert_version_3
from tests.support.targets import assert_delta_has, assert_iceberg_has

CASES = {
    "delta-to-iceberg": (delta_evolved, "iceberg", assert_iceberg_has),
    "iceberg-to-delta": (iceberg_plain, "delta", assert_delta_has),
}


@dataclass
class Sweep:
    """A migration that is cut short, completed by a second run, and looked at."""

    root: Path
    case: str
    delete_source: bool
    every: int = 12

    def __post_init__(self):
        build, self.target, self.compare = CASES[self.case]
        self.root.mkdir()
        self.wanted = build(self.root)
        self.before = fingerprints(self.root)
        self.seen = 0

    def run(self, store):
        migrate_backend(
            storage=store, to=self.target, delete_source=self.delete_source, batch_size=2
        )

    def complete(self, how):
        if not self.delete_source:
            assert_untouched(self.root, self.before)
        assert detect_existing_format(self.root, "users").formats, how
        self.run(LocalStore(self.root, durable=False))
        backend = create_backend(type=self.target, storage=self.root)
        found = [(version.at_ms, version.rows) for version in backend.history("users")]
        assert found == [(known.at_ms, len(known.rows)) for known in self.wanted], how
        if self.delete_source:
            assert detect_existing_format(self.root, "users").formats == (self.target,), how
        if self.seen % self.every == 0:  # foreign readers are slow
            self.compare(self.root / "users", self.wanted)
        self.seen += 1


@pytest.mark.parametrize("delete_source", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("case", CASES)
def test_a_second_run_completes_what_a_dead_process_left(tmp_path, case, delete_source):
    sweep = Sweep(tmp_path / "lake", case, delete_source, every=6)
    for death in deaths(sweep.root, sweep.run):
        sweep.complete(death.how)
    sweep.compare(sweep.root / "users", sweep.wanted)


@pytest.mark.parametrize("delete_source", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("kind", LIVES)
@pytest.mark.parametrize("case", CASES)
def test_a_second_run_completes_what_a_fault_cut_short(tmp_path, case, kind, delete_source):
    sweep = Sweep(tmp_path / "lake", case, delete_source)
    for store, how in faults(sweep.root, kind, sweep.run):
        with contextlib.suppress(ParqueDBError):
            sweep.run(store)
        sweep.complete(how)
    sweep.compare(sweep.root / "users", sweep.wanted)


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
