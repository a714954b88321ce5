"""The same query finds the same before and after flushes, on every backend and store."""

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from parquedb.db import DB
from parquedb.errors import InvalidInputError
from parquedb.query.compare import compare_key
from parquedb.query.match import matches
from parquedb.query.parse import parse_filter
from tests.support.databases import BACKENDS, STORES, fields_of, place, states
from tests.support.stored import same

START = datetime(2024, 1, 1, tzinfo=UTC)
TITLES = ("Alpha", "beta", "Gamma", "δelta", "$five", "six.seven", "", "😀")


def person(i):
    """Fields of one kind, of several kinds, null, missing, nested: all that queries can meet."""
    made = {
        "$id": f"p{(i * 37) % 100:03}",
        "title": TITLES[i % len(TITLES)],
        "age": i % 17,
        "score": i / 4 if i % 3 else i // 3,
        "tags": [f"t{k}" for k in range(i % 4)],
        "address": {"city": f"c{i % 5}", "geo": {"lat": i / 10}},
        "lines": [{"sku": f"s{k}", "n": k * i} for k in range(i % 3)],
        "seen": START + timedelta(hours=i),
        "born": date(2000, 1, 1) + timedelta(days=i),
        "paid": Decimal(i) / 100,
        "raw": bytes([i]),
        "active": i % 2 == 0,
        "mixed": [i, str(i), None, float(i), {"x": i}, [i], True][i % 7],
        "a.b": i,
    }
    if i % 5 == 0:
        made["age"] = None
    if i % 7 == 0:
        del made["age"]
    if i % 6 == 0:
        made["address"] = None
    if i % 11 == 0:
        made["address"] = {"city": None}
    if i % 13 == 0:
        made["rare"] = {"deep": [{"er": i}]}
    return made


PEOPLE = [person(i) for i in range(60)]

FILTERS = [
    {},
    {"age": 3},
    {"age": None},
    {"age": {"$ne": None}},
    {"age": {"$exists": True}},
    {"age": {"$exists": False}},
    {"age": {"$gt": 5, "$lte": 9}},
    {"age": {"$in": [1, 2, None]}},
    {"age": {"$nin": [1, 2]}},
    {"age": {"$not": {"$gte": 4}}},
    {"score": 1},
    {"score": {"$lt": 2}},
    {"score": {"$type": "int"}},
    {"title": "beta"},
    {"title": {"$startsWith": "b"}},
    {"title": {"$contains": "e"}},
    {"title": {"$regex": "^[A-Z]"}},
    {"title": {"$gt": "b"}},
    {"tags": "t1"},
    {"tags": {"$all": ["t0", "t2"]}},
    {"tags": {"$size": 2}},
    {"tags": []},
    {"tags.1": "t1"},
    {"address.city": "c2"},
    {"address": None},
    {"address.city": None},
    {"address.geo.lat": {"$gte": 5}},
    {"address": {"city": "c1", "geo": {"lat": 0.1}}},
    {"lines.sku": "s1"},
    {"lines": {"$elemMatch": {"sku": "s1", "n": {"$gt": 20}}}},
    {"seen": {"$gte": START + timedelta(hours=30)}},
    {"born": date(2000, 1, 5)},
    {"paid": {"$lt": Decimal("0.05")}},
    {"paid": 0.25},
    {"raw": bytes([7])},
    {"active": True},
    {"mixed": None},
    {"mixed": {"$type": "string"}},
    {"mixed": {"$gte": 20}},
    {"mixed.x": {"$exists": True}},
    {"mixed": True},
    {"rare.deep.er": 13},
    {"rare": {"$exists": True}},
    {"nothing": None},
    {"nothing": 1},
    {"$or": [{"age": 1}, {"title": "Gamma"}]},
    {"$nor": [{"active": True}, {"tags": "t0"}]},
    {"$and": [{"active": True}, {"score": {"$gte": 3}}]},
    {"$expr": {"$gt": ["$score", "$age"]}},
    {"$id": "users/p037"},
    {"$id": {"$in": ["users/p000", "users/p037", "users/none"]}},
    {"$id": {"$gte": "users/p050"}},
    {"$id": "users/p037", "active": True},
    {"$id": 5},
    {"$type": "User", "age": 1},
    {"version": {"$gt": 1}},
    {"name": "beta"},
    {"createdAt": {"$gt": START}},
    {"deletedAt": None},
]

