"""Fitting single values to declared kinds.

A *fit* takes a value and returns it in the declared kind, or raises :class:`Unfit`. It converts
only what loses nothing: an int for a float field, an ISO 8601 text for a datetime, ``"1.10"`` for a
decimal. The value itself comes back where nothing was to be done.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import reprlib
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, InvalidOperation
from enum import Enum
from operator import is_not
from typing import Any

from parquedb.documents.kinds import Choice, Decimals, Relation, Scalar, Text
from parquedb.rows.values import MAX_DEPTH

Fit = Callable[[Any, datetime | None], Any]
"""Takes a value and the time of the write; returns the value as declared, or raises Unfit."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_EXACT_FLOAT = 2**53
_WIDE = Context(prec=80)

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#]+[^\s]*")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)

_short = reprlib.Repr()
_short.maxstring = 60
_short.maxother = 60


class Unfit(Exception):  # noqa: N818 - carried inside a document's check only
    """A value is not as declared.

    Args:
        problems: Paths below the value (empty for itself) and what is wrong there.
    """

    def __init__(self, problems: list[tuple[tuple[str, ...], str]]) -> None:
        super().__init__(problems)
        self.problems = problems


def unfit(message: str) -> Unfit:
    """Return the error for a value that itself is wrong."""
    return Unfit([((), message)])


def shown(value: object) -> str:
    """Return a value as messages print it."""
    return _short.repr(value)


def kind_of(value: object) -> str:
    """Return what a value is, in the words of the notation."""
    match value:
        case None:
            return "null"
        case bool():
            return "a bool"
        case Enum():
            return f"the enum member {value}"
        case int():
            return "an int"
        case float():
            return "a float"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a sub-document"
        case _:
            return f"a {type(value).__name__}"


def document_of(value: object) -> dict[str, Any] | None:
    """Return a mapping, a pydantic model's or a dataclass' instance as a dict; None for others."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(type(value), "model_fields") and hasattr(value, "model_dump"):
        return dict(value.model_dump(exclude=_computed(type(value))))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return None


def _computed(model: Any) -> set[str] | None:
    """Return the computed fields of a model that forbids other fields than those it declares."""
    config = getattr(model, "model_config", {})
    if config.get("extra") != "forbid":
        return None
    return set(getattr(model, "model_computed_fields", ()))


def _wrong(value: object, wanted: str) -> Unfit:
    return unfit(f"{shown(value)} is {kind_of(value)}, not {wanted}")


def fit_text(kind: Text) -> Fit:
    """Return the fit of strings of a form."""

    def any_text(value: Any, _now: datetime | None) -> Any:
        if type(value) is str:
            return value
        if isinstance(value, str):
            return str.__str__(value)
        raise _wrong(value, "a string")

    def email(value: Any, now: datetime | None) -> Any:
        text = any_text(value, now)
        if _EMAIL.fullmatch(text) is None:
            raise unfit(f"{shown(text)} is no e-mail address")
        return text

    def url(value: Any, now: datetime | None) -> Any:
        text = any_text(value if isinstance(value, str) else _url_text(value), now)
        if _URL.fullmatch(text) is None:
            raise unfit(f"{shown(text)} is no URL (scheme://host…)")
        return text

    return {"any": any_text, "email": email, "url": url}[kind.form]


def _url_text(value: object) -> object:
    """Return the text of pydantic's URL objects; anything else as it is."""
    return str(value) if type(value).__name__.endswith("Url") else value


def fit_choice(kind: Choice) -> Fit:
    """Return the fit of a closed set of values."""
    known = {(type(value), value) for value in kind.values}
    names = ", ".join(shown(value) for value in kind.values)

    def fit(value: Any, _now: datetime | None) -> Any:
        if isinstance(value, Enum):
            value = value.value
        try:
            if (type(value), value) in known:
                return value
        except TypeError:
            pass
        texts = [option for option in kind.values if isinstance(option, str)]
        near = difflib.get_close_matches(str(value), texts, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise unfit(f"{shown(value)} is none of {names}{hint}")

    return fit


def fit_relation(kind: Relation) -> Fit:
    """Return the fit of one id of another document."""
    prefix = f"{kind.namespace}/"

    def fit(value: Any, _now: datetime | None) -> Any:
        given = value.get("$id") if isinstance(value, Mapping) else value
        if not isinstance(given, str):
            raise _wrong(value, f'the id of a {kind.type} ("{prefix}…")')
        text = given if type(given) is str else str.__str__(given)
        local = text.removeprefix(prefix)
        if local == text:
            if "/" in text:
                raise unfit(f'{shown(text)} is no id of a {kind.type}, which begin with "{prefix}"')
            text = prefix + text
        if not local or not local.isprintable():
            raise unfit(f'{shown(text)} is no id of a {kind.type} ("{prefix}…")')
        return text

    return fit


def fit_decimals(kind: Decimals) -> Fit:
    """Return the fit of decimals; they are brought to the declared scale."""
    step = Decimal(1).scaleb(-kind.scale)
    limit = Decimal(10) ** (kind.precision - kind.scale)
    name = f"decimal({kind.precision},{kind.scale})"

    def fit(value: Any, now: datetime | None) -> Any:
        found: Decimal = _fit_decimal(value, now)
        if not -limit < found < limit:
            raise unfit(f"{shown(value)} does not fit {name}: too many digits before the point")
        exponent = found.as_tuple().exponent
        if exponent == -kind.scale:
            return found
        with_scale = found.quantize(step, context=_WIDE)
        if with_scale != found:
            raise unfit(f"{shown(value)} does not fit {name}: too many digits after the point")
        return with_scale

    return fit


def _fit_decimal(value: Any, _now: datetime | None) -> Any:
    found: Decimal | None = None
    if type(value) is Decimal:
        found = value
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int | Decimal):
        found = Decimal(value)
    elif isinstance(value, float):
        found = Decimal(repr(float(value)))
    elif isinstance(value, str) and _DECIMAL.fullmatch(value):
        try:
            found = Decimal(value)
        except InvalidOperation:
            found = None
    if found is None:
        raise _wrong(value, "a decimal")
    if not found.is_finite():
        raise unfit(f"{shown(value)} is not finite")
    return found


