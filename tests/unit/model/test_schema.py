from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.model.schema import (
    EMPTY,
    Schema,
    assign_ids,
    children,
    ids_by_path,
    map_fields,
    max_id,
    same_shape,
    walk,
)
from parquedb.model.types import (
    BinaryType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
    describe_type,
)

INT, TEXT = IntType(64), StringType()


def struct(*fields: Field) -> StructType:
    return StructType(fields)


PERSON = Schema(
    (
        Field(0, "id", INT, required=True),
        Field(
            0,
            "address",
            struct(Field(0, "city", TEXT), Field(0, "geo", struct(Field(0, "lat", FloatType(64))))),
        ),
        Field(0, "tags", ListType(Field(0, "element", TEXT))),
        Field(0, "m", MapType(Field(0, "key", TEXT, required=True), Field(0, "value", INT))),
    )
)
PATHS = [
    ("id",),
    ("address",),
    ("address", "city"),
    ("address", "geo"),
    ("address", "geo", "lat"),
    ("tags",),
    ("tags", "element"),
    ("m",),
    ("m", "key"),
    ("m", "value"),
]


def test_walk_gives_parents_before_children() -> None:
    assert [path for path, _ in walk(PERSON.fields)] == PATHS


def test_find_and_names() -> None:
    assert PERSON.names == ("id", "address", "tags", "m")
    assert PERSON.find("tags") is PERSON.fields[2]
    assert PERSON.find("city") is None


def test_children_of_primitives() -> None:
    assert children(INT) == ()
    assert [field.name for field in children(PERSON.fields[3].type)] == ["key", "value"]


def test_map_fields_works_bottom_up() -> None:
    seen: list[tuple[str, ...]] = []

    def visit(path: tuple[str, ...], field: Field) -> Field:
        seen.append(path)
        return replace(field, doc=".".join(path))

    changed = map_fields(PERSON.fields, visit)
    assert sorted(seen) == sorted(PATHS)
    assert seen.index(("address", "geo", "lat")) < seen.index(("address", "geo"))
    assert {field.doc for _, field in walk(changed)} == {".".join(path) for path in PATHS}


def test_ids_are_given_level_by_level() -> None:
    schema, last = assign_ids(PERSON, {}, 0)
    ids = ids_by_path(schema)
    assert [ids[(name,)] for name in schema.names] == [1, 2, 3, 4]
    assert ids["address", "city"] == 5
    assert ids["address", "geo", "lat"] == last == 10
    assert max_id(schema) == 10
    assert schema.fields[0].required


def test_known_ids_stay_and_dropped_ones_do_not_come_back() -> None:
    first, last = assign_ids(PERSON, {}, 0)
    without_tags = replace(first, fields=(*first.fields[:2], first.fields[3]))
    more = replace(without_tags, fields=(Field(0, "new", INT), *without_tags.fields))
    known = ids_by_path(without_tags)
    second, last = assign_ids(more, known, last)
    assert {k: v for k, v in ids_by_path(second).items() if k != ("new",)} == known
    assert second.find("new") == Field(11, "new", INT)
    again, last = assign_ids(replace(second, fields=first.fields), ids_by_path(second), last)
    assert ids_by_path(again)["tags",] == 12
    assert last == 13


def test_max_id_of_nothing() -> None:
    assert max_id(EMPTY) == 0


def test_same_shape() -> None:
    numbered, _ = assign_ids(PERSON, {}, 0)
    assert same_shape(PERSON, numbered)
    documented = map_fields(PERSON.fields, lambda _, field: replace(field, doc="x"))
    assert same_shape(PERSON, replace(PERSON, fields=documented))
    for other in (
        PERSON.fields[:3],
        (PERSON.fields[1], PERSON.fields[0], *PERSON.fields[2:]),
        (replace(PERSON.fields[0], required=False), *PERSON.fields[1:]),
        (replace(PERSON.fields[0], type=IntType(32)), *PERSON.fields[1:]),
        (replace(PERSON.fields[0], name="Id"), *PERSON.fields[1:]),
        (
            *PERSON.fields[:2],
            Field(0, "tags", ListType(Field(0, "element", INT))),
            PERSON.fields[3],
        ),
    ):
        assert not same_shape(PERSON, replace(PERSON, fields=other))


primitives: st.SearchStrategy[Type] = st.sampled_from([INT, TEXT, DateType(), DecimalType(9, 2)])
names = st.sampled_from(["a", "b", "c", "d"])


def fields(types: st.SearchStrategy[Type]) -> st.SearchStrategy[tuple[Field, ...]]:
    made = st.builds(Field, st.just(0), names, types, st.booleans())
    return st.lists(made, min_size=1, max_size=4, unique_by=lambda f: f.name).map(tuple)


types = st.recursive(
    primitives,
    lambda inner: st.one_of(
        st.builds(StructType, fields(inner)),
        st.builds(ListType, st.builds(Field, st.just(0), st.just("element"), inner)),
        st.builds(
            MapType,
            st.builds(Field, st.just(0), st.just("key"), inner),
            st.builds(Field, st.just(0), st.just("value"), inner),
        ),
    ),
    max_leaves=8,
)
schemas = st.builds(Schema, fields(types))


@given(schemas, schemas)
def test_ids_are_unique_and_follow_paths(first: Schema, second: Schema) -> None:
    one, last = assign_ids(first, {}, 0)
    assert sorted(ids_by_path(one).values()) == list(range(1, last + 1))
    two, last_two = assign_ids(second, ids_by_path(one), last)
    ids = ids_by_path(two)
    assert len(set(ids.values())) == len(ids)
    for path, number in ids.items():
        assert number == ids_by_path(one).get(path, number)
        assert path in ids_by_path(one) or number > last
    assert last_two == max(last, max_id(two))
    assert same_shape(second, two)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (IntType(8), "int8"),
        (IntType(64, signed=False), "uint64"),
        (FloatType(32), "float32"),
        (DecimalType(10, 2), "decimal(10,2)"),
        (TimeType("ns"), "time(ns)"),
        (TimestampType(), "timestamp(us, UTC)"),
        (TimestampType("ms", utc=False), "timestamp(ms)"),
        (FixedType(16), "fixed(16)"),
        (UuidType(), "uuid"),
        (BinaryType(), "binary"),
        (PERSON.fields[1].type, "struct<city: string, geo: struct<lat: float64>>"),
        (PERSON.fields[2].type, "list<string>"),
        (PERSON.fields[3].type, "map<string, int64>"),
    ],
)
def test_types_as_messages_print_them(type_: Type, text: str) -> None:
    assert describe_type(type_) == text
