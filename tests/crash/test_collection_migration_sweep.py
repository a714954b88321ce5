"""A fault at every operation of a collection's migration: nothing is lost, a rerun ends it."""

import contextlib

import pytest

from parquedb.backends import migrate_backend
from parquedb.db import DB
from parquedb.errors import ParqueDBError
from parquedb.model.format import Format
from parquedb.storage.local import LocalStore
from tests.support.deaths import LIVES, deaths, faults

PAIRS = [("native", "iceberg"), ("iceberg", "delta"), ("delta", "native")]


def contents(db):
    return {e.id: dict(e) for e in db.Users.find(include_deleted=True)}


class Sweep:
    """A collection, and its migration that ends early."""

    def __init__(self, root, source, target, delete_source):
        self.root, self.target, self.delete_source = root, target, delete_source
        with DB(root, backend=source, durability="os") as db:
            ids = [db.Users.create({"name": f"user {n}", "n": n}).id for n in range(4)]
            db.flush()
            db.Users.update(ids[0], {"$set": {"n": 10}})
            db.flush()
        # and a tail, which a process left that had no time to flush
        self.left = DB(root, durability="os")
        self.left.Users.update(ids[1], {"$set": {"n": 11}})
        self.left.Users.delete(ids[2], hard=True)
        self.left.Users.create({"name": "new"})
        self.before = contents(self.left)

    def run(self, store):
        migrate_backend(
            storage=store, to=self.target, delete_source=self.delete_source, allow_lossy=True
        )

    def complete(self, how):
        again = DB(LocalStore(self.root, durable=False), durability="os")
        assert contents(again) == self.before, how
        late = again.Users.create({"name": "late"})
        self.run(LocalStore(self.root, durable=False))
        assert contents(again) == {**self.before, late.id: dict(late)}, how
        assert again.Users.space.format is Format(self.target), how
        again.close()


@pytest.mark.parametrize("delete_source", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_no_document_is_lost_wherever_a_process_dies(tmp_path, source, target, delete_source):
    sweep = Sweep(tmp_path / "lake", source, target, delete_source)
    for death in deaths(sweep.root, sweep.run):
        sweep.complete(death.how)
    sweep.left.close(flush=False)  # its folder is another one by now


@pytest.mark.parametrize("delete_source", [False, True], ids=["keep", "delete"])
@pytest.mark.parametrize("kind", LIVES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_no_document_is_lost_wherever_a_migration_ends(
    tmp_path, source, target, kind, delete_source
):
    sweep = Sweep(tmp_path / "lake", source, target, delete_source)
    for store, how in faults(sweep.root, kind, sweep.run):
        with contextlib.suppress(ParqueDBError):
            sweep.run(store)
        sweep.complete(how)
    sweep.left.close(flush=False)  # its folder is another one by now