SORTS = [None, "age", "-age", "-score", ["active", "-title"], "tags", "-lines.n", "address.city",
         "mixed", "seen", "-$id", "nothing", "version", "paid", "-createdAt"]  # fmt: skip


@pytest.fixture(params=[(b, s) for b in BACKENDS for s in STORES], ids="-".join)
def db(request, tmp_path):
    where = place(*request.param, tmp_path / "db")
    yield where.open()
    where.close()


@pytest.fixture
def filled(db):
    """Documents in three files of overlapping ids and in the tail, changed and deleted ones too."""
    for start in (0, 20, 40):
        db.users.create_many(PEOPLE[start : start + 20])
        if start < 40:
            db.flush()
    db.users.update_many({"age": {"$in": [3, 8]}}, {"$set": {"title": "changed", "new": 1}})
    db.users.delete("p000")
    db.users.delete("p074", hard=True)
    return db


def everything(db):
    """Return all documents by id."""
    found = [db.users.get(each["$id"]) for each in PEOPLE]
    return {each["$id"]: dict(each) for each in found if each is not None}


def order(sort, documents):
    from parquedb.query.parse import parse_sort
    from parquedb.query.sort import sort_key

    if sort is None:
        return sorted(documents, key=lambda each: each["$id"])
    key = sort_key(parse_sort(sort))
    return sorted(sorted(documents, key=lambda each: each["$id"]), key=key)


def test_filters(filled):
    all_ = everything(filled)
    assert len(all_) == 58
    for _ in states(filled):
        for spec in FILTERS:
            parsed = parse_filter(spec)
            wanted = [each for id_, each in sorted(all_.items()) if matches(parsed, each)]
            found = filled.users.find(spec).to_list()
            assert [each["$id"] for each in found] == [each["$id"] for each in wanted], spec
            assert all(map(same, map(dict, found), wanted)), spec
            assert filled.users.count(spec) == len(wanted), spec
            assert filled.users.exists(spec) is bool(wanted), spec
            one = filled.users.find_one(spec)
            assert one == (wanted[0] if wanted else None), spec


def test_orders(filled):
    all_ = everything(filled)
    others = itertools.cycle([{"active": True}, {"mixed": {"$gte": 20}}, {"age": {"$gte": 5}}])
    for _ in itertools.islice(states(filled), 2):
        for sort in SORTS:
            for spec in ({}, next(others)):
                parsed = parse_filter(spec)
                wanted = order(sort, [each for each in all_.values() if matches(parsed, each)])
                ids = [each["$id"] for each in wanted]
                about = (sort, spec)
                assert [e.id for e in filled.users.find(spec, sort=sort)] == ids, about
                cut = filled.users.find(spec, sort=sort, skip=3, limit=5)
                assert [e.id for e in cut] == ids[3:8], about
                assert filled.users.find(spec, sort=sort, limit=0).to_list() == []
                if len(ids) > 4:
                    rest = filled.users.find(spec, sort=sort, after=ids[4])
                    assert [e.id for e in rest] == ids[5:], about
                    rest = filled.users.find(spec, sort=sort, after=ids[4], limit=2, skip=1)
                    assert [e.id for e in rest] == ids[6:8], about
                first = filled.users.find_one(spec, sort=sort)
                assert first is not None
                assert first.id == ids[0], about


def test_pages(filled):
    for sort in (None, "age", "-tags"):
        for _ in states(filled):
            wanted = [each.id for each in filled.users.find(sort=sort)]
            seen, last = [], None
            while page := filled.users.find(sort=sort, limit=7, after=last).to_list():
                seen += [each.id for each in page]
                last = page[-1].id
            assert seen == wanted
    with pytest.raises(InvalidInputError, match="after"):
        filled.users.find(sort="age", after="users/nobody").to_list()


