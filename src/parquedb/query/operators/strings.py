"""Operators on strings; positions and lengths count code points."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.operand import Place
from parquedb.query.operators.base import (
    MAX_TEXT,
    UnfitError,
    apply,
    is_null,
    named,
    or_null,
    positional,
    text_in,
    whole_in,
)
from parquedb.query.operators.convert import to_text
from parquedb.query.operators.parser import Node, Operator, Parser, constant, options_of
from parquedb.query.regex import FLAGS, check_regex, compile_regex

_SPACE: Final = (
    "\0 \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
"""What ``$trim`` removes unless it is told what."""

_OPTIONS: Final = (
    ("i", re.IGNORECASE),
    ("m", re.MULTILINE),
    ("s", re.DOTALL),
    ("x", re.VERBOSE),
)


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise UnfitError(f"the result has more than {MAX_TEXT} characters")
    return text


def _concat(*texts: Any) -> str:
    return _bounded("".join([text_in(text) for text in texts]))


def _cased(change: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: "" if is_null(value) else change(to_text(value))


def _substring(value: Any, start: Any, length: Any) -> str:
    first, count = whole_in(start), whole_in(length)
    if first < 0 or count < 0:
        raise UnfitError("needs a start and a length of at least 0")
    return "" if is_null(value) else to_text(value)[first : first + count]


def _split(text: Any, separator: Any) -> list[str]:
    if not text_in(separator):
        raise UnfitError("cannot split at an empty string")
    return text_in(text).split(separator)


def _trimmed(trim: Callable[[str, str], str]) -> Operator:
    def trimmed(text: Any, characters: Any) -> Any:
        if is_null(text) or is_null(characters):
            return None
        return trim(text_in(text), text_in(characters))

    return named(trimmed, ("input",), {"chars": _SPACE})


def _index_of(text: Any, part: Any, start: Any = 0, end: Any = None) -> int | None:
    if is_null(text):
        return None
    first = whole_in(start)
    last = len(text_in(text)) if end is None else whole_in(end)
    if first < 0 or last < 0:
        raise UnfitError("needs positions of at least 0")
    if first > len(text):
        return -1
    return text_in(text).find(text_in(part), first, last)


def _replaced(count: int) -> Callable[[Any, Any, Any], str]:
    def replaced(text: Any, find: Any, replacement: Any) -> str:
        source, old, new = text_in(text), text_in(find), text_in(replacement)
        if len(new) > len(old) and count < 0:
            grown = len(source) + source.count(old) * (len(new) - len(old))
            if grown > MAX_TEXT:
                raise UnfitError(f"the result would have {grown} characters")
        return source.replace(old, new, count)

    return replaced


def _regex_match(parser: Parser, operand: Any, place: Place) -> Node:
    given = options_of(operand, place, ("input", "regex"), ("options",))
    subject = parser.parse(given["input"], place.at("input"))
    pattern, flags = _pattern(parser, given, place)
    if pattern.constant and flags.constant and not is_null(pattern.value):
        try:
            check_regex(pattern.value, _flags(flags.value))
        except (InvalidInputError, UnfitError) as error:
            raise place.at("regex").refuse(str(error)) from error
    return apply(_found, (subject, pattern, flags), place)


def _pattern(parser: Parser, given: Mapping[str, Any], place: Place) -> tuple[Node, Node]:
    regex = given["regex"]
    flags = parser.parse(given.get("options", ""), place.at("options"))
    if not isinstance(regex, re.Pattern):
        pattern = parser.parse(regex, place.at("regex"))
        if pattern.constant and not (is_null(pattern.value) or isinstance(pattern.value, str)):
            raise place.at("regex").refuse("needs a regular expression as a string")
        return pattern, flags
    if not isinstance(regex.pattern, str):
        raise place.at("regex").refuse("a regular expression must be of str, not bytes")
    own = "".join(flag for flag, option in _OPTIONS if regex.flags & option)
    both = apply(
        lambda more: own + ("" if is_null(more) else text_in(more)), (flags,), place.at("options")
    )
    return constant(regex.pattern), both


def _flags(options: Any) -> str:
    letters = set(text_in(options)) - {"u"} if not is_null(options) else set()
    unknown = sorted(letters - FLAGS.keys())
    if unknown:
        raise UnfitError(f"unknown option {unknown[0]!r}; there are i, m, s, x and u")
    return "".join(sorted(letters))


def _found(text: Any, pattern: Any, options: Any) -> bool:
    if is_null(text) or is_null(pattern):
        return False
    return compile_regex(text_in(pattern), _flags(options))(text_in(text))


def _compared(one: Any, other: Any) -> int:
    a, b = (("" if is_null(v) else to_text(v)).upper() for v in (one, other))
    return (a > b) - (a < b)


OPERATORS: Final[dict[str, Operator]] = {
    "$concat": positional(or_null(_concat), 0, None),
    "$toUpper": positional(_cased(str.upper)),
    "$toLower": positional(_cased(str.lower)),
    "$strLenCP": positional(lambda text: len(text_in(text))),
    "$strLenBytes": positional(lambda text: len(text_in(text).encode())),
    "$strcasecmp": positional(_compared, 2, 2),
    "$substrCP": positional(_substring, 3, 3),
    "$split": positional(or_null(_split), 2, 2),
    "$trim": _trimmed(str.strip),
    "$ltrim": _trimmed(str.lstrip),
    "$rtrim": _trimmed(str.rstrip),
    "$indexOfCP": positional(_index_of, 2, 4),
    "$replaceAll": named(or_null(_replaced(-1)), ("input", "find", "replacement"), {}),
    "$replaceOne": named(or_null(_replaced(1)), ("input", "find", "replacement"), {}),
    "$regexMatch": _regex_match,
}
