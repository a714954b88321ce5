"""Schemas in strings: ``"string!"``, ``"int? = 0"``, ``"-> User[]"``.

A field is a type, its modifiers, and a default::

    string!            required, not null        decimal(10,2)     10 digits, 2 after the point
    int?               may be missing, or null   enum(a, "b c")    one of these texts
    float              may be missing, not null  vector(8)         a list of 8 floats
    string[]  int[][]  lists                     varchar(80)       at most 80 characters
    email#  string##   indexed, unique           = 0, = "a", = a, = true, = now
    -> User            the id of a User          -> User[]         ids of several
    -> User.posts      … that lists it as posts  <- Post.author[]  the Posts whose author it is
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from parquedb.documents.kinds import (
    Always,
    Choice,
    Decimals,
    Default,
    FieldRule,
    Indexed,
    Kind,
    Limited,
    ListOf,
    Now,
    Relation,
    Reverse,
    Scalar,
    Text,
    Vector,
)
from parquedb.documents.naming import namespace_of
from parquedb.documents.scalars import Unfit
from parquedb.documents.validate import fit_of
from parquedb.errors import InvalidInputError
from parquedb.slotted import dataclass

PLAIN: dict[str, Kind] = {
    "string": Text(),
    "str": Text(),
    "text": Text(),
    "markdown": Text(),
    "email": Text("email"),
    "url": Text("url"),
    "int": Scalar.INT,
    "integer": Scalar.INT,
    "long": Scalar.INT,
    "float": Scalar.FLOAT,
    "double": Scalar.FLOAT,
    "number": Scalar.FLOAT,
    "bool": Scalar.BOOL,
    "boolean": Scalar.BOOL,
    "datetime": Scalar.DATETIME,
    "timestamp": Scalar.DATETIME,
    "date": Scalar.DATE,
    "decimal": Scalar.DECIMAL,
    "bytes": Scalar.BYTES,
    "binary": Scalar.BYTES,
    "uuid": Scalar.UUID,
    "json": Scalar.JSON,
    "any": Scalar.JSON,
    "object": Scalar.JSON,
}
"""Types without parameters."""

_HEAD = re.compile(r"\s*([A-Za-z_]\w*)\s*(\()?")
_RELATION = re.compile(
    r"\s*(->|<-|~>|<~)\s*([A-Za-z_][\w/]*)\s*(?:\.\s*(\w+))?\s*(\[\s*\])?\s*([!?#]*)\s*"
)
_MODIFIER = re.compile(r"\s*(\[\s*\]|##|#(?:fts|vec|hash)\b|#|!|\?)")
_ARGUMENT = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^,()"']+?)\s*([,)])""")
_MAX_DIGITS = 38


class NotationError(Exception):
    """A field's notation cannot be read. Gathered into one error by :mod:`.schema`."""


@dataclass(frozen=True, slots=True)
class _Modifiers:
    """What follows the type."""

    kind: Kind
    required: bool
    nullable: bool
    indexed: Indexed


def parse_field(name: str, text: str) -> FieldRule:
    """Return the rule a notation stands for.

    Args:
        name: The field's name.
        text: The notation.

    Raises:
        NotationError: It cannot be read; the message says why.
    """
    if not text.strip():
        raise NotationError("the type is empty; write 'json' for a field of any type")
    if text.lstrip()[:2] in {"->", "<-", "~>", "<~"}:
        return _parse_relation(name, text)
    kind, rest = _parse_type(text)
    notation, equals, default_text = rest.partition("=")
    found = _parse_modifiers(kind, notation, text)
    default = parse_default(default_text.strip(), found.kind) if equals else None
    return FieldRule(name, found.kind, found.required, found.nullable, default, found.indexed)


def _parse_type(text: str) -> tuple[Kind, str]:
    """Return the type at the beginning, and the text after it."""
    head = _HEAD.match(text)
    if head is None:
        raise NotationError(f"{text.strip()!r} does not begin with a type")
    name, bracket = head.group(1), head.group(2)
    rest = text[head.end() :]
    if bracket is None:
        if name.lower() in PLAIN:
            return PLAIN[name.lower()], rest
        if name.lower() in _WITH_ARGUMENTS:
            raise NotationError(f"{name!r} needs arguments: {_EXAMPLES[name.lower()]}")
        raise NotationError(_unknown_type(name))
    arguments, rest = _parse_arguments(rest, text)
    build = _WITH_ARGUMENTS.get(name.lower())
    if build is None:
        if name.lower() in PLAIN:
            raise NotationError(f"{name!r} takes no arguments")
        raise NotationError(_unknown_type(name))
    return build(arguments), rest


