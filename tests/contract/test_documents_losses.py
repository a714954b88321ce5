"""Ways in which documents were lost, or found wrongly, once."""

import itertools
import re
import shutil
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from parquedb.ambient import SYSTEM
from parquedb.backends import migrate_backend
from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.documents.exchange import imports
from parquedb.errors import (
    AlreadyExistsError,
    ConflictError,
    FormatError,
    InvalidInputError,
    StateError,
    UnsupportedError,
)
from parquedb.namespace.tail import Tail
from parquedb.storage.local import LocalStore
from tests.support.databases import BACKENDS, moment

UNIQUE = {"User": {"email": "string##", "n": "int?"}}


@pytest.fixture
def few(monkeypatch):
    """Let ten documents at once be many."""
    monkeypatch.setattr(bulk, "STAGED_FROM", 10)
    monkeypatch.setattr(imports, "STAGED_FROM", 10)
    monkeypatch.setattr(bulk, "_CHUNK", 10)


def people(count):
    return [{"$id": f"users/{i:03}", "email": f"e{i}", "name": "n"} for i in range(count)]


def values(found, name):
    return [each[name] for each in found]


# ids that come again


@pytest.mark.parametrize("flushed", [True, False])
def test_a_removed_id_comes_again_in_a_staged_file(tmp_path, few, flushed):
    db = DB(tmp_path)
    db.users.create({"$id": "users/005", "email": "old"})
    if flushed:
        db.flush()
    db.users.delete("005", hard=True)
    db.users.create_many(people(25))
    assert db.users["005"].email == "e5"
    assert db.users.count() == 25
    db.flush()
    assert db.users["005"].email == "e5"
    assert values(db.users.find(), "email") == [f"e{i}" for i in range(25)]


def test_an_id_that_was_staged_removed_and_staged_again(tmp_path, few):
    db = DB(tmp_path, backend="iceberg")
    for _ in range(2):
        db.users.create_many(people(25))
        assert db.users.count() == 25
        db.users.delete_many({"email": {"$in": ["e3", "e24"]}}, hard=True)
        assert db.users.count() == 23
        db.users.delete_many({}, hard=True)
    db.users.create_many(people(12))
    db.flush()
    assert values(db.users.find(), "email") == [f"e{i}" for i in range(12)]


def test_a_removed_id_comes_again_by_an_import(tmp_path, few):
    db = DB(tmp_path / "db")
    db.users.create({"$id": "users/005", "email": "old"})
    db.flush()
    db.users.delete("005", hard=True)
    file = tmp_path / "users.ndjson"
    file.write_text("".join(f'{{"$id":"{i:03}","email":"e{i}"}}\n' for i in range(25)))
    db.import_file("users", file)
    assert db.users["005"].email == "e5"
    assert db.users.count() == 25


# unique values


def test_values_are_unique_among_batches(tmp_path, few):
    db = DB(tmp_path, schema=UNIQUE)
    items = people(35)
    items[33]["email"] = "e1"
    with pytest.raises(AlreadyExistsError, match="'e1'"):
        db.users.create_many(items)
    assert db.users.count() == 0
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_unique_value_that_is_taken_while_documents_are_staged(tmp_path, few):
    db, other = DB(tmp_path, schema=UNIQUE), DB(tmp_path, schema=UNIQUE)

    def items():
        for number, item in enumerate(people(35)):
            if number == 32:
                other.users.create({"email": "e7"})
            yield item

    with pytest.raises(AlreadyExistsError, match="'e7'"):
        db.users.create_many(items())
    assert values(db.users.find(), "email") == ["e7"]


@pytest.mark.parametrize("flushed", [True, False])
def test_all_that_have_a_unique_value_by_a_writer_without_the_schema(tmp_path, flushed):
    asks, writes = DB(tmp_path, schema=UNIQUE), DB(tmp_path)
    asks.users.create({"$id": "1", "email": "x"})
    for id_ in ("2", "3"):
        writes.users.create({"$id": id_, "email": "x"})
    writes.users.update("3", {"$set": {"email": "y"}})
    writes.users.delete("1")
    if flushed:
        asks.flush()
    with pytest.raises(AlreadyExistsError, match="'users/2' has 'x'"):
        asks.users.create({"email": "x"})
    with pytest.raises(AlreadyExistsError, match="'users/2' has 'x'"):
        asks.users.restore("1")
    asks.users.update("2", {"$set": {"email": "z"}})
    asks.users.restore("1")


