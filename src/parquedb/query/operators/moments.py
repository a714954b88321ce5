"""Instants, wall-clock readings and dates as operators take them, and time zones."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from parquedb.query.operators.base import UnfitError, is_null, shown, text_in

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET: Final = re.compile(r"([+-])(\d\d)(?::?(\d\d))?")
_MOST_MILLISECONDS: Final = 10**15


def moment_in(value: Any) -> datetime:
    """Return a value that must be a time; a date is its midnight in UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo is None or value.tzinfo is UTC else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise UnfitError(f"needs a date, not {shown(value)}")


def moved(moment: datetime, milliseconds: Any) -> datetime:
    """Return a time some milliseconds later, to the microsecond."""
    if not abs(milliseconds) < _MOST_MILLISECONDS:
        raise UnfitError(f"no date is {shown(milliseconds)} milliseconds away")
    if milliseconds.__class__ is Decimal:
        apart = timedelta(microseconds=int(milliseconds * 1000))
    else:
        apart = timedelta(milliseconds=milliseconds)
    try:
        return moment + apart
    except OverflowError:
        raise UnfitError("the result is before the year 1 or after 9999") from None


def zone_in(value: Any) -> tzinfo | None:
    """Return the time zone of a name or an offset such as ``+05:30``; None for UTC."""
    if is_null(value):
        return None
    return _zone(text_in(value))


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo | None:
    if name in ("UTC", "GMT", "Z", "Etc/UTC"):
        return None
    if (offset := _OFFSET.fullmatch(name)) is not None:
        apart = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        if apart < timedelta(days=1):
            return timezone(apart if offset[1] == "+" else -apart)
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise UnfitError(
            f"unknown time zone {name!r}; use a name such as 'Europe/Paris' or '+02:00'"
        ) from None


def in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return what clocks in a zone show at a time; readings without a zone count as UTC."""
    if zone is None:
        return moment
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(zone)
    except OverflowError:
        raise UnfitError("the date is before the year 1 or after 9999 there") from None
