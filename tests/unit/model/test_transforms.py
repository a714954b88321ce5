"""Bounds from partition values hold for every value that pyiceberg puts into such a partition."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg import transforms as theirs
from pyiceberg import types as kinds

from parquedb.model import partition as ours
from parquedb.model.transforms import source_bounds
from parquedb.model.types import (
    BinaryType,
    DateType,
    DecimalType,
    FloatType,
    IntType,
    StringType,
    TimestampType,
)

DAYS = st.integers(-719_162, 2_932_896)
MICROS = st.integers(-62_135_596_800_000_000, 250_000_000_000_000_000)
CASES = {
    "year of a date": (ours.YearTransform(), theirs.YearTransform(), DateType(), kinds.DateType()),
    "month of a date": (
        ours.MonthTransform(),
        theirs.MonthTransform(),
        DateType(),
        kinds.DateType(),
    ),
    "day of a date": (ours.DayTransform(), theirs.DayTransform(), DateType(), kinds.DateType()),
    **{
        f"{word} of a timestamp": (mine, yours, TimestampType(), kinds.TimestamptzType())
        for word, mine, yours in (
            ("year", ours.YearTransform(), theirs.YearTransform()),
            ("month", ours.MonthTransform(), theirs.MonthTransform()),
            ("day", ours.DayTransform(), theirs.DayTransform()),
            ("hour", ours.HourTransform(), theirs.HourTransform()),
        )
    },
}


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_a_part_of_time(case, data):
    transform, reference, type_, kind = CASES[case]
    value = data.draw(DAYS if type_ == DateType() else MICROS)
    partition = reference.transform(kind)(value)
    least, most = source_bounds(transform, type_, partition)
    assert least <= value <= most
    if value >= 86_400_000_000 * 366:  # later ones are exact to the last
        assert reference.transform(kind)(least) == reference.transform(kind)(most) == partition
        assert reference.transform(kind)(least - 1) != partition
        assert reference.transform(kind)(most + 1) != partition


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_year_in_every_unit(unit):
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    start = int(dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp()) * per_second
    end = int(dt.datetime(2025, 1, 1, tzinfo=dt.UTC).timestamp()) * per_second - 1
    assert source_bounds(ours.YearTransform(), TimestampType(unit), 54) == (start, end)


def test_times_before_1970_may_have_been_rounded_up():
    """Rows of 1969-12-31 lie in the day 0 of old versions of the reference implementation."""
    least, _ = source_bounds(ours.DayTransform(), TimestampType(), 0)
    assert least == -86_400_000_000
    assert source_bounds(ours.DayTransform(), DateType(), 0) == (0, 0)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 10_000), st.sampled_from([32, 64]))
def test_a_truncated_integer_also_where_it_overflowed(value, width, bits):
    half = 2 ** (bits - 1)
    value = (value + half) % (2 * half) - half
    cut = (value - value % width + half) % (2 * half) - half  # as a machine does it
    least, most = source_bounds(ours.TruncateTransform(width), IntType(64), cut)
    assert least is None or least <= value
    assert most is None or value <= most
    if abs(value) < 2**31 - 20_000:
        assert (least, most) == (cut, cut + width - 1)


@given(st.text(), st.integers(1, 5))
def test_a_truncated_text(value, width):
    cut = theirs.TruncateTransform(width).transform(kinds.StringType())(value)
    least, most = source_bounds(ours.TruncateTransform(width), StringType(), cut)
    assert least <= value
    assert most is None or value <= most


@given(st.decimals(-10_000, 10_000, places=2), st.integers(1, 500))
def test_a_truncated_decimal(value, width):
    cut = theirs.TruncateTransform(width).transform(kinds.DecimalType(9, 2))(value)
    unscaled = int(cut.scaleb(2))
    least, most = source_bounds(ours.TruncateTransform(width), DecimalType(9, 2), unscaled)
    assert least <= int(Decimal(value).scaleb(2)) <= most


def test_nothing_is_known_where_nothing_is_certain():
    unknown = (None, None)
    assert source_bounds(ours.BucketTransform(4), IntType(64), 3) == unknown
    assert source_bounds(ours.VoidTransform(), IntType(64), 3) == unknown
    assert source_bounds(ours.TruncateTransform(2), BinaryType(), b"ab") == unknown
    assert source_bounds(ours.IdentityTransform(), FloatType(64), float("nan")) == unknown
    assert source_bounds(ours.HourTransform(), DateType(), 1) == unknown
    assert source_bounds(ours.TruncateTransform(1), StringType(), chr(0x10FFFF))[1] is None
    assert source_bounds(ours.TruncateTransform(1), StringType(), chr(0xD7FF))[1] == chr(0xE000)


def test_both_zeros_are_in_the_partition_of_either():
    least, most = source_bounds(ours.IdentityTransform(), FloatType(64), 0.0)
    assert (str(least), str(most)) == ("-0.0", "0.0")
