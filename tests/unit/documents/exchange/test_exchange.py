"""Import and export: what goes out comes back, and what is bad leaves nothing behind."""

import io
import json
import os
import re
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.db import DB
from parquedb.documents import bulk
from parquedb.documents.exchange import imports, json_text
from parquedb.documents.exchange.exports import ExportOptions
from parquedb.documents.exchange.files import FileForm, Incoming
from parquedb.documents.exchange.imports import ImportOptions, OnExisting
from parquedb.documents.exchange.json_text import read_json
from parquedb.documents.exchange.readable import parse_json, readable_json, readable_value
from parquedb.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    StateError,
    StorageError,
)
from tests.support.databases import fields_of
from tests.support.stored import assert_same

EXACT = (FileForm.NDJSON, FileForm.JSON, FileForm.PARQUET)
RICH = {
    "name": "Ann",
    "when": datetime(2026, 1, 31, 12, 0, 0, 123456, UTC),
    "local": datetime(2026, 1, 31, 12),
    "day": date(1815, 12, 10),
    "price": Decimal("1.10"),
    "raw": b"\x00\xff",
    "key": uuid.UUID(int=7),
    "big": 2**70,
    "less": -(2**63) - 1,
    "inf": float("-inf"),
    "whole": 1.0,
    "one": 1,
    "yes": True,
    "none": None,
    "list": [1, 1.0, None, [], {}, "x", {"a": [True]}],
    "deep": {"a.b": {"$c": {"$date": "no date"}}, "": 0},
    "$own": "dollar",
    "text": 'quote " \\ \n 😀 \u2028',
}


@pytest.fixture
def db():
    with DB("memory://") as opened:
        yield opened


@pytest.fixture
def other():
    with DB("memory://") as opened:
        yield opened


@pytest.fixture(params=[False, True], ids=["small", "staged"])
def sizes(request, monkeypatch):
    """Both ways in which an import writes."""
    if request.param:
        for module in (bulk, imports):
            monkeypatch.setattr(module, "STAGED_FROM", 2)
    return request.param


def everything(db, name="users"):
    return [dict(each) for each in db[name].find(include_deleted=True)]


def read(db, text, name="users", **options):
    data = text if isinstance(text, bytes) else text.encode()
    return db.import_file(name, io.BytesIO(data), ImportOptions(**options))


def filled(db):
    db.users.create(RICH, actor="me")
    db.users.create_many([{"name": f"n{i}", "age": i if i % 2 else str(i)} for i in range(7)])
    gone = db.users.create({"name": "gone"}, actor="me")
    db.users.delete(gone.id, actor="you")
    db.users.update(db.users.find_one({"name": "n1"}).id, {"$set": {"name": None, "age": 1.5}})
    return everything(db)


# there and back


@pytest.mark.parametrize("form", EXACT)
@pytest.mark.parametrize("flushed", [False, True])
def test_what_goes_out_comes_back(db, other, tmp_path, form, flushed, sizes):
    wanted = filled(db)
    if flushed:
        db.flush()
    path = tmp_path / f"out.{form}"
    done = db.export_file("users", path, ExportOptions(include_deleted=True))
    assert (done.documents, done.form) == (len(wanted), form)
    assert done.size_bytes == path.stat().st_size
    assert os.listdir(tmp_path) == [path.name]
    done = other.import_file("users", path)
    assert (done.documents, done.created) == (len(wanted), len(wanted))
    assert_same(everything(other), wanted)
    other.flush()
    assert_same(everything(other), wanted)


@pytest.mark.parametrize("form", [*EXACT, FileForm.CSV])
def test_nothing_goes_out_and_comes_back(db, other, tmp_path, form):
    db.users.delete(db.users.create({"name": "gone"}).id)
    path = tmp_path / f"out.{form}"
    assert db.export_file("users", path).documents == 0
    assert other.import_file("users", path).documents == 0
    assert other.collections() == ()


