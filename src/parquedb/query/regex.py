r"""Regular expressions that cannot hang: RE2's syntax and meaning, in time linear in the text.

What is searched for is a pattern in RE2's sense, as DuckDB's ``regexp_matches`` reads it too:
``$`` is the end of the text (not before a last newline), ``\d \w \s \b`` are ASCII, ``.`` takes
no newline without ``s``, and there are no backreferences and no lookaround.

Three ways lead there, the first that is right being taken: a plain text is searched by
:class:`str`; a pattern of a small subset whose backtracking is bounded for the length of the text
by Python's :mod:`re`; everything else by RE2 itself (in pyarrow).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import comb
from typing import Any, Final

from parquedb.errors import InvalidInputError
from parquedb.query.subset import Subset, read_subset

Search = Callable[[str], bool]

FLAGS: Final = {
    "i": "letters of either case are the same",
    "m": "^ and $ also match at lines' ends",
    "s": ". also matches a newline",
    "x": "white space and # comments in the pattern are ignored",
}

_STEPS: Final = 20_000
"""How many steps of backtracking a text may cost at most; more is left to RE2."""

_REMEMBERED: Final = 1 << 10
"""Answers of RE2 that are remembered for one pattern; one costs about 15 µs."""
_SHORT: Final = 100
"""How long a text may be for that."""

_FOLDED: Final = re.compile("[\u0130\u0131\u017f\u212a]")
"""Letters that Python or RE2 take for the other case of an ASCII letter."""


def check_regex(pattern: str, flags: str = "") -> None:
    """Refuse a pattern that cannot be searched for.

    Args:
        pattern: The regular expression.
        flags: Letters of ``imsx``.

    Raises:
        InvalidInputError: It is not well-formed, or needs what RE2 does not have.
    """
    compile_regex(pattern, flags)


def re2_pattern(pattern: str, flags: str = "") -> str:
    """Return a pattern with its flags in it, as RE2 and DuckDB's ``regexp_matches`` take it.

    Args:
        pattern: The regular expression.
        flags: Letters of ``imsx``.

    Raises:
        InvalidInputError: A flag is unknown, or the pattern needs what RE2 does not have.
    """
    return _inline(flags) + _dialect(pattern, extended="x" in flags)


@lru_cache(maxsize=64)
def compile_regex(pattern: str, flags: str = "") -> Search:
    """Return a function that says whether a pattern is found in a text.

    Args:
        pattern: The regular expression.
        flags: Letters of ``imsx``.

    Returns:
        The function; it takes time linear in its text.

    Raises:
        InvalidInputError: The pattern is not well-formed, or needs what RE2 does not have.
    """
    inline = _inline(flags)
    body = _dialect(pattern, extended="x" in flags)
    subset = read_subset(body, flags)
    if subset is None:
        return _remembering(_by_re2(pattern, inline + body))
    if subset.literal is not None and "i" not in flags:
        return _by_text(subset)
    return _by_backtracking(subset, flags, lambda: _by_re2(pattern, inline + body))


def search_many(pattern: str, flags: str, texts: Sequence[str | None]) -> list[bool]:
    """Return for each of many texts whether a pattern is found in it; None is no text.

    Args:
        pattern: The regular expression.
        flags: Letters of ``imsx``.
        texts: The texts.

    Raises:
        InvalidInputError: The pattern is not well-formed, or needs what RE2 does not have.
    """
    import pyarrow as pa  # noqa: PLC0415

    call = _kernel(pattern, re2_pattern(pattern, flags))
    return [bool(found) for found in call(pa.array(texts, pa.string())).to_pylist()]


def _by_text(subset: Subset) -> Search:
    """Search for a text by the methods of str."""
    literal = subset.literal or ""
    match subset.starts, subset.ends:
        case True, True:
            return literal.__eq__
        case True, False:
            return lambda text: text.startswith(literal)
        case False, True:
            return lambda text: text.endswith(literal)
        case _:
            return lambda text: literal in text


def _by_backtracking(subset: Subset, flags: str, otherwise: Callable[[], Search]) -> Search:
    """Search by Python's engine where its steps are bounded, else by RE2."""
    options = re.ASCII
    for flag, option in (("i", re.IGNORECASE), ("m", re.MULTILINE), ("s", re.DOTALL)):
        if flag in flags:
            options |= option
    search = re.compile(subset.python, options).search
    longest = _longest(subset)
    folds = "i" in flags
    slow: Search | None = None

    def found(text: str) -> bool:
        nonlocal slow
        if len(text) <= longest and not (folds and not text.isascii() and _FOLDED.search(text)):
            return search(text) is not None
        if slow is None:
            slow = _remembering(otherwise())
        return slow(text)

    return found


