from __future__ import annotations

import pytest

from parquedb.documents.kinds import (
    Always,
    Choice,
    FieldRule,
    Indexed,
    Limited,
    ListOf,
    Record,
    Relation,
    Scalar,
    Text,
)
from parquedb.documents.schema import parse_schema, parse_schemas
from parquedb.errors import InvalidInputError
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    StringType,
    StructType,
    TimestampType,
)


def listed(type_: object) -> ListType:
    return ListType(Field(0, "element", type_))  # type: ignore[arg-type]


def test_a_schema_of_every_option() -> None:
    rules = parse_schema(
        "Users",
        {
            "$id": "email",
            "$name": "nick",
            "$type": "schema:Person",
            "$ns": "people",
            "$strict": True,
            "$description": "Who may log in",
            "$options": {"kept": 1},
            "$indexes": [{"fields": ["nick"], "unique": True}, {"fields": [{"field": "age"}]}],
            "$shred": ["age"],
            "email": "email!",
            "nick": "string",
            "age": "int",
        },
    )
    assert (rules.type, rules.namespace) == ("schema:Person", "people")
    assert (rules.id_field, rules.name_field, rules.strict) == ("email", "nick", True)
    assert (rules.description, rules.options) == ("Who may log in", {"kept": 1})
    assert rules.indexed_paths() == ("nick", "age")
    assert rules.indexed_paths(unique_only=True) == ("nick",)


@pytest.mark.parametrize("name", ["User", "Users", "users"])
def test_the_name_gives_type_and_namespace(name: str) -> None:
    rules = parse_schema(name, None)
    assert (rules.type, rules.namespace, rules.fields) == ("User", "users", ())


def test_the_type_keeps_its_case() -> None:
    rules = parse_schema("APIKeys", {})
    assert (rules.type, rules.namespace) == ("APIKey", "api_keys")


def test_column_types() -> None:
    rules = parse_schema(
        "Thing",
        {
            "name": "string!",
            "a": "string",
            "b": "email",
            "c": "enum(x,y)",
            "d": "-> User",
            "e": "-> User[]",
            "f": "<- Post.author[]",
            "g": "int",
            "h": "float",
            "i": "bool",
            "j": "bytes",
            "k": "datetime",
            "l": "date",
            "m": "decimal(10,2)",
            "n": "vector(3)",
            "o": "json",
            "p": "uuid",
            "q": "decimal",
            "r": "string[]",
            "s": "json[]",
            "t": {"u": "int", "v": "uuid", "w": {"x": "string[]"}},
            "y": {"z": "json"},
            "aa": [{"sku": "string!", "count": "int"}],
            "bb": "varchar(3)",
        },
    )
    assert rules.column_types() == {
        "a": StringType(),
        "b": StringType(),
        "c": StringType(),
        "d": StringType(),
        "e": listed(StringType()),
        "g": IntType(64),
        "h": FloatType(64),
        "i": BooleanType(),
        "j": BinaryType(),
        "k": TimestampType("us", utc=True),
        "l": DateType(),
        "m": DecimalType(10, 2),
        "n": listed(FloatType(64)),
        "r": listed(StringType()),
        "t": StructType(
            (
                Field(0, "u", IntType(64)),
                Field(0, "w", StructType((Field(0, "x", listed(StringType())),))),
            )
        ),
        "aa": listed(StructType((Field(0, "sku", StringType()), Field(0, "count", IntType(64))))),
        "bb": StringType(),
    }


def test_an_enum_of_ints_is_a_column_of_ints() -> None:
    rules = parse_schema(
        "T", {"a": {"type": "int", "enum": [1, 2]}, "b": {"type": "json", "enum": [1, "x"]}}
    )
    assert rules.column_types() == {"a": IntType(64)}


def test_sub_documents_and_their_paths() -> None:
    rules = parse_schema(
        "User", {"address": {"city": "string!##", "$required": True}, "l": [{"sku": "string#"}]}
    )
    address = rules.find("address")
    assert address == FieldRule(
        "address",
        Record((FieldRule("city", Text(), required=True, indexed=Indexed.UNIQUE),)),
        required=True,
    )
    assert rules.indexed_paths() == ("address.city", "l.sku")
    assert rules.indexed_paths(unique_only=True) == ("address.city",)


def test_strictness_goes_down() -> None:
    rules = parse_schema("U", {"$strict": True, "a": {"b": "int"}, "c": {"$strict": False}})
    assert [rule.kind.strict for rule in rules.fields if isinstance(rule.kind, Record)] == [
        True,
        False,
    ]


def test_the_long_form() -> None:
    rules = parse_schema(
        "User",
        {
            "age": {"type": "int", "required": True, "min": 0, "max": 150, "default": 1},
            "email": {"type": "email!", "index": "unique", "description": "where to write"},
            "code": {"type": "string", "pattern": "^[A-Z]+$", "minLength": 2, "index": True},
            "size": {"type": "string", "enum": ["S", "M"], "nullable": True},
        },
    )
    assert rules.fields == (
        FieldRule(
            "age", Limited(Scalar.INT, at_least=0, at_most=150), required=True, default=Always(1)
        ),
        FieldRule(
            "email",
            Text("email"),
            required=True,
            indexed=Indexed.UNIQUE,
            description="where to write",
        ),
        FieldRule("code", Limited(Text(), min_length=2, pattern="^[A-Z]+$"), indexed=Indexed.YES),
        FieldRule("size", Choice(("S", "M")), nullable=True),
    )


