"""What is not acceptable is refused with a clear error, and nothing is written."""

import threading
from datetime import UTC, datetime

import pytest

from parquedb.db import DB
from parquedb.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ParqueDBError,
    StateError,
    StorageError,
    UnsupportedError,
    ValidationError,
)
from tests.support.databases import BACKENDS, place

SCHEMA = {
    "User": {
        "$strict": True,
        "name": "string!",
        "age": "int?",
        "email": "email## ",
        "tags": "string[]",
    }
}


@pytest.fixture(params=BACKENDS)
def where(request, tmp_path):
    found = place(request.param, "local", tmp_path / "db")
    yield found
    found.close()


@pytest.fixture
def db(where):
    found = where.open()
    found.users.create({"$id": "a", "name": "Ann", "age": 3, "tags": ["x"], "sub": {"y": 1}})
    return found


@pytest.fixture
def unchanged(db, where):
    """Nothing is written by the test."""
    before = where.files()
    yield
    assert where.files() == before
    assert db.users.count() == 1
    assert db.users.get("a").version == 1


def deep(levels):
    value = 1
    for _ in range(levels):
        value = {"d": value}
    return value


BAD_DOCUMENTS = [
    ({"$id": "a/b"}, "slash"),
    ({"$id": "posts/x"}, "slash, or it names another namespace"),
    ({"$id": ""}, "empty"),
    ({"$id": "users/"}, "empty"),
    ({"$id": 5}, "must be a string"),
    ({"$id": "x" * 600}, "600 bytes"),
    ({"$id": "a\0b"}, "control character"),
    ({"$id": "\ud800"}, "surrogate"),
    ({1: 2}, "1"),
    ({"sub": {None: 2}}, "sub"),
    ({"x": float("nan")}, "x.*NaN"),
    ({"list": [1, {"deep": [float("nan")]}]}, r"list\.1\.deep\.0.*NaN"),
    ({"x": "y" * 50_000_000}, "16 MiB|16777216|large"),
    ({"x": ["y" * 1000] * 50_000}, "16 MiB|16777216|large"),
    (deep(200), "nested deeper than 100"),
    ({"x": {1, 2}}, "x: set"),
    ({"x": object()}, "x: object"),
    ({"x": 1j}, "x: complex"),
    ({"x": "\udfff"}, "surrogate"),
    ({"\udfff": 1}, "surrogate"),
    ({"version": 3}, "'version'"),
    ({"createdAt": datetime(2020, 1, 1, tzinfo=UTC)}, "'createdAt'"),
    ({"$type": 5}, "type"),
    ({"$type": "\ud800"}, "type"),
    ({"$type": "x" * 20_000_000}, "type"),
    ({"$name": 5}, "name"),
    ({"$name": "\ud800"}, "name"),
    ([1, 2], "mapping"),
    ("text", "mapping"),
    (None, "mapping"),
]


