"""A process that writes and reads a collection for some seconds, and says what it did.

python -m tests.support.busy STORAGE BACKEND SECONDS SEED
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from typing import Any

from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.namespace import local_journal

COUNTERS = 3


class Busy:
    """What one process does.

    Args:
        db: The database.
        seed: Tells the processes apart.
    """

    def __init__(self, db: DB, seed: int) -> None:
        self.users = db.users
        self.db = db
        self.seed = seed
        self.random = random.Random(seed)
        self.increments: Counter[str] = Counter()
        self.created: dict[str, list[int]] = {}
        self.done: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Work until the time is over."""
        work = [self.increment] * 50 + [self.create] * 20 + [self.change] * 20 + [self.look] * 16
        work += [self.create_many] * 2 + [self.search] * 4 + [self.flush] * 2 + [self.compact]
        work += [self.transact] * 4
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            each = self.random.choice(work)
            each()
            self.done[each.__name__] += 1

    def increment(self) -> None:
        key = f"c{self.random.randrange(COUNTERS)}"
        made = self.users.update(key, {"$inc": {"n": 1}})
        self.increments[key] += 1
        assert made.n == made.version - 1, made
        assert made.n >= self.increments[key], made

    def create(self) -> None:
        made = self.users.create({"by": self.seed, "n": 0, "tags": [str(self.seed)]})
        self.created[made.id] = [0, 1]

    def create_many(self) -> None:
        for id_ in self.users.create_many([{"by": self.seed, "n": 0}] * self.random.choice((3, 9))):
            self.created[id_] = [0, 1]

    def change(self) -> None:
        if self.created:
            key = self.random.choice(sorted(self.created))
            known = self.created[key]
            made = self.users.update(key, {"$inc": {"n": 1}}, expected_version=known[1])
            self.created[key] = [known[0] + 1, known[1] + 1]
            assert [made.n, made.version] == self.created[key], made

    def transact(self) -> None:
        if not self.created:
            return
        key = self.random.choice(sorted(self.created))
        with self.db.transaction():
            made = self.users.create({"by": self.seed, "n": 0})
            self.users.update(key, {"$inc": {"n": 1}})
        self.created[made.id] = [0, 1]
        known = self.created[key]
        self.created[key] = [known[0] + 1, known[1] + 1]

    def look(self) -> None:
        if self.created:
            key = self.random.choice(sorted(self.created))
            found = self.users[key]
            assert [found.n, found.version] == self.created[key], found

    def search(self) -> None:
        found = self.users.find({"by": self.seed}).to_list()
        assert {each.id: [each.n, each.version] for each in found} == self.created
        assert self.users.count({"by": self.seed}) == len(self.created)

    def flush(self) -> None:
        self.db.flush()

    def compact(self) -> None:
        self.db.compact()

    def told(self) -> dict[str, Any]:
        """Return what was acknowledged."""
        return {"increments": self.increments, "created": self.created, "done": self.done}


def main(storage: str, backend: str, seconds: str, seed: str) -> None:
    """Work, and print what was acknowledged as JSON."""
    bulk.STAGED_FROM = 8
    local_journal.WORTHWHILE_BYTES = 4096
    local_journal.SEGMENT_BYTES = 20_000
    with DB(storage, backend=backend, flush_bytes=1 << 20) as db:
        busy = Busy(db, int(seed))
        busy.run(float(seconds))
    json.dump(busy.told(), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