def _longest(subset: Subset) -> int:
    """Return the length of the longest text that cannot cost more steps than allowed.

    Where the match begins and where each of q repetitions ends is a non-decreasing choice of
    positions, C(n + q + 1, q + 1) in all, for each of the ways through the alternatives.
    """
    chosen = subset.repetitions + (not subset.starts)
    if chosen <= 1:
        return 1 << 62 if subset.ways == 1 else _STEPS // subset.ways
    longest = 0
    while comb(longest + 1 + chosen, chosen) * subset.ways <= _STEPS:
        longest += 1
    return longest


def _by_re2(pattern: str, source: str) -> Search:
    call = _kernel(pattern, source)
    import pyarrow as pa  # noqa: PLC0415

    scalar, text_type = pa.scalar, pa.string()

    def found(text: str) -> bool:
        return bool(call(scalar(text, text_type)).as_py())

    return found


def _kernel(pattern: str, source: str) -> Callable[[Any], Any]:
    """Return pyarrow's search for a pattern that RE2 was seen to accept."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    function = pc.get_function("match_substring_regex")
    options = pc.MatchSubstringOptions(source)
    try:
        function.call([pa.scalar("")], options)
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        raise InvalidInputError(
            f"regular expression {pattern!r}: {reason}; the syntax is RE2's, "
            "which has neither backreferences nor lookaround"
        ) from error
    return lambda texts: function.call([texts], options)


def _remembering(search: Search) -> Search:
    """Remember answers; fields of few values, such as cities, are asked for again and again."""
    answers: dict[str, bool] = {}

    def found(text: str) -> bool:
        answer = answers.get(text)
        if answer is None:
            answer = search(text)
            if len(text) <= _SHORT:
                if len(answers) >= _REMEMBERED:
                    answers.clear()
                answers[text] = answer
        return answer

    return found


def _inline(flags: str) -> str:
    """Return flags as they stand at the beginning of a pattern."""
    unknown = sorted(set(flags) - FLAGS.keys())
    if unknown:
        raise InvalidInputError(
            f"unknown option {unknown[0]!r} of a regular expression; "
            + "; ".join(f"{flag}: {meaning}" for flag, meaning in FLAGS.items())
        )
    inline = "".join(flag for flag in "ims" if flag in flags)
    return f"(?{inline})" if inline else ""


def _dialect(pattern: str, *, extended: bool) -> str:
    r"""Return a pattern in RE2's spelling: no extended form, ``(?P<name>``, no ``\C``."""
    out: list[str] = []
    at, inside = 0, False
    while at < len(pattern):
        char = pattern[at]
        taken = char
        if char == "\\":
            taken = pattern[at : at + 2]
            if taken == "\\C":
                raise InvalidInputError(
                    f"regular expression {pattern!r}: \\C is not supported; use . with option s"
                )
            if taken == "\\Q":
                end = pattern.find("\\E", at)
                taken = pattern[at:] if end < 0 else pattern[at : end + 2]
        elif inside:
            # A bracket that comes first is a member; so is one of a class such as [:alpha:].
            if pattern.startswith("[:", at) and ":]" in pattern[at:]:
                taken = pattern[at : pattern.index(":]", at) + 2]
            elif char == "]":
                inside = False
        elif char == "[":
            inside = True
            taken = pattern[at : at + 1 + _members_first(pattern, at + 1)]
        elif pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in ("=", "!"):
            out.append("(?P<")
            at += 3
            continue
        elif extended and char in " \t\n\r\f\v#":
            at = _skip_extended(pattern, at)
            continue
        out.append(taken)
        at += len(taken)
    return "".join(out)


def _members_first(pattern: str, at: int) -> int:
    """Return how much of ``^]`` a class begins with."""
    negated = pattern.startswith("^", at)
    return negated + pattern.startswith("]", at + negated)


def _skip_extended(pattern: str, at: int) -> int:
    """Return where the white space or the comment at a position ends."""
    if pattern[at] != "#":
        return at + 1
    end = pattern.find("\n", at)
    return len(pattern) if end < 0 else end + 1