documents = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4).filter(
        lambda name: name not in ("$id", "$type", "$name", "name", "version")
    ),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**66), 2**66)
        | st.floats(allow_nan=False)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
        | st.binary(max_size=4)
        | st.dates()
        | st.datetimes()
        | st.decimals(allow_nan=False, allow_infinity=False, places=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3
            )
        ),
        max_leaves=6,
    ),
    max_size=5,
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(documents, min_size=1, max_size=4), st.sampled_from(EXACT))
def test_any_document_comes_back(found, form):
    with DB("memory://") as db, DB("memory://") as other:
        db.users.create_many(found)
        out = io.BytesIO()
        db.export_file("users", out, ExportOptions(form=form))
        out.seek(0)
        other.import_file("users", out, ImportOptions(form=form))
        assert_same(everything(other), everything(db))


def test_entities_of_the_typescript_version_come_back(other, tmp_path):
    with DB("tests/data/typescript-native") as db:
        wanted = everything(db)
        db.export_file("users", tmp_path / "x.ndjson", ExportOptions(include_deleted=True))
    other.import_file("users", tmp_path / "x.ndjson")
    assert_same(everything(other), wanted)
    with DB("memory://") as third:
        third.import_file("users", "tests/data/typescript-native/data/users/data.parquet")
        assert_same(everything(third), wanted)


def test_plain_json_is_for_people(db, tmp_path):
    db.users.create(RICH)
    db.export_file("users", tmp_path / "x.json", ExportOptions(plain=True))
    (found,) = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert found["when"] == "2026-01-31T12:00:00.123456Z"
    assert found["local"] == "2026-01-31T12:00:00"
    assert found["day"] == "1815-12-10"
    assert found["price"] == "1.10"
    assert found["raw"] == "AP8="
    assert found["big"] == 2**70
    assert found["inf"] == "-inf"
    assert found["none"] is None
    assert found["$own"] == "dollar"


def test_times_of_plain_exports_are_kept(db, other, tmp_path):
    db.users.create({"name": "Ann", "age": 3}, actor="me")
    db.export_file("users", tmp_path / "x.json", ExportOptions(plain=True))
    other.import_file("users", tmp_path / "x.json")
    assert_same(everything(other), everything(db))


def test_export_as_of_a_version(tmp_path):
    with DB(tmp_path / "db", backend="iceberg") as db:
        db.users.create({"$id": "a", "age": 1})
        db.flush()
        (version,) = [info.version for info in db.users.list_snapshots() if info.rows]
        db.users.update("a", {"$set": {"age": 2}})
        out = io.BytesIO()
        db.export_file("users", out, ExportOptions(as_of=version))
        assert orjson.loads(out.getvalue())["age"] == 1


def test_exports_of_other_tables(tmp_path):
    folder = tmp_path / "db" / "data" / "plain"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, None], "b": ["x", "y"]}), folder / "data.parquet")
    with DB(tmp_path / "db") as db:
        out = io.BytesIO()
        db.export_file("plain", out)
        assert out.getvalue() == b'{"a":1,"b":"x"}\n{"b":"y"}\n'
        with pytest.raises(InvalidInputError, match="is a table without '\\$id'"):
            db.export_file("plain", tmp_path / "x.parquet")
        assert not (tmp_path / "x.parquet").exists()


def test_exports_do_not_overwrite(db, tmp_path):
    db.users.create({"name": "Ann"})
    path = tmp_path / "x.json"
    path.write_text("mine")
    with pytest.raises(AlreadyExistsError, match="left as it is"):
        db.export_file("users", path)
    assert path.read_text() == "mine"
    db.export_file("users", path, ExportOptions(overwrite=True))
    assert len(json.loads(path.read_text())) == 1
    with pytest.raises(InvalidInputError, match="is a folder"):
        db.export_file("users", tmp_path, ExportOptions(form=FileForm.JSON))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInputError, match="is a device or a pipe"):
        db.export_file("users", pipe, ExportOptions(form=FileForm.JSON, overwrite=True))
    assert pipe.is_fifo()