def _unknown_type(name: str) -> str:
    if name.lower() == "time":
        return "there is no type 'time'; store a 'string' (\"12:30:00\") or an 'int' of seconds"
    cutoff = 0.8 if name[:1].isupper() else 0.5
    near = difflib.get_close_matches(name.lower(), [*PLAIN, *_WITH_ARGUMENTS], n=2, cutoff=cutoff)
    if near:
        return f"unknown type {name!r}; did you mean {' or '.join(map(repr, near))}?"
    if name[:1].isupper():
        return f"unknown type {name!r}; is it a relation? Write '-> {name}'"
    return f"unknown type {name!r}; types are {', '.join([*PLAIN, *_WITH_ARGUMENTS])}"


def _parse_arguments(rest: str, text: str) -> tuple[list[str], str]:
    found: list[str] = []
    at = 0
    while True:
        argument = _ARGUMENT.match(rest, at)
        if argument is None:
            raise NotationError(f"the brackets of {text.strip()!r} cannot be read")
        found.append(_unquoted(argument.group(1)))
        at = argument.end()
        if argument.group(2) == ")":
            return found, rest[at:]


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            raise NotationError(f"{text} is no JSON string") from None
    return text[1:-1] if text.startswith("'") else text


def _numbers(arguments: list[str], example: str, least: int, most: int) -> list[int]:
    if not least <= len(arguments) <= most or not all(a.isdecimal() for a in arguments):
        raise NotationError(f"({', '.join(arguments)}) is not understood; write {example}")
    return [int(argument) for argument in arguments]


def _decimals(arguments: list[str]) -> Kind:
    precision, scale = (*_numbers(arguments, _EXAMPLES["decimal"], 1, 2), 0)[:2]
    if not 1 <= precision <= _MAX_DIGITS or scale > precision:
        raise NotationError(
            f"decimal({precision},{scale}): it has 1 to {_MAX_DIGITS} digits, "
            "and not more after the point than in all"
        )
    return Decimals(precision, scale)


def _choice(arguments: list[str]) -> Kind:
    values = tuple(argument for argument in arguments if argument)
    if len(set(values)) != len(values):
        raise NotationError(f"enum({', '.join(arguments)}) names a value twice")
    return Choice(values)


def _vector(arguments: list[str]) -> Kind:
    (length,) = _numbers(arguments, _EXAMPLES["vector"], 1, 1)
    if length == 0:
        raise NotationError("vector(0) holds nothing; give the number of its floats")
    return Vector(length)


def _varchar(arguments: list[str]) -> Kind:
    (length,) = _numbers(arguments, _EXAMPLES["varchar"], 1, 1)
    return Limited(Text(), max_length=length)


_WITH_ARGUMENTS: dict[str, Callable[[list[str]], Kind]] = {
    "decimal": _decimals,
    "enum": _choice,
    "vector": _vector,
    "varchar": _varchar,
    "char": _varchar,
}
_EXAMPLES = {
    "decimal": "'decimal(10,2)'",
    "enum": "'enum(draft,published)'",
    "vector": "'vector(8)'",
    "varchar": "'varchar(80)'",
    "char": "'char(2)'",
}


def _parse_modifiers(kind: Kind, notation: str, text: str) -> _Modifiers:
    """Read ``!``, ``?``, ``#`` and ``[]`` from left to right."""
    required = nullable = False
    indexed = Indexed.NO
    at = 0
    while notation[at:].strip():
        found = _MODIFIER.match(notation, at)
        if found is None:
            raise NotationError(f"{notation[at:].strip()!r} in {text.strip()!r} is not understood")
        at = found.end()
        match found.group(1):
            case "!":
                required = True
            case "?":
                nullable = True
            case "#" | "#hash":
                indexed = Indexed.YES if indexed is Indexed.NO else indexed
            case "##":
                indexed = Indexed.UNIQUE
            case "#fts" | "#vec":
                raise NotationError(
                    f"{found.group(1)!r}: there are no full-text and no vector indexes; write '#'"
                )
            case _:
                _refuse_both(text, required=required, nullable=nullable)
                kind, required, nullable = ListOf(kind, nullable), False, False
    _refuse_both(text, required=required, nullable=nullable)
    return _Modifiers(kind, required, nullable, indexed)


