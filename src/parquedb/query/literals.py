"""Values and names as DuckDB reads them in SQL text, each exact and each right wherever it stands.

Nothing here depends on a session's time zone, locale or decimal settings: instants and readings
are written as microseconds since the epoch, floats in their shortest exact form.
"""

from __future__ import annotations

import math
import struct
from datetime import date

_MIN_BIGINT = -(2**63)
_EPOCH = 719163
"""The ordinal of 1970-01-01."""


def is_text(text: str) -> bool:
    """Whether a text can be stored at all: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def identifier(name: str) -> str | None:
    """Return a name as a quoted identifier, None if DuckDB cannot name it."""
    if not name or "\0" in name or not is_text(name):
        return None
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """Return a string; a NUL is put together with ``chr(0)``, which DuckDB folds."""
    pieces = ["'" + piece.replace("'", "''") + "'" for piece in text.split("\0")]
    return pieces[0] if len(pieces) == 1 else "(" + " || chr(0) || ".join(pieces) + ")"


def bytes_literal(value: bytes) -> str:
    """Return bytes as a BLOB of escapes."""
    return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"


def integer_literal(value: int) -> str:
    """Return an integer of at most 64 bits, signed or unsigned."""
    return f"CAST('{value}' AS BIGINT)" if value == _MIN_BIGINT else str(value)


def double_literal(value: float) -> str:
    """Return a DOUBLE; both zeros are one."""
    if math.isfinite(value):
        text = repr(value or 0.0)
        return text if "e" in text else text + "e0"
    return f"'{value!r}'::DOUBLE"


def float_literal(value: float) -> str:
    """Return a FLOAT, of a value that is exact in 32 bits."""
    return f"CAST({double_literal(value)} AS FLOAT)"


def decimal_literal(unscaled: int, precision: int, scale: int) -> str:
    """Return a DECIMAL of a type, from its digits as an integer."""
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    whole, fraction = digits[: len(digits) - scale], digits[len(digits) - scale :]
    sign = "-" if unscaled < 0 else ""
    text = f"{sign}{whole}.{fraction}" if scale else f"{sign}{whole}"
    return f"CAST('{text}' AS DECIMAL({precision},{scale}))"


def date_literal(days: int) -> str:
    """Return a DATE of the years 1 to 9999 from days since the epoch."""
    return f"DATE '{date.fromordinal(days + _EPOCH).isoformat()}'"


def timestamp_literal(micros: int, *, utc: bool) -> str:
    """Return a TIMESTAMP WITH TIME ZONE (``utc``) or TIMESTAMP from microseconds of the epoch."""
    return f"{'make_timestamptz' if utc else 'make_timestamp'}({micros})"


def float32_below(value: float) -> float | None:
    """Return the greatest 32-bit float at most this finite value, None if there is none."""
    try:
        near: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return _MAX_FLOAT32 if value > 0 else None
    if near <= value:
        return near
    bits = struct.unpack("<i", struct.pack("<f", near))[0]
    if near > 0:
        bits -= 1
    elif near == 0:  # between the smallest negative number and zero
        bits = -(2**31) + 1
    else:
        bits += 1
    below: float = struct.unpack("<f", struct.pack("<i", bits))[0]
    return below if math.isfinite(below) else None


_MAX_FLOAT32: float = struct.unpack("<f", struct.pack("<I", 0x7F7FFFFF))[0]
