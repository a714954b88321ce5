"""Data of ParqueDB for TypeScript: read, written and migrated as documents."""

import json
import os
import shutil
from base64 import b64encode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from parquedb.backends import (
    backend_status,
    cleanup_backend,
    create_backend,
    create_backend_with_migration,
    detect_existing_format,
    migrate_backend,
    verify_backend,
)
from parquedb.cli.main import app
from parquedb.db import DB
from parquedb.errors import ConflictError, FormatError, StateError
from tests.support import duck
from tests.support.stored import assert_same
from tests.support.targets import open_iceberg
from tests.support.typescript import DATA, DUMP, NAMESPACES, expected_documents

AT_MS = 1_700_000_000_123
TARGETS = ("iceberg", "delta")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "lake"
    shutil.copytree(DATA / "data", folder / "data")
    for namespace in NAMESPACES:
        os.utime(source_file(folder, namespace), ns=(AT_MS * 10**6, AT_MS * 10**6))
    return folder


def source_file(root, namespace):
    return root / "data" / namespace / "data.parquet"


def files_below(root):
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".pqdb")
    }


def documents(db, namespace, **options):
    return [dict(entity) for entity in db[namespace].find(include_deleted=True, **options)]


def live_ids(db, namespace):
    return [entity.id for entity in db[namespace].find()]


def entity(number, data):
    """Return a row as ParqueDB for TypeScript writes it, of fields that are texts or None."""

    def text(value):
        return bytes([len(value.encode())]) + value.encode()

    fields = b"".join(
        text(key) + (b"\x00" if value is None else b"\x10" + text(value))
        for key, value in data.items()
    )
    raw = b"\x56\x01\x12" + bytes([len(data)]) + fields
    return {
        "$id": f"users/{number}",
        "$type": "User",
        "$name": f"user {number}",
        "$data": b64encode(raw).decode(),
    }


def write_entities(root, rows, name="data.parquet"):
    folder = root / "data" / "users"
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(c, pa.string()) for c in ("$id", "$type", "$name", "$data")])
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, folder / name, compression="none")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_entities_are_documents(root, namespace):
    before = files_below(root)
    with DB(root) as db:
        assert db.collections() == NAMESPACES
        assert_same(documents(db, namespace), expected_documents(namespace))
        assert live_ids(db, namespace) == sorted(DUMP["liveIds"][namespace])
        assert db[namespace].count() == len(DUMP["liveIds"][namespace])
        for wanted in expected_documents(namespace):
            found = db[namespace].get(wanted["$id"], include_deleted=True)
            assert_same([dict(found)], [wanted])
            assert (db[namespace].get(wanted["$id"]) is None) == ("deletedAt" in wanted)
    assert files_below(root) == before  # who only reads changes nothing


def test_a_write_leaves_the_file_and_a_flush_makes_columns_of_it(root):
    wanted = {document["$id"]: document for document in expected_documents("users")}
    source = source_file(root, "users").read_bytes()
    gone = next(id_ for id_, document in wanted.items() if "deletedAt" in document)
    db = DB(root)
    changed = db.users.update("users/a/b", {"$set": {"note": "changed"}}, actor="me")
    assert changed["version"] == wanted["users/a/b"]["version"] + 1
    restored = db.users.restore(gone)
    wanted |= {entity.id: dict(entity) for entity in (changed, restored)}
    created = db.users.create({"name": "new", "score": 2})
    wanted[created.id] = dict(created)
    assert source_file(root, "users").read_bytes() == source
    assert_same(documents(db, "users"), [wanted[id_] for id_ in sorted(wanted)])
    db.flush("users")
    assert_same(documents(db, "users"), [wanted[id_] for id_ in sorted(wanted)])
    db.close()

    table = pq.read_table(source_file(root, "users"))
    assert {"$id", "createdAt", "version", "email", "score", "tags", "$data"} <= {
        *table.schema.names
    }
    assert table.column("$id").to_pylist() == sorted(wanted)
    with DB(root) as db:
        assert_same(documents(db, "users"), [wanted[id_] for id_ in sorted(wanted)])
        assert_same(documents(db, "posts"), expected_documents("posts"))
        assert db.users.count({"score": 5198.19}) == 1
        db.users.delete("users/a/b", hard=True)
        assert "users/a/b" not in db.users


