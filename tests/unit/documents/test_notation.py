from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from parquedb.documents.kinds import (
    Always,
    Choice,
    Decimals,
    FieldRule,
    Indexed,
    Limited,
    ListOf,
    Now,
    Relation,
    Reverse,
    Scalar,
    Text,
    Vector,
)
from parquedb.documents.notation import PLAIN, NotationError, parse_field


def parse(text: str) -> FieldRule:
    return parse_field("f", text)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_types(name: str) -> None:
    rule = parse(name)
    assert rule == FieldRule("f", PLAIN[name])
    assert parse(f"{name}!") == FieldRule("f", PLAIN[name], required=True)
    assert parse(f" {name.upper()} ? ") == FieldRule("f", PLAIN[name], nullable=True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("decimal(10,2)", Decimals(10, 2)),
        ("decimal( 38 , 0 )", Decimals(38, 0)),
        ("decimal(5)", Decimals(5, 0)),
        ("enum(a,b)", Choice(("a", "b"))),
        ("enum(draft, \"in review\", 'a,b')", Choice(("draft", "in review", "a,b"))),
        ("enum(in review,done)", Choice(("in review", "done"))),
        ("vector(8)", Vector(8)),
        ("varchar(80)", Limited(Text(), max_length=80)),
        ("string[]", ListOf(Text())),
        ("string![]", ListOf(Text())),
        ("string?[]", ListOf(Text(), nullable=True)),
        ("int[][]", ListOf(ListOf(Scalar.INT))),
        ("vector(2)[]", ListOf(Vector(2))),
        ("enum(a,b)[]", ListOf(Choice(("a", "b")))),
    ],
)
def test_types_with_parameters_and_lists(text: str, kind: object) -> None:
    assert parse(text) == FieldRule("f", kind)  # type: ignore[arg-type]


def test_modifiers() -> None:
    assert parse("string![]!") == FieldRule("f", ListOf(Text()), required=True)
    assert parse("string[]?") == FieldRule("f", ListOf(Text()), nullable=True)
    for text in ("string#!", "string!#", "string ! #", "string#hash!"):
        assert parse(text) == FieldRule("f", Text(), required=True, indexed=Indexed.YES)
    for text in ("email##!", "email!##"):
        assert parse(text) == FieldRule("f", Text("email"), required=True, indexed=Indexed.UNIQUE)
    assert parse("string#[]").indexed is Indexed.YES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int = 0", 0),
        ("int? = null", None),
        ("float = 1", 1.0),
        ("bool = true", True),
        ('string = "a = b"', "a = b"),
        ("string = a", "a"),
        ("string = 5", "5"),
        ("string = 'it is'", "it is"),
        ("enum(a,b) = b", "b"),
        ("decimal(10,2) = 1.10", Decimal("1.10")),
        ("decimal = 0.1", Decimal("0.1")),
        ("string[] = []", []),
        ('string[] = ["a"]', ["a"]),
        ("json = {}", {}),
        ("json = {'a'}", "{'a'}"),
        ("datetime = 2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),
        ("date = 2020-01-31", date(2020, 1, 31)),
        ("varchar(5) = 12", "12"),
    ],
)
def test_defaults(text: str, value: Any) -> None:
    default = parse(text).default
    assert default == Always(value)
    assert isinstance(default, Always)
    assert type(default.value) is type(value)


def test_now() -> None:
    assert parse("datetime = now").default == Now()
    assert parse("date! = now()").default == Now()
    assert parse("string = now").default == Always("now")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-> User", Relation("User", "users")),
        ("->User", Relation("User", "users")),
        ("-> User[]", Relation("User", "users", many=True)),
        ("-> User.posts", Relation("User", "users", reverse="posts")),
        ("-> Category.posts[]", Relation("Category", "categories", many=True, reverse="posts")),
        ("<- Post.author[]", Reverse("Post", "posts", "author")),
        ("<- Post.author", Reverse("Post", "posts", "author", many=False)),
        ("-> sales/Order", Relation("sales/Order", "sales/orders")),
    ],
)
def test_relations(text: str, kind: object) -> None:
    assert parse(text) == FieldRule("f", kind)  # type: ignore[arg-type]


def test_modifiers_of_relations() -> None:
    assert parse("-> User!").required
    assert parse("-> User?").nullable
    assert parse("-> User[]!#") == FieldRule(
        "f", Relation("User", "users", many=True), required=True, indexed=Indexed.YES
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("strin", "did you mean 'string'"),
        ("datetme!", "did you mean 'datetime'"),
        ("xyzzy", "types are string"),
        ("User", "Write '-> User'"),
        ("time", "store a 'string'"),
        ("decimal(39,2)", "1 to 38 digits"),
        ("decimal(2,3)", "1 to 38 digits"),
        ("decimal(a)", r"write 'decimal\(10,2\)'"),
        ("decimal(1,2,3)", r"write 'decimal\(10,2\)'"),
        ("enum", "needs arguments"),
        ("enum()", "brackets"),
        ("enum(a,a)", "twice"),
        ("enum(a", "brackets"),
        ("vector", "needs arguments"),
        ("vector(0)", "number of its floats"),
        ("vector(-1)", r"write 'vector\(8\)'"),
        ("int(4)", "takes no arguments"),
        ("intt(4)", "did you mean 'int'"),
        ("string!?", "exclude each other"),
        ("string%", "'%' in 'string%' is not understood"),
        ("string#fts", "no full-text"),
        ("!string", "does not begin with a type"),
        ("int = ", "nothing after '='"),
        ("int = x", "default 'x' is a string, not an int"),
        ("int = 9223372036854775808", "64 bits"),
        ("enum(a,b) = c", "none of 'a', 'b'"),
        ("decimal(3,1) = 1.25", "too many digits after"),
        ("-> ", "is no relation"),
        ("-> User.posts.x", "is no relation"),
        ("<- Post", "must name the field"),
        ("<- Post.author!", "takes no '!'"),
        ("~> Topic", "no fuzzy"),
    ],
)
def test_what_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(NotationError, match=why):
        parse(text)
