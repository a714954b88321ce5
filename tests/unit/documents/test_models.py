from __future__ import annotations

import enum
import typing
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict

import pytest

from parquedb.documents.kinds import (
    Always,
    Choice,
    Decimals,
    FieldRule,
    Indexed,
    Limited,
    ListOf,
    Made,
    Record,
    Relation,
    Scalar,
    Text,
)
from parquedb.documents.schema import parse_schema, parse_schemas
from parquedb.documents.validate import validate
from parquedb.errors import InvalidInputError, ValidationError

pydantic = pytest.importorskip("pydantic")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


UserName = NewType("UserName", str)


@dataclass
class Place:
    city: str
    zip: str | None = None


@dataclass
class Person:
    name: str
    age: int
    nick: UserName
    score: float = 1
    email: Annotated[str, "##"] = "a@example.org"
    active: bool = True
    raw: bytes = b""
    at: datetime = field(default_factory=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    day: date | None = None
    price: Decimal = Decimal("1.5")
    key: uuid.UUID | None = None
    maybe: Optional[int] = None  # noqa: UP045
    tags: list[str] = field(default_factory=list)
    pairs: tuple[int, ...] = ()
    mixed: int | str = 0
    extra: dict[str, Any] = field(default_factory=dict)
    anything: Any = None
    size: Literal["S", "M"] = "S"
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    home: Place = field(default_factory=lambda: Place("Rome"))
    places: list[Place] = field(default_factory=list)
    friend: Annotated[str | None, "-> Person"] = None
    friends: Annotated[list[str], "-> Person[]"] = field(default_factory=list)

    __parquedb__ = {"$id": "nick", "$name": "name"}  # noqa: RUF012


PLACE = Record(
    (
        FieldRule("city", Text(), required=True),
        FieldRule("zip", Text(), nullable=True, default=Always(None)),
    )
)


def test_a_dataclass() -> None:
    rules = parse_schema("Person", Person)
    found = {rule.name: rule for rule in rules.fields}
    assert (rules.type, rules.namespace, rules.id_field, rules.name_field) == (
        "Person",
        "people",
        "nick",
        "name",
    )
    kinds = {name: rule.kind for name, rule in found.items()}
    assert kinds == {
        "name": Text(),
        "age": Scalar.INT,
        "nick": Text(),
        "score": Scalar.FLOAT,
        "email": Text(),
        "active": Scalar.BOOL,
        "raw": Scalar.BYTES,
        "at": Scalar.DATETIME,
        "day": Scalar.DATE,
        "price": Scalar.DECIMAL,
        "key": Scalar.UUID,
        "maybe": Scalar.INT,
        "tags": ListOf(Text()),
        "pairs": ListOf(Scalar.INT),
        "mixed": Scalar.JSON,
        "extra": Scalar.JSON,
        "anything": Scalar.JSON,
        "size": Choice(("S", "M")),
        "colour": Choice(("red", "blue")),
        "level": Choice((1, 2)),
        "home": PLACE,
        "places": ListOf(PLACE),
        "friend": Relation("Person", "people"),
        "friends": Relation("Person", "people", many=True),
    }
    assert {name for name, rule in found.items() if rule.required} == {"name", "age", "nick"}
    assert {name for name, rule in found.items() if rule.nullable} == {
        "day",
        "key",
        "maybe",
        "anything",
        "friend",
    }
    assert found["email"].indexed is Indexed.UNIQUE
    assert found["score"].default == Always(1.0)
    assert found["colour"].default == Always("red")
    assert isinstance(found["tags"].default, Made)


def test_documents_by_a_dataclass() -> None:
    rules = parse_schema("Person", Person)
    document = validate(
        rules,
        {"name": "Al", "age": 3, "nick": "al", "colour": Colour.BLUE, "places": [Place("Bonn")]},
        creating=True,
    )
    assert document["colour"] == "blue"
    assert document["home"] == {"city": "Rome", "zip": None}
    assert document["places"] == [{"city": "Bonn", "zip": None}]
    assert document["at"] == datetime(2020, 1, 1, tzinfo=UTC)
    again = validate(rules, {"name": "Al", "age": 3, "nick": "al"}, creating=True)
    assert again["tags"] == []
    assert again["tags"] is not document["tags"]
    with pytest.raises(ValidationError, match="age: 'x' is a string"):
        validate(rules, {"name": "Al", "age": "x", "nick": "al"}, creating=True)


class Address(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    city: str


class User(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=80, description="as printed")
    age: int | None
    price: Decimal = pydantic.Field(max_digits=10, decimal_places=2, default=Decimal("1.50"))
    rating: Annotated[float, pydantic.Field(ge=0, lt=5)] = 0
    words: list[Annotated[str, pydantic.Field(max_length=3)]] = pydantic.Field(default_factory=list)
    code: Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Z]+$")] = "A"
    site: pydantic.HttpUrl | None = None
    seen: pydantic.AwareDatetime | None = None
    born: pydantic.PastDate | None = None
    count: pydantic.PositiveInt = 1
    address: Address | None = None
    manager: Annotated[str | None, "-> User"] = None
    boss: Optional[User] = None  # noqa: UP045


def test_a_pydantic_model() -> None:
    rules = parse_schema("User", User)
    assert {rule.name: rule.kind for rule in rules.fields} == {
        "name": Limited(Text(), min_length=1, max_length=80),
        "age": Scalar.INT,
        "price": Decimals(10, 2),
        "rating": Limited(Scalar.FLOAT, at_least=0, below=5),
        "words": ListOf(Limited(Text(), max_length=3)),
        "code": Limited(Text(), pattern=r"^[A-Z]+$"),
        "site": Text("url"),
        "seen": Scalar.DATETIME,
        "born": Scalar.DATE,
        "count": Limited(Scalar.INT, above=0),
        "address": Record((FieldRule("city", Text(), required=True),), strict=True),
        "manager": Relation("User", "users"),
        "boss": Scalar.JSON,
    }
    name, age = rules.fields[:2]
    assert (name.required, name.nullable, name.description) == (True, False, "as printed")
    assert (age.required, age.nullable) == (True, True)
    assert not rules.strict
    assert parse_schema("Address", Address).strict


def test_documents_by_a_pydantic_model() -> None:
    rules = parse_schema("User", User)
    document = validate(
        rules,
        {
            "name": "Al",
            "age": None,
            "address": Address(city="Rome"),
            "site": pydantic.HttpUrl("https://example.org/x"),
        },
        creating=True,
    )
    assert document["address"] == {"city": "Rome"}
    assert document["site"] == "https://example.org/x"
    assert document["rating"] == 0.0
    with pytest.raises(ValidationError) as caught:
        validate(
            rules,
            {
                "name": "",
                "rating": 5.0,
                "words": ["abc", "abcd"],
                "code": "a",
                "count": 0,
                "address": {"city": "x", "zip": 1},
            },
            creating=True,
        )
    assert dict(caught.value.problems) == {
        "name": "'' is shorter than 1",
        "age": "is missing",
        "rating": "5.0 is not less than 5",
        "words.1": "'abcd' is longer than 3",
        "code": "'a' does not match '^[A-Z]+$'",
        "count": "0 is not more than 0",
        "address.zip": "is not in the schema, which is strict",
    }


def test_what_a_model_dumps_is_as_its_schema_asks() -> None:
    user = User(name="Al", age=3, address=Address(city="Rome"))
    document = user.model_dump()
    assert validate(parse_schema("User", User), document, creating=True) == document


def test_models_in_fields_of_any_kind() -> None:
    rules = parse_schema("T", {"any": "json", "more": "json[]"})
    address = Address(city="Rome")
    given = {"any": {"a": [address, 1]}, "more": [address, 2]}
    dumped = {"city": "Rome"}
    found = validate(rules, given, creating=True)
    assert found == {"any": {"a": [dumped, 1]}, "more": [dumped, 2]}
    assert given["any"] == {"a": [address, 1]}
    same = {"any": {"a": [1, {"b": 2}]}}
    assert validate(rules, same, creating=True) is same


def test_computed_fields_of_a_strict_model() -> None:
    class Box(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        width: int

        @pydantic.computed_field
        @property
        def area(self) -> int:
            return self.width**2

    rules = parse_schema("Shelf", {"$strict": True, "box": Box})
    assert validate(rules, {"box": Box(width=2)}, creating=True) == {"box": {"width": 2}}


class Movie(TypedDict):
    title: str
    year: typing.NotRequired[int]


def test_a_typed_dict() -> None:
    assert parse_schema("Movie", Movie).fields == (
        FieldRule("title", Text(), required=True),
        FieldRule("year", Scalar.INT),
    )


def test_models_as_a_databases_schema() -> None:
    found = parse_schemas([Person, User])
    assert list(found) == ["people", "users"]
    with pytest.raises(InvalidInputError, match="is no model"):
        parse_schemas([Person, int])


def test_what_has_no_field_type() -> None:
    @dataclass
    class Bad:
        at: time
        words: set[str]
        bag: set
        other: object
        way: complex
        text: int = "x"  # type: ignore[assignment]

    with pytest.raises(InvalidInputError) as caught:
        parse_schema("Bad", Bad)
    message = str(caught.value)
    for part in (
        "5 problems",
        "Bad.at: there is no field type for time",
        "Bad.words: there is no field type for set[str]",
        "Bad.bag: there is no field type for set; use list",
        "Bad.way: there is no field type for complex",
        "Bad.text: the default 'x' is a string, not an int",
    ):
        assert part in message


def test_an_annotation_that_cannot_be_resolved() -> None:
    @dataclass
    class Lost:
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidInputError, match=r"Lost: an annotation cannot be resolved.*Nowhere"):
        parse_schema("Lost", Lost)


def test_a_default_that_needs_other_fields() -> None:
    class Made(pydantic.BaseModel):
        a: int
        b: int = pydantic.Field(default_factory=lambda data: data["a"])

    with pytest.raises(InvalidInputError, match="takes the other fields' values"):
        parse_schema("Made", Made)


def test_a_pattern_that_could_hang_is_refused_with_the_schema() -> None:
    class Odd(pydantic.BaseModel):
        a: Annotated[str, pydantic.Field(pattern=r"a{2}b")]

    assert parse_schema("Odd", Odd).fields[0].kind == Limited(Text(), pattern="a{2}b")
    with pytest.raises(InvalidInputError, match=r"Odd\.a: "):
        parse_schema("Odd", {"a": {"type": "string", "pattern": r"(?=x)y"}})