def _fit_bool(value: Any, _now: datetime | None) -> Any:
    if type(value) is bool:
        return value
    raise _wrong(value, "a bool")


def _fit_int(value: Any, _now: datetime | None) -> Any:
    if type(value) is int:
        found = value
    elif isinstance(value, bool):
        raise _wrong(value, "an int")
    elif isinstance(value, int):
        found = int(value)
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOAT:
        return int(value)
    else:
        raise _wrong(value, "an int")
    if INT_MIN <= found <= INT_MAX:
        return found
    raise unfit(f"{shown(value)} is beyond 64 bits; declare the field 'json' or 'decimal(38,0)'")


def _fit_float(value: Any, _now: datetime | None) -> Any:
    if type(value) is float:
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        found = float(value) if abs(value) < 2**1023 else 0.0
        if found == value:
            return found
        raise unfit(f"{shown(value)} is no float exactly; declare the field 'int' or 'json'")
    raise _wrong(value, "a float")


def _fit_bytes(value: Any, _now: datetime | None) -> Any:
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise _wrong(value, "bytes")


def _fit_datetime(value: Any, _now: datetime | None) -> Any:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, str) and _ISO.fullmatch(value):
        try:
            found = datetime.fromisoformat(value.upper())
        except ValueError as error:
            raise unfit(f"{shown(value)} is no datetime: {error}") from None
        return found.replace(tzinfo=UTC) if len(value) == len("2020-01-01") else found
    raise _wrong(value, 'a datetime (or its ISO 8601 text, "2020-01-31T12:00:00Z")')


def _fit_date(value: Any, _now: datetime | None) -> Any:
    if type(value) is date:
        return value
    found = value
    if isinstance(value, str) and _ISO.fullmatch(value):
        try:
            found = datetime.fromisoformat(value.upper())
        except ValueError as error:
            raise unfit(f"{shown(value)} is no date: {error}") from None
    if isinstance(found, datetime):
        if found.time() == time() and not found.utcoffset():
            return found.date()
        raise unfit(f"{shown(value)} has a time of day or a zone, the field is a date")
    raise _wrong(value, 'a date (or its ISO 8601 text, "2020-01-31")')


def _fit_uuid(value: Any, _now: datetime | None) -> Any:
    if isinstance(value, uuid.UUID):
        return value
    if isinstance(value, str) and len(value) == 36:
        try:
            return uuid.UUID(value)
        except ValueError:
            pass
    raise _wrong(value, "a UUID")


def _fit_json(value: Any, _now: datetime | None) -> Any:
    return _without_models(value, 0)


def _without_models(value: Any, depth: int) -> Any:
    """Return a value with documents in the places of models; the very same if it has none."""
    kind = type(value)
    if kind in _LEAVES or depth > MAX_DEPTH:
        return value
    if kind is dict:
        mapped = {key: _without_models(item, depth + 1) for key, item in value.items()}
        return mapped if any(mapped[key] is not value[key] for key in value) else value
    if kind is list or kind is tuple:
        items = [_without_models(item, depth + 1) for item in value]
        return items if any(map(is_not, items, value)) else value
    if isinstance(value, Mapping):
        return value
    made = document_of(value)
    return value if made is None else _without_models(made, depth + 1)


_LEAVES = frozenset({type(None), bool, int, float, str, bytes, datetime, date, Decimal, uuid.UUID})


FIT_SCALAR: Mapping[Scalar, Fit] = {
    Scalar.BOOL: _fit_bool,
    Scalar.INT: _fit_int,
    Scalar.FLOAT: _fit_float,
    Scalar.BYTES: _fit_bytes,
    Scalar.DATETIME: _fit_datetime,
    Scalar.DATE: _fit_date,
    Scalar.UUID: _fit_uuid,
    Scalar.DECIMAL: _fit_decimal,
    Scalar.JSON: _fit_json,
}
"""The fit of every scalar kind."""

EXACT: Mapping[Scalar, type] = {
    Scalar.BOOL: bool,
    Scalar.FLOAT: float,
    Scalar.BYTES: bytes,
    Scalar.DATETIME: datetime,
    Scalar.DATE: date,
    Scalar.UUID: uuid.UUID,
}
"""Kinds that take every value of a type as it is."""
