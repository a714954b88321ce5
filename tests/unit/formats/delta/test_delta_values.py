"""Partition values, statistics, schemas and names: the pure parts of the Delta dialect."""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parquedb.errors import FormatError, UnsupportedError
from parquedb.formats.delta.features import FEATURES, READER_FEATURES, WRITER_FEATURES, fit_type
from parquedb.formats.delta.late_columns import with_null_counts
from parquedb.formats.delta.paths import (
    encode_data_path,
    parse_checkpoint_name,
    parse_commit_name,
    parse_data_path,
    parse_listing,
)
from parquedb.formats.delta.schema import IdBook, encode_schema, parse_schema
from parquedb.formats.delta.stats import compile_stats_parser
from parquedb.formats.delta.stats_encode import compile_stats_encoder
from parquedb.formats.delta.values import (
    compile_partition_parser,
    decimal_text,
    encode_partition_value,
)
from parquedb.formats.delta.vectors import tighten_stats, widen_stats
from parquedb.formats.delta.wire import Add
from parquedb.log.feature import TypeFit
from parquedb.model.files import Stats, Value
from parquedb.model.format import Format
from parquedb.model.schema import Identity, Schema, ids_by_path
from parquedb.model.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    Field,
    FixedType,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    TimeType,
    Type,
    UuidType,
    VariantType,
)
from parquedb.storage.store import ObjectInfo

US = 1_000_000
MIN_US, MAX_US = -62_135_596_800 * US, 253_402_300_799 * US

VALUES: dict[Type, st.SearchStrategy[Value]] = {
    IntType(8): st.integers(-128, 127),
    IntType(64): st.integers(-(2**63), 2**63 - 1),
    FloatType(64): st.floats(allow_nan=False),
    BooleanType(): st.booleans(),
    StringType(): st.text(min_size=1),
    DateType(): st.integers(-719162, 2932896),
    TimestampType("us", utc=True): st.integers(MIN_US, MAX_US),
    TimestampType("us", utc=False): st.integers(MIN_US, MAX_US),
    DecimalType(38, 10): st.integers(-(10**38) + 1, 10**38 - 1),
    DecimalType(9, 0): st.integers(-(10**9) + 1, 10**9 - 1),
}


@pytest.mark.parametrize("type_", VALUES)
@given(data=st.data())
def test_partition_values_come_back(type_: Type, data: st.DataObject) -> None:
    value = data.draw(VALUES[type_])
    text = encode_partition_value("c", type_, value)
    assert compile_partition_parser("c", type_, "log")(text) == value


@pytest.mark.parametrize("type_", VALUES)
def test_null_and_empty_partition_values_are_null(type_: Type) -> None:
    parse = compile_partition_parser("c", type_, "log")
    assert parse(None) is None
    assert parse("") is None
    assert encode_partition_value("c", type_, None) is None


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (TimestampType("us", utc=True), "1970-01-01 00:00:01", US),
        (TimestampType("us", utc=True), "1970-01-01 00:00:00.123456", 123456),
        (TimestampType("us", utc=True), "1970-01-01T00:00:00.123456Z", 123456),
        (TimestampType("us", utc=True), "1970-01-01T02:00:00+02:00", 0),
        (TimestampType("us", utc=False), "1969-12-31 23:59:59.5", -500000),
        (DateType(), "2024-1-5", 19727),
        (DecimalType(5, 2), "-3.4", -340),
        (BinaryType(), "\u0001\u0002a", b"\x01\x02a"),
        (FloatType(64), "Infinity", math.inf),
        (BooleanType(), "TRUE", True),
        (StringType(), "a=b/c %2F", "a=b/c %2F"),
    ],
)
def test_partition_values_of_others(type_: Type, text: str, value: Value) -> None:
    assert compile_partition_parser("c", type_, "log")(text) == value