def test_a_unique_list_counts_as_a_whole(tmp_path):
    with DB(tmp_path, schema={"Item": {"key": "json##"}}) as db:
        for key in ([1, 2], 1, [[1, 2]], 2, {"a": [1]}):
            db.items.create({"key": key})
            db.flush()
        for key in ([1, 2], 1.0, [[1, 2]], {"a": [1]}):
            with pytest.raises(AlreadyExistsError):
                db.items.create({"key": key})


@pytest.mark.parametrize("flushed", [False, True])
def test_to_check_a_unique_value_copies_nothing_of_the_tail(tmp_path, monkeypatch, flushed):
    db = DB(tmp_path, schema={"User": {"email": "string##"}})
    kept = db.users.create({"email": "kept"})
    moved = db.users.create({"email": "moved"})
    if flushed:
        db.flush()
    db.users.update(moved.id, {"$set": {"email": "elsewhere"}})
    with monkeypatch.context() as patched:
        patched.setattr(Tail, "overlay", None)
        db.users.create({"email": "new"})
        db.users.create({"email": "moved"})
        db.users.update(kept.id, {"$set": {"n": 1}})
        for taken in ("kept", "elsewhere", "new", "moved"):
            with pytest.raises(AlreadyExistsError, match="is unique"):
                db.users.create({"email": taken})
    assert db.users.count() == 4
    db.close()


def test_unique_values_are_exchanged_in_a_transaction(tmp_path):
    db = DB(tmp_path, schema=UNIQUE)
    one, other = db.users.create({"email": "a"}), db.users.create({"email": "b"})
    with db.transaction():
        db.users.update(one.id, {"$set": {"email": "c"}})
        db.users.update(other.id, {"$set": {"email": "a"}})
        db.users.update(one.id, {"$set": {"email": "b"}})
    assert values(db.users.find(), "email") == ["b", "a"]
    with pytest.raises(AlreadyExistsError), db.transaction():
        db.users.update(one.id, {"$set": {"email": "a"}})
    assert values(db.users.find(), "email") == ["b", "a"]


# transactions


def test_a_document_that_was_made_anew_is_another_one(tmp_path):
    db, other = DB(tmp_path), DB(tmp_path)
    db.users.create({"$id": "users/a", "n": 1})

    def exchange():
        with db.transaction():
            db.users.update("a", {"$inc": {"n": 1}})
            other.users.delete("a", hard=True)
            other.users.create({"$id": "users/a", "n": 5})

    with pytest.raises(ConflictError):
        exchange()
    assert db.users["a"].n == 5


def test_transactions_let_the_journal_be_flushed(tmp_path):
    db = DB(tmp_path, flush_bytes=1000)
    for number in range(20):
        with db.transaction():
            db.users.create({"n": number, "text": "x" * 100})
    assert (tmp_path / "data/users/data.parquet").exists()
    assert values(db.users.find(), "n") == list(range(20))


# where a database is


def test_folders_with_equal_signs_above_the_data_are_no_columns(tmp_path):
    db = DB(tmp_path / "env=prod" / "n=5")
    db.users.create({"env": "dev", "n": 1})
    db.flush()
    assert db.users.count({"env": "dev"}) == db.users.count({"n": {"$lt": 2}}) == 1
    assert db.users.count({"env": "prod"}) == 0
    assert db.sql("SELECT env, n FROM users").to_pylist() == [{"env": "dev", "n": 1}]


def test_folders_that_look_like_patterns(tmp_path):
    for name in ("ab", "axb", "a*b", "a?b", "a[b]"):
        db = DB(tmp_path / name)
        db.users.create({"of": name, "n": 1})
        db.flush()
        assert values(db.users.find({"n": {"$gt": 0}}), "of") == [name]
        assert db.users.count({"n": 1}) == 1
        db.close()


