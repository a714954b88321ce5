"""The JSON form, letter by letter, and texts that are none."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from parquedb.errors import FormatError, InvalidInputError
from parquedb.rows.jsonform import (
    decode_document,
    decode_overflow,
    decode_value,
    encode_document,
    encode_overflow,
    encode_value,
    restore_document,
)
from tests.support.core import both_ways  # noqa: F401  (a fixture)
from tests.support.stored import same

ID = UUID("12345678-1234-5678-1234-567812345678")

FORMS: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (1, "1"),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (2**53 + 1, "9007199254740993"),
    (2**63 - 1, "9223372036854775807"),
    (-(2**63), "-9223372036854775808"),
    (2**63, '{"$int":"9223372036854775808"}'),
    (2**64 - 1, '{"$int":"18446744073709551615"}'),
    (-(2**63) - 1, '{"$int":"-9223372036854775809"}'),
    (float("inf"), '{"$double":"inf"}'),
    ([float("-inf"), None], '[{"$double":"-inf"},null]'),
    ("é😀\0", '"é😀\\u0000"'),
    (datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), '{"$date":"2020-01-02T03:04:05Z"}'),
    (datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC), '{"$date":"2020-01-02T03:04:05.000006Z"}'),
    (datetime(1, 1, 1, tzinfo=UTC), '{"$date":"0001-01-01T00:00:00Z"}'),
    (datetime(2020, 1, 2, 3), '{"$local":"2020-01-02T03:00:00"}'),
    (date(2020, 1, 2), '{"$day":"2020-01-02"}'),
    (Decimal("1.10"), '{"$decimal":"1.10"}'),
    (Decimal("-1E+9"), '{"$decimal":"-1E+9"}'),
    (b"\0\xff", '{"$bytes":"AP8="}'),
    (ID, f'{{"$uuid":"{ID}"}}'),
    (str(ID), f'"{ID}"'),
    ([ID, str(ID)], f'[{{"$uuid":"{ID}"}},"{ID}"]'),
    ({"$date": "x"}, '{"$$date":"x"}'),
    ({"$": 1, "$$": {"$id": 2}}, '{"$$":1,"$$$":{"$$id":2}}'),
    ({"a": '"$date":', "": 1}, '{"a":"\\"$date\\":","":1}'),
    ({"a": {"b": [date(2020, 1, 2)]}}, '{"a":{"b":[{"$day":"2020-01-02"}]}}'),
]


@pytest.mark.parametrize(("value", "text"), FORMS)
def test_forms(value: Any, text: str) -> None:
    assert encode_value(value).decode() == text
    assert same(decode_value(text), value)
    document = {"$id": "users/1", "$type": "User", "a": value}
    whole = f'{{"$id":"users/1","$type":"User","a":{text}}}'
    assert encode_document(document).decode() == whole
    assert same(decode_document(whole), document)


def test_keys_at_the_top_of_a_document() -> None:
    document = {"$id": "users/1", "$type": "$User", "$x": 1, "$$id": 2, "a": {"$id": 3}}
    text = encode_document(document)
    assert text == (b'{"$id":"users/1","$type":"$User","$$x":1,"$$$id":2,"a":{"$$id":3}}')
    assert decode_document(text) == document
    assert decode_document(b'{"$id":"users/1"}') == {"$id": "users/1"}


def test_a_parsed_document_is_restored() -> None:
    parsed = {"$id": "users/1", "a": {"$day": "2020-01-02"}, "$$b": [{"$int": "5"}]}
    assert restore_document(parsed) == {"$id": "users/1", "a": date(2020, 1, 2), "$b": [5]}
    with pytest.raises(FormatError, match="the key '\\$b' is not known"):
        restore_document({"$b": 1})


def test_ints_of_any_length() -> None:
    for value in (10**4500, -(10**4500) + 7, 10**3999, 10**4000):
        assert decode_value(encode_value([value])) == [value]


def test_nan_is_never_written() -> None:
    for value in (float("nan"), [None, float("nan")], {"a": {"b": float("nan")}}):
        with pytest.raises(InvalidInputError, match="NaN"):
            encode_value(value)
        with pytest.raises(InvalidInputError, match="NaN"):
            encode_document({"$id": "users/1", "a": value})


@pytest.mark.parametrize("value", [set(), {"a": object()}, {1: 2}, ["x", 1j]])
def test_no_values_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"no kind of value|no str"):
        encode_value(value)
    with pytest.raises(InvalidInputError, match=r"no kind of value|no str"):
        encode_document({"$id": "users/1", "x": value})


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[1,]", "NaN", '"\ud800"', "\ud800",
        '{"$what":"x"}', '{"$date":1}', '{"$date":"x"}', '{"$date":"2020-01-02T00:00:00"}',
        '{"$local":"2020-01-02T00:00:00Z"}', '{"$day":"2020-13-01"}', '{"$decimal":"x"}',
        '{"$decimal":"NaN"}', '{"$bytes":"*"}', '{"$uuid":"1"}', '{"$int":"1.5"}', '{"$int":""}',
        '{"$double":"nan"}', '{"$double":"1"}', '{"a":1,"$b":2}', '[{"a":{"$x":1}}]',
        '{"$date":"9999-12-31T23:59:59-23:00"}',
        "[" * 5000 + "]" * 5000,
    ],
)  # fmt: skip
def test_texts_that_are_no_values(text: str) -> None:
    with pytest.raises(FormatError, match="is not a document's JSON"):
        decode_value(text)
    with pytest.raises(FormatError, match="is not a document's JSON"):
        decode_document(f'{{"$id":"users/1","a":{text}}}')


@pytest.mark.parametrize("text", ["[]", "1", "null", '"$id"'])
def test_texts_that_are_no_documents(text: str) -> None:
    with pytest.raises(FormatError, match="it is no JSON object"):
        decode_document(text)
    with pytest.raises(FormatError, match="it is no JSON object"):
        decode_overflow(text)


def test_overflow() -> None:
    extras = {"a": None, "$int": 5, "$b": date(2020, 1, 2)}
    text = encode_overflow(extras, ["price", "é"]).decode()
    assert text == '{"a":null,"$$int":5,"$$b":{"$day":"2020-01-02"},"$int":["price","é"]}'
    assert decode_overflow(text) == (extras, ["price", "é"])
    assert encode_overflow({}, ["price"]) == b'{"$int":["price"]}'
    assert decode_overflow('{"a":1}') == ({"a": 1}, ())
    for bad in ('{"$int":"x"}', '{"$int":[1]}', '{"$other":[]}'):
        with pytest.raises(FormatError, match="is not a document's JSON"):
            decode_overflow(bad)
