"""The SQL that filters become: its text, and that DuckDB can prune by it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquedb.errors import InvalidInputError
from parquedb.model.schema import Schema
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    Type,
    UuidType,
)
from parquedb.query.filter import (
    EVERYTHING,
    And,
    At,
    Bound,
    Compares,
    ContainsAll,
    ElementMatches,
    ElementPasses,
    Equals,
    Exists,
    Expression,
    Filter,
    HasSize,
    HasType,
    In,
    Matches,
    Modulo,
    Not,
    Or,
    Test,
    Text,
    TextOperator,
)
from parquedb.query.sql import Condition, compile_filter, sort_expression
from parquedb.rows.columns import system_schema


def list_of(type_: Type) -> ListType:
    return ListType(Field(0, "element", type_))


COLUMNS: dict[str, Type] = {
    "age": IntType(64),
    "small": IntType(8),
    "score": FloatType(64),
    "single": FloatType(32),
    "price": DecimalType(10, 2),
    "ok": BooleanType(),
    "blob": BinaryType(),
    "day": DateType(),
    "at": TimestampType(),
    "local": TimestampType(utc=False),
    "millis": TimestampType("ms", utc=False),
    "nanos": TimestampType("ns", utc=False),
    "address": StructType((Field(0, "city", StringType()), Field(0, "zip", IntType(64)))),
    "tags": list_of(StringType()),
    "items": list_of(StructType((Field(0, "sku", StringType()), Field(0, "qty", IntType(64))))),
    "grid": list_of(list_of(IntType(64))),
    "uuid": UuidType(),
    "map": MapType(Field(0, "key", StringType()), Field(0, "value", IntType(64))),
}
SCHEMA = Schema(
    (*system_schema().fields, *(Field(0, name, type_) for name, type_ in COLUMNS.items()))
)


def compiled(filter_: Filter, *, overflow: bool = False, **options: Any) -> Condition:
    return compile_filter(filter_, SCHEMA, overflow=overflow, **options)


def text(path: str, test: Test) -> str:
    """Return the SQL of a test that SQL can tell exactly."""
    condition = compiled(At(tuple(path.split(".")), test))
    assert condition.exact
    return condition.possible


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("name", "x", "\"name\" = 'x'"),
        ("name", "it's", "\"name\" = 'it''s'"),
        ("name", "a\0b", "\"name\" = ('a' || chr(0) || 'b')"),
        ("name", "\ud800", "FALSE"),
        ("name", 1, "FALSE"),
        ("name", None, '"name" IS NULL'),
        ("age", 42, '"age" = 42'),
        ("age", 42.0, '"age" = 42'),
        ("age", Decimal("42.0"), '"age" = 42'),
        ("age", 42.5, "FALSE"),
        ("age", 2**63, "FALSE"),
        ("age", -(2**63), "\"age\" = CAST('-9223372036854775808' AS BIGINT)"),
        ("age", True, "FALSE"),
        ("age", math.inf, "FALSE"),
        ("age", "42", "FALSE"),
        ("small", 128, "FALSE"),
        ("score", 3, '"score" = 3.0e0'),
        ("score", 1e300, '"score" = 1e+300'),
        ("score", Decimal("0.1"), "FALSE"),
        ("score", 2**53 + 1, "FALSE"),
        ("score", -0.0, '"score" >= 0.0e0 AND "score" <= 0.0e0'),
        ("score", -math.inf, "\"score\" = '-inf'::DOUBLE"),
        ("single", 0.1, "FALSE"),
        ("single", 0.5, '"single" = CAST(0.5e0 AS FLOAT)'),
        ("price", Decimal("-1.1"), "\"price\" = CAST('-1.10' AS DECIMAL(10,2))"),
        ("price", 0.5, "\"price\" = CAST('0.50' AS DECIMAL(10,2))"),
        ("price", Decimal("1.001"), "FALSE"),
        ("price", 10**8, "FALSE"),
        ("ok", True, '"ok" = TRUE'),
        ("ok", 1, "FALSE"),
        ("blob", b"\x00\xaa", "\"blob\" = '\\x00\\xAA'::BLOB"),
        ("blob", b"", "\"blob\" = ''::BLOB"),
        ("day", datetime(2020, 1, 2, tzinfo=UTC), "\"day\" = DATE '2020-01-02'"),
        ("day", datetime(2020, 1, 2, 0, 0, 1), "FALSE"),
        ("at", datetime(1970, 1, 1, 0, 0, 1), '"at" = make_timestamptz(1000000)'),
        ("local", date(1969, 12, 31), '"local" = make_timestamp(-86400000000)'),
        ("millis", datetime(1970, 1, 1, 0, 0, 0, 1000), '"millis" = make_timestamp(1000)'),
        ("millis", datetime(1970, 1, 1, 0, 0, 0, 1), "FALSE"),
        ("address.city", "x", "struct_extract(\"address\", 'city') = 'x'"),
        ("address.city.x", 1, "FALSE"),
        ("address.street", "x", "FALSE"),
        ("address.street", None, "TRUE"),
        ("tags", "x", "list_contains(\"tags\", 'x')"),
        ("tags.1", "x", 'len("tags") > 1 AND "tags"[2] = \'x\''),
        ("tags.x", None, '"tags" IS NULL'),
        ("nowhere", 1, "FALSE"),
        ("nowhere", None, "TRUE"),
        ("$data", 1, "FALSE"),
    ],
)
def test_equality(path: str, value: Any, expected: str) -> None:
    assert text(path, Equals(value)) == expected


@pytest.mark.parametrize(
    ("path", "bound", "value", "expected"),
    [
        ("age", Bound.LESS, 42, '"age" < 42'),
        ("age", Bound.LESS, 41.5, '"age" <= 41'),
        ("age", Bound.GREATER, Decimal("41.5"), '"age" > 41'),
        ("age", Bound.AT_LEAST, -41.5, '"age" > -42'),
        ("age", Bound.AT_MOST, 2**63, '"age" IS NOT NULL'),
        ("age", Bound.AT_LEAST, 2**63, "FALSE"),
        ("age", Bound.GREATER, -math.inf, '"age" IS NOT NULL'),
        ("age", Bound.GREATER, None, "FALSE"),
        ("age", Bound.AT_LEAST, None, '"age" IS NULL'),
        ("age", Bound.LESS, "42", "FALSE"),
        ("small", Bound.LESS, 128, '"small" IS NOT NULL'),
        ("small", Bound.LESS, 127, '"small" < 127'),
        ("score", Bound.LESS, 1, '"score" < 1.0e0'),
        ("score", Bound.LESS, 2**53 + 1, '"score" <= 9007199254740992.0e0'),
        ("score", Bound.GREATER, 1.5, '"score" > 1.5e0 AND NOT isnan("score")'),
        ("score", Bound.LESS, 10**400, '"score" <= 1.7976931348623157e+308'),
        ("price", Bound.GREATER, 1.005, "\"price\" > CAST('1.00' AS DECIMAL(10,2))"),
        ("ok", Bound.LESS, True, '"ok" < TRUE'),
        ("ok", Bound.AT_MOST, True, '"ok" IS NOT NULL'),
        ("day", Bound.LESS, datetime(2020, 1, 2, 1), "\"day\" <= DATE '2020-01-02'"),
        ("name", Bound.AT_LEAST, "b", "\"name\" >= 'b'"),
        ("tags", Bound.LESS, "b", "len(list_filter(\"tags\", lambda _e0: _e0 < 'b')) > 0"),
    ],
)
def test_comparisons(path: str, bound: Bound, value: Any, expected: str) -> None:
    assert text(path, Compares(bound, value)) == expected


@pytest.mark.parametrize(
    ("path", "test", "expected"),
    [
        ("name", In(("a", "b", 1)), "\"name\" IN ('a', 'b')"),
        ("name", In(("a", None)), '("name" = \'a\' OR "name" IS NULL)'),
        ("age", In(()), "FALSE"),
        ("tags", In(("a", "b")), "len(list_filter(\"tags\", lambda _e0: _e0 IN ('a', 'b'))) > 0"),
        ("name", Exists(), '"name" IS NOT NULL'),
        ("name", HasType(frozenset({"string"})), '"name" IS NOT NULL'),
        ("name", HasType(frozenset({"int"})), "FALSE"),
        ("age", HasType(frozenset({"int", "long"})), '"age" IS NOT NULL'),
        ("name", Matches("^n5"), "\"name\" >= 'n5' AND \"name\" < 'n6'"),
        ("name", Matches("^n5$"), "\"name\" = 'n5'"),
        ("name", Matches("n5"), "contains(\"name\", 'n5')"),
        ("name", Matches("n.*5", "i"), "regexp_matches(\"name\", '(?i)n.*5')"),
        ("age", Matches("n"), "FALSE"),
        ("name", Text(TextOperator.STARTS_WITH, ""), '"name" IS NOT NULL'),
        (
            "name",
            Text(TextOperator.STARTS_WITH, "\ud7ff"),
            "\"name\" >= '\ud7ff' AND \"name\" < '\ue000'",
        ),
        ("name", Text(TextOperator.ENDS_WITH, "x"), "ends_with(\"name\", 'x')"),
        ("age", Modulo(-4, 1), '"age" % 4 = 1'),
        ("age", Modulo(4, 5), "FALSE"),
        ("tags", HasSize(2), 'len("tags") = 2'),
        ("name", HasSize(2), "FALSE"),
        ("tags", ContainsAll(()), "FALSE"),
        (
            "tags",
            ContainsAll((Equals("a"), Equals("b"))),
            "list_contains(\"tags\", 'a') AND list_contains(\"tags\", 'b')",
        ),
        (
            "items",
            ElementMatches(At(("qty",), Equals(1))),
            'len(list_filter("items", lambda _e0: _e0 IS NOT NULL AND '
            "struct_extract(_e0, 'qty') = 1)) > 0",
        ),
        (
            "tags",
            ElementPasses(((Equals("a"), True),)),
            "len(list_filter(\"tags\", lambda _e0: (_e0 <> 'a' OR _e0 IS NULL))) > 0",
        ),
        (
            "items.sku",
            Equals("a"),
            "len(list_filter(\"items\", lambda _e0: struct_extract(_e0, 'sku') = 'a')) > 0",
        ),
    ],
)
def test_other_tests(path: str, test: Test, expected: str) -> None:
    assert text(path, test) == expected


def test_logic_is_simplified() -> None:
    young, old = At(("age",), Equals(1)), At(("age",), Equals(90))
    nothing = At(("age",), Equals("x"))
    assert compiled(EVERYTHING) == Condition("TRUE", "TRUE")
    assert compiled(Or(())) == Condition("FALSE", "FALSE")
    assert compiled(And((young, Not(nothing)))).sure == '"age" = 1'
    assert compiled(Or((young, nothing, old))).sure == '("age" = 1 OR "age" = 90)'
    assert compiled(Not(Or((young, old)))).sure == (
        '("age" <> 1 OR "age" IS NULL) AND ("age" <> 90 OR "age" IS NULL)'
    )
    assert compiled(Not(At(("age",), Compares(Bound.LESS, 5)))).sure == (
        '("age" >= 5 OR "age" IS NULL)'
    )


def test_choices_of_instants_need_no_time_zone_library() -> None:
    times = tuple(datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in (2, 1))
    expected = (
        '"at" >= make_timestamptz(1000000) AND "at" <= make_timestamptz(2000000) '
        'AND epoch_us("at") IN (1000000, 2000000)'
    )
    assert text("at", In(times)) == expected
    assert text("local", In(times)) == (
        '"local" IN (make_timestamp(2000000), make_timestamp(1000000))'
    )


def test_long_chains_are_left_to_python() -> None:
    parts = tuple(At(("age",), Equals(number)) for number in range(2000))
    assert compiled(Or(parts)) == Condition("FALSE", "TRUE")
    every = compiled(And(tuple(map(Not, parts))))
    assert every.sure == "FALSE"
    assert every.possible.count("<>") == 1000
    assert compiled(At(("age",), In(tuple(range(2000))))).exact


def test_what_sql_cannot_say_is_bounded() -> None:
    assert compiled(Expression({"$gt": ["$a", 1]})) == Condition("FALSE", "TRUE")
    assert compiled(Not(Expression(1))) == Condition("FALSE", "TRUE")
    present = Condition("FALSE", '"nanos" IS NOT NULL')
    assert compiled(At(("nanos",), Equals(datetime(2020, 1, 1)))) == present
    assert compiled(At(("map",), Equals({"a": 1}))).possible == '"map" IS NOT NULL'
    both = And((At(("age",), Equals(1)), At(("nanos",), Equals(date(2020, 1, 1)))))
    assert compiled(both) == Condition("FALSE", '"age" = 1 AND "nanos" IS NOT NULL')
    either = Or((At(("age",), Equals(1)), At(("nanos",), Equals(date(2020, 1, 1)))))
    assert compiled(either).sure == '("age" = 1) IS TRUE'


def test_overflow_makes_columns_doubtful() -> None:
    doubt = 'contains("$data", \'"age":\')'
    condition = compiled(At(("age",), Equals(1)), overflow=True)
    assert condition.possible == f'("age" = 1 OR {doubt})'
    assert condition.sure == f'("age" = 1 AND ("$data" IS NULL OR NOT {doubt})) IS TRUE'
    assert compiled(At(("other",), Equals(1)), overflow=True) == Condition(
        "FALSE", 'contains("$data", \'"other":\')'
    )


def test_overflow_of_odd_keys() -> None:
    def doubt(key: str) -> str:
        return compiled(At((key,), Equals(1)), overflow=True).possible

    assert doubt("$x") == 'contains("$data", \'"$$x":\')'
    assert doubt("$data") == 'contains("$data", \'"$$data":\')'
    assert doubt("it's \"é\n") == 'contains("$data", \'"it\'\'s \\"é\\n":\')'
    assert doubt("\ud800") == "FALSE"


def test_system_fields_do_not_overflow() -> None:
    condition = compiled(At(("$id",), Equals("users/1")), overflow=True)
    assert condition == Condition("\"$id\" = 'users/1'", "\"$id\" = 'users/1'")


def test_floats_may_be_ints_in_data() -> None:
    ints = compiled(At(("score",), HasType(frozenset({"double"}))), overflow=True)
    assert 'contains("$data", \'"$int":\')' in ints.possible
    assert "$int" not in compiled(At(("score",), Equals(1)), overflow=True).possible


def test_columns_that_duckdb_confuses_are_left_alone() -> None:
    twins = Schema(
        (Field(1, "a", IntType(64)), Field(2, "A", IntType(64)), Field(3, "", IntType(8)))
    )
    for name in ("a", "A", ""):
        found = compile_filter(At((name,), Equals(1)), twins, overflow=False)
        assert found == Condition("FALSE", "TRUE")
        assert sort_expression((name,), twins, overflow=False) is None


def test_columns_can_be_qualified() -> None:
    both = At(("address", "zip"), Equals(1))
    assert compiled(both, table="t").sure == 'struct_extract("t"."address", \'zip\') = 1'
    assert '"t"."$data"' in compiled(both, overflow=True, table="t").possible


def test_a_bad_pattern_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="regular expression"):
        compiled(At(("name",), Matches("(")))


def test_sorting() -> None:
    def by(path: str, *, overflow: bool = False) -> str | None:
        return sort_expression(tuple(path.split(".")), SCHEMA, overflow=overflow)

    assert by("age") == '"age"'
    assert by("score") == '"score"'
    assert by("address.zip") == "struct_extract(\"address\", 'zip')"
    assert by("blob") == 'CASE WHEN "blob" IS NOT NULL THEN row(octet_length("blob"), "blob") END'
    assert by("nowhere") == by("age.x") == by("address.x") == "NULL::INTEGER"
    assert by("$id", overflow=True) == '"$id"'
    for path in ("tags", "tags.0", "items.qty", "address", "uuid", "map"):
        assert by(path) is None
    assert by("age", overflow=True) is None


def test_foreign_nan_sorts_before_numbers() -> None:
    schema = Schema((Field(1, "x", FloatType(64)),))
    expression = sort_expression(("x",), schema, overflow=False)
    values = "(VALUES (1e0), ('nan'::DOUBLE), (NULL), ('-inf'::DOUBLE)) t(x)"
    with duckdb.connect() as duck:
        rows = duck.execute(f"FROM {values} ORDER BY {expression} ASC NULLS FIRST").fetchall()
    assert str(rows) == "[(None,), (nan,), (-inf,), (1.0,)]"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """A file of ten row groups, and DuckDB."""
    folder = tmp_path_factory.mktemp("scan")
    rows = range(10_000)
    table = pa.table(
        {
            "age": list(rows),
            "name": [f"n{i:06d}" for i in rows],
            "score": [i / 4 for i in rows],
            "price": pa.array([Decimal(i) / 100 for i in rows], pa.decimal128(10, 2)),
            "day": pa.array(rows, pa.int32()).cast(pa.date32()),
            "at": pa.array([i * 1_000_000 for i in rows], pa.timestamp("us", "UTC")),
            "local": pa.array([i * 1_000_000 for i in rows], pa.timestamp("us")),
            "address": [{"city": f"c{i:06d}", "zip": i} for i in rows],
            "$data": pa.nulls(10_000, pa.string()),
        }
    )
    pq.write_table(table, folder / "t.parquet", row_group_size=1000)
    with duckdb.connect() as duck:
        yield duck, folder


@pytest.mark.parametrize(
    "filter_",
    [
        At(("age",), Equals(77)),
        At(("age",), In((1, 2, 9000))),
        And((At(("age",), Compares(Bound.AT_LEAST, 3)), At(("age",), Compares(Bound.LESS, 9.5)))),
        At(("name",), Equals("n000077")),
        At(("name",), Matches("^n00007")),
        At(("name",), Text(TextOperator.STARTS_WITH, "n00007")),
        At(("score",), Compares(Bound.GREATER, 2490)),
        At(("price",), Equals(Decimal("1.5"))),
        At(("day",), Equals(date(1970, 1, 9))),
        At(("at",), Equals(datetime(1970, 1, 1, 0, 1, tzinfo=UTC))),
        At(("local",), Compares(Bound.LESS, datetime(1970, 1, 1, 0, 1))),
        At(("address", "city"), Equals("c000077")),
    ],
)
def test_filters_reach_the_scan(scanned: tuple[Any, Path], filter_: Filter) -> None:
    duck, folder = scanned
    condition = compiled(filter_)
    assert condition.exact
    query = f"SELECT count(*) FROM '{folder / 't.parquet'}' WHERE {condition.possible}"
    plan = json.loads(duck.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()[0][1])
    names = []
    while plan:
        names.append(plan[0]["name"].strip())
        scan = plan[0]
        plan = plan[0]["children"]
    pushed = str(scan["extra_info"]["Filters"])
    # Of a choice DuckDB pushes what prunes row groups, and checks the rows afterwards.
    assert (isinstance(filter_, At) and isinstance(filter_.test, In)) or "optional" not in pushed
    assert ("FILTER" in names) == ("optional" in pushed)
    assert duck.execute(query).fetchall()[0][0] > 0