# other programs


def rewritten(path, change):
    """Write a Parquet file as another program does: without our marks."""
    pq.write_table(change(pq.read_table(path)).replace_schema_metadata(None), path)


def test_what_another_program_wrote_over_the_file_stays(tmp_path):
    db = DB(tmp_path)
    file = tmp_path / "data/users/data.parquet"
    for number in range(5):
        db.users.create({"$id": f"users/{number}", "n": number})
    db.flush()
    rewritten(file, lambda table: table.filter(pc.not_equal(table["n"], 2)))
    for each in (db, DB(tmp_path)):
        assert values(each.users.find(), "n") == [0, 1, 3, 4]
        assert each.users.get("2") is None
    db.users.update("1", {"$set": {"n": 11}})
    db.flush()
    rewritten(file, lambda table: table.filter(pc.not_equal(table["n"], 3)))
    db.users.create({"$id": "users/5", "n": 5})
    assert values(DB(tmp_path).users.find(), "n") == [0, 11, 4, 5]
    db.flush()
    assert values(DB(tmp_path).users.find(), "n") == [0, 11, 4, 5]


def test_a_table_of_ids_gets_the_columns_that_documents_need(tmp_path):
    file = tmp_path / "data/users/data.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"$id": ["users/a"], "n": [1]}), file)
    db = DB(tmp_path)
    made = db.users.create({"$id": "users/b", "n": "many", "deep": [1, "x"]}, actor="me")
    db.users.update("a", {"$inc": {"n": 1}})
    db.flush()
    assert db.users["b"] == made
    assert db.users["a"].n == 2
    assert values(db.users.find({"n": {"$gte": 2}}), "$id") == ["users/a"]


def test_rows_without_an_id_stop_a_flush(tmp_path):
    file = tmp_path / "data/users/data.parquet"
    file.parent.mkdir(parents=True)
    table = pa.table({"$id": ["users/a", None], "n": [1, 2]})
    pq.write_table(table, file, write_statistics=False)
    db = DB(tmp_path)
    db.users.create({"$id": "users/b"})
    with pytest.raises(FormatError, match=r"1 rows have no '\$id'"):
        db.flush()
    db.close(flush=False)


@pytest.mark.parametrize("ids", [pa.array([1, 2]), None], ids=["numbers", "none"])
def test_a_table_without_documents_has_none_by_id(tmp_path, ids):
    file = tmp_path / "data/users/data.parquet"
    file.parent.mkdir(parents=True)
    table = pa.table({"n": [1, 2]})
    pq.write_table(table if ids is None else table.append_column("$id", ids), file)
    db = DB(tmp_path)
    assert db.users.get("a") is None
    assert db.users.find({"$id": "users/a"}).to_list() == []
    assert db.users.count({"n": {"$gt": 1}}) == 1


# damage


@pytest.mark.parametrize("backend", ["iceberg", "delta"])
def test_a_file_that_is_gone_is_named(tmp_path, backend):
    db = DB(tmp_path, backend=backend)
    db.users.create({"$id": "users/a", "n": 1})
    db.flush()
    (file,) = tmp_path.rglob("*.parquet")
    file.unlink()
    db.close(flush=False)
    db = DB(tmp_path)
    for read in (
        lambda: db.users.get("a"),
        lambda: db.users.count({"n": 1}),
        lambda: db.users.find().to_list(),
        lambda: db.users.update("a", {"$set": {"n": 2}}),
    ):
        with pytest.raises(StateError, match=f"{file.name}.*restore"):
            read()
    db.users.create({"$id": "users/b"})
    with pytest.raises(StateError, match=f"{file.name}.*restore"):
        db.compact()
    db.close(flush=False)


