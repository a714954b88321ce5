"""A fault at every store operation of a change of columns: the table is as before, or as asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parquedb.backends import Backend, Evolved, create_backend
from parquedb.errors import InvalidInputError, ParqueDBError
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore
from parquedb.storage.store import Store
from tests.support.evolving import READERS, Evolving, Row, compare
from tests.support.rows import assert_same_rows

CASES: dict[str, tuple[Callable[[Backend], Evolved], Callable[[Row], Row]]] = {
    "add": (
        lambda backend: backend.evolve_schema(
            "users", add_column={"name": "email", "type": "string"}
        ),
        lambda row: row | {"email": None},
    ),
    "add again": (
        lambda backend: backend.evolve_schema("users", add_column={"name": "gone", "type": "int"}),
        lambda row: row | {"gone": None},
    ),
    "rename": (
        lambda backend: backend.rename_column("users", "name", "title"),
        lambda row: {"title" if key == "name" else key: row[key] for key in row},
    ),
    "drop": (
        lambda backend: backend.drop_column("users", "name"),
        lambda row: {key: row[key] for key in row if key != "name"},
    ),
    "widen": (lambda backend: backend.widen_column("users", "visits", "int64"), dict),
}


@pytest.mark.parametrize("kind", FaultKind)
@pytest.mark.parametrize("source", ["native", "pyiceberg", "delta-rs"])
def test_every_operation(source: str, kind: FaultKind, tmp_path: Path) -> None:
    folder, pristine = tmp_path / "lake", tmp_path / "pristine"
    table = Evolving(folder, source)
    table.make()
    before_that = create_backend(type=table.format, storage=folder)
    before_that.rename_column("users", "score", "gone")
    before_that.drop_column("users", "gone")
    shutil.copytree(folder, pristine)
    rows = [{k: v for k, v in row.items() if k != "score"} for row in table.rows]
    for name, (run, change) in CASES.items():
        after = [change(row) for row in rows]
        for at in range(_operations(folder, pristine, table.format, run)):
            _restore(folder, pristine)
            faulty = inject(LocalStore(folder, durable=False), Fault(at, kind))
            try:
                run(_backend(faulty, table.format))
            except (SimulatedCrashError, ParqueDBError) as error:
                how = f"{name}: {kind} {at} {faulty.log[at]}: {error!r}"
            else:
                how = f"{name}: {kind} {at} {faulty.log[at]}"
                assert kind in (FaultKind.LOST_REPLY, FaultKind.NO_SPACE), how
            _finish(folder, table.format, run, (rows, after), how)


def _restore(folder: Path, pristine: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(pristine, folder)


def _operations(
    folder: Path, pristine: Path, format_: str, run: Callable[[Backend], Evolved]
) -> int:
    _restore(folder, pristine)
    counted = inject(LocalStore(folder, durable=False), None)
    assert run(_backend(counted, format_)).changed
    assert counted.operations > 0
    return counted.operations


def _finish(
    folder: Path,
    format_: str,
    run: Callable[[Backend], Evolved],
    sides: tuple[list[Row], list[Row]],
    how: str,
) -> None:
    """Look at what is left, and do the change once more where it was not done."""
    before, after = sides
    backend = _backend(LocalStore(folder, durable=False), format_)
    versions = len(backend.history("users"))
    columns = list(backend.snapshot("users").schema.names)
    done = columns == list(after[0]) and backend.snapshot("users").rows == len(after)
    if not done:
        assert_same_rows(backend.to_arrow("users"), before)
    try:
        run(backend)
    except InvalidInputError:
        assert done, how
    backend = _backend(LocalStore(folder, durable=False), format_)
    assert_same_rows(backend.to_arrow("users"), after)
    history = backend.history("users")
    assert len(history) <= versions + 1, how
    for name, read in list(READERS[format_].items())[:1]:
        compare(f"{name} {how}", 0, read(folder / "users", history[-1].version), after)


def _backend(store: Store, format_: str) -> Backend:
    return create_backend(type=format_, storage=store)