@pytest.mark.parametrize(
    ("type_", "text"),
    [(IntType(32), "x"), (DateType(), "yesterday"), (DecimalType(5, 2), "1.234"),
     (BooleanType(), "1")],
)  # fmt: skip
def test_bad_partition_values_name_the_column(type_: Type, text: str) -> None:
    with pytest.raises(FormatError, match="'c'"):
        compile_partition_parser("c", type_, "log")(text)


def test_partition_values_that_delta_cannot_say_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="reads as null"):
        encode_partition_value("c", StringType(), "")
    with pytest.raises(UnsupportedError, match="'c'"):
        encode_partition_value("c", BinaryType(), b"\xff\xfe")
    with pytest.raises(UnsupportedError, match="nanoseconds"):
        encode_partition_value("c", TimestampType("ns"), 1)
    with pytest.raises(UnsupportedError, match="does not partition"):
        compile_partition_parser("c", ListType(Field(1, "element", IntType(32))), "log")


@given(st.integers(-(10**30), 10**30), st.integers(0, 12))
def test_decimal_text_is_exact(unscaled: int, scale: int) -> None:
    assert Fraction(decimal_text(unscaled, scale)) == Fraction(unscaled, 10**scale)


# -- statistics -----------------------------------------------------------------------------

COLUMNS = Schema(
    (
        Field(1, "i", IntType(64)),
        Field(2, "s", StringType()),
        Field(3, "f", FloatType(64)),
        Field(4, "r", FloatType(32)),
        Field(5, "d", DateType()),
        Field(6, "t", TimestampType("us", utc=True)),
        Field(7, "n", TimestampType("us", utc=False)),
        Field(8, "c", DecimalType(38, 10)),
        Field(9, "b", BooleanType()),
        Field(10, "x", BinaryType()),
        Field(11, "o", StructType((Field(12, "p", IntType(32)), Field(13, "q", StringType())))),
        Field(14, "l", ListType(Field(15, "element", IntType(32)))),
    )
)