@pytest.mark.parametrize("target", TARGETS)
def test_a_migration_makes_typed_columns_and_leaves_the_source(root, target):
    before = files_below(root)

    report = migrate_backend(storage=root, to=target, verify="content")

    for namespace in NAMESPACES:
        done = report.namespaces[namespace]
        assert (done.action, done.versions, done.verified) == ("migrated", 1, "content")
        assert {means: n for means, n in done.files.items() if n} == {"rewritten": 1}
        assert done.rows == len(DUMP["all"][namespace])
    after = files_below(root)
    assert {path: after[path] for path in before} == before
    assert not [path for path in after if "staged" in path]
    for namespace in NAMESPACES:
        assert detect_existing_format(root, namespace).primary == target
        (version,) = create_backend(type=target, storage=root).history(namespace)
        assert (version.at_ms, version.rows) == (AT_MS, len(DUMP["all"][namespace]))
        with DB(root, backend=target) as db:
            assert_same(documents(db, namespace), expected_documents(namespace))
            assert live_ids(db, namespace) == sorted(DUMP["liveIds"][namespace])


def test_other_engines_read_the_fields(root):
    wanted = {document["$id"]: document for document in expected_documents("users")}
    migrate_backend(storage=root, to="iceberg", namespaces="users")
    migrate_backend(storage=root, to="delta", from_="native", namespaces="users")
    metadata = max((root / "users" / "metadata").glob("v*.metadata.json"))
    tables = (
        open_iceberg(root / "users").scan().to_arrow().to_pylist(),
        duck.rows_iceberg(metadata),
        DeltaTable(root / "users").to_pyarrow_table().to_pylist(),
        duck.rows_delta(root / "users"),
    )
    for rows in tables:
        assert len(rows) == len(wanted)
        for row in rows:
            document = wanted[row["$id"]]
            for name in ("name", "version", "email", "createdAt", "deletedAt", "tags"):
                assert row[name] == document.get(name)
            inside = json.loads(row["$data"] or "{}")
            if "score" not in inside:
                assert row["score"] == document.get("score")


