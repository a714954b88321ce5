"""Columns of every type with the values that go wrong first: ends of ranges, zeros, nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pyarrow as pa

ROWS = 6
_FIRST = dt.datetime(1, 1, 1)
_LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)
_BEFORE = dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)
_ODD = dt.datetime(1582, 10, 15, 0, 0, 0, 1)
_INF, _NAN = float("inf"), float("nan")

Columns = dict[str, pa.Array]


def _pad(values: list[object]) -> list[object]:
    """Fill up with nulls, so that all columns have as many rows."""
    return values + [None] * (ROWS - len(values))


def _column(type_: pa.DataType, *values: object) -> pa.Array:
    return pa.array(_pad(list(values)), type_)


def _int(bits: int, *, signed: bool = True) -> pa.Array:
    type_ = getattr(pa, f"{'' if signed else 'u'}int{bits}")()
    low = -(1 << bits - 1) if signed else 0
    high = (1 << bits - signed) - 1
    return _column(type_, low, high, 0, 1, low + 1)


def _stamps(unit: str, zone: str | None) -> pa.Array:
    moments = [_FIRST, _LAST, _BEFORE, _ODD, dt.datetime(1970, 1, 1)]
    if unit == "ns":  # 1677 to 2262
        moments = [dt.datetime(1677, 9, 22), dt.datetime(2262, 4, 11), *moments[2:4], moments[4]]
        moments[3] = dt.datetime(2001, 1, 1, 0, 0, 0, 1)
    numbers = pa.array(moments, pa.timestamp("us"))
    cast = numbers.cast(pa.timestamp(unit), safe=False).cast(pa.int64()).to_pylist()
    return pa.array(_pad(cast), pa.int64()).cast(pa.timestamp(unit, zone))


def _decimals(precision: int, scale: int) -> pa.Array:
    most = Decimal(10**precision - 1).scaleb(-scale, None) if precision < 28 else None
    if most is None:
        text = "9" * (precision - scale) + ("." + "9" * scale if scale else "")
        most = Decimal(text)
    least = Decimal((1, most.as_tuple().digits, -scale))
    small = Decimal((0, (1,), -scale))
    return _column(
        pa.decimal128(precision, scale), most, least, small, Decimal(0), Decimal((1, (1,), -scale))
    )


def common() -> Columns:
    """Columns that both table formats have under the same type."""
    long = "\U0010ffff" * 40
    return {
        "boolean": _column(pa.bool_(), True, False, True),
        "int32": _int(32),
        "int64": _int(64),
        "float32": _column(pa.float32(), 3.4028234663852886e38, -0.0, _NAN, -_INF, 1e-45),
        "float64": _column(pa.float64(), 1.7976931348623157e308, -0.0, _NAN, _INF, 5e-324),
        "zeros": _column(pa.float64(), 0.0, -0.0),
        "decimal_9_2": _decimals(9, 2),
        "decimal_18_0": _decimals(18, 0),
        "decimal_38_0": _decimals(38, 0),
        "decimal_38_38": _decimals(38, 38),
        "decimal_38_10": _decimals(38, 10),
        "date": _column(
            pa.date32(),
            dt.date(1, 1, 1),
            dt.date(9999, 12, 31),
            dt.date(1969, 12, 31),
            dt.date(1970, 1, 1),
        ),
        "at_us_utc": _stamps("us", "UTC"),
        "at_us": _stamps("us", None),
        "string": _column(pa.string(), "", "a" * 100, long, "\x00", "é😀"),
        "binary": _column(pa.binary(), b"", b"\x00", b"\xff" * 100, b"a"),
        "nothing": _column(pa.string()),
    }


def nested() -> Columns:
    """Nested columns, three levels deep, and nulls at each."""
    inner = pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))])
    key = pa.struct([("a", pa.int32()), ("b", pa.string())])
    return {
        "struct": _column(
            inner, {"x": 1, "y": ["", None]}, {"x": None, "y": None}, {"x": -1, "y": []}
        ),
        "structs": _column(pa.list_(inner), [], [None, {"x": 2, "y": ["z"]}], [{"x": 3, "y": []}]),
        "lists": _column(pa.list_(pa.list_(pa.int32())), [[1], [], None], [], [[None]]),
        "map": _column(pa.map_(pa.string(), pa.int64()), [("", 1), ("b", None)], []),
        "maps": _column(
            pa.list_(pa.map_(pa.string(), pa.date32())), [[("k", dt.date(1, 1, 1))], [], None], []
        ),
        "map_of_structs": _column(
            pa.map_(pa.string(), inner), [("p", {"x": 1, "y": ["q"]}), ("r", None)], []
        ),
        "map_by_struct": _column(pa.map_(key, pa.string()), [({"a": 1, "b": "c"}, "d")], []),
        "deep": _column(
            pa.struct([("l", pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.binary()))])))]),
            {"l": [{"m": [("k", b"")]}, None]},
            {"l": []},
        ),
    }


def parquet_only() -> Columns:
    """Columns that plain Parquet files have and tables do not, or not all."""
    return {
        "int8": _int(8),
        "int16": _int(16),
        "uint8": _int(8, signed=False),
        "uint16": _int(16, signed=False),
        "uint32": _int(32, signed=False),
        "uint64": _int(64, signed=False),
        "float16": _column(pa.float16(), 65504.0, -0.0, _NAN, _INF, 6e-8),
        "at_s_utc": _stamps("s", "UTC"),
        "at_ms_utc": _stamps("ms", "UTC"),
        "at_s": _stamps("s", None),
        "at_ms": _stamps("ms", None),
        "time_s": _column(pa.time32("s"), 0, 86_399, 1),
        "time_ms": _column(pa.time32("ms"), 0, 86_399_999, 1),
        "time_us": _column(pa.time64("us"), 0, 86_399_999_999, 1),
        "fixed": _column(pa.binary(5), b"\x00" * 5, b"\xff" * 5, b"abcde"),
        "uuid": pa.array(
            [uuid.UUID(int=0).bytes, uuid.UUID(int=(1 << 128) - 1).bytes, *[None] * (ROWS - 2)],
            pa.uuid(),
        ),
        "large": _column(pa.large_string(), "", "x"),
        "coded": _column(pa.string(), "a", "b", "a").dictionary_encode(),
        "far": _column(pa.timestamp("us", "UTC"), -(1 << 62), 1 << 62),
    }