def test_exports_do_not_become_data(tmp_path):
    with DB(tmp_path / "db") as db:
        db.users.create({"name": "Ann"})
        for name in ("users.parquet", "data/users/x.parquet", "y/z.parquet"):
            with pytest.raises(InvalidInputError, match="counts as data"):
                db.export_file("users", tmp_path / "db" / name)
        db.export_file("users", tmp_path / "db" / "_exports" / "x.parquet")
        db.export_file("users", tmp_path / "new" / "x.parquet")
        assert db.collections() == ("users",)


def test_exports_of_what_is_not_there(db, tmp_path):
    with pytest.raises(NotFoundError, match="No data found for namespace 'users'"):
        db.export_file("users", tmp_path / "x.json")
    db.users.create({"name": "Ann"})
    with pytest.raises(InvalidInputError, match="does not say by its ending"):
        db.export_file("users", tmp_path / "x.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        db.export_file("users", tmp_path / "file" / "x.json")


def test_failed_exports_leave_nothing(db, tmp_path, monkeypatch):
    db.users.create_many([{"age": i} for i in range(5)])
    path = tmp_path / "x.json"

    def fail(*_):
        raise StorageError("the disk is gone")

    monkeypatch.setattr("parquedb.documents.exchange.exports.encode_document", fail)
    with pytest.raises(StorageError, match="the disk is gone"):
        db.export_file("users", path)
    assert os.listdir(tmp_path) == []


# JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\n\n  {"a": 2}',
        '{"a": 1}\r\n{"a": 2}\r\n',
        '\ufeff{"a": 1}\n{"a": 2}',
        '[{"a": 1}, {"a": 2}]',
        ' \n [\n{"a": 1}\n,\n{"a": 2}\n]\n ',
        '\ufeff[{"a":1},{"a":2}]',
    ],
)
def test_arrays_and_lines(db, text):
    assert read(db, text).created == 2
    assert db.users.distinct("a") == [1, 2]


