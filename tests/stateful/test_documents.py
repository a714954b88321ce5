"""Collections against a dict: any sequence of writes, flushes, reopenings and foreign appends.

Two databases are open on one storage. Whatever one does, both must show what the dict says.
``PARQUEDB_EXAMPLES`` sets how many sequences are tried for each backend and store.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from parquedb.catalog import FilesystemCatalog
from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.errors import AlreadyExistsError, ConflictError, NotFoundError
from parquedb.query.compare import compare_key
from parquedb.query.match import compile_match
from parquedb.query.parse import parse_filter, parse_sort
from parquedb.query.sort import sort_documents
from tests.support.databases import BACKENDS, STORES, Place, fields_of, moment, place
from tests.support.documents import RARE, SCALARS, documents, values
from tests.support.stored import same

EXAMPLES = int(os.environ.get("PARQUEDB_EXAMPLES", "8"))
STEPS = 40
FIELDS = ("a", "b", "c.d", "name")
DOCUMENTS = documents(names=FIELDS)
PATHS = st.sampled_from(
    ["a", "b", "c.d", "name", "a.b", "a.0", "b.a.0", "version", "n", "f0", "f1"]
)
OPERANDS = st.sampled_from((*SCALARS, *RARE))
TESTS = st.one_of(
    OPERANDS,
    values(leaves=3),
    st.builds(
        lambda operator, operand: {operator: operand},
        st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]),
        OPERANDS,
    ),
    st.lists(OPERANDS, max_size=3).map(lambda operands: {"$in": operands}),
    st.lists(OPERANDS, max_size=3).map(lambda operands: {"$nin": operands}),
    st.booleans().map(lambda wanted: {"$exists": wanted}),
    st.sampled_from(["string", "number", "array", "object", "null", "bool", "date"]).map(
        lambda name: {"$type": name}
    ),
    st.integers(0, 3).map(lambda size: {"$size": size}),
    st.sampled_from(["a", "b", "^a"]).map(lambda pattern: {"$regex": pattern}),
    OPERANDS.map(lambda operand: {"$not": {"$gt": operand}}),
    OPERANDS.map(lambda operand: {"$elemMatch": {"$gte": operand}}),
)
LEAVES = st.dictionaries(PATHS, TESTS, max_size=2)
FILTERS = st.one_of(
    LEAVES,
    st.builds(
        lambda operator, parts: {operator: parts},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(LEAVES, min_size=1, max_size=2),
    ),
)
SORTS = st.sampled_from([None, "a", "-a", "b", "-c", ["a", "-b"], "-version", "-$id", "n"])


@dataclass
class Row:
    """A document as it should be."""

    fields: dict[str, Any]
    version: int = 1
    deleted: bool = False
    foreign: bool = False


@dataclass
class Model:
    """What the database should hold, and held at some times."""

    rows: dict[str, Row] = field(default_factory=dict)
    past: list[tuple[Any, dict[str, Row]]] = field(default_factory=list)

    def alive(self) -> list[str]:
        return sorted(key for key, row in self.rows.items() if not row.deleted)


class Machine(RuleBasedStateMachine):
    backend = "native"
    store = "local"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.place: Place = place(self.backend, self.store, self.folder)
        self.dbs: list[DB] = []
        self.model = Model()
        self.kept = bulk.STAGED_FROM
        bulk.STAGED_FROM = 5
        self.random = random.Random(7)
        self.serial = 0

    def teardown(self) -> None:
        try:
            if self.dbs:
                for number in range(2):
                    self.check_everything(number)
                self.dbs[0].flush()
                self.check_everything(1)
                self.dbs[1].compact()
                self.check_everything(0)
        finally:
            bulk.STAGED_FROM = self.kept
            self.place.close()
            shutil.rmtree(self.folder)

    @initialize(
        batches=st.lists(st.lists(DOCUMENTS, min_size=3, max_size=9), max_size=3),
        flushes=st.integers(0, 7),
    )
    def start(self, batches: list[list[dict[str, Any]]], flushes: int) -> None:
        self.dbs = [self.place.open(), self.place.open()]
        for number, batch in enumerate(batches):
            self.create_many(batch, taken=False)
            if flushes >> number & 1:
                self.flush()

    def users(self) -> Any:
        return self.random.choice(self.dbs).users

    def key(self, alive: bool | None = True) -> str | None:
        rows = self.model.rows
        keys = [key for key in sorted(rows) if alive is None or rows[key].deleted is not alive]
        return self.random.choice(keys) if keys else None

    def image(self, key: str) -> dict[str, Any]:
        row = self.model.rows[key]
        return {"$id": key, "$type": "User", "version": row.version, **row.fields}

    # writes

    @rule(data=DOCUMENTS, chosen=st.booleans())
    def create(self, data: dict[str, Any], chosen: bool) -> None:
        given = copy.deepcopy(data)
        if chosen:
            given["$id"] = f"k{self.random.randrange(40):02}"
            if f"users/{given['$id']}" in self.model.rows:
                with pytest.raises(AlreadyExistsError):
                    self.users().create(given)
                return
        made = self.users().create(given)
        assert made.version == 1
        self.model.rows[made.id] = Row(data)

    @rule(many=st.lists(DOCUMENTS, min_size=1, max_size=9), taken=st.booleans())
    def create_many(self, many: list[dict[str, Any]], taken: bool) -> None:
        given = copy.deepcopy(many)
        free = [f"k{n:02}" for n in range(40) if f"users/k{n:02}" not in self.model.rows]
        for number, local in zip(  # ids that were removed come again
            range(0, len(given), 2), self.random.sample(free, min(5, len(free))), strict=False
        ):
            given[number]["$id"] = local
        key = self.key(None)
        if taken and key is not None:
            given[0]["$id"] = key
            with pytest.raises(AlreadyExistsError):
                self.users().create_many(given)
            return
        ids = self.users().create_many(given)
        for id_, data in zip(ids, many, strict=True):
            self.model.rows[id_] = Row(data)

    @rule(
        name=st.sampled_from([*FIELDS, "f0", "f1"]), value=values(), unset=st.sampled_from(FIELDS)
    )
    def update(self, name: str, value: Any, unset: str) -> None:
        key = self.key()
        if key is None:
            return
        row = self.model.rows[key]
        if "." in name or name == unset or "." in unset:
            change, wanted = {"$inc": {"n": 2}}, {**row.fields, "n": row.fields.get("n", 0) + 2}
        else:
            change = {"$set": {name: copy.deepcopy(value)}, "$unset": {unset: ""}}
            wanted = {**row.fields, name: value}
            wanted.pop(unset, None)
        with pytest.raises(ConflictError):
            self.users().update(key, change, expected_version=row.version + 1)
        made = self.users().update(key, change, expected_version=row.version)
        self.model.rows[key] = Row(wanted, row.version + 1)
        assert made.version == row.version + 1

    @rule(data=DOCUMENTS)
    def replace(self, data: dict[str, Any]) -> None:
        key = self.key()
        if key is not None:
            self.users().replace(key, copy.deepcopy(data))
            self.model.rows[key] = Row(data, self.model.rows[key].version + 1)

    @rule(spec=FILTERS)
    def update_many(self, spec: dict[str, Any]) -> None:
        found = self.matching(spec)
        assert self.users().update_many(spec, {"$inc": {"n": 1}}) == len(found)
        for key in found:
            row = self.model.rows[key]
            wanted = {**row.fields, "n": row.fields.get("n", 0) + 1}
            self.model.rows[key] = Row(wanted, row.version + 1)

    @rule(hard=st.booleans())
    def delete(self, hard: bool) -> None:
        key = self.key(None if hard else True)
        if key is None:
            return
        assert self.users().delete(key, hard=hard)
        self.remove(key, hard=hard)

    @rule(spec=FILTERS, hard=st.booleans())
    def delete_many(self, spec: dict[str, Any], hard: bool) -> None:
        found = self.matching(spec)[:3]
        spec = {"$and": [spec, {"$id": {"$in": found}}]}
        assert self.users().delete_many(spec, hard=hard) == len(found)
        for key in found:
            self.remove(key, hard=hard)

    def remove(self, key: str, *, hard: bool) -> None:
        if hard:
            del self.model.rows[key]
        else:
            row = self.model.rows[key]
            self.model.rows[key] = Row(row.fields, row.version + 1, deleted=True)

    @rule()
    def restore(self) -> None:
        key = self.key(alive=False)
        if key is None:
            with pytest.raises(NotFoundError):
                self.users().restore("nobody")
            return
        assert self.users().restore(key).version == self.model.rows[key].version + 1
        row = self.model.rows[key]
        self.model.rows[key] = Row(row.fields, row.version + 1)

    @rule(data=DOCUMENTS, fails=st.booleans())
    def transaction(self, data: dict[str, Any], fails: bool) -> None:
        db = self.random.choice(self.dbs)
        key = self.key()
        try:
            with db.transaction():
                made = db.users.create(copy.deepcopy(data))
                if key is not None:
                    db.users.update(key, {"$inc": {"n": 5}})
                    db.users.update(key, {"$inc": {"n": 5}})
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            return
        self.model.rows[made.id] = Row(data)
        if key is not None:
            row = self.model.rows[key]
            wanted = {**row.fields, "n": row.fields.get("n", 0) + 10}
            self.model.rows[key] = Row(wanted, row.version + 2)

    # what changes nothing

    @rule()
    def flush(self) -> None:
        self.random.choice(self.dbs).flush()
        self.forget_the_past()

    @rule()
    def compact(self) -> None:
        self.random.choice(self.dbs).compact()
        self.forget_the_past()

    @rule(number=st.integers(0, 1))
    def reopen(self, number: int) -> None:
        self.dbs[number].close()
        self.dbs[number] = self.place.open()
        self.forget_the_past()

    @rule()
    def remember(self) -> None:
        self.model.past.append((moment(), copy.deepcopy(self.model.rows)))

    def forget_the_past(self) -> None:
        """Only times inside the tail are exact."""
        if self.dbs[0].users.space.now().entries == 0:
            self.model.past.clear()

    # others

    @precondition(lambda self: self.backend != "native" and self.store == "local" and self.dbs)
    @rule(count=st.integers(1, 3))
    def append_from_outside(self, count: int) -> None:
        if self.dbs[0].users.space.base.version is None:
            return
        self.model.past.clear()
        rows = []
        for _ in range(count):
            self.serial += 1
            key = f"users/x{self.random.randrange(100):02}-{self.serial}"
            rows.append({"$id": key, "$type": "User", "version": 1})
            self.model.rows[key] = Row({})
        table = pa.Table.from_pylist(rows, SCHEMA)
        if self.backend == "delta":
            write_deltalake(f"{self.folder}/users", table, mode="append", schema_mode="merge")
        else:
            FilesystemCatalog("it", warehouse=self.folder).load_table("users").append(table)

    @precondition(lambda self: self.backend == "delta" and self.store == "local" and self.dbs)
    @rule()
    def compact_from_outside(self) -> None:
        if self.dbs[0].users.space.base.version is not None:
            DeltaTable(f"{self.folder}/users").optimize.compact()

    # reads

    def matching(self, spec: dict[str, Any]) -> list[str]:
        matches = compile_match(parse_filter(spec))
        return [key for key in self.model.alive() if matches(self.image(key))]

    @rule(spec=FILTERS, sort=SORTS, limit=st.none() | st.integers(0, 5), number=st.integers(0, 1))
    def find(self, spec: dict[str, Any], sort: Any, limit: int | None, number: int) -> None:
        users = self.dbs[number].users
        keys = self.matching(spec)
        if sort is not None:
            images = [self.image(key) for key in keys]
            keys = [each["$id"] for each in sort_documents(images, parse_sort(sort))]
        found = users.find(spec, sort=sort, limit=limit).to_list()
        assert [each.id for each in found] == keys[:limit]
        for each in found:
            self.check_document(each)
        assert users.count(spec) == len(keys)

    @rule(name=st.sampled_from(["a", "b", "n", "a.b"]))
    def distinct(self, name: str) -> None:
        found = self.users().distinct(name)
        matches = compile_match(parse_filter({}))
        images = [self.image(key) for key in self.model.alive()]
        assert len({compare_key(value) for value in found}) == len(found)
        for value in found:
            wanted = compile_match(parse_filter({name: {"$eq": value}}))
            assert any(matches(image) and wanted(image) for image in images)

    @rule(spec=FILTERS, compacts=st.booleans())
    def read_while_it_changes(self, spec: dict[str, Any], compacts: bool) -> None:
        keys = self.matching(spec)
        found = iter(self.users().find(spec))
        first = next(found, None)
        if compacts:
            self.compact()
        else:
            self.update_many(spec)
            self.flush()
        rest = [] if first is None else [first, *found]
        assert [each.id for each in rest] == keys

    @rule()
    def sql(self) -> None:
        db = self.random.choice(self.dbs)
        if "users" in db:
            table = db.sql('SELECT "$id" AS id, version FROM users ORDER BY 1')
            wanted = [(key, self.model.rows[key].version) for key in self.model.alive()]
            assert [tuple(row.values()) for row in table.to_pylist()] == wanted

    @rule()
    def as_of(self) -> None:
        for at, rows in self.model.past:
            users = self.users()
            alive = sorted(key for key, row in rows.items() if not row.deleted)
            assert [each.id for each in users.find(as_of=at)] == alive
            for key in alive[:3]:
                assert users.get(key, as_of=at).version == rows[key].version

    @invariant()
    def counts(self) -> None:
        if self.dbs:
            users = self.users()
            assert users.count() == len(self.model.alive())
            assert users.count(include_deleted=True) == len(self.model.rows)
            key = self.key()
            if key is not None:
                self.check_document(users[key])

    def check_document(self, got: dict[str, Any]) -> None:
        row = self.model.rows[got["$id"]]
        assert got["version"] == row.version
        assert ("deletedAt" in got) is row.deleted
        wanted = row.fields
        assert same(fields_of(got), wanted), f"{got!r} is not {wanted!r}"

    def check_everything(self, number: int) -> None:
        users = self.dbs[number].users
        found = users.find(include_deleted=True).to_list()
        assert [each.id for each in found] == sorted(self.model.rows)
        for each in found:
            self.check_document(each)
            self.check_document(users.get(each.id, include_deleted=True))


SCHEMA = pa.schema(
    [
        pa.field("$id", pa.string(), nullable=False),
        pa.field("$type", pa.string()),
        pa.field("version", pa.int32()),
    ]
)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_documents(backend: str, store: str) -> None:
    machine = type(f"{backend}_{store}", (Machine,), {"backend": backend, "store": store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes many minutes
        ),
    )