@pytest.mark.usefixtures("unchanged")
class TestDocuments:
    @pytest.mark.parametrize(
        ("document", "message"), BAD_DOCUMENTS, ids=[message for _, message in BAD_DOCUMENTS]
    )
    def test_create(self, db, document, message):
        with pytest.raises(InvalidInputError, match=message):
            db.users.create(document)
        with pytest.raises(InvalidInputError, match=message):
            db.users.create_many([{"fine": 1}, document])
        with pytest.raises(InvalidInputError, match=message), db.transaction():  # noqa: PT012
            db.users.create({"fine": 1})
            db.users.create(document)

    def test_staged(self, db, monkeypatch):
        from parquedb.documents import bulk

        monkeypatch.setattr(bulk, "STAGED_FROM", 3)
        fine = [{"n": number} for number in range(10)]
        for document, message in BAD_DOCUMENTS:
            if "MiB" in message:
                continue
            with pytest.raises(InvalidInputError, match=message):
                db.users.create_many([*fine, document, *fine])

    @pytest.mark.parametrize("value", [5, b"x", ["a"], "\ud800", "x" * 20_000_000])
    def test_actor(self, db, value):
        for write in (
            lambda: db.users.create({}, actor=value),
            lambda: db.users.create_many([{}], actor=value),
            lambda: db.users.update("a", {"$set": {"x": 1}}, actor=value),
            lambda: db.users.update_many({}, {"$set": {"x": 1}}, actor=value),
            lambda: db.users.replace("a", {}, actor=value),
            lambda: db.users.upsert({"x": 9}, {"$set": {"x": 1}}, actor=value),
            lambda: db.users.delete("a", actor=value),
            lambda: db.users.delete_many({}, actor=value),
        ):
            with pytest.raises(InvalidInputError, match="actor"):
                write()

    @pytest.mark.parametrize("bad", [5, None, b"a", ["a"]])
    def test_ids(self, db, bad):
        for use in (
            lambda: db.users.get(bad),
            lambda: db.users[bad],
            lambda: db.users.update(bad, {"$set": {"x": 1}}),
            lambda: db.users.delete(bad),
            lambda: db.users.restore(bad),
            lambda: db.users.replace(bad, {}),
        ):
            with pytest.raises(InvalidInputError, match="id is a string"):
                use()
        assert bad not in db.users

    @pytest.mark.parametrize("version", ["1", 1.0, True])
    def test_expected_version(self, db, version):
        for use in (
            lambda: db.users.update("a", {"$set": {"x": 1}}, expected_version=version),
            lambda: db.users.replace("a", {}, expected_version=version),
            lambda: db.users.delete("a", expected_version=version),
        ):
            with pytest.raises(InvalidInputError, match="expected_version is"):
                use()

    def test_create_many(self, db):
        for items in (None, 5):
            with pytest.raises(InvalidInputError, match="create_many takes documents"):
                db.users.create_many(items)


BAD_UPDATES = [
    ({"$set": {"$id": "b"}}, r"\$id"),
    ({"$set": {"version": 7}}, "version"),
    ({"$unset": {"createdAt": ""}}, "createdAt"),
    ({"$rename": {"age": "$type"}}, "type"),
    ({"$sett": {"x": 1}}, r"did you mean .*\$set"),
    ({"age": 5}, r"\$set"),
    ({}, "update"),
    ("text", "update"),
    (None, "update"),
    ({"$inc": {"name": 1}}, "name"),
    ({"$inc": {"age": "1"}}, "age"),
    ({"$push": {"age": 1}}, "age"),
    ({"$set": {"x": 1, "x.y": 2}}, "x"),
    ({"$set": {"x": float("nan")}}, "NaN"),
    ({"$set": {"tags.x": 1}}, "tags"),
    ({"$set": {"x": deep(150)}}, "nested"),
    ({"$set": {"x": "y" * 20_000_000}}, "MiB|large"),
    ({"$set": {"": 1}}, "empty"),
    ({"$set": {1: 1}}, "1"),
    ({"$set": 5}, r"\$set"),
    ({"$inc": {"age": float("nan")}}, "NaN"),
    ({"$mul": {"age": float("inf")}}, ""),
]


@pytest.mark.usefixtures("unchanged")
class TestUpdates:
    @pytest.mark.parametrize(("update", "message"), BAD_UPDATES[:-1], ids=str)
    def test_update(self, db, update, message):
        for write in (
            lambda: db.users.update("a", update),
            lambda: db.users.update_many({}, update),
            lambda: db.users.upsert({"$id": "users/a"}, update),
        ):
            with pytest.raises(InvalidInputError, match=message):
                write()

    def test_replace(self, db):
        for data, message in (
            (None, "mapping"),
            ([], "mapping"),
            ({1: 1}, "1"),
            ({"$id": "b"}, "id"),
        ):
            with pytest.raises(InvalidInputError, match=message):
                db.users.replace("a", data)

    def test_nothing_there(self, db):
        for write in (
            lambda: db.users.update("nobody", {"$set": {"x": 1}}),
            lambda: db.users.replace("nobody", {}),
            lambda: db.users.restore("nobody"),
        ):
            with pytest.raises(NotFoundError):
                write()
        assert not db.users.delete("nobody")
        assert db.users.update_many({"name": "Bob"}, {"$set": {"x": 1}}) == 0
        assert db.users.delete_many({"name": "Bob"}) == 0