def _single(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


BOUNDS: dict[int, st.SearchStrategy[Value]] = {
    1: st.integers(-(2**63), 2**63 - 1),
    2: st.text(max_size=40),
    3: st.floats(allow_nan=False, allow_infinity=False),
    4: st.floats(allow_nan=False, allow_infinity=False, width=32),
    5: st.integers(-719162, 2932896),
    6: st.integers(MIN_US, MAX_US - 1000),
    7: st.integers(MIN_US, MAX_US - 1000),
    8: st.integers(-(10**38) + 1, 10**38 - 1),
    12: st.integers(-(2**31), 2**31 - 1),
    13: st.text(max_size=40),
}


@given(st.fixed_dictionaries({id_: st.tuples(v, v) for id_, v in BOUNDS.items()}))
def test_bounds_that_are_written_and_read_still_hold(
    pairs: dict[int, tuple[Value, Value]],
) -> None:
    lower = {id_: min(pair) for id_, pair in pairs.items()}  # type: ignore[type-var]
    upper = {id_: max(pair) for id_, pair in pairs.items()}  # type: ignore[type-var]
    nulls = dict.fromkeys((*BOUNDS, 9, 10), 1)
    text = compile_stats_encoder(COLUMNS, frozenset())(7, Stats(nulls, lower, upper))
    assert text is not None
    rows, found = compile_stats_parser(COLUMNS, "log")(text)
    assert rows == 7
    assert found is not None
    assert found.nulls == nulls
    for id_ in BOUNDS:
        if id_ in found.lower:
            assert found.lower[id_] <= lower[id_]  # type: ignore[operator]
            assert found.upper[id_] >= upper[id_]  # type: ignore[operator]
    short = all(len(str(upper[id_])) <= 32 for id_ in (2, 13))
    if short:
        assert set(found.lower) == {*BOUNDS, 9}
        for id_ in (1, 2, 3, 4, 5, 12, 13):
            assert found.upper[id_] == upper[id_]


FULL: dict[int, Value] = {
    1: 5, 2: "m", 3: 1.5, 4: 0.5, 5: 100, 6: 123456, 7: 123456, 8: 12345, 12: 3, 13: "z"
}  # fmt: skip


def _encode(lower: dict[int, Value], nulls: dict[int, int]) -> dict[str, object]:
    text = compile_stats_encoder(COLUMNS, frozenset())(9, Stats(nulls, lower, dict(lower)))
    assert text is not None
    body: dict[str, object] = json.loads(text, parse_float=Decimal)
    return body


def test_what_statistics_look_like() -> None:
    body = _encode(FULL, dict.fromkeys((*BOUNDS, 9, 10), 0))
    assert body["numRecords"] == 9
    assert body["minValues"] == {
        "i": 5, "s": "m", "f": Decimal("1.5"), "r": Decimal("0.5"), "d": "1970-04-11",
        "t": "1970-01-01T00:00:00.123Z", "n": "1970-01-01T00:00:00.123",
        "c": Decimal("0.0000012345"), "b": False, "o": {"p": 3, "q": "z"},
    }  # fmt: skip
    upper = body["maxValues"]
    assert isinstance(upper, dict)
    assert upper["t"] == "1970-01-01T00:00:00.124Z"
    assert upper["b"] is True


@pytest.mark.parametrize("missing", [*BOUNDS])
def test_bounds_are_given_for_all_columns_or_none(missing: int) -> None:
    nulls = dict.fromkeys((*BOUNDS, 9), 0)
    some = {id_: value for id_, value in FULL.items() if id_ != missing}
    assert "minValues" not in _encode(some, nulls)
    assert "minValues" in _encode(some, {**nulls, missing: 9})  # nothing but null
    without_nulls = {id_: n for id_, n in nulls.items() if id_ != missing}
    assert "minValues" not in _encode(FULL, without_nulls)
    assert "nullCount" in _encode(FULL, without_nulls)


def test_long_strings_are_cut_to_bounds() -> None:
    schema = Schema((Field(1, "s", StringType()),))
    encode, parse = compile_stats_encoder(schema, frozenset()), compile_stats_parser(schema, "x")
    for text in ("a" * 50, "b" * 31 + chr(0x10FFFF) * 9, "c" * 31 + "\ud7ff" * 9):
        encoded = encode(1, Stats({1: 0}, {1: text}, {1: text}))
        assert encoded is not None
        _, found = parse(encoded)
        assert found is not None
        assert str(found.lower[1]) <= text <= str(found.upper[1])
        assert len(str(found.upper[1])) <= 32
    hopeless = chr(0x10FFFF) * 40
    encoded = encode(1, Stats({1: 0}, {1: "a"}, {1: hopeless}))
    assert encoded is not None
    assert "maxValues" not in encoded


def test_statistics_of_others() -> None:
    parse = compile_stats_parser(COLUMNS, "log")
    text = (
        '{"numRecords":4,"minValues":{"i":1.5,"s":null,"f":"NaN","r":0.1,"d":"nonsense",'
        '"t":"2024-01-01T01:00:00.123+01:00","c":0.1,"b":true,"x":"AA==","o":{"p":1},"gone":1,'
        '"l":3},"maxValues":{"t":"2024-01-01T00:00:00.123Z","n":"2024-01-01T00:00:00.123456",'
        '"c":12345678901234567890.123456789,"r":0.1,"f":7},'
        '"nullCount":{"i":0,"o":{"p":2,"q":null},"l":1,"x":3}}'
    )
    rows, stats = parse(text)
    assert rows == 4
    assert stats is not None
    assert set(stats.lower) == {4, 6, 8, 9, 12}
    assert stats.lower[4] == _single(0.1) == stats.upper[4]
    at_us = 1_704_067_200 * US + 123_000
    assert stats.lower[6] == at_us
    assert stats.upper[6] == at_us + 999
    assert stats.upper[7] == at_us + 456
    assert stats.lower[8] < 10**9 <= stats.lower[8] + 1  # type: ignore[operator]
    assert stats.upper[8] == 123456789012345678901234567890
    assert stats.upper[3] == 7.0
    assert stats.nulls == {1: 0, 12: 2, 10: 3}


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("1850-06-01T04:07:02.123-07:52", "-07:52:58"),  # Los Angeles
        ("1850-06-01T12:17:30.123+00:17", "+00:17:30"),  # Amsterdam
        ("1850-06-01T17:53:28.123+05:53", "+05:53:28"),  # Kolkata
        ("2024-06-01T17:53:28.123+05:30", "+05:30"),
        ("1850-06-01T12:00:00.123Z", "+00:00"),
    ],
)
def test_spark_cuts_the_seconds_off_an_offset(text: str, offset: str) -> None:
    _, stats = compile_stats_parser(COLUMNS, "log")(
        json.dumps({"numRecords": 1, "minValues": {"t": text}, "maxValues": {"t": text}})
    )
    assert stats is not None
    at = dt.datetime.fromisoformat(text.removesuffix("Z").replace(text[23:], "") + offset)
    at_us = (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    slack = 60 * US if text[:4] == "1850" and not text.endswith("Z") else 0
    assert at_us - 2 * slack <= stats.lower[6] <= at_us  # type: ignore[operator]
    assert at_us + 999 <= stats.upper[6] <= at_us + 999 + 2 * slack  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("1e38", (99999999999999955591079014993738383054, 10**38 - 1)),
        ("-1e38", (-(10**38) + 1, -99999999999999955591079014993738383054)),
        ("9223372036854775807", (9223372036854775807, None)),
        ("-9223372036854775808", (None, -9223372036854775808)),
        ("9223372036854775806", (9223372036854775806, 9223372036854775806)),
    ],
)
def test_decimals_of_others_are_certain_bounds(
    text: str, bounds: tuple[int | None, int | None]
) -> None:
    """A double's precision is made up for, within the type; delta-rs cuts to 64 bits."""
    schema = Schema((Field(1, "d", DecimalType(38, 0)),))
    raw = f'{{"numRecords":1,"minValues":{{"d":{text}}},"maxValues":{{"d":{text}}}}}'
    _, found = compile_stats_parser(schema, "log")(raw)
    assert found is not None
    assert (found.lower.get(1), found.upper.get(1)) == bounds