def test_damaged_pages_are_an_error_of_ours(tmp_path):
    db = DB(tmp_path)
    db.users.create_many([{"n": number} for number in range(100)])
    db.flush()
    db.close()
    file = tmp_path / "data/users/data.parquet"
    data = bytearray(file.read_bytes())
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[4:end] = b"x" * (end - 4)
    file.write_bytes(data)
    db = DB(tmp_path)
    for read in (lambda: db.users.count({"n": 1}), lambda: db.users.find().to_list()):
        with pytest.raises(FormatError, match=r"data/users/data\.parquet"):
            read()


def test_a_collection_says_that_its_database_was_closed(tmp_path):
    db = DB(tmp_path)
    users = db.users
    users.create({"$id": "users/a"})
    db.close()
    for use in (
        lambda: users.get("a"),
        lambda: users.find().to_list(),
        lambda: users.create({}),
        lambda: users.delete("a"),
    ):
        with pytest.raises(StateError, match="was closed; open it again"):
            use()
    for use in (db.collections, db.transaction, db.snapshot, lambda: db.sql("SELECT 1")):
        with pytest.raises(StateError, match="was closed; open it again"):
            use()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("version", pa.array(["1"])),
        ("createdAt", pa.array([1])),
        ("updatedAt", pa.array([0], pa.timestamp("us"))),
        ("$data", pa.array([b"{}"])),
    ],
)
def test_a_foreign_column_that_cannot_hold_what_documents_have(tmp_path, column, values):
    folder = tmp_path / "data/users"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"$id": ["users/a"], column: values}), folder / "data.parquet")
    before = (folder / "data.parquet").read_bytes()
    db = DB(tmp_path)
    with pytest.raises(UnsupportedError, match=f"a column '{re.escape(column)}' .*rename it"):
        db.users.create({"$id": "users/b"})
    db.close()
    assert (folder / "data.parquet").read_bytes() == before
    assert not list(tmp_path.rglob("*.jsonl"))


def test_rows_without_an_id_are_not_written_beside(tmp_path):
    folder = tmp_path / "data/users"
    folder.mkdir(parents=True)
    table = pa.table({"$id": ["users/a", None, "users/c"], "n": [1, 2, 3]})
    pq.write_table(table, folder / "data.parquet")
    with DB(tmp_path) as db:
        assert [each.n for each in db.users.find({}, sort="n")] == [1, 2, 3]
        with pytest.raises(UnsupportedError, match=r"has 1 rows without '\$id'"):
            db.users.create({"$id": "users/b"})
    assert pq.read_table(folder / "data.parquet").equals(table)


def test_writes_beside_a_file_of_another_name_stay_in_the_journal(tmp_path):
    file = tmp_path / "users.parquet"
    pq.write_table(pa.table({"$id": ["users/a"], "n": [1]}), file)
    before = file.read_bytes()
    with DB(tmp_path) as db:
        db.users.create({"$id": "users/b", "n": 2})
        with pytest.raises(StateError, match=r"'users.parquet', which is not replaced"):
            db.flush()
    assert file.read_bytes() == before
    report = migrate_backend(storage=str(tmp_path), to="iceberg", namespaces=["users"])
    assert report.namespaces["users"].error is None
    with DB(tmp_path) as db:
        assert [(each.id, each.n) for each in db.users.find()] == [("users/a", 1), ("users/b", 2)]
        db.flush()
        assert [(each.id, each.n) for each in db.users.find()] == [("users/a", 1), ("users/b", 2)]


# order and search


@pytest.mark.parametrize("backend", ["native", "iceberg", "delta"])
def test_a_row_that_goes_and_one_that_comes_before_it(tmp_path, backend):
    db = DB(tmp_path, backend=backend)
    db.users.create_many([{"$id": f"users/{number}"} for number in (18, 28, 39)])
    db.flush()
    db.users.delete("28", hard=True)
    db.users.create({"$id": "users/08"})
    db.users.update("39", {"$set": {"n": 1}})
    db.flush()
    assert values(db.users.find(), "$id") == ["users/08", "users/18", "users/39"]
    for number in ("08", "18", "39"):
        assert db.users[number].id == f"users/{number}"