BAD_FILTERS = [
    ("text", "filter"),
    (5, "filter"),
    ([{"a": 1}], "filter"),
    ({"a": {"$gtt": 1}}, r"did you mean .*\$gt"),
    ({"$orr": []}, r"did you mean .*\$or"),
    ({"$or": 5}, r"\$or"),
    ({"$or": []}, r"\$or"),
    ({"a": {"$in": 5}}, r"\$in"),
    ({"a": {"$regex": "("}}, "regular expression|regex"),
    ({"a": {"$regex": 5}}, "regex"),
    ({"a": {"$gt": 1, "b": 2}}, "b"),
    ({"a": float("nan")}, "nan"),
    ({"a": object()}, "object"),
    ({1: 2}, "1"),
    ({"a": {"$size": -1}}, "size"),
    ({"a": {"$mod": [0, 1]}}, "mod"),
    ({"$where": "1"}, "where"),
    ({"a": {"$exists": True, "$typo": 1}}, "typo"),
    ({"a": {"$exists": "x"}}, "true or false"),
    ({"$expr": {"$foo": 1}}, "foo"),
    ({"a": deep(300)}, "deep|levels|nested"),
]


@pytest.mark.usefixtures("unchanged")
class TestQueries:
    @pytest.mark.parametrize(("spec", "message"), BAD_FILTERS)
    def test_filters(self, db, spec, message):
        for use in (
            lambda: db.users.find(spec),
            lambda: db.users.find_one(spec),
            lambda: db.users.count(spec),
            lambda: db.users.distinct("a", spec),
            lambda: db.users.update_many(spec, {"$set": {"x": 1}}),
            lambda: db.users.delete_many(spec),
            lambda: db.users.delete_many(spec, hard=True),
            lambda: db.users.upsert(spec, {"$set": {"x": 1}}),
        ):
            with pytest.raises(InvalidInputError, match=message):
                use()
        if not isinstance(spec, str):
            with pytest.raises(InvalidInputError, match=message):
                db.users.exists(spec)

    def test_more_than_there_is(self, db):
        for huge in (2**63, 10**30):
            assert db.users.find(skip=huge).to_list() == []
            assert len(db.users.find(limit=huge, sort="age").to_list()) == 1

    def test_falsy_filters(self, db):
        for spec in (0, "", [], False):
            with pytest.raises(InvalidInputError, match="filter"):
                db.users.find(spec)
            with pytest.raises(InvalidInputError, match="filter"):
                db.users.count(spec)

    def test_missing_filters(self, db):
        for write in (
            lambda: db.users.delete_many(None),
            lambda: db.users.update_many(None, {"$set": {"x": 1}}),
            lambda: db.users.upsert(None, {"$set": {"x": 1}}),
        ):
            with pytest.raises(InvalidInputError, match="filter"):
                write()

    @pytest.mark.parametrize(
        "options",
        [
            {"limit": -1}, {"limit": "x"}, {"limit": 1.5}, {"limit": True}, {"skip": -1},
            {"skip": None}, {"sort": 5}, {"sort": {"a": 2}}, {"sort": ["a", "a"]}, {"sort": ""},
            {"project": 5}, {"project": {"a": 1, "b": 0}}, {"project": ["a", 5]}, {"after": 5},
            {"populate": ["nothing"]}, {"populate": 5}, {"as_of": "yesterday"}, {"as_of": "²"},
            {"as_of": True}, {"as_of": [1]},
            {"after": "x/y/z", "sort": "name"},
        ],
        ids=str,
    )  # fmt: skip
    def test_options(self, db, options):
        with pytest.raises(InvalidInputError):
            db.users.find({}, **options).to_list()

    def test_pipelines(self, db):
        for pipeline in (
            [{"$matchh": {}}], [{}], [5], {"$match": {}}, [{"$match": 5}], [{"$limit": -1}],
            [{"$group": {}}], [{"$match": {}, "$limit": 1}], [{"$sort": {}}], None,
        ):  # fmt: skip
            with pytest.raises(InvalidInputError):
                db.users.aggregate(pipeline)

    def test_sql(self, db):
        for query in ("SELEC 1", "SELECT * FROM nobody", "", "SELECT nothing FROM users"):
            with pytest.raises(InvalidInputError):
                db.sql(query)

    def test_distinct(self, db):
        for field in (5, None, ""):
            with pytest.raises(InvalidInputError):
                db.users.distinct(field)


