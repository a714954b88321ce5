"""A database that its user may only read, or not even that: what works works, and the rest is told.

Root may do everything, so a root process gives up its rights first.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parquedb.db import DB

PROGRAM = """
import json, os, sys
from parquedb import DB
from parquedb.backends import backend_status, check_backend, migrate_backend
from parquedb.errors import StorageError
def tell(root, to):
    db = DB(root)
    told = {}
    for name, ask in {
        "get": lambda: db.users["a"].n,
        "find": lambda: len(db.users.find({"n": {"$gte": 1}}).to_list()),
        "count": lambda: db.users.count(),
        "as_of": lambda: db.users.get("a", as_of="2100-01-01").n,
        "sql": lambda: db.sql("SELECT count(*) AS c FROM users").to_pylist()[0]["c"],
        "check": lambda: check_backend(root).healthy,
        "status": lambda: backend_status(root).namespaces["users"].rows,
        "create": lambda: db.users.create({"n": 1}),
        "update": lambda: db.users.update("a", {"$set": {"n": 5}}),
        "create_many": lambda: db.users.create_many([{"n": 1}] * 20_000),
        "new": lambda: db.others.create({"n": 1}),
        "flush": lambda: db.flush("users"),
        "compact": lambda: db.compact("users"),
        "vacuum": lambda: db.vacuum("users"),
        "migrate": lambda: migrate_backend(storage=root, to=to),
    }.items():
        try:
            told[name] = ask()
        except StorageError as error:
            told[name] = str(error)
    db.close(flush=False)
    return told
root, copy, to = sys.argv[1:]
if os.getuid() == 0:
    tell(copy, to)  # imports what cannot be once the rights are gone
    os.setgid(65534); os.setuid(65534)
print(json.dumps(tell(root, to), default=str))
"""


def ask(root: Path, to: str) -> dict[str, object]:
    copy = root.parent / "copy"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(copy), to],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    told: dict[str, object] = json.loads(run.stdout)
    return told


def contents(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
    }


def make(folder: Path, backend: str) -> Path:
    """Make a database, and another one to practise on."""
    for name in ("db", "copy"):
        fill(folder / name, backend)
    return folder / "db"


def fill(root: Path, backend: str) -> None:
    with DB(root, backend=backend) as db:
        db.users.create({"$id": "a", "n": 0})
        db.users.create_many([{"n": 1}, {"n": 2}])
        db.flush()
        db.users.create({"$id": "b", "n": 3})  # stays in the journal
        db.close(flush=False)


READS = {"get": 0, "find": 3, "count": 4, "as_of": 0, "sql": 4, "check": True}


@pytest.mark.parametrize("backend", ["native", "delta"])
def test_a_database_that_may_only_be_read(backend, public_path):
    root = make(public_path, backend)
    before = contents(root)
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    told = ask(root, "delta" if backend == "native" else "iceberg")
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert contents(root) == before
    assert {name: told.pop(name) for name in READS} == READS
    assert told.pop("status") == 3
    for name, message in told.items():
        assert str(message).startswith(f"'{root}/"), name
        assert "Permission denied; make the folder writable" in str(message), name


@pytest.mark.parametrize("hidden", ["users/data/*.parquet", "_parquedb/users/journal/0*"])
def test_files_that_may_not_be_read(hidden, public_path):
    root = make(public_path, "iceberg")
    (path,) = root.glob(hidden)
    path.chmod(0)
    told = ask(root, "delta")
    for name in ("get", "find", "count", "as_of", "sql"):
        assert told[name] == (
            f"{str(path)!r}: Permission denied; make the folder readable, and what is in it, and "
            "try again"
        )