def test_projections(filled):
    all_ = everything(filled)
    for _ in states(filled):
        for project, kept in (
            (["title", "age"], {"$id", "$type", "title", "age"}),
            ({"title": 1, "$id": 0}, {"title"}),
            ({"address.city": 1}, {"$id", "$type", "address"}),
        ):
            for found in filled.users.find({"active": True}, project=project):
                assert set(found) <= kept
                if "title" in kept and "title" in found and "$id" in found:
                    assert found["title"] == all_[found["$id"]]["title"]
        for found in filled.users.find(project={"address": 0, "mixed": 0}):
            whole = {**all_[found["$id"]]}
            whole.pop("address", None)
            whole.pop("mixed", None)
            assert same(dict(found), whole)
        slices = filled.users.find({"tags": {"$size": 3}}, project={"tags": {"$slice": 2}})
        assert {len(found["tags"]) for found in slices} == {2}


def test_distinct(filled):
    all_ = everything(filled)
    for _ in states(filled):
        for field in ("age", "title", "active", "mixed", "paid", "nothing"):
            values = {}
            for each in all_.values():
                if field in each:
                    inner = each[field] if isinstance(each[field], list) else [each[field]]
                    for value in inner:
                        values.setdefault(compare_key(value), value)
            wanted = [values[key] for key in sorted(values)]
            assert list(map(compare_key, filled.users.distinct(field))) == sorted(values), field
            assert len(filled.users.distinct(field)) == len(wanted)
        assert filled.users.distinct("tags") == ["t0", "t1", "t2"]
        assert filled.users.distinct("lines.sku") == ["s0", "s1"]
        assert filled.users.distinct("tags", {"title": "changed", "age": 3}) == sorted(
            {tag for e in all_.values() if e["title"] == "changed" and e.get("age") == 3
             for tag in e["tags"]}
        )  # fmt: skip


def test_include_deleted(filled):
    for _ in states(filled):
        assert filled.users.count() == 58
        assert filled.users.count(include_deleted=True) == 59
        assert filled.users.find_one({"$id": "users/p000"}) is None
        gone = filled.users.find_one({"$id": "users/p000"}, include_deleted=True)
        assert gone.version == 2
        assert filled.users.exists("p000", include_deleted=True)
        assert not filled.users.exists("p000")
        assert not filled.users.exists("p074", include_deleted=True)
        assert len(filled.users.find(include_deleted=True).to_list()) == 59


def test_aggregate(filled):
    all_ = everything(filled)
    pipeline = [
        {"$match": {"active": True}},
        {"$group": {"_id": "$title", "n": {"$sum": 1}, "most": {"$max": "$score"}}},
        {"$sort": {"_id": 1}},
    ]
    groups = {}
    for each in all_.values():
        if each["active"]:
            n, most = groups.get(each["title"], (0, -1))
            groups[each["title"]] = (n + 1, max(most, each["score"]))
    wanted = [{"_id": key, "n": groups[key][0], "most": groups[key][1]} for key in sorted(groups)]
    for _ in states(filled):
        found = filled.users.aggregate(pipeline)
        assert [{**each} for each in found] == wanted
        assert filled.users.aggregate([{"$count": "n"}])[0]["n"] == 58


def test_tables(filled):
    all_ = everything(filled)
    for _ in states(filled):
        table = filled.users.find({"active": True}, sort="-seen").to_arrow()
        wanted = [each for each in all_.values() if each["active"]]
        wanted.sort(key=lambda each: each["seen"], reverse=True)
        rows = table.to_pylist()
        assert [row["$id"] for row in rows] == [each["$id"] for each in wanted]
        for row, each in zip(rows, wanted, strict=True):
            for name in ("title", "seen", "tags", "active", "paid", "version"):
                assert row[name] == each[name], name
        assert filled.users.find({"age": 1e9}).to_arrow().num_rows == 0
        assert filled.users.find(project=["title"], limit=3).to_arrow().num_rows == 3
        assert filled.users.find().to_polars().height == 58