class TestSchemas:
    @pytest.fixture
    def strict(self, where):
        found = where.open(schema=SCHEMA)
        found.users.create({"$id": "a", "name": "Ann", "email": "a@x.org"})
        return found

    def test_all_problems_at_once(self, strict, where):
        before = where.files()
        with pytest.raises(InvalidInputError) as caught:
            strict.users.create({"age": "old", "email": "no", "tags": [1], "shoe": 44})
        for word in ("name", "age", "email", "tags", "shoe"):
            assert word in str(caught.value)
        with pytest.raises(InvalidInputError, match="shoe"):
            strict.users.update("a", {"$set": {"shoe": 44}})
        with pytest.raises(InvalidInputError, match="name"):
            strict.users.update("a", {"$unset": {"name": ""}})
        with pytest.raises(InvalidInputError, match="name"):
            strict.users.replace("a", {"age": 5})
        with pytest.raises(InvalidInputError, match="age"):
            strict.users.update_many({}, {"$set": {"age": "old"}})
        with pytest.raises(InvalidInputError):
            strict.users.create_many([{"name": "B", "email": "b@x.org"}, {"name": 5}])
        with pytest.raises(AlreadyExistsError, match="unique"):
            strict.users.create({"name": "B", "email": "a@x.org"})
        with pytest.raises(AlreadyExistsError, match="unique"):
            strict.users.create_many([{"name": n, "email": "b@x.org"} for n in "BC"])
        assert where.files() == before

    def test_an_id_that_is_made_of_a_field(self, tmp_path):
        schema = {
            "Part": {
                "$id": "code",
                "code": "decimal(5,2) = 7",
                "n": "int",
                "name": "string!",
            }
        }
        with DB(tmp_path / "parts", schema=schema) as db:
            assert db.parts.create({"$name": "x"}).id == "parts/7.00"
            assert db.parts.create({"$name": "y", "code": "1.5"}).id == "parts/1.50"
            with pytest.raises(AlreadyExistsError):
                db.parts.create({"name": "z", "code": 1.5})
            with pytest.raises(ValidationError) as caught:
                db.parts.create({"code": "x", "n": "y"})
            assert [path for path, _ in caught.value.problems] == ["code", "n", "name"]

    def test_the_document_is_named(self, strict):
        id_ = strict.users.create({"name": "Ann"}).id
        for write in (
            lambda: strict.users.update(id_, {"$set": {"age": "x"}}),
            lambda: strict.users.replace(id_, {}),
        ):
            with pytest.raises(ValidationError, match=id_):
                write()

    def test_unique_in_transactions(self, strict):
        with strict.transaction():
            strict.users.update("a", {"$set": {"email": "new@x.org"}})
            made = strict.users.create({"name": "B", "email": "a@x.org"})
        assert strict.users.get(made.id).email == "a@x.org"
        with pytest.raises(AlreadyExistsError), strict.transaction():  # noqa: PT012
            strict.users.create({"name": "C", "email": "c@x.org"})
            strict.users.create({"name": "D", "email": "c@x.org"})
        strict.flush()
        with strict.transaction():
            strict.users.delete(made.id)
            strict.users.create({"name": "E", "email": "a@x.org"})
        assert strict.users.count({"email": "a@x.org"}) == 1

    def test_unique_between_threads(self, strict):
        errors = []

        def create(number):
            try:
                strict.users.create({"name": str(number), "email": "same@x.org"})
            except AlreadyExistsError as error:
                errors.append(error)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(errors) == 7
        assert strict.users.count({"email": "same@x.org"}) == 1

    def test_bad_schemas(self, tmp_path):
        for schema in (
            {"User": {"name": "strin"}}, {"User": 5}, [5], "text", {"User": {"a": "-> "}},
            {5: {}}, {"User": {"version": "int"}},
        ):  # fmt: skip
            with pytest.raises(InvalidInputError):
                DB(tmp_path / "never", schema=schema)
        assert not (tmp_path / "never").exists()


