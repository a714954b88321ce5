from __future__ import annotations

import struct
import uuid
from datetime import date, datetime, time
from decimal import Decimal

import pyiceberg.types as it
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.conversions import from_bytes, to_bytes

from parquedb.formats.iceberg.bounds import decoder_of, encoder_of, lower_float, upper_float
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
    StringType,
    StructType,
    TimestampType,
    TimeType,
    UuidType,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
MICROS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
CASES = [
    (BooleanType(), it.BooleanType(), st.booleans(), lambda v: v),
    (IntType(32), it.IntegerType(), INT32, lambda v: v),
    (IntType(64), it.LongType(), INT64, lambda v: v),
    (FloatType(32), it.FloatType(), st.floats(width=32, allow_nan=False), lambda v: v),
    (FloatType(64), it.DoubleType(), st.floats(allow_nan=False), lambda v: v),
    (DateType(), it.DateType(), INT32, lambda v: v),
    (TimeType(), it.TimeType(), st.integers(0, 86_400 * 10**6 - 1), lambda v: v),
    (TimestampType("us", utc=False), it.TimestampType(), MICROS, lambda v: v),
    (TimestampType("us", utc=True), it.TimestamptzType(), MICROS, lambda v: v),
    (StringType(), it.StringType(), st.text(), lambda v: v),
    (UuidType(), it.UUIDType(), st.uuids().map(lambda v: v.bytes), lambda v: uuid.UUID(bytes=v)),
    (BinaryType(), it.BinaryType(), st.binary(), lambda v: v),
    (FixedType(4), it.FixedType(4), st.binary(min_size=4, max_size=4), lambda v: v),
    (
        DecimalType(38, 5),
        it.DecimalType(38, 5),
        st.integers(-(10**38) + 1, 10**38 - 1),
        lambda v: _decimal(v, 5),
    ),
]


def _decimal(unscaled: int, scale: int) -> Decimal:
    sign, digits = int(unscaled < 0), tuple(int(d) for d in str(abs(unscaled)))
    return Decimal((sign, digits, -scale))


@pytest.mark.parametrize(("ours", "theirs", "values", "logical"), CASES, ids=lambda c: repr(c)[:24])
@given(data=st.data())
def test_bounds_are_those_of_pyiceberg(ours, theirs, values, logical, data):
    value = data.draw(values)
    encode, decode = encoder_of(ours), decoder_of(ours)
    assert encode is not None
    assert decode is not None
    encoded = encode(value)
    assert encoded is not None
    assert encoded == to_bytes(theirs, logical(value))
    assert decode(encoded) == value
    read = from_bytes(theirs, encoded)
    if not isinstance(read, date | time | datetime) and not isinstance(ours, UuidType):
        assert read == logical(value)


def test_bounds_from_before_a_promotion_are_read_by_their_length():
    assert decoder_of(IntType(64))(struct.pack("<i", -7)) == -7
    assert decoder_of(FloatType(64))(struct.pack("<f", 1.5)) == 1.5


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (FloatType(64), struct.pack("<d", float("nan"))),
        (FloatType(32), struct.pack("<f", float("nan"))),
        (IntType(32), b"\x01"),
        (IntType(64), b""),
        (FloatType(64), b"123"),
        (StringType(), b"\xff\xfe"),
        (DecimalType(9, 2), b""),
        (BooleanType(), b""),
    ],
)
def test_bytes_that_are_no_bound_are_left_out(type_, data):
    assert decoder_of(type_)(data) is None


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (FloatType(64), float("nan")),
        (FloatType(32), float("nan")),
        (FloatType(32), 1e300),
        (IntType(32), 2**31),
        (IntType(64), 2**63),
        (StringType(), "\ud800"),
        (StringType(), 5),
    ],
)
def test_values_that_cannot_be_a_bound_are_left_out(type_, value):
    assert encoder_of(type_)(value) is None


def test_nested_types_have_no_bounds():
    for type_ in (StructType(()), ListType(Field(1, "element", StringType()))):
        assert encoder_of(type_) is None
        assert decoder_of(type_) is None


def test_zeros_are_ordered_as_the_specification_orders_them():
    assert str(lower_float(0.0)) == "-0.0"
    assert str(upper_float(-0.0)) == "0.0"
    assert lower_float(1.5) == upper_float(1.5) == 1.5
