"""The reference evaluator, by the examples of MongoDB's manual and of its server's own tests."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.query.compare import MISSING
from parquedb.query.filter import (
    EVERYTHING,
    And,
    At,
    Compares,
    ContainsAll,
    ElementPasses,
    Equals,
    Exists,
    HasSize,
    HasType,
    In,
    Not,
    Or,
    Passes,
    Test,
)
from parquedb.query.match import alias_of, compile_match, compile_test, matches
from parquedb.query.parse import Bound, parse_filter
from tests.support.documents import NAMES, documents, values
from tests.support.reach import reached

Document = dict[str, Any]

CASES: list[tuple[Document, list[Document], list[Document]]] = [
    ({}, [{}, {"a": 1}], []),
    # Equality.
    ({"a": 1}, [{"a": 1}, {"a": 1.0}, {"a": Decimal(1)}, {"a": [2, 1]}], [{"a": True}, {"a": "1"}]),
    ({"a": 0}, [{"a": 0}, {"a": [-0.0]}], [{"a": False}, {"a": [False]}, {"a": None}, {}]),
    ({"a": 5}, [{"a": [1, 5.0]}], [{"a": [[5]]}, {"a": {"b": 5}}, {}]),
    ({"a": True}, [{"a": True}, {"a": [True]}], [{"a": 1}, {"a": [1]}]),
    ({"a": "x"}, [{"a": "x"}, {"a": ["x"]}], [{"a": "X"}, {"a": ["y", "xx"]}, {"a": b"x"}]),
    ({"a": b"x"}, [{"a": b"x"}, {"a": [b"x"]}], [{"a": "x"}]),
    ({"a": uuid.UUID(int=0)}, [{"a": uuid.UUID(int=0)}], [{"a": bytes(16)}]),
    (
        {"a": date(2020, 1, 1)},
        [{"a": datetime(2020, 1, 1)}, {"a": datetime(2020, 1, 1, tzinfo=UTC)}],
        [{"a": date(2020, 1, 2)}, {"a": "2020-01-01"}],
    ),
    # Null is missing too, in documents and in elements of lists that are documents.
    ({"a": None}, [{}, {"a": None}, {"a": [None]}], [{"a": 0}, {"a": []}, {"a": False}]),
    (
        {"a.b": None},
        [{}, {"a": {}}, {"a": [{}]}, {"a": {"b": None}}, {"a": 5}, {"b": 4}, {"a": [1, {}]}],
        [{"a": []}, {"a": [None]}, {"a": [1, 2]}, {"a": {"b": 4}}, {"a": {"b": {}}}],
    ),
    ({"a": {"$ne": None}}, [{"a": 0}, {"a": []}], [{}, {"a": None}, {"a": [1, None]}]),
    # Lists and documents as a whole.
    ({"a": [1, 2]}, [{"a": [1, 2.0]}, {"a": [[1, 2], 3]}], [{"a": [2, 1]}, {"a": [1, 2, 3]}]),
    ({"a": []}, [{"a": []}, {"a": [[]]}], [{}, {"a": [1]}, {"a": {}}]),
    ({"a": {}}, [{"a": {}}, {"a": [{}]}], [{}, {"a": {"b": 1}}, {"a": []}]),
    (
        {"a": {"b": 1}},
        [{"a": {"b": 1}}, {"a": [{"b": 1.0}]}],
        [{"a": {"b": 1, "c": 2}}, {"a": {"b": True}}],
    ),
    ({"a": {"b": 1, "c": 2}}, [{"a": {"c": 2, "b": 1}}], [{"a": {"b": 1}}]),
    ({"a": {"$eq": {"$x": 1}}}, [{"a": {"$x": 1}}], [{"a": 1}]),
    # Paths through lists.
    (
        {"a.b": 1},
        [{"a": {"b": 1}}, {"a": [{"b": 2}, {"b": 1}]}, {"a": [{"b": [0, 1]}]}],
        [{"a": 1}],
    ),
    ({"a.b": 1}, [{"a": {"b": [1]}}], [{"a": [[{"b": 1}]]}, {"a": {"b": {"c": 1}}}]),
    ({"a.0": 1}, [{"a": [1, 2]}, {"a": {"0": 1}}, {"a": [{"0": 1}]}], [{"a": [2, 1]}, {"a": 1}]),
    ({"a.0": 1}, [], [{"a": [[1]]}, {"a": []}]),
    ({"a.0": [1]}, [{"a": [[1]]}], [{"a": [1]}]),
    ({"a.1": {"$gt": 3}}, [{"a": [5, {"1": 4}]}], [{"a": [5, 3]}]),
    ({"a.0.b": 1}, [{"a": [{"b": 1}]}, {"a": [{"0": {"b": 1}}]}], [{"a": [{}, {"b": 1}]}]),
    ({"a.0.b": 1}, [{"a": [[{"b": 1}]]}], [{"a": [5]}]),
    ({"a.0.1": 2}, [{"a": [[1, 2]]}], [{"a": [1, 2]}]),
    ({"a.0.b": None}, [{"a": [{"b": 1}]}], [{"a": [5]}, {"a": [[{"b": 1}]]}]),
    ({"a.00": 1}, [{"a": {"00": 1}}], [{"a": [1]}]),
    ({"a.²": 1}, [{"a": {"²": 1}}], [{"a": [1, 1, 1]}]),
    ({"a..b": 1}, [{"a": {"": {"b": 1}}}], [{"a": {"b": 1}}]),
    ({"$id": "u/1", "$type": "U"}, [{"$id": "u/1", "$type": "U"}], [{"$id": "u/1"}]),
    # Order, within a bracket.
    ({"a": {"$gt": 1}}, [{"a": 1.5}, {"a": [0, 2]}], [{"a": 1}, {"a": "2"}, {"a": True}, {}]),
    ({"a": {"$gt": 1.5}}, [{"a": Decimal("1.6")}, {"a": float("inf")}], [{"a": float("nan")}]),
    ({"a": {"$lte": Decimal("1.5")}}, [{"a": 1.5}, {"a": 0}], [{"a": 2}, {"a": float("nan")}]),
    ({"a": {"$gt": "a"}}, [{"a": "b"}, {"a": "aa"}], [{"a": 5}, {"a": "A"}, {"a": ["A"]}]),
    ({"a": {"$gte": False}}, [{"a": True}, {"a": False}], [{"a": 1}, {"a": None}, {}]),
    ({"a": {"$gte": None}}, [{"a": None}, {}], [{"a": 1}, {"a": False}]),
    ({"a": {"$lte": None}}, [{"a": None}, {}], [{"a": 1}]),
    ({"a": {"$gt": None}}, [], [{"a": None}, {}, {"a": 1}]),
    ({"a": {"$gt": [1, 2]}}, [{"a": [1, 3]}, {"a": [2]}, {"a": [[9]]}], [{"a": 5}, {"a": [1, 2]}]),
    ({"a": {"$lt": [1]}}, [{"a": []}, {"a": [0, 9]}], [{"a": [1]}, {"a": [2]}, {"a": 0}]),
    ({"a": {"$lt": {"b": 2}}}, [{"a": {"b": 1}}, {"a": {}}], [{"a": {"b": 2}}, {"a": [1]}]),
    ({"a": {"$lt": b"bb"}}, [{"a": b"c"}, {"a": b"ba"}], [{"a": b"bb"}, {"a": "a"}, {"a": [[]]}]),
    (
        {"a": {"$gt": datetime(2020, 1, 1, tzinfo=UTC)}},
        [{"a": date(2020, 1, 2)}, {"a": datetime(2020, 1, 1, 1)}],
        [{"a": date(2020, 1, 1)}, {"a": "2021-01-01"}],
    ),
    ({"a": {"$gt": 1, "$lt": 3}}, [{"a": 2}, {"a": [0, 4]}], [{"a": [0, 1]}, {"a": 3}]),
    # In, negations.
    ({"a": {"$in": [1, "x"]}}, [{"a": 1.0}, {"a": ["x"]}], [{"a": True}, {"a": "X"}, {}]),
    ({"a": {"$in": [None]}}, [{}, {"a": None}, {"a": [None]}], [{"a": []}, {"a": 0}]),
    ({"a": {"$in": []}}, [], [{}, {"a": 1}]),
    ({"a": {"$in": [[1], {"b": 1}]}}, [{"a": [1]}, {"a": {"b": 1}}], [{"a": 1}, {"a": {}}]),
    ({"a": {"$in": [re.compile("^x"), 1]}}, [{"a": "xy"}, {"a": [1]}], [{"a": "yx"}]),
    ({"a": {"$ne": 1}}, [{}, {"a": 2}, {"a": [2]}], [{"a": 1}, {"a": [2, 1]}]),
    ({"a": {"$nin": [1, 2]}}, [{}, {"a": 3}], [{"a": 1}, {"a": [3, 2]}]),
    ({"a": {"$not": {"$gt": 1}}}, [{}, {"a": 1}, {"a": "x"}], [{"a": 2}, {"a": [0, 2]}]),
    ({"a": {"$not": {"$gt": 1, "$lt": 3}}}, [{"a": 3}, {}], [{"a": 2}, {"a": [0, 4]}]),
    ({"a": {"$not": {"$not": {"$gt": 1}}}}, [{"a": 2}], [{"a": 1}, {}]),
    ({"a": {"$not": re.compile("x")}}, [{"a": "y"}, {}, {"a": 1}], [{"a": "xx"}]),
    ({"a": {"$not": {"$ne": 1}}}, [{"a": 1}], [{"a": 2}]),
    # Logic.
    ({"a": 1, "b": 2}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}]),
    ({"a": 1, "b": 2, "c": 3}, [{"a": 1, "b": 2, "c": 3}], [{"a": 1, "b": 2}]),
    ({"$or": [{"a": 1}, {"b": 2}]}, [{"a": 1}, {"b": 2}], [{"a": 2}]),
    ({"$or": [{"a": 1}, {"b": 2}, {"c": 3}]}, [{"c": 3}], [{}]),
    ({"$or": [{"a": 1}]}, [{"a": 1}], [{}]),
    ({"$and": [{"a": {"$gt": 1}}, {"a": {"$lt": 3}}]}, [{"a": 2}], [{"a": 3}]),
    ({"$nor": [{"a": 1}, {"b": 2}]}, [{}, {"a": 2}], [{"a": 1}, {"b": 2}]),
    ({"$or": [{}, {"a": 1}]}, [{}], []),
    ({"$comment": "why", "a": 1}, [{"a": 1}], [{}]),
    ({"$expr": {"$gt": ["$a", "$b"]}}, [{"a": 2, "b": 1}, {"a": 1}], [{"a": 1, "b": 2}, {}]),
    ({"a": 1, "$expr": "$b"}, [{"a": 1, "b": "x"}], [{"a": 1, "b": 0}, {"a": 1}]),
    ({"$nor": [{"$expr": False}]}, [{}], []),
    # Element operators.
    ({"a": {"$exists": True}}, [{"a": None}, {"a": []}], [{}]),
    ({"a": {"$exists": False}}, [{}], [{"a": None}]),
    ({"a.b": {"$exists": 1}}, [{"a": [{}, {"b": None}]}], [{"a": []}, {"a": [{}]}, {"a": 1}]),
    ({"a.0": {"$exists": True}}, [{"a": [1]}, {"a": [{}]}], [{"a": []}, {"a": {}}]),
    ({"a": {"$type": "string"}}, [{"a": "x"}, {"a": [1, "x"]}], [{"a": 1}, {}]),
    ({"a": {"$type": "array"}}, [{"a": []}, {"a": [[]]}], [{"a": 1}, {}]),
    ({"a": {"$type": "number"}}, [{"a": 1}, {"a": 0.5}, {"a": Decimal(1)}], [{"a": True}]),
    ({"a": {"$type": 16}}, [{"a": 2**31 - 1}, {"a": -(2**31)}], [{"a": 2**31}, {"a": 1.0}]),
    ({"a": {"$type": ["long", 8]}}, [{"a": 2**31}, {"a": True}], [{"a": 1}]),
    ({"a": {"$type": "null"}}, [{"a": None}, {"a": [None]}], [{}]),
    ({"a": {"$type": "date"}}, [{"a": date(2020, 1, 1)}, {"a": datetime(2020, 1, 1)}], [{"a": 1}]),
    ({"a": {"$type": "binData"}}, [{"a": b""}, {"a": uuid.UUID(int=1)}], [{"a": ""}]),
    ({"a": {"$type": "object"}}, [{"a": {}}, {"a": [{}]}], [{"a": []}]),
    ({"a": {"$type": "objectId"}}, [], [{"a": "5f0000000000000000000000"}]),
    # Arrays.
    ({"a": {"$all": [1, 2]}}, [{"a": [2, 1, 3]}, {"a": [[1], 1, 2]}], [{"a": [1]}, {"a": 1}]),
    ({"a": {"$all": [1]}}, [{"a": 1}, {"a": [1]}], [{}]),
    ({"a": {"$all": [[1, 2]]}}, [{"a": [1, 2]}, {"a": [[1, 2]]}], [{"a": [2, 1]}]),
    ({"a": {"$all": []}}, [], [{}, {"a": []}]),
    ({"a": {"$all": [re.compile("^x"), "y"]}}, [{"a": ["xz", "y"]}], [{"a": ["y"]}]),
    ({"a": {"$all": [None]}}, [{}, {"a": None}], [{"a": 1}]),
    (
        {"a": {"$all": [{"$elemMatch": {"b": 1}}, {"$elemMatch": {"$gt": 5}}]}},
        [{"a": [{"b": 1}, 6]}],
        [{"a": [{"b": 1}]}, {"a": [6]}],
    ),
    ({"a": {"$size": 2}}, [{"a": [1, 2]}], [{"a": [1]}, {"a": {"b": 1, "c": 2}}, {"a": [[1, 2]]}]),
    ({"a": {"$size": 0}}, [{"a": []}], [{}, {"a": None}]),
    ({"a.b": {"$size": 1}}, [{"a": [{"b": []}, {"b": [1]}]}], [{"a": [{"b": []}]}]),
    ({"a.0": {"$size": 1}}, [{"a": [[1]]}], [{"a": [1]}]),
    (
        {"a": {"$elemMatch": {"b": 1, "c": {"$gt": 2}}}},
        [{"a": [{}, {"b": 1, "c": 3}]}],
        [{"a": [{"b": 1}, {"c": 3}]}, {"a": {"b": 1, "c": 3}}, {"a": [1]}],
    ),
    ({"a": {"$elemMatch": {}}}, [{"a": [{}]}, {"a": [[]]}], [{"a": [1]}, {"a": []}]),
    ({"a": {"$elemMatch": {"0": 1}}}, [{"a": [[1]]}, {"a": [{"0": 1}]}], [{"a": [1]}]),
    ({"a": {"$elemMatch": {"b": None}}}, [{"a": [[1]]}, {"a": [{}]}], [{"a": [None]}]),
    ({"a": {"$elemMatch": {"$id": "u/1"}}}, [{"a": [{"$id": "u/1"}]}], [{"a": ["u/1"]}]),
    (
        {"a": {"$elemMatch": {"$or": [{"b": 1}, {"b": 2}]}}},
        [{"a": [{"b": 2}]}],
        [{"a": [{"b": 3}]}],
    ),
    ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, [{"a": [0, 2]}], [{"a": [0, 4]}, {"a": 2}]),
    ({"a": {"$elemMatch": {"$ne": 1}}}, [{"a": [1, 2]}], [{"a": [1]}, {"a": []}]),
    ({"a": {"$elemMatch": {"$nin": [1, 2]}}}, [{"a": [1, 3]}], [{"a": [1, 2]}]),
    ({"a": {"$elemMatch": {"$exists": True}}}, [{"a": [None]}], [{"a": []}]),
    ({"a": {"$elemMatch": {"$exists": False}}}, [], [{"a": [None]}, {"a": []}, {}]),
    ({"a": {"$elemMatch": {"$in": [[1]]}}}, [{"a": [[1]]}], [{"a": [1]}, {"a": [[[1]]]}]),
    ({"a": {"$elemMatch": {"$elemMatch": {"$gt": 1}}}}, [{"a": [[2]]}], [{"a": [2]}]),
    ({"a": {"$elemMatch": {"$size": 1}}}, [{"a": [[2]]}], [{"a": [2]}]),
    ({"a": {"$elemMatch": {"$all": [1]}}}, [{"a": [1]}], [{"a": [[1]]}]),
    ({"a": {"$elemMatch": {"$type": "int"}}}, [{"a": [1]}], [{"a": [1.5]}]),
    ({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}, [{"a": [2, "x"]}], [{"a": [2]}]),
    (
        {"a": {"$elemMatch": {"$not": {"$gt": 1, "$lt": 3}}}},
        [{"a": [2, 3]}],
        [{"a": [2]}, {"a": []}],
    ),
    ({"a": {"$elemMatch": {"$regex": "^x"}}}, [{"a": ["y", "xy"]}], [{"a": "xy"}]),
    ({"a": {"$not": {"$elemMatch": {"$gt": 1}}}}, [{}, {"a": 5}, {"a": [1]}], [{"a": [2]}]),
    # Texts and numbers.
    ({"a": {"$regex": "b.d"}}, [{"a": "abcd"}, {"a": ["bad"]}], [{"a": "b\nd"}, {"a": 1}, {}]),
    ({"a": {"$regex": "^B", "$options": "im"}}, [{"a": "a\nbc"}], [{"a": "ab"}]),
    ({"a": re.compile("b c", re.VERBOSE | re.IGNORECASE)}, [{"a": "xBC"}], [{"a": "b c"}]),
    ({"a": {"$startsWith": "x"}}, [{"a": "xy"}, {"a": ["y", "x"]}], [{"a": "yx"}, {"a": 1}, {}]),
    ({"a": {"$endsWith": "x."}}, [{"a": "yx."}], [{"a": "yxx"}]),
    ({"a": {"$contains": "%"}}, [{"a": "5 %"}, {"a": ["%"]}], [{"a": "5"}, {"a": None}]),
    ({"a": {"$mod": [4, 0]}}, [{"a": 8}, {"a": 8.9}, {"a": [1, 4]}, {"a": 0}], [{"a": 9}, {}]),
    ({"a": {"$mod": [4, -3]}}, [{"a": -7}, {"a": Decimal("-7.5")}], [{"a": 7}, {"a": 1}]),
    ({"a": {"$mod": [7, 2]}}, [{"a": Decimal("1E+20")}, {"a": Decimal("2E+60000000")}], []),
    ({"a": {"$mod": [-4, 3]}}, [{"a": 7}], [{"a": -7}]),
    (
        {"a": {"$mod": [1, 0]}},
        [{"a": 2**70}],
        [{"a": True}, {"a": float("inf")}, {"a": float("nan")}, {"a": "4"}],
    ),
]


@pytest.mark.parametrize(("spec", "matching", "other"), CASES, ids=lambda case: str(case)[:60])
def test_documented_examples(
    spec: Document, matching: list[Document], other: list[Document]
) -> None:
    match = compile_match(parse_filter(spec))
    assert [document for document in matching if not match(document)] == []
    assert [document for document in other if match(document)] == []


def test_predicates_return_bool() -> None:
    for spec, matching, other in CASES:
        match = compile_match(parse_filter(spec))
        assert {match(document) for document in matching} <= {True}
        assert {match(document) for document in other} <= {False}


def test_trees_without_a_syntax() -> None:
    assert matches(EVERYTHING, {})
    assert not matches(Or(()), {})
    assert not matches(Not(And(())), {})
    assert matches(At(("a",), ElementPasses(((Passes(()), False),))), {"a": [1]})
    assert not compile_test(ContainsAll(()))(1)
    assert compile_test(ContainsAll((Equals(1),)))(1)


@pytest.mark.parametrize(
    ("value", "alias"),
    [
        (MISSING, "missing"),
        (None, "null"),
        (True, "bool"),
        (1, "int"),
        (2**31, "long"),
        (2**80, "long"),
        (1.0, "double"),
        (Decimal(1), "decimal"),
        ("", "string"),
        ({}, "object"),
        ([], "array"),
        (b"", "binData"),
        (uuid.UUID(int=1), "binData"),
        (date(2020, 1, 1), "date"),
        (datetime(2020, 1, 1), "date"),
        (object(), "undefined"),
    ],
)
def test_aliases(value: object, alias: str) -> None:
    assert alias_of(value) == alias


FANNING = st.one_of(
    st.builds(Equals, values(leaves=3)),
    st.builds(Compares, st.sampled_from(Bound), values(leaves=3)),
    st.builds(In, st.lists(values(leaves=2), max_size=3).map(tuple)),
    st.builds(HasType, st.sampled_from([frozenset({"int", "array"}), frozenset({"null"})])),
)
WHOLE = st.one_of(
    st.just(Exists()),
    st.builds(HasSize, st.integers(0, 2)),
    st.builds(lambda test: ElementPasses(((test, False),)), FANNING),
)


@given(documents(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), FANNING)
def test_paths_reach_elements_and_lists(document: Document, path: list[str], test: Test) -> None:
    single = compile_test(test)
    expected = any(single(value) for value in reached(document, tuple(path), fans=True))
    assert matches(At(tuple(path), test), document) is expected


@given(documents(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), WHOLE)
def test_paths_reach_whole_lists_only(document: Document, path: list[str], test: Test) -> None:
    single = compile_test(test)
    expected = any(single(value) for value in reached(document, tuple(path), fans=False))
    assert matches(At(tuple(path), test), document) is expected