@pytest.mark.parametrize("text", ["", "\n\n", "[]", " [ ] ", "\ufeff"])
def test_files_without_documents(db, text):
    assert read(db, text) == imports.Imported(0, 0, 0, 0)
    assert db.collections() == ()


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('{"a": 1}\n{"a": }\n', 2, "not valid JSON"),
        ('{"a": 1}\n\n[1]\n', 3, "a document is a JSON object, not list"),
        ("7", 1, "not int"),
        ("null", 1, "not null"),
        ('{"a": 1}\n{"a": {"$date": "soon"}}', 2, "Invalid isoformat"),
        ('{"a": {"$oid": "507f"}}', 1, r"'\$oid' is not known"),
        ('{"a": NaN}', 1, "not valid JSON"),
        ('{"a": 12345678901234567890123, "b": NaN}', 1, "NaN is no JSON"),
        ('{"a": "\\ud800"}', 1, "JSON|surrogate"),
        ('{"a": 1}\n{"createdAt": "2020-01-01"}', 2, "cannot be given 'createdAt'"),
        ('{"$id": "posts/x"}', 1, "slash"),
        ('{"$id": 7}', 1, "must be a string"),
        ("[" * 2000, 1, "JSON object is expected|a document is expected"),
        ('{"a": ' * 200 + "1" + "}" * 200, 1, "deep|level"),
        ('[{"a": 1}\n{"a": 2}]', 2, "comma or the end"),
        ('[{"a": 1},\n\n 2]', 3, "a document is expected"),
        ('[{"a": 1},\n{"a": "]', 2, "ends in the middle"),
        ('[{"a": 1},\n', 2, "a document is expected"),
        ('[{"a": 1}]\n{"a": 2}', 2, "follows the end"),
        ('[{"a": 1}, {"a": [}]', 1, "not valid JSON|ends in the middle"),
        ('[{"a": 1},]', 1, "a document is expected"),
        (b'{"a": "\xff"}', 1, "not valid JSON"),
        ('{"$id": "x", "version": "1", "createdAt": "2020-01-01"}', 1, "'version' is a number"),
        ('{"$id": "x", "version": 1, "createdAt": "later"}', 1, "'createdAt' is a time"),
        ('{"$id": "x", "version": 1, "createdAt": 1}', 1, "'createdAt' is a time"),
        ('{"$id": "x", "version": -1, "createdAt": "2020-01-01"}', 1, "'version' is a number"),
        (
            '{"$id": "x", "version": 1, "createdAt": "2020-01-01", "createdBy": 3}',
            1,
            "'createdBy' is a string",
        ),
        ('{"$id": "x", "$type": 1, "version": 1, "createdAt": "2020-01-01"}', 1, r"'\$type'"),
    ],
)
def test_bad_json_names_its_line(db, tmp_path, text, line, problem, sizes):
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInputError, match=problem) as caught:
        db.import_file("users", path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert str(caught.value).count("nothing was written") == 1
    assert db.collections() == ()
    assert list(db.store.list("")) == []


def test_large_ints_are_exact(db):
    read(db, '{"a": 12345678901234567890123, "b": 18446744073709551615, "c": 9223372036854775808}')
    found = db.users.find_one()
    assert fields_of(found) == {"a": 12345678901234567890123, "b": 2**64 - 1, "c": 2**63}
    assert all(type(value) is int for value in fields_of(found).values())


class Slow(io.RawIOBase):
    """A file that gives a few bytes at a time, and cannot be read twice."""

    def __init__(self, data, step):
        self._data, self._step, self._at = data, step, 0

    def readable(self):
        return True

    def read(self, size=-1):
        step = self._step if size < 0 else min(size, self._step)
        part = self._data[self._at : self._at + step]
        self._at += len(part)
        return part


@settings(max_examples=60, deadline=None)
@given(st.lists(documents, max_size=4), st.integers(1, 7), st.sampled_from([None, 1]))
def test_arrays_are_read_in_pieces_of_any_size(found, step, indent):
    plain = [readable_value(document) for document in found]
    plain = [{k.replace("$", "_"): v for k, v in each.items()} for each in plain]
    plain = json.loads(json.dumps(plain).replace('"$', '"_'))
    text = json.dumps(plain, indent=indent, ensure_ascii=False).encode()
    placed = list(read_json(Incoming("x", Slow(text, step), None)))
    assert [document for _, document in placed] == plain
    lines = text.split(b"\n")
    assert all(b"{" in lines[number - 1] for number, _ in placed)


def test_long_lines_are_refused(db, monkeypatch):
    monkeypatch.setattr(json_text, "_MAX_BYTES", 100)
    monkeypatch.setattr(json_text, "_CHUNK_BYTES", 64)
    for text in ('{"a": "' + "x" * 500 + '"}', '[{"a": "' + "x" * 500 + '"}]'):
        with pytest.raises(InvalidInputError, match=r"line 1: the (line|document) is longer"):
            read(db, text)


def test_a_large_document_is_refused(db):
    with pytest.raises(InvalidInputError, match=r"line 2: .*MiB|line 2: .*bytes"):
        read(db, '{"a": 1}\n{"a": "' + "x" * (17 << 20) + '"}')
    assert db.collections() == ()


# ids


def test_ids_from_a_field(db, sizes):
    text = '{"email": "a@x", "n": 1}\n{"email": "b@x", "n": 2}\n{"$id": "c", "n": 3}\n'
    assert read(db, text, id_field="email").created == 3
    assert sorted(each.id for each in db.users) == ["users/a@x", "users/b@x", "users/c"]
    assert db.users["a@x"].email == "a@x"
    read(db, '{"n": 12}', id_field="n")
    assert db.users["12"].n == 12


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"b": 1}', "has no 'a'"),
        ('{"a": null}', "has no 'a'"),
        ('{"a": 1.5}', "neither a text nor an int"),
        ('{"a": true}', "neither a text nor an int"),
        ('{"a": [1]}', "neither a text nor an int"),
        ('{"a": "x/y"}', "slash"),
        ('{"a": ""}', "empty"),
    ],
)
def test_fields_that_make_no_id(db, text, problem):
    with pytest.raises(InvalidInputError, match=f"line 2: .*{problem}"):
        read(db, f'{{"a": "fine"}}\n{text}', id_field="a")
    assert db.collections() == ()