def test_alternatives_to_a_value_in_memory():
    db = DB("memory://alternatives")
    db.users.create_many([{"f": value, "tags": [value]} for value in ("a", "b", "c", None)])
    db.flush()
    found = db.users.find({"$or": [{"f": "c"}, {"f": {"$ne": "b"}}]})
    assert values(found, "f") == ["a", "c", None]
    assert db.users.count({"$or": [{"tags": "c"}, {"tags": {"$ne": "b"}}]}) == 3
    db.close()


def test_text_that_looks_like_our_own_sql(tmp_path):
    db = DB(tmp_path)
    texts = ["/*hidden*/", "a/*hidden*/b", "x' OR 1=1 --", 'x" OR 1=1 --', "?", "$1"]
    db.users.create_many([{"v": text, "n": {text: 1}, f"{text}.": 1} for text in texts])
    db.flush()
    db.users.create({"$id": "users/x' OR 1=1 --"})
    for text in texts:
        assert values(db.users.find({"v": text}), "v") == [text]
        assert db.users.count({f"n.{text}": 1}) == 1


def test_a_path_of_thousands_of_names_is_refused(tmp_path):
    db = DB(tmp_path)
    for long in (".".join(["a"] * 101), ".".join(["a"] * 5000)):
        with pytest.raises(InvalidInputError, match="at most 100 names"):
            db.users.count({long: 1})
    assert db.users.count({".".join(["a"] * 100): 1}) == 0


@pytest.mark.parametrize("storage", ["local", "memory"])
def test_the_order_stays_where_many_rows_are_hidden(tmp_path, storage):
    db = DB(tmp_path if storage == "local" else "memory://hidden-rows")
    db.users.create_many([{"$id": f"users/{number:06}", "n": 1} for number in range(200_000)])
    db.flush()
    assert values(db.users.find(project=["n"]), "$id") == sorted(values(db.users.find(), "$id"))
    some = [f"users/{number:06}" for number in range(0, 900, 3)]
    db.users.update_many({"$id": {"$in": some}}, {"$set": {"n": 2}})
    found = values(db.users.find(), "$id")
    assert len(found) == 200_000
    assert found == sorted(found)
    page = values(db.users.find({"n": 1}, skip=150_000, limit=3), "$id")
    assert page == [f"users/{number:06}" for number in (150_300, 150_301, 150_302)]
    db.close(flush=False)


# migrations


@pytest.mark.parametrize("delete_source", [False, True])
def test_a_file_that_is_replaced_while_it_is_carried(tmp_path, monkeypatch, delete_source):
    db = DB(tmp_path)
    db.users.create_many([{"n": number} for number in range(100)])
    db.flush()
    flushes = []

    def after_a_flush(method):
        def called(self, pairs, *rest):
            if not flushes and any(source.startswith("data/users/") for source, _ in pairs):
                flushes.append(db.users.create({"n": 100}))
                db.flush()
            return method(self, pairs, *rest)

        return called

    for name in ("link_many", "copy_many"):
        monkeypatch.setattr(LocalStore, name, after_a_flush(getattr(LocalStore, name)))
    migrate_backend(
        storage=str(tmp_path), to="iceberg", namespaces=["users"], delete_source=delete_source
    )
    assert flushes
    assert values(db.users.find(), "n") == list(range(101))
    migrate_backend(storage=str(tmp_path), to="delta", namespaces=["users"])
    assert values(DB(tmp_path).users.find(), "n") == list(range(101))


def test_creating_beside_another_program(tmp_path):
    db = DB(tmp_path)
    db.users.create_many([{"$id": f"users/{i}", "n": i} for i in range(3)])
    db.flush()
    place = next(tmp_path.rglob("*.parquet"))
    for turn in range(3):  # a create looks at the table only now and then, what reads does always
        made = db.users.create({"n": 10 + turn})
        rows = pq.read_table(place)
        metadata = rows.schema.metadata
        more = rows.slice(0, 1).set_column(0, "$id", pa.array([f"users/other{turn}"]))
        both = pa.concat_tables([rows, more.cast(rows.schema)]).replace_schema_metadata(metadata)
        pq.write_table(both, place)
        again = db.users.create({"n": 20 + turn})
        assert db.users.count() == 3 + 3 * (turn + 1)
        assert db.users[f"other{turn}"].n == 0
        assert db.users[made.id].n == 10 + turn
        assert db.users[again.id].n == 20 + turn
    db.flush()
    assert DB(tmp_path).users.count() == 12