def test_missing_statistics_are_missing() -> None:
    parse = compile_stats_parser(COLUMNS, "log")
    assert parse("null") == (None, None)
    assert parse("{}") == (None, None)
    assert parse('{"numRecords":3}') == (3, None)
    with pytest.raises(FormatError, match="log"):
        parse('{"numRecords":')
    with pytest.raises(FormatError, match="statistics"):
        parse("[1]")


def test_wide_bounds_have_no_null_counts_but_none_and_all() -> None:
    parse = compile_stats_parser(COLUMNS, "log")
    _, stats = parse('{"numRecords":4,"tightBounds":false,"nullCount":{"i":0,"s":4,"f":2}}')
    assert stats is not None
    assert stats.nulls == {1: 0, 2: 4}


@pytest.mark.parametrize(
    "number",
    ["99999999999999999999999999999999999999", "-0.0000000001", "1234567890123456789.15", "1E-7"],
)
def test_numbers_of_statistics_that_are_changed_keep_their_digits(number: str) -> None:
    text = f'{{"numRecords":4,"minValues":{{"d":{number}}},"maxValues":{{"d":{number}}}}}'
    add = Add("p", {}, 1, 1, True, text, None, None)
    later = with_null_counts(add, [("s", "x")]).stats
    wide = widen_stats(text, None)
    tight = tighten_stats(wide)
    for changed in (later, wide, tight):
        assert changed is not None
        assert f'"minValues":{{"d":{number}}},"maxValues":{{"d":{number}}}' in changed
    assert json.loads(later or "")["nullCount"] == {"s": {"x": 4}}
    assert json.loads(widen_stats("null", 3)) == {"numRecords": 3, "tightBounds": False}


# -- schemas --------------------------------------------------------------------------------