def test_ids_twice_in_the_file(db, sizes):
    text = '{"$id": "a"}\n{"$id": "b"}\n{"$id": "c"}\n{"$id": "users/b"}\n'
    for on_conflict in OnExisting:
        with pytest.raises(AlreadyExistsError, match="line 4: the id 'users/b' is in the file"):
            read(db, text, on_conflict=on_conflict)
    assert list(db.store.list("")) == []


def test_what_is_asked_for_in_plain_text(db):
    db.users.create({"$id": "b", "n": 0})
    text = '{"$id": "b", "n": 1}\n'
    assert read(db, text, on_conflict="skip").skipped == 1
    with pytest.raises(AlreadyExistsError):
        read(db, text, on_conflict="error")
    with pytest.raises(InvalidInputError, match="on_conflict is 'error', 'skip', 'replace', not"):
        read(db, text, on_conflict="skp")
    assert db.users["b"].n == 0
    assert read(db, text, on_conflict="replace").replaced == 1


@pytest.mark.parametrize("flushed", [False, True])
def test_ids_that_are_taken(db, flushed, sizes):
    db.users.create({"$id": "b", "n": 0}, actor="me")
    db.users.create({"$id": "gone", "n": 0})
    db.users.delete("gone")
    if flushed:
        db.flush()
    before = everything(db)
    text = '{"$id": "a", "n": 1}\n{"$id": "b", "n": 1}\n{"n": 1}\n{"$id": "gone", "n": 1}\n'
    with pytest.raises(AlreadyExistsError, match=r"line 2: .*'users/b' already; .*--on-conflict"):
        read(db, text)
    assert everything(db) == before
    done = read(db, text, on_conflict=OnExisting.SKIP, actor="you")
    assert done == imports.Imported(4, 2, 0, 2)
    assert db.users["b"].n == 0
    assert db.users["a"].createdBy == "you"
    assert db.users.get("gone") is None
    db.users.delete("a", hard=True)
    done = read(db, text, on_conflict=OnExisting.REPLACE, actor="you")
    assert done == imports.Imported(4, 2, 2, 0)
    replaced = db.users["b"]
    assert (replaced.n, replaced.version, replaced.createdBy, replaced.updatedBy) == (
        1, 2, "me", "you",
    )  # fmt: skip
    assert db.users["gone"].n == 1
    assert "deletedAt" not in db.users["gone"]
    db.flush()
    assert db.users["b"] == replaced


def test_exports_replace_exactly(db, other, tmp_path, sizes):
    wanted = filled(db)
    db.export_file("users", tmp_path / "x.ndjson", ExportOptions(include_deleted=True))
    db.users.update_many({}, {"$set": {"age": -1}})
    db.users.delete(wanted[2]["$id"], hard=True)
    done = db.import_file(
        "users", tmp_path / "x.ndjson", ImportOptions(on_conflict=OnExisting.REPLACE)
    )
    assert (done.created, done.replaced) == (1, len(wanted) - 1)
    assert_same(everything(db), wanted)


def test_somebody_takes_an_id_meanwhile(db, sizes):
    def interfere(progress):
        if not db.users.exists("b"):
            db.users.create({"$id": "b"})

    with pytest.raises(AlreadyExistsError, match="somebody else wrote 'users/b'"):
        read(db, '{"$id": "a"}\n{"$id": "b"}\n{"$id": "c"}', on_progress=interfere)
    assert [each.id for each in db.users] == ["users/b"]
    assert list(db.store.list("_parquedb/users/staged")) == []


