from __future__ import annotations

from itertools import product

import pytest

from parquedb.model.types import (
    DecimalType,
    Field,
    FloatType,
    IntType,
    ListType,
    MapType,
    NullType,
    StringType,
    StructType,
    TimestampType,
    Type,
)
from parquedb.model.widen import widen_field, widen_fields, widen_type

INTS = [IntType(bits, signed) for bits in (8, 16, 32, 64) for signed in (True, False)]


def span(type_: Type) -> tuple[int, int]:
    match type_:
        case IntType(bits, True):
            return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        case IntType(bits, False):
            return 0, 2**bits - 1
        case DecimalType(precision, 0):
            return -(10**precision) + 1, 10**precision - 1
    raise AssertionError(type_)


@pytest.mark.parametrize(("a", "b"), list(product(INTS, INTS)))
def test_integers_widen_to_what_holds_both_and_no_further(a: IntType, b: IntType) -> None:
    wide = widen_type(a, b)
    assert wide is not None
    assert wide == widen_type(b, a)
    assert span(wide)[0] <= min(span(a)[0], span(b)[0])
    assert span(wide)[1] >= max(span(a)[1], span(b)[1])
    for narrower in INTS:
        if isinstance(wide, IntType) and narrower.bits < wide.bits:
            lower, upper = span(narrower)
            assert lower > min(span(a)[0], span(b)[0]) or upper < max(span(a)[1], span(b)[1])


@pytest.mark.parametrize(
    ("a", "b", "wide"),
    [
        (FloatType(32), FloatType(64), FloatType(64)),
        (DecimalType(10, 2), DecimalType(5, 4), DecimalType(12, 4)),
        (DecimalType(38, 0), DecimalType(38, 1), None),
        (TimestampType("ms"), TimestampType("ns"), TimestampType("ns")),
        (TimestampType("us"), TimestampType("us", utc=False), None),
        (IntType(32), FloatType(64), None),
        (IntType(32), StringType(), None),
        (NullType(), StringType(), StringType()),
        (
            ListType(Field(1, "element", IntType(8))),
            ListType(Field(1, "element", IntType(32))),
            ListType(Field(1, "element", IntType(32))),
        ),
        (
            ListType(Field(1, "element", IntType(8))),
            ListType(Field(1, "element", StringType())),
            None,
        ),
        (
            MapType(Field(1, "key", StringType()), Field(2, "value", IntType(8))),
            MapType(Field(1, "key", StringType()), Field(2, "value", NullType())),
            MapType(Field(1, "key", StringType()), Field(2, "value", IntType(8))),
        ),
        (
            StructType((Field(1, "a", IntType(8)),)),
            StructType((Field(1, "a", StringType()),)),
            None,
        ),
    ],
)
def test_other_types(a: Type, b: Type, wide: Type | None) -> None:
    assert widen_type(a, b) == wide
    assert widen_type(b, a) == wide


def test_fields_of_one_side_become_optional() -> None:
    a = Field(1, "a", IntType(8), required=True)
    b = Field(2, "b", IntType(8), required=True)
    wide = Field(7, "b", IntType(16), required=True)
    assert widen_fields((a, b), (wide, Field(8, "c", IntType(8), required=True))) == (
        Field(1, "a", IntType(8)),
        Field(2, "b", IntType(16), required=True),
        Field(8, "c", IntType(8)),
    )
    assert widen_fields((a, b), (Field(1, "b", StringType()),)) == "b"
    assert widen_field(a, Field(1, "a", StringType())) is None