def test_a_table_of_another_kind_in_the_place_of_the_documents(tmp_path):
    """What the journal holds has no place there: whoever reads is told, and nothing is lost."""
    with DB(tmp_path) as db:
        kept = db.users.create({"$id": "a", "n": 1})
        db.flush()
        file = next(tmp_path.rglob("*.parquet"))
        saved = file.read_bytes()
        db.users.update("a", {"$set": {"n": 2}})
        pq.write_table(pa.table({"x": [1]}), file)
        with DB(tmp_path) as other:
            asks = [
                other.users.count,
                lambda: list(other.users.find({"n": 2})),
                lambda: other.users.count({}, as_of=moment()),
                lambda: other.sql("SELECT * FROM users"),
                other.flush,
            ]
            for ask in asks:
                with pytest.raises(StateError, match=r"holds 1 documents that belong.*put it back"):
                    ask()
            file.write_bytes(saved)
        assert db.users[kept.id].n == 2


def contents(root):
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != ".pqdb-lock"]
    return {path: path.read_bytes() for path in paths}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("part", [".", "_parquedb"])
def test_a_folder_that_is_moved_away_while_it_is_open(tmp_path, backend, part):
    """And an older copy comes to its place: nothing is written to the one nor the other."""
    clock = itertools.count(1_800_000_000_000_000, 20_000)
    ambient = replace(SYSTEM, now_us=lambda: next(clock))
    root, old = tmp_path / "db", tmp_path / "old"
    db = DB(root, backend=backend, durability="os", ambient=ambient)
    db.users.create({"$id": "a", "n": 0})
    db.flush()
    shutil.copytree(root, old)
    db.users.create({"$id": "b", "n": 1})
    (root / part).rename(tmp_path / "gone")
    (old / part).rename(root / part)
    journal = root / "_parquedb/users/journal"
    before = contents(root)
    for write in (
        lambda: db.users.create({"n": 2}),
        lambda: db.users.update("a", {"$inc": {"n": 1}}),
        lambda: db.users.create_many([{"n": 3}, {"n": 4}]),
        db.flush,
        db.close,
    ):
        with pytest.raises(StateError, match=f"'file://{journal}' was moved away .* open the data"):
            write()
    if part == ".":
        reader = DB(root)
        assert values(reader.users.find(), "n") == [0]
    assert contents(root) == before


def test_who_only_read_closes_a_folder_that_another_one_took_the_place_of(tmp_path):
    for name in ("db", "other"):
        with DB(tmp_path / name, durability="os") as db:
            db.users.create({"$id": "a", "n": 0})
            db.flush()
            db.users.create({"$id": "b", "n": 1})
            db.close(flush=False)
    with DB(tmp_path / "db") as reader:
        assert values(reader.users.find(sort="n"), "n") == [0, 1]
        (tmp_path / "db").rename(tmp_path / "gone")
        (tmp_path / "other").rename(tmp_path / "db")
        before = contents(tmp_path / "db")
    assert contents(tmp_path / "db") == before


def test_a_folder_that_is_moved_and_moved_back(tmp_path):
    db = DB(tmp_path / "db", durability="os")
    db.users.create({"$id": "a", "n": 0})
    (tmp_path / "db").rename(tmp_path / "gone")
    time.sleep(0.011)
    for write in (lambda: db.users.create({"n": 1}), db.flush):
        with pytest.raises(StateError, match="moved away"):
            write()
    assert not (tmp_path / "db").exists()  # it could not be moved back otherwise
    (tmp_path / "gone").rename(tmp_path / "db")
    db.users.create({"n": 2})
    db.close()
    with DB(tmp_path / "db") as again:
        assert values(again.users.find(sort="n"), "n") == [0, 2]
