"""Update operators; examples marked "manual" are from MongoDB's manual."""

from __future__ import annotations

import copy
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.documents.entity import Entity
from parquedb.documents.schema import parse_schema
from parquedb.documents.update import OPERATORS, apply_update, parse_update
from parquedb.errors import InvalidInputError, UnsupportedError

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def apply(spec: dict[str, Any], document: dict[str, Any], *, inserting: bool = False) -> Any:
    before = copy.deepcopy(document)
    found = apply_update(parse_update(spec), document, now=NOW, inserting=inserting)
    assert repr(document) == repr(before)
    return found


PRODUCT = {
    "quantity": 500,
    "instock": True,
    "reorder": False,
    "details": {"model": "14QQ", "make": "xyz"},
    "tags": ["apparel", "clothing"],
    "ratings": [{"by": "ijk", "rating": 4}],
}
GRADES = [{"id": 1, "score": 6}, {"id": 2, "score": 9}]
RESULTS = [{"item": "A", "score": 5}, {"item": "B", "score": 8}]


@pytest.mark.parametrize(
    ("document", "update", "wanted"),
    [
        pytest.param(
            PRODUCT,
            {"$set": {"quantity": 400, "details": {"model": "2600"}, "tags": ["coats"]}},
            {**PRODUCT, "quantity": 400, "details": {"model": "2600"}, "tags": ["coats"]},
            id="$set, top-level fields (manual)",
        ),
        pytest.param(
            PRODUCT,
            {"$set": {"details.make": "Kustom Kidz"}},
            {**PRODUCT, "details": {"model": "14QQ", "make": "Kustom Kidz"}},
            id="$set, embedded field (manual)",
        ),
        pytest.param(
            PRODUCT,
            {"$set": {"tags.1": "rain gear", "ratings.0.rating": 2}},
            {
                **PRODUCT,
                "tags": ["apparel", "rain gear"],
                "ratings": [{"by": "ijk", "rating": 2}],
            },
            id="$set, elements (manual)",
        ),
        pytest.param({}, {"$set": {"a.0.b": 1}}, {"a": {"0": {"b": 1}}}, id="$set, number as key"),
        pytest.param(
            {"a": []}, {"$set": {"a.2.b": 1}}, {"a": [None, None, {"b": 1}]}, id="$set, far"
        ),
        pytest.param({"a": {"0": 1}}, {"$set": {"a.01": 2}}, {"a": {"0": 1, "01": 2}}, id="01"),
        pytest.param({"a": 1}, {"$set": {}}, {"a": 1}, id="$set of nothing"),
        pytest.param(
            {"item": "chisel", "sku": "C001", "quantity": 4, "instock": True},
            {"$unset": {"quantity": "", "instock": ""}},
            {"item": "chisel", "sku": "C001"},
            id="$unset (manual)",
        ),
        pytest.param(
            {"a": [1, 2, 3], "b": {"c": 1, "d": 2}, "e": 5},
            {"$unset": {"a.1": 1, "b.c": 1, "e.f": 1, "g.h": 1, "a.7": 1, "a.x": 1}},
            {"a": [1, None, 3], "b": {"d": 2}, "e": 5},
            id="$unset, elements and what is not there",
        ),
        pytest.param(
            {"alias": ["x"], "name": {"first": "george", "last": "washington"}, "nmae": 1},
            {"$rename": {"nmae": "n", "name.first": "name.fname", "absent": "b", "alias": "a.b"}},
            {"name": {"last": "washington", "fname": "george"}, "n": 1, "a": {"b": ["x"]}},
            id="$rename (manual)",
        ),
        pytest.param({"a": 1, "b": 2}, {"$rename": {"a": "b"}}, {"b": 1}, id="$rename onto one"),
        pytest.param(
            {"sku": "abc123", "quantity": 10, "metrics": {"orders": 2, "ratings": 3.5}},
            {"$inc": {"quantity": -2, "metrics.orders": 1}},
            {"sku": "abc123", "quantity": 8, "metrics": {"orders": 3, "ratings": 3.5}},
            id="$inc (manual)",
        ),
        pytest.param({}, {"$inc": {"a.b": 1.5}}, {"a": {"b": 1.5}}, id="$inc, missing"),
        pytest.param(
            {"a": 2**63 - 1}, {"$inc": {"a": 1}}, {"a": 2**63}, id="$inc, beyond 64 bits"
        ),
        pytest.param({"a": [1]}, {"$inc": {"a.2": 5}}, {"a": [1, None, 5]}, id="$inc, beyond end"),
        pytest.param(
            {"item": "Hats", "price": Decimal("10.99"), "quantity": 25},
            {"$mul": {"price": Decimal("1.25"), "quantity": 2}},
            {"item": "Hats", "price": Decimal("13.7375"), "quantity": 50},
            id="$mul (manual)",
        ),
        pytest.param(
            {}, {"$mul": {"a": 100, "b": 1.5, "c": Decimal("2.5")}},
            {"a": 0, "b": 0.0, "c": Decimal(0)},
            id="$mul, missing (manual)",
        ),
        pytest.param(
            {"highScore": 800, "lowScore": 200},
            {"$min": {"lowScore": 150}, "$max": {"highScore": 950}},
            {"highScore": 950, "lowScore": 150},
            id="$min $max (manual)",
        ),
        pytest.param(
            {"highScore": 800, "lowScore": 200},
            {"$min": {"lowScore": 250}, "$max": {"highScore": 800.0}},
            {"highScore": 800, "lowScore": 200},
            id="$min $max, no change (manual)",
        ),
        pytest.param(
            {"a": "x", "b": 5, "c": None},
            {"$min": {"a": 5, "c": 1}, "$max": {"b": "y", "d": 1}},
            {"a": 5, "b": "y", "c": None, "d": 1},
            id="$min $max, by the order of types",
        ),
        pytest.param(
            {"lastModified": 1},
            {"$currentDate": {"lastModified": True, "a.b": {"$type": "timestamp"}}},
            {"lastModified": NOW, "a": {"b": NOW}},
            id="$currentDate (manual)",
        ),
        pytest.param(
            {"_id": 1, "scores": [44, 78, 38, 80]},
            {"$push": {"scores": 89}},
            {"_id": 1, "scores": [44, 78, 38, 80, 89]},
            id="$push (manual)",
        ),
        pytest.param(
            {"scores": [1]},
            {"$push": {"scores": {"$each": [90, 92, 85]}}},
            {"scores": [1, 90, 92, 85]},
            id="$push $each (manual)",
        ),
        pytest.param(
            {"scores": [1]}, {"$push": {"scores": [2, 3]}}, {"scores": [1, [2, 3]]}, id="$push list"
        ),
        pytest.param(
            {"scores": [100]},
            {"$push": {"scores": {"$each": [50, 60, 70], "$position": 0}}},
            {"scores": [50, 60, 70, 100]},
            id="$position at the start (manual)",
        ),
        pytest.param(
            {"scores": [50, 60, 20, 30, 100]},
            {"$push": {"scores": {"$each": [90, 80], "$position": -2}}},
            {"scores": [50, 60, 20, 90, 80, 30, 100]},
            id="$position negative (manual)",
        ),
        pytest.param(
            {"a": [1, 2]},
            {"$push": {"a": {"$each": [0], "$position": -9}, "b": {"$each": [1], "$position": 9}}},
            {"a": [0, 1, 2], "b": [1]},
            id="$position beyond the ends",
        ),
        pytest.param(
            {"quizzes": [{"wk": 1, "score": 10}, {"wk": 2, "score": 8}, {"wk": 3, "score": 5}]},
            {
                "$push": {
                    "quizzes": {
                        "$each": [
                            {"wk": 5, "score": 8}, {"wk": 6, "score": 7}, {"wk": 7, "score": 6}
                        ],
                        "$sort": {"score": -1},
                        "$slice": 3,
                    }
                }
            },
            {"quizzes": [{"wk": 1, "score": 10}, {"wk": 2, "score": 8}, {"wk": 5, "score": 8}]},
            id="$push $sort $slice (manual)",
        ),
        pytest.param(
            {"tests": [89, 70, 89, 50]},
            {"$push": {"tests": {"$each": [40, 60], "$sort": 1}}},
            {"tests": [40, 50, 60, 70, 89, 89]},
            id="$sort of numbers (manual)",
        ),
        pytest.param(
            {"scores": [89, 70, 100, 20]},
            {"$push": {"scores": {"$each": [], "$slice": -3}}},
            {"scores": [70, 100, 20]},
            id="$slice only (manual)",
        ),
        pytest.param(
            {"a": [1]}, {"$push": {"a": {"$each": [2], "$slice": 0}}}, {"a": []}, id="$slice 0"
        ),
        pytest.param(
            {"a": [{"b": {"c": 2}, "d": 1}, 7, {"b": {"c": 1}, "d": 1}, {"b": 3, "d": 0}]},
            {"$push": {"a": {"$each": [], "$sort": {"d": -1, "b.c": 1}}}},
            {"a": [{"b": {"c": 1}, "d": 1}, {"b": {"c": 2}, "d": 1}, {"b": 3, "d": 0}, 7]},
            id="$sort by several fields",
        ),
        pytest.param(
            {"fruits": ["apples", "pears", "oranges"], "vegetables": ["carrots", "celery"]},
            {"$pull": {"fruits": {"$in": ["apples", "oranges"]}, "vegetables": "carrots"}},
            {"fruits": ["pears"], "vegetables": ["celery"]},
            id="$pull of values (manual)",
        ),
        pytest.param(
            {"votes": [3, 5, 6, 7, 7, 8]},
            {"$pull": {"votes": {"$gte": 6}}},
            {"votes": [3, 5]},
            id="$pull by a condition (manual)",
        ),
        pytest.param(
            {"results": RESULTS},
            {"$pull": {"results": {"score": 8, "item": "B"}}},
            {"results": RESULTS[:1]},
            id="$pull of documents (manual)",
        ),
        pytest.param(
            {
                "results": [
                    {"item": "A", "answers": [{"q": 1, "a": 4}, {"q": 2, "a": 6}]},
                    {"item": "B", "answers": [{"q": 1, "a": 8}, {"q": 2, "a": 9}]},
                ]
            },
            {"$pull": {"results": {"answers": {"$elemMatch": {"q": 2, "a": {"$gte": 8}}}}}},
            {"results": [{"item": "A", "answers": [{"q": 1, "a": 4}, {"q": 2, "a": 6}]}]},
            id="$pull with $elemMatch (manual)",
        ),
        pytest.param(
            {"a": [1, {"score": 8}, {"score": 3}, [8]]},
            {"$pull": {"a": {"$or": [{"score": 8}, {"score": 9}]}}},
            {"a": [1, {"score": 3}, [8]]},
            id="$pull with $or",
        ),
        pytest.param(
            {"a": [[1, 2], [2, 1], 1], "b": [1, 1.0, True], "c": ["ab", "b"], "d": [None, 1]},
            {"$pull": {"a": [1, 2], "b": 1, "c": re.compile("^a"), "d": None}},
            {"a": [[2, 1], 1], "b": [True], "c": ["b"], "d": [1]},
            id="$pull, equality and patterns",
        ),
        pytest.param(
            {"a": 5, "b": {}}, {"$pull": {"a.b": 1, "c": 1, "b.c": 2}}, {"a": 5, "b": {}},
            id="$pull of what is not there",
        ),
        pytest.param(
            {"scores": [0, 2, 5, 5, 1, 0]},
            {"$pullAll": {"scores": [0, 5]}},
            {"scores": [2, 1]},
            id="$pullAll (manual)",
        ),
        pytest.param(
            {"tags": ["electronics", "camera"]},
            {"$addToSet": {"tags": "accessories"}},
            {"tags": ["electronics", "camera", "accessories"]},
            id="$addToSet (manual)",
        ),
        pytest.param(
            {"tags": ["electronics", "supplies"]},
            {"$addToSet": {"tags": {"$each": ["camera", "electronics", "accessories", "camera"]}}},
            {"tags": ["electronics", "supplies", "camera", "accessories"]},
            id="$addToSet $each (manual)",
        ),
        pytest.param(
            {"letters": ["a", "b"]},
            {"$addToSet": {"letters": ["c", "d"]}},
            {"letters": ["a", "b", ["c", "d"]]},
            id="$addToSet of a list (manual)",
        ),
        pytest.param(
            {"a": [{"x": 1, "y": 2}, 1]},
            {"$addToSet": {"a": {"$each": [{"y": 2.0, "x": 1}, 1.0, True]}, "b": 1}},
            {"a": [{"x": 1, "y": 2}, 1, True], "b": [1]},
            id="$addToSet, equality by value, keys in any order",
        ),
        pytest.param({"a": [8, 9, 10]}, {"$pop": {"a": -1}}, {"a": [9, 10]}, id="$pop -1 (manual)"),
        pytest.param({"a": [9, 10]}, {"$pop": {"a": 1}}, {"a": [9]}, id="$pop 1 (manual)"),
        pytest.param({"a": []}, {"$pop": {"a": 1, "b.c": 1}}, {"a": []}, id="$pop of nothing"),
        pytest.param(
            {"expdata": 13}, {"$bit": {"expdata": {"and": 10}}}, {"expdata": 8}, id="$bit (manual)"
        ),
        pytest.param({"e": 3}, {"$bit": {"e": {"or": 5}}}, {"e": 7}, id="$bit or (manual)"),
        pytest.param({"e": 1}, {"$bit": {"e": {"xor": 5}}}, {"e": 4}, id="$bit xor (manual)"),
        pytest.param(
            {}, {"$bit": {"a.b": {"or": 5, "and": 6}}}, {"a": {"b": 4}}, id="$bit, missing"
        ),
        pytest.param({"a": 1}, {"$setOnInsert": {"b": 1}}, {"a": 1}, id="$setOnInsert"),
    ],
)  # fmt: skip
def test_operators(document: dict[str, Any], update: dict[str, Any], wanted: Any) -> None:
    found = apply(update, document)
    assert found == wanted
    assert kinds(found) == kinds(wanted)