def test_unique_fields_are_kept(monkeypatch):
    with DB("memory://", schema={"User": {"email": "string##", "n": "int?"}}) as db:
        db.users.create({"email": "old@x"})
        with pytest.raises(AlreadyExistsError, match="old@x"):
            read(db, '{"email": "a@x"}\n{"email": "old@x"}')
        twice = "\n".join(f'{{"email": "{i}@x"}}' for i in [*range(6), 1])
        with pytest.raises(AlreadyExistsError, match="1@x"):
            read(db, twice)
        for module in (bulk, imports):
            monkeypatch.setattr(module, "STAGED_FROM", 2)
        with pytest.raises(AlreadyExistsError, match="1@x"):
            read(db, twice, batch=2)
        assert db.users.count() == 1
        assert list(db.store.list("_parquedb/users/staged")) == []


def test_schemas_are_kept(tmp_path):
    schema = {"User": {"name": "string!", "age": "int?"}}
    with DB("memory://", schema=schema) as db:
        with pytest.raises(InvalidInputError, match=r"line 2: .*age"):
            read(db, '{"name": "a"}\n{"name": "b", "age": "old"}')
        exact = {"$id": "x", "version": 1, "createdAt": "2020-01-01T00:00:00Z"}
        with pytest.raises(InvalidInputError, match=r"line 1: .*name"):
            read(db, json.dumps(exact))
        read(db, json.dumps(exact | {"name": "Ann"}))
        assert db.users["x"].updatedAt == datetime(2020, 1, 1, tzinfo=UTC)


def test_imports_and_transactions(db):
    with pytest.raises(StateError, match="end the transaction first"), db.transaction():
        read(db, '{"a": 1}')


# CSV


def columns(db, text, **options):
    read(db, text, form=FileForm.CSV, **options)
    return [fields_of(each) for each in db.users.find()]


def test_types_of_csv(db):
    text = (
        "i,f,b,d,t,z,s,zip,long,time,mixed,empty\n"
        "1,1.5,true,2020-01-31,2020-01-31 10:00:00,2020-01-31T10:00:00Z,x,01234,"
        "12345678901234567,10:30,1,\n"
        "-2,3,false,1999-12-31,2020-01-31 10:00:00.5,2020-01-31T10:00:00+01:00,"
        '"a,""b""\nc",99999,1.5,11:30,one,\n'
    )
    one, two = columns(db, text)
    assert_same(
        [one],
        [
            {
                "i": 1,
                "f": 1.5,
                "b": True,
                "d": date(2020, 1, 31),
                "t": datetime(2020, 1, 31, 10),
                "z": datetime(2020, 1, 31, 10, tzinfo=UTC),
                "s": "x",
                "zip": "01234",
                "long": "12345678901234567",
                "time": "10:30",
                "mixed": "1",
            }
        ],
    )
    assert two["s"] == 'a,"b"\nc'
    assert two["z"] == datetime(2020, 1, 31, 9, tzinfo=UTC)
    assert two["t"] == datetime(2020, 1, 31, 10, 0, 0, 500000)
    assert (two["f"], two["mixed"], two["zip"]) == (3.0, "one", "99999")


def test_types_of_csv_are_those_of_the_whole_file(db, monkeypatch):
    from parquedb.documents.exchange import csv_rows

    monkeypatch.setattr(csv_rows, "_BLOCK_BYTES", 4096)
    rows = [f"{i},{i},{i},2020-01-01" for i in range(2000)]
    rows += ["x,1.5,,2020-01-01 10:00:00"]
    found = columns(db, "text,float,int,moment\n" + "\n".join(rows))
    assert (found[7]["text"], found[7]["float"], found[7]["int"]) == ("7", 7.0, 7)
    assert found[7]["moment"] == datetime(2020, 1, 1)
    assert found[-1] == {"text": "x", "float": 1.5, "moment": datetime(2020, 1, 1, 10)}


