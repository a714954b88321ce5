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

from parquedb.backends import migrate_backend
from parquedb.db import DB

PROGRAM = """
import json, os, sys
from parquedb import DB
from parquedb.backends import (
    backend_status, check_backend, cleanup_backend, create_backend, migrate_backend, verify_backend
)
from parquedb.errors import StorageError
def tell(root, base, to):
    db = DB(root)
    told = {}
    table = create_backend(type=base, storage=root)
    for name, ask in {
        "get": lambda: db.users["a"].n,
        "find": lambda: len(db.users.find({"n": {"$gte": 1}}).to_list()),
        "count": lambda: db.users.count(),
        "as_of": lambda: db.users.get("a", as_of="2100-01-01").n,
        "sql": lambda: db.sql("SELECT count(*) AS c FROM users").to_pylist()[0]["c"],
        "check": lambda: check_backend(root).healthy,
        "status": lambda: backend_status(root).namespaces["users"].rows,
        "explain": lambda: db.users.find({"n": 1}).explain()["tail"]["documents"],
        "stats": lambda: db.stats("users")["users"].documents,
        "history": lambda: [version.rows for version in table.history("users")],
        "verify": lambda: verify_backend(root, "moved", base)["equal"],
        "would_vacuum": lambda: [
            file.key for file in db.vacuum(
                "users", older_than_s=0, nobody_writes=True, dry_run=True
            )["users"].files
        ],
        "would_clean_up": lambda: len(cleanup_backend(root, "moved", base, dry_run=True).keys),
        "would_migrate": lambda: migrate_backend(storage=root, to=to, dry_run=True)
            .namespaces["users"].action,
        "create": lambda: db.users.create({"n": 1}),
        "update": lambda: db.users.update("a", {"$set": {"n": 5}}),
        "create_many": lambda: db.users.create_many([{"n": 1}] * 20_000),
        "new": lambda: db.others.create({"n": 1}),
        "flush": lambda: db.flush("users"),
        "compact": lambda: db.compact("users"),
        "vacuum": lambda: db.vacuum("users"),
        "clean_up": lambda: cleanup_backend(root, "moved", base),
        "migrate": lambda: migrate_backend(storage=root, to=to),
    }.items():
        try:
            told[name] = ask()
        except StorageError as error:
            told[name] = str(error)
    db.close(flush=False)
    return told
root, copy, base, to = sys.argv[1:]
if os.getuid() == 0:
    tell(copy, base, to)  # imports what cannot be once the rights are gone
    os.setgid(65534); os.setuid(65534)
print(json.dumps(tell(root, base, to), default=str))
"""


def ask(root: Path, base: str, to: str) -> dict[str, object]:
    copy = root.parent / "copy"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(copy), base, to],
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
        (folder / name / LEFT).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / LEFT).write_bytes(b"left")
    return folder / "db"


def fill(root: Path, backend: str) -> None:
    with DB(root, backend=backend) as db:
        db.users.create({"$id": "a", "n": 0})
        db.users.create_many([{"n": 1}, {"n": 2}])
        db.flush()
        db.users.create({"$id": "b", "n": 3})  # stays in the journal
        db.close(flush=False)
    with DB(root, backend=backend) as db:
        db.moved.create({"n": 0})
    migrate_backend(storage=root, to=other(backend), namespaces=["moved"])


def other(backend: str) -> str:
    return "iceberg" if backend == "delta" else "delta"


LEFT = "_parquedb/users/staged/00000000-0000-0000-0000-000000000000.parquet"
READS = {
    "get": 0, "find": 3, "count": 4, "as_of": 0, "sql": 4, "check": True, "status": 3,
    "explain": 1, "stats": 4, "history": [3], "verify": True, "would_vacuum": [LEFT],
    "would_clean_up": 1, "would_migrate": "migrated",
}  # fmt: skip


@pytest.mark.parametrize("backend", ["native", "delta"])
def test_a_database_that_may_only_be_read(backend, public_path):
    root = make(public_path, backend)
    before = contents(root)
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    told = ask(root, backend, other(backend))
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    assert contents(root) == before
    reads = {**READS, "would_clean_up": 1 if backend == "native" else 2}  # files, and commits
    assert {name: told.pop(name) for name in reads} == reads
    for name, message in told.items():
        assert str(message).startswith(f"'{root}/"), name
        assert "Permission denied; make the folder writable" in str(message), name


@pytest.mark.parametrize("hidden", ["users/data/*.parquet", "_parquedb/users/journal/0*"])
def test_files_that_may_not_be_read(hidden, public_path):
    root = make(public_path, "iceberg")
    (path,) = root.glob(hidden)
    path.chmod(0)
    told = ask(root, "iceberg", "delta")
    for name in ("get", "find", "count", "as_of", "sql"):
        assert told[name] == (
            f"{str(path)!r}: Permission denied; make the folder readable, and what is in it, and "
            "try again"
        )