def kinds(value: Any) -> Any:
    """Return the types of all values, which equality does not tell apart."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value)


def test_set_on_insert_counts_for_new_documents() -> None:
    update = {"$set": {"item": "apple"}, "$setOnInsert": {"defaultQty": 100}}
    assert apply(update, {}, inserting=True) == {"item": "apple", "defaultQty": 100}
    assert apply(update, {}) == {"item": "apple"}


@pytest.mark.parametrize(
    ("one", "number", "total", "product"),
    [
        (2, 3, 5, 6),
        (2, 0.5, 2.5, 1.0),
        (0.5, 2, 2.5, 1.0),
        (2, Decimal("0.50"), Decimal("2.50"), Decimal("1.00")),
        (0.1, Decimal("0.2"), Decimal("0.3"), Decimal("0.02")),
        (Decimal("0.2"), 0.1, Decimal("0.3"), Decimal("0.02")),
        (10**30, 1, 10**30 + 1, 10**30),
        (Decimal("9" * 45), 1, Decimal("1" + "0" * 45), Decimal("9" * 45)),
        (math.inf, 1, math.inf, math.inf),
    ],
)
def test_numbers_keep_their_kinds(one: Any, number: Any, total: Any, product: Any) -> None:
    for operator, wanted in (("$inc", total), ("$mul", product)):
        found = apply({operator: {"a": number}}, {"a": one})["a"]
        assert found == wanted
        assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("document", "update", "why"),
    [
        ({"a": "x"}, {"$inc": {"a": 1}}, "users/1: $inc at 'a': str 'x' is no number"),
        ({"a": True}, {"$mul": {"a": 1}}, "$mul at 'a': bool 'True' is no number"),
        ({"a": None}, {"$inc": {"a": 1}}, "$inc at 'a': None is no number"),
        ({"a": {"b": []}}, {"$inc": {"a.b": 1}}, "$inc at 'a.b': list '[]' is no number"),
        ({"a": math.inf}, {"$inc": {"a": -math.inf}}, "have no number as their result"),
        ({"a": 10**400}, {"$mul": {"a": 1.5}}, "have no number as their result"),
        ({"a": Decimal(1)}, {"$inc": {"a": math.inf}}, "have no number as their result"),
        ({"a": 5}, {"$set": {"a.b": 1}}, "$set at 'a.b': 'a' is int '5', no document"),
        ({"a": None}, {"$set": {"a.b": 1}}, "'a' is None, no document"),
        ({"a": 10**5000}, {"$set": {"a.b": 1}}, "'a' is int '0x"),
        ({"a": {"b": "x"}}, {"$push": {"a.b.c": 1}}, "'a.b' is str 'x', no document"),
        ({"a": [1]}, {"$set": {"a.b": 1}}, "'a' is a list; 'b' is no index of it"),
        ({"a": [1]}, {"$set": {"a.01": 1}}, "'01' is no index of it"),
        ({"a": []}, {"$set": {"a.1500001": 1}}, "too far beyond its end"),
        ({"a": []}, {"$set": {"a." + "9" * 5000: 1}}, "too far beyond its end"),
        ({"a": 1}, {"$push": {"a": 1}}, "$push at 'a': int '1' is no list"),
        ({"a": None}, {"$push": {"a": 1}}, "None is no list"),
        ({"a": 1}, {"$addToSet": {"a": 1}}, "$addToSet at 'a': int '1' is no list"),
        ({"a": 1}, {"$pull": {"a": 1}}, "$pull at 'a': int '1' is no list"),
        ({"a": 1}, {"$pullAll": {"a": [1]}}, "$pullAll at 'a': int '1' is no list"),
        ({"a": "x"}, {"$pop": {"a": 1}}, "$pop at 'a': str 'x' is no list"),
        ({"a": 1.0}, {"$bit": {"a": {"or": 1}}}, "$bit at 'a': float '1.0' is no integer"),
        ({"a": True}, {"$bit": {"a": {"or": 1}}}, "is no integer"),
        ({"a": [1]}, {"$rename": {"a.0": "b"}}, "the source 'a.0' is inside a list"),
        ({"a": [1], "b": 1}, {"$rename": {"b": "a.0"}}, "the destination 'a.0' is inside a list"),
        ({"a": 1, "b": 1}, {"$rename": {"b": "a.c"}}, "$rename at 'b': 'a' is int '1'"),
        ({"a": 1}, {"$link": {"a": "users/2"}}, "$link at 'a': int '1' is no relation"),
        ({"a": 1}, {"$unlink": {"a": True}}, "$unlink at 'a': int '1' is no relation"),
    ],
)  # fmt: skip
def test_steps_that_do_not_go_with_the_document(
    document: dict[str, Any], update: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        apply(update, {"$id": "users/1", **document})
    assert why in str(caught.value)
    assert str(caught.value).startswith("users/1: $")


@pytest.mark.parametrize(
    ("update", "why"),
    [
        ({}, "The update is empty; write {\"$set\": {…}} to change fields, or call `replace`"),
        ({"a": 1}, "has no operators; write {\"$set\": {…}} to change fields, or call `replace`"),
        ({"$set": {"a": 1}, "b": 1}, "mixes operators and fields: put 'b' into \"$set\""),
        ({"$sett": {"a": 1}}, "unknown operator $sett; did you mean $set?"),
        ({"$psuh": {"a": 1}}, "did you mean $push?"),
        ("x", "An update is a mapping of operators, not str 'x'"),
        (None, "An update is a mapping of operators, not None"),
        ({"$set": 5}, "$set: write {\"$set\": {\"field\": …}}, not int '5'"),
        ({"$set": {5: 1}}, "$set at 5: a field's name is a string"),
        ({"$set": {"": 1}}, "the path has an empty part"),
        ({"$set": {"a..b": 1}}, "the path has an empty part"),
        ({"$set": {"a.": 1}}, "the path has an empty part"),
        ({"$set": {"a.$b": 1}}, "'$b' begins with '$'"),
        ({"$set": {"$id": "users/2"}}, "$id is set by the database and never changes"),
        ({"$unset": {"$type": 1}}, "$type is set by the database"),
        ({"$set": {"createdAt": 1}}, "createdAt is set by the database and cannot be updated"),
        ({"$inc": {"version": 1}}, "version is set by the database"),
        ({"$currentDate": {"updatedAt": True}}, "updatedAt is set by the database"),
        ({"$set": {"deletedAt": None}}, "call `delete` or `restore`"),
        ({"$rename": {"a": "version"}}, "version is set by the database"),
        ({"$rename": {"createdBy": "a"}}, "createdBy is set by the database"),
        ({"$set": {"updatedBy.x": 1}}, "updatedBy is set by the database"),
        ({"$set": {"a": 1, "a.b": 2}}, "changes 'a' and 'a.b', which overlap"),
        ({"$set": {"a.b": 1}, "$inc": {"a.b": 2}}, "changes 'a.b' and 'a.b', which overlap"),
        ({"$set": {"a": 1}, "$rename": {"b": "a"}}, "changes 'a' and 'a', which overlap"),
        ({"$rename": {"a": "a.b"}}, "changes 'a' and 'a.b', which overlap"),
        ({"$rename": {"a": "a"}}, "the new name is the old one"),
        ({"$rename": {"a": 5}}, "a field's name is a string"),
        ({"$set": {"a": math.nan}}, "$set at 'a': NaN is not a value"),
        ({"$set": {"a": {"b": object()}}}, "$set at 'a': b: object is no kind of value"),
        ({"$push": {"a": {"$each": [{1: 2}]}}}, "the key 1 is no str"),
        ({"$inc": {"a": "1"}}, "$inc at 'a': str '1' is no number"),
        ({"$mul": {"a": True}}, "bool 'True' is no number"),
        ({"$currentDate": {"a": False}}, "write True or"),
        ({"$currentDate": {"a": {"$type": "day"}}}, "write True or"),
        ({"$push": {"a": {"$each": 5}}}, "$push at 'a': $each: write a list, not int '5'"),
        ({"$push": {"a": {"$slice": 5}}}, "$slice needs \"$each\""),
        ({"$push": {"a": {"$each": [], "$sliec": 5}}}, "$sliec; did you mean $slice"),
        ({"$push": {"a": {"$eahc": [1]}}}, "unknown modifier $eahc; did you mean $each"),
        ({"$push": {"a": {"$each": [], "$slice": 1.5}}}, "$slice is an integer, not float '1.5'"),
        ({"$push": {"a": {"$each": [], "$position": True}}}, "$position is an integer"),
        ({"$push": {"a": {"$each": [], "$sort": 2}}}, "$sort: write 1, -1"),
        ({"$push": {"a": {"$each": [], "$sort": {"b": True}}}}, "$sort: write 1, -1"),
        ({"$push": {"a": {"$each": [], "$sort": {}}}}, "$sort: write 1, -1"),
        ({"$push": {"a": {"$each": [], "$sort": {"b..c": 1}}}}, "$sort: 'b..c' is no field"),
        ({"$addToSet": {"a": {"$each": [], "$slice": 1}}}, "unknown modifier $slice"),
        ({"$addToSet": {"a": {"$eahc": []}}}, "did you mean $each"),
        ({"$pull": {"a": {"$gtt": 5}}}, "$pull at 'a': "),
        ({"$pullAll": {"a": 5}}, "write a list, not int '5'"),
        ({"$pop": {"a": 0}}, "write 1 (the last element) or -1 (the first)"),
        ({"$pop": {"a": True}}, "write 1 (the last element) or -1 (the first)"),
        ({"$bit": {"a": 5}}, "write {\"and\": 10}"),
        ({"$bit": {"a": {}}}, "write {\"and\": 10}"),
        ({"$bit": {"a": {"nand": 5}}}, "unknown operation 'nand'; did you mean 'and'?"),
        ({"$bit": {"a": {"and": 1.0}}}, "float '1.0' is no integer"),
        ({"$link": {"a": 5}}, "$link at 'a': int '5' is no id of a document"),
        ({"$link": {"a": {"name": "x"}}}, "is no id of a document"),
    ],
)  # fmt: skip
def test_updates_that_are_refused(update: Any, why: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_update(update)
    assert why in str(caught.value)


@pytest.mark.parametrize("path", ["a.$", "a.$.b", "a.$[]", "a.$[element].b"])
def test_positional_paths_are_not_supported(path: str) -> None:
    with pytest.raises(UnsupportedError, match=r"Name the index"):
        parse_update({"$set": {path: 1}})


def test_pipelines_are_not_supported() -> None:
    with pytest.raises(UnsupportedError, match="replace"):
        parse_update([{"$set": {"a": 1}}])  # type: ignore[arg-type]


def test_what_an_update_touches() -> None:
    update = parse_update({"$set": {"a.b": 1}, "$rename": {"c.d": "e.f"}, "$push": {"g": 1}})
    assert update.touched == {"a", "c", "e", "g"}


def test_nothing_changed_gives_the_same_document() -> None:
    document = {"a": 1, "b": [1, 2], "c": {"d": "x"}, "e": ["users/1"]}
    for spec in (
        {"$set": {"a": 1, "c.d": "x"}},
        {"$unset": {"x": 1, "c.y": 1}},
        {"$rename": {"x": "y"}},
        {"$min": {"a": 1}},
        {"$pull": {"b": 7}},
        {"$pullAll": {"b": []}},
        {"$addToSet": {"b": 1}},
        {"$pop": {"x": 1}},
        {"$setOnInsert": {"a": 2}},
        {"$link": {"e": "users/1"}},
        {"$unlink": {"e": "users/2", "x": True}},
    ):
        assert apply(spec, document) is document
    for spec in ({"$set": {"a": 1.0}}, {"$set": {"a": True}}):
        assert kinds(apply(spec, document)) != kinds(document)


def test_what_is_not_reached_is_shared_and_the_rest_copied() -> None:
    document = {"a": {"b": {"c": 1}, "d": {}}, "e": {}}
    found = apply({"$set": {"a.b.c": 2, "a.b.x": 3}}, document)
    assert found["e"] is document["e"]
    assert found["a"]["d"] is document["a"]["d"]
    assert found["a"]["b"] == {"c": 2, "x": 3}


def test_documents_share_nothing_of_an_update() -> None:
    given_value = {"b": [1]}
    update = parse_update(
        {"$set": {"a": given_value}, "$push": {"l": given_value}, "$min": {"m": given_value}}
    )
    given_value["b"].append(2)
    one = apply_update(update, {}, now=NOW)
    one["a"]["b"].append(3)
    one["l"][0]["b"].append(3)
    one["m"]["b"].append(3)
    assert apply_update(update, {}, now=NOW) == {
        "a": {"b": [1]},
        "l": [{"b": [1]}],
        "m": {"b": [1]},
    }


def test_values_are_stored_in_their_normal_form() -> None:
    found = apply({"$set": {"a": (1, 2), "b": Entity({"x": 1})}}, {})
    assert kinds(found) == {"a": [int, int], "b": {"x": int}}
    assert type(found["b"]) is dict


POST = parse_schema(
    "Post",
    {
        "author": "-> User",
        "tags": "-> Tag[]",
        "comments": "<- Comment.post[]",
        "title": "string",
        "meta": {"editor": "-> User"},
    },
)


@pytest.mark.parametrize(
    ("document", "update", "wanted"),
    [
        ({}, {"$link": {"author": "users/1"}}, {"author": "users/1"}),
        ({}, {"$link": {"author": ["1"]}}, {"author": "users/1"}),
        ({}, {"$link": {"author": Entity({"$id": "users/1"})}}, {"author": "users/1"}),
        ({"author": "users/1"}, {"$link": {"author": "users/2"}}, {"author": "users/2"}),
        ({}, {"$link": {"tags": "tags/1"}}, {"tags": ["tags/1"]}),
        ({}, {"$link": {"meta.editor": "1"}}, {"meta": {"editor": "users/1"}}),
        (
            {"tags": ["tags/1"]},
            {"$link": {"tags": ["tags/2", "tags/1", "tags/2"]}},
            {"tags": ["tags/1", "tags/2"]},
        ),
        ({"author": "users/1"}, {"$unlink": {"author": True}}, {}),
        ({"author": "users/1"}, {"$unlink": {"author": "users/1"}}, {}),
        ({"author": "users/1"}, {"$unlink": {"author": "users/2"}}, {"author": "users/1"}),
        ({"tags": ["tags/1", "tags/2"]}, {"$unlink": {"tags": "1"}}, {"tags": ["tags/2"]}),
        ({"tags": ["tags/1", "tags/2"]}, {"$unlink": {"tags": True}}, {"tags": []}),
        ({"free": "a/1"}, {"$link": {"free": "a/2"}}, {"free": "a/2"}),
        ({"free": "a/1"}, {"$link": {"free": ["a/2"]}}, {"free": ["a/1", "a/2"]}),
        ({"free": ["a/1"]}, {"$link": {"free": "a/2"}}, {"free": ["a/1", "a/2"]}),
    ],
)
def test_links(document: dict[str, Any], update: dict[str, Any], wanted: Any) -> None:
    assert apply_update(parse_update(update, POST), document, now=NOW) == wanted


@pytest.mark.parametrize(
    ("update", "why"),
    [
        ({"$link": {"author": "tags/1"}}, 'begin with "users/"'),
        ({"$link": {"author": ["1", "2"]}}, "the relation is to one document, 2 are given"),
        ({"$link": {"author": []}}, "the relation is to one document, 0 are given"),
        ({"$link": {"comments": "comments/1"}}, "$link Comment.post instead"),
        ({"$unlink": {"title": "x"}}, "the schema declares no relation there"),
    ],
)
def test_links_that_are_refused(update: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_update(update, POST)
    assert why in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab01"), inner),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("abcd"), JSON)
PATHS = st.lists(st.sampled_from("abcd012"), min_size=1, max_size=3).map(".".join)


@given(DOCUMENTS, st.sampled_from(OPERATORS), PATHS, JSON, PATHS)
def test_updates_change_a_copy_or_are_refused(
    document: dict[str, Any], operator: str, path: str, operand: Any, target: str
) -> None:
    spec = {operator: {path: target if operator == "$rename" else operand}}
    try:
        found = apply(spec, document)
    except InvalidInputError:
        return
    for name in document.keys() - {path.partition(".")[0], target.partition(".")[0]}:
        assert found[name] is document[name]