class TestOpening:
    def test_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(StorageError, match="is a file"):
            DB(tmp_path / "file")
        with pytest.raises(ParqueDBError):
            DB(tmp_path / "file" / "below").users.create({"x": 1})
        assert (tmp_path / "file").read_text() == "x"

    @pytest.mark.parametrize(
        ("backend", "message"),
        [
            ("icebreg", r"'icebreg' .*did you mean 'iceberg'\?"),
            ({"type": "Delta"}, r"did you mean 'delta'\?"),
            ({"type": "parquet"}, "parquet"),
            ({"type": 5}, "5"),
            ({"tpye": "iceberg"}, "did you mean 'type'"),
            (5, "backend"),
            ([], "backend"),
            ({"type": "iceberg", "warehouse": "../up"}, "up"),
            ({"type": "iceberg", "warehouse": 5}, "warehouse"),
            ({"type": "iceberg", "migrate_from": "paper"}, "paper"),
            ({"type": "iceberg", "migrate_from": "nativ"}, r"did you mean 'native'\?"),
            ({"type": "iceberg", "format_version": "x"}, "version 2 or 3"),
        ],
        ids=str,
    )
    def test_backends(self, tmp_path, backend, message):
        with pytest.raises(InvalidInputError, match=message):
            DB(tmp_path / "never", backend=backend)
        assert not (tmp_path / "never").exists()

    @pytest.mark.parametrize(
        "options",
        [
            {"durability": "none"}, {"flush_interval": 0}, {"flush_interval": -1},
            {"flush_interval": "x"}, {"flush_bytes": 0}, {"flush_bytes": "x"}, {"cache_bytes": 0},
        ],
        ids=str,
    )  # fmt: skip
    def test_options(self, tmp_path, options):
        with pytest.raises(InvalidInputError, match=next(iter(options))):
            DB(tmp_path / "never", **options)
        assert not (tmp_path / "never").exists()

    def test_storages(self):
        with pytest.raises(UnsupportedError, match="gopher"):
            DB("gopher://host/path")
        for storage in (5, None, b"x"):
            with pytest.raises(InvalidInputError, match="storage"):
                DB(storage)

    def test_another_format_than_asked_for(self, where, tmp_path):
        with where.open() as db:
            db.users.create({"x": 1})
        before = where.files()
        for other in {*BACKENDS} - {where.backend}:
            with DB(where.storage, backend=other) as db, pytest.raises(StateError, match="migrate"):
                db.users.count()
        assert where.files() == before
        with DB(where.storage) as db:
            assert db.users.count() == 1


def test_conflicts_are_told_apart(db):
    db.users.update("a", {"$set": {"age": 4}})
    with pytest.raises(ConflictError, match="version 2, not 1"):
        db.users.update("a", {"$set": {"age": 5}}, expected_version=1)
    for wrong in ("1", 1.5):
        with pytest.raises(ParqueDBError):
            db.users.update("a", {"$set": {"age": 5}}, expected_version=wrong)
    assert db.users.get("a").age == 4