def _struct(*fields: tuple[str, object, dict[str, object]]) -> str:
    return json.dumps(
        {
            "type": "struct",
            "fields": [
                {"name": name, "type": type_, "nullable": True, "metadata": metadata}
                for name, type_, metadata in fields
            ],
        }
    )


NESTED = Schema(
    (
        Field(1, "a", IntType(64), required=True, doc="first"),
        Field(2, "l", ListType(Field(5, "element", ListType(Field(6, "element", IntType(8)))))),
        Field(
            3,
            "m",
            MapType(
                Field(7, "key", StringType(), required=True),
                Field(
                    8,
                    "value",
                    StructType((Field(9, "x", ListType(Field(10, "element", DateType()))),)),
                    required=True,
                ),
            ),
        ),
        Field(4, "t", TimestampType("us", utc=False)),
        Field(11, "c", DecimalType(38, 0)),
    ),
    Identity.BY_ID,
)


def test_schema_with_ids_comes_back() -> None:
    parsed = parse_schema(encode_schema(NESTED), "log")
    assert IdBook().assign(parsed.schema) == NESTED


def test_schema_without_ids_is_numbered_by_path_for_good() -> None:
    book = IdBook()
    first = parse_schema(_struct(("a", "long", {}), ("b", "string", {})), "log").schema
    second = parse_schema(_struct(("c", "long", {}), ("b", "string", {})), "log").schema
    assert ids_by_path(book.assign(first)) == {("a",): 1, ("b",): 2}
    assert ids_by_path(book.assign(second)) == {("c",): 3, ("b",): 2}
    again = book.assign(first)
    assert ids_by_path(again) == {("a",): 1, ("b",): 2}
    assert again.identity is Identity.BY_NAME


def test_partly_recorded_ids_are_kept_and_completed() -> None:
    book = IdBook()
    text = _struct(("a", "long", {"parquet.field.id": 7}), ("b", "string", {}))
    schema = book.assign(parse_schema(text, "log").schema)
    assert ids_by_path(schema) == {("a",): 7, ("b",): 8}
    assert schema.identity is Identity.BY_NAME


def test_ids_that_are_not_unique_are_no_ids() -> None:
    own = {"parquedb.field.id": 3}
    text = _struct(("a", "long", dict(own)), ("b", "string", dict(own)))
    schema = IdBook().assign(parse_schema(text, "log").schema)
    assert ids_by_path(schema) == {("a",): 1, ("b",): 2}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"type":"struct"}', _struct(("a", {"type": "set"}, {}))]
)
def test_bad_schema_strings(text: str) -> None:
    with pytest.raises(FormatError, match="schemaString"):
        parse_schema(text, "log")


def test_unknown_types_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="geometry") as caught:
        parse_schema(_struct(("g", "geometry(4326)", {})), "log")
    assert caught.value.feature == "geometry(4326)"


@pytest.mark.parametrize(
    ("type_", "fit"),
    [
        (IntType(8), TypeFit(IntType(8))),
        (IntType(8, signed=False), TypeFit(IntType(16))),
        (IntType(16, signed=False), TypeFit(IntType(32))),
        (IntType(32, signed=False), TypeFit(IntType(64))),
        (IntType(64, signed=False), TypeFit(DecimalType(20, 0), rewrite=True)),
        (FloatType(16), TypeFit(FloatType(32), rewrite=True)),
        (TimestampType("ms"), TypeFit(TimestampType("us"))),
        (TimestampType("us", utc=False), TypeFit(TimestampType("us", utc=False))),
        (
            TimestampType("ns"),
            TypeFit(TimestampType("us"), rewrite=True, lost="nanoseconds"),
        ),
        (UuidType(), TypeFit(BinaryType())),
        (FixedType(3), TypeFit(BinaryType())),
        (VariantType(), TypeFit(VariantType(), footer="where it is annotated")),
        (MapType(Field(1, "key", VariantType()), Field(2, "value", IntType(8))), TypeFit(None)),
        (NullType(), TypeFit(None)),
        (ListType(Field(1, "element", NullType())), TypeFit(None)),
        (StructType(()), TypeFit(None)),
    ],
)
def test_how_types_fit(type_: Type, fit: TypeFit) -> None:
    assert fit_type(type_) == fit


