"""Parts of dates, dates as text, dates cut off at a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from parquedb.query.operand import Place, nearest
from parquedb.query.operators.base import (
    UnfitError,
    apply,
    is_null,
    named,
    shown,
    text_in,
    whole_in,
)
from parquedb.query.operators.moments import in_zone, moment_in, zone_in
from parquedb.query.operators.parser import Node, Operator, Parser, constant

Part = Callable[[datetime], int]


def _day_of_week(moment: datetime) -> int:
    return moment.isoweekday() % 7 + 1


def _day_of_year(moment: datetime) -> int:
    return moment.timetuple().tm_yday


def _week(moment: datetime) -> int:
    """Return the number of the week, which begins on a Sunday, from 0."""
    return (_day_of_year(moment) + 7 - _day_of_week(moment)) // 7


_PARTS: Final[dict[str, Part]] = {
    "$year": lambda moment: moment.year,
    "$month": lambda moment: moment.month,
    "$dayOfMonth": lambda moment: moment.day,
    "$hour": lambda moment: moment.hour,
    "$minute": lambda moment: moment.minute,
    "$second": lambda moment: moment.second,
    "$millisecond": lambda moment: moment.microsecond // 1000,
    "$dayOfWeek": _day_of_week,
    "$dayOfYear": _day_of_year,
    "$week": _week,
    "$isoDayOfWeek": lambda moment: moment.isoweekday(),
    "$isoWeek": lambda moment: moment.isocalendar().week,
    "$isoWeekYear": lambda moment: moment.isocalendar().year,
}


def _part(part: Part) -> Operator:
    def of(value: Any, zone: Any) -> Any:
        return None if is_null(value) else part(in_zone(moment_in(value), zone_in(zone)))

    def parse(parser: Parser, operand: Any, place: Place) -> Node:
        if isinstance(operand, Mapping) and not any(str(key)[:1] == "$" for key in operand):
            given = parser.options(operand, place, ("date",), ("timezone",))
            return apply(of, (given["date"], given.get("timezone", constant(None))), place)
        (value,) = parser.arguments(operand, place)
        return apply(of, (value, constant(None)), place)

    return parse


def _offset(moment: datetime) -> int:
    """Return how many minutes a clock is ahead of UTC."""
    apart = moment.utcoffset()
    return 0 if apart is None else int(apart / timedelta(minutes=1))


def _offset_text(moment: datetime) -> str:
    minutes = _offset(moment)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}{rest:02}"


_MONTHS: Final[tuple[str, ...]] = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_FORMATS: Final[dict[str, Callable[[datetime], str]]] = {
    "Y": lambda moment: f"{moment.year:04}",
    "m": lambda moment: f"{moment.month:02}",
    "d": lambda moment: f"{moment.day:02}",
    "H": lambda moment: f"{moment.hour:02}",
    "M": lambda moment: f"{moment.minute:02}",
    "S": lambda moment: f"{moment.second:02}",
    "L": lambda moment: f"{moment.microsecond // 1000:03}",
    "j": lambda moment: f"{_day_of_year(moment):03}",
    "w": lambda moment: str(_day_of_week(moment)),
    "u": lambda moment: str(moment.isoweekday()),
    "U": lambda moment: f"{_week(moment):02}",
    "V": lambda moment: f"{moment.isocalendar().week:02}",
    "G": lambda moment: f"{moment.isocalendar().year:04}",
    "b": lambda moment: _MONTHS[moment.month - 1][:3],
    "B": lambda moment: _MONTHS[moment.month - 1],
    "z": _offset_text,
    "Z": lambda moment: f"{_offset(moment):+04}",
    "%": lambda _: "%",
}
_ISO: Final = "%Y-%m-%dT%H:%M:%S.%L"


def _date_to_text(value: Any, format_: Any, zone: Any, on_null: Any) -> Any:
    if is_null(value):
        return on_null
    moment = in_zone(moment_in(value), zone_in(zone))
    if is_null(format_):
        format_ = f"{_ISO}Z" if _offset(moment) == 0 else f"{_ISO}%z"
    out, at, text = [], 0, text_in(format_)
    while (sign := text.find("%", at)) >= 0:
        write = _FORMATS.get(text[sign + 1 : sign + 2])
        if write is None:
            raise UnfitError(f"the format {text!r} has an unknown part {text[sign : sign + 2]!r}")
        out += [text[at:sign], write(moment)]
        at = sign + 2
    return "".join([*out, text[at:]])


_MONTHS_OF: Final = {"year": 12, "quarter": 3, "month": 1}
_SPANS: Final = {
    "week": timedelta(weeks=1),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
    "millisecond": timedelta(milliseconds=1),
}
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_REFERENCE: Final = datetime(2000, 1, 1)  # noqa: DTZ001  (what clocks show, wherever)
_MOST_BINS: Final = 10**6


def _truncated(value: Any, unit: Any, size: Any, zone: Any, start: Any) -> Any:
    if is_null(value) or is_null(unit) or is_null(size):
        return None
    moment, name, count = moment_in(value), text_in(unit), whole_in(size)
    if not 1 <= count <= _MOST_BINS:
        raise UnfitError(f"needs a binSize from 1 to {_MOST_BINS}, not {shown(count)}")
    there = zone_in(zone)
    local = in_zone(moment, there).replace(tzinfo=None)
    try:
        cut = _cut(local, name, count, start)
        if moment.tzinfo is None:
            there = None
        back = cut.replace(tzinfo=there or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnfitError("the result is before the year 1 or after 9999") from None
    return back if moment.tzinfo is not None else cut


def _cut(local: datetime, unit: str, count: int, start: Any) -> datetime:
    months = _MONTHS_OF.get(unit)
    if months is not None:
        step = months * count
        number = ((local.year - 2000) * 12 + local.month - 1) // step * step
        return datetime(2000 + number // 12, number % 12 + 1, 1)  # noqa: DTZ001
    span = _SPANS.get(unit)
    if span is None:
        known = nearest(unit, (*_MONTHS_OF, *_SPANS))
        raise UnfitError(f"unknown unit {unit!r}; did you mean {known!r}?")
    since = _REFERENCE
    if unit == "week":  # the first such day of the week from the reference, a Saturday, on
        since += timedelta(days=(_day_number(start) - 5) % 7)
    return since + (local - since) // (span * count) * (span * count)


def _day_number(name: Any) -> int:
    if is_null(name):
        return 6
    folded = text_in(name).casefold()
    for number, day in enumerate(_DAYS):
        if folded in (day, day[:3]):
            return number
    raise UnfitError(f"unknown day of the week {shown(name)}; use a name such as 'monday'")


OPERATORS: Final[dict[str, Operator]] = {
    **{name: _part(part) for name, part in _PARTS.items()},
    "$dateToString": named(
        _date_to_text, ("date",), {"format": None, "timezone": None, "onNull": None}
    ),
    "$dateTrunc": named(
        _truncated, ("date", "unit"), {"binSize": 1, "timezone": None, "startOfWeek": None}
    ),
}
