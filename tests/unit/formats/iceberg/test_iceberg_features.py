from __future__ import annotations

from dataclasses import replace

import pytest

from parquedb.formats.iceberg.features import FEATURES, fit_type
from parquedb.log.feature import TypeFit
from parquedb.model.format import Format
from parquedb.model.types import (
    BinaryType,
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
    TimeType,
    VariantType,
)


@pytest.mark.parametrize(
    ("type_", "fit"),
    [
        (IntType(8), TypeFit(IntType(32))),
        (IntType(16, signed=False), TypeFit(IntType(32), rewrite=True)),
        (IntType(32), TypeFit(IntType(32))),
        (IntType(32, signed=False), TypeFit(IntType(64), rewrite=True)),
        (IntType(64), TypeFit(IntType(64))),
        (IntType(64, signed=False), TypeFit(DecimalType(20, 0), rewrite=True)),
        (FloatType(16), TypeFit(FloatType(32), rewrite=True)),
        (FloatType(32), TypeFit(FloatType(32))),
        (TimestampType("us", utc=False), TypeFit(TimestampType("us", utc=False))),
        (TimestampType("ms"), TypeFit(TimestampType("us"), rewrite=True)),
        (TimestampType("ns"), TypeFit(TimestampType("us"), rewrite=True, lost="nanoseconds")),
        (TimeType("ms"), TypeFit(TimeType("us"), rewrite=True)),
        (TimeType("ns"), TypeFit(TimeType("us"), rewrite=True, lost="nanoseconds")),
        (NullType(), TypeFit(None)),
        (VariantType(), TypeFit(None)),
        (DecimalType(39, 0), TypeFit(None)),
        (StructType(()), TypeFit(None)),
        (DecimalType(5, -2), TypeFit(None)),
        (BinaryType(), TypeFit(BinaryType())),
    ],
)
def test_types(type_, fit):
    assert fit_type(type_) == fit


def test_version_3_has_variants_and_no_maps_by_them():
    variant = Field(2, "value", VariantType())
    assert fit_type(VariantType(), 3) == TypeFit(VariantType())
    map_ = MapType(Field(1, "key", StringType(), required=True), variant)
    assert fit_type(map_, 3) == TypeFit(map_)
    assert fit_type(MapType(replace(variant, name="key"), variant), 3) == TypeFit(None)


def test_nested_types_fit_as_their_parts_do():
    nanos = Field(3, "n", TimestampType("ns"))
    struct = StructType((Field(2, "i", IntType(8)), nanos))
    fitted = StructType((Field(2, "i", IntType(32)), Field(3, "n", TimestampType("us"))))
    assert fit_type(struct) == TypeFit(fitted, rewrite=True, lost="nanoseconds")
    list_ = ListType(Field(1, "element", struct, required=True))
    assert fit_type(list_).becomes == ListType(Field(1, "element", fitted, required=True))
    map_ = MapType(Field(1, "key", StringType(), required=True), Field(2, "value", NullType()))
    assert fit_type(map_) == TypeFit(None)


def test_features_are_named_once_and_say_what_becomes_of_them():
    names = [feature.name for feature in FEATURES]
    assert len(set(names)) == len(names)
    for feature in FEATURES:
        assert feature.format is Format.ICEBERG
        assert set(feature.towards) == {Format.DELTA, Format.NATIVE}
        assert feature.section
        assert feature.enabled_if