def _refuse_both(text: str, *, required: bool, nullable: bool) -> None:
    if required and nullable:
        raise NotationError(
            f"{text.strip()!r}: '!' (required, not null) and '?' exclude each other"
        )


def _parse_relation(name: str, text: str) -> FieldRule:
    found = _RELATION.fullmatch(text)
    if found is None:
        raise NotationError(
            f"{text.strip()!r} is no relation; write '-> User', '-> User[]', '-> User.posts' "
            "or '<- Post.author[]'"
        )
    arrow, type_, field, many, marks = found.groups()
    if "~" in arrow:
        raise NotationError(f"{arrow!r}: there are no fuzzy relations; write '->' or '<-'")
    namespace = namespace_of(type_)
    if arrow == "<-":
        if field is None:
            raise NotationError(
                f"{text.strip()!r} must name the field that leads here, as in '<- Post.author[]'"
            )
        if marks:
            raise NotationError(f"{text.strip()!r} is not stored and takes no {marks!r}")
        return FieldRule(name, Reverse(type_, namespace, field, many is not None))
    rest = _parse_modifiers(Relation(type_, namespace, many is not None, field), marks, text)
    return FieldRule(name, rest.kind, rest.required, rest.nullable, None, rest.indexed)


def limit(kind: Kind, bounds: Mapping[str, Any]) -> Limited:
    """Return a kind with bounds.

    Args:
        kind: The kind.
        bounds: Arguments of :class:`.rules.Limited`.

    Raises:
        NotationError: A bound does not go with the kind.
    """
    fitted = dict(bounds)
    for name, value in bounds.items():
        if name == "pattern":
            _check_pattern(kind, value)
        elif name in ("min_length", "max_length"):
            if not isinstance(value, int) or isinstance(kind, Decimals) or kind in _ORDERED:
                raise NotationError(f"{name} {value!r}: a length is an int, of strings and lists")
        elif not isinstance(kind, Decimals) and kind not in _ORDERED:
            raise NotationError(f"the bound {value!r}: only numbers and times have bounds")
        else:
            found = _fitted_default(value, kind)
            if kind in (Scalar.DATETIME, Scalar.DATE):  # which may be written as text
                fitted[name] = found
    return Limited(kind, **fitted)


_ORDERED = (Scalar.INT, Scalar.FLOAT, Scalar.DECIMAL, Scalar.DATETIME, Scalar.DATE)


def _check_pattern(kind: Kind, pattern: Any) -> None:
    from parquedb.query.regex import check_regex  # noqa: PLC0415  (few schemas need it)

    if not isinstance(kind, Text) or not isinstance(pattern, str):
        raise NotationError(f"the pattern {pattern!r}: only strings have one, and it is a string")
    try:
        check_regex(pattern)
    except InvalidInputError as error:
        raise NotationError(str(error)) from None


def parse_default(text: str, kind: Kind) -> Default:
    """Return the default a literal stands for.

    Args:
        text: What follows ``=``: JSON, a bare word, or ``now``.
        kind: The field's kind, which the value is fitted to.

    Raises:
        NotationError: The value is not of that kind.
    """
    if not text:
        raise NotationError("there is nothing after '='")
    if text in {"now", "now()"} and kind in (Scalar.DATETIME, Scalar.DATE):
        return Now()
    value = _literal(text, kind)
    return Always(value if value is None else _fitted_default(value, kind))


def check_default(value: Any, kind: Kind) -> Default:
    """Return a value as a default.

    Raises:
        NotationError: The value is not of that kind.
    """
    if value in ("now", "now()") and kind in (Scalar.DATETIME, Scalar.DATE):
        return Now()
    return Always(value if value is None else _fitted_default(value, kind))


def _fitted_default(value: Any, kind: Kind) -> Any:
    try:
        return fit_of(kind, creating=True)(value, None)
    except Unfit as error:
        _, message = error.problems[0]
        raise NotationError(f"the default {message}") from None


def _literal(text: str, kind: Kind) -> Any:
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    if isinstance(kind, Decimals) or kind is Scalar.DECIMAL:
        return text.strip('"')
    try:
        value = json.loads(text)
    except ValueError:
        return text
    while isinstance(kind, Limited):
        kind = kind.kind
    if isinstance(kind, Text | Choice) and value is not None and not isinstance(value, str):
        return text
    return value