def test_csv_from_a_stream(db):
    text = b"$id,age\na,1\nb,\n"
    db.import_file("users", Slow(text, 3), ImportOptions(form=FileForm.CSV))
    assert db.users["a"].age == 1
    assert fields_of(db.users["b"]) == {}


@pytest.mark.parametrize("text", ["", "a,b\n", "a\n"])
def test_csv_without_rows(db, text):
    assert read(db, text, form=FileForm.CSV).documents == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n3\n", "Row #3: Expected 2 columns, got 1"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        (b"a,b\n1,\xff\n", "not valid CSV"),
        ("version\n1\n", "row 2: .*cannot be given 'version'"),
        ("$id\nx\nx/y\n", "row 3: .*slash"),
        ("$id,createdAt,version\nx,soon,1\n", "row 2: .*'createdAt' is a time"),
    ],
)
def test_bad_csv_names_its_row(db, tmp_path, text, problem):
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInputError, match=problem) as caught:
        db.import_file("users", path)
    assert str(caught.value).startswith(str(path))
    assert "nothing was written" in str(caught.value)
    assert db.collections() == ()


def test_csv_of_documents(db, other, tmp_path):
    db.users.create(
        {"$id": "a", "name": 'A, "B"\nC', "tags": ["x", 1], "at": RICH["when"], "n": None},
        actor="x",
    )
    db.users.create({"$id": "b", "deep": {"x": RICH["day"]}, "price": Decimal("1.10")})
    path = tmp_path / "x.csv"
    db.export_file("users", path)
    heading, *_ = path.read_text().splitlines()
    assert heading == (
        "$id,$type,name,createdAt,updatedAt,createdBy,updatedBy,version,tags,at,n,deep,price"
    )
    other.import_file("users", path)
    a, b = other.users.find()
    old = db.users["a"]
    for name in ("$id", "$type", "name", "createdAt", "updatedAt", "createdBy", "version", "at"):
        assert a[name] == old[name]
    assert a.tags == '["x",1]'
    assert (b.deep, b.price) == ('{"x":"1815-12-10"}', 1.1)


# Parquet


def test_rows_of_any_parquet(db, tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int8()),
            "f": pa.array([1.5, None], pa.float32()),
            "t": pa.array([RICH["when"], None], pa.timestamp("ns", "Europe/Zurich")),
            "n": pa.array([RICH["local"], None], pa.timestamp("ms")),
            "d": pa.array([RICH["day"], None]),
            "p": pa.array([Decimal("1.10"), None]),
            "l": pa.array([[1, None], []]),
            "s": pa.array([{"a": 1, "b": None}, None]),
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "z": pa.nulls(2),
            "c": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    db.import_file("users", path)
    one, two = (fields_of(each) for each in db.users.find())
    assert_same(
        [one],
        [
            {
                "i": 1,
                "f": 1.5,
                "t": RICH["when"],
                "n": RICH["local"],
                "d": RICH["day"],
                "p": Decimal("1.10"),
                "l": [1, None],
                "s": {"a": 1},
                "m": {"k": 1},
                "c": "x",
            }
        ],
    )
    assert two == {"l": [], "c": "y"}
    with open(path, "rb") as file:
        db.import_file("others", Slow(file.read(), 100), ImportOptions(form=FileForm.PARQUET))
    assert db.others.count() == 2


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (pa.table({"a": [1.0, float("nan")]}), "row 2: .*a: NaN"),
        (pa.table({"a": pa.array([1, 2], pa.time64("us"))}), "row 1: .*a: .*time"),
        (pa.table({"a": pa.array([1, 2**62], pa.timestamp("us"))}), "rows 1 to 2: .*out of range"),
    ],
)
def test_bad_rows_of_parquet(db, tmp_path, table, problem):
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    with pytest.raises(InvalidInputError, match=problem):
        db.import_file("users", path)
    assert db.collections() == ()


