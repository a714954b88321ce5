"""Several processes write the same collection at once: nothing is lost, nothing comes twice.

``PARQUEDB_TEST_SECONDS`` sets for how long, 6 by default.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from parquedb.db import DB
from tests.support.busy import COUNTERS
from tests.support.databases import BACKENDS

SECONDS = float(os.environ.get("PARQUEDB_TEST_SECONDS", "6"))
PROCESSES = 4
PROJECT = Path(__file__).parents[2]


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.support.busy", *args]
    path = os.pathsep.join([str(PROJECT / "src"), str(PROJECT)])
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(300 + 4 * SECONDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_processes(backend, tmp_path):
    folder = str(tmp_path / "db")
    with DB(folder, backend=backend) as db:
        for number in range(COUNTERS):
            db.users.create({"$id": f"c{number}", "n": 0})
    started = [start(folder, backend, str(SECONDS), str(seed)) for seed in range(PROCESSES)]
    results = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, results, strict=True):
        assert process.returncode == 0, errors
    told = [json.loads(output) for output, _ in results]
    done = sum((Counter(each["done"]) for each in told), Counter())
    assert min(done["increment"], done["create"], done["search"]) > 0, done

    created = {id_: known for each in told for id_, known in each["created"].items()}
    assert len(created) == sum(len(each["created"]) for each in told)
    increments = sum((Counter(each["increments"]) for each in told), Counter())
    for _ in range(2):
        with DB(folder, backend=backend) as db:
            found = db.users.find(include_deleted=True).to_list()
            counters = {e.id.removeprefix("users/"): e for e in found if "by" not in e}
            assert {key: each.n for key, each in counters.items()} == {
                f"c{number}": increments[f"c{number}"] for number in range(COUNTERS)
            }
            assert all(each.version == each.n + 1 for each in counters.values())
            others = {each.id: [each.n, each.version] for each in found if "by" in each}
            assert others == created
            assert len(found) == len(created) + COUNTERS
            assert db.users.count() == len(found)
            db.compact()
