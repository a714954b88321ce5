"""A fault at every operation of a collection's migration: nothing is lost, a rerun ends it."""

import contextlib
import shutil

import pytest

from parquedb.backends import migrate_backend
from parquedb.db import DB
from parquedb.errors import ParqueDBError
from parquedb.model.format import Format
from parquedb.storage.faults import Fault, FaultKind, SimulatedCrashError, inject
from parquedb.storage.local import LocalStore

PAIRS = [("native", "iceberg"), ("iceberg", "delta"), ("delta", "native")]


def contents(db):
    return {e.id: dict(e) for e in db.Users.find(include_deleted=True)}


@pytest.mark.parametrize("delete_source", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_no_document_is_lost_wherever_a_migration_ends(
    tmp_path, source, target, kind, delete_source
):
    root, pristine = tmp_path / "lake", tmp_path / "pristine"
    with DB(root, backend=source, durability="os") as db:
        ids = [db.Users.create({"name": f"user {n}", "n": n}).id for n in range(4)]
        db.flush()
        db.Users.update(ids[0], {"$set": {"n": 10}})
        db.flush()
    # and a tail, which a process left that had no time to flush
    db = DB(root, durability="os")
    db.Users.update(ids[1], {"$set": {"n": 11}})
    db.Users.delete(ids[2], hard=True)
    db.Users.create({"name": "new"})
    before = contents(db)
    options = {"to": target, "delete_source": delete_source, "allow_lossy": True}
    shutil.copytree(root, pristine)
    counted = inject(LocalStore(root, durable=False), None)
    migrate_backend(storage=counted, **options)
    assert counted.operations > 5
    for at in range(counted.operations):
        shutil.rmtree(root)
        shutil.copytree(pristine, root)
        with contextlib.suppress(SimulatedCrashError, ParqueDBError):
            store = inject(LocalStore(root, durable=False), Fault(at, kind))
            migrate_backend(storage=store, **options)
        again = DB(LocalStore(root, durable=False), durability="os")
        assert contents(again) == before, counted.log[at]
        late = again.Users.create({"name": "late"})
        migrate_backend(storage=LocalStore(root, durable=False), **options)
        assert contents(again) == {**before, late.id: dict(late)}, counted.log[at]
        assert again.Users.space.format is Format(target), counted.log[at]
        again.close()
    db.close()