def test_a_sub_document_with_a_field_called_type() -> None:
    rules = parse_schema("Event", {"source": {"type": "string", "host": "string"}})
    assert rules.fields[0].kind == Record((FieldRule("type", Text()), FieldRule("host", Text())))


def test_python_types_as_fields() -> None:
    rules = parse_schema("T", {"a": int, "b": list[str], "c": str | None, "d": [int]})
    assert [(rule.kind, rule.nullable) for rule in rules.fields] == [
        (Scalar.INT, False),
        (ListOf(Text()), False),
        (Text(), True),
        (ListOf(Scalar.INT), False),
    ]


def test_no_unique_field_inside_a_list() -> None:
    for parts in ([{"sku": "string##"}], {"inner": [{"deep": {"sku": "string##"}}]}):
        with pytest.raises(InvalidInputError, match=r"T\.parts.*sku: a field inside a list"):
            parse_schema("T", {"parts": parts})
    parse_schema("T", {"tags": "string[]##", "one": {"sku": "string##"}, "many": [{"a": "int#"}]})


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_schema(
            "User",
            {
                "$nmae": "x",
                "$id": "emial",
                "$indexes": [{"fields": ["a", "b"]}],
                "email": "email!",
                "a": "strin",
                "b": 5,
                "c": {"d": "int = x", "$strickt": True},
                "createdAt": "datetime",
                "Version": "int",
                "EMAIL": "string",
                "e.f": "int",
                "name": "int",
                "g": "string = null",
                "h": {"type": "int", "min": "x"},
                "i": {"type": "string", "pattern": "("},
                "j": {"type": "int", "index": "fts"},
                "": "int",
                7: "int",
            },
        )
    message = str(caught.value)
    for part in (
        "18 problems",
        "User.$nmae: unknown option; did you mean '$name'?",
        "User.$id: 'emial' is no declared field; did you mean 'email'?",
        "User.$indexes: {'fields': ['a', 'b']}: an index is on one declared field",
        "User.a: unknown type 'strin'",
        "User.b: 5 is no type",
        "User.c.d: the default 'x' is a string, not an int",
        "User.c.$strickt: unknown option; did you mean '$strict'?",
        "User.createdAt: this is a field that the database sets",
        "User.Version: this differs only by case from 'version'",
        "User.EMAIL: it differs from 'email' only by case",
        "User.e.f: a declared name",
        "User.name: a document's name is a string",
        "User.g: the default is null",
        "User.h: the default 'x' is a string, not an int",
        "User.i: ",
        "User.j: there are no full-text",
        "User.: a declared name is not empty",
        "User.7: a field's name is a string",
    ):
        assert part in message


@pytest.mark.parametrize("spec", ["string", 5, ["string"], int])
def test_a_schema_is_a_mapping_or_a_model(spec: object) -> None:
    with pytest.raises(InvalidInputError, match=r"User: a schema is a mapping"):
        parse_schema("User", spec)  # type: ignore[arg-type]


def test_schemas_of_a_database() -> None:
    found = parse_schemas(
        {
            "User": {"$ns": "people", "name": "string!", "posts": "<- Post.author[]"},
            "Post": {"title": "string!", "author": "-> User.posts", "seen": [{"by": "-> User"}]},
            "Tag": {},
        }
    )
    assert list(found) == ["people", "posts", "tags"]
    assert found["posts"].relations() == {"author": Relation("User", "people", reverse="posts")}
    assert found["people"].reverses()["posts"].namespace == "posts"
    assert found["posts"].find("seen") == FieldRule(
        "seen", ListOf(Record((FieldRule("by", Relation("User", "people")),)))
    )


def test_reverse_relations_lead_to_relations() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_schemas(
            {
                "User": {
                    "a": "<- Post.auhtor[]",
                    "b": "<- Post.title[]",
                    "c": "<- Post.tag[]",
                    "d": "<- Elsewhere.x[]",
                },
                "Post": {"title": "string", "author": "-> User", "tag": "-> Tag"},
            }
        )
    message = str(caught.value)
    assert "3 problems" in message
    assert "User.a: Post.auhtor does not exist; did you mean 'author'?" in message
    assert "User.b: Post.title is no relation; declare it '-> User'" in message
    assert "User.c: Post.tag leads to Tag, not to User" in message


def test_one_namespace_one_schema() -> None:
    with pytest.raises(InvalidInputError, match=r"Users: User is in the namespace 'users' already"):
        parse_schemas({"User": {}, "Users": {}})
    with pytest.raises(InvalidInputError, match="maps types"):
        parse_schemas("User")  # type: ignore[arg-type]