def test_nested_types_fit_as_their_parts_do() -> None:
    fit = fit_type(StructType((Field(1, "t", TimeType("us")), Field(2, "n", TimestampType("ns")))))
    assert fit.rewrite
    assert fit.becomes == StructType(
        (Field(1, "t", IntType(64)), Field(2, "n", TimestampType("us")))
    )
    assert fit.lost is not None
    assert "nanoseconds" in fit.lost
    assert "time" in fit.lost


def test_every_feature_that_is_decided_on_is_listed() -> None:
    names = {feature.name for feature in FEATURES}
    decided = {name.removesuffix("-preview") for name in READER_FEATURES | WRITER_FEATURES}
    assert decided <= names
    assert all(feature.format is Format.DELTA for feature in FEATURES)
    assert all(Format.ICEBERG in feature.towards for feature in FEATURES)


# -- names ----------------------------------------------------------------------------------


def _info(name: str) -> ObjectInfo:
    return ObjectInfo(f"users/_delta_log/{name}", 1, 0, "")


def test_names_of_log_files() -> None:
    assert parse_commit_name("00000000000000000012.json") == 12
    assert parse_commit_name("00000000000000000012.crc") is None
    assert parse_commit_name("12.json") is None
    assert parse_checkpoint_name("00000000000000000010.checkpoint.parquet") == (10, 1, 1)
    multi = "00000000000000000010.checkpoint.0000000002.0000000003.parquet"
    assert parse_checkpoint_name(multi) == (10, 2, 3)
    v2 = "00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
    assert parse_checkpoint_name(v2) == (10, 1, 1)
    assert parse_checkpoint_name("_last_checkpoint") is None


def test_a_log_begins_where_a_gapless_run_follows() -> None:
    commits = [f"{v:020d}.json" for v in (0, 1, 4, 5, 6)]
    listing = parse_listing(
        "users",
        map(_info, [*commits, f"{3:020d}.checkpoint.parquet", f"{5:020d}.checkpoint.parquet"]),
    )
    assert listing is not None
    assert (listing.start, listing.latest, listing.has_base) == (3, 6, True)
    with pytest.raises(FormatError, match=r"0{19}3\.json"):
        parse_listing("users", map(_info, commits))
    incomplete = f"{5:020d}.checkpoint.0000000001.0000000002.parquet"
    with pytest.raises(FormatError, match="missing"):
        parse_listing("users", map(_info, [*commits, incomplete]))
    assert parse_listing("users", map(_info, ["_last_checkpoint", "x.tmp"])) is None


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\")))
def test_data_paths_come_back(name: str) -> None:
    if name in ("", ".", ".."):
        return
    key = f"db/users/data/{name}/x.parquet"
    path = encode_data_path("db/users", key)
    assert parse_data_path("file:///lake", "db/users", path) == key


def test_data_paths_of_others() -> None:
    root, folder = "file:///lake", "db/users"
    assert parse_data_path(root, folder, "p=%252F/a%20b.parquet") == "db/users/p=%2F/a b.parquet"
    assert parse_data_path(root, folder, "file:///lake/o/x.parquet") == "o/x.parquet"
    assert parse_data_path(root, folder, "file:/lake/o/x.parquet") == "o/x.parquet"
    assert parse_data_path(root, folder, "/lake/o/%41.parquet") == "o/A.parquet"
    assert parse_data_path(root, folder, "../o/x.parquet") == "db/o/x.parquet"
    for outside in ("s3://b/x.parquet", "/other/x.parquet", "../../../x.parquet"):
        with pytest.raises(UnsupportedError, match="outside the storage root") as caught:
            parse_data_path(root, folder, outside)
        assert outside in str(caught.value)
        assert root in str(caught.value)
    with pytest.raises(UnsupportedError, match="outside the table's folder"):
        encode_data_path("db/users", "db/others/x.parquet")