def test_files_that_are_no_parquet(db, tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 or not")
    with pytest.raises(InvalidInputError, match=re.escape(f"{path}: this cannot be read as Par")):
        db.import_file("users", path)
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"a": list(range(100_000))}), whole)
    path.write_bytes(whole.read_bytes()[:1000] + bytes(5000) + whole.read_bytes()[6000:])
    with pytest.raises(InvalidInputError, match=r"cannot be read as Parquet|rows"):
        db.import_file("users", path)
    assert db.collections() == ()


# the rest


def test_files_that_are_not_there(db, tmp_path):
    with pytest.raises(NotFoundError, match="no file"):
        db.import_file("users", tmp_path / "x.json")
    with pytest.raises(StorageError, match="cannot be read"):
        db.import_file("users", tmp_path, ImportOptions(form=FileForm.JSON))
    with pytest.raises(InvalidInputError, match="does not say by its ending"):
        db.import_file("users", tmp_path / "x")
    with pytest.raises(InvalidInputError, match="batch is a number"):
        read(db, "{}", batch=0)


def test_progress_is_told(db, tmp_path):
    path = tmp_path / "x.ndjson"
    path.write_bytes(b'{"a": 1}\n' * 30_000)
    told = []
    db.import_file("users", path, ImportOptions(on_progress=told.append, batch=1000))
    assert [each.documents for each in told] == sorted(each.documents for each in told)
    assert len(told) > 5
    assert told[-1].documents == 30_000
    assert told[-1].read_bytes == told[-1].total_bytes == path.stat().st_size
    told.clear()
    db.export_file("users", io.BytesIO(), ExportOptions(on_progress=told.append))
    assert [each.documents for each in told] == [10_000, 20_000, 30_000, 30_000]


MEMORY = """
import resource, sys
from parquedb.db import DB

limit = int(sys.argv[3]) << 20
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with DB(sys.argv[1], durability="os") as db:
    print(db.import_file("users", sys.argv[2]).created)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
assert used < limit, used
"""


def test_large_files_take_bounded_memory(tmp_path):
    path = tmp_path / "x.json"
    filler = "x" * 1500
    with path.open("w") as file:
        for number in range(150_000):  # 230 MB
            file.write(f'{"," if number else "["}{{"n": {number}, "filler": "{filler}"}}\n')
        file.write("]")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "db"), str(path), "800"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "150000", done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": {"$gt": {"$day": "2020-01-31"}}}', {"a": {"$gt": date(2020, 1, 31)}}),
        ('{"a": {"$in": [{"$decimal": "1.1"}, 2]}}', {"a": {"$in": [Decimal("1.1"), 2]}}),
        ('{"$or": [{"a": {"$date": "2020-01-31T10:00:00+01:00"}}]}',
         {"$or": [{"a": datetime(2020, 1, 31, 9, tzinfo=UTC)}]}),
        ('{"a": {"$bytes": "AAE="}, "b": {"$size": 2}}', {"a": b"\0\1", "b": {"$size": 2}}),
        ('{"a": {"$date": {"x": 1}}}', {"a": {"$date": {"x": 1}}}),
        ('{"a": 12345678901234567890123}', {"a": 12345678901234567890123}),
    ],
)  # fmt: skip
def test_filters_with_tags(text, value):
    assert_same([parse_json(text, "the filter")], [value])


@pytest.mark.parametrize("text", ["{", "{'a': 1}", "", '{"a": {"$date": "soon"}}', "[" * 9999])
def test_filters_that_are_none(text):
    with pytest.raises(InvalidInputError):
        parse_json(text, "the filter")


def test_readable_json_of_what_sql_returns():
    found = readable_json({"a": float("nan"), "b": datetime(2020, 1, 1).time(), "c": (1, 2)})
    assert json.loads(found) == {"a": None, "b": "00:00:00", "c": [1, 2]}
