"""Measure one database doing one thing: ``python -m benchmarks.documents_work JSON``.

The argument is an object with ``system``, ``work``, ``folder``, ``durable``, ``size`` (documents
in the folder, or to be written) and ``count`` (how often). What is printed is an object with
``seconds``, ``count`` (what was done in them) and ``peak_mb``.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.documents_data import AGES, CITIES, TAGS, Document, documents
from benchmarks.documents_stores import LanceDB, Mongita, TinyDB
from benchmarks.documents_systems import DuckDB, ParqueDB, SQLite, System, UnavailableError

SYSTEMS: dict[str, type[System]] = {
    system.title: system for system in (ParqueDB, SQLite, DuckDB, LanceDB, Mongita, TinyDB)
}
_COLD = """
import time
started = time.perf_counter()
{code}
print(time.perf_counter() - started)
"""
_COLD_CODE = {
    "ParqueDB": "from parquedb import DB; DB({folder!r}).users[{id!r}]",
    "SQLite, JSON": "import json, sqlite3; json.loads(sqlite3.connect({folder!r} + '/users.db')"
    ".execute('SELECT data FROM users WHERE id = ?', ({id!r},)).fetchone()[0])",
    "DuckDB, typed table": "import duckdb; duckdb.connect({folder!r} + '/users.duckdb')"
    """.execute("SELECT * FROM users WHERE id = '{id}'").fetchall()[0]""",
    "LanceDB": "import lancedb; lancedb.connect({folder!r}).open_table('users').search()"
    """.where("id = '{id}'").to_arrow().to_pylist()[0]""",
    "Mongita": "from mongita import MongitaClientDisk; "
    "MongitaClientDisk(host={folder!r})['bench']['users'].find_one({{'_id': {id!r}}})['age']",
    "TinyDB": "from tinydb import TinyDB, where; "
    "TinyDB({folder!r} + '/users.json').get(where('id') == {id!r})['age']",
}

Result = tuple[float, int]


class Task:
    """One measurement.

    Args:
        given: The argument.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.size: int = given["size"]
        self.count: int = given["count"]
        self.title: str = given["system"]
        self.folder = Path(given["folder"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.system = SYSTEMS[self.title](self.folder, durable=given["durable"])
        self.ids_file = Path(given["ids"])

    def some_ids(self, seed: int, count: int) -> list[str]:
        """Return ids of documents that are there, drawn at random."""
        ids = self.ids_file.read_text().split("\n", self.size)[: self.size]
        chosen = random.Random(seed)
        return [ids[chosen.randrange(len(ids))] for _ in range(count)]


def build(task: Task) -> Result:
    """Make the data set; ParqueDB's ids are kept for the others."""
    task.system.open()
    if isinstance(task.system, ParqueDB):
        done = _timed(lambda: task.system.create_many(_numbered(task.size)), task.size)
        task.ids_file.write_text("\n".join(task.system.ids))
    else:
        ids = task.ids_file.read_text().split("\n")
        pairs = zip(ids, documents(task.size), strict=False)
        done = _timed(lambda: task.system.create_many(pairs), task.size)
    task.system.settle()
    task.system.close()
    return done


def generate(task: Task) -> Result:
    """Only make the documents."""
    return _timed(lambda: sum(1 for _ in documents(task.size)), task.size)


def create(task: Task) -> Result:
    """Create documents one at a time."""
    task.system.open()
    pairs = list(islice(_numbered(task.count + 1, task.size), task.count + 1))
    task.system.create(*pairs.pop())  # makes the folders and imports what writes

    def run() -> None:
        for id_, document in pairs:
            task.system.create(id_, document)

    return _timed(run, task.count)


def create_many(task: Task) -> Result:
    """Create documents that a generator makes."""
    task.system.open()
    return _timed(lambda: task.system.create_many(_numbered(task.size)), task.size)


def get(task: Task) -> Result:
    """Get documents by random ids, after some others."""
    task.system.open()
    for id_ in task.some_ids(1, task.count // 10):
        task.system.get(id_)
    ids = task.some_ids(2, task.count)

    def run() -> None:
        for id_ in ids:
            task.system.get(id_)["age"]

    return _timed(run, task.count)


def cold(task: Task) -> Result:
    """Import, open and get a document in a process of its own, all modules compiled before."""
    id_ = task.some_ids(task.count, 1)[0]
    code = _COLD_CODE[task.title].format(folder=str(task.folder), id=id_)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _COLD.format(code=code)]
    for _ in range(2):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return float(done.stdout), 1


def scalar(task: Task) -> Result:
    """Find by an int."""
    return _queries(task, lambda i: task.system.scalar(i % AGES), 0.01)


def nested(task: Task) -> Result:
    """Find by a field of a dict."""
    return _queries(task, lambda i: task.system.nested(CITIES[i]), 0.01)


def element(task: Task) -> Result:
    """Find by an element of a list."""
    return _queries(task, lambda i: task.system.element(TAGS[i]), 0.01)


def page(task: Task) -> Result:
    """Find the first of a range."""
    return _queries(task, lambda i: task.system.page(100.0 + i))


def count(task: Task) -> Result:
    """Count a range."""
    task.system.open()
    found = task.system.count(50)
    assert abs(found / task.size - 0.5) < 0.05, found
    return _timed(lambda: [task.system.count(i + 40) for i in range(task.count)], task.count)


def update(task: Task) -> Result:
    """Update documents by random ids, after some gets."""
    task.system.open()
    for id_ in task.some_ids(1, min(task.count, 500)):
        task.system.get(id_)
    ids = task.some_ids(3, task.count)
    task.system.update(ids[0], 1)

    def run() -> None:
        for age, id_ in enumerate(ids):
            task.system.update(id_, age)

    done = _timed(run, task.count)
    assert task.system.get(ids[-1])["age"] == task.count - 1
    return done


def flush(task: Task) -> Result:
    """Bring scattered updates to the files."""
    task.system.open()
    task.system.update_many(task.some_ids(4, task.count), 1)
    return _timed(task.system.settle, 1)


def size(task: Task) -> Result:
    """Return the bytes on disk as if they were seconds."""
    return float(task.system.size_bytes()), task.size


def _queries(
    task: Task, ask: Callable[[int], list[Document]], expected: float | None = None
) -> Result:
    task.system.open()
    first = ask(0)  # opens and imports
    if expected is None:
        assert len(first) == 10, len(first)
        assert all(100 < found["score"] < 110 for found in first), first
    else:
        wanted = task.size * expected
        assert abs(len(first) - wanted) <= 5 * wanted**0.5, len(first)
    return _timed(lambda: [ask(number) for number in range(1, task.count + 1)], task.count)


def _numbered(count: int, start: int = 0) -> Iterator[tuple[str, Document]]:
    for number, document in enumerate(documents(count, start), start):
        yield f"users/{number:026}", document


def _timed(run: Callable[[], object], done: int) -> Result:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started, done


def main(argument: str) -> None:
    """Do what is asked for and print the figures."""
    given = json.loads(argument)
    try:
        seconds, done = globals()[given["work"]](Task(given))
    except UnavailableError as error:
        print(json.dumps({"unavailable": str(error)}))
        return
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "count": done, "peak_mb": peak_kb / 1024}))


if __name__ == "__main__":
    main(sys.argv[1])