def test_sql(filled):
    all_ = everything(filled)
    for _ in states(filled):
        found = filled.sql("SELECT count(*) n, sum(score) s FROM users WHERE active")
        wanted = [each["score"] for each in all_.values() if each["active"]]
        assert found.to_pylist() == [{"n": len(wanted), "s": pytest.approx(sum(wanted))}]
        titles = filled.sql('SELECT "$id" FROM users WHERE title = ? ORDER BY 1', ["changed"])
        assert titles.column(0).to_pylist() == sorted(
            key for key, each in all_.items() if each["title"] == "changed"
        )


def test_sql_tells_collections_by_their_names(tmp_path):
    with DB(tmp_path, backend="delta") as db:
        for name in ("userLogs", "userlogs", "logs"):
            db[name].create({"of": name})
        for name in ("userLogs", "userlogs", "logs"):
            assert db.sql(f"SELECT of FROM {name}").to_pylist() == [{"of": name}]
        assert db.sql("SELECT of FROM LOGS").to_pylist() == [{"of": "logs"}]
        for query in ("SELECT * FROM USERLOGS", "SELECT * FROM userLogs JOIN userlogs USING (of)"):
            with pytest.raises(InvalidInputError, match="differ only by case"):
                db.sql(query)

        moment = db["logs"].find_one().createdAt
        db["log"].create({"of": "log"})
        assert db.as_of(moment).sql("SELECT of FROM logs").to_pylist() == [{"of": "logs"}]


def test_populate(tmp_path, db):
    where = place("native", "memory", tmp_path)
    linked = where.open(
        schema={
            "User": {"name": "string!", "posts": "<- Post.author[]"},
            "Post": {"title": "string!", "author": "-> User", "editors": "-> User[]"},
        }
    )
    ann = linked.users.create({"$id": "ann", "name": "Ann"})
    bob = linked.users.create({"$id": "bob", "name": "Bob"})
    linked.posts.create({"$id": "p1", "title": "x", "author": ann.id, "editors": [bob.id, ann.id]})
    linked.posts.create({"$id": "p2", "title": "y", "author": "users/gone"})
    for _ in range(2):
        post = linked.posts.get("p1", populate=["author", "editors"])
        assert post.author["name"] == "Ann"
        assert [each["name"] for each in post.editors] == ["Bob", "Ann"]
        assert linked.posts.get("p2", populate=["author"]).author == "users/gone"
        found = linked.users.find(sort="name", populate=["posts"]).to_list()
        assert [[p["title"] for p in each["posts"]] for each in found] == [["x"], []]
        assert (
            linked.users.find_one({"name": "Ann"}, populate="posts").posts[0]["$id"] == "posts/p1"
        )
        with pytest.raises(InvalidInputError, match="did you mean 'author'"):
            linked.posts.find(populate=["auhtor"])
        linked.flush()
    where.close()


def test_fields_of_a_document_are_all_that_differs(filled):
    """Compaction changes no document, not even its version."""
    before = everything(filled)
    filled.compact()
    assert same(everything(filled), before)
    assert fields_of(before["users/p037"])["title"] == "beta"


def test_populate_looks_at_the_same_time(tmp_path):
    where = place("native", "memory", tmp_path)
    linked = where.open(schema={"User": {"name": "string!"}, "Post": {"author": "-> User"}})
    ann = linked.users.create({"$id": "ann", "name": "Ann"})
    moment = linked.posts.create({"$id": "p1", "author": ann.id}).createdAt
    linked.users.update("ann", {"$set": {"name": "Anna"}})
    assert linked.posts.get("p1", populate=["author"]).author["name"] == "Anna"
    then = linked.posts.get("p1", populate=["author"], as_of=moment)
    assert then.author["name"] == "Ann"
    (found,) = linked.posts.find(populate=["author"], as_of=moment)
    assert found.author["name"] == "Ann"
    with pytest.raises(InvalidInputError, match="give as_of a time"):
        linked.posts.get("p1", populate=["author"], as_of=1)
