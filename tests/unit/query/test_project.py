from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import InvalidInputError
from parquedb.query.parse import parse_projection
from parquedb.query.project import EVERYTHING, compile_projection, project
from tests.support.documents import documents

USER = {
    "$id": "users/1",
    "$type": "User",
    "name": "Ann",
    "address": {"city": "Rome", "zip": "1", "geo": {"x": 1, "y": 2}},
    "tags": ["a", "b", "c"],
    "posts": [{"t": "p", "n": 1}, 5, {"n": 2}, [{"t": "q", "n": 3}, 6]],
}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in USER.items() if name not in names}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, USER),
        ({}, USER),
        ([], {"$id": "users/1"}),
        ({"$id": 1}, {"$id": "users/1"}),
        ({"$id": 0}, without("$id")),
        (["name"], {"$id": "users/1", "name": "Ann"}),
        (("name", "$id", "nothing"), {"$id": "users/1", "name": "Ann"}),
        ({"name": 1, "$type": True}, {"$id": "users/1", "$type": "User", "name": "Ann"}),
        ({"name": 1, "$id": 0}, {"name": "Ann"}),
        ({"name": 0, "tags": False}, without("name", "tags")),
        ({"name": 0, "$id": 1}, without("name")),
        ({"name": 0, "$id": 0}, without("name", "$id")),
        (
            ["address.city", "address.geo.y"],
            {"$id": "users/1", "address": {"city": "Rome", "geo": {"y": 2}}},
        ),
        ({"address": {"city": 1}, "$id": 0}, {"address": {"city": "Rome"}}),
        (
            {"address.zip": 0, "address.geo": {"x": 0}},
            {**USER, "address": {"city": "Rome", "geo": {"y": 2}}},
        ),
        ({"address.nothing": 1, "$id": 0}, {"address": {}}),
        ({"name.first": 1, "$id": 0}, {}),
        ({"name.first": 0}, USER),
        ({"posts.t": 1, "$id": 0}, {"posts": [{"t": "p"}, {}, [{"t": "q"}]]}),
        ({"posts.t": 0}, {**USER, "posts": [{"n": 1}, 5, {"n": 2}, [{"n": 3}, 6]]}),
        ({"tags": {"$slice": 2}}, {**USER, "tags": ["a", "b"]}),
        ({"tags": {"$slice": 0}}, {**USER, "tags": []}),
        ({"tags": {"$slice": -2}}, {**USER, "tags": ["b", "c"]}),
        ({"tags": {"$slice": -9}}, USER),
        ({"tags": {"$slice": [1, 1]}}, {**USER, "tags": ["b"]}),
        ({"tags": {"$slice": [-2, 1]}}, {**USER, "tags": ["b"]}),
        ({"tags": {"$slice": (-9, 1)}}, {**USER, "tags": ["a"]}),
        ({"tags": {"$slice": [9, 1]}}, {**USER, "tags": []}),
        ({"name": {"$slice": 1}}, USER),
        ({"tags": {"$slice": 1}, "name": 1, "$id": 0}, {"name": "Ann", "tags": ["a"]}),
        ({"tags": {"$slice": 1}, "posts": 0}, {**without("posts"), "tags": ["a"]}),
        ({"posts.t": {"$slice": 1}}, USER),
        (
            {"posts": {"$elemMatch": {"n": {"$gt": 1}}}},
            {"$id": "users/1", "posts": [{"n": 2}]},
        ),
        ({"tags": {"$elemMatch": {"$gt": "a"}}, "$id": 0}, {"tags": ["b"]}),
        ({"tags": {"$elemMatch": {"$gt": "x"}}, "$id": 0}, {}),
        ({"name": {"$elemMatch": {"$gt": "x"}}}, {"$id": "users/1"}),
    ],
    ids=str,
)
def test_projection(spec: Any, expected: dict[str, Any]) -> None:
    before = copy.deepcopy(USER)
    kept = project(parse_projection(spec), USER)
    assert kept == expected
    assert list(kept) == [name for name in USER if name in kept]
    assert before == USER
    assert kept is not USER


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("name", "needs a list of names or a mapping, not str 'name'"),
        (5, "needs a list of names or a mapping, not int '5'"),
        ([1], "names of fields must be strings, not int '1'"),
        ({"": 1}, "names of fields must be strings"),
        ({"a": "x"}, "projection: a: must be 1, 0, $slice or $elemMatch, not str 'x'"),
        ({"a": {}}, "must be 1, 0"),
        ({"a": 1, "b": 0}, "projection: b: fields to return and fields to leave out are mixed"),
        ({"a": 1, "a.b": 1}, "projection: a.b: the field is named both as a whole and in part"),
        ({"a.b": 1, "a": 1}, "named twice, or both as a whole and in part"),
        ({"a": {"b": 1, "b.c": 1}}, "projection: a.b.c: the field is named both"),
        ({"a.b": 1, "a": {"b": 1}}, "named twice"),
        ({"a": {"$slcie": 1}}, "unknown operator '$slcie'; did you mean '$slice'?"),
        ({"a": {"$slice": 1, "$elemMatch": {}}}, "only one operator can stand here"),
        ({"a": {"$slice": "1"}}, "$slice needs a number or [skip, number]"),
        ({"a": {"$slice": True}}, "$slice needs a number or [skip, number]"),
        ({"a": {"$slice": [1]}}, "with a number above 0"),
        ({"a": {"$slice": [1, 0]}}, "with a number above 0"),
        ({"a.b": {"$elemMatch": {"c": 1}}}, "$elemMatch can only be used for a top-level field"),
        ({"a": {"$elemMatch": {"$x": 1}}}, "projection: a.$elemMatch.$x: unknown operator"),
        ({"$x": 1}, "projection: $x: is no field"),
        ({".".join("a" * 101): 1}, "a path has at most 100 parts"),
    ],
    ids=str,
)
def test_refuse(spec: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_projection(spec)
    assert message in str(error.value)


def test_columns() -> None:
    assert EVERYTHING.columns is None
    assert parse_projection({"a": 0}).columns is None
    assert parse_projection({"$id": 0}).columns is None
    assert parse_projection(["a.b", "c"]).columns == {"$id", "a", "c"}
    assert parse_projection({"a": 1, "$id": 0}).columns == {"a"}
    assert parse_projection({"a": {"$elemMatch": {"b": 1}}}).columns == {"$id", "a"}


@given(documents(), st.sampled_from(["a", "a.b", "a.b.c", "b.0"]))
def test_what_is_kept_and_what_is_left_out_make_up_the_document(
    document: dict[str, Any], path: str
) -> None:
    kept = compile_projection(parse_projection({path: 1}))(document)
    left = compile_projection(parse_projection({path: 0}))(document)
    assert compile_projection(parse_projection({path: 0}))(left) == left
    assert compile_projection(parse_projection({path: 1}))(kept) == kept
    if "." not in path:
        assert {**kept, **left} == document