@pytest.mark.parametrize("target", TARGETS)
def test_a_second_run_has_nothing_to_do_and_a_changed_file_is_the_next_version(root, target):
    migrate_backend(storage=root, to=target)
    again = migrate_backend(storage=root, to=target)
    assert {done.action for done in again.namespaces.values()} == {"skipped"}
    assert all(len(create_backend(type=target, storage=root).history(n)) == 1 for n in NAMESPACES)

    table = pq.read_table(source_file(root, "users"))
    others = table.slice(10).to_pylist()
    others.append(entity("new", {"email": "new@example.com", "active": "a text here", "x": "y"}))
    write_entities(root, others)
    report = migrate_backend(storage=root, to=target, verify="content")

    assert report.namespaces["users"].versions == 1
    assert report.namespaces["posts"].action == "skipped"
    history = create_backend(type=target, storage=root).history("users")
    assert [version.rows for version in history] == [301, 292]
    assert history[0].at_ms == AT_MS < history[1].at_ms
    kept = {row["$id"] for row in others}
    wanted = [d for d in expected_documents("users") if d["$id"] in kept]
    with DB(root, backend=target) as db:
        found = documents(db, "users")
        assert_same([d for d in found if d["$id"] != "users/new"], wanted)
        new = db.users["users/new"]
        assert (new.active, new.x, new.name) == ("a text here", "y", "user new")
        assert_same(documents(db, "users", as_of=history[0].version), expected_documents("users"))
    assert verify_backend(root, "users", "native")["equal"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_source_can_be_deleted(root, target):
    migrate_backend(storage=root, to=target, delete_source=True, verify="content")
    assert not (root / "data" / "users" / "data.parquet").exists()
    with DB(root) as db:
        for namespace in NAMESPACES:
            assert_same(documents(db, namespace), expected_documents(namespace))


def test_the_source_can_be_cleaned_up_later(root):
    migrate_backend(storage=root, to="iceberg")
    cleanup_backend(root, "users", "native")
    assert not source_file(root, "users").exists()
    assert source_file(root, "posts").exists()


def test_a_dry_run_says_that_files_are_rewritten_and_writes_nothing(root):
    before = files_below(root)
    report = migrate_backend(storage=root, to="iceberg", dry_run=True)
    for namespace in NAMESPACES:
        done = report.namespaces[namespace]
        assert (done.action, done.versions) == ("migrated", 1)
        assert done.rows == len(DUMP["all"][namespace])
        assert {means: n for means, n in done.files.items() if n} == {"rewritten": 1}
    assert files_below(root) == before


@pytest.mark.parametrize("target", TARGETS)
def test_opening_a_database_with_another_backend_migrates(root, target):
    source = source_file(root, "users").read_bytes()
    with DB(root, backend={"type": target, "migrate_from": "auto"}) as db:
        assert_same(documents(db, "users"), expected_documents("users"))
        db.users.update("users/a/b", {"$set": {"note": "changed"}})
    assert source_file(root, "users").read_bytes() == source
    with DB(root) as db:
        assert db.users["users/a/b"].note == "changed"
        assert len(documents(db, "users")) == 301


def test_a_backend_is_opened_with_typed_columns(root):
    backend = create_backend_with_migration(type="delta", storage=root)
    assert "email" in backend.to_arrow("users").schema.names


def test_there_and_to_another_format_and_back(root):
    migrate_backend(storage=root, to="iceberg")
    migrate_backend(storage=root, to="delta", from_="iceberg", verify="content")
    migrate_backend(storage=root, to="native", from_="delta", allow_lossy=True, on_conflict="force")
    with DB(root, backend="native") as db:
        for namespace in NAMESPACES:
            assert_same(documents(db, namespace), expected_documents(namespace))


def test_writes_to_the_target_are_not_overwritten(root):
    migrate_backend(storage=root, to="iceberg")
    with DB(root, backend="iceberg") as db:
        db.users.update("users/a/b", {"$set": {"note": "ours", "age": 1}})
        db.users.create({"$id": "only-here", "name": "only here"})
        ours = dict(db.users["users/a/b"])
    rows = pq.read_table(source_file(root, "users")).to_pylist()
    kept = [row for row in rows if row["$id"] != "users/u0000"]
    write_entities(root, [*kept, entity("theirs", {"note": "theirs"})])
    shutil.rmtree(root / "_parquedb" / "users" / "journal")  # else the journal's base is Iceberg
    with pytest.raises(ConflictError, match="written to by others"):
        migrate_backend(storage=root, to="iceberg", from_="native", namespaces="users")

    report = migrate_backend(
        storage=root, to="iceberg", from_="native", namespaces="users", on_conflict="merge"
    )

    merge = report.namespaces["users"].merge
    assert (merge.only_in_target, merge.only_in_source) == (2, 1)
    assert (merge.target_newer, merge.source_newer) == (1, 0)
    with DB(root) as db:
        assert_same([dict(db.users["users/a/b"])], [ours])
        assert db.users["users/theirs"].note == "theirs"
        assert db.users.count(include_deleted=True) == 303


def test_a_forced_migration_replaces_the_rows_of_the_target(root):
    shutil.rmtree(root / "data" / "users")
    with DB(root, backend={"type": "iceberg", "warehouse": "w"}) as db:
        db.users.create({"email": 1})
    shutil.rmtree(root / "_parquedb")
    shutil.copytree(DATA / "data" / "users", root / "data" / "users")
    options = {"storage": root, "to": "iceberg", "warehouse": "w", "namespaces": "users"}
    with pytest.raises(ConflictError, match="did not come from"):
        migrate_backend(**options, from_="native")
    migrate_backend(**options, from_="native", on_conflict="force", verify="content")
    with DB(root, backend={"type": "iceberg", "warehouse": "w"}) as db:
        assert_same(documents(db, "users"), expected_documents("users"))


@pytest.mark.parametrize("target", TARGETS)
def test_status_verify_and_history(root, target):
    def told(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--storage", str(root), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    status = told("backend-status")["namespaces"]
    assert {name: (one["primary"], one["rows"]) for name, one in status.items()} == {
        "posts": ("native", 200),
        "users": ("native", 301),
    }
    assert [v["rows"] for v in told("history", "users")["versions"]] == [301]

    dry = told("migrate-backend", "--to", target, "--dry-run")["namespaces"]["users"]
    assert dry["files"]["rewritten"] == 1
    assert told("migrate-backend", "--to", target, "--verify", "content")["success"]

    assert told("backend-status")["namespaces"]["users"]["formats"] == ["native", target]
    assert told("verify", "users", "--against", "native")["equal"]
    assert [v["rows"] for v in told("history", "users")["versions"]] == [301]
    status = backend_status(root).namespaces["users"]
    assert (status.error, status.notes) == (None, ())


@pytest.mark.parametrize("target", TARGETS)
def test_a_difference_in_one_value_is_found(root, target):
    rows = [entity(number, {"note": f"note {number}"}) for number in range(9)]
    write_entities(root, rows)
    before = source_file(root, "users").stat()
    migrate_backend(storage=root, to=target, namespaces="users", verify="content")
    assert verify_backend(root, "users", "native")["equal"]

    rows[3] = entity(3, {"note": "nota 3"})
    write_entities(root, rows)
    os.utime(source_file(root, "users"), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source_file(root, "users").stat().st_size == before.st_size  # the version is the same
    found = verify_backend(root, "users", "native")
    assert not found["equal"]
    assert "differ in rows" in found["differences"][0]


def test_damage_is_reported_and_nothing_is_written(root):
    rows = pq.read_table(source_file(root, "users")).to_pylist()
    rows[7]["$data"] = rows[7]["$data"][:-8]
    write_entities(root, rows)
    before = files_below(root)
    with pytest.raises(FormatError, match="not what ParqueDB for TypeScript writes"):
        migrate_backend(storage=root, to="iceberg", namespaces="users")
    assert files_below(root) == before


def test_an_id_twice_is_refused(root):
    row = entity(1, {"a": "b"})
    write_entities(root, [row, row])
    with pytest.raises(StateError, match="twice"):
        migrate_backend(storage=root, to="iceberg", namespaces="users")


def test_several_files_become_several_files(root):
    source_file(root, "users").unlink()
    write_entities(root, [entity(n, {"a": None, "b": f"{n}"}) for n in range(5)], "one.parquet")
    write_entities(root, [entity(n, {"a": "x"}) for n in range(3, -1, -1)], "two.parquet")
    with pytest.raises(StateError, match="twice"):
        migrate_backend(storage=root, to="delta", namespaces="users")
    write_entities(root, [entity(n, {"a": "x"}) for n in range(9, 4, -1)], "two.parquet")
    migrate_backend(storage=root, to="delta", namespaces="users", verify="content")
    with DB(root) as db:
        assert [e.id for e in db.users.find()] == [f"users/{n}" for n in range(10)]
        assert db.users["users/0"] == db.users["users/0"] | {"a": None, "b": "0"}
        assert db.users["users/5"].a == "x"


@pytest.mark.parametrize("name", ["users.parquet", "users/data.parquet", "data/users/one.parquet"])
def test_files_elsewhere_are_read_and_migrated_but_not_replaced(root, name):
    (root / name).parent.mkdir(exist_ok=True)
    os.replace(source_file(root, "users"), root / name)
    wanted = {document["$id"]: document for document in expected_documents("users")}
    db = DB(root)
    assert_same(documents(db, "users"), list(wanted.values()))
    for rewrite in (db.flush, db.compact):
        db.users.update("users/a/b", {"$inc": {"n": 1}})
        with pytest.raises(StateError, match="not replaced"):
            rewrite("users")
    assert not source_file(root, "users").exists()
    assert db.users["users/a/b"].n == 2
    db.close()

    shutil.rmtree(root / "_parquedb" / "users")
    migrate_backend(storage=root, to="delta", namespaces="users", verify="content")
    with DB(root, backend="delta") as db:
        assert_same(documents(db, "users"), list(wanted.values()))
